"""The gate from end to end, on the scaffold's models and real data: train, judge, promote, refresh, judge again."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlops import config, pipeline, storage, tracking
from mlops.cli import Outcome
from mlops.errors import Refusal
from mlops.judging import champion, command
from mlops.learning import export, spending
from mlops.reporting import facts
from mlops.workspace import Model


def git(root: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True)


def commit(model: Model) -> None:
    git(model.root, "add", "-A")
    git(model.root, "commit", "-q", "-m", "Promote")


@pytest.fixture(scope="session")
def trained(fresh: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`fresh` with both models trained, and nothing committed since."""
    root = tmp_path_factory.mktemp("trained") / "project"
    shutil.copytree(fresh, root)
    for name in ("tumour", "diabetes"):
        storage.repro(Model(root, name))
    return root


@pytest.fixture
def tumour(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Model:
    """The classification model, trained for the first time."""
    return copied(trained, tmp_path, monkeypatch, "tumour")


@pytest.fixture
def promoted(tumour: Model) -> Model:
    """The classification model, whose first version is the champion."""
    commit(tumour)
    return tumour


def copied(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> Model:
    root = tmp_path / "project"
    shutil.copytree(trained, root, symlinks=True)
    monkeypatch.chdir(root)
    return Model(root, name)


def evidence(model: Model) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((model.reports / "evidence.json").read_text())
    return value


def edit(path: Path, *changes: tuple[str, str]) -> None:
    """Replace text in a file; each must be there."""
    text = path.read_text()
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    path.write_text(text)


def outcomes(model: Model) -> dict[str, str]:
    return {one["rule"]: one["outcome"] for one in evidence(model)["verdict"]["rules"]}


def test_the_first_version_is_judged_against_the_baseline_only(tumour: Model) -> None:
    """With no champion the verdict is passed, and says what it was compared with."""
    outcome = command.gate(tumour)
    assert outcome.code == 0
    assert "compared with the baseline only" in outcome.text
    found = evidence(tumour)
    assert (found["comparison"], found["champion"], found["drift"]) == (None, None, None)
    assert outcomes(tumour)["champion"] == "not applied"


def test_a_refreshed_version_is_compared_with_the_champion_on_the_same_rows(promoted: Model) -> None:
    """Two months of new rows: both versions predict the new holdout, and every fact for the report is there."""
    first = export.version(promoted.export)
    pipeline.refresh(promoted, as_of="2026-09-01")
    storage.repro(promoted)
    outcome = command.gate(promoted)
    found = evidence(promoted)
    assert outcome.code == 0, outcome.text
    comparison = found["comparison"]
    assert comparison["champion"] == found["champion"]["version"] == first
    assert comparison["rows"] + comparison["rows_left_out"] == found["evaluation"]["rows"]
    assert set(comparison["metrics"]) == set(promoted.config().evaluate.metrics)
    assert [part["name"] for part in comparison["slices"]] == ["small nuclei", "large nuclei"]
    # The challenger's score on common rows is the evaluation's own where no row was left out.
    assert comparison["rows_left_out"] == 0
    primary = comparison["primary"]
    assert comparison["metrics"][primary]["challenger"] == pytest.approx(found["metrics"][primary], abs=1e-12)
    assert {one["column"] for one in found["drift"]} >= {"mean_radius", "malignant"}
    assert facts.problem(found) is None
    assert json.dumps(found).count(str(promoted.root)) == 0


def test_the_champion_judged_against_itself_differs_by_nothing(promoted: Model) -> None:
    """On the default branch, right after promotion, the gate passes with a difference of exactly zero."""
    assert command.gate(promoted).code == 0
    pair = evidence(promoted)["comparison"]["metrics"]["roc_auc"]["difference"]
    assert (pair["value"], pair["low"], pair["high"]) == (0, 0, 0)


def test_a_challenger_trained_on_shuffled_labels_is_failed_and_told_why(promoted: Model) -> None:
    """The breaker with real training: labels that mean nothing give a version that nothing lets through."""
    shuffled = "return Shuffled([("
    edit(
        promoted.source / "tumour" / "model.py",
        ("return Pipeline([(", shuffled),
        (
            "def build(",
            "class Shuffled(Pipeline):\n"
            "    def fit(self, X, y=None, **kwargs):\n"
            "        Pipeline.fit(self, X, y.sample(frac=1, random_state=0).to_numpy(), **kwargs)\n"
            "        self.__class__ = Pipeline\n"
            "        return self\n\n\n"
            "def build(",
        ),
    )
    storage.repro(promoted)
    outcome = command.gate(promoted)
    assert outcome.code == 1
    assert re.search(
        r"roc_auc fell by 0\.\d+ \(95 % interval -0\.\d+ to -0\.\d+\); at most 0\.010 is allowed", outcome.text
    )
    assert outcomes(promoted)["floors"] == "failed"
    assert outcomes(promoted)["champion"] == "failed"


def test_a_challenger_that_is_worse_on_one_slice_is_failed(promoted: Model) -> None:
    """Fine overall is not enough: here the small nuclei are given up, and the verdict names them."""
    edit(promoted.toml, ("\nmargin = 0.01\n", "\nmargin = 0.5\n"), ("roc_auc = 0.9\n", "roc_auc = 0.5\n"))
    # One threshold, above all of the slice's rows: it tells them apart no more.
    edit(
        promoted.source / "tumour" / "model.py",
        (
            'return Pipeline([("prepare", _prepare()), ("estimate", _estimator(**params))])',
            "from sklearn.tree import DecisionTreeClassifier\n\n"
            '    only = ColumnTransformer([("radius", "passthrough", ["mean_radius"])])\n'
            '    return Pipeline([("prepare", only), ("estimate", DecisionTreeClassifier(max_depth=1))])',
        ),
    )
    storage.repro(promoted)
    outcome = command.gate(promoted)
    assert outcome.code == 1
    found = outcomes(promoted)
    assert [rule for rule, one in found.items() if one == "failed"] == ["slices"]
    assert "in the slice 'small nuclei'" in outcome.text


def test_a_worse_regression_is_failed(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same for values: a model that regularises everything away is worse in rmse, where less is better."""
    model = copied(trained, tmp_path, monkeypatch, "diabetes")
    assert command.gate(model).code == 0
    commit(model)
    edit(model.toml, ('estimator = "linear"', 'estimator = "linear"\nstrength = 0.0001'))
    storage.repro(model)
    outcome = command.gate(model)
    assert outcome.code == 1
    assert re.search(r"rmse rose by .* positive is better", outcome.text)


def drop_a_feature(model: Model) -> None:
    """Take `mean_texture` out of the contract and of the rows."""
    edit(
        model.contract,
        ('    mean_texture: float = pa.Field(ge=0, le=60, description="Standard deviation of grey values")\n', ""),
    )
    edit(
        model.source / "tumour" / "ingest.py",
        ('name.startswith("mean_")', 'name.startswith("mean_") and name != "mean_texture"'),
    )
    text = model.toml.read_text()
    model.toml.write_text(re.sub(r"\[evaluate\.groups\]\ntexture = .*\n", "", text))


def test_a_champion_that_needs_a_feature_that_is_gone_is_not_evaluated_unless_reset(promoted: Model) -> None:
    """Changed features: not evaluated, with the way out; a reset with its reason lets it pass; a reset counts once."""
    drop_a_feature(promoted)
    storage.repro(promoted)
    outcome = command.gate(promoted)
    assert outcome.code == 3
    assert "its feature mean_texture is gone" in outcome.text
    assert 'champion = "reset"' in outcome.text
    reset = 'champion = "reset"\nreason = "Texture is no longer measured."\n'
    edit(promoted.toml, ("minimum_support = 30\n", f"minimum_support = 30\n{reset}"))
    outcome = command.gate(promoted)
    assert outcome.code == 0, outcome.text
    assert "set aside in model.toml: Texture is no longer measured." in outcome.text
    assert evidence(promoted)["champion"] is not None
    commit(promoted)
    outcome = command.gate(promoted)
    assert outcome.code == 0
    assert "no longer counts" in outcome.text
    assert outcomes(promoted)["champion"] == "passed"


def lose_the_bytes(model: Model) -> None:
    found = champion.locate(model)
    assert found is not None
    shutil.rmtree(model.root / ".cache", ignore_errors=True)
    shutil.rmtree(model.root / ".dvc" / "cache")


def no_default_branch(model: Model) -> None:
    git(model.root, "checkout", "-q", "-b", "work")
    git(model.root, "branch", "-q", "-D", "main")


def few_rows(model: Model) -> None:
    edit(model.toml, ("minimum_support = 30", "minimum_support = 3000"))


def lose_the_holdout(model: Model) -> None:
    model.holdout.unlink()


@pytest.mark.parametrize(
    ("breaker", "words"),
    [
        (lose_the_bytes, "cannot be fetched"),
        (lose_the_holdout, "the holdout is not on this machine; `dvc pull` in models/tumour fetches it"),
        (no_default_branch, "git knows no default branch here"),
        (few_rows, "rows are common to champion and challenger, at least 3000 are needed"),
    ],
)
def test_a_champion_that_cannot_be_compared_is_never_a_pass(
    promoted: Model, breaker: Callable[[Model], None], words: str
) -> None:
    """Lost bytes, a missing branch, too few rows: not evaluated, code 3, and what to do."""
    breaker(promoted)
    outcome = command.gate(promoted)
    assert outcome.code == 3
    assert words in outcome.text


def test_aliases_follow_what_git_says_and_stay_where_it_cannot_be_asked(
    promoted: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mirror gets champion, challenger and previous; a champion that is lost takes no alias away."""
    told: list[dict[str, Any]] = []
    monkeypatch.setattr(tracking, "mirror", lambda **given: told.append(given))
    command.gate(promoted)
    version = export.version(promoted.export)
    assert told == [{"model": promoted, "champion": version, "challenger": version, "previous": None}]
    lose_the_bytes(promoted)
    command.gate(promoted)
    assert len(told) == 1


def tampered_export(model: Model) -> None:
    manifest = model.export / "manifest.json"
    manifest.chmod(0o644)
    manifest.write_text(manifest.read_text() + "\n")


def changed_inputs(model: Model) -> None:
    edit(model.toml, ("holdout = 0.25", "holdout = 0.3"))


def better_numbers(model: Model) -> None:
    value = json.loads(model.json("evaluation").read_text())
    value["overall"]["roc_auc"]["value"] = 0.999
    model.json("evaluation").write_text(json.dumps(value))


def no_lock(model: Model) -> None:
    (model.folder / "dvc.lock").unlink()


@pytest.mark.parametrize("breaker", [tampered_export, changed_inputs, better_numbers, no_lock])
def test_facts_about_something_else_are_not_evaluated(tumour: Model, breaker: Callable[[Model], None]) -> None:
    """An export, inputs or numbers that are not what the lock says: not evaluated, and train again."""
    breaker(tumour)
    outcome = command.gate(tumour)
    assert outcome.code == 3
    assert outcomes(tumour)["current"] == "not evaluated"
    assert "`make train MODEL=tumour`" in outcome.text


@pytest.mark.parametrize("name", ["evaluation", "check", "metrics"])
def test_without_an_evaluation_the_command_to_type_is_given(tumour: Model, name: str) -> None:
    """Nothing to judge is one line with the command, code 3, and an earlier verdict does not stay behind."""
    command.gate(tumour)
    tumour.json(name).unlink()
    with pytest.raises(Refusal, match=f"tumour: nothing to judge: .*{name}.json does not exist") as refused:
        command.gate(tumour)
    assert refused.value.code == 3
    assert "`make train MODEL=tumour`" in refused.value.do
    assert not (tumour.reports / "evidence.json").exists()


def test_without_the_export_it_says_where_to_get_it(tumour: Model) -> None:
    """A clone has the facts and not the bytes: code 3, the model's name, and both ways to have them."""
    shutil.rmtree(tumour.export)
    with pytest.raises(Refusal, match="tumour: nothing to judge: its export is not on this machine") as refused:
        command.gate(tumour)
    assert refused.value.code == 3
    assert "`make train MODEL=tumour`" in refused.value.do
    assert "`dvc pull` in models/tumour" in refused.value.do


def test_the_same_case_gives_the_same_bytes(tumour: Model) -> None:
    """Evidence holds no clock and no path: twice the same, byte for byte."""
    first = judged(tumour)
    assert judged(tumour) == first


def judged(model: Model) -> tuple[Outcome, bytes]:
    outcome = command.gate(model)
    return outcome, (model.reports / "evidence.json").read_bytes()


def test_repro_writes_the_cards_and_says_what_ran(tumour: Model) -> None:
    """After the stages the card is written; a second run says that nothing changed, with the first metric."""
    edit(tumour.toml, ('[[evaluate.slices]]\nname = "small', 'seed = 8\n\n[[evaluate.slices]]\nname = "small'))
    outcome = pipeline.repro(tumour)
    assert outcome.value["ran"] == ["evaluate", "explain", "age"]
    assert outcome.text.startswith("tumour: ran evaluate, explain, age; roc_auc 0.")
    assert (tumour.folder / "CARD.md").is_file()
    again = pipeline.repro(tumour)
    assert re.fullmatch(r"tumour: nothing changed; roc_auc 0\.\d+ on the holdout\.", again.text)
    assert again.value["score"] == json.loads(tumour.json("metrics").read_text())["roc_auc"]


def test_the_run_is_in_the_evidence_and_says_whether_its_lock_is_committed(tumour: Model) -> None:
    """A verdict must know whether what was measured is what would be merged."""
    pipeline.repro(tumour)
    command.gate(tumour)
    run = evidence(tumour)["run"]
    assert (run["ran"], run["lock_changed"]) == ([], True)
    assert run["seconds"] > 0
    commit(tumour)
    for path, changed in (("CARD.md", False), ("unrelated.json", False), ("metrics.json", True)):
        git(tumour.root, "rm", "-q", "--cached", "--ignore-unmatch", f"models/tumour/{path}")
        (tumour.folder / "unrelated.json").write_text("{}")
        git(tumour.root, "commit", "-q", "--allow-empty", "-m", "Forget it")
        pipeline.repro(tumour)
        command.gate(tumour)
        assert evidence(tumour)["run"]["lock_changed"] is changed, path


def test_without_a_run_the_evidence_says_nothing_of_it(tumour: Model) -> None:
    command.gate(tumour)
    assert evidence(tumour)["run"] is None


def test_what_making_a_version_took_travels_with_it(promoted: Model) -> None:
    """A run that trains nothing shows the training's minutes, beside the champion's.

    A training that DVC's cache gives back took what it took.
    """
    first = {stage: promoted.json(f"spent/{stage}").read_bytes() for stage in (*spending.STAGES, "age")}
    assert pipeline.repro(promoted).value["ran"] == []
    command.gate(promoted)
    found = evidence(promoted)
    assert found["spent"] == found["champion"]["spent"]
    assert found["spent"]["minutes"] == pytest.approx(sum(json.loads(one)["seconds"] for one in first.values()) / 60)
    edit(promoted.toml, ("folds = 5", "folds = 4"))
    assert "train" in pipeline.repro(promoted).value["ran"]
    assert promoted.json("spent/train").read_bytes() != first["train"]
    command.gate(promoted)
    assert evidence(promoted)["champion"]["spent"] == found["spent"]
    edit(promoted.toml, ("folds = 4", "folds = 5"))
    pipeline.repro(promoted)
    assert promoted.json("spent/train").read_bytes() == first["train"]


def test_a_version_beyond_its_budget_is_refused_and_so_is_one_of_unknown_cost(tumour: Model) -> None:
    """Setting a limit trains nothing again, and holds for what was trained before."""
    assert command.gate(tumour).code == 0
    edit(tumour.toml, ("price = 0.0", "price = 1000.0\ncost = 0.001"))
    outcome = command.gate(tumour)
    assert (outcome.code, outcomes(tumour)["budget"], outcomes(tumour)["current"]) == (1, "failed", "passed")
    assert "(at 1000 a minute), and budget.cost is 0.001" in outcome.text
    assert "raise the limit in model.toml" in outcome.text
    tumour.json("spent/train").unlink()
    command.gate(tumour)
    assert outcomes(tumour)["budget"] == "not evaluated"
    assert (evidence(tumour)["spent"], facts.problem(evidence(tumour))) == (None, None)


def test_the_age_curve_is_in_the_evidence_and_is_drawn_once(promoted: Model) -> None:
    """It depends on rows, parameters, code and the margin; a model without it is judged too."""
    command.gate(promoted)
    found = evidence(promoted)
    assert found["age"] == json.loads(promoted.json("age").read_text())
    assert len(found["age"]["points"]) >= 3
    assert found["retrain"] == {"every_days": 30, "age_days": 0}
    assert facts.problem(found) is None
    edit(promoted.toml, ("every_days = 30", "every_days = 20"))
    assert pipeline.repro(promoted).value["ran"] == []
    edit(promoted.toml, ("\nmargin = 0.01", "\nmargin = 0.02"))
    assert pipeline.repro(promoted).value["ran"] == ["age"]
    promoted.json("age").unlink()
    command.gate(promoted)
    assert evidence(promoted)["age"] is None


def test_the_thresholds_in_the_evidence_are_those_of_the_gate(tumour: Model) -> None:
    """Every key of `[gate]` is shown to the reader of the report."""
    command.gate(tumour)
    assert set(evidence(tumour)["thresholds"]) == set(config.Gate.__dataclass_fields__)
