"""The verb `history`: what does GitHub know of retraining? Open pull requests, attempts and alarms decide what is due.

The texts come from people and from alarms; `due` shows them and runs nothing of them. Standard library only.
"""

from pathlib import Path
from typing import Any

from mlops import actions, github, scaffold
from mlops.cli import Outcome
from mlops.errors import counted
from mlops.files import write_json
from mlops.reporting import neutral
from mlops.retraining import branches, words
from mlops.retraining.propose import LABEL

KINDS = ("drift", "performance", "age", "data")


def history(root: Path, into: str) -> Outcome:
    """Write the file that `mlops due --known` reads: `open`, `attempted` and `alarms`, by model.

    Raises `Refusal` in a run of another branch than the default one.
    """
    actions.only_of_the_default_branch("Models are retrained")
    prefix = f"{branches.PROPOSED}/"
    opened: dict[str, str] = {}
    attempted: dict[str, str] = {}
    for pull in github.pull_requests():
        if pull.is_fork or not pull.branch.startswith(prefix):
            continue
        model = pull.branch.removeprefix(prefix)
        if pull.is_open:
            opened[model] = f"pull request {pull.number}"
        attempted[model] = max(attempted.get(model, ""), pull.created[:10])
    for issue in github.open_issues(LABEL):
        model = words.marked(issue.body)
        if model:
            attempted[model] = max(attempted.get(model, ""), issue.updated[:10])
    value = {"open": opened, "attempted": attempted, "alarms": alarms(actions.asked())}
    write_json(Path(into), value)
    return Outcome(f"{counted(len(opened), 'open pull request')}, {counted(len(attempted), 'earlier attempt')}.", value)


def alarms(asked: Any) -> dict[str, dict[str, str]]:
    """The alarm or the new data that a dispatch by `watch` tells of: by model, kind to sentence; else empty."""
    if not isinstance(asked, dict):
        return {}
    model, kind, said = (asked.get(key) for key in ("model", "kind", "sentence"))
    if not isinstance(model, str) or scaffold.problem(model) or kind not in KINDS or not isinstance(said, str):
        return {}
    return {model: {str(kind): neutral.visible(said, limit=300)}}
