"""Models' own code is loaded safely; fits, folds and the search depend on rows, parameters and seeds alone."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from threadpoolctl import threadpool_limits

from mlops.config import ModelConfig
from mlops.data.contract import Column, Contract
from mlops.errors import Refusal
from mlops.learning import fit, loading
from mlops.learning.engine import engine
from mlops.learning.metrics import METRICS
from mlops.workspace import Model

CONTRACT = Contract(
    source="0" * 64,
    owner="@acme/care",
    description="Toy rows",
    freshness_days=None,
    columns=(
        Column(name="key", dtype="int", role="id", unique=True),
        Column(name="day", dtype="int", role="time"),
        Column(name="house", dtype="str", role="group"),
        Column(name="size", dtype="float"),
        Column(name="kind", dtype="str"),
        Column(name="outcome", dtype="int", role="target"),
    ),
)
TASKS = {"tumour": "classification", "diabetes": "regression"}


def rows(task: str, n: int = 150) -> pl.DataFrame:
    """Toy rows, not in the order of time."""
    rng = np.random.default_rng(5)
    size, kind = rng.uniform(0, 10, n), rng.choice(["a", "b"], n)
    raw = size + 3 * (kind == "b") + rng.normal(0, 1.5, n)
    return pl.DataFrame(
        {
            "key": np.arange(n),
            "day": rng.permutation(n),
            "house": [f"h{number}" for number in rng.integers(0, 20, n)],
            "size": size,
            "kind": kind.tolist(),
            "outcome": (raw > 6.5).astype(int) if task == "classification" else raw,
        }
    )


def config(model: Model, *, method: str = "time", folds: int = 3, params: Any = None, space: Any = None) -> ModelConfig:
    """The scaffold's configuration with another split, parameters or space."""
    found = model.config()
    return dataclasses.replace(
        found,
        split=dataclasses.replace(found.split, method=method),
        train=dataclasses.replace(found.train, folds=folds, params=params or {"estimator": "linear"}),
        tune=dataclasses.replace(found.tune, space=space or {}),
    )


def scores(model: Model, settings: ModelConfig, frame: pl.DataFrame | None = None) -> str:
    """Cross-validation scores as text that shows every bit."""
    task = settings.model.task
    found = fit.cross_validate(
        loading.build_of(model),
        {**settings.train.params, "seed": 7},
        fit.rows_of(rows(task) if frame is None else frame, CONTRACT, settings, where=model.name),
        config=settings,
        metrics=tuple(metric for metric in METRICS.values() if metric.task == task),
        where=model.name,
        progress=lambda done, total: None,
    )
    return json.dumps(found)


@pytest.mark.parametrize("estimator", ["linear", "forest", "boosting", "neighbours"])
@pytest.mark.parametrize("name", TASKS)
def test_scores_do_not_depend_on_the_run_or_on_threads(fresh: Path, name: str, estimator: str) -> None:
    """The same bytes twice, with one thread or two."""
    model = Model(fresh, name)
    settings = config(model, params={"estimator": estimator, "trees": 20, "near": 5})
    first = scores(model, settings)
    with threadpool_limits(1):
        assert scores(model, settings) == first
    assert scores(model, settings) == first


def test_the_spread_of_scores_is_that_of_the_folds(fresh: Path) -> None:
    """Mean and sample standard deviation over as many folds as asked for."""
    model = Model(fresh, "diabetes")
    found = json.loads(scores(model, config(model, folds=4)))["rmse"]
    assert len(found["folds"]) == 4
    assert found["mean"] == pytest.approx(np.mean(found["folds"]))
    assert found["std"] == pytest.approx(np.std(found["folds"], ddof=1))


def test_folds_by_time_never_train_on_what_came_later(fresh: Path) -> None:
    """Each fold's test rows are later than all its training rows, though the file is in another order."""
    settings = config(Model(fresh, "tumour"), method="time", folds=4)
    frame = rows("classification")
    found = fit.rows_of(frame, CONTRACT, settings, where="toy")
    day = frame.sort("day")["day"].to_numpy()
    assert (found.X["size"].to_numpy() == frame.sort("day")["size"].to_numpy()).all()
    folds = list(fit.splitter(settings, found, where="toy").split(found.X, found.y))
    assert len(folds) == 4
    for train, test in folds:
        assert day[train].max() < day[test].min()


def test_folds_by_group_tear_no_group_apart(fresh: Path) -> None:
    """No house is in both parts of a fold."""
    settings = config(Model(fresh, "tumour"), method="grouped")
    found = fit.rows_of(rows("classification"), CONTRACT, settings, where="toy")
    assert found.groups is not None
    for train, test in fit.splitter(settings, found, where="toy").split(found.X, found.y, found.groups):
        assert not set(found.groups[train]) & set(found.groups[test])


def test_folds_by_class_keep_each_class_share(fresh: Path) -> None:
    """A stratified fold has the classes in about the shares of all rows."""
    settings = config(Model(fresh, "tumour"), method="stratified")
    found = fit.rows_of(rows("classification"), CONTRACT, settings, where="toy")
    for _, test in fit.splitter(settings, found, where="toy").split(found.X, found.y):
        assert found.y.iloc[test].mean() == pytest.approx(found.y.mean(), abs=0.02)


def test_too_many_folds_are_refused(fresh: Path) -> None:
    """More folds than groups cannot be made."""
    model = Model(fresh, "tumour")
    with pytest.raises(Refusal, match=r"tumour: train.folds is 20, for 20 groups"):
        scores(model, config(model, method="grouped", folds=20))


def test_one_class_only_is_refused_with_the_model_and_the_column(fresh: Path) -> None:
    """There is nothing to learn from rows that all say the same."""
    model = Model(fresh, "tumour")
    frame = rows("classification").with_columns(outcome=pl.lit(1))
    with pytest.raises(Refusal, match=r"tumour: every row has the same outcome, \[1\]"):
        scores(model, config(model), frame)


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"estimator": "magic"}, "estimator is 'magic'"),
        ({"estimator": "linear", "treees": 3}, "treees"),
        ({}, "estimator"),
        ({"estimator": "forest", "trees": -1}, "cannot be fitted"),
        ({"estimator": "linear", "strength": "much"}, "cannot be fitted"),
    ],
)
def test_bad_parameters_are_refused_with_the_words_of_the_estimator(
    fresh: Path, params: dict[str, Any], says: str
) -> None:
    """Two lines that name the model, and no traceback."""
    model = Model(fresh, "tumour")
    settings = config(model)
    settings = dataclasses.replace(settings, train=dataclasses.replace(settings.train, params=params))
    with pytest.raises(Refusal) as refused:
        scores(model, settings)
    assert says in str(refused.value)
    assert str(refused.value).startswith("tumour: ")
    assert len(str(refused.value).splitlines()) == 2


@pytest.mark.parametrize(
    ("values", "says", "do"),
    [
        (
            [float("inf"), -float("inf"), 1.0],
            "Infinite values: size in 2 rows, weight in 1 row.",
            "bounds in contract.py",
        ),
        ([float("nan"), 1.0, 1.0], "Missing values: size in 1 row.", "not nullable in contract.py"),
    ],
)
def test_values_that_an_estimator_cannot_take_are_named_with_their_columns(
    values: list[float], says: str, do: str
) -> None:
    """scikit-learn says that X contains infinity or NaN, and not where."""
    from sklearn.linear_model import LinearRegression

    weight = [values[0] if "Infinite" in says else 2.0, 3.0, 4.0]
    X = pd.DataFrame({"size": values, "weight": weight, "town": ["a", "b", "c"]})
    found = fit.Rows(X=X, y=pd.Series([1.0, 2.0, 3.0]), groups=None, classes=None)
    with pytest.raises(Refusal) as refused:
        fit.final(lambda params: Numbers(LinearRegression()), {}, found, where="toy")
    assert refused.value.what.startswith("toy: the estimator cannot be fitted: ValueError: Input X contains")
    assert refused.value.what.endswith(says)
    assert do in refused.value.do
    assert len(str(refused.value).splitlines()) == 2


class Numbers:
    """An estimator that takes the columns of numbers only."""

    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator

    def fit(self, X: pd.DataFrame, y: pd.Series) -> Any:
        """Fit it."""
        return self.estimator.fit(X.select_dtypes("number"), y)


def tuned(model: Model, settings: ModelConfig, n: int = 400) -> fit.Tuned:
    """What the search chooses on `n` toy rows."""
    task = settings.model.task
    found = fit.rows_of(rows(task, n), CONTRACT, settings, where=model.name)
    metric = METRICS["roc_auc" if task == "classification" else "rmse"]
    return fit.tune(loading.build_of(model), found, config=settings, metric=metric, where=model.name)


@pytest.mark.parametrize("method", ["time", "stratified", "grouped"])
@pytest.mark.parametrize("name", TASKS)
def test_tuning_finds_the_parameter_that_is_better_by_far_and_the_same_one_each_time(
    fresh: Path, name: str, method: str
) -> None:
    """Neighbours of the whole data are hopeless and a regularised-away line is too; the search says so, twice."""
    model = Model(fresh, name)
    space = {"strength": [1e-9, 1e-8, 1.0], "estimator": ["linear"]}
    settings = config(model, method=method, space=space)
    first = tuned(model, settings)
    assert first.params == {"estimator": "linear", "strength": 1.0, "seed": 7}
    assert first.candidates == 3
    assert tuned(model, settings) == first


def test_a_space_too_large_to_try_is_sampled(fresh: Path) -> None:
    """Over 64 combinations, successive halving starts from a seeded sample."""
    model = Model(fresh, "diabetes")
    space = {"strength": [float(value) for value in np.logspace(-9, 2, 40)], "near": [3, 4], "rate": [0.1, 0.2]}
    settings = config(model, method="stratified", space=space)
    found = tuned(model, settings, 60)
    assert 1 < found.candidates < 40
    assert found.params["strength"] > 1e-3
    assert tuned(model, settings, 60) == found


def test_without_a_space_the_parameters_stay_as_they_are(fresh: Path) -> None:
    """Tuning is off until the space has an entry; the seed is added."""
    model = Model(fresh, "tumour")
    assert tuned(model, config(model)) == fit.Tuned({"estimator": "linear", "seed": 7}, 0)


@pytest.mark.parametrize(
    ("space", "says"),
    [({"strength": []}, "tune.space.strength is empty"), ({"estimator": ["linear", "magic"]}, "'magic'")],
)
def test_a_bad_space_is_refused(fresh: Path, space: dict[str, Any], says: str) -> None:
    """An empty list, and a value that build does not take, are named before the search."""
    model = Model(fresh, "tumour")
    with pytest.raises(Refusal, match=says):
        tuned(model, config(model, space=space))


def test_a_candidate_that_few_rows_cannot_feed_loses_and_the_search_goes_on(fresh: Path) -> None:
    """Ninety neighbours do not exist in the first rounds; five do."""
    model = Model(fresh, "tumour")
    settings = config(model, method="stratified", params={"estimator": "neighbours"}, space={"near": [90, 5, 7]})
    assert tuned(model, settings).params["near"] in (5, 7)


def test_several_models_are_loaded_in_one_process_without_a_clash(fresh: Path) -> None:
    """Each model has a module `model`; each build is its own, also when loaded again."""
    builds = {name: loading.build_of(Model(fresh, name)) for name in ("tumour", "diabetes", "tumour")}
    kinds = {name: type(build({"estimator": "linear"})[-1]).__name__ for name, build in builds.items()}
    assert kinds == {"tumour": "LogisticRegression", "diabetes": "Ridge"}


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("def build(params)\n", "line 1, has SyntaxError"),
        ("import no_such_module\n", "line 1, raised ModuleNotFoundError"),
        ("\n\nraise SystemExit(3)\n", "line 3, raised SystemExit"),
        ("x = 1\n", "has no function build(params)"),
        ("build = 3\n", "has no function build(params)"),
        ("def build(params):\n    return 1 / 0\n", "line 2, raised ZeroDivisionError"),
        ("def build(params):\n    return object()\n", "gives a object, which has no fit"),
        ("\0", "SyntaxError"),
    ],
)
def test_broken_code_of_a_model_is_refused_with_model_file_and_error(tumour: Model, code: str, says: str) -> None:
    """Whatever the file does, the answer is two lines, without a traceback."""
    path = tumour.source / "tumour" / "model.py"
    path.write_text(code)
    with pytest.raises(Refusal) as refused:
        loading.build_of(tumour)({"estimator": "linear"})
    assert says in str(refused.value)
    assert "tumour: " in str(refused.value)
    assert len(str(refused.value).splitlines()) == 2
    path.unlink()
    with pytest.raises(Refusal, match=r"models/tumour/src/tumour/model\.py does not exist"):
        loading.build_of(tumour)


def test_code_of_a_model_may_use_its_own_modules(tumour: Model) -> None:
    """Relative and absolute imports of the model's package find its files, and changes are seen."""
    package = tumour.source / "tumour"
    (package / "parts.py").write_text("STRENGTH = 0.5\n")
    (package / "model.py").write_text(
        "from sklearn.linear_model import LogisticRegression\n"
        "from tumour.parts import STRENGTH\nfrom .parts import STRENGTH as AGAIN\n"
        "def build(params):\n    return LogisticRegression(C=STRENGTH + AGAIN)\n"
    )
    assert loading.build_of(tumour)({}).C == 1.0
    (package / "parts.py").write_text("STRENGTH = 0.25 * 3\n")
    assert loading.build_of(tumour)({}).C == 1.5


def test_dask_gives_the_scores_and_the_choice_of_the_local_engine(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a real cluster of several processes, reached by its address: the same bytes, worked out elsewhere."""
    distributed = pytest.importorskip("distributed", reason="the extra mlops[dask] is not installed")
    model = Model(fresh, "tumour")
    settings = config(
        model, method="stratified", params={"estimator": "forest", "trees": 10}, space={"trees": [1, 12, 15]}
    )
    expected = scores(model, settings), tuned(model, settings)
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, host="127.0.0.1"
    ) as cluster:
        monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", cluster.scheduler_address)
        with engine("dask"):
            found = scores(model, settings), tuned(model, settings)
        with distributed.Client(cluster) as client:
            done = client.run(lambda: sorted(name for name in __import__("sys").modules if name == "sklearn"))
    assert found == expected
    assert len(done) == 2
    assert any(modules == ["sklearn"] for modules in done.values()), "no worker did anything"


def test_dask_without_an_address_starts_a_cluster_of_this_machine(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The block runs joblib's work in other processes, and leaves none behind."""
    pytest.importorskip("distributed", reason="the extra mlops[dask] is not installed")
    import joblib

    monkeypatch.delenv("DASK_SCHEDULER_ADDRESS", raising=False)
    with engine("dask"):
        found = joblib.Parallel()(joblib.delayed(os.getpid)() for _ in range(4))
    assert os.getpid() not in found
    for process in set(found):
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)


def test_a_scheduler_that_does_not_answer_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong address is named, with what to do; nothing hangs."""
    pytest.importorskip("distributed", reason="the extra mlops[dask] is not installed")
    monkeypatch.setattr("mlops.learning.engine.CONNECT_SECONDS", 1)
    for address in ("tcp://127.0.0.1:9", "nonsense://x"):
        monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", address)
        with pytest.raises(Refusal) as refused, engine("dask"):
            pass
        assert address in str(refused.value)


def test_dask_without_its_package_is_refused_with_the_extra_to_install() -> None:
    """In a process in which `distributed` cannot be imported."""
    code = (
        "import sys; sys.modules['distributed'] = None\n"
        "from mlops.learning.engine import engine\n"
        "with engine('dask'): pass\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "mlops[dask]" in done.stderr
    assert "Refusal" in done.stderr
