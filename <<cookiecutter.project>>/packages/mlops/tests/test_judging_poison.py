"""Poisoned data is stopped before it is promoted, sound data never is, and what is not caught is named."""

import dataclasses
import datetime as dt
import importlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import poison
import polars as pl
import pytest
from poison import DIABETES, KNOWN, NOW, TUMOUR, Example, delivered
from test_judging_command import commit, edit, evidence, git

from mlops import pipeline, storage, tracking
from mlops.config import ModelConfig
from mlops.data import stages as data
from mlops.data.check import check_files
from mlops.data.compile import compile_contract
from mlops.data.contract import Contract
from mlops.data.profile import profile
from mlops.data.split import assign, fit_boundary
from mlops.judging import champion, command
from mlops.judging.arrivals import Known, look
from mlops.judging.champion import Promoted
from mlops.learning import frames, loading
from mlops.learning import stages as learning
from mlops.learning.export import Exported
from mlops.reporting import facts
from mlops.workspace import Model

EXAMPLES = {"tumour": TUMOUR, "diabetes": DIABETES}
STAGES = (data.check, data.split, learning.tune, learning.train, learning.evaluate)
CASES = {
    "label flips": "malignant contradicts what the champion says",
    "unit change": "mean_area is not what it was",
    "column swap": "mean_smoothness and mean_symmetry look swapped",
    "duplicated rows": "repeat another row in every feature",
    "leaked target": "mean_symmetry alone tells malignant",
    "shifted timestamps": "have examined_on up to 2026-06-30, of which the champion's data held all rows",
    "one class injected": "did rows of one class pour in?",
    "unit change in part": "mean_area is far beyond all that was",
    "timestamps in the future": "No row has examined_on between",
    "gaps filled": "are gaps filled with it?",
}
"""What is stopped before it is promoted, and the words of the rule that stops it."""


@pytest.fixture(scope="module")
def served(fresh: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository whose first version of `tumour` is committed, all stages in this process and without DVC."""
    root = tmp_path_factory.mktemp("served") / "project"
    shutil.copytree(fresh, root)
    model = Model(root, "tumour")
    with pytest.MonkeyPatch.context() as patch:
        without_tracking(patch)
        data.ingest(model)
        made(model)
        learning.explain(model)
    folder = root / ".cache" / "exports" / storage.folder_digest(model.export)  # type: ignore[operator]
    shutil.copytree(model.export, folder)
    commit(model)
    return root


@pytest.fixture
def tumour(served: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Model:
    """That repository, half a year later, before the new rows have come."""
    root = tmp_path / "project"
    shutil.copytree(served, root)
    monkeypatch.chdir(root)
    model = Model(root, "tumour")
    (digest,) = [one.name for one in (root / ".cache" / "exports").iterdir()]
    # Where a champion is found, and whether the lock is current, is tried elsewhere, with DVC.
    monkeypatch.setattr(champion, "locate", lambda _: Promoted(branch="main", commit="main", digest=digest))
    monkeypatch.setattr(command, "_stale", lambda _: "")
    without_tracking(monkeypatch)
    pipeline.refresh(model, as_of=NOW.isoformat())
    return model


def without_tracking(patch: pytest.MonkeyPatch) -> None:
    for name in ("log_training", "log_evaluation", "mirror"):
        patch.setattr(tracking, name, lambda **_: None)


def made(model: Model) -> None:
    for stage in STAGES:
        stage(model)


def judged(model: Model, name: str | None) -> dict[str, Any]:
    """The evidence after the poison of that name was delivered and everything ran: a stage that refuses would raise."""
    poisoned = poison.of(TUMOUR)[name] if name else None
    rows = read(model, NOW)
    delivered(rows, TUMOUR, poisoned).write_parquet(model.raw)
    made(model)
    command.gate(model)
    return evidence(model)


def read(model: Model, as_of: dt.date, *, seed: int | None = None) -> pl.DataFrame:
    """The rows of the bundled example; with a seed, they arrive in another order."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(model.source))
        ingest = importlib.import_module(f"{model.name}.ingest")
    if seed is None:
        return ingest.read(as_of)  # type: ignore[no-any-return]
    rows = ingest.read(ingest.END)
    days = rows[ingest.TIME]
    return (  # type: ignore[no-any-return]
        rows.sample(fraction=1.0, shuffle=True, seed=seed).with_columns(days).filter(pl.col(ingest.TIME) <= as_of)
    )


def rule(found: dict[str, Any], name: str = "plausible") -> dict[str, str]:
    return next(one for one in found["verdict"]["rules"] if one["rule"] == name)  # type: ignore[no-any-return]


def test_the_eight_cases_are_all_here() -> None:
    """Seven are stopped and one is not; the cases beside them are stopped, too."""
    asked = {"label flips", "unit change", "column swap", "duplicated rows", "leaked target", "shifted timestamps"}
    asked |= {"one class injected", "backdoor trigger"}
    assert asked - set(CASES) == {"backdoor trigger"}
    assert set(CASES) | {"backdoor trigger"} == set(poison.of(TUMOUR))


@pytest.mark.parametrize("name", CASES)
def test_poisoned_rows_keep_the_contract_and_are_stopped_before_they_are_promoted(tumour: Model, name: str) -> None:
    """Ingested, checked, split, learned from and evaluated; then the gate refuses it, and says what is odd."""
    found = judged(tumour, name)
    assert found["check"]["passed"] is True
    assert found["verdict"]["verdict"] == "failed"
    assert rule(found)["outcome"] == "failed"
    assert CASES[name] in rule(found)["sentence"]


def test_the_one_that_is_not_caught_is_a_backdoor(tumour: Model) -> None:
    """A few rows that could be real, with the label that an attacker wants: nothing of mlops sees them.

    When this fails, the page docs/explanation/poisoned-data.md is out of date, and the world is better.
    """
    found = judged(tumour, "backdoor trigger")
    assert found["verdict"]["verdict"] == "passed", found["verdict"]["reasons"]


def test_sound_rows_pass_and_it_is_said_how_many_were_looked_at(tumour: Model) -> None:
    found = judged(tumour, None)
    assert found["verdict"]["verdict"] == "passed", found["verdict"]["reasons"]
    assert rule(found)["sentence"] == "57 rows newer than the champion's data are plausible."


def test_a_change_of_the_world_is_accepted_by_a_person_once(tumour: Model) -> None:
    """With a reason in model.toml it passes and is shown; a champion that was promoted under it has used it."""
    reason = "The laboratory measures in another unit since July."
    found = judged(tumour, "unit change")
    assert '[gate.accept] of model.toml why it is right (mean_area = "…"): mean_area is' in rule(found)["sentence"]
    edit(tumour.toml, ("[gate.floors]", f'[gate.accept]\nmean_area = "{reason}"\n\n[gate.floors]'))
    command.gate(tumour)
    assert rule(evidence(tumour))["outcome"] == "passed"
    assert f"Accepted in model.toml: {reason}" in rule(evidence(tumour))["sentence"]
    assert facts.problem(evidence(tumour)) is None
    # As if the champion had come with that line, and then the same were delivered again.
    git(tumour.root, "commit", "-q", "-m", "Accept", str(tumour.toml))
    command.gate(tumour)
    assert rule(evidence(tumour))["outcome"] == "failed"
    assert "What model.toml accepts of mean_area was used by the champion" in rule(evidence(tumour))["sentence"]
    edit(tumour.toml, (reason, "It is so again, and will be so from now on."))
    command.gate(tumour)
    assert rule(evidence(tumour))["outcome"] == "passed"


def test_what_was_accepted_is_known_from_then_on(tumour: Model) -> None:
    """Its rows are the champion's data now, and the next ones, which are like them, need no reason."""
    accepted = delivered(read(tumour, NOW), TUMOUR, poison.of(TUMOUR)["unit change"])
    accepted.write_parquet(tumour.raw)
    data.check(tumour)
    commit(tumour)
    later = dt.date(2027, 6, 1)
    pipeline.refresh(tumour, as_of=later.isoformat())
    delivered(read(tumour, later), TUMOUR, poison.of(TUMOUR)["unit change"]).write_parquet(tumour.raw)
    made(tumour)
    command.gate(tumour)
    assert rule(evidence(tumour))["outcome"] == "passed", rule(evidence(tumour))["sentence"]
    assert rule(evidence(tumour))["sentence"].startswith("47 rows newer than the champion's data")


@dataclasses.dataclass(frozen=True, kw_only=True)
class World:
    """A model's contract and settings, and the champion that its first rows make."""

    example: Example
    model: Model
    contract: Contract
    config: ModelConfig
    build: Callable[[dict[str, Any]], Any]

    def champion(self, rows: pl.DataFrame, *, estimator: str = "linear") -> Known:
        """What training and exporting would keep of a version, made of the rows up to `KNOWN`."""
        old = rows.filter(pl.col(self.example.time) <= KNOWN)
        boundary = fit_boundary(old, self.contract, self.config.split)
        train = old.filter(~assign(old, boundary))
        task, inputs = self.config.model.task, frames.of_contract(self.contract)
        x = frames.features(train, inputs, where="train")
        y = frames.target(train, self.example.target, task=task, where="train")
        manifest = {
            "model": self.model.name,
            "task": task,
            "target": self.example.target,
            "classes": [0, 1] if task == "classification" else None,
            "features": [{"name": one.name, "dtype": one.dtype} for one in inputs],
            "input_schema": self.contract.request_schema(),
            "split": boundary.to_json(),
        }
        assert self.contract.target is not None
        return Known(
            version=Exported(Path(), manifest, self.build({"estimator": estimator, "seed": 7}).fit(x, y)),
            profile=profile(train, [*self.contract.features, self.contract.target], self.config.drift.bins),
            check={
                "rows": old.height,
                "newest": str(old[self.example.time].max()),
                "as_of": KNOWN.isoformat(),
            },
        )

    def doubts(self, rows: pl.DataFrame, champion: Known | None) -> list[str]:
        return [one.sentence for one in look(rows.lazy(), self.contract, self.config, champion).doubts]


@pytest.fixture(scope="module", params=EXAMPLES)
def world(request: pytest.FixtureRequest, fresh: Path) -> World:
    """Each of the bundled examples."""
    model = Model(fresh, request.param)
    return World(
        example=EXAMPLES[request.param],
        model=model,
        contract=compile_contract(model.contract, cache=None),
        config=model.config(),
        build=loading.build_of(model),
    )


def test_fifty_sound_resamples_are_never_stopped(world: World, tmp_path: Path) -> None:
    """Real rows in fifty orders: who came before the champion and who after is chance, and nothing is doubted."""
    stopped = {}
    for seed in range(50):
        rows = read(world.model, NOW, seed=seed)
        said = world.doubts(rows, world.champion(rows))
        rows.write_parquet(tmp_path / "raw.parquet")
        if said or not check_files([tmp_path / "raw.parquet"], world.contract, as_of=NOW).passed:
            stopped[seed] = said
    assert stopped == {}


def test_what_is_known_is_not_doubted_without_a_champion(world: World) -> None:
    """The first version of each example: no feature tells the target alone, and no row is repeated."""
    assert world.doubts(read(world.model, NOW), None) == []


def test_each_case_is_doubted_in_the_other_task_too(world: World) -> None:
    """Of a number as of a class: all but the backdoor, half a year of rows, the champion as it would be."""
    rows = read(world.model, NOW)
    known = world.champion(rows)
    found = {
        name: world.doubts(delivered(rows, world.example, one), known) for name, one in poison.of(world.example).items()
    }
    assert [name for name, said in found.items() if not said] == (
        ["backdoor trigger"] if world.example is TUMOUR else []
    )


DRIFTS: dict[str, Callable[[pl.Expr], pl.Expr]] = {
    "nothing": lambda column: column,
    "1.5 standard deviations up": lambda column: column + 1.5 * column.std(),
    "1.5 standard deviations down": lambda column: column - 1.5 * column.std(),
    "half of a standard deviation": lambda column: column + 0.5 * column.std(),
    "twice the spread": lambda column: column.mean() + 2 * (column - column.mean()),
    "half the spread": lambda column: column.mean() + (column - column.mean()) / 2,
    "a third is missing": lambda column: pl.when((column * 1000).cast(pl.Int64) % 3 > 0).then(column),
}


@pytest.mark.parametrize("estimator", ["linear", "forest"])
def test_drift_as_large_as_the_alarms_name_is_trained_on_and_not_refused(world: World, estimator: str) -> None:
    """The sizes of docs/explanation/drift.md in each column by itself, and in all of them at once."""
    rows = read(world.model, NOW)
    known = world.champion(rows, estimator=estimator)
    numbers = [column.name for column in world.contract.features if column.dtype == "float"]
    refused = {}
    for what, drift in DRIFTS.items():
        for names in ([], *([name] for name in numbers), numbers):

            def drifted(new: pl.DataFrame, _: np.random.Generator, names: list[str] = names) -> pl.DataFrame:
                return new.with_columns(drift(pl.col(name)) for name in names)  # noqa: B023

            said = world.doubts(delivered(rows, world.example, drifted), known)
            if said:
                refused[what, tuple(names)] = said
    assert refused == {}
