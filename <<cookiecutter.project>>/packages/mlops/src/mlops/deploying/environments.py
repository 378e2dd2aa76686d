"""What is an environment? `deploy/environments/<name>.toml` as frozen values: where models serve, and how they get in.

The page is read as strictly as `model.toml`, by the same reader. "There is no target yet" is a value, not an error: a
new repository has none, and its workflows stay green. Standard library only; `docs/reference/environments.md` lists all
keys.
"""

import dataclasses
import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from mlops import config
from mlops.config import Limit
from mlops.deploying import freeze
from mlops.errors import Refusal

FOLDER = Path("deploy") / "environments"
ADDRESS = "DEPLOY_ADDRESS"
"""The environment variable (a variable of the GitHub environment) that wins over a page's `address`."""
AT_HAND = "at hand"
"""The address of the Docker engine, or the kubectl context, that this machine uses anyway."""

Kind = Literal["docker", "kubernetes"]
Strategy = Literal["rolling", "blue-green", "canary"]


@dataclass(frozen=True, kw_only=True)
class Canary:
    """`[canary]`: the shares of the traffic that a new version gets, one step after the other."""

    weights: list[int] = field(default_factory=lambda: [10, 50])
    """Percent, growing; after the last one it gets everything."""


@dataclass(frozen=True, kw_only=True)
class Judge:
    """`[judge]`: when a new version is worse than the one that serves; `deploying/judge.py` says what that promises."""

    requests: int = 300
    """Fewest answered requests, of each side, before a step can be passed."""
    minutes: int = 30
    """A step that is not decided after so many minutes is rolled back."""
    seconds: int = 15
    """Between two looks."""
    errors: float = 0.02
    """A version that fails (5xx) on so many more of its requests is never promoted."""
    refusals: float = 0.05
    """The same for requests that it refuses (4xx)."""
    slow: float = 0.1
    """The same for requests that take longer than 95 % of the serving version's."""
    fast_ms: float = 25.0
    """No request under so many milliseconds counts as slow."""
    shift: float = 0.3
    """The same for predictions: the largest difference of two cumulative shares, or in the share of one class."""
    replay: float = 0.0
    """docker: rows replayed to each side, per second, where clients send fewer; 0: what a decision in time takes."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """`[load]`: what a version must bear before it gets traffic."""

    requests: int = 500
    rate: float = 50.0
    """Requests per second."""
    p99_ms: float = 500.0
    """99 of 100 requests must be answered in so many milliseconds."""


@dataclass(frozen=True, kw_only=True)
class Freeze:
    """`[freeze]`: when nothing is deployed. Rollbacks are never stopped."""

    reason: str = ""
    """Why nothing is deployed now; empty when it is."""
    windows: list[str] = field(default_factory=list)
    """`"Fri 16:00 / Mon 06:00"` every week, or `"2026-12-20 00:00 / 2027-01-03 00:00"`; in UTC."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """One file in `deploy/environments`."""

    target: Kind
    address: str = AT_HAND
    """docker: a `DOCKER_HOST`; kubernetes: a kubectl context; empty: no target yet; left out: the one at hand."""
    port: int = 8080
    """docker: where the proxy listens."""
    proxy: str = "haproxy:3.2"
    """docker: the image of the proxy."""
    strategy: Strategy = "canary"
    replicas: int = 2
    canary: Canary = field(default_factory=Canary)
    judge: Judge = field(default_factory=Judge)
    load: Load = field(default_factory=Load)
    freeze: Freeze = field(default_factory=Freeze)


@dataclass(frozen=True, kw_only=True)
class Environment(Page):
    """A page, with its name and the address that counts."""

    name: str

    @property
    def host(self) -> str | None:
        """Where to deploy: `DOCKER_HOST` or a kubectl context; empty for the one at hand; None: no target yet."""
        return None if not self.address else "" if self.address == AT_HAND else self.address


_DOCKER = re.compile(
    r"ssh://(?:[A-Za-z0-9_][\w.-]*@)?[A-Za-z0-9][A-Za-z0-9.-]*(?::\d{1,5})?"
    r"|tcp://[A-Za-z0-9][A-Za-z0-9.-]*:\d{1,5}"
    r"|unix:///[\w./@-]+",
    re.ASCII,
)
_CONTEXT = re.compile(r"[A-Za-z0-9][\w.@:/-]{0,252}", re.ASCII)
_IMAGE = re.compile(r"[a-z0-9][\w.:/@-]{0,254}", re.ASCII)
_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")
ADDRESSES = {
    "docker": 'a DOCKER_HOST such as "ssh://deploy@host", or empty while there is no target',
    "kubernetes": "the name of a kubectl context, or empty while there is no target",
}
"""What `address` can be, for a sentence."""


def _is_share(value: float) -> bool:
    return 0 < value <= 1


LIMITS: tuple[Limit[Page], ...] = (
    Limit(key="port", need="between 1 and 65535", holds=lambda p: 1 <= p.port <= 65535),
    Limit(
        key="proxy",
        need='the name of an image, such as "haproxy:3.2"',
        holds=lambda p: _IMAGE.fullmatch(p.proxy) is not None,
    ),
    Limit(key="replicas", need="between 1 and 100", holds=lambda p: 1 <= p.replicas <= 100),
    Limit(
        key="canary.weights",
        need="at least one percentage between 1 and 99, at most ten, each larger than the one before",
        holds=lambda p: (
            1 <= len(p.canary.weights) <= 10
            and all(1 <= weight <= 99 for weight in p.canary.weights)
            and sorted(set(p.canary.weights)) == p.canary.weights
        ),
    ),
    Limit(key="judge.requests", need="between 50 and 1000000", holds=lambda p: 50 <= p.judge.requests <= 10**6),
    Limit(key="judge.minutes", need="between 1 and 1440", holds=lambda p: 1 <= p.judge.minutes <= 1440),
    Limit(
        key="judge.seconds",
        need="at least 1, and short enough for ten looks in judge.minutes",
        holds=lambda p: 1 <= p.judge.seconds <= p.judge.minutes * 6,
    ),
    Limit(key="judge.errors", need="more than 0 and at most 1", holds=lambda p: _is_share(p.judge.errors)),
    Limit(key="judge.refusals", need="more than 0 and at most 1", holds=lambda p: _is_share(p.judge.refusals)),
    Limit(key="judge.slow", need="more than 0 and at most 1", holds=lambda p: _is_share(p.judge.slow)),
    Limit(key="judge.fast_ms", need="between 0 and 10000", holds=lambda p: 0 <= p.judge.fast_ms <= 10_000),
    Limit(key="judge.shift", need="more than 0 and at most 1", holds=lambda p: _is_share(p.judge.shift)),
    Limit(key="judge.replay", need="between 0 and 1000", holds=lambda p: 0 <= p.judge.replay <= 1000),
    Limit(key="load.requests", need="between 1 and 1000000", holds=lambda p: 1 <= p.load.requests <= 10**6),
    Limit(key="load.rate", need="more than 0 and at most 10000", holds=lambda p: 0 < p.load.rate <= 10_000),
    Limit(key="load.p99_ms", need="more than 0 and at most 60000", holds=lambda p: 0 < p.load.p99_ms <= 60_000),
    Limit(
        key="freeze.reason", need="one line", holds=lambda p: not p.freeze.reason or freeze.is_sentence(p.freeze.reason)
    ),
    Limit(
        key="freeze.windows",
        need='windows such as "Fri 16:00 / Mon 06:00" or "2026-12-20 00:00 / 2027-01-03 00:00", the start first',
        holds=lambda p: all(freeze.window(text) is not None for text in p.freeze.windows),
    ),
)


def names(root: Path) -> list[str]:
    """The environments of a repository, by name."""
    return sorted(path.stem for path in (root / FOLDER).glob("*.toml") if _NAME.fullmatch(path.stem))


def load(root: Path, name: str, *, variables: Mapping[str, str]) -> Environment:
    """Read and validate an environment's page; `variables` are those of the process.

    Raises `Refusal` naming the file and the key, or the environments that there are.
    """
    known = names(root)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = (
            f"Did you mean {near[0]}?" if near else f"There is: {', '.join(known) or f'none; write one in {FOLDER}'}."
        )
        raise Refusal(f"There is no environment {name[:60]!r}.", do=hint)
    path = root / FOLDER / f"{name}.toml"
    text = config.read_text(path, missing="An environment is a file in deploy/environments.")
    return parse(text, name=name, where=str(path.relative_to(root)), override=variables.get(ADDRESS, ""))


def parse(text: str, *, name: str, where: str, override: str = "") -> Environment:
    """Validate the text of an environment's page; `where` names it in refusals.

    `override` takes the place of `address`. Not of an address that the page leaves out: what is at hand stays at hand,
    whatever a variable says that was meant for another environment.
    """
    page = config.read_page(text, Page, where=where, limits=LIMITS)
    address = page.address
    if address != AT_HAND and override.strip():
        where, address = ADDRESS, override.strip()
    if address and address != AT_HAND and not (_DOCKER if page.target == "docker" else _CONTEXT).fullmatch(address):
        key = where if where == ADDRESS else f"{where}: address"
        raise Refusal(f"{key} is {address[:100]!r}.", do=f"It must be {ADDRESSES[page.target]}.")
    known = {item.name: getattr(page, item.name) for item in dataclasses.fields(Page)}
    return Environment(**{**known, "address": address, "name": name})
