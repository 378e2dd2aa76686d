"""The verbs `deploy`, `rollback` and `status`: reads the environment's page, picks its target, and says what happened.

They run on a bare Python. A rollback needs the page, the name of the model and the target, and nothing else: no GitHub,
no data, no package.
"""

import datetime as dt
import getpass
import json
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mlops import actions
from mlops.cli import Outcome
from mlops.deploying import audit, environments, freeze
from mlops.deploying.docker import Docker, Engine
from mlops.deploying.environments import Environment
from mlops.deploying.host import Host
from mlops.deploying.release import STRATEGIES, Author, Release, Result, State, Target
from mlops.errors import Refusal, counted
from mlops.files import read_json, write_json
from mlops.packaging.image import project
from mlops.workspace import Model

ROWS = 2_000
"""Most rows of the holdout that are replayed, again from the first."""
SHOWN = 5
"""Entries of the audit log that `status` shows."""


@dataclass(frozen=True)
class _Asked:
    """An image, by its name or its digest, and the version that it should be."""

    image: str
    version: str | None
    commit: str = ""


def deploy(
    model: Model,
    environment: str,
    strategy: str | None = None,
    image: str | None = None,
    version: str | None = None,
    override: str | None = None,
    into: str | None = None,
) -> Outcome:
    """Let a packaged version serve in an environment; exit 1 when it was worse and what served before still does."""
    page = _page(model, environment)
    if strategy is not None and strategy not in STRATEGIES:
        raise Refusal(f"There is no strategy {strategy[:50]!r}.", do=f"Take one of {', '.join(STRATEGIES)}.")
    frozen = freeze.standing(
        reason=page.freeze.reason,
        windows=page.freeze.windows,
        switch=os.environ.get(freeze.SWITCH, ""),
        now=dt.datetime.now(dt.UTC),
    )
    passed = freeze.admit(frozen, what="deploy", model=model.name, environment=environment, override=override)
    asked = _asked(model, image, version)
    target = _target(model, page, override=passed)
    release = _release(model, target, asked)
    way = strategy or page.strategy
    _say(f"{model.name} {release.version} to {environment}, {way}")
    return _ended(target.deploy(release, strategy=way, say=_say), page, model, into)


def rollback(
    model: Model, environment: str, to: str | None = None, reason: str | None = None, into: str | None = None
) -> Outcome:
    """Let an earlier version serve again: the one before, or the one that `to` names."""
    page = _page(model, environment)
    target = _target(model, page)
    result = target.rollback(model=model.name, to=to or None, reason=reason or "asked for", say=_say)
    return _ended(result, page, model, into, code=0)


def status(model: Model, environment: str) -> Outcome:
    """What serves, what it can go back to, what was begun, and what was done last."""
    page = _page(model, environment)
    target = _target(model, page)
    state = target.state(model.name)
    if state is None or (state.current is None and not state.previous and state.pending is None):
        text = f"{model.name} was never deployed to {environment}.\n  {_deploy(model, page)} deploys it."
        return Outcome(text, {"state": None})
    lines = [_serving(model, page, state)]
    facts: dict[str, Any] = {"state": state.to_json()}
    (ready, known), shares = target.healthy(model.name), target.shares(model.name)
    what = "pod" if page.target == "kubernetes" else "container"
    lines.append(f"  {ready} of {counted(known, what)} ready; requests: {_shares(shares)}")
    facts |= {"ready": ready, "containers": known, "shares": shares}
    if state.previous:
        lines.append(f"  it can go back to {', '.join(state.earlier)}")
    if state.pending is not None:
        lines += _pending(state, model, environment)
    log = target.audit(model.name)
    entries, broken = audit.entries(log), audit.verify(log, known_head=state.head or None)
    lines += [f"  {_entry(one)}" for one in entries[-SHOWN:]]
    facts |= {"audit": entries, "audit_broken": broken}
    if broken is not None:
        lines.append(f"  The audit log was changed: line {broken + 1} is not there as it was written.")
    return Outcome("\n".join(lines), facts, int(broken is not None))


def _page(model: Model, name: str) -> Environment:
    page = environments.load(model.root, name, variables=os.environ)
    if page.host is None:
        raise Refusal(
            f"{name} has no target yet.",
            do=f"Set `address` in deploy/environments/{name}.toml: {environments.ADDRESSES[page.target]}.",
        )
    return page


def _target(model: Model, page: Environment, *, override: str = "") -> Target:
    author = Author(name=_who(), run=actions.run_url() or "", override=override)
    if page.target == "kubernetes":
        from mlops.deploying.namespace import Namespace

        return Namespace(page, root=model.root, author=author)
    host = page.host or ""
    engine = Engine(Docker(host), project=project(model.root), environment=page.name, host=host)
    return Host(engine, page, author=author, rows=lambda name: _rows(Model(model.root, name)))


def _who() -> str:
    """Who types this, for the audit log."""
    if actor := actions.event().actor:
        return actor
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (KeyError, OSError):
        return socket.gethostname()


def _asked(model: Model, image: str | None, version: str | None) -> _Asked:
    """What to deploy: a named image, or the one that `make image` made last, which a file describes."""
    path = Path(image) if image and image.endswith(".json") else None if image else model.reports / "image.json"
    if path is None:
        assert image is not None
        return _Asked(image, version)
    known = read_json(path, do=f"`make image MODEL={model.name}` packages the trained version.")
    try:
        found = _Asked(str(known["image"]), str(known["version"]), str(known["commit"]))
        named = str(known["model"])
    except (KeyError, TypeError):
        raise Refusal(f"{path} does not describe an image.", do=f"`make image MODEL={model.name}` writes it.") from None
    if named != model.name or version not in (None, found.version):
        wanted = f"{model.name} {version}" if version else model.name
        raise Refusal(f"{path} describes {named} {found.version}, not {wanted}.", do="Package that one: `make image`.")
    return found


def _release(model: Model, target: Target, asked: _Asked) -> Release:
    if isinstance(target, Host):
        return target.resolve(model.name, asked.image, asked.version)
    if asked.version is None:
        raise Refusal("Which version is that image?", do="Say it with --version.")
    return Release(model=model.name, version=asked.version, image=asked.image, commit=asked.commit)


def _rows(model: Model) -> Sequence[Mapping[str, Any]]:
    """Rows of the holdout, as a client would send them; none where they, or polars, are not at hand."""
    try:
        import polars as pl

        manifest = json.loads((model.export / "manifest.json").read_text(encoding="utf-8"))
        names = [one["name"] for one in manifest["features"]]
        frame = pl.scan_parquet(model.holdout).select(names).head(ROWS).collect()
        return [json.loads(line) for line in frame.write_ndjson().splitlines()]
    except (ImportError, OSError, ValueError, KeyError):
        return ()
    except Exception as error:
        if type(error).__module__.startswith("polars"):
            return ()
        raise


def _ended(result: Result, page: Environment, model: Model, into: str | None, code: int | None = None) -> Outcome:
    value = {
        "outcome": result.outcome,
        "sentence": result.sentence,
        "release": asdict(result.release) if result.release else None,
        "facts": result.facts,
    }
    if into:
        write_json(Path(into), value)
    worse = result.outcome == "rolled back" if code is None else bool(code)
    return Outcome("\n  ".join(filter(None, (result.sentence, _next(result, page, model)))), value, int(worse))


def _next(result: Result, page: Environment, model: Model) -> str:
    """What to type next."""
    if result.outcome == "deployed":
        where = f"http://127.0.0.1:{page.port}" if page.host == "" else f"port {page.port} of {page.host}"
        ask = f"Its clients ask {where}/{model.name}/predict." if page.target == "docker" else ""
        left = result.facts.get("left")
        back = f"`make rollback MODEL={model.name} ENV={page.name}` goes back to {left}." if left else ""
        return " ".join(filter(None, (ask, back)))
    return f"`make status MODEL={model.name} ENV={page.name}` says what serves."


def _deploy(model: Model, page: Environment) -> str:
    return f"`make image MODEL={model.name}` and `make deploy MODEL={model.name} ENV={page.name}`"


def _serving(model: Model, page: Environment, state: State) -> str:
    if state.current is None:
        return f"Nothing of {model.name} serves in {page.name}."
    commit = f", from {state.current.commit[:10]}" if state.current.commit else ""
    return f"{model.name} {state.current.version} serves in {page.name}{commit}."


def _shares(shares: Mapping[str, float]) -> str:
    return ", ".join(f"{share:.0f} % to {version}" for version, share in sorted(shares.items())) or "to nothing"


def _pending(state: State, model: Model, environment: str) -> list[str]:
    one = state.pending
    assert one is not None
    way = "undoing" if one.undoing else "step" if one.left else ""
    # Kubernetes makes its own steps.
    where = f"{min(one.step + 1, len(one.left))} of {len(one.left)}" if one.left else ""
    place = " ".join(filter(None, (way, where)))
    begun = f"begun by {one.by} at {one.started}"
    lines = [f"  {one.strategy} of {one.release.version}, {begun}{f': {place}' if place else ''}"]
    if one.undoing:
        lines.append(f"    because {one.undoing}")
    again = f"`make deploy MODEL={model.name} ENV={environment}`"
    return [*lines, f"    if nobody is at it: {again} goes on, `make rollback` gives it up"]


def _entry(one: Mapping[str, str]) -> str:
    change = f"{one['from'] or 'nothing'} to {one['to'] or 'nothing'}"
    why = f": {one['reason']}" if one["reason"] else ""
    return f"{one['time'][:16].replace('T', ' ')} UTC {one['what']}, {change}, by {one['who']}{why}"


def _say(text: str) -> None:
    print(f"  {text}", flush=True)
