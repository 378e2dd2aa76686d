"""The verb `retrain`: what would CT make of one model today? All of it on this machine, and nothing leaves it.

It types what the jobs of `ct.yml` type, on a working branch in this folder, and ends where they do: with the branch
`ct/<model>` that a pull request is made of, or with the reason why there is none. What a pull request or an issue would
say is in `reports/<model>/retraining.md`. The branch that was checked out is checked out again, with its data.
Standard library and git only, until the model is trained.
"""

import dataclasses
import datetime as dt
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mlops import git
from mlops.cli import INTERRUPTED, Outcome
from mlops.errors import Refusal
from mlops.files import write_json, write_text
from mlops.retraining import branches, start
from mlops.retraining.propose import Decision, Found, decide, find, told
from mlops.watching import planned
from mlops.workspace import Model

CODES = {"passed": 0, "failed": 1}
"""The exit code by verdict; what was not evaluated is 3, as for `gate`."""


def retrain(model: Model, today: str | None = None, reason: str = "") -> Outcome:
    """Train a model that is due with the data of `today` (`YYYY-MM-DD`, default: today in UTC), judge and propose it.

    With a `reason` it is trained whether it is due or not. The exit code is 0 when it is proposed, and when there is
    nothing to do; that of the gate when it is refused. Raises `Refusal` where something is not committed that would be
    lost or swept along, and where no default branch is known.
    """
    day = start.day_of(today)
    base = git.default_branch(model.root)
    if base is None:
        raise Refusal(
            f"{model.name}: git knows no default branch here, so there is nothing to start from.",
            do="Commit to a branch named main, or fetch the default branch: `git fetch origin`.",
        )
    home = _home(model, base)
    where = f"models/{model.name}/model.toml"
    text = git.show(model.root, base, where)
    if text is None:
        raise Refusal(f"{model.name}: {where} is not on {base}.", do="Commit and merge the model first.")
    reasons, why_not = _due(model, base, text, day, reason)
    newer = start.advanced(text, day, where=where) if reasons and not why_not else None
    if newer is None:
        why_not = why_not or f"its data is of {day} already, so there is nothing new to train on."
        return Outcome(f"{model.name}: {why_not}", {"model": model.name, "kind": "not trained", "why": why_not})
    _say(f"{model.name} is trained anew: {'; '.join(reasons).rstrip('.')}.")
    with _branch(model, base, home):
        write_text(model.toml, newer)
        git.run(model.root, "add", "--", where)
        git.run(model.root, "commit", "--quiet", "--message", start.message(model.name, day, reasons))
        found, decision = _measured(model, reasons)
        title, body = told(found, decision)
        if decision.kind == "proposed":
            _put(model, base, f"{title}\n\n{body}")
    return _ended(model, found, decision, day=day, text=f"# {title}\n\n{body}")


# What is due.


def _due(model: Model, base: str, text: str, day: dt.date, reason: str) -> tuple[tuple[str, ...], str]:
    """Why the model is trained, and why it is not, as `mlops due` says it of the default branch."""
    beside = {"open": _open(model, base, text), "attempted": _attempted(model)}
    with tempfile.TemporaryDirectory(prefix="mlops-retrain-") as folder:
        known = Path(folder) / "known.json"
        write_json(known, beside)
        names = [model.name] if reason.strip() else []
        plan = planned.due(
            model.root, day.isoformat(), known=str(known), model=names, reason=reason, head=base, keep_going=True
        ).value
    mine = {key: one for key in ("models", "held", "broken") for one in plan[key] if one["model"] == model.name}
    if broken := mine.get("broken"):
        raise Refusal(broken["sentence"])
    if due := mine.get("models"):
        return tuple(due["reasons"]), ""
    anyway = f"`make retrain MODEL={model.name} REASON=…` trains it all the same."
    if held := mine.get("held"):
        return tuple(held["reasons"]), f"it is due ({'; '.join(held['reasons'])}), and held: {held['held']}. {anyway}"
    return (), f"it is not due on {day}. {anyway}"


def _open(model: Model, base: str, text: str) -> dict[str, str]:
    """The proposal that waits in this clone: one with newer data than the default branch has."""
    branch, where = branches.proposed(model.name), f"models/{model.name}/model.toml"
    theirs = git.show(model.root, branch, where) if git.commit(model.root, branch) else None
    if theirs is None or start.as_of(theirs, where=where) <= start.as_of(text, where=where):
        return {}
    return {model.name: f"the branch {branch}"}


def _attempted(model: Model) -> dict[str, str]:
    """The day of the last attempt here."""
    try:
        return {model.name: str(json.loads(_note(model).read_text(encoding="utf-8"))["day"])}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _note(model: Model) -> Path:
    return model.reports / "retraining.json"


# The working branch, and the way back.


def _home(model: Model, base: str) -> str:
    """The branch or commit to come back to; refuses to leave one on which something is not committed."""
    here = git.ask(model.root, "symbolic-ref", "--quiet", "--short", "HEAD").out.decode().strip()
    if here == branches.working(model.name):
        # A run that was killed: nobody's work is on its branch.
        return base.removeprefix("origin/")
    if git.is_modified(model.root) or git.changed(model.folder):
        raise Refusal(
            f"{model.name}: something is not committed, and retraining works in this folder, on a branch of its own.",
            do="Commit it, or put it aside with `git stash --include-untracked`.",
        )
    return here or str(git.head(model.root))


@contextmanager
def _branch(model: Model, base: str, home: str) -> Iterator[None]:
    """Work on `ct-work/<model>`, as the default branch is; come back to `home` and its data whatever happens."""
    working = branches.working(model.name)
    _switch(model, "--no-track", "--force-create", working, base)
    try:
        yield
    finally:
        _switch(model, *(["--detach"] if git.commit(model.root, home) == home else []), home)
        git.run(model.root, "branch", "--quiet", "--delete", "--force", working)
        if (model.folder / "dvc.lock").is_file():
            _type(model, "pull", "--replace", quiet=True)


def _switch(model: Model, *words: str) -> None:
    """Check a branch out, without what a run has left: nobody's work is there, `_home` has seen to it."""
    git.run(model.root, "switch", "--quiet", "--discard-changes", *words)
    git.run(model.root, "clean", "--quiet", "-d", "--force", "--", f"models/{model.name}")


def _measured(model: Model, reasons: Sequence[str]) -> tuple[Found, Decision]:
    """Do what the training job does, and read what it left as `propose` does."""
    for name in ("evidence.json", "check.json"):
        # What an earlier run found must not pass for what this one did.
        (model.reports / name).unlink(missing_ok=True)
    if _type(model, "repro", "--pull") == 0 and _type(model, "gate") in (0, 1, 3):
        _type(model, "report", "--html")
    found = find(model.root, model.name, str(git.head(model.root)), reasons)
    # What DVC's cache has can be stored, when a person sends it.
    found = dataclasses.replace(found, stored=True)
    return found, decide(found)


def _type(model: Model, verb: str, *options: str, quiet: bool = False) -> int:
    """One command, as a person types it; in a process of its own, because another branch may have other code."""
    if not quiet:
        _say(f"$ mlops {' '.join((verb, *options, model.name))}")
    words = [sys.executable, "-m", "mlops", verb, *options, "--", model.name]
    code = subprocess.run(words, cwd=model.root, stdout=subprocess.DEVNULL if quiet else None, check=False).returncode
    if code == INTERRUPTED:
        raise Refusal("Interrupted.", do="Run it again.", code=INTERRUPTED)
    return code


def _put(model: Model, base: str, message: str) -> None:
    """Lock the version, and let `ct/<model>` be there; what somebody else put there stays in its history."""
    root, branch = model.root, branches.proposed(model.name)
    git.run(root, "add", "--", f"models/{model.name}")
    git.must(root, "commit", "--quiet", "--cleanup=verbatim", "--file=-", given=message.encode())
    tip, before = "HEAD", git.commit(root, branch)
    if before and not git.has(root, "merge-base", "--is-ancestor", before, base):
        words = ("commit-tree", "HEAD^{tree}", "-p", before, "-p", "HEAD", "-F", "-")
        tip = git.must(root, *words, given=message.encode()).decode().strip()
    git.run(root, "branch", "--no-track", "--force", branch, tip)


# What is said.


def _ended(model: Model, found: Found, decision: Decision, *, day: dt.date, text: str) -> Outcome:
    branch = branches.proposed(model.name)
    value: dict[str, Any] = {
        "model": model.name,
        "kind": decision.kind,
        "day": day.isoformat(),
        "reasons": found.reasons,
        "why": decision.why,
        "branch": branch if decision.kind == "proposed" else None,
    }
    page = model.reports / "retraining.md"
    write_json(_note(model), value)
    if decision.kind == "nothing new":
        page.unlink(missing_ok=True)
        return Outcome(f"{model.name}: {decision.why[0]}", value)
    write_text(page, text)
    verdict = found.evidence["verdict"]["verdict"]
    shown = page.relative_to(model.root).as_posix()
    if decision.kind == "refused":
        said = f"{model.name}: not proposed, the champion stays. What an issue would say: {shown}"
        return Outcome(said, value, CODES.get(verdict, 3))
    lines = [
        f"{model.name}: proposed on the branch {branch}, and nothing was sent.",
        f"  What the pull request would say: {shown}",
        f"  Send it: git switch {branch} && make push MODEL={model.name} && git push origin {branch}",
    ]
    return Outcome("\n".join(lines), value)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
