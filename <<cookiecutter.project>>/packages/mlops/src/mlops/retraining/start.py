"""The verb `start`: on which commit is each due model trained anew? On the default branch, with newer data.

It runs trusted code only, and writes one working branch per model. What a run before it left there is replaced: a
working branch belongs to one run, and nobody else's work is on it. Standard library and git only.
"""

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlops import actions, config, origin, scaffold
from mlops.cli import Outcome
from mlops.errors import Refusal
from mlops.files import write_json
from mlops.origin import Origin
from mlops.planning import affected, command
from mlops.planning.commits import Repository
from mlops.reporting import neutral, planned
from mlops.retraining import branches

LARGEST = 10_000_000
"""Bytes of the largest list of due models that is read."""


def start(root: Path, due: str, as_of: str | None = None, into: str | None = None) -> Outcome:
    """Make a working branch for every model of `due` (what `mlops due --into` wrote), with data up to `as_of`.

    `as_of` is `YYYY-MM-DD`; today (UTC) without it. The outputs for a workflow are `shards`, the matrices to start,
    in which every model has its `head`; `into` gets the same with the reasons. Raises `Refusal` for a file that is no
    such list, and where origin does not take a branch. A model whose data is of that day already is left out.
    """
    day = day_of(as_of)
    tip, asked = read(Path(due))
    started: list[dict[str, Any]] = []
    lines: list[str] = []
    if asked:
        jobs = _jobs(root, tip, [one["model"] for one in asked])
        with origin.opened(root) as remote:
            heads = remote.heads()
            remote.learn(tip)
            for one in asked:
                name, branch = one["model"], branches.working(one["model"])
                commit = _commit(remote, tip, one, day)
                if commit is None:
                    lines.append(f"{name}: its data is of {day} already, so there is nothing new to train on.")
                    continue
                _put(remote, branch, commit, heads)
                started.append({**jobs[name], "reasons": one["reasons"], "head": commit})
                lines.append(f"{name}: {branch} has data up to {day}.")
    value = {"head": tip, "as_of": day.isoformat(), "models": started}
    if into is not None:
        write_json(Path(into), value)
    actions.output({"shards": command.shards(started)})
    actions.summary(summary(started, lines))
    return Outcome("\n".join(lines) or "No model is due.", value)


def day_of(as_of: str | None) -> dt.date:
    """The last day whose rows are used: today (UTC) without a text; `Refusal` for one that is no day."""
    if not as_of:
        return dt.datetime.now(dt.UTC).date()
    try:
        return dt.date.fromisoformat(as_of)
    except ValueError:
        raise Refusal(f"{as_of!r} is not a day.", do="Write it as YYYY-MM-DD, such as 2026-09-01.") from None


def read(path: Path) -> tuple[str, list[dict[str, Any]]]:
    """The commit and the models of a plan that `due` or `start` wrote; `Refusal` for anything else."""
    again = "`mlops due --into FILE` writes one."
    try:
        value = json.loads(planned.text_of(path, most=LARGEST))
        head, found = value["head"], value["models"]
        if not origin.COMMIT.fullmatch(head):
            raise ValueError("its head is no commit")
        for one in found:
            if scaffold.problem(one["model"]) or not all(isinstance(reason, str) for reason in one["reasons"]):
                raise ValueError(f"{one['model']!r} is no model")
        names = [str(one["model"]) for one in found]
        if len(set(names)) != len(names):
            raise ValueError("a model is in it twice")
    except OSError as error:
        raise Refusal(f"{path.name} cannot be read: {error.strerror}.", do=again) from None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        said = neutral.visible(error, limit=100)
        raise Refusal(f"{path.name} is no plan of retraining: {said}.", do=again) from None
    return head, [dict(one) for one in found]


def _jobs(root: Path, tip: str, models: Sequence[str]) -> dict[str, dict[str, Any]]:
    """What the training job of each model needs, as the plan of a change of its `model.toml` says it."""
    before, after = Repository(root).commits(tip, tip)
    changed = [f"models/{model}/model.toml" for model in models]
    found = [one for one in affected.plan(before.tree(), after.tree(), changed) if one.model in models]
    if unknown := sorted(set(models) - {one.model for one in found}):
        raise Refusal(f"There is no model {unknown[0]} on the default branch.", do="`mlops models` lists them.")
    return {job["model"]: job for job in command.jobs(after, found, new=())}


def _commit(remote: Origin, tip: str, one: Mapping[str, Any], day: dt.date) -> str | None:
    """The default branch with a newer `data.as_of`; None where it is that day already, or later."""
    model = one["model"]
    toml = f"models/{model}/model.toml"
    entry = remote.entries(tip, [toml])[toml]
    text = remote.text(entry.name, LARGEST)
    if text is None:
        raise Refusal(f"{toml} is not UTF-8 text.", do="Save it as UTF-8.")
    newer = advanced(text, day, where=toml)
    if newer is None:
        return None
    files = {toml: remote.keep(newer.encode())}
    return remote.commit(files, message(model, day, one["reasons"]), parent=tip, identity=origin.BOT)


def advanced(text: str, day: dt.date, *, where: str) -> str | None:
    """The text of a `model.toml` with data up to `day`; None where its data is of that day, or of a later one."""
    return config.set_as_of(text, day) if as_of(text, where=where) < day else None


def as_of(text: str, *, where: str) -> dt.date:
    """The last day whose rows are used, in the text of a `model.toml`."""
    return dt.date.fromisoformat(config.parse(text, where=where).data.as_of)


def message(model: str, day: dt.date, reasons: Sequence[str]) -> str:
    """The message of a commit that advances a model's data: what, and why."""
    return f"Use data of {model} up to {day}\n\n" + "".join(f"- {reason}\n" for reason in reasons)


def _put(remote: Origin, branch: str, commit: str, heads: Mapping[str, str]) -> None:
    """Let the branch be at that commit, whatever a run before this one left there."""
    if branch in heads:
        remote.delete(branch, at=heads[branch])
    if not remote.push(commit, branch):
        raise Refusal(f"Somebody else writes {branch} at this moment.", do="Run it again when the other run has ended.")


def summary(jobs: Sequence[Mapping[str, Any]], lines: Sequence[str]) -> str:
    """The models that are trained anew, as Markdown for the page of a run; reasons may hold anything."""
    said = ["### Retraining", ""]
    if jobs:
        said += ["| Model | Why |", "|---|---|"]
        for one in jobs:
            said.append(f"| {neutral.code(one['model'])} | {neutral.text('; '.join(one['reasons']), limit=280)} |")
    else:
        said += [f"- {neutral.text(line)}" for line in lines] or ["No model is due."]
    return "\n".join(said) + "\n"
