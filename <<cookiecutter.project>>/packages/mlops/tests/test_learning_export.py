"""A version is written, verified and loaded without pickle; whatever was changed is refused before it is loaded."""

import dataclasses
import json
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import skops.io
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from mlops.data.contract import Check, Column, Contract
from mlops.errors import Refusal
from mlops.files import dumps
from mlops.learning import export, frames
from mlops.learning.loading import build_of
from mlops.workspace import Model

ESTIMATORS = ("linear", "forest", "boosting", "neighbours")
CONTRACT = Contract(
    source="0" * 64,
    owner="@acme/care",
    description="Toy rows",
    freshness_days=None,
    columns=(
        Column(name="key", dtype="int", role="id", unique=True),
        Column(name="size", dtype="float", nullable=True, checks=(Check("ge", 0),)),
        Column(name="count", dtype="int"),
        Column(name="marked", dtype="bool"),
        Column(name="kind", dtype="str", nullable=True, checks=(Check("isin", ["a", "b", "c"]),)),
        Column(name="outcome", dtype="int", role="target"),
    ),
)


def rows(n: int = 120, seed: int = 0, task: str = "classification") -> pl.DataFrame:
    """Toy rows of every feature type, with missing values, whose outcome follows `size`, `marked` and `kind`."""
    rng = np.random.default_rng(seed)
    size, marked, kind = rng.uniform(0, 10, n), rng.random(n) < 0.4, rng.choice(["a", "b", "c"], n)
    raw = size + 4 * marked + 2 * (kind == "c") + rng.normal(0, 1, n)
    frame = pl.DataFrame(
        {
            "key": np.arange(n),
            "size": size,
            "count": rng.integers(0, 9, n),
            "marked": marked,
            "kind": kind.tolist(),
            "outcome": (raw > 7).astype(int) if task == "classification" else raw,
        }
    )
    gaps = pl.col("key") % 17 == 3
    return frame.with_columns(pl.when(~gaps).then(pl.col(name)).alias(name) for name in ("size", "kind"))


def written(
    folder: Path, estimator: Any, frame: pl.DataFrame, task: str = "classification", runtime: str = "sklearn"
) -> export.Exported:
    """`estimator` fitted on `frame` and written to `folder`."""
    X = frames.features(frame, frames.of_contract(CONTRACT), where="toy")
    estimator.fit(X, frames.target(frame, "outcome", task=task, where="toy"))
    return export.write(
        folder,
        model="toy",
        task=task,
        estimator=estimator,
        contract=CONTRACT,
        train=frame,
        split={"method": "time"},
        profile={"columns": []},
        lineage={"commit": None, "seed": 7},
        runtime=runtime,
    )


@pytest.fixture(scope="module")
def toy(fresh: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export of a small forest."""
    folder = tmp_path_factory.mktemp("toy") / "export"
    build = build_of(Model(fresh, "tumour"))
    written(folder, build({"estimator": "forest", "trees": 10, "seed": 7}), rows())
    return folder


@pytest.fixture
def copy(toy: Path, tmp_path: Path) -> Path:
    """A copy of that export to spoil."""
    return shutil.copytree(toy, tmp_path / "export")


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize(("model", "task"), [("tumour", "classification"), ("diabetes", "regression")])
def test_round_trip_is_equal_for_every_estimator_of_the_scaffold(
    fresh: Path, tmp_path: Path, model: str, task: str, name: str
) -> None:
    """Numbers, text, booleans and gaps: the loaded model predicts what the fitted one does, to 1e-12."""
    estimator = build_of(Model(fresh, model))({"estimator": name, "trees": 20, "seed": 7})
    written(tmp_path / "export", estimator, rows(task=task), task)
    new = rows(60, seed=1, task=task)
    expected = export.predict(estimator, frames.features(new, frames.of_contract(CONTRACT), where="toy"), task)
    found = export.load(tmp_path / "export").predict(new)
    assert found.shape == ((60, 2) if task == "classification" else (60,))
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


def test_the_same_model_gives_the_same_bytes_and_the_same_version(fresh: Path, tmp_path: Path) -> None:
    """No address, random name or time gets into an export, so its version names its content."""
    build = build_of(Model(fresh, "tumour"))
    for name in ("one", "two"):
        written(tmp_path / name, build({"estimator": "boosting", "trees": 5, "seed": 7}), rows())
    for file in ("model.skops", "profile.json", "manifest.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes(), file
    assert export.version(tmp_path / "one") == export.version(tmp_path / "two")
    written(tmp_path / "two", build({"estimator": "boosting", "trees": 6, "seed": 7}), rows())
    assert export.version(tmp_path / "one") != export.version(tmp_path / "two")
    assert len(export.version(tmp_path / "one")) == 12


def test_the_manifest_says_what_the_model_takes_and_where_it_came_from(toy: Path) -> None:
    """Features in order, labels, request schema, digests, versions of libraries, and a row that is nobody's."""
    manifest = export.load(toy).manifest
    assert manifest["features"] == [
        {"name": "size", "dtype": "float"},
        {"name": "count", "dtype": "int"},
        {"name": "marked", "dtype": "bool"},
        {"name": "kind", "dtype": "str"},
    ]
    assert manifest["classes"] == [0, 1]
    assert manifest["target"] == "outcome"
    assert manifest["input_schema"] == CONTRACT.request_schema()
    assert manifest["personal"] == []
    assert {"scikit-learn", "skops", "numpy", "python"} <= set(manifest["libraries"])
    assert set(manifest["golden"]["row"]) == {"size", "count", "marked", "kind"}
    assert sum(manifest["golden"]["prediction"]) == pytest.approx(1)


def test_the_proof_reaches_far_and_tells_nothing_of_one_person(tmp_path: Path) -> None:
    """Every category and gap, the ends of the data; of personal columns neither a rare text nor a number as it was."""
    personal = (
        Column(name="name", dtype="str", personal=True),
        Column(name="income", dtype="float", personal=True),
    )
    contract = dataclasses.replace(CONTRACT, columns=(*personal, *CONTRACT.columns))
    frame = rows().with_columns(
        name=pl.format("person {}", "key"), income=pl.col("key").cast(pl.Float64) * 1234.5678 + 100_000
    )
    proof = frames.proof_rows(frame, contract)
    assert len(proof) == frames.PROOF
    assert {row["kind"] for row in proof} == {"a", "b", "c", None}
    assert {row["marked"] for row in proof} == {True, False}
    assert {frame["size"].min(), frame["size"].max(), None} <= {row["size"] for row in proof}
    assert {row["name"] for row in proof} == {None}
    assert not {row["income"] for row in proof} & set(frame["income"])
    assert all(isinstance(row["count"], int) for row in proof)
    assert proof == frames.proof_rows(frame, contract)


def test_prediction_ignores_other_columns_and_their_order_and_refuses_a_missing_one(toy: Path) -> None:
    """The features are picked by name; without one of them there is no prediction."""
    exported, new = export.load(toy), rows(20, seed=2)
    expected = exported.predict(new)
    shuffled = new.select(reversed(new.columns)).with_columns(extra=pl.lit("x"))
    assert (exported.predict(shuffled) == expected).all()
    with pytest.raises(Refusal, match="toy: the input lacks the columns size, kind"):
        exported.predict(new.drop("size", "kind"))
    with pytest.raises(Refusal, match="count holds a value that is not int"):
        exported.predict(new.with_columns(count=pl.lit("many")))


def _flip(folder: Path, file: str) -> None:
    data = bytearray((folder / file).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / file).write_bytes(bytes(data))


def _link(folder: Path, file: str) -> None:
    (folder / file).rename(folder / "elsewhere")
    (folder / file).symlink_to(folder / "elsewhere")


def _edit(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    change(manifest)
    (folder / "manifest.json").write_text(dumps(manifest))


BREAKERS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a bit of the model flipped": (lambda f: _flip(f, "model.skops"), "changed after the export"),
    "a bit of the profile flipped": (lambda f: _flip(f, "profile.json"), "changed after the export"),
    "the model missing": (lambda f: (f / "model.skops").unlink(), "cannot be read"),
    "the profile missing": (lambda f: (f / "profile.json").unlink(), "cannot be read"),
    "the manifest missing": (lambda f: (f / "manifest.json").unlink(), "cannot be read"),
    "the model a link": (lambda f: _link(f, "model.skops"), "symbolic link"),
    "the manifest a link": (lambda f: _link(f, "manifest.json"), "symbolic link"),
    "the model a folder": (
        lambda f: ((f / "model.skops").unlink(), (f / "model.skops").mkdir()),
        "cannot be read",
    ),
    "the manifest not JSON": (lambda f: (f / "manifest.json").write_text("{"), "not valid JSON"),
    "the manifest not UTF-8": (lambda f: (f / "manifest.json").write_bytes(b"\xff\xfe\x00"), "not valid JSON"),
    "the manifest a list": (lambda f: (f / "manifest.json").write_text("[]"), "format"),
    "a later format": (lambda f: _edit(f, lambda m: m.update(format=2)), "format"),
    "no digest of the profile": (lambda f: _edit(f, lambda m: m["files"].pop("profile.json")), "form of a manifest"),
    "a file outside": (
        lambda f: _edit(f, lambda m: m["files"].update({"../../x": "sha256:" + "0" * 64})),
        "form of a manifest",
    ),
    "another digest": (
        lambda f: _edit(f, lambda m: m["files"].update({"model.skops": "sha256:" + "0" * 64})),
        "changed after the export",
    ),
    "an unknown algorithm": (
        lambda f: _edit(f, lambda m: m["files"].update({"model.skops": "md5:" + "0" * 32})),
        "form of a manifest",
    ),
    "a key missing": (lambda f: _edit(f, lambda m: m.pop("golden")), "form of a manifest"),
    "features that are no list": (lambda f: _edit(f, lambda m: m.update(features="size")), "form of a manifest"),
}


@pytest.mark.parametrize("breaker", BREAKERS)
def test_a_spoilt_version_is_refused_before_a_byte_is_deserialised(
    copy: Path, monkeypatch: pytest.MonkeyPatch, breaker: str
) -> None:
    """Files, links, digests and the manifest's form are verified first: skops is not even called."""

    def touched(*_: Any, **__: Any) -> None:
        raise AssertionError("the model was read before it was verified")

    spoil, says = BREAKERS[breaker]
    spoil(copy)
    monkeypatch.setattr(skops.io, "loads", touched)
    monkeypatch.setattr(skops.io, "get_untrusted_types", touched)
    with pytest.raises(Refusal) as refused:
        export.load(copy)
    assert says in str(refused.value)
    assert len(str(refused.value).splitlines()) <= 2


def _forge(folder: Path, loader: str, module: str, name: str, **more: Any) -> None:
    """Replace the model by a file that names `module.name`, under a manifest that vouches for it."""
    node = {"__class__": name, "__module__": module, "__loader__": loader, **more}
    with zipfile.ZipFile(folder / "model.skops") as archive:
        protocol = json.loads(archive.read("schema.json"))["protocol"]
    schema = {**node, "protocol": protocol, "_skops_version": "0.16.0"}
    with zipfile.ZipFile(folder / "model.skops", "w") as archive:
        archive.writestr("schema.json", json.dumps(schema))
    digest = export._digest((folder / "model.skops").read_bytes())
    _edit(folder, lambda manifest: manifest["files"].update({"model.skops": digest}))


def _argument(text: str) -> dict[str, Any]:
    return {
        "__class__": "tuple",
        "__module__": "builtins",
        "__loader__": "TupleNode",
        "content": [{"__class__": "str", "__module__": "builtins", "__loader__": "JsonNode", "content": text}],
    }


@pytest.mark.parametrize(
    ("loader", "module", "name"),
    [
        ("FunctionNode", "os", "system"),
        ("FunctionNode", "numpy.testing", "runstring"),
        ("FunctionNode", "sklearn.utils._testing", "assert_allclose"),
        ("FunctionNode", "sklearn.datasets", "fetch_openml"),
        ("ConstructorFromReduceNode", "numpy", "memmap"),
        ("ConstructorFromReduceNode", "subprocess", "Popen"),
        ("ConstructorFromReduceNode", "sklearn.utils.parallel", "Path"),
        ("ConstructorFromReduceNode", "sklearn.metrics.pairwise", "partial"),
        ("ConstructorFromReduceNode", "no_such_package", "Model"),
        ("ConstructorFromReduceNode", "sklearn_evil", "Model"),
    ],
)
def test_a_model_that_names_foreign_code_is_refused_even_when_its_digest_is_right(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loader: str, module: str, name: str
) -> None:
    """Only classes that the listed packages define are constructed, whoever wrote the manifest."""
    monkeypatch.chdir(tmp_path)
    before = sorted(os.listdir(tmp_path))
    _forge(copy, loader, module, name, content=_argument('"touched"'))
    with pytest.raises(Refusal, match="which is not a class of") as refused:
        export.load(copy)
    assert f"{module}.{name}" in str(refused.value)
    assert sorted(os.listdir(tmp_path)) == before


def test_a_model_that_predicts_otherwise_than_when_it_was_exported_is_refused(copy: Path) -> None:
    """The golden row is the last check: it finds a library that changed its mind."""
    _edit(copy, lambda manifest: manifest["golden"].update(prediction=[0.123, 0.877]))
    with pytest.raises(Refusal, match="golden row as it did"):
        export.load(copy)
    _edit(copy, lambda manifest: manifest["golden"].update(prediction="much"))
    with pytest.raises(Refusal, match="cannot predict the golden row"):
        export.load(copy)


class Custom(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """An estimator that no listed package defines."""

    def fit(self, X: pd.DataFrame, y: pd.Series) -> "Custom":
        """Learn the classes."""
        self.classes_ = np.unique(y)
        return self

    def predict(self, X: pd.DataFrame) -> Any:
        """The first class."""
        return np.full(len(X), self.classes_[0])


@pytest.mark.parametrize(
    "estimator",
    [Custom(), make_pipeline(FunctionTransformer(len), RandomForestClassifier(n_estimators=2))],
    ids=["a class of the model's own", "a function"],
)
def test_an_estimator_with_own_code_is_refused_when_it_is_exported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, estimator: Any
) -> None:
    """The refusal says which class and why; nothing is written."""
    monkeypatch.setattr(FunctionTransformer, "transform", lambda self, X: X.select_dtypes("number").fillna(0))
    monkeypatch.setattr(FunctionTransformer, "fit_transform", lambda self, X, y=None: self.transform(X))
    with pytest.raises(Refusal, match=r"toy: the model uses .*(Custom|len)"):
        written(tmp_path / "export", estimator, rows())
    assert list(tmp_path.iterdir()) == []


def test_a_classifier_without_probabilities_keeps_its_ranking_and_its_decisions(fresh: Path) -> None:
    """The decision function becomes numbers between 0 and 1 that order rows alike."""
    frame = rows().drop_nulls()
    X = frames.features(frame, [frames.Feature("size", "float"), frames.Feature("count", "int")], where="toy")
    estimator = RidgeClassifier().fit(X, frame["outcome"].to_numpy())
    found = export.predict(estimator, X, "classification")
    assert found.sum(axis=1) == pytest.approx(1)
    assert (found.argmax(axis=1) == estimator.predict(X)).all()
    assert (np.argsort(found[:, 1]) == np.argsort(estimator.decision_function(X))).all()


def test_features_that_are_days_are_refused_with_what_to_do() -> None:
    """No silent guess at what number a day is."""
    frame = pl.DataFrame({"day": ["2026-01-01"]}).with_columns(pl.col("day").str.to_date())
    with pytest.raises(Refusal, match="toy: the feature day is a date"):
        frames.features(frame, [frames.Feature("day", "date")], where="toy")


def test_a_feature_that_may_be_left_out_counts_as_missing() -> None:
    """An optional column of the contract needs no place in a request."""
    columns = [frames.Feature("size", "float", required=False), frames.Feature("kind", "str", required=False)]
    found = frames.features(pl.DataFrame({"key": [1, 2]}), columns, where="toy")
    assert found["size"].isna().all()
    assert found["kind"].isna().all()


def test_rows_without_a_target_are_refused() -> None:
    """A gap in the target is counted and named."""
    with pytest.raises(Refusal, match=r"toy: outcome is missing in 1 row\."):
        frames.target(pl.DataFrame({"outcome": [1, None]}), "outcome", task="classification", where="toy")


def test_rows_that_the_estimator_cannot_take_are_refused(toy: Path) -> None:
    """An infinite number, and no row at all, are answered in two lines that name the model."""
    exported, new = export.load(toy), rows(5, seed=2)
    with pytest.raises(Refusal, match=r"toy: the model cannot predict these rows: ValueError: .*infinity"):
        exported.predict(new.with_columns(size=pl.lit(float("inf"))))
    with pytest.raises(Refusal, match="toy: there are no rows to predict"):
        exported.predict(new.head(0))
