"""The verb `report`: every model's evidence in, `reports/report.md` (and `report.html`) out. Standard library only.

With a plan, the models that it names are reported, whether they left evidence or not.
Evidence comes from other jobs as data, so it is read with suspicion: size, JSON, types and the model's name are
checked before anything is shown.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlops import actions, workspace
from mlops.cli import Outcome
from mlops.errors import Refusal
from mlops.files import write_text
from mlops.reporting import facts, markdown, planned
from mlops.reporting.markdown import Run
from mlops.reporting.neutral import visible
from mlops.reporting.planned import Planned

MOST_BYTES = 20_000_000
"""A larger evidence.json is refused; a real one has some tens of kilobytes."""


_WHOLE = (950_000, 400_000, actions.MOST_SUMMARY // 4 - 1_000)
"""Characters of the whole report, tried in turn; the last ones fit in a summary whatever they are."""


@dataclass(frozen=True)
class Left:
    """Where the jobs left what they found: in `reports/<model>/`, or each in an artifact that is named with the model.

    An artifact is looked into for its own model only, so that one model's job says nothing about another model.
    """

    reports: Path
    artifacts: Path | None = None

    @classmethod
    def at(cls, root: Path, artifacts: str | None) -> "Left":
        """In the folder of artifacts where there is one."""
        return cls(root / "reports", Path(artifacts) if artifacts is not None else None)

    def evidence(self, model: str) -> Path:
        """What the gate wrote."""
        if self.artifacts is None:
            return self.reports / model / "evidence.json"
        whole = self.artifacts / f"evaluation-{model}"
        # An artifact of several files keeps the folder that tells them apart.
        return next((path for path in (whole / model, whole) if path.is_dir()), whole) / "evidence.json"

    def check(self, model: str) -> Path:
        """What the check of the data wrote when the data broke its contract."""
        return (self.reports / model if self.artifacts is None else self.artifacts / f"check-{model}") / "check.json"


def report(
    root: Path,
    models: Sequence[str],
    *,
    html: bool = False,
    plan: str | None = None,
    artifacts: str | None = None,
) -> Outcome:
    """Write the report on the named models, or on all that the gate has seen; say where it is.

    With `plan` (a file that `mlops plan` wrote) it is on the models of the plan, and `reports/summary.md` is the same
    report with room for all details; `artifacts` is the folder that holds what their jobs left. Raises `Refusal` for an
    unknown model, one that the gate has not seen, evidence that cannot be read, and a file that is no plan.
    """
    if plan is not None and models:
        raise Refusal("Name models or give a plan, not both.", do="The plan names its models itself.")
    if artifacts is not None and plan is None:
        raise Refusal("Artifacts are looked for by a plan.", do="Give --plan FILE too.")
    asked = planned.read(Path(plan)) if plan is not None else None
    names = [workspace.find_model(root, name, root).name for name in dict.fromkeys(models)]
    if asked is None and not names:
        names = judged(root)
        if not names:
            raise Refusal("The gate has not judged any model.", do="Run `mlops gate` for a model first.")
    run = _run(asked)
    left = Left.at(root, artifacts)
    evidence = of_plan(left, asked) if asked else [read(left.evidence(name), name) for name in names]
    written = [root / "reports" / "report.md"]
    write_text(written[0], markdown.report(evidence, run=run) if evidence else markdown.unaffected(run))
    if asked:
        written.append(root / "reports" / "summary.md")
        write_text(written[1], _whole(evidence, run))
    if html and evidence:
        try:
            # matplotlib is needed for this page only.
            from mlops.reporting.html import report as page
        except ModuleNotFoundError as error:
            raise Refusal(
                f"report.html needs {error.name}.", do="`make setup` installs it; report.md is there."
            ) from None
        written.append(root / "reports" / "report.html")
        write_text(written[-1], page(evidence))
    summaries = [facts.summary(one) for one in facts.order(evidence)]
    counts = [(verdict, sum(one.verdict == verdict for one in summaries)) for verdict in facts.VERDICTS]
    told = ", ".join(f"{count:,} {verdict}" for verdict, count in counts if count) or "No model is affected"
    lines = [f"{told}. Report:", *(f"  {path.relative_to(root).as_posix()}" for path in written)]
    value = {
        "models": {one.model: one.verdict for one in summaries},
        "files": [path.relative_to(root).as_posix() for path in written],
    }
    return Outcome("\n".join(lines), value)


def of_plan(left: Left, asked: Planned) -> list[dict[str, Any]]:
    """The evidence of every planned model; what stands for it where there is none, with the reason."""
    found = []
    for model, reasons in asked.models.items():
        path = left.evidence(model)
        if not os.path.lexists(path):
            found.append(facts.unmeasured(model, reasons=reasons, check=_check(left.check(model))))
            continue
        try:
            # What the plan says of a model is not for the model's own job to say.
            found.append({**read(path, model), "planned": list(reasons), "missing": None})
        except Refusal as refused:
            # One model's broken evidence must not hide the other models.
            found.append(facts.unmeasured(model, reasons=reasons, check=None, because=refused.what))
    return found


def _check(path: Path) -> Any:
    """What the check of the data wrote; None where it wrote nothing that can be read."""
    try:
        return json.loads(planned.text_of(path, most=MOST_BYTES))
    except (OSError, ValueError, RecursionError):
        return None


def _run(asked: Planned | None) -> Run | None:
    """The page of this workflow run, for a report on its plan."""
    url = actions.run_url()
    return Run(url, asked.head) if asked and url else None


def _whole(evidence: Sequence[dict[str, Any]], run: Run | None) -> str:
    """The report with the most details that the page of a run can show."""
    if not evidence:
        return markdown.unaffected(run)
    forms = (markdown.report(evidence, run=run, limit=limit) for limit in _WHOLE)
    return next(form for form in forms if len(form.encode("utf-8", "replace")) < actions.MOST_SUMMARY)


def judged(root: Path) -> list[str]:
    """Names of the models that the gate has written evidence for, sorted; one that was deleted since is left out."""
    return [name for name in workspace.models(root) if Left.at(root, None).evidence(name).is_file()]


def read(path: Path, model: str) -> dict[str, Any]:
    """The evidence of one model, checked; raise `Refusal` in one line that names the model."""
    again = f"Run `mlops gate {model}` again."
    try:
        evidence = json.loads(planned.text_of(path, most=MOST_BYTES))
    except FileNotFoundError:
        raise Refusal(f"{model}: the gate has not judged it.", do=f"Run `mlops gate {model}` first.") from None
    except OSError as error:
        raise Refusal(f"{model}: evidence.json cannot be read: {error.strerror}.", do=again) from None
    except (ValueError, RecursionError) as error:
        said = visible(error, limit=120)
        raise Refusal(f"{model}: evidence.json is not valid JSON: {said}.", do=again) from None
    found = facts.problem(evidence)
    if found is None and evidence["model"] != model:
        found = f"it is about {visible(evidence['model'], limit=60)!r}"
    if found:
        raise Refusal(f"{model}: evidence.json is not evidence: {found}.", do=again)
    checked: dict[str, Any] = evidence
    return checked
