"""The verbs before a release: which models, and may they? `cd.yml` types them; what follows is in `history`.

Git, DVC and GitHub are asked here, each through its own module; what their answers mean is decided in `candidates`,
`admission` and `record`. All but `admit` run on a bare Python, so that nothing is installed beside a credential.
"""

import os
import re
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mlops import actions, files, git, github, origin
from mlops.cli import Outcome
from mlops.deploying import environments
from mlops.errors import Refusal, counted
from mlops.planning import affected, paths
from mlops.planning.commits import Repository
from mlops.releasing import admission, record
from mlops.releasing import candidates as chosen
from mlops.releasing.admission import Measured
from mlops.releasing.candidates import Candidate, Shipped
from mlops.reporting import neutral
from mlops.storing import verify as packed
from mlops.workspace import Model

WORKFLOW = "cd.yml"
SIGNER = "reusable-release-attest.yml"
"""The workflow whose signature counts."""
PAUSE = 1.0
"""Seconds between two orders to GitHub, which asks for that much when there are many."""
FEW = 20
"""So many orders are given at once."""
ADDRESSES = {"staging": "STAGING_ADDRESS", "production": "PRODUCTION_ADDRESS"}
"""Variables of the repository that win over the `address` of an environment's page."""
MOST_ROWS = 500

_REGISTRY = re.compile(r"[a-z0-9][a-z0-9.-]*(?::\d{1,5})?(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*", re.ASCII)
_NOTHING = re.compile(r"0*")
_LISTED = re.compile(rb"(\d+) (\w+) ([0-9a-f]+)\t(.+)", re.DOTALL)


# Which models?


def candidates(root: Path, base: str | None = None, head: str = "HEAD", named: str | None = None) -> Outcome:
    """The models whose version, or whose serving code, changed from `base` (default: the parent) to `head`.

    `named` asks for one model whatever changed. No candidate is no failure: the text says what to do next.

    Raises `Refusal` in a run of another branch than the default one, and for models and addresses that cannot be used.
    """
    _only_of_the_default_branch()
    after = git.commit(root, head)
    if after is None:
        raise Refusal(f"There is no commit {paths.shown(head)!r} here.", do="Fetch it first.")
    repository = Repository(root)
    before = None if named else _before(root, base, after)
    old, new = _shipped(repository, before, after)
    found = _named(named, new) if named else chosen.released(old, new)
    untrained = tuple(one for one in chosen.untrained(new) if not named or one == named)
    targets = {name: _address(root, name) for name in record.ENVIRONMENTS}
    registry = _registry()
    value = {
        "models": [{"model": one.model, "reasons": list(one.reasons)} for one in found],
        "untrained": list(untrained),
        "targets": targets,
        "registry": registry,
        "commit": after,
    }
    lines = _told(found, untrained, targets, of=len(new.versions))
    actions.output(
        {
            "models": " ".join(one.model for one in found),
            "also": "\n".join(_also(repository, after, found[0].model)) if named and found else "",
            "registry": registry,
            "host": registry.partition("/")[0],
            **targets,
        }
    )
    actions.summary(_page(found, untrained, targets, of=len(new.versions)))
    return Outcome("\n".join(lines), value)


def _only_of_the_default_branch() -> None:
    about = actions.event()
    if about.name and about.default_branch and about.branch != about.default_branch:
        raise Refusal(
            f"Releases are made from {about.default_branch} only, and this run is about {about.branch or 'a tag'}.",
            do=f"Merge the change; or start this workflow on {about.default_branch}.",
        )


def _before(root: Path, base: str | None, after: str) -> str | None:
    """The commit to compare with; None where nothing is known of one: a first push, or a history that was replaced."""
    if base is None:
        return git.commit(root, f"{after}^1")
    return None if _NOTHING.fullmatch(base) else git.commit(root, base)


def _shipped(repository: Repository, before: str | None, after: str) -> tuple[Shipped | None, Shipped]:
    """What both commits ship; a lock that is the same in both is not read, and counts as the same version."""
    listed = [_list(repository.root, commit) if commit else {} for commit in (before, after)]
    locks = [{path: id for path, id in one.items() if path.endswith("/dvc.lock")} for one in listed]
    wanted = set(locks[0].values()) ^ set(locks[1].values())
    wanted |= {one[chosen.RESOLVED] for one in listed if chosen.RESOLVED in one}
    repository.load(wanted)
    found = []
    for one in listed:
        models = sorted(path.split("/")[1] for path in one if path.endswith("/model.toml"))
        versions: dict[str, str | None] = {}
        for model in models:
            id = one.get(f"models/{model}/dvc.lock")
            versions[model] = (
                None if id is None else chosen.locked(repository.blob(id)) if id in wanted else f"unread {id}"
            )
        serving = {path: id for path, id in one.items() if path.startswith((f"{chosen.SERVICE}/", chosen.DOCKERFILE))}
        resolved = repository.blob(one[chosen.RESOLVED]) if chosen.RESOLVED in one else b""
        found.append(Shipped(versions=versions, serving=serving, resolved=resolved))
    return (found[0] if before else None), found[1]


def _list(root: Path, commit: str) -> dict[str, str]:
    """Path to git's name of the files of a commit that matter here."""
    places = ("models", chosen.SERVICE, "deploy", chosen.RESOLVED)
    answer = git.must(root, "--literal-pathspecs", "ls-tree", "-r", "-z", "--full-tree", commit, "--", *places)
    found = {}
    for line in answer.split(b"\0"):
        parts = _LISTED.fullmatch(line)
        path = os.fsdecode(parts[4]) if parts else ""
        if not parts or parts[2] != b"blob":
            continue
        if not path.startswith("models/") or re.fullmatch(r"models/[^/]+/(?:model\.toml|dvc\.lock)", path):
            found[path] = parts[3].decode()
    return found


def _named(name: str, new: Shipped) -> tuple[Candidate, ...]:
    if name not in new.versions:
        known = ", ".join(sorted(new.versions)[:10]) or "none yet"
        raise Refusal(f"There is no model {name[:100]!r} on this branch.", do=f"Known models: {known}.")
    return () if new.versions[name] is None else (Candidate(model=name, reasons=("asked for",)),)


def _also(repository: Repository, commit: str, model: str) -> tuple[str, ...]:
    """Folders beside the model's own that its pipeline reads from, for a sparse checkout."""
    _, after = repository.commits(commit, commit)
    tree = after.tree()
    found = affected.plan(tree, tree, [f"models/{model}/model.toml"])
    return next((one.also for one in found if one.model == model), ())


def _address(root: Path, name: str) -> str:
    """Where an environment is, as its page or the repository's variable says; empty where there is no target yet."""
    variables = {environments.ADDRESS: os.environ.get(ADDRESSES[name], "")}
    if name not in environments.names(root):
        return ""
    return environments.load(root, name, variables=variables).address


def _registry() -> str:
    """Where images go, with this repository's name; lower case, as registries want it."""
    given = os.environ.get("REGISTRY", "").strip().rstrip("/")
    found = given or f"ghcr.io/{os.environ.get('GITHUB_REPOSITORY', 'owner/name')}".lower()
    if not _REGISTRY.fullmatch(found):
        raise Refusal(
            f"REGISTRY is {found[:100]!r}, which is no place for images.",
            do="Write it as host/path in lower case and without https://, such as ghcr.io/acme/models.",
        )
    return found


def _told(
    found: tuple[Candidate, ...], untrained: tuple[str, ...], targets: Mapping[str, str], *, of: int
) -> list[str]:
    """What is released, what is not and why, and what to do next: plain sentences."""
    lines = [_counted(len(found), of), *(f"  {one.model}: {'; '.join(one.reasons)}" for one in found)]
    if untrained:
        lines.append(
            f"Without a version, so nothing of it can be released: {', '.join(untrained[:MOST_ROWS])}. "
            "Open a pull request that changes the model: CI trains it and commits its dvc.lock."
        )
    if not found and not untrained and of:
        lines.append(
            "The change touches no version and no serving code. Any model can be released by hand: `make release`."
        )
    for name, address in targets.items():
        if found and not address:
            lines.append(
                f"{name} has no address, so nothing is deployed there: set the repository variable {ADDRESSES[name]}, "
                f"or `address` in deploy/environments/{name}.toml."
            )
    return lines


def _counted(count: int, of: int) -> str:
    if not of:
        return "There is no model yet: `make new-model` makes one."
    return f"{count:,} of {counted(of, 'model')} {'is' if count == 1 else 'are'} released."


def _page(found: tuple[Candidate, ...], untrained: tuple[str, ...], targets: Mapping[str, str], *, of: int) -> str:
    """The same as Markdown, for the page of the run."""
    lines = ["### Release", "", _counted(len(found), of)]
    if found:
        lines += ["", "| Model | Why |", "|---|---|"]
    for one in found[:MOST_ROWS]:
        lines.append(f"| {neutral.code(one.model)} | {neutral.text('; '.join(one.reasons), limit=280)} |")
    if len(found) > MOST_ROWS:
        lines.append(f"\nAnd {len(found) - MOST_ROWS:,} more.")
    rest = [line for line in _told(found, untrained, targets, of=of)[1:] if not line.startswith("  ")]
    lines += [f"\n> [!NOTE]\n> {neutral.text(line, limit=2_000)}" for line in rest]
    return "\n".join(lines) + "\n"


# Start


def release(root: Path, models: Iterable[str]) -> Outcome:
    """Start the release of each model on GitHub, in a run of its own; exit 2 where one could not be started.

    So one model's failure holds no other one back, and each waits for its own approval.
    """
    wanted = [word for given in models for word in given.split()]
    if not wanted:
        raise Refusal("Which models?", do="Name at least one.")
    for name in wanted:
        if not packed.MODEL.fullmatch(name):
            raise Refusal(f"{name[:100]!r} is not the name of a model.", do="`mlops models` lists them.")
    branch = default_branch(root)
    started: list[str] = []
    because = ""
    for number, name in enumerate(wanted):
        if number >= FEW:
            time.sleep(PAUSE)
        try:
            github.dispatch(WORKFLOW, branch=branch, inputs={"model": name})
        except github.Failure as failure:
            because = str(failure)
            break
        started.append(name)
    lines = [f"{name}: its release is started; see the runs of {WORKFLOW}." for name in started]
    left = wanted[len(started) :]
    if left:
        lines += [because, f"Not started: {' '.join(left)}. `mlops release {' '.join(left[:3])} …` starts them."]
    actions.summary("\n".join([f"- {neutral.text(line, limit=1_000)}" for line in lines]) + "\n")
    return Outcome(actions.quiet("\n".join(lines)), {"started": started, "left": left}, 2 if left else 0)


def default_branch(root: Path) -> str:
    """The name of the branch that releases are made from; `Refusal` where this clone knows none."""
    named = actions.event().default_branch
    if named:
        return named
    found = git.default_branch(root)
    if found is None:
        raise Refusal("There is no default branch here.", do="Fetch it: `git fetch origin`.")
    return found.removeprefix("origin/")


# May this version be packaged?


def admit(model: Model) -> Outcome:
    """Bring a version that may be released into `models/<name>/export`; exit 2 and why where it may not.

    It may when its lock matches its inputs, when the commits that brought it and the code that serves it were measured
    and passed, and when no open issue holds it back.
    """
    lock = f"models/{model.name}/dvc.lock"
    commit = git.head(model.root)
    text = git.show(model.root, "HEAD", lock) if commit else None
    digest = chosen.locked(text.encode() if text is not None else None)
    if commit is None or digest is None:
        raise Refusal(
            f"{model.name} has no version: its dvc.lock at this commit names none.",
            do="Open a pull request that changes the model: CI trains it and commits its lock.",
        )
    if digest == chosen.UNREADABLE:
        raise Refusal(f"{model.name}: its dvc.lock cannot be read.", do="Look for conflict markers in it.")
    reasons = [*_unmeasured(model, lock), admission.unmatched(model.name, _outdated(model))]
    reasons = [one for one in reasons if one]
    version = ""
    if not reasons:
        version = _bring(model, digest)
        reasons = [one for one in [admission.held(model.name, version, holds())] if one]
    value = {"model": model.name, "version": version, "commit": commit, "reasons": reasons}
    if reasons:
        return _refused(model.name, reasons, value)
    actions.output({"version": version})
    return Outcome(f"{model.name} {version} may be released.", value)


def _refused(model: str, reasons: list[str], value: Any) -> Outcome:
    """Every reason, on the terminal and on the page of the run."""
    actions.summary(
        "\n".join(
            [
                f"### {neutral.code(model)} is not released",
                "",
                *(f"- {neutral.text(one, limit=800)}" for one in reasons),
                "",
            ]
        )
    )
    for one in reasons:
        actions.annotate("error", neutral.visible(one, limit=800), title="Not released")
    return Outcome(actions.quiet("\n".join([f"{model} is not released:", *(f"- {one}" for one in reasons)])), value, 2)


def _outdated(model: Model) -> tuple[str, ...]:
    from mlops import storage

    return storage.outdated(model)


def _bring(model: Model, digest: str) -> str:
    """Put the locked version in its place, verified by its digests; its name."""
    from mlops import storage

    storage.fetch(model.root, digest, model.export)
    manifest = model.export / "manifest.json"
    if not manifest.is_file():
        raise Refusal(f"The version of {model.name} has no manifest.json.", do=f"`make train MODEL={model.name}`.")
    return files.digest(manifest)[:12]


def _unmeasured(model: Model, lock: str) -> list[str]:
    """Why the version, or the code that serves it, was not measured; a sentence each."""
    version = git.last_change(model.root, "HEAD", lock)
    newest = git.last_change(model.root, "HEAD", lock, *chosen.SERVING)
    asked = {version: f"The version of {model.name}"}
    asked.setdefault(newest, "The code that serves it")
    branch = default_branch(model.root)
    return [admission.unmeasured(what, change, _verdicts(change, branch)) for change, what in asked.items() if change]


def _verdicts(change: str, branch: str) -> list[Measured]:
    """Every verdict on a commit and on the pull requests that it came by, the oldest of each commit first."""
    found = []
    for commit in dict.fromkeys([change, *github.merged_heads(change, into=branch)]):
        for one in github.checks(commit, admission.VERDICT):
            # Only on the commit itself it matters what it was compared with.
            event = github.event_of(one.run) if commit == change and one.run is not None else ""
            found.append(Measured(commit=commit, conclusion=one.conclusion, app=one.app, event=event))
    return found


def holds() -> dict[int, str]:
    """The open issues that hold versions back; those of strangers hold nothing."""
    ours = {github.viewer(), github.ACTIONS_BOT}
    return {one.number: one.body for one in github.open_issues(admission.HOLD) if one.author in ours}


# May this image be deployed?


def verify(model: Model, image: str, digest: str | None = None) -> Outcome:
    """Refuse an image that is not the packaged one, not attested, overtaken or held back; exit 0 only when it is none.

    `image` is the file that `mlops package` wrote; `digest` what the job that packaged it said beside that file.
    """
    given = admission.read_image(Path(image))
    commit = git.head(model.root) or ""
    if wrong := admission.strange(given, model=model.name, digest=digest or "", commit=commit):
        raise Refusal(wrong, do="Run the release again from its start.")
    branch = default_branch(model.root)
    attested = os.environ.get("ATTESTATIONS", "") != "off"
    if attested:
        github.verify_attestation(given.image, workflow=SIGNER, branch=branch, commit=commit)
    lock = git.show(model.root, "HEAD", f"models/{model.name}/dvc.lock")
    ours = chosen.locked(lock.encode() if lock is not None else None)
    reasons = [
        admission.overtaken(model.name, ours, _named_by(model, branch), branch),
        admission.held(model.name, given.version, holds()),
    ]
    reasons = [one for one in reasons if one]
    value = {
        "model": model.name,
        "version": given.version,
        "image": given.image,
        "attested": attested,
        "reasons": reasons,
    }
    if reasons:
        return _refused(model.name, reasons, value)
    how = "attested by this repository" if attested else "not attested, because the variable ATTESTATIONS is off"
    return Outcome(f"{model.name} {given.version}: {given.image} is the packaged image, {how}.", value)


def _named_by(model: Model, branch: str) -> str | None:
    """The digest of the version that the default branch names now."""
    path = f"models/{model.name}/dvc.lock"
    with origin.opened(model.root) as remote:
        tip = remote.heads().get(branch)
        if tip is None:
            raise Refusal(f"origin has no branch {branch}.", do="Check the network and your access to it.")
        remote.learn(tip)
        entry = remote.entries(tip, [path]).get(path)
        text = remote.text(entry.name, packed.LARGEST_LOCK) if entry is not None else None
    return chosen.locked(text.encode() if text is not None else None)
