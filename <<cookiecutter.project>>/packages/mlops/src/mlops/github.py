"""Questions and orders to GitHub, and nothing else: every call to the `gh` program is here. Standard library only.

`gh` brings the token (`GH_TOKEN` in a workflow, `gh auth login` on a laptop) and the pages of a long answer.
A failure is a `Failure`: one or two lines that say what GitHub refused and which permission is missing.
"""

import json
import os
import re
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from mlops.errors import Refusal

SECONDS = 120
"""The longest that one call may take."""

PAUSES = (1.0, 4.0)
"""Seconds to wait before a question is asked again that GitHub could not answer for a moment."""

ACTIONS_BOT = "github-actions[bot]"
"""Who writes with the token that every workflow has."""

_STATUS = re.compile(r"\(HTTP (\d{3})\)")
_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_NO_TOKEN = ("gh auth login", "GH_TOKEN environment variable", "authentication token")


class Failure(Refusal):
    """What GitHub did not do; `status` is the HTTP status of its answer, None when there was none."""

    def __init__(self, what: str, *, do: str = "", status: int | None = None) -> None:
        super().__init__(what, do=do)
        self.status = status


@dataclass(frozen=True)
class Comment:
    """One comment of a pull request; `author` is a login, such as `github-actions[bot]`."""

    id: int
    author: str
    body: str


@dataclass(frozen=True)
class PullRequest:
    """A pull request: its number, and the commit it stands at."""

    number: int
    head: str


def viewer() -> str:
    """The login that the token writes as; where GitHub does not say, that of the workflows' own token."""
    try:
        found = _call("graphql", body={"query": "query { viewer { login } }"}, what="say whose token this is")
        return str(found["data"]["viewer"]["login"])
    except (Failure, KeyError, TypeError):
        return ACTIONS_BOT


def comments(number: int) -> list[Comment]:
    """All comments of a pull request, the oldest first."""
    path = f"{_repository()}/issues/{number:d}/comments?per_page=100"
    found = _pages(path, what=f"show the comments of pull request {number}", needs="pull-requests: read")
    return [_comment(one) for one in found]


def create_comment(number: int, body: str) -> Comment:
    """Write a new comment under a pull request."""
    made = _call(
        f"{_repository()}/issues/{number:d}/comments",
        method="POST",
        body={"body": body},
        what=f"write a comment under pull request {number}",
        needs="pull-requests: write",
    )
    return _comment(made)


def update_comment(comment: int, body: str) -> None:
    """Replace the text of a comment."""
    path = f"{_repository()}/issues/comments/{comment:d}"
    _call(path, method="PATCH", body={"body": body}, what="change the comment", needs="pull-requests: write")


def delete_comment(comment: int) -> None:
    """Take a comment away; one that is gone already is no failure."""
    path = f"{_repository()}/issues/comments/{comment:d}"
    try:
        _call(path, method="DELETE", what="take away a second comment", needs="pull-requests: write")
    except Failure as failure:
        if failure.status != 404:
            raise


def pull_request(number: int) -> PullRequest:
    """The pull request of that number."""
    path = f"{_repository()}/pulls/{number:d}"
    return _pull(_call(path, what=f"show pull request {number}", needs="pull-requests: read"))


def pull_request_of(branch: str) -> PullRequest | None:
    """The open pull request whose head is this repository's `branch`, the oldest of several; None without one."""
    owner = _repository().removeprefix("repos/").split("/")[0]
    path = f"{_repository()}/pulls?state=open&head={owner}:{quote(branch, safe='')}&per_page=100"
    found = _pages(path, what="list the open pull requests", needs="pull-requests: read")
    # GitHub ignores a filter that it does not understand; a fork may have a branch of the same name.
    own = [one for one in found if one["head"]["ref"] == branch and _full_name(one["head"]) == _full_name(one["base"])]
    return min(map(_pull, own), key=lambda one: one.number, default=None)


def parents(commit: str) -> list[str]:
    """The parents of a commit that GitHub has."""
    found = _call(f"{_repository()}/commits/{quote(commit, safe='')}", what="show a commit", needs="contents: read")
    return [str(one["sha"]) for one in found["parents"]]


def dispatch(workflow: str, *, branch: str, inputs: Mapping[str, str] | None = None) -> None:
    """Start a workflow, such as `ci.yml`, on a branch by its `workflow_dispatch`."""
    _call(
        f"{_repository()}/actions/workflows/{quote(workflow, safe='')}/dispatches",
        method="POST",
        body={"ref": branch, "inputs": dict(inputs or {})},
        what=f"start {workflow}",
        needs="actions: write",
    )


def rulesets() -> dict[str, int]:
    """The repository's own rulesets: name to id; of one name the first."""
    path = f"{_repository()}/rulesets?includes_parents=false&per_page=100"
    found: dict[str, int] = {}
    for one in _pages(path, what="show the rulesets", needs="administration: read"):
        found.setdefault(str(one["name"]), int(one["id"]))
    return found


def ruleset(number: int) -> dict[str, Any]:
    """One ruleset with its rules, as GitHub has it."""
    found = _call(f"{_repository()}/rulesets/{number:d}", what="show a ruleset", needs="administration: read")
    return dict(found)


def codeowners_problems() -> list[str]:
    """What GitHub cannot use in the CODEOWNERS of the default branch, one line each; that there is none is one too."""
    try:
        found = _call(f"{_repository()}/codeowners/errors", what="check CODEOWNERS", needs="contents: read")
    except Failure as failure:
        if failure.status != 404:
            raise
        return ["There is no CODEOWNERS on the default branch."]
    return [f"{one['path']}, line {one['line']}: {one['kind']}: {one['source']}" for one in found["errors"]]


def write_ruleset(value: Mapping[str, Any], *, number: int | None = None) -> None:
    """Make a ruleset, or replace the one of that number."""
    path = f"{_repository()}/rulesets" + (f"/{number:d}" if number is not None else "")
    method = "PUT" if number is not None else "POST"
    what = f"write the ruleset {value.get('name')!r}"
    _call(path, method=method, body=dict(value), what=what, needs="administration: write")


def download(repository: str, *, tag: str, asset: str, to: Path) -> None:
    """One file of another repository's release."""
    command = ["gh", "release", "download", tag, "--repo", repository, "--pattern", asset, "--output", str(to)]
    done = _run(command, None)
    if done.returncode != 0:
        raise _failure(done, what=f"give {asset} of {repository} {tag}", needs="contents: read")


def _repository() -> str:
    """The path of this repository; on a laptop gh fills it in from git's remotes."""
    name = os.environ.get("GITHUB_REPOSITORY", "")
    return f"repos/{name}" if _NAME.fullmatch(name) else "repos/{owner}/{repo}"


def _comment(value: Any) -> Comment:
    # The author of a comment may have deleted the account.
    user = value.get("user") or {}
    return Comment(int(value["id"]), str(user.get("login", "")), str(value.get("body") or ""))


def _pull(value: Any) -> PullRequest:
    return PullRequest(int(value["number"]), str(value["head"]["sha"]))


def _full_name(side: Any) -> str | None:
    # The repository of a fork may have been deleted.
    return (side.get("repo") or {}).get("full_name")


def _pages(path: str, *, what: str, needs: str) -> list[Any]:
    """A list that GitHub gives in pages, as a whole."""
    found = _call(path, flags=("--paginate", "--slurp"), what=what, needs=needs)
    return [one for page in found for one in page]


def _call(
    path: str,
    *,
    method: str = "GET",
    body: Mapping[str, Any] | None = None,
    flags: tuple[str, ...] = (),
    what: str,
    needs: str = "",
) -> Any:
    """The JSON answer of one call; `what` completes "GitHub does not …", `needs` is the permission it takes."""
    if path == "graphql":
        method = "POST"
    command = ["gh", "api", path, "--method", method, *flags, *(("--input", "-") if body is not None else ())]
    given = None if body is None else json.dumps(body)
    for pause in (*PAUSES, None):
        done = _run(command, given)
        if done.returncode == 0:
            return _parsed(done.stdout, what)
        failure = _failure(done, what=what, needs=needs)
        # Only a question may be asked twice: an order may have been carried out before the answer was lost.
        lost = failure.status is None or failure.status >= 500
        if method != "GET" or pause is None or not lost or _is_tokenless(done):
            raise failure
        time.sleep(pause)
    raise AssertionError("the last pause ends the loop")


def _run(command: list[str], given: str | None) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(
            command,
            input=given if given is not None else "",
            env=_environment(),
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=SECONDS,
            check=False,
        )
    except FileNotFoundError:
        raise Failure(
            "The program `gh` is not installed.",
            do="Install GitHub's command line, `gh`; GitHub's own runners have it.",
        ) from None
    except subprocess.TimeoutExpired:
        raise Failure(f"GitHub did not answer within {SECONDS} seconds.", do="Run it again.") from None


def _environment() -> dict[str, str]:
    """Ours, and what makes `gh` quiet and lets it find a server other than github.com."""
    found = {key: value for key, value in os.environ.items() if key not in ("GH_DEBUG", "DEBUG", "GH_FORCE_TTY")}
    found |= {"GH_PROMPT_DISABLED": "1", "GH_NO_UPDATE_NOTIFIER": "1", "NO_COLOR": "1"}
    host = urlsplit(found.get("GITHUB_SERVER_URL", "")).netloc
    if host and host != "github.com":
        found["GH_HOST"] = host
        # gh sends GH_TOKEN to github.com only.
        if token := found.get("GH_TOKEN"):
            found["GH_ENTERPRISE_TOKEN"] = token
    return found


def _parsed(answer: str, what: str) -> Any:
    try:
        return json.loads(answer) if answer.strip() else None
    except (ValueError, RecursionError):
        raise Failure(
            f"GitHub was asked to {what} and answered something that is no JSON.", do="Run it again."
        ) from None


def _failure(done: "subprocess.CompletedProcess[str]", *, what: str, needs: str) -> Failure:
    """What went wrong, for a person."""
    said = _said(done)
    found = _STATUS.search(done.stderr)
    status = int(found.group(1)) if found else None
    if _is_tokenless(done):
        return Failure(
            "`gh` has no token for GitHub.",
            do="Type `gh auth login`; in a workflow, give the step `GH_TOKEN: ${{ github.token }}` in its `env`.",
        )
    if status is None:
        return Failure(f"GitHub was asked to {what} and could not be reached: {said}.", do="Run it again.")
    if status == 401:
        do = "It is wrong or has expired: type `gh auth login`, or look at GH_TOKEN."
        return Failure("GitHub does not accept the token.", do=do, status=status)
    if status in (403, 429) and "rate limit" in said.lower():
        return Failure(f"GitHub does not {what} now: {said}.", do="Run it again in an hour.", status=status)
    if status == 403 and needs:
        do = f"The token needs `{needs}`: a job grants it under `permissions`, an organisation may forbid it."
        return Failure(f"GitHub does not {what}: {said}.", do=do, status=status)
    if status == 404:
        do = f"Either it is not there, or the token may not see it (`{needs}`)." if needs else ""
        return Failure(f"GitHub does not {what}: {said}.", do=do, status=status)
    return Failure(f"GitHub does not {what}: {said} ({status}).", do="Run it again." * (status >= 500), status=status)


def _is_tokenless(done: "subprocess.CompletedProcess[str]") -> bool:
    return not _STATUS.search(done.stderr) and any(word in done.stderr for word in _NO_TOKEN)


def _said(done: "subprocess.CompletedProcess[str]") -> str:
    """GitHub's own words in one line: its message and the details that only the body holds."""
    lines = [line for line in done.stderr.splitlines() if line.strip()] or [f"gh ended with {done.returncode}"]
    words = [_STATUS.sub("", lines[0]).removeprefix("gh: ").strip().rstrip(".")]
    try:
        details = json.loads(done.stdout).get("errors", [])
        words += [str(one["message"] if isinstance(one, dict) else one) for one in details[:3]]
    except (ValueError, AttributeError, TypeError, KeyError, RecursionError):
        pass
    told = ": ".join(dict.fromkeys(" ".join(word.split()) for word in words if word))
    return "".join(char for char in told if char.isprintable())[:300]
