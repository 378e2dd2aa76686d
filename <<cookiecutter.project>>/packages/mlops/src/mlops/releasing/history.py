"""The verbs `record` and `revert`: what is on record when a release, or a rollback, has ended.

GitHub is told through `github`, MLflow through `tracking`, the default branch through `origin`; the words are those of
`record`. Each record is tried by itself: that one could not be written loses no other.
"""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlops import actions, files, github, origin
from mlops.cli import Outcome
from mlops.errors import Refusal
from mlops.origin import Entry, Origin
from mlops.planning import paths
from mlops.releasing import admission, record
from mlops.releasing.command import default_branch, holds
from mlops.releasing.record import Ended
from mlops.reporting import neutral
from mlops.storing import verify as packed
from mlops.workspace import Model

MEASURING = "ci.yml"
"""The workflow that measures a pull request."""


def note(model: Model, artifacts: str) -> Outcome:
    """Put a finished release on record: deployments, a release note, MLflow's aliases, an issue where it was undone.

    `artifacts` holds what the jobs left; `NEEDS` their results. Each record is tried even where another one failed;
    exit 2 where one could not be written.
    """
    place = Path(artifacts)
    image = admission.read_image(place / f"image-{model.name}" / "image.json")
    needs = _needs()
    said: list[str] = []
    problems: list[str] = []
    ends = []
    for environment in record.ENVIRONMENTS:
        result = str((needs.get(environment) or {}).get("result", "skipped"))
        if result not in ("success", "failure"):
            continue
        ends.append(_ended(place, model.name, environment, result))
    before = ""
    for one in ends:
        with _Kept(problems):
            before = _deployed(model.name, image, one, said) or before
    production = next((one for one in ends if one.environment == "production"), None)
    if production is not None and production.outcome in ("deployed", "unchanged"):
        with _Kept(problems):
            said.append(_release_note(model, image, ends, before))
        with _Kept(problems):
            said += _mirror(model, image.version, before)
    if production is not None and production.outcome == "rolled back":
        with _Kept(problems):
            said.append(_open_issue(model.name, image.version, production, production.sentence))
    lines = [*(f"{one.environment}: {one.sentence}" for one in ends), *said, *problems]
    if not ends:
        lines.append(f"{model.name} {image.version} is packaged and deployed nowhere: no environment has an address.")
    actions.summary(
        "\n".join(
            [f"### {model.name} {image.version}", "", *(f"- {neutral.text(one, limit=800)}" for one in lines), ""]
        )
    )
    value = {"model": model.name, "version": image.version, "ended": {one.environment: one.outcome for one in ends}}
    return Outcome(actions.quiet("\n".join(lines)), {**value, "problems": problems}, 2 if problems else 0)


class _Kept:
    """Note a refusal in a list and go on."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> bool:
        if isinstance(error, Refusal):
            self.problems.append(f"Not on record: {error.what} {error.do}".rstrip())
            actions.annotate("error", error.what, title="Record")
            return True
        return False


def _needs() -> dict[str, Any]:
    try:
        value = json.loads(os.environ.get("NEEDS", ""))
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise Refusal(
            "NEEDS does not hold the results of the jobs.", do="In a workflow: `NEEDS: ${{ toJSON(needs) }}`."
        )
    return value


def _ended(place: Path, model: str, environment: str, result: str) -> Ended:
    found = record.read_ended(place / f"deployed-{environment}-{model}" / "deployed.json", environment)
    if found is None:
        return record.lost(environment, result)
    if result != "success" and found.state == "success":
        # It was deployed, and something after it went wrong.
        return replace(found, outcome="failed", sentence=f"{found.sentence} A later step failed: see the job's log.")
    return found


def _deployed(model: str, image: admission.Image, one: Ended, said: list[str]) -> str:
    """Note one deployment; the version that GitHub had on record as serving there before."""
    known = [
        old
        for old in github.deployments(one.environment, task=record.task(model))
        if old.payload.get("outcome") in ("deployed", "unchanged")
    ]
    latest = known[0] if known else None
    if one.outcome == "unchanged" and latest is not None and latest.payload.get("image") == image.image:
        return str(known[1].payload.get("version", "")) if len(known) > 1 else ""
    about = replace(one, version=image.version, image=image.image, commit=image.commit)
    line = record.description(model, about)
    made = github.create_deployment(
        image.commit,
        one.environment,
        task=record.task(model),
        description=line,
        payload=record.payload(model, about),
    )
    github.set_deployment(made.id, one.state, description=line, log=actions.run_url())
    if one.state == "success" and latest is not None:
        github.set_deployment(latest.id, "inactive", description=f"{model} {image.version} serves", log=None)
    said.append(f"GitHub has the deployment to {one.environment} on record.")
    return str(latest.payload.get("version", "")) if latest is not None else ""


def _release_note(model: Model, image: admission.Image, ends: list[Ended], before: str) -> str:
    metrics: Any = {}
    if model.json("metrics").is_file():
        metrics = files.read_json(model.json("metrics"), do="Look at it in git.")
    text = record.release_note(
        record.Note(
            model=model.name,
            version=image.version,
            image=image.image,
            commit=image.commit,
            previous=before,
            metrics=metrics if isinstance(metrics, dict) else {},
            ended=tuple(ends),
            run=actions.run_url() or "",
        )
    )
    tag = record.tag(model.name, image.version)
    github.write_release(tag, commit=image.commit, title=f"{model.name} {image.version}", body=text)
    return f"The release note is under the tag {tag}."


def _mirror(model: Model, version: str, before: str) -> list[str]:
    """Show on the MLflow server which version serves, where there is one; its outage costs a warning."""
    if not os.environ.get("MLFLOW_TRACKING_URI"):
        return []
    from mlops import tracking

    tracking.mirror(model=model, champion=version, challenger=None, previous=before or None)
    return [f"MLflow was told that {version} is the champion."]


def _open_issue(model: str, version: str, one: Ended, why: str, pull: str = "") -> str:
    """Open the issue about a version that was taken back, or add to the one that is open."""
    mark = admission.marker(model, version, one.environment)
    for number, body in holds().items():
        if version and mark in body:
            github.create_comment(number, record.again(one, why, actions.run_url()))
            return f"Issue {number} is about it already; this was added there."
    text = record.issue(model=model, version=version, one=one, why=why, run=actions.run_url(), pull=pull)
    made = github.create_issue(record.issue_title(model, version, one.environment), text, label=admission.HOLD)
    return f"Issue {made.number} says why" + (", and holds that version back." if version else ".")


# Back on the default branch, too


def revert(model: Model, environment: str, note: str, reason: str) -> Outcome:
    """Propose that the default branch names again what a rollback went back to, and open the issue that says why.

    `note` is the file that `mlops rollback` wrote. The whole folder of the model goes back, so that its lock matches
    its code again. Where Actions may not open pull requests, the branch is pushed and a sentence says who opens it.
    """
    given = record.read_ended(Path(note), environment)
    if given is None or not (packed.VERSION.fullmatch(given.version) and origin.COMMIT.fullmatch(given.commit)):
        raise Refusal(f"{note} does not say what {environment} went back to.", do="Look at the job that rolled back.")
    why = " ".join(reason.split())
    if not why:
        raise Refusal("A rollback needs a reason.", do="Say it with --reason.")
    problems: list[str] = []
    said: list[str] = []
    left, pull = "", ""
    with _Kept(problems):
        left = _left(model.name, given)
    with _Kept(problems):
        pull = _propose(model, given, why, said)
    with _Kept(problems):
        said.append(_open_issue(model.name, left, given, why, pull))
    with _Kept(problems):
        image = admission.Image(
            model=model.name,
            version=given.version,
            image=given.image,
            digest=given.image.rpartition("@")[2],
            commit=given.commit,
        )
        _deployed(model.name, image, replace(given, outcome="deployed"), said)
    lines = [given.sentence, *said, *problems]
    actions.summary(
        "\n".join(
            [
                f"### Rollback of {model.name} in {environment}",
                "",
                *(f"- {neutral.text(one, limit=800)}" for one in lines),
                "",
            ]
        )
    )
    value = {"model": model.name, "version": given.version, "left": left, "problems": problems}
    return Outcome(actions.quiet("\n".join(lines)), value, 2 if problems else 0)


def _left(model: str, to: Ended) -> str:
    """The version that was left, as the target says, or as GitHub has it on record; empty where neither knows."""
    told = str(to.facts.get("left") or "")
    for one in github.deployments(to.environment, task=record.task(model)):
        if not told and one.payload.get("outcome") in ("deployed", "unchanged"):
            told = str(one.payload.get("version", ""))
    return told if packed.VERSION.fullmatch(told) and told != to.version else ""


def _propose(model: Model, to: Ended, why: str, said: list[str]) -> str:
    """Push the branch and open the pull request; what the issue says about it."""
    branch = default_branch(model.root)
    home = f"models/{model.name}/"
    with origin.opened(model.root) as remote:
        heads = remote.heads()
        tip = heads.get(branch)
        if tip is None:
            raise Refusal(f"origin has no branch {branch}.", do="Check the network and your access to it.")
        remote.learn(tip)
        remote.learn(to.commit)
        changes = _differences(_plain(remote, tip, home), _plain(remote, to.commit, home))
        if not changes:
            said.append(f"{branch} names {to.version} already, so nothing is proposed.")
            return f"The default branch names {neutral.code(to.version)} already."
        name = f"rollback/{model.name}"
        if name in heads:
            name += f"-{to.version}"
        if name in heads:
            said.append(f"The branch {name} is there already; see its pull request.")
            return f"The branch {neutral.code(name)} takes the default branch back as well."
        # What the branch had before may not be in a pack that origin would be asked to complete.
        remote.take([entry for entry in changes.values() if entry], _skip)
        title = record.revert_title(model.name, to.version)
        commit = remote.commit(changes, f"{title}\n\n{why}\n", parent=tip, identity=origin.BOT)
        if not remote.push(commit, name):
            raise Refusal(f"The branch {name} was pushed by somebody else at the same time.", do="Run it again.")
    text = record.revert_text(
        model=model.name, version=to.version, commit=to.commit, environment=to.environment, why=why
    )
    try:
        number = github.create_pull_request(title, text, branch=name, into=branch)
    except github.Failure as failure:
        said.append(
            f"The branch {name} is pushed, and GitHub opened no pull request: {failure.what} Open it by hand, or allow "
            "it under Settings → Actions → General → Workflow permissions."
        )
        return f"Open a pull request of the branch {neutral.code(name)}: Actions may not do it here."
    said.append(f"Pull request {number} takes {branch} back.")
    try:
        github.dispatch(MEASURING, branch=name)
    except github.Failure as failure:
        said.append(f"{MEASURING} could not be started on it: {failure.what}")
    return f"Pull request #{number} takes the default branch back: merge it."


def _plain(remote: Origin, commit: str, home: str) -> dict[str, Entry]:
    """The files of a model in a commit; links and other things cannot be taken back by this verb."""
    found = {path: one for path, one in remote.entries(commit, [home]).items() if one.kind != "tree"}
    for path, one in found.items():
        if one.kind != "blob" or one.mode != origin.FILE:
            raise Refusal(f"{paths.shown(path)} is no ordinary file.", do="Revert the merge by hand: `git revert`.")
    return found


def _differences(now: Mapping[str, Entry], then: Mapping[str, Entry]) -> dict[str, str | None]:
    """What to change so that `now` becomes `then`: path to git's name, None for what goes."""
    other = {path: one.name for path, one in then.items() if now.get(path) != one}
    return {**other, **dict.fromkeys(now.keys() - then.keys())}


def _skip(_: str, pieces: Iterator[bytes]) -> None:
    for _piece in pieces:
        pass
