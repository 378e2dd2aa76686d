"""The verbs around a model's pipeline: run it, move what it made, advance its data, list the models.

Nothing heavy is imported here: running a pipeline in which nothing changed must cost what DVC's own look costs.
"""

import datetime as dt
import re
import time
from pathlib import Path

from mlops import config, files, git, workspace
from mlops.cli import Outcome
from mlops.errors import Refusal
from mlops.workspace import Model


def repro(model: Model, pull: bool = False, until: str | None = None) -> Outcome:
    """Run the stages whose inputs changed, then write the card; say what ran and the first metric's value.

    With `pull` what another machine made and stored is taken from there and not made again.
    With `until` the run ends with that stage, and there is no card and no metric.
    """
    from mlops import storage
    from mlops.reporting import card

    # A mistake in model.toml is said before any stage has run.
    settings = model.config()
    if until is not None:
        return _repro_until(model, until, pull=pull)
    facts = model.reports / "run.json"
    facts.unlink(missing_ok=True)
    begin = time.monotonic()
    ran = storage.repro(model, pull=pull)
    card.write(model)
    seconds = round(time.monotonic() - begin, 1)
    files.write_json(facts, {"seconds": seconds, "ran": list(ran), "lock_changed": _lock_changed(model)})
    primary = settings.evaluate.metrics[0]
    score = files.read_json(model.json("metrics"), do=f"`make train MODEL={model.name}` makes it.").get(primary)
    headline = f"{primary} {score:.4g} on the holdout" if isinstance(score, int | float) else f"{primary} is unknown"
    what = f"ran {', '.join(ran)}" if ran else "nothing changed"
    value = {"model": model.name, "ran": list(ran), "metric": primary, "score": score}
    return Outcome(f"{model.name}: {what}; {headline}.", value)


def _repro_until(model: Model, until: str, *, pull: bool) -> Outcome:
    from mlops import storage

    ran = storage.repro(model, pull=pull, until=until)
    what = f"ran {', '.join(ran)}" if ran else "nothing changed"
    return Outcome(f"{model.name}: {what}, up to {until}.", {"model": model.name, "ran": list(ran), "until": until})


def _lock_changed(model: Model) -> bool:
    """Whether `dvc.lock`, or a committed file that it names, differs from HEAD: what the run made is not committed."""
    lock = model.folder / "dvc.lock"
    named = {"dvc.lock", *re.findall(r"(?m)^ *(?:- )?path: (\S+)$", lock.read_text(encoding="utf-8"))}
    return any(path in named for path in git.changed(model.folder))


def pull(model: Model, replace: bool = False) -> Outcome:
    """Bring what `dvc.lock` names and this machine lacks from the storage; with `replace` also what differs here."""
    from mlops import storage

    came = storage.pull(model, replace=replace)
    what = f"{', '.join(came)} came from the storage" if came else "all that dvc.lock names is on this machine"
    return Outcome(f"{model.name}: {what}.", {"model": model.name, "pulled": list(came)})


def push(model: Model) -> Outcome:
    """Put what `dvc.lock` names into the storage, for others and for CI."""
    from mlops import storage

    count = storage.push(model)
    what = f"{count} new {'object' if count == 1 else 'objects'}" if count else "nothing new"
    return Outcome(f"{model.name}: {what} in the storage; commit dvc.lock too.", {"model": model.name, "pushed": count})


def refresh(model: Model, as_of: str | None = None) -> Outcome:
    """Move `data.as_of` in `model.toml` forward to `as_of` (`YYYY-MM-DD`, default: today); refuse to go back."""
    before = dt.date.fromisoformat(model.config().data.as_of)
    try:
        day = dt.date.fromisoformat(as_of) if as_of is not None else dt.date.today()
    except ValueError:
        raise Refusal(f"{as_of!r} is not a day.", do="Write it as YYYY-MM-DD, such as 2026-09-01.") from None
    value = {"model": model.name, "from": before.isoformat(), "to": day.isoformat()}
    if day < before:
        raise Refusal(
            f"{model.name}: data.as_of is {before}, and {day} is before it.",
            do=f"Data only moves forward; edit {model.toml} by hand to go back.",
        )
    if day == before:
        return Outcome(f"{model.name}: data.as_of is {day} already.", value)
    try:
        text = config.set_as_of(model.toml.read_bytes().decode("utf-8"), day)
    except Refusal as refusal:
        raise Refusal(f"{model.toml}: {refusal.what}", do=refusal.do) from None
    files.write_text(model.toml, text)
    return Outcome(f"{model.name}: data up to {day} (was {before}); `make train MODEL={model.name}` uses it.", value)


def list_models(root: Path) -> Outcome:
    """One line per model: its task, its owner and the day of its data; a broken `model.toml` says so in its line."""
    lines, values = [], []
    for name in workspace.models(root):
        try:
            settings = Model(root, name).config()
        except Refusal as refusal:
            lines.append(f"{name}  {refusal.what}")
            values.append({"model": name, "problem": refusal.what})
            continue
        about = settings.model
        lines.append(f"{name}  {about.task}  {about.owner}  data up to {settings.data.as_of}")
        values.append({"model": name, "task": about.task, "owner": about.owner, "as_of": settings.data.as_of})
    return Outcome("\n".join(lines) or "There is no model yet; `make new-model NAME=… TASK=…` makes one.", values)
