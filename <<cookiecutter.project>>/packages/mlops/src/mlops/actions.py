"""What does GitHub Actions ask and tell? The only module that knows its variables, files and workflow commands.

On a laptop there is no event, no summary and no annotation: each function then does nothing, and says so by its value.
Standard library only.
"""

import json
import os
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mlops.errors import Refusal

MOST_SUMMARY = 1_000_000
"""Bytes of one step's summary; GitHub drops one of more than 1 MiB as a whole."""

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_RUN = re.compile(r"https?://[\w.-]+(?::\d+)?/[\w.-]+/[\w.-]+/actions/runs/\d+", re.ASCII)
_BOTS = ("dependabot[bot]",)


@dataclass(frozen=True, kw_only=True)
class Event:
    """What started this run; every text in it may have been chosen by a stranger."""

    name: str = ""
    """`pull_request`, `merge_group`, `workflow_dispatch`, …; empty on a laptop."""
    number: int | None = None
    """The pull request that the event is about."""
    head: str = ""
    """The measured commit; empty where it is not known."""
    branch: str = ""
    """The branch that the measured commit is the head of."""
    default_branch: str = ""
    is_fork: bool = False
    """Whether the measured commit comes from another repository."""
    author: str = ""
    """The login of who opened the pull request."""
    actor: str = ""
    """The login of who started the run."""


def event() -> Event:
    """This run's event, from `GITHUB_EVENT_PATH` and the variables beside it; `Refusal` for a broken one."""
    name = os.environ.get("GITHUB_EVENT_NAME", "")
    actor = os.environ.get("GITHUB_ACTOR", "")
    payload = _payload()
    repository = _table(payload.get("repository"))
    default = _text(repository.get("default_branch"))
    commit = os.environ.get("GITHUB_SHA", "")
    pull = _table(payload.get("pull_request"))
    if pull:
        head, base = _table(pull.get("head")), _table(pull.get("base"))
        number = pull.get("number")
        ours = _text(_table(base.get("repo")).get("full_name")) or os.environ.get("GITHUB_REPOSITORY", "")
        return Event(
            name=name,
            number=number if isinstance(number, int) and not isinstance(number, bool) else None,
            head=_commit(_text(head.get("sha"))),
            branch=_text(head.get("ref")),
            default_branch=default,
            # A fork that was deleted since has no repository any more.
            is_fork=_text(_table(head.get("repo")).get("full_name")) != ours,
            author=_text(_table(pull.get("user")).get("login")),
            actor=actor,
        )
    group = _text(_table(payload.get("merge_group")).get("head_sha"))
    ref = os.environ.get("GITHUB_REF", "")
    return Event(
        name=name,
        head=_commit(group or commit),
        # A tag is no branch, whatever it is called.
        branch=ref.removeprefix("refs/heads/") if ref.startswith("refs/heads/") else "",
        default_branch=default,
        actor=actor,
    )


def writable(about: Event) -> bool:
    """Whether this run's token may write to what it measured: our own branch, and not for Dependabot."""
    if about.name == "pull_request":
        return not about.is_fork and about.actor not in _BOTS and about.author not in _BOTS
    known = about.name == "workflow_dispatch" and about.branch and about.default_branch
    return bool(known) and about.branch != about.default_branch


def run_url() -> str | None:
    """The address of this run's page; None on a laptop."""
    names = ("GITHUB_SERVER_URL", "GITHUB_REPOSITORY", "GITHUB_RUN_ID")
    server, repository, run = (os.environ.get(name, "") for name in names)
    url = f"{server}/{repository}/actions/runs/{run}"
    return url if _RUN.fullmatch(url) else None


def only_of_the_default_branch(what: str) -> None:
    """Refuse a run of another branch than the default one; `what` is done there only, such as "Models are released"."""
    about = event()
    if about.name and about.default_branch and about.branch != about.default_branch:
        raise Refusal(
            f"{what} on {about.default_branch} only, and this run is about {about.branch or 'a tag'}.",
            do=f"Start this workflow on {about.default_branch}.",
        )


def asked() -> Any:
    """What a `repository_dispatch` brought along; None for every other event."""
    return _payload().get("client_payload")


def repository_url() -> str | None:
    """The address of this repository's page; None on a laptop."""
    run = run_url()
    return run.partition("/actions/runs/")[0] if run else None


def summary(text: str) -> bool:
    """Add Markdown to the page of this run; False where there is none, `Refusal` where it is too long."""
    data = text.encode("utf-8", "replace")
    if len(data) > MOST_SUMMARY:
        raise Refusal(f"A summary of {len(data):,} bytes is too long; GitHub shows at most {MOST_SUMMARY:,}.")
    return _append("GITHUB_STEP_SUMMARY", data)


def output(values: Mapping[str, str]) -> bool:
    """Set outputs of this step; False where nobody reads them. Names are ours, values may hold anything."""
    said = []
    for name, value in values.items():
        # A value cannot end its own block, because nobody can know this word beforehand.
        end = f"end-{uuid.uuid4().hex}"
        said.append(f"{name}\x3c\x3c{end}\n{value}\n{end}\n")
    return _append("GITHUB_OUTPUT", "".join(said).encode("utf-8", "replace"))


def set_variable(name: str, value: str) -> bool:
    """Set a variable of the environment for all later steps of this job; False where there are none."""
    end = f"end-{uuid.uuid4().hex}"
    return _append("GITHUB_ENV", f"{name}\x3c\x3c{end}\n{value}\n{end}\n".encode())


def add_path(folder: Path) -> bool:
    """Put a folder of programs before all others for the later steps of this job; False where there are none."""
    return _append("GITHUB_PATH", f"{folder}\n".encode())


def temporary() -> Path | None:
    """The folder that goes away with this job; None on a laptop."""
    path = os.environ.get("RUNNER_TEMP", "")
    return Path(path) if path and os.environ.get("GITHUB_ACTIONS") == "true" else None


def annotate(level: Literal["notice", "warning", "error"], text: str, *, title: str = "") -> bool:
    """Show one sentence on the run's page and in the pull request; False outside of GitHub Actions."""
    if os.environ.get("GITHUB_ACTIONS") != "true":
        return False
    about = f" title={_escaped(title, more={':': '%3A', ',': '%2C'})}" if title else ""
    print(f"::{level}{about}::{_escaped(text)}", flush=True)
    return True


def quiet(text: str) -> str:
    """The same lines for a log, where none of them is taken for a workflow command."""
    lines = (re.sub(r"^(\s*):(?=:)", "\\1: ", line) for line in text.replace("\r", "\n").split("\n"))
    return "\n".join(line.replace("##[", "# #[") for line in lines)


def _escaped(text: str, more: Mapping[str, str] | None = None) -> str:
    line = text.encode("utf-8", "replace").decode("utf-8").replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    for sign, code in (more or {}).items():
        line = line.replace(sign, code)
    return line


def _append(variable: str, data: bytes) -> bool:
    path = os.environ.get(variable)
    if not path:
        return False
    with Path(path).open("ab") as stream:
        stream.write(data)
    return True


def _payload() -> dict[str, Any]:
    path = os.environ.get("GITHUB_EVENT_PATH")
    if not path:
        return {}
    try:
        return _table(json.loads(Path(path).read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError):
        raise Refusal("The event of this run cannot be read.", do="Look at GITHUB_EVENT_PATH.") from None


def _table(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _commit(value: str) -> str:
    return value if _COMMIT.fullmatch(value) else ""
