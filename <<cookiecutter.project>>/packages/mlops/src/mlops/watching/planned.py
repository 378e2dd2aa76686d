"""The verb `due`: which models shall be trained anew now? Needs Python and git only, as `plan` does.

It reads the commit, the alarms of earlier looks in `reports/`, and what a workflow knows of GitHub from a file. `mlops
start` takes the plan that it writes.
"""

import datetime as dt
import json
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from mlops import actions, config, git, scaffold
from mlops.cli import Outcome
from mlops.errors import Refusal
from mlops.files import read_json, write_json
from mlops.planning.command import MOST_ROWS
from mlops.planning.commits import Repository
from mlops.planning.paths import shown
from mlops.reporting import neutral
from mlops.watching.due import Known, Settings, plan

FREEZE = "RETRAIN_FREEZE"
"""The variable that holds a reason while no model of the repository is trained by itself."""
LONGEST = 300


def due(
    root: Path,
    today: str | None = None,
    known: str | None = None,
    model: Sequence[str] | None = None,
    reason: str = "",
    head: str = "HEAD",
    into: str | None = None,
) -> Outcome:
    """Plan the retraining of `head` on the day `today` (`YYYY-MM-DD`, default: today in UTC).

    `known` is a JSON file with `open`, `attempted`, `alarms` and `freeze`; `model` are names that a person asks for.
    Fields that a person left empty in a form are empty texts, and stand for nothing.
    Raises `Refusal` for a commit or a model that is not there, and for a `model.toml` or a file that cannot be read.
    """
    day = _day(today)
    commit = git.commit(root, head)
    if commit is None:
        raise Refusal(f"There is no commit {shown(head)!r} here.", do="Commit first, or fetch it.")
    _, tree = Repository(root).commits(commit, commit)
    tomls = tree.texts(f"{folder}/model.toml" for folder in tree.folders if folder.startswith("models/"))
    models = {path.split("/")[1]: text for path, text in tomls.items()}
    beside = _known(root, known, asked=_asked([name for name in model or () if name], reason, models))
    found = plan([_settings(name, text) for name, text in models.items()], beside, today=day)
    for one in found:
        if why := scaffold.problem(one.model):
            do = "Rename that folder (`make new-model` makes one that works)."
            raise Refusal(f"models/{shown(one.model)} cannot be trained: the name of a model {why}.", do=do)
    value = {
        "head": commit,
        "today": day.isoformat(),
        "models": [{"model": one.model, "reasons": list(one.reasons)} for one in found if not one.held],
        "held": [{"model": one.model, "reasons": list(one.reasons), "held": one.held} for one in found if one.held],
    }
    if into is not None:
        write_json(Path(into), value)
    actions.output({"due": str(len(value["models"]))})
    actions.summary(summary(value, len(models)))
    return Outcome(_told(value, len(models)), value)


def summary(value: Mapping[str, Any], known: int) -> str:
    """The plan as Markdown for the page of a run."""
    lines = ["### Retraining", "", _counted(value, known)]
    rows = [(one, "") for one in value["models"]] + [(one, one["held"]) for one in value["held"]]
    if rows:
        lines += ["", "| Model | Why | Held because |", "|---|---|---|"]
    for one, held in rows[:MOST_ROWS]:
        why, because = (neutral.text(text, limit=LONGEST) if text else "" for text in ("; ".join(one["reasons"]), held))
        lines.append(f"| {neutral.code(one['model'])} | {why} | {because} |")
    if len(rows) > MOST_ROWS:
        lines += ["", f"And {len(rows) - MOST_ROWS:,} more models; the plan has them all."]
    return "\n".join(lines) + "\n"


def _day(text: str | None) -> dt.date:
    try:
        return dt.date.fromisoformat(text) if text else dt.datetime.now(dt.UTC).date()
    except ValueError:
        raise Refusal(f"{text!r} is not a day.", do="Write it as YYYY-MM-DD, such as 2026-09-01.") from None


def _asked(models: Sequence[str], reason: str, names: Collection[str]) -> dict[str, str]:
    for name in models:
        if name not in names:
            raise Refusal(f"There is no model {shown(name)!r} in that commit.", do="`mlops models` lists them.")
    if models and not reason.strip():
        raise Refusal(
            "Nobody says why that model shall be trained.", do='Say it with --reason "…"; the pull request shows it.'
        )
    return dict.fromkeys(models, " ".join(reason.split())[:LONGEST])


def _settings(name: str, toml: bytes) -> Settings:
    where = f"models/{name}/model.toml"
    try:
        text = toml.decode("utf-8")
    except UnicodeDecodeError:
        raise Refusal(f"{where} is not UTF-8 text.", do="Save it as UTF-8.") from None
    as_of, retrain = config.retrain(text, where=where)
    return Settings(model=name, as_of=dt.date.fromisoformat(as_of), retrain=retrain)


# What is known beside the commit.


def _known(root: Path, path: str | None, *, asked: Mapping[str, str]) -> Known:
    """What a file says, and the alarms of the looks whose `watch.json` is in `reports/`."""
    where, do = path or "", "Write it as docs/reference/command-line.md says."
    value = read_json(Path(path), do=do) if path is not None else {}
    shape = {"open": str, "attempted": str, "alarms": dict}
    strange = sorted(set(value) - {*shape, "freeze"}) if isinstance(value, dict) else ["the whole"]
    if strange:
        raise Refusal(f"{where}: {shown(strange[0])} is not known.", do=do)
    for key, kind in shape.items():
        table = value.get(key, {})
        if not isinstance(table, dict) or not all(isinstance(one, kind) for one in table.values()):
            raise Refusal(f"{where}: {key} is no table of a {'text' if kind is str else 'table'} by model.", do=do)
    try:
        attempted = {name: dt.date.fromisoformat(text[:10]) for name, text in value.get("attempted", {}).items()}
    except ValueError:
        raise Refusal(f"{where}: attempted holds something that is no day.", do=do) from None
    alarms = {**_looked(root), **value.get("alarms", {})}
    return Known(
        alarms={name: {str(kind): _line(said) for kind, said in one.items()} for name, one in alarms.items()},
        open={name: _line(text) for name, text in value.get("open", {}).items()},
        attempted=attempted,
        asked=asked,
        freeze=_line(value.get("freeze") or os.environ.get(FREEZE, "")),
    )


def _looked(root: Path) -> dict[str, dict[str, str]]:
    """The alarms in `reports/<model>/watch.json`; a file that cannot be read raises none."""
    found = {}
    for path in sorted((root / "reports").glob("*/watch.json")):
        try:
            looked = json.loads(path.read_text(encoding="utf-8"))
            raised = {one["kind"]: one["sentence"] for one in looked["findings"] if one["outcome"] == "alarm"}
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if raised:
            found[path.parent.name] = raised
    return found


def _line(text: Any) -> str:
    return neutral.visible(text, limit=LONGEST) if text else ""


def _counted(value: Mapping[str, Any], known: int) -> str:
    held = f"; {len(value['held']):,} held" if value["held"] else ""
    return f"{len(value['models']):,} of {known:,} model{'s' if known != 1 else ''} due{held}."


def _told(value: Mapping[str, Any], known: int) -> str:
    lines = [f"  {one['model']}: {'; '.join(one['reasons'])}" for one in value["models"]]
    lines += [f"  {one['model']} (held: {one['held']}): {'; '.join(one['reasons'])}" for one in value["held"]]
    return "\n".join([_counted(value, known), *lines])
