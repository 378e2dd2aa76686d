"""What can be set, by environment variables that begin with `SERVE_`; docs/reference/serving.md describes each.

No variable ends in PORT or HOST: Kubernetes sets such names by itself for a Service called `serve`.
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from serve.errors import Refusal

PREFIX = "SERVE_"
OF_KUBERNETES = (f"{PREFIX}SERVICE_", f"{PREFIX}PORT")
SHORTEST_TOKEN = 16


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Each field is the variable of its name in capitals, such as `SERVE_MAX_ROWS`."""

    listen: str = "127.0.0.1:8080"
    version: str = ""
    token: str = dataclasses.field(default="", repr=False)
    token_file: str = ""
    card: str = ""
    log: str = ""
    log_share: float = 1.0
    log_bytes: int = 100_000_000
    max_bytes: int = 1_048_576
    max_rows: int = 1000
    max_requests: int = 64
    timeout: float = 10.0
    drain: float = 5.0

    @property
    def address(self) -> tuple[str, int]:
        """Host and port to listen on; IPv6 stands in brackets."""
        host, _, port = self.listen.rpartition(":")
        return host.removeprefix("[").removesuffix("]"), int(port)


BOUNDS = {
    "log_share": (0.0, 1.0),
    "log_bytes": (10_000, 10**12),
    "max_bytes": (1000, 10**9),
    "max_rows": (1, 10**6),
    "max_requests": (1, 10**5),
    "timeout": (0.1, 3600.0),
    "drain": (0.0, 3600.0),
}


def from_environment(environment: Mapping[str, str]) -> Settings:
    """The settings in the environment; a name or a value that means nothing is refused."""
    fields = {field.name: field for field in dataclasses.fields(Settings)}
    given: dict[str, str | int | float] = {}
    for name, text in environment.items():
        if not name.startswith(PREFIX) or name.startswith(OF_KUBERNETES):
            continue
        field = fields.get(name.removeprefix(PREFIX).lower())
        if field is None or name != name.upper():
            known = ", ".join(f"{PREFIX}{one.upper()}" for one in fields)
            raise Refusal(f"There is no setting {name[:100]}.", do=f"Known: {known}.")
        given[field.name] = text if field.type is str else _number(name, field.name, text, whole=field.type is int)
    return check(dataclasses.replace(Settings(), **given))  # type: ignore[arg-type]


def check(settings: Settings) -> Settings:
    """The settings with the token read from its file; refuses what cannot work."""
    try:
        host, port = settings.address
    except ValueError:
        host, port = "", -1
    if not host or not 0 <= port <= 65535:
        raise Refusal("SERVE_LISTEN is no address.", do="Give host:port, such as 127.0.0.1:8080 or [::]:8080.")
    if settings.token and settings.token_file:
        raise Refusal("SERVE_TOKEN and SERVE_TOKEN_FILE are both set.", do="Set one of them.")
    token = settings.token
    if settings.token_file:
        try:
            token = Path(settings.token_file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            raise Refusal("The file that SERVE_TOKEN_FILE names cannot be read.", do="Name a text file.") from None
    asked = bool(settings.token or settings.token_file)
    if asked and (len(token) < SHORTEST_TOKEN or not token.isascii() or not token.isprintable() or " " in token):
        raise Refusal(
            f"The token is not one: it needs {SHORTEST_TOKEN} or more plain characters without spaces.",
            do="`openssl rand -hex 32` makes one.",
        )
    return dataclasses.replace(settings, token=token)


def _number(name: str, field: str, text: str, *, whole: bool) -> float:
    low, high = BOUNDS[field]
    try:
        value = int(text) if whole else float(text)
    except ValueError:
        value = math.nan
    if not low <= value <= high:
        kind = "a whole number" if whole else "a number"
        raise Refusal(f"{name} is {text[:50]!r}.", do=f"It must be {kind} from {low:g} to {high:g}.")
    return value
