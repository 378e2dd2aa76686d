"""A file is scored as requests are: the same predictions, in order, as a whole or not at all."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from toys import rows

from mlops.learning import export
from serve import cli, scoring
from serve.errors import Refusal


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_a_file_gets_the_predictions_of_the_model(kind: str, toy: Path, tmp_path: Path) -> None:
    """All columns stay, in order; the predictions are those that `mlops evaluate` scores."""
    frame = rows(3000, seed=6)
    source, target = tmp_path / f"in.{kind}", tmp_path / f"out.{kind}"
    frame.write_parquet(source) if kind == "parquet" else frame.write_csv(source)
    said = scoring.score(toy, source, target)
    assert said == f"toy {export.version(toy)}: 3,000 rows scored, in {target}."
    found = pl.read_parquet(target) if kind == "parquet" else pl.read_csv(target)
    assert found.columns == [*frame.columns, "prediction", "probability_0", "probability_1", "version"]
    assert found["key"].to_list() == frame["key"].to_list()
    expected = export.load(toy).predict(frame)
    np.testing.assert_allclose(found.select("probability_0", "probability_1").to_numpy(), expected, rtol=1e-12)
    assert found["prediction"].to_list() == expected.argmax(axis=1).tolist()
    assert [path.name for path in sorted(tmp_path.iterdir())] == [f"in.{kind}", f"out.{kind}"]


def test_a_regression_gives_values(numbers: Path, tmp_path: Path) -> None:
    frame = rows(100, seed=6, task="regression")
    frame.write_parquet(tmp_path / "in.parquet")
    scoring.score(numbers, tmp_path / "in.parquet", tmp_path / "out.parquet")
    found = pl.read_parquet(tmp_path / "out.parquet")["prediction"].to_numpy()
    np.testing.assert_allclose(found, export.load(numbers).predict(frame), rtol=1e-12)


def test_a_file_may_lack_what_a_request_may_leave_out(toy: Path, tmp_path: Path) -> None:
    rows(10).drop("city").write_parquet(tmp_path / "in.parquet")
    scoring.score(toy, tmp_path / "in.parquet", tmp_path / "out.parquet")
    assert len(pl.read_parquet(tmp_path / "out.parquet")) == 10


def test_text_that_looks_like_a_number_stays_text(toy: Path, tmp_path: Path) -> None:
    frame = rows(10).with_columns(kind=pl.lit("1"), city=pl.lit("007"))
    frame.write_csv(tmp_path / "in.csv")
    scoring.score(toy, tmp_path / "in.csv", tmp_path / "out.parquet")
    assert pl.read_parquet(tmp_path / "out.parquet")["city"].to_list() == ["007"] * 10


def test_a_file_without_rows_gives_one_without_rows(toy: Path, tmp_path: Path) -> None:
    rows(10).head(0).write_parquet(tmp_path / "in.parquet")
    assert "0 rows scored" in scoring.score(toy, tmp_path / "in.parquet", tmp_path / "out.parquet")
    assert pl.read_parquet(tmp_path / "out.parquet").height == 0


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda frame: frame.drop("size", "kind"), "lacks the columns size, kind"),
        (lambda frame: frame.with_columns(count=pl.lit("many")), "count in .* is String; the model takes a number"),
        (lambda frame: frame.with_columns(kind=pl.lit(1.5)), "kind in .* is Float64; the model takes a text"),
        (lambda frame: frame.with_columns(size=pl.lit(float("inf"))), "has no answer for these rows"),
        (lambda frame: frame.with_columns(prediction=1), "has a column prediction already"),
    ],
)
def test_what_cannot_be_scored_is_refused_and_leaves_nothing(change, says: str, toy: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    change(rows(50)).write_parquet(tmp_path / "in.parquet")
    with pytest.raises(Refusal, match=says) as refused:
        scoring.score(toy, tmp_path / "in.parquet", tmp_path / "out.parquet")
    assert len(str(refused.value).splitlines()) <= 2
    assert [path.name for path in tmp_path.iterdir()] == ["in.parquet"]


def test_wrong_files_are_refused_in_two_lines(toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 no")
    rows(5).write_parquet(tmp_path / "in.parquet")
    for source, target, says in (
        ("none.parquet", "out.parquet", "does not exist"),
        ("bad.parquet", "out.parquet", "is not a whole parquet file"),
        ("in.parquet", "out.xlsx", "is no Parquet or CSV file"),
        ("in.parquet", "nowhere/out.csv", "is no folder"),
    ):
        words = ["score", str(toy), "--in", str(tmp_path / source), "--out", str(tmp_path / target)]
        assert cli.main(words) == 2
        said = capsys.readouterr().err
        assert says in said
        assert len(said.splitlines()) <= 2
    assert cli.main(["score", str(toy), "--in", str(tmp_path / "in.parquet"), "--out", str(tmp_path / "o.csv")]) == 0
    assert "5 rows scored" in capsys.readouterr().out


def test_size_is_not_memory(toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model never sees more rows at once than it should, and the file arrives in parts."""
    frame = rows(1000)
    pl.concat([frame] * 200).write_parquet(tmp_path / "in.parquet", row_group_size=20_000)
    seen: list[int] = []
    right = scoring._predicted

    def watched(model, part, *rest):  # type: ignore[no-untyped-def]
        seen.append(len(part))
        return right(model, part, *rest)

    monkeypatch.setattr(scoring, "_predicted", watched)
    scoring.score(toy, tmp_path / "in.parquet", tmp_path / "out.parquet")
    assert sum(seen) == 200_000
    assert max(seen) <= 110_000
    assert pl.scan_parquet(tmp_path / "out.parquet").select(pl.len()).collect().item() == 200_000
