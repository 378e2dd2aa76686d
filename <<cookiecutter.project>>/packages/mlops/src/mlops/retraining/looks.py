"""The verb `looks`: which models are watched? Those whose `model.toml` names a prediction log, or asks for new rows.

Needs Python and git only, as `plan` does. A model whose `model.toml` cannot be read is said, and keeps no other one
from being watched.
"""

from collections.abc import Mapping
from pathlib import Path

from mlops import actions, config, git, scaffold
from mlops.cli import Outcome
from mlops.errors import Refusal, counted
from mlops.files import write_json
from mlops.planning import affected, command
from mlops.planning.commits import Repository
from mlops.reporting import neutral


def looks(root: Path, into: str | None = None, keep_going: bool = False) -> Outcome:
    """Plan a look at every model of HEAD that has something to watch and a trained version.

    The output `shards` has the matrices to start, as `plan` has them. Exit code 2 where a trained model cannot be
    watched as its `model.toml` is; with `keep_going` only the plan and the output `broken` say so.
    """
    actions.only_of_the_default_branch("Models are watched")
    head = git.head(root)
    if head is None:
        raise Refusal("Nothing has been committed here.", do="Commit first.")
    before, after = Repository(root).commits(head, head)
    names = sorted(before.tree().models)
    tomls = after.texts(f"models/{name}/model.toml" for name in names)
    trained = after.texts(f"models/{name}/dvc.lock" for name in names)
    watched, broken = _watched({path: text for path, text in tomls.items() if f"{path[:-10]}dvc.lock" in trained})
    found = affected.plan(before.tree(), after.tree(), watched) if watched else []
    own = {path.split("/")[1] for path in watched}
    jobs = [{**job, "reasons": []} for job in command.jobs(after, [one for one in found if one.model in own], new=())]
    if into is not None:
        write_json(Path(into), {"head": head, "models": jobs, "broken": [{"sentence": one} for one in broken]})
    actions.output({"broken": str(len(broken)), "shards": command.shards(jobs)})
    said = f"{counted(len(jobs), 'model')} of {len(names):,} watched."
    hint = (
        ""
        if jobs or broken
        else " `watch.log` in model.toml names a prediction log, `retrain.new_rows` asks for new rows."
    )
    actions.summary("\n".join([f"### Watch\n\n{said}{hint}\n", *(f"- {neutral.text(one)}" for one in broken), ""]))
    value = {"models": [job["model"] for job in jobs], "broken": broken}
    return Outcome(
        "\n".join([said + hint, *(f"  {one}" for one in broken)]), value, 2 if broken and not keep_going else 0
    )


def _watched(tomls: Mapping[str, bytes]) -> tuple[list[str], list[str]]:
    """The paths of those `model.toml` that name something to watch; and a sentence for each that cannot be read."""
    watched, broken = [], []
    for path, toml in sorted(tomls.items()):
        name = path.split("/")[1]
        try:
            text = toml.decode("utf-8", "replace")
            if config.watched(text, where=path):
                # What its job needs is asked for together with that of all others.
                config.budget(text, where=path)
                if why := scaffold.problem(name):
                    raise Refusal(f"{path[:-11]} cannot be watched: the name of a model {why}.", do="Rename it.")
                watched.append(path)
        except Refusal as refusal:
            broken.append(neutral.visible(f"{refusal.what} {refusal.do}", limit=300))
    return watched, broken
