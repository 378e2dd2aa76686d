"""Retraining on this machine: what CT would do, on a branch of this clone; nothing is sent or lost."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import evidence
import pages
import pytest
import stored
from stored import git

from mlops import files, storage
from mlops.cli import Outcome
from mlops.errors import Refusal
from mlops.files import write_json
from mlops.retraining import retrain as here
from mlops.workspace import Model

ROOT = Path(__file__).resolve().parents[3]
TOML = pages.TOML + "[retrain]\nevery_days = 30\n"
INGEST = """\
import os, tomllib
os.makedirs("data", exist_ok=True)
day = tomllib.load(open("model.toml", "rb"))["data"]["as_of"]
open("data/raw.parquet", "w").write(f"{day}\\nb\\nc\\n")
"""
OCTOBER, NOVEMBER = "2026-10-01", "2026-11-01"
CT, WORK = "ct/cheap", "ct-work/cheap"


@dataclass
class Machine:
    """A clone with a champion on main, whose training is cheap and whose gate says what a test wants."""

    model: Model
    patch: pytest.MonkeyPatch
    verdict: str = "passed"
    codes: dict[str, int] = field(default_factory=dict)
    typed: list[tuple[str, ...]] = field(default_factory=list)

    @property
    def root(self) -> Path:
        return self.model.root

    def type(self, model: Model, verb: str, *options: str, quiet: bool = False) -> int:
        """Stands in for the commands that train: DVC really runs, the gate does not."""
        self.typed.append((verb, *options))
        if verb in self.codes:
            return self.codes[verb]
        if verb == "repro":
            storage.repro(model, pull=True)
        if verb == "gate":
            version = files.digest(model.export / "model.skops")[:12]
            write_json(
                model.reports / "evidence.json", evidence.sample("cheap", verdict=self.verdict) | {"version": version}
            )
            return {"passed": 0, "failed": 1}.get(self.verdict, 3)
        if verb == "pull":
            storage.pull(model, replace=True)
        return 0

    def retrain(self, today: str = OCTOBER, **more: Any) -> Outcome:
        return here.retrain(self.model, today=today, **more)

    def state(self) -> tuple[str, ...]:
        """What a person sees: the branch, what is not committed, the data and the version."""
        raw, export = self.model.raw, self.model.export / "model.skops"
        shown = [path.read_text() if path.is_file() else "" for path in (raw, export)]
        return git(self.root, "rev-parse", "--abbrev-ref", "HEAD"), git(self.root, "status", "--porcelain"), *shown

    def branches(self) -> set[str]:
        found = git(self.root, "for-each-ref", "--format=%(refname:short)", "refs/heads/ct", "refs/heads/ct-work")
        return set(found.split())

    def merge(self) -> None:
        git(self.root, "merge", "-q", CT)
        storage.pull(self.model, replace=True)


@pytest.fixture
def untrained(project: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A model that has never been trained."""
    model = stored.add(project)
    pipeline = stored.PIPELINE.replace("deps: [ingest.py]\n", "deps: [ingest.py]\n    params: [{model.toml: [data]}]\n")
    for name, text in {"model.toml": TOML, "dvc.yaml": pipeline, "ingest.py": INGEST}.items():
        (model.folder / name).write_text(text)
    for name in ("split", "train"):
        path = model.folder / f"{name}.py"
        path.write_text(path.read_text().removeprefix(stored.LOG))
    (project / ".gitignore").write_text((project / ".gitignore").read_text() + "/reports/\n")
    stored.commit(project, "A model")
    machine = Machine(model, monkeypatch)
    monkeypatch.setattr(here, "_type", machine.type)
    return machine


@pytest.fixture
def machine(untrained: Machine) -> Machine:
    """The same with a champion."""
    storage.repro(untrained.model)
    stored.commit(untrained.root, "Champion")
    return untrained


def test_a_due_model_that_passes_becomes_a_branch_with_the_text_of_its_pull_request(machine: Machine) -> None:
    """The newer day, then the lock; the clone is as it was, with the champion's data in it."""
    before, main = machine.state(), git(machine.root, "rev-parse", "main")
    outcome = machine.retrain()
    assert outcome.code == 0
    assert outcome.value["kind"] == "proposed"
    assert machine.branches() == {CT}
    assert (machine.state(), git(machine.root, "rev-parse", "main")) == (before, main)
    assert git(machine.root, "rev-parse", f"{CT}~2") == main
    changed = git(machine.root, "diff", "--name-only", "main", CT).split()
    assert changed == ["models/cheap/dvc.lock", "models/cheap/model.toml"]
    assert f'as_of = "{OCTOBER}"' in git(machine.root, "show", f"{CT}:models/cheap/model.toml")
    assert "92 days ago" in git(machine.root, "log", "-1", "--format=%B", f"{CT}~1")
    message = git(machine.root, "log", "-1", "--format=%B", CT)
    assert message.startswith("Retrain cheap: roc_auc 0.9713 → 0.9841\n\n`cheap` was trained anew, and passed")
    assert (machine.model.reports / "retraining.md").read_text().strip() == f"# {message}"
    assert CT in outcome.text


def test_what_is_typed_is_what_the_training_job_types(machine: Machine) -> None:
    machine.retrain()
    job = (ROOT / ".github" / "workflows" / "reusable-train.yml").read_text(encoding="utf-8")
    assert [words[0] for words in machine.typed] == ["repro", "gate", "report", "pull"]
    for words in machine.typed[:-1]:
        assert f'run: mlops {" ".join(words)} -- "$MODEL"\n' in job


@pytest.mark.parametrize(("verdict", "code"), [("failed", 1), ("not evaluated", 3)])
def test_a_version_that_did_not_pass_leaves_the_reason_and_nothing_else(
    verdict: str, code: int, machine: Machine
) -> None:
    machine.verdict = verdict
    before = machine.state()
    outcome = machine.retrain()
    assert (outcome.code, outcome.value["kind"]) == (code, "refused")
    assert machine.branches() == set()
    assert machine.state() == before
    text = (machine.model.reports / "retraining.md").read_text()
    assert text.startswith("# Retraining cheap was refused\n")
    assert "92 days ago" in text
    assert outcome.value["why"]


def test_a_stage_that_fails_is_a_refusal_whatever_an_earlier_gate_said(machine: Machine) -> None:
    """Last month's evidence says passed."""
    machine.retrain()
    machine.merge()
    machine.codes["repro"] = 1
    outcome = machine.retrain(NOVEMBER)
    assert (outcome.code, outcome.value["kind"]) == (3, "refused")
    assert ("gate",) not in machine.typed[4:]


def test_a_first_version_that_is_refused_leaves_no_file(untrained: Machine) -> None:
    """There is no lock on main to come back to."""
    untrained.verdict = "failed"
    untrained.retrain()
    assert untrained.state()[:2] == ("main", "")
    assert not (untrained.model.folder / "dvc.lock").exists()


def test_the_same_version_is_nothing_new(machine: Machine) -> None:
    champion = evidence.sample("cheap")["champion"]["version"]
    machine.patch.setattr(files, "digest", lambda path: champion)
    outcome = machine.retrain()
    assert (outcome.code, outcome.value["kind"]) == (0, "nothing new")
    assert machine.branches() == set()


# When it is trained.


@pytest.mark.parametrize(
    ("today", "more", "said"),
    [
        ("2026-07-08", {}, "is not due on 2026-07-08"),
        ("2026-07-01", {"reason": "new scanners"}, "its data is of 2026-07-01 already"),
    ],
)
def test_what_is_not_due_is_not_trained(today: str, more: dict[str, str], said: str, machine: Machine) -> None:
    outcome = machine.retrain(today, **more)
    assert (outcome.code, machine.typed) == (0, [])
    assert said in outcome.text


def test_a_reason_trains_what_is_not_due(machine: Machine) -> None:
    assert machine.retrain("2026-07-08", reason="new scanners").value["kind"] == "proposed"
    assert "asked for: new scanners" in (machine.model.reports / "retraining.md").read_text()


def test_a_proposal_that_waits_holds_the_next_one_until_somebody_asks(machine: Machine) -> None:
    """Then the same branch moves on, and what it held stays in its history."""
    machine.retrain(OCTOBER)
    first = git(machine.root, "rev-parse", CT)
    held = machine.retrain(NOVEMBER)
    assert "a retraining pull request is open: the branch ct/cheap" in held.text
    assert git(machine.root, "rev-parse", CT) == first
    assert machine.retrain(NOVEMBER, reason="go on").value["kind"] == "proposed"
    git(machine.root, "merge-base", "--is-ancestor", first, CT)
    assert f'as_of = "{NOVEMBER}"' in git(machine.root, "show", f"{CT}:models/cheap/model.toml")
    assert f'as_of = "{OCTOBER}"' not in git(machine.root, "diff", "main", CT)


def test_a_merged_proposal_holds_nothing_and_the_branch_begins_anew(machine: Machine) -> None:
    machine.retrain(OCTOBER)
    machine.merge()
    assert machine.retrain(NOVEMBER).value["kind"] == "proposed"
    assert git(machine.root, "rev-parse", f"{CT}~2") == git(machine.root, "rev-parse", "main")


def test_after_an_attempt_that_was_refused_there_is_a_cooldown(machine: Machine) -> None:
    machine.verdict = "failed"
    machine.retrain("2026-10-01")
    assert "the cooldown is 7 days" in machine.retrain("2026-10-03").text
    machine.verdict = "passed"
    assert machine.retrain("2026-10-08").value["kind"] == "proposed"


def test_a_broken_page_of_the_model_is_said(machine: Machine) -> None:
    machine.model.toml.write_text(TOML.replace("30", '"often"'))
    stored.commit(machine.root, "Break it")
    with pytest.raises(Refusal, match="every_days"):
        machine.retrain()


# Nobody's work.


@pytest.mark.parametrize("place", ["README.md", "models/cheap/notes.txt"])
def test_what_is_not_committed_is_in_the_way(place: str, machine: Machine) -> None:
    """A changed file anywhere; a new one where it would be swept into the proposal."""
    (machine.root / "README.md").write_text("one\n")
    stored.commit(machine.root)
    (machine.root / place).write_text("mine\n")
    with pytest.raises(Refusal, match="something is not committed"):
        machine.retrain()
    assert (machine.root / place).read_text() == "mine\n"
    assert machine.branches() == set()


def test_from_another_branch_it_starts_from_the_default_one_and_comes_back(machine: Machine) -> None:
    git(machine.root, "switch", "-q", "-c", "idea")
    (machine.model.folder / "train.py").write_text("raise SystemExit(1)\n")
    stored.commit(machine.root, "An idea")
    (machine.root / "todo.txt").write_text("mine\n")
    before = machine.state()
    assert machine.retrain().value["kind"] == "proposed"
    assert machine.state() == before
    assert git(machine.root, "rev-parse", f"{CT}~2") == git(machine.root, "rev-parse", "main")
    git(machine.root, "switch", "-q", "--detach", "main")
    machine.retrain(NOVEMBER, reason="again")
    assert machine.state()[0] == "HEAD"


def test_what_a_killed_run_left_is_replaced(machine: Machine) -> None:
    """It lay on its working branch, with half of its work; the person was on main."""
    git(machine.root, "switch", "-q", "-c", WORK)
    machine.model.toml.write_text(TOML.replace("2026-07-01", "2026-09-01"))
    (machine.model.folder / "half.json").write_text("{")
    assert machine.retrain().value["kind"] == "proposed"
    assert machine.state()[:2] == ("main", "")
    assert machine.branches() == {CT}
    assert "half.json" not in git(machine.root, "ls-tree", "-r", "--name-only", CT)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), Refusal("Interrupted.", code=130)])
def test_an_interrupted_run_comes_back(error: BaseException, machine: Machine) -> None:
    before = machine.state()

    def interrupted(model: Model, verb: str, *options: str, quiet: bool = False) -> int:
        if verb == "gate":
            raise error
        return machine.type(model, verb, *options)

    machine.patch.setattr(here, "_type", interrupted)
    with pytest.raises(type(error)):
        machine.retrain()
    assert machine.state() == before
    assert machine.branches() == set()


def test_with_an_origin_it_starts_from_what_is_there_and_sends_nothing(machine: Machine, tmp_path: Path) -> None:
    server = stored.bare(tmp_path / "origin.git")
    stored.connected(machine.root, server)
    git(machine.root, "remote", "set-head", "origin", "main")
    git(machine.root, "commit", "-q", "--allow-empty", "-m", "Not pushed yet")
    assert machine.retrain().value["kind"] == "proposed"
    assert git(machine.root, "rev-parse", f"{CT}~2") == git(server, "rev-parse", "main")
    assert git(server, "for-each-ref", "--format=%(refname)") == "refs/heads/main"
    assert json.loads((machine.model.reports / "retraining.json").read_text())["branch"] == CT


def test_the_commands_are_processes_of_their_own(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Another branch may have other code; what they say is seen, and their codes are kept."""
    type_it: Callable[..., int] = here._type
    assert type_it(Model(project, "tumour"), "gate") == 3
    said = capfd.readouterr()
    assert "$ mlops gate tumour" in said.err
    assert "nothing to judge" in said.err
