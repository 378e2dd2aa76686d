"""A trained version is served and scored by the model's name, by the package that serves it in production."""

import http.client
import os
import signal
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from mlops import cli, scaffold
from mlops.data.contract import Check, Column, Contract
from mlops.learning import export, frames
from mlops.learning.loading import build_of
from mlops.workspace import Model

CONTRACT = Contract(
    source="0" * 64,
    owner="@acme/care",
    description="Toy rows",
    freshness_days=None,
    columns=(
        Column(name="size", dtype="float", checks=(Check("ge", 0),)),
        Column(name="kind", dtype="str"),
        Column(name="outcome", dtype="int", role="target"),
    ),
)
ROWS = pl.DataFrame({"size": [1.0, 2.0, 3.0, 4.0] * 8, "kind": ["a", "b"] * 16, "outcome": [0, 0, 1, 1] * 8})


@pytest.fixture
def trained(project: Path) -> Model:
    """The model `tumour`, with a version of toy rows."""
    model = Model(project, "tumour")
    X = frames.features(ROWS, frames.of_contract(CONTRACT), where="toy")
    estimator = build_of(model)({"estimator": "linear"}).fit(X, ROWS["outcome"].to_list())
    export.write(
        model.export,
        model="tumour",
        task="classification",
        estimator=estimator,
        contract=CONTRACT,
        train=ROWS,
        split={},
        profile={"columns": {}},
        lineage={},
    )
    return model


def test_a_file_is_scored_by_the_models_name(trained: Model, capsys: pytest.CaptureFixture[str]) -> None:
    ROWS.write_parquet(trained.root / "in.parquet")
    assert cli.main(["score", "tumour", "--in", "in.parquet", "--out", "out.csv"]) == 0
    version = export.version(trained.export)
    assert capsys.readouterr().out == f"tumour {version}: 32 rows scored, in out.csv.\n"
    found = pl.read_csv(trained.root / "out.csv")
    assert found["probability_1"].to_list() == pytest.approx(export.load(trained.export).predict(ROWS)[:, 1].tolist())
    ROWS.drop("kind").write_parquet(trained.root / "in.parquet")
    assert cli.main(["score", "tumour", "--in", "in.parquet", "--out", "out.csv"]) == 2
    assert "tumour: in.parquet lacks the column kind" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["serve"], ["score", "--in", "a.csv", "--out", "b.csv"]])
def test_without_a_trained_version_it_says_what_to_do(
    words: list[str], project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([words[0], "tumour", *words[1:]]) == 2
    said = capsys.readouterr().err
    assert "tumour has no trained version here" in said
    assert "make train MODEL=tumour" in said


def test_a_model_is_served_by_its_name(trained: Model) -> None:
    """With its card; Ctrl-C ends it in peace."""
    (trained.folder / "CARD.md").write_text("# The card\n")
    environment = {**os.environ, "SERVE_LISTEN": "127.0.0.1:0"}
    command = [sys.executable, "-m", "mlops", "serve", "tumour"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=trained.root, env=environment) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith(f"tumour {export.version(trained.export)} serves on http://127.0.0.1:")
            connection = http.client.HTTPConnection("127.0.0.1", int(line.split(":")[2].split(",")[0]), timeout=30)
            connection.request("GET", "/model")
            assert b"# The card" in connection.getresponse().read()
            connection.close()
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 0
        finally:
            process.kill()


def test_no_model_can_be_called_like_the_service() -> None:
    assert scaffold.problem("serve")
