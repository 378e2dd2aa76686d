"""The verb `report`: every model's evidence in, `reports/report.md` (and `report.html`) out. Standard library only.

Evidence comes from other jobs as data, so it is read with suspicion: size, JSON, types and the model's name are
checked before anything is shown.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mlops import workspace
from mlops.cli import Outcome
from mlops.errors import Refusal
from mlops.files import write_text
from mlops.reporting import facts, markdown
from mlops.reporting.neutral import visible

MOST_BYTES = 20_000_000
"""A larger evidence.json is refused; a real one has some tens of kilobytes."""


def report(root: Path, models: Sequence[str], html: bool = False) -> Outcome:
    """Write the report on the named models, or on all that the gate has seen; say where it is.

    Raises `Refusal` for an unknown model, one that the gate has not seen, and evidence that cannot be read.
    """
    names = [workspace.find_model(root, name, root).name for name in dict.fromkeys(models)] or judged(root)
    if not names:
        raise Refusal("The gate has not judged any model.", do="Run `mlops gate` for a model first.")
    evidence = [read(root / "reports" / name / "evidence.json", name) for name in names]
    written = [root / "reports" / "report.md"]
    write_text(written[0], markdown.report(evidence))
    if html:
        try:
            # matplotlib is needed for this page only.
            from mlops.reporting.html import report as page
        except ModuleNotFoundError as error:
            raise Refusal(
                f"report.html needs {error.name}.", do="`make setup` installs it; report.md is there."
            ) from None
        written.append(root / "reports" / "report.html")
        write_text(written[1], page(evidence))
    summaries = [facts.summary(one) for one in facts.order(evidence)]
    counts = [(verdict, sum(one.verdict == verdict for one in summaries)) for verdict in facts.VERDICTS]
    told = ", ".join(f"{count:,} {verdict}" for verdict, count in counts if count)
    lines = [f"{told}. Report:", *(f"  {path.relative_to(root).as_posix()}" for path in written)]
    value = {
        "models": {one.model: one.verdict for one in summaries},
        "files": [path.relative_to(root).as_posix() for path in written],
    }
    return Outcome("\n".join(lines), value)


def judged(root: Path) -> list[str]:
    """Names of the models that the gate has written evidence for, sorted."""
    return sorted(path.parent.name for path in (root / "reports").glob("*/evidence.json"))


def read(path: Path, model: str) -> dict[str, Any]:
    """The evidence of one model, checked; raise `Refusal` in one line that names the model."""
    again = f"Run `mlops gate {model}` again."
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise Refusal(f"{model}: evidence.json has {size:,} bytes; at most {MOST_BYTES:,} are read.", do=again)
        evidence = json.loads(path.read_text(encoding="utf-8"))
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
