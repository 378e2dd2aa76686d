"""The verb `due`: which models shall be trained anew now? Needs Python and git only, as `plan` does.

It reads the commit, the alarms of earlier looks in `reports/`, and what a workflow knows of GitHub from a file. `mlops
start` takes the plan that it writes. A model that cannot be planned is said, and keeps no other one from being planned.
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
    keep_going: bool = False,
) -> Outcome:
    """Plan the retraining of `head` on the day `today` (`YYYY-MM-DD`, default: today in UTC).

    `known` is a JSON file with `open`, `attempted`, `alarms` and `freeze`; `model` are names that a person asks for.
    Fields that a person left empty in a form are empty texts, and stand for nothing.
    Exit code 2 where a model cannot be planned or trained as its `model.toml` is; with `keep_going` only the plan and
    the output `broken` say so. Raises `Refusal` for a commit or a model that is not there, and for a file that cannot
    be read.
    """
    day = _day(today)
    commit = git.commit(root, head)
    if commit is None:
        raise Refusal(f"There is no commit {shown(head)!r} here.", do="Commit first, or fetch it.")
    _, tree = Repository(root).commits(commit, commit)
    tomls = tree.texts(f"{folder}/model.toml" for folder in tree.folders if folder.startswith("models/"))
    models = {path.split("/")[1]: text for path, text in tomls.items()}
    beside = _known(root, known, asked=_asked([name for name in model or () if name], reason, models))
    settings, broken = _readable(models)
    found = plan(settings, beside, today=day)
    broken |= _untrainable([one.model for one in found if not one.held], models, day)
    value = {
        "head": commit,
        "today": day.isoformat(),
        "models": [
            {"model": one.model, "reasons": list(one.reasons)}
            for one in found
            if not one.held and one.model not in broken
        ],
        "held": [{"model": one.model, "reasons": list(one.reasons), "held": one.held} for one in found if one.held],
        "broken": [{"model": name, "sentence": broken[name]} for name in sorted(broken)],
    }
    if into is not None:
        write_json(Path(into), value)
    actions.output({"broken": str(len(broken)), "due": str(len(value["models"]))})
    actions.summary(summary(value, len(models)))
    return Outcome(_told(value, len(models)), value, 2 if broken and not keep_going else 0)


def unplanned(root: Path, plan: str) -> Outcome:
    """Say which models `plan` (what `due` or `looks` wrote) could not take; exit code 2 where there is one.

    A workflow that went on without them ends red by this. Raises `Refusal` for a file that is no such plan.
    """
    do = "`mlops due --into FILE` and `mlops looks --into FILE` write one."
    try:
        broken = [str(one["sentence"]) for one in read_json(Path(plan), do=do)["broken"]]
    except (KeyError, TypeError):
        raise Refusal(f"{Path(plan).name} is no plan of retraining or watching.", do=do) from None
    for sentence in broken:
        actions.annotate("error", sentence, title="Not planned")
    lines = [f"- {neutral.text(one, limit=LONGEST)}" for one in broken]
    actions.summary("\n".join(["### Not planned", "", *lines, ""]))
    return Outcome("\n".join(broken) or "Every model was planned.", {"broken": broken}, 2 if broken else 0)


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
    if value["broken"]:
        lines += ["", *(f"- {neutral.text(one['sentence'], limit=LONGEST)}" for one in value["broken"][:MOST_ROWS])]
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


def _readable(models: Mapping[str, bytes]) -> tuple[list[Settings], dict[str, str]]:
    """What each model says of retraining; and why that of some cannot be read, by name."""
    found, broken = [], {}
    for name, toml in models.items():
        try:
            found.append(_settings(name, toml))
        except Refusal as refusal:
            broken[name] = _line(f"{refusal.what} {refusal.do}")
    return found, broken


def _untrainable(names: Sequence[str], models: Mapping[str, bytes], day: dt.date) -> dict[str, str]:
    """Why some of the models that are due could not be trained, by name: one alone would stop the run of all."""
    broken = {}
    for name in names:
        where = f"models/{shown(name)}"
        if why := scaffold.problem(name):
            broken[name] = f"{where} cannot be trained: the name of a model {why}. Rename that folder."
            continue
        try:
            text = models[name].decode("utf-8")
            config.parse(text, where=f"{where}/model.toml")
            config.set_as_of(text, day)
        except Refusal as refusal:
            said = refusal.what if refusal.what.startswith(where) else f"{where}/model.toml: {refusal.what}"
            broken[name] = _line(f"{said} {refusal.do}")
    return broken


def _settings(name: str, toml: bytes) -> Settings:
    where = f"models/{shown(name)}/model.toml"
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
            findings = [one for one in looked["findings"] if one["outcome"] == "alarm" or one.get("asks")]
            raised = {one["kind"]: one["sentence"] for one in findings}
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if raised:
            found[path.parent.name] = raised
    return found


def _line(text: Any) -> str:
    return neutral.visible(text, limit=LONGEST) if text else ""


def _counted(value: Mapping[str, Any], known: int) -> str:
    more = "".join(f"; {len(value[key]):,} {key}" for key in ("held", "broken") if value[key])
    return f"{len(value['models']):,} of {known:,} model{'s' if known != 1 else ''} due{more}."


def _told(value: Mapping[str, Any], known: int) -> str:
    lines = [f"  {one['model']}: {'; '.join(one['reasons'])}" for one in value["models"]]
    lines += [f"  {one['model']} (held: {one['held']}): {'; '.join(one['reasons'])}" for one in value["held"]]
    lines += [f"  {one['model']} (broken): {one['sentence']}" for one in value["broken"]]
    return "\n".join([_counted(value, known), *lines])
