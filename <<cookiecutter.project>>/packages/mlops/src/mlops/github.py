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


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """A pull request as the list shows it; `created` is when it was opened, in UTC as ISO 8601."""

    number: int
    branch: str
    is_open: bool
    is_fork: bool
    created: str


@dataclass(frozen=True, kw_only=True)
class CheckRun:
    """One check of a commit: how it ended (`success`, …; empty while it runs), by which app, in which workflow run."""

    id: int
    name: str
    conclusion: str
    app: str
    run: int | None


@dataclass(frozen=True, kw_only=True)
class Issue:
    """An issue that is open."""

    number: int
    author: str
    title: str
    body: str
    updated: str
    """When it was last changed, in UTC as ISO 8601."""


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """What GitHub knows of one deployment: of which commit, and what was noted with it."""

    id: int
    commit: str
    payload: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class About:
    """The repository itself: `owner/name`, and the settings that the loops depend on."""

    name: str
    default_branch: str
    is_private: bool
    has_issues: bool
    merges_by_itself: bool
    belongs_to_organisation: bool


@dataclass(frozen=True, kw_only=True)
class Place:
    """An environment: whether somebody must agree, and from where it may be entered."""

    is_reviewed: bool
    branches: tuple[str, ...] | None
    """Patterns of branches; None where there is no limit. `~PROTECTED` stands for all that are protected."""


@dataclass(frozen=True, kw_only=True)
class LastRun:
    """The newest finished run of a workflow: how it ended (`success`, …), and its page."""

    conclusion: str
    url: str


@dataclass(frozen=True, kw_only=True)
class Subject:
    """How runs name themselves to a cloud: what the name begins with, and whether it then has GitHub's usual form."""

    prefix: str
    is_default: bool


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


def pull_requests() -> list[Proposal]:
    """All open pull requests, and the hundred newest of those that are closed."""
    opened = f"{_repository()}/pulls?state=open&per_page=100"
    closed = f"{_repository()}/pulls?state=closed&sort=created&direction=desc&per_page=100"
    found = _pages(opened, what="list the open pull requests", needs="pull-requests: read")
    found += _call(closed, what="list the closed pull requests", needs="pull-requests: read")
    return [
        Proposal(
            number=int(one["number"]),
            branch=str(one["head"]["ref"]),
            is_open=one["state"] == "open",
            is_fork=_full_name(one["head"]) != _full_name(one["base"]),
            created=str(one.get("created_at") or ""),
        )
        for one in found
    ]


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


def ask_for(kind: str, payload: Mapping[str, str]) -> None:
    """Start the workflows of the default branch that answer to a `repository_dispatch` of this kind."""
    _call(
        f"{_repository()}/dispatches",
        method="POST",
        body={"event_type": kind, "client_payload": dict(payload)},
        what=f"start what answers to {kind}",
        needs="contents: write",
    )


def is_off(workflow: str) -> bool:
    """Whether a workflow was switched off, as GitHub does it to schedules of a repository where nothing happens."""
    path = f"{_repository()}/actions/workflows/{quote(workflow, safe='')}"
    return str(_call(path, what=f"show {workflow}", needs="actions: read")["state"]) != "active"


def switch_on(workflow: str) -> None:
    """Switch a workflow on; its schedule then counts as used, and lives for another sixty days."""
    path = f"{_repository()}/actions/workflows/{quote(workflow, safe='')}/enable"
    _call(path, method="PUT", what=f"switch {workflow} on", needs="actions: write")


def last_scheduled(workflow: str) -> str | None:
    """When the schedule of a workflow last started it, in UTC as ISO 8601; None when it never did."""
    path = f"{_repository()}/actions/workflows/{quote(workflow, safe='')}/runs?event=schedule&per_page=1"
    found = _call(path, what=f"list the runs of {workflow}", needs="actions: read")["workflow_runs"]
    return str(found[0]["created_at"]) if found else None


def last_run(workflow: str, *, branch: str | None = None) -> LastRun | None:
    """How a workflow last ended, on one branch or on any; None when it never did."""
    on = f"&branch={quote(branch, safe='')}" if branch else ""
    path = f"{_repository()}/actions/workflows/{quote(workflow, safe='')}/runs?status=completed{on}&per_page=1"
    found = _call(path, what=f"list the runs of {workflow}", needs="actions: read")["workflow_runs"]
    return LastRun(conclusion=str(found[0]["conclusion"]), url=str(found[0]["html_url"])) if found else None


def about() -> About:
    """The repository's settings that everybody may see who sees it."""
    found = _call(_repository(), what="show the repository", needs="metadata: read")
    return About(
        name=str(found["full_name"]),
        default_branch=str(found["default_branch"]),
        is_private=bool(found["private"]),
        has_issues=bool(found["has_issues"]),
        # Only who may write is told.
        merges_by_itself=bool(found.get("allow_auto_merge", True)),
        belongs_to_organisation=found["owner"]["type"] == "Organization",
    )


def allowed_actions() -> tuple[bool, str]:
    """Whether workflows run at all, and which actions they may use: `all`, `local_only`, `selected`."""
    path = f"{_repository()}/actions/permissions"
    found = _call(path, what="show the settings of Actions", needs="administration: read")
    return bool(found["enabled"]), str(found.get("allowed_actions", ""))


def token_settings() -> tuple[str, bool]:
    """What the workflows' token may do unless they say it (`read`, `write`), and whether it may open pull requests."""
    path = f"{_repository()}/actions/permissions/workflow"
    found = _call(path, what="show the permissions of workflows", needs="administration: read")
    return str(found["default_workflow_permissions"]), bool(found["can_approve_pull_request_reviews"])


def places() -> dict[str, Place]:
    """The environments, by name."""
    path = f"{_repository()}/environments?per_page=100"
    found = _listed(path, "environments", what="list the environments", needs="actions: read")
    return {str(one["name"]): _place(one) for one in found}


def _place(value: Any) -> Place:
    policy, branches = value.get("deployment_branch_policy"), None
    if policy and policy.get("custom_branch_policies"):
        path = f"{_repository()}/environments/{quote(value['name'], safe='')}/deployment-branch-policies?per_page=100"
        found = _listed(path, "branch_policies", what="show an environment", needs="actions: read")
        branches = tuple(str(one["name"]) for one in found)
    elif policy:
        branches = ("~PROTECTED",)
    kinds = {str(rule.get("type")) for rule in value.get("protection_rules") or ()}
    return Place(is_reviewed="required_reviewers" in kinds, branches=branches)


def variables(environment: str = "") -> dict[str, str]:
    """The variables of the repository, or of one of its environments."""
    return _variables(f"{_settings(environment)}/variables")


def secrets(environment: str = "") -> list[str]:
    """The names of the secrets of the repository, or of one of its environments."""
    return _secrets(f"{_settings(environment)}/secrets")


def shared_variables() -> dict[str, str]:
    """The variables that the organisation shares with the repository."""
    return _variables(f"{_repository()}/actions/organization-variables")


def shared_secrets() -> list[str]:
    """The names of the secrets that the organisation shares with the repository."""
    return _secrets(f"{_repository()}/actions/organization-secrets")


def _settings(environment: str) -> str:
    return f"{_repository()}/environments/{quote(environment, safe='')}" if environment else f"{_repository()}/actions"


def _variables(path: str) -> dict[str, str]:
    found = _listed(f"{path}?per_page=30", "variables", what="list the variables", needs="variables: read")
    return {str(one["name"]): str(one["value"]) for one in found}


def _secrets(path: str) -> list[str]:
    found = _listed(f"{path}?per_page=100", "secrets", what="list the names of the secrets", needs="secrets: read")
    return [str(one["name"]) for one in found]


def has_branch(name: str) -> bool:
    """Whether there is a branch of that name."""
    try:
        path = f"{_repository()}/branches/{quote(name, safe='')}"
        _call(path, what=f"show the branch {name}", needs="contents: read")
    except Failure as failure:
        if failure.status != 404:
            raise
        return False
    return True


def subject() -> Subject:
    """How the runs of this repository name themselves to a cloud."""
    path = f"{_repository()}/actions/oidc/customization/sub"
    found = _call(path, what="show the subject of its identities", needs="actions: read")
    return Subject(prefix=str(found.get("sub_claim_prefix") or ""), is_default=bool(found["use_default"]))


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


def checks(commit: str, name: str) -> list[CheckRun]:
    """The checks of that name on a commit, the oldest first; of several attempts the last."""
    path = f"{_repository()}/commits/{quote(commit, safe='')}/check-runs?check_name={quote(name)}&per_page=100"
    found = _call(path, flags=("--paginate", "--slurp"), what="show the checks of a commit", needs="checks: read")
    runs = [_check(one) for page in found for one in page["check_runs"]]
    return sorted((one for one in runs if one.name == name), key=lambda one: one.id)


def merged_heads(commit: str, *, into: str) -> list[str]:
    """The last commits of the pull requests that brought a commit into the branch `into`."""
    path = f"{_repository()}/commits/{quote(commit, safe='')}/pulls?per_page=100"
    found = _pages(path, what="list the pull requests of a commit", needs="pull-requests: read")
    return [str(one["head"]["sha"]) for one in found if one.get("merged_at") and one["base"]["ref"] == into]


def event_of(run: int) -> str:
    """What started a workflow run, such as `merge_group`."""
    found = _call(f"{_repository()}/actions/runs/{run:d}", what="show a workflow run", needs="actions: read")
    return str(found["event"])


def open_issues(label: str) -> list[Issue]:
    """The open issues with this label, the oldest first; pull requests are none."""
    path = f"{_repository()}/issues?state=open&labels={quote(label, safe='')}&direction=asc&per_page=100"
    found = _pages(path, what="list the issues", needs="issues: read")
    return [_issue(one) for one in found if "pull_request" not in one]


def create_issue(title: str, body: str, *, label: str) -> Issue:
    """Open an issue; a label that is new is made by that."""
    made = _call(
        f"{_repository()}/issues",
        method="POST",
        body={"title": title, "body": body, "labels": [label]},
        what="open an issue",
        needs="issues: write",
    )
    return _issue(made)


def update_issue(number: int, *, title: str, body: str) -> None:
    """Replace what an issue says."""
    path = f"{_repository()}/issues/{number:d}"
    _call(
        path, method="PATCH", body={"title": title, "body": body}, what=f"change issue {number}", needs="issues: write"
    )


def close_issue(number: int, *, done: bool) -> None:
    """Close an issue: it was done, or it does not matter any more."""
    body = {"state": "closed", "state_reason": "completed" if done else "not_planned"}
    path = f"{_repository()}/issues/{number:d}"
    _call(path, method="PATCH", body=body, what=f"close issue {number}", needs="issues: write")


def comment_on_issue(number: int, body: str) -> None:
    """Write a comment under an issue."""
    path = f"{_repository()}/issues/{number:d}/comments"
    _call(path, method="POST", body={"body": body}, what=f"write under issue {number}", needs="issues: write")


def update_pull_request(number: int, *, title: str, body: str) -> None:
    """Replace what a pull request says at its top."""
    _call(
        f"{_repository()}/pulls/{number:d}",
        method="PATCH",
        body={"title": title, "body": body},
        what=f"change pull request {number}",
        needs="pull-requests: write",
    )


def merge_when_passed(number: int) -> None:
    """Let GitHub merge a pull request as soon as everything is there that its branch requires."""
    about = _call(f"{_repository()}/pulls/{number:d}", what="show a pull request", needs="pull-requests: read")
    query = (
        "mutation($pull: ID!) { enablePullRequestAutoMerge(input: {pullRequestId: $pull, mergeMethod: SQUASH}) "
        "{ clientMutationId } }"
    )
    body = {"query": query, "variables": {"pull": str(about["node_id"])}}
    _call("graphql", body=body, what=f"merge pull request {number} by itself", needs="contents: write")


def create_pull_request(title: str, body: str, *, branch: str, into: str) -> int:
    """Open a pull request of one branch of this repository onto another: its number."""
    made = _call(
        f"{_repository()}/pulls",
        method="POST",
        body={"title": title, "body": body, "head": branch, "base": into},
        what="open a pull request",
        needs="pull-requests: write",
    )
    return int(made["number"])


def deployments(environment: str, *, task: str) -> list[Deployment]:
    """What was deployed to an environment under this task, the newest first; the last hundred of it."""
    query = f"environment={quote(environment, safe='')}&task={quote(task, safe='')}&per_page=100"
    found = _call(f"{_repository()}/deployments?{query}", what="list the deployments", needs="deployments: read")
    return [_deployment(one) for one in found]


def create_deployment(
    commit: str, environment: str, *, task: str, description: str, payload: Mapping[str, Any]
) -> Deployment:
    """Note a deployment of a commit. GitHub starts nothing by it, and asks for no check: both were done before."""
    made = _call(
        f"{_repository()}/deployments",
        method="POST",
        body={
            "ref": commit,
            "task": task,
            "environment": environment,
            "description": description[:140],
            "payload": dict(payload),
            "auto_merge": False,
            "required_contexts": [],
        },
        what="note a deployment",
        needs="deployments: write",
    )
    return _deployment(made)


def set_deployment(deployment: int, state: str, *, description: str, log: str | None) -> None:
    """Say how a deployment stands: `success`, `failure`, `inactive`. Others of the environment stay as they are."""
    about = {"log_url": log} if log else {}
    _call(
        f"{_repository()}/deployments/{deployment:d}/statuses",
        method="POST",
        body={"state": state, "description": description[:140], "auto_inactive": False, **about},
        what="note how a deployment ended",
        needs="deployments: write",
    )


def write_release(tag: str, *, commit: str, title: str, body: str) -> str:
    """Publish a release note under a tag, or replace the text of the one that is there: its address."""
    known = f"{_repository()}/releases/tags/{quote(tag, safe='')}"
    text = {"name": title, "body": body}
    try:
        number: int | None = int(_call(known, what="show a release", needs="contents: read")["id"])
    except Failure as failure:
        if failure.status != 404:
            raise
        number = None
    if number is not None:
        path, method = f"{_repository()}/releases/{number:d}", "PATCH"
    else:
        path, method = f"{_repository()}/releases", "POST"
        text |= {"tag_name": tag, "target_commitish": commit, "make_latest": "false"}
    made = _call(path, method=method, body=text, what="write a release note", needs="contents: write")
    return str(made["html_url"])


def verify_attestation(image: str, *, workflow: str, branch: str, commit: str) -> None:
    """Refuse an image (`name@sha256:…`) that this repository's `workflow` has not attested for this commit of a branch.

    `gh` looks the image up in its registry, and checks signature, certificate and transparency log.
    """
    repository = os.environ.get("GITHUB_REPOSITORY", "")
    if not _NAME.fullmatch(repository):
        raise Failure("Whose attestation is asked for is not known.", do="Set GITHUB_REPOSITORY to owner/name.")
    command = ["gh", "attestation", "verify", f"oci://{image}", "--repo", repository]
    command += ["--signer-workflow", f"{repository}/.github/workflows/{workflow}"]
    command += ["--source-ref", f"refs/heads/{branch}", "--source-digest", commit, "--deny-self-hosted-runners"]
    done = _run(command, None)
    if done.returncode == 0:
        return
    if _is_tokenless(done):
        raise _failure(done, what="show the attestations", needs="attestations: read")
    said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    why = next((line for line in reversed(said) if line.lower().startswith("error")), said[-1] if said else "no reason")
    raise Failure(
        f"The attestation of {image} does not verify: {''.join(c for c in why if c.isprintable())[:300].rstrip('.')}.",
        do="Nothing is deployed that this repository has not attested: release the model again.",
    )


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


def _check(value: Any) -> CheckRun:
    run = re.search(r"/actions/runs/(\d+)", str(value.get("details_url") or ""))
    return CheckRun(
        id=int(value["id"]),
        name=str(value["name"]),
        conclusion=str(value.get("conclusion") or ""),
        app=str((value.get("app") or {}).get("slug", "")),
        run=int(run[1]) if run else None,
    )


def _issue(value: Any) -> Issue:
    user = value.get("user") or {}
    return Issue(
        number=int(value["number"]),
        author=str(user.get("login", "")),
        title=str(value.get("title") or ""),
        body=str(value.get("body") or ""),
        updated=str(value.get("updated_at") or ""),
    )


def _deployment(value: Any) -> Deployment:
    payload = value.get("payload")
    # GitHub gives a payload back as the text that it was sent as, or as what it held.
    if isinstance(payload, str):
        try:
            payload = json.loads(payload or "{}")
        except (ValueError, RecursionError):
            payload = {}
    return Deployment(
        id=int(value["id"]), commit=str(value["sha"]), payload=payload if isinstance(payload, dict) else {}
    )


def _full_name(side: Any) -> str | None:
    # The repository of a fork may have been deleted.
    return (side.get("repo") or {}).get("full_name")


def _pages(path: str, *, what: str, needs: str) -> list[Any]:
    """A list that GitHub gives in pages, as a whole."""
    found = _call(path, flags=("--paginate", "--slurp"), what=what, needs=needs)
    return [one for page in found for one in page]


def _listed(path: str, key: str, *, what: str, needs: str) -> list[Any]:
    """The same of an answer that has its list under a key."""
    found = _call(path, flags=("--paginate", "--slurp"), what=what, needs=needs)
    return [one for page in found for one in page[key]]


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
