"""The verb `verdict`: may this change be merged, and if not, why? The one check that the default branch requires.

`judge` is a pure table of rules; around it, the results of all jobs come from `NEEDS`, the plan and the evidence from
files that jobs with the pull request's code wrote. Standard library only: it runs the base commit's code.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlops import actions
from mlops.cli import Outcome
from mlops.errors import Refusal
from mlops.reporting import command, facts, planned
from mlops.reporting.command import Left
from mlops.reporting.neutral import text, visible
from mlops.reporting.planned import Planned

ALWAYS, WITH_MODELS, WITH_WRITING = "always", "where a model is planned", "where a model is planned and may be stored"

JOBS = {
    "plan": ALWAYS,
    "check": ALWAYS,
    "data": WITH_MODELS,
    "train": WITH_MODELS,
    "report": WITH_MODELS,
    "store": WITH_WRITING,
}
"""Every job, and when it must have run."""

MOST_SHOWN = 100
"""Sentences that are shown; the others are counted."""

_ENDS = {"failure": "failed: see its log", "cancelled": "was cancelled: run it again"}


@dataclass(frozen=True, kw_only=True)
class Case:
    """All that the verdict depends on."""

    results: Mapping[str, Any]
    """The result of every job by its name, as GitHub says it."""
    plan: Planned | None
    """What had to be measured; None where the plan cannot be read."""
    plan_problem: str = ""
    """Why it cannot, in a sentence."""
    head: str = ""
    """The commit that this run is about; empty where nobody says so."""
    started: frozenset[str] | None = None
    """The models for which jobs were started; None where that cannot be read."""
    evidence: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """The evidence of every planned model, or what stands for it (see `facts.unmeasured`)."""
    takeover: str = ""
    """Who can store a version where this run may not, in a sentence."""


def judge(case: Case) -> tuple[str, ...]:
    """One sentence for every reason why the change may not be merged; none when all is well."""
    reds = _jobs(case)
    if case.plan is None:
        # Without a plan nothing else is known; a plan that failed has been named above.
        return (*reds, *([case.plan_problem or "The plan cannot be read."] if not _is_red(case, "plan") else []))
    if case.head and case.plan.head != case.head:
        reds.append(f"The plan is about {case.plan.head[:12]} and this run about {case.head[:12]}: run it again.")
    if case.started != frozenset(case.plan.models):
        reds.append("The jobs that were started are not those of the plan: look at the job plan.")
    told = [sentence for model in case.plan.models if (sentence := _model(case, model))]
    # A job that ended red because of a model says nothing that the model's own sentence does not.
    is_data = any(case.evidence.get(model, {}).get("missing") == "data" for model in case.plan.models)
    explained = [_failed("train")] * bool(told) + [_failed("data")] * is_data
    return (*told, *(red for red in reds if red not in explained))


def _jobs(case: Case) -> list[str]:
    """A sentence for each job that did not end as it must."""
    reds = []
    for job in (*JOBS, *sorted(set(case.results) - set(JOBS))):
        result = case.results.get(job)
        if result == "success" or (result == "skipped" and _may_skip(case, job)):
            continue
        if result == "skipped" and case.plan is None and job not in ("plan", "check"):
            continue  # The plan is red, and says why this one could not run.
        if result == "skipped":
            reds.append(f"The job {_shown(job)} was skipped although the plan did not ask for it.")
        elif isinstance(result, str) and result in _ENDS:
            reds.append(_failed(job) if result == "failure" else f"The job {_shown(job)} {_ENDS[result]}.")
        else:
            reds.append(f"Nobody knows how the job {_shown(job)} ended, and unknown is not a pass.")
    return reds


def _may_skip(case: Case, job: str) -> bool:
    """Whether the plan asked for the skip."""
    when = JOBS.get(job, ALWAYS)
    if when == ALWAYS or case.plan is None:
        return False
    return not case.plan.models or (when == WITH_WRITING and not case.plan.writable)


def _is_red(case: Case, job: str) -> bool:
    return case.results.get(job) != "success"


def _failed(job: str) -> str:
    return f"The job {_shown(job)} {_ENDS['failure']}."


def _model(case: Case, model: str) -> str:
    """Why this model is not good enough; empty when it is."""
    one = case.evidence.get(model)
    if one is None:
        return f"{model} was planned and left no evidence: see the log of its job."
    verdict = facts.table(one.get("verdict"))
    said, reasons = verdict.get("verdict"), [str(reason) for reason in facts.items(verdict.get("reasons")) if reason]
    because = f": {_shown(reasons[0], 400)}" if reasons else ", and it does not say why"
    more = f" And {len(reasons) - 1} more." if len(reasons) > 1 else ""
    if said == "failed":
        return f"{model}: the gate failed{because}{more}"
    if said != "passed":
        return f"{model} was not evaluated{because}{more}"
    run = facts.table(one.get("run"))
    # A stage that ran although the lock is right made bytes again that the storage does not have.
    is_stored = run.get("lock_changed") is False and run.get("ran") == []
    if is_stored or case.results.get("store") == "success":
        return ""
    if case.results.get("store") == "skipped" and case.plan and not case.plan.writable:
        said = f"{model} passed, but this version is not in the storage, and this run may not write there."
        return f"{said} {case.takeover}".rstrip()
    return f"{model} passed, but the version was not stored: see the job store."


def _shown(value: Any, limit: int = 60) -> str:
    return visible(value, limit=limit)


def takeover(event: actions.Event) -> str:
    """Who can store a version in a run that may not, in a sentence."""
    if event.name == "merge_group":
        return "Update the branch of the pull request from the default branch: CI stores the version there."
    if event.name == "pull_request":
        who = "from a fork" if event.is_fork else "by Dependabot"
        number = event.number if event.number is not None else "NUMBER"
        return (
            f"It is {who}: someone who may write here takes it over by `gh pr checkout {number}` and pushing that "
            "branch to this repository, where CI stores the version."
        )
    return "Push the change to a branch of its own: CI stores the version there."


def verdict(root: Path, *, plan: str, artifacts: str | None = None) -> Outcome:
    """Judge a workflow run; exit code 0 only when all is well, 1 otherwise.

    `NEEDS` is the `needs` context as JSON. `artifacts` is the folder that holds what the jobs left, one folder for
    each artifact; without it, `reports/` is looked at. Raises `Refusal` when `NEEDS` is missing or broken.
    """
    needs = _needs()
    event = actions.event()
    asked, problem = _plan(Path(plan))
    evidence = command.of_plan(Left.at(root, artifacts), asked) if asked else []
    case = Case(
        results={job: facts.table(one).get("result") for job, one in needs.items()},
        plan=asked,
        plan_problem=problem,
        head=event.head,
        started=_started(needs),
        evidence={str(one["model"]): one for one in evidence},
        takeover=takeover(event),
    )
    reds = judge(case)
    _tell(reds, case)
    return Outcome(
        actions.quiet(_text(reds, case)), {"verdict": "failed" if reds else "passed", "reasons": reds}, bool(reds)
    )


def _needs() -> dict[str, Any]:
    given = os.environ.get("NEEDS", "")
    try:
        value = json.loads(given)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        do = "In a workflow: `NEEDS: ${{ toJSON(needs) }}` in the step's `env`; on a laptop there is no run to judge."
        raise Refusal("NEEDS does not hold the results of the jobs.", do=do)
    return value


def _plan(path: Path) -> tuple[Planned | None, str]:
    try:
        return planned.read(path), ""
    except Refusal as refused:
        return None, f"What had to be measured is not known: {refused.what}"


def _started(needs: Mapping[str, Any]) -> frozenset[str] | None:
    """The models of the matrices that the plan's outputs started."""
    try:
        shards = json.loads(needs["plan"]["outputs"]["shards"])
        return frozenset(one["model"] for shard in shards for one in shard)
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _good_news(case: Case) -> str:
    count = len(case.plan.models) if case.plan else 0
    if not count:
        return "This change can affect no model, so nothing needed measuring."
    return f"{count:,} model{'s' * (count > 1)} measured, and good enough."


def _text(reds: tuple[str, ...], case: Case) -> str:
    if not reds:
        return f"passed: {_good_news(case)}"
    lines = [f"- {visible(red, limit=800)}" for red in reds[:MOST_SHOWN]]
    lines += [f"- and {len(reds) - MOST_SHOWN:,} more."] * (len(reds) > MOST_SHOWN)
    return "\n".join(["not passed:", *lines])


def _tell(reds: tuple[str, ...], case: Case) -> None:
    """The same on the page of the run, and beside the change."""
    if not reds:
        actions.summary(f"## ✅ Passed\n\n{_good_news(case)}\n")
        return
    lines = [f"- {text(red, limit=800)}" for red in reds[:MOST_SHOWN]]
    lines += [f"- and {len(reds) - MOST_SHOWN:,} more."] * (len(reds) > MOST_SHOWN)
    actions.summary("\n".join(["## ❌ Not passed", "", *lines, ""]))
    for red in reds[:MOST_SHOWN]:
        actions.annotate("error", visible(red, limit=800), title="Verdict")
