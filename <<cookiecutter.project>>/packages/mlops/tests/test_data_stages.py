"""Do the stages write what the next ones read, and refuse in two lines when they cannot?"""

import json
import re

import polars as pl
import pytest

from mlops.data.contract import read
from mlops.data.split import Boundary, assign
from mlops.data.stages import check, ingest, split
from mlops.errors import Refusal
from mlops.files import digest
from mlops.workspace import Model


def set_key(model: Model, key: str, value: str) -> None:
    """Change one line of `model.toml`."""
    text, count = re.subn(rf"(?m)^{key} = .*$", f"{key} = {value}", model.toml.read_text(encoding="utf-8"), count=1)
    assert count == 1
    model.toml.write_text(text, encoding="utf-8")


@pytest.mark.parametrize("name", ["tumour", "diabetes"])
def test_the_data_room_runs_on_a_fresh_model(name: str, project: object, request: pytest.FixtureRequest) -> None:
    """Rows arrive, keep their contract, and are split without a row on both sides; twice gives equal bytes."""
    model: Model = request.getfixturevalue(name)
    digests = []
    for _ in range(2):
        for stage in (ingest, check, split):
            outcome = stage(model)
            assert outcome.code == 0
            assert name in outcome.text
        files = [model.raw, model.train, model.holdout, *(model.json(one) for one in ("check", "contract", "split"))]
        digests.append([digest(file) for file in files])
    assert digests[0] == digests[1]
    found = json.loads(model.json("split").read_text(encoding="utf-8"))
    raw, train, holdout = (pl.read_parquet(path) for path in (model.raw, model.train, model.holdout))
    assert (train.height, holdout.height) == (found["train"], found["holdout"])
    assert train.height + holdout.height == raw.height
    key = read(model).id
    assert key is not None
    assert not set(train[key.name]) & set(holdout[key.name])
    boundary = Boundary.from_json(found["boundary"])
    assert not assign(train, boundary).any()
    assert assign(holdout, boundary).all()
    checked = json.loads(model.json("check").read_text(encoding="utf-8"))
    assert checked["passed"] is True
    assert checked["contract"] == digest(model.contract)


def test_broken_data_fails_the_check_and_says_where(tumour: Model) -> None:
    """Exit code 1, one or two lines, and the found rows in reports/, which DVC leaves alone."""
    ingest(tumour)
    frame = pl.read_parquet(tumour.raw)
    frame.with_columns(
        pl.when(pl.col("biopsy") == 3).then(-1.0).otherwise(pl.col("mean_radius")).alias("mean_radius")
    ).drop("mean_area").write_parquet(tumour.raw)
    with pytest.raises(Refusal, match=r"mean_radius: ge 0 is broken in 1 row .*mean_area: missing column") as refusal:
        check(tumour)
    assert refusal.value.code == 1
    assert len(str(refusal.value).splitlines()) <= 2
    assert not tumour.json("check").exists()
    assert not tumour.json("contract").exists()
    found = json.loads((tumour.reports / "check.json").read_text(encoding="utf-8"))
    assert found["passed"] is False
    assert [one["value"] for one in found["violations"][0]["examples"]] == [-1.0]


def test_stale_data_fails_the_check(tumour: Model) -> None:
    """The day moves on and no new rows come: freshness is part of the contract."""
    ingest(tumour)
    check(tumour)
    set_key(tumour, "as_of", '"2026-09-01"')
    with pytest.raises(Refusal, match="newest row at most 30 days before 2026-09-01"):
        check(tumour)


def test_stages_name_the_command_that_was_not_run(tumour: Model) -> None:
    """A missing upstream file is no traceback."""
    with pytest.raises(Refusal, match=r"raw\.parquet does not exist.\n.*mlops ingest tumour"):
        check(tumour)
    with pytest.raises(Refusal, match=r"raw\.parquet does not exist.\n.*mlops ingest tumour"):
        split(tumour)
    ingest(tumour)
    with pytest.raises(Refusal, match=r"check\.json does not exist.\n.*mlops check tumour"):
        split(tumour)
    tumour.json("check").write_text('{"passed": false}', encoding="utf-8")
    with pytest.raises(Refusal, match="has not passed its check"):
        split(tumour)


def test_damaged_files_between_stages_are_refused(tumour: Model) -> None:
    """Half a Parquet file names the stage that writes it."""
    for stage in (ingest, check):
        stage(tumour)
    tumour.raw.write_bytes(b"PAR1")
    with pytest.raises(Refusal, match=r"not Parquet\.\n.*mlops ingest tumour"):
        split(tumour)
    with pytest.raises(Refusal, match="cannot be read"):
        check(tumour)


@pytest.mark.parametrize(("method", "message"), [("grouped", "role group"), ("time", "one class of malignant only")])
def test_a_split_that_means_nothing_is_refused_with_the_model_s_name(method: str, message: str, tumour: Model) -> None:
    """Also where one side would hold one class, which no metric can score."""
    set_key(tumour, "method", f'"{method}"')
    for stage in (ingest, check):
        stage(tumour)
    frame = pl.read_parquet(tumour.raw)
    late = pl.col("examined_on") > pl.lit("2024-06-01").str.to_date()
    frame.with_columns(pl.when(late).then(0).otherwise(pl.col("malignant")).alias("malignant")).write_parquet(
        tumour.raw
    )
    with pytest.raises(Refusal, match=f"tumour: .*{message}"):
        split(tumour)
    assert not tumour.train.exists()


def test_stratified_works_on_the_scaffold(tumour: Model) -> None:
    """Both classes are on both sides, in equal shares."""
    set_key(tumour, "method", '"stratified"')
    for stage in (ingest, check, split):
        stage(tumour)
    shares = [float(pl.read_parquet(path)["malignant"].mean() or 0) for path in (tumour.train, tumour.holdout)]
    assert shares[0] == pytest.approx(shares[1], abs=0.01)
