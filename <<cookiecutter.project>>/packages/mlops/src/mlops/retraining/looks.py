"""The verb `looks`: which models are watched? Those whose `model.toml` names a prediction log.

Needs Python and git only, as `plan` does.
"""

from pathlib import Path

from mlops import actions, config, git
from mlops.cli import Outcome
from mlops.errors import Refusal, counted
from mlops.files import write_json
from mlops.planning import affected, command
from mlops.planning.commits import Repository


def looks(root: Path, into: str | None = None) -> Outcome:
    """Plan a look at every model of HEAD that has a prediction log and a trained version.

    The output `shards` has the matrices to start, as `plan` has them. Raises `Refusal` for a broken `model.toml`.
    """
    actions.only_of_the_default_branch("Models are watched")
    head = git.head(root)
    if head is None:
        raise Refusal("Nothing has been committed here.", do="Commit first.")
    before, after = Repository(root).commits(head, head)
    names = sorted(before.tree().models)
    tomls = after.texts(f"models/{name}/model.toml" for name in names)
    trained = after.texts(f"models/{name}/dvc.lock" for name in names)
    watched = [
        path
        for path, text in sorted(tomls.items())
        if path.replace("model.toml", "dvc.lock") in trained
        and config.watched(text.decode("utf-8", "replace"), where=path)
    ]
    found = affected.plan(before.tree(), after.tree(), watched) if watched else []
    own = {path.split("/")[1] for path in watched}
    jobs = [{**job, "reasons": []} for job in command.jobs(after, [one for one in found if one.model in own], new=())]
    if into is not None:
        write_json(Path(into), {"head": head, "models": jobs})
    actions.output({"shards": command.shards(jobs)})
    said = f"{counted(len(jobs), 'model')} of {len(names):,} watched."
    hint = "" if jobs else " `watch.log` in model.toml names a prediction log."
    actions.summary(f"### Watch\n\n{said}{hint}\n")
    return Outcome(said + hint, {"models": [job["model"] for job in jobs]})
