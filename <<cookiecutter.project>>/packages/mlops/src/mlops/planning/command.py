"""The verb `plan`: which models can a change affect? Needs Python and git only, so a runner installs nothing.

It reads commits and not the work tree, writes the plan where it is told to, and tells a workflow which jobs to start.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from mlops import actions, config, git, scaffold
from mlops.cli import Outcome
from mlops.errors import Refusal
from mlops.files import write_json
from mlops.planning import affected, paths
from mlops.planning.affected import Affected
from mlops.planning.commits import Commit, Repository
from mlops.reporting import neutral

SHARD = 256
"""Most jobs of one matrix on GitHub; a plan of more models is cut into so many at a time."""
MOST_OUTPUT = 2**20 - 1000
"""Bytes that the outputs of a job may have on GitHub, which counts them as UTF-16."""
MOST_ROWS = 500
"""Models that the summary shows with their reasons; `plan.json` has all."""


def plan(root: Path, base: str | None = None, head: str = "HEAD", into: str | None = None) -> Outcome:
    """Plan the change from where `head` left `base` (default: the default branch) up to `head`.

    Raises `Refusal` for unknown revisions, histories without a common commit, a commit without `uv.lock`, and a planned
    model whose name or `model.toml` cannot be used.
    """
    start, end = _range(root, base, head)
    before, after = Repository(root).commits(start, end)
    old, new = before.tree(), after.tree()
    if after.entry("uv.lock") is None:
        raise Refusal(
            f"uv.lock is not committed at {paths.shown(head)}, so nobody knows which packages would be installed.",
            do="Run `make setup` and commit uv.lock.",
        )
    changed = git.changed_between(root, start, end) if start != end else []
    found = affected.plan(old, new, changed)
    models = jobs(after, found, new=changed)
    value = {"base": start, "head": end, "writable": actions.writable(actions.event()), "models": models}
    matrices = shards(models)
    outputs = {
        "models": names(models, room=MOST_OUTPUT - _size(matrices)),
        "shards": matrices,
        "writable": "true" if value["writable"] else "false",
    }
    if into is not None:
        write_json(Path(into), value)
    actions.output(outputs)
    actions.summary(summary(models, len(new.models)))
    return Outcome(_told(models, len(new.models)), value)


def jobs(commit: Commit, found: Sequence[Affected], *, new: Collection[str]) -> list[dict[str, Any]]:
    """The planned models as `plan.json` has them; a `model.toml` that is among the `new` paths is validated as a whole.

    Raises `Refusal` for a model whose name or `model.toml` cannot be used.
    """
    tomls = commit.texts(_toml(one.model) for one in found)
    return [_job(one, tomls[_toml(one.model)], is_new=_toml(one.model) in new) for one in found]


def _range(root: Path, base: str | None, head: str) -> tuple[str, str]:
    """The commits to compare: where `head` left `base`, and `head`."""
    asked = base if base is not None else git.default_branch(root)
    if asked is None:
        raise Refusal("There is no default branch to compare with.", do="Name a commit with --base.")
    ends = []
    for revision in (asked, head):
        commit = git.commit(root, revision)
        if commit is None:
            raise Refusal(
                f"There is no commit {paths.shown(revision)!r} here.",
                do="Fetch it first: a workflow checks out with fetch-depth: 0.",
            )
        ends.append(commit)
    start = git.merge_base(root, *ends)
    if start is None:
        shallow = git.is_shallow(root)
        why = "this clone is shallow" if shallow else "their histories are separate"
        raise Refusal(
            f"{paths.shown(asked)} and {paths.shown(head)} have no commit in common: {why}.",
            do="Fetch all of it: fetch-depth: 0 in a workflow, `git fetch --unshallow` elsewhere."
            if shallow
            else "Start the branch anew from the default branch.",
        )
    return start, ends[1]


def _toml(model: str) -> str:
    return f"models/{model}/model.toml"


def _job(one: Affected, toml: bytes, *, is_new: bool) -> dict[str, Any]:
    """One planned model."""
    why = scaffold.problem(one.model)
    if why:
        raise Refusal(
            f"models/{paths.shown(one.model)} cannot be planned: the name of a model {why}.",
            do="Rename that folder (`make new-model` makes one that works).",
        )
    where = _toml(one.model)
    try:
        text = toml.decode("utf-8")
    except UnicodeDecodeError:
        raise Refusal(f"{where} is not UTF-8 text.", do="Save it as UTF-8.") from None
    budget = config.parse(text, where=where).budget if is_new else config.budget(text, where=where)
    also = sorted({folder for folder in map(_clean, one.also) if folder})
    return {
        "model": one.model,
        "runner": budget.runner,
        "minutes": budget.minutes,
        "also": also,
        "reasons": list(one.reasons),
    }


def _clean(folder: str) -> str:
    """A folder as a line of a sparse checkout; one whose name would be more than that is given by the one above it."""
    while folder and (
        not folder.isprintable() or set(folder) & set('*?[\\"') or folder[0] in "!#-/" or folder != folder.strip()
    ):
        folder = paths.parent(folder)
    return folder


def shards(models: Sequence[Mapping[str, Any]]) -> str:
    """The matrices to start, as JSON: lists of at most `SHARD` models; `Refusal` where GitHub would not take it.

    A job reads a key that is not there as empty: so where it would be too long, an empty `also` is left out.
    A model with a `head` is measured at that commit.
    """
    rows = [
        {"model": one["model"], "runner": one["runner"], "minutes": one["minutes"], "also": "\n".join(one["also"])}
        | ({"head": one["head"]} if "head" in one else {})
        for one in models
    ]
    cut = [rows[start : start + SHARD] for start in range(0, len(rows), SHARD)]
    short = [[{key: value for key, value in job.items() if value != ""} for job in shard] for shard in cut]
    for form in (cut, short):
        text = json.dumps(form, separators=(",", ":"), ensure_ascii=False)
        if _size(text) <= MOST_OUTPUT and len(cut) <= SHARD:
            return text
    raise Refusal(
        f"A plan of {len(models):,} models is too long for GitHub, which takes 1 MB.",
        do="Split the change, or let fewer models read from other folders.",
    )


def names(models: Sequence[Mapping[str, Any]], *, room: int) -> str:
    """The planned models with spaces between; `.`, which means all, where so many bytes are too few for them."""
    found = " ".join(one["model"] for one in models)
    return found if _size(found) <= room else "."


def _size(text: str) -> int:
    """Bytes of a text as GitHub counts them."""
    return len(text.encode("utf-16-le", "surrogatepass"))


def summary(models: Sequence[Mapping[str, Any]], known: int) -> str:
    """The plan as Markdown for the page of a run; names and reasons come from the change and are made harmless."""
    lines = ["### Plan", "", _counted(len(models), known)]
    if models:
        lines += ["", "| Model | Why | Runner | Minutes |", "|---|---|---|---:|"]
    for one in models[:MOST_ROWS]:
        why = neutral.text("; ".join(one["reasons"]), limit=280)
        lines.append(f"| {neutral.code(one['model'])} | {why} | {neutral.code(one['runner'])} | {one['minutes']} |")
    if len(models) > MOST_ROWS:
        lines += ["", f"And {len(models) - MOST_ROWS:,} more models; `plan.json` has them all."]
    return "\n".join(lines) + "\n"


def _counted(planned: int, known: int) -> str:
    if not planned:
        return "The change can affect no model."
    return f"The change can affect {planned:,} of {known:,} model{'s' if known != 1 else ''}."


def _told(models: Sequence[Mapping[str, Any]], known: int) -> str:
    """The plan for a terminal."""
    return "\n".join(
        [_counted(len(models), known), *(f"  {one['model']}: {'; '.join(one['reasons'])}" for one in models)]
    )
