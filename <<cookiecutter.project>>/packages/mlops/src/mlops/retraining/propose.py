"""The verb `propose`: what becomes of models that were trained anew? A pull request, an issue, or nothing new.

It runs trusted code after the training jobs, and believes them no more than `store` does, whose verb it uses for the
bytes. A branch appears as a whole, with the lock of a version that passed; a run that ends in between leaves a working
branch at most, which the next run replaces. Standard library and git only, except for pushing to a bucket.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from mlops import actions, config, github, origin
from mlops.cli import Outcome
from mlops.errors import Refusal
from mlops.origin import Origin
from mlops.reporting import facts
from mlops.reporting.command import Left, of_plan
from mlops.reporting.planned import Planned
from mlops.retraining import branches, words
from mlops.retraining.start import read
from mlops.storing.store import WORKFLOW, store

LABEL = "retraining"
NOT_ALLOWED = "not permitted to create"
"""What GitHub says where the setting that lets workflows open pull requests is off."""

Kind = Literal["proposed", "refused", "nothing new"]


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a run found out about one model, in values: what is decided on."""

    model: str
    reasons: tuple[str, ...]
    """Why it was trained anew."""
    evidence: Mapping[str, Any]
    """What the gate wrote, or what stands for it."""
    stored: bool = False
    store_problem: str = ""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What becomes of it, and why in sentences."""

    kind: Kind
    why: tuple[str, ...] = field(default=())


def decide(found: Found) -> Decision:
    """A version that passed and is stored is proposed; one that serves already is nothing new; all else is refused."""
    verdict = facts.table(found.evidence.get("verdict"))
    why = tuple(str(reason) for reason in facts.items(verdict.get("reasons")))
    if verdict.get("verdict") != "passed":
        return Decision(kind="refused", why=why or ("The training job left no verdict: see its log.",))
    champion = facts.table(found.evidence.get("champion"))
    if champion and champion.get("version") == found.evidence.get("version"):
        return Decision(
            kind="nothing new", why=("The newer data made the same version: nothing that it reads changed.",)
        )
    if not found.stored:
        problem = found.store_problem or "What was trained could not be stored: see the log."
        return Decision(kind="refused", why=(problem,))
    return Decision(kind="proposed", why=why)


def find(root: Path, model: str, head: str, reasons: Sequence[str], artifacts: str | None = None) -> Found:
    """What the gate wrote about a model that was measured at `head`, in `reports/` or in `artifacts`; read as data."""
    asked = Planned(head=head, writable=True, models={model: tuple(reasons)})
    (evidence,) = of_plan(Left.at(root, artifacts), asked)
    return Found(model=model, reasons=tuple(reasons), evidence=evidence)


def told(found: Found, decision: Decision) -> tuple[str, str]:
    """Title and text of the pull request, or of the issue that says why there is none."""
    if decision.kind == "proposed":
        body = words.body(found.model, found.reasons, decision.why, actions.run_url())
        return words.title(found.model, found.evidence), body
    text = words.refused(found.model, found.reasons, decision.why, actions.run_url())
    return words.refused_title(found.model), text


def propose(root: Path, started: str, artifacts: str) -> Outcome:
    """Store, then open or update one pull request or one issue per model of `started` (what `start --into` wrote).

    Exit 2 when something was left undone, such as a pull request that GitHub did not take; one that GitHub does not
    allow workflows to open is no failure: an issue says what to click.
    """
    _, asked = read(Path(started))
    lines: list[str] = []
    values, failed = [], False
    for one in asked:
        try:
            done = _propose(root, one, artifacts)
            lines += done.text.splitlines()
            values.append(done.value)
        except Refusal as refusal:
            failed = True
            lines.append(f"{one['model']}: {refusal}")
            actions.annotate("error", f"{one['model']}: {refusal.what}", title="Retraining")
    actions.summary(words.summary(lines))
    return Outcome("\n".join(lines) or "Nothing was trained.", values, 2 if failed else 0)


def _propose(root: Path, one: Mapping[str, Any], artifacts: str) -> Outcome:
    model, head = str(one["model"]), str(one["head"])
    found = find(root, model, head, one["reasons"], artifacts)
    if decide(found).kind == "refused" and found.evidence["verdict"]["verdict"] == "passed":
        found = _stored(root, found, head, artifacts)
    decision = decide(found)
    with origin.opened(root) as remote:
        heads = remote.heads()
        working, proposed = branches.working(model), branches.proposed(model)
        if decision.kind == "proposed":
            text = _open(root, remote, heads, found, decision)
        elif decision.kind == "refused":
            text = _refuse(found, decision)
        else:
            text = f"{model}: {decision.why[0]}"
        if working in heads:
            remote.delete(working, at=heads[working])
    value = {"model": model, "kind": decision.kind, "branch": proposed if decision.kind == "proposed" else None}
    return Outcome(text, value)


def _stored(root: Path, found: Found, head: str, artifacts: str) -> Found:
    """Verify and store what the training job packed; only `store` decides whether it may."""
    folder = Path(artifacts) / f"outputs-{found.model}"
    done = store(root, str(folder), branches.working(found.model), head, later=True)
    kept = [one["model"] for one in done.value["stored"]] == [found.model]
    problem = "" if kept else " ".join(done.text.split())
    return Found(model=found.model, reasons=found.reasons, evidence=found.evidence, stored=kept, store_problem=problem)


def _open(root: Path, remote: Origin, heads: Mapping[str, str], found: Found, decision: Decision) -> str:
    """Put the version on its branch, then open its pull request or change what it says."""
    model, branch = found.model, branches.proposed(found.model)
    default = remote.default_branch()
    if default is None:
        raise Refusal(f"{model}: origin names no default branch.", do="Set one in the settings of the repository.")
    tip = heads[branches.working(model)]
    remote.learn(tip)
    before = heads.get(branch)
    after = tip if before is None else remote.join(tip, before)
    if not remote.push(after, branch):
        raise Refusal(f"{model}: somebody pushed to {branch} at this moment.", do="Run it again.")
    title, body = told(found, decision)
    pull = github.pull_request_of(branch)
    try:
        number = pull.number if pull else github.create_pull_request(title, body, branch=branch, into=default)
    except github.Failure as failure:
        if NOT_ALLOWED not in failure.what:
            raise
        return _cannot_open(model, branch, default, failure)
    if pull:
        github.update_pull_request(number, title=title, body=body)
    _close_issues(model, number)
    said = [f"{model}: pull request {number} is {'updated' if pull else 'opened'}, from {branch}."]
    if os.environ.get("MLOPS_PUSH_STARTS_CI") != "true":
        github.dispatch(WORKFLOW, branch=branch)
        said.append(f"{WORKFLOW} was started there, so that it gets its report and its verdict.")
    if _merges_itself(root, model):
        said.append(_merge(number))
    return " ".join(said)


def _merges_itself(root: Path, model: str) -> bool:
    toml = root / "models" / model / "model.toml"
    return config.retrain(toml.read_text(encoding="utf-8"), where=str(toml))[1].auto_merge


def _merge(number: int) -> str:
    try:
        github.merge_when_passed(number)
    except github.Failure as failure:
        return f"It does not merge by itself: {failure.what}"
    return "It merges by itself when its verdict is passed."


def _cannot_open(model: str, branch: str, default: str, failure: github.Failure) -> str:
    """GitHub lets no workflow open a pull request here: the branch is whole, and a person needs two clicks."""
    _tell(model, words.not_allowed_title(model), words.not_allowed(model, branch, default, actions.repository_url()))
    actions.annotate("warning", f"{model}: {failure.what} {words.ALLOW}", title="Retraining")
    return f"{model}: {branch} is ready, but workflows may not open pull requests here. {words.ALLOW}"


def _refuse(found: Found, decision: Decision) -> str:
    """An issue says why; the one of an earlier run is changed."""
    number = _tell(found.model, *told(found, decision))
    return f"{found.model}: not proposed, issue {number} says why. {decision.why[0]}"


def _tell(model: str, title: str, body: str) -> int:
    mine = _issues(model)
    marked = f"{body}\n{words.marker(model)}\n"
    if not mine:
        return github.create_issue(title, marked, label=LABEL).number
    github.update_issue(mine[0].number, title=title, body=marked)
    return mine[0].number


def _issues(model: str) -> list[github.Issue]:
    return [one for one in github.open_issues(LABEL) if words.marker(model) in one.body]


def _close_issues(model: str, number: int) -> None:
    for one in _issues(model):
        github.comment_on_issue(one.number, f"A newer version passed: see pull request #{number}.")
        github.close_issue(one.number, done=True)
