"""Does the check find what pandera finds? Counts on a fuzzed corpus, with pandera as the oracle, and the report."""

import datetime as dt
import importlib.util
import json
import random
import sys
from collections import Counter
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pandera.errors
import polars as pl
import pytest

from mlops.data import check as check_module
from mlops.data.check import HIDDEN, SHOWN, CheckResult, check_files
from mlops.data.compile import compile_contract, custom_runner
from mlops.errors import Refusal

TODAY = dt.date(2026, 7, 1)
SCHEMA_LEVEL = ("missing column", "unexpected column", "wrong type")


def contract_text(fields: str, *, library: str = "polars", config: str = "strict = True", body: str = "") -> str:
    """The text of a contract.py with these fields."""
    lines = "".join(f"    {line.strip()}\n" for line in fields.strip().splitlines())
    return (
        "import datetime as dt\nfrom typing import Optional\nimport polars as pl\n"
        f"import pandera.{library} as pa\n\n\nclass Contract(pa.DataFrameModel):\n"
        f'    """Rows of the test."""\n{lines}{body}\n    class Config:\n        {config}\n'
    )


def check_frame(folder: Path, text: str, frame: pl.DataFrame, *, files: int = 1) -> CheckResult:
    """The result for a frame, written as that many Parquet files with small row groups."""
    size = -(-max(frame.height, 1) // files)
    paths = []
    for n in range(files):
        paths.append(folder / f"part{n}.parquet")
        frame.slice(n * size, size).write_parquet(paths[-1], row_group_size=64)
    return check_paths(folder, text, paths)


def check_paths(folder: Path, text: str, paths: list[Path]) -> CheckResult:
    """The result for Parquet files that are there."""
    path = folder / "contract.py"
    path.write_text(text, encoding="utf-8")
    contract = compile_contract(path, cache=None)
    custom = custom_runner(path) if contract.has_custom else None
    return check_files(paths, contract, as_of=TODAY, custom=custom)


def counts(result: CheckResult) -> Counter[tuple[str, str]]:
    """Rows per column and kind of check; what concerns the schema itself counts once, as pandera counts it."""
    found: Counter[tuple[str, str]] = Counter()
    for one in result.violations:
        kind = one.check if " column" in one.check or one.check == "not null" else one.check.split(" ")[0]
        kind = "wrong type" if one.check.startswith("is ") else kind
        found[one.column, kind] += 1 if kind in SCHEMA_LEVEL else one.count
    return found


NAMES = {
    "not_nullable": "not null",
    "field_uniqueness": "unique",
    "multiple_fields_uniqueness": "unique",
    "greater_than_or_equal_to": "ge",
    "greater_than": "gt",
    "less_than_or_equal_to": "le",
    "less_than": "lt",
    "equal_to": "eq",
    "not_equal_to": "ne",
    "column_in_dataframe": "missing column",
    "column_in_schema": "unexpected column",
}


def oracle(text: str, frame: Any, folder: Path) -> Counter[tuple[str, str]]:
    """The same counts out of pandera's own lazy validation."""
    path = folder / "oracle.py"
    path.write_text(text, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("oracle", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["oracle"] = module
    spec.loader.exec_module(module)
    found: Counter[tuple[str, str]] = Counter()
    try:
        module.Contract.validate(frame, lazy=True)
    except pandera.errors.SchemaErrors as errors:
        for error in errors.schema_errors:
            name = str(getattr(error.check, "name", error.check)).split("(")[0]
            kind = "wrong type" if name == "dtype" else NAMES.get(name, name)
            column = error.column_name or ""
            if kind in ("missing column", "unexpected column"):
                column = error.failure_cases if isinstance(error.failure_cases, str) else _only(error.failure_cases)
            cases = error.failure_cases
            if kind == "unique" and not isinstance(frame, pl.DataFrame):
                # On pandas the listing leaves out missing values, which were found to be duplicates all the same.
                cases = frame[column][frame[column].duplicated(keep=False)]
            found[column, kind] += 1 if kind in SCHEMA_LEVEL else len(cases)
    return found


def _only(cases: Any) -> str:
    return str(cases["failure_case"][0])


def fuzzed(seed: int, *, nulls_in_whole: bool) -> tuple[str, pl.DataFrame]:
    """The fields of a contract and rows that break it here and there."""
    rng = random.Random(seed)
    rows = rng.choice([1, 2, 50, 300])
    fields, data = [], {}

    def some(values: list[Any], missing: Any) -> list[Any]:
        share = rng.choice([0, 0, 0.1])
        return [missing if rng.random() < share else value for value in values]

    for n in range(rng.randint(3, 7)):
        kind = rng.choice(["int", "float", "float", "str", "str", "bool", "dt.datetime"])
        options = {f"nullable={rng.random() < 0.5}"}
        if kind == "int":
            values: list[Any] = [rng.randint(-5, 20) for _ in range(rows)]
            options |= set(
                rng.sample(["ge=0", "gt=1", "le=15", "lt=18", "ne=3", "isin=list(range(12))", "notin=[4, 5]"], 3)
            )
            values = some(values, None) if nulls_in_whole else values
        elif kind == "float":
            values = [rng.choice([rng.uniform(-1, 2), 0.0, 1.0, float("inf")]) for _ in range(rows)]
            options |= set(
                rng.sample(["ge=0", "gt=0", "le=1.0", "lt=1", "ne=0.0", "isin=[0.0, 1.0]", "notin=[1.0]"], 3)
            )
            values = some(values, float("nan"))
        elif kind == "str":
            values = ["".join(rng.choices("abé1 ", k=rng.randint(0, 4))) for _ in range(rows)]
            options |= set(
                rng.sample(
                    [
                        'isin=["a", "b", "é", ""]',
                        'notin=["a"]',
                        'str_matches=r"a|b"',
                        'str_matches=r"^[a-z]+$"',
                        'str_contains=r"1"',
                        'str_startswith="a"',
                        'str_endswith="b"',
                        'str_length={"min_value": 1, "max_value": 3}',
                        'str_length={"max_value": 2}',
                        'eq="a"',
                    ],
                    3,
                )
            )
            values = some(values, None)
        elif kind == "bool":
            values = [rng.random() < 0.9 for _ in range(rows)]
            options |= {rng.choice(["eq=True", "isin=[True]", "ne=False"])}
            values = some(values, None) if nulls_in_whole else values
        else:
            values = [dt.datetime(2026, 1, rng.randint(1, 28)) for _ in range(rows)]
            options |= {"ge=dt.datetime(2026, 1, 3)", "lt=dt.datetime(2026, 1, 27)"}
            values = some(values, None)
        unique = set() if rng.random() < 0.7 else {"unique=True"}
        keywords: dict[str, str] = {}
        for option in sorted({*options, *unique}):
            keywords.setdefault(option.partition("=")[0], option)
        fields.append(f"c{n}: {kind} = pa.Field({', '.join(keywords.values())})")
        dtypes = {
            "int": pl.Int64,
            "float": pl.Float64,
            "str": pl.String,
            "bool": pl.Boolean,
            "dt.datetime": pl.Datetime("us"),
        }
        data[f"c{n}"] = pl.Series(values, dtype=dtypes[kind])
    frame = pl.DataFrame(data)
    if rng.random() < 0.3:
        frame = frame.with_columns(extra=pl.lit(1))
    if rng.random() < 0.3:
        frame = frame.drop("c0")
    if rng.random() < 0.3:
        frame = frame.with_columns(pl.col("c1").cast(pl.String))
    return "\n".join(fields), frame


def without_patterns(text: str) -> str:
    """The contract with the one pattern that pandera reads differently on polars (`^a|b`) put in brackets."""
    return text.replace('str_matches=r"a|b"', 'str_matches=r"(?:a|b)"')


@pytest.mark.parametrize("seed", range(60))
def test_counts_equal_those_of_pandera_on_polars(seed: int, tmp_path: Path) -> None:
    """Per column and check, with NaN as missing; checks that cannot run on a wrong type are pandera's errors."""
    fields, frame = fuzzed(seed, nulls_in_whole=True)
    ours = counts(check_frame(tmp_path, contract_text(fields), frame, files=1 + seed % 3))
    missing_as_null = frame.with_columns(pl.col(pl.Float64).fill_nan(None))
    theirs = oracle(without_patterns(contract_text(fields)), missing_as_null, tmp_path)
    retyped = {column for column, kind in ours if kind == "wrong type"}
    for column in retyped:
        assert theirs[column, "wrong type"] == 1
    assert {key: n for key, n in ours.items() if key[0] not in retyped} == {
        key: n for key, n in theirs.items() if key[0] not in retyped
    }


@pytest.mark.parametrize("seed", range(100, 130))
def test_counts_equal_those_of_pandera_on_pandas(seed: int, tmp_path: Path) -> None:
    """Also with NaN in the data and alternatives in patterns, where pandera's two libraries differ."""
    fields, frame = fuzzed(seed, nulls_in_whole=False)
    ours = counts(check_frame(tmp_path, contract_text(fields), frame))
    pandas = frame.to_pandas()
    # pandera's datetime on pandas means nanoseconds.
    pandas = pandas.astype({name: "datetime64[ns]" for name, dtype in frame.schema.items() if dtype == pl.Datetime})
    theirs = oracle(contract_text(fields, library="pandas"), pandas, tmp_path)
    retyped = {column for column, kind in ours if kind == "wrong type"}
    assert {key: n for key, n in ours.items() if key[0] not in retyped} == {
        key: n for key, n in theirs.items() if key[0] not in retyped
    }


def test_the_fuzzed_corpus_breaks_every_kind_of_check(tmp_path: Path) -> None:
    """A corpus in which some check never fails would prove nothing about it."""
    broken: set[str] = set()
    for seed in range(60):
        fields, frame = fuzzed(seed, nulls_in_whole=True)
        broken |= {kind for _, kind in counts(check_frame(tmp_path, contract_text(fields), frame))}
    assert broken >= {
        *("ge", "gt", "le", "lt", "eq", "ne", "isin", "notin", "unique", "not null", "wrong type"),
        *("str_length", "str_matches", "str_startswith", "str_endswith", "str_contains"),
        *("missing column", "unexpected column"),
    }


NAN, INFINITE = float("nan"), float("inf")
GROUPS: dict[str, list[list[Any]]] = {
    "float": [
        *([[one] * 4 for one in (0.5, NAN, None, INFINITE, -INFINITE, -0.0, 0.0, 1.0, 2.0)]),
        *([NAN, 0.5, 0.5, 0.5], [None, 2.0, None, NAN], [-1.0, NAN, NAN, NAN], [0.0, -0.0, NAN, 1.0]),
    ],
    "int": [[1] * 4, [None] * 4, [0, 1, 2, 3], [None, -1, None, 5], [2**63 - 1] * 4, [-(2**63), 1, 1, 1]],
    "str": [["b"] * 4, [None] * 4, ["a", "é", "z", ""], ["b", None, "b", "b"], ["b" * 90 + one for one in "abcd"]],
    "dt.date": [[dt.date(2026, 1, day)] * 4 for day in (1, 2, 3)] + [[None] * 4, [None, dt.date(1900, 1, 1)] * 2],
}
"""Rows by row group: whole groups that keep or break a check, and NaN, which are in no statistics of a file."""


def written(frame: pl.DataFrame, folder: Path, writer: str) -> Path:
    """The frame as a Parquet file with four rows to a row group."""
    import pyarrow.parquet as pq

    path = folder / "grouped.parquet"
    if writer == "pyarrow":
        pq.write_table(frame.to_arrow(), path, row_group_size=4)
    elif writer == "pyarrow, plain":
        pq.write_table(frame.to_arrow(), path, row_group_size=4, use_dictionary=False, write_page_index=True)
    else:
        frame.write_parquet(path, row_group_size=4, statistics="full" if writer == "polars" else False)
    return path


@pytest.mark.parametrize("writer", ["polars", "polars without statistics", "pyarrow", "pyarrow, plain"])
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        *[("float", one) for one in ("ge=0, le=1.0", "gt=0, lt=1", "eq=0.0", "ne=0.0", "isin=[0.0, 1.0]")],
        *[("float", one) for one in ("notin=[0.0]", "ge=0", "le=1.0", "le=-0.0, ge=-0.0")],
        *[("int", one) for one in ("ge=0, le=3", "gt=0", "lt=2", "eq=1", "ne=1", "isin=[0, 1, 2, 3]", "notin=[1]")],
        *[("str", one) for one in ('eq="b"', 'ne="b"', 'isin=["b", "a"]', 'notin=["b", "a"]', 'str_startswith="b"')],
        *[("str", one) for one in ('str_matches="b*$"', 'str_length={"max_value": 1}', 'str_endswith="d"')],
        *[("dt.date", f"{one}=dt.date(2026, 1, 2)") for one in ("ge", "gt", "le", "lt", "eq", "ne")],
    ],
)
def test_what_a_file_says_about_its_row_groups_changes_no_count(
    kind: str, options: str, writer: str, tmp_path: Path
) -> None:
    """Statistics and dictionaries save reading; rows that they leave out are rows that keep the check."""
    dtypes = {"float": pl.Float64, "int": pl.Int64, "str": pl.String, "dt.date": pl.Date}
    frame = pl.DataFrame({"x": pl.Series([one for group in GROUPS[kind] for one in group], dtype=dtypes[kind])})
    for nullable in (True, False):
        text = contract_text(f"x: {kind} = pa.Field({options}, nullable={nullable})")
        ours = counts(check_paths(tmp_path, text, [written(frame, tmp_path, writer)]))
        assert ours
        assert ours == oracle(text, frame.with_columns(pl.col(pl.Float64).fill_nan(None)), tmp_path)


ID = 'number: int = pa.Field(unique=True, metadata={"role": "id"})'


def only(result: CheckResult) -> Any:
    """The one violation that there is."""
    assert len(result.violations) == 1, result.violations
    return result.violations[0]


@pytest.mark.parametrize("batch", [500_000, 100, 7])
def test_the_first_offending_rows_are_shown_over_all_files(
    batch: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row numbers count on from file to file and from batch to batch, and no more than five are shown."""
    monkeypatch.setattr(check_module, "BATCH", batch)
    frame = pl.DataFrame({"x": [1.0] * 700 + [-1.0, -2.0] + [1.0] * 298 + [-3.0] * 40})
    one = only(check_frame(tmp_path, contract_text("x: float = pa.Field(ge=0)"), frame, files=3))
    assert (one.check, one.count, one.share) == ("ge 0", 42, 42 / 1040)
    assert one.examples == ((700, -1.0), (701, -2.0), (1000, -3.0), (1001, -3.0), (1002, -3.0))


@pytest.mark.parametrize("listed", [100_000, 60, 7, 1])
def test_rows_are_shown_for_every_check_however_many_break_another(
    listed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counts and first rows are the same whether all broken rows are held at once or are counted beside."""
    monkeypatch.setattr(check_module, "LISTED", listed)
    frame = pl.DataFrame({"x": [-1.0] * 50 + [0.5] * 300 + [9.0, -1.0, 9.0]})
    found = check_frame(tmp_path, contract_text("x: float = pa.Field(ge=0, le=1)"), frame).violations
    assert [(one.check, one.count) for one in found] == [("ge 0", 51), ("le 1", 2)]
    assert [row for row, _ in found[0].examples] == [0, 1, 2, 3, 4]
    assert found[1].examples == ((350, 9.0), (352, 9.0))


@pytest.mark.parametrize("low", [-3, 0, 2**62, -(2**63), 2**63 - 6])
@pytest.mark.parametrize("batch", [500_000, 3, 1])
def test_duplicates_of_close_numbers_are_those_of_any_numbers(
    low: int, batch: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ids that lie close together are marked instead of sorted; nothing else is different."""
    values = [low + one for one in (4, 1, 4, 0, 2, 4, 2, 5, 1, 3)]
    text, frame = contract_text("x: int = pa.Field(unique=True)"), pl.DataFrame({"x": values})
    monkeypatch.setattr(check_module, "SPREAD", 0)
    sorted_ = check_frame(tmp_path, text, frame)
    monkeypatch.setattr(check_module, "SPREAD", 8)
    monkeypatch.setattr(check_module, "BATCH", batch)
    marked = Mock(wraps=check_module._marked)
    monkeypatch.setattr(check_module, "_marked", marked)
    assert check_frame(tmp_path, text, frame) == sorted_
    marked.assert_called_once()
    assert (only(sorted_).count, only(sorted_).examples[0]) == (7, (0, low + 4))
    assert not check_frame(tmp_path, text, frame.unique()).violations


@pytest.mark.parametrize("values", [[1, 2, 2, 3, 1], ["a", "b", "b", "c", "a"], [1.5, None, float("nan"), 2.5, 1.5]])
def test_duplicates_are_counted_with_their_first_rows(
    values: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every row of a group of equal values counts, however many partitions it takes to count them."""
    text = contract_text(f"x: {type(values[0]).__name__} = pa.Field(unique=True, nullable=True)")
    for rows in (10, 2, 1):
        monkeypatch.setattr(check_module, "PARTITION", rows)
        one = only(check_frame(tmp_path, text, pl.DataFrame({"x": values})))
        assert (one.check, one.count) == ("unique", 4)
        assert [row for row, _ in one.examples] == [0, 1, 2, 4]


def test_columns_that_are_unique_together(tmp_path: Path) -> None:
    """`Config.unique` concerns the combination, and is reported under all of its names."""
    text = contract_text("x: int\ny: str", config='unique = ["x", "y"]')
    frame = pl.DataFrame({"x": [1, 1, 1, 2], "y": ["a", "b", "a", "a"]})
    one = only(check_frame(tmp_path, text, frame))
    assert (one.column, one.check, one.count) == ("x, y", "unique", 2)
    assert one.examples == ((0, "1, a"), (2, "1, a"))
    assert not check_frame(tmp_path, text, frame.head(2)).violations


def test_values_of_personal_columns_are_never_shown(tmp_path: Path) -> None:
    """Neither by a range, a wrong type, a duplicate, a combination nor a rule of one's own."""
    secret = {"personal": True}
    body = "\n    @pa.check('p')\n    def mine(cls, data):\n"
    body += "        return data.lazyframe.select(pl.col(data.key) != 'abc-secret')\n"
    text = contract_text(
        f"p: str = pa.Field(isin=['x'], unique=True, metadata={secret})\nq: int = pa.Field(metadata={secret})\nr: int",
        config='unique = ["p", "r"]',
        body=body,
    )
    frame = pl.DataFrame({"p": ["abc-secret"] * 3, "q": ["abc-secret"] * 3, "r": [1, 1, 2]})
    result = check_frame(tmp_path, text, frame)
    assert {one.check for one in result.violations} == {'isin ["x"]', "unique", "is str, not int", "custom mine"}
    assert HIDDEN in json.dumps(result.to_json())
    assert "secret" not in json.dumps(result.to_json())


def test_the_report_never_grows_with_the_damage(tmp_path: Path) -> None:
    """A million bad characters per value and hundreds of bad columns still make a small file."""
    frame = pl.DataFrame({f"c{n}": ["x" * 100_000, "y"] for n in range(SHOWN + 50)})
    result = check_frame(tmp_path, contract_text("a: int", config="strict = True"), frame)
    found = result.to_json()
    assert len(found["violations"]) == SHOWN
    assert found["violations_left_out"] == len(frame.columns) + 1 - SHOWN
    fields = "\n".join(f'c{n}: str = pa.Field(isin=["{"z" * 5000}"])' for n in range(20))
    wide = check_frame(tmp_path, contract_text(fields), frame.select(frame.columns[:20]))
    assert len(wide.violations) == 20
    assert len(json.dumps(wide.to_json())) < 20_000


def test_a_wrong_type_shows_the_values_that_are_to_blame(tmp_path: Path) -> None:
    """It concerns all rows; the examples are those that are no number."""
    frame = pl.DataFrame({"x": ["1", "two", "3", None]})
    one = next(
        one for one in check_frame(tmp_path, contract_text("x: int"), frame).violations if one.check != "not null"
    )
    assert (one.check, one.count, one.examples) == ("is str, not int", 4, ((1, "two"),))


@pytest.mark.parametrize(("newest", "stale"), [("2026-06-01", False), ("2026-05-31", True), (None, True)])
def test_freshness_is_measured_against_as_of(newest: str | None, stale: bool, tmp_path: Path) -> None:
    """Not against the wall clock: the same data and day give the same answer for ever."""
    text = contract_text(
        'day: dt.date = pa.Field(nullable=True, metadata={"role": "time"})', config='metadata = {"freshness_days": 30}'
    )
    day = dt.date.fromisoformat(newest) if newest else None
    frame = pl.DataFrame({"day": [day, None]}, schema={"day": pl.Date})
    result = check_frame(tmp_path, text, frame)
    assert result.newest == day
    assert [one.check for one in result.violations] == (
        ["newest row at most 30 days before 2026-07-01"] if stale else []
    )


@pytest.mark.parametrize("batch", [500_000, 2, 1])
@pytest.mark.parametrize("dtype", [pl.Date(), pl.Datetime("us"), pl.Datetime("ns"), pl.Datetime("us", "UTC")])
def test_the_newest_row_is_found_wherever_it_is(
    dtype: pl.DataType, batch: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files need not be in order: the last row may be an old one, or have no time."""
    monkeypatch.setattr(check_module, "BATCH", batch)
    text = contract_text('day: dt.datetime = pa.Field(nullable=True, metadata={"role": "time"})')
    days = [dt.datetime(2026, 6, 1, 12), dt.datetime(2026, 6, 3, 23, 59, 59, 999_999), dt.datetime(2026, 6, 2)]
    for last, newest in [(dt.datetime(2026, 5, 1), 3), (dt.datetime(2026, 6, 4), 4), (None, 3)]:
        moments = pl.Series([*days, last], dtype=pl.Datetime("us"))
        moments = moments.cast(dtype) if dtype != pl.Datetime("us", "UTC") else moments.dt.replace_time_zone("UTC")
        assert check_frame(tmp_path, text, pl.DataFrame({"day": moments})).newest == dt.date(2026, 6, newest)


def test_custom_checks_count_over_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Checks of one column and of whole rows are run by pandera, batch by batch, and added up."""
    body = (
        "\n    @pa.check('x')\n    def small(cls, data): return data.lazyframe.select(pl.col(data.key) < 5)\n"
        "\n    @pa.dataframe_check\n    def ordered(cls, data):\n"
        "        return data.lazyframe.select(pl.col('x') <= pl.col('y'))\n"
    )
    text = contract_text("x: int = pa.Field(ge=1)\ny: int", body=body)
    frame = pl.DataFrame({"x": [0, 1, 2, 6, 7, 3, 9], "y": [0, 1, 2, 6, 6, 6, 6]})
    for batch in (100, 3, 1):
        monkeypatch.setattr(check_module, "BATCH", batch)
        result = check_frame(tmp_path, text, frame)
        found = {(one.column, one.check): (one.count, [row for row, _ in one.examples]) for one in result.violations}
        assert found == {
            ("x", "ge 1"): (1, [0]),
            ("x", "custom small"): (3, [3, 4, 6]),
            ("(row)", "custom ordered"): (2, [4, 6]),
        }


def test_a_custom_check_that_breaks_is_a_violation_and_no_pass(tmp_path: Path) -> None:
    """Unknown is not a pass: a check that raises concerns every row it was to judge."""
    body = "\n    @pa.check('x')\n    def broken(cls, data): raise RuntimeError('no')\n"
    one = only(check_frame(tmp_path, contract_text("x: int", body=body), pl.DataFrame({"x": [1, 2]})))
    assert (one.column, one.check, one.count) == ("x", "custom broken", 2)


def test_custom_checks_without_pandera_are_refused(tmp_path: Path) -> None:
    """Nobody can pass a contract by leaving out the one who runs its checks."""
    path = tmp_path / "contract.py"
    body = "\n    @pa.check('x')\n    def mine(cls, data): return data.lazyframe.select(pl.col(data.key) < 5)\n"
    path.write_text(contract_text("x: int", body=body), encoding="utf-8")
    with pytest.raises(ValueError, match="custom"):
        check_files([tmp_path / "x.parquet"], compile_contract(path, cache=None), as_of=TODAY)


def test_empty_and_damaged_data_is_refused(tmp_path: Path) -> None:
    """No rows keep every rule; that is not a pass."""
    with pytest.raises(Refusal, match="has no rows"):
        check_frame(tmp_path, contract_text("x: int"), pl.DataFrame({"x": []}, schema={"x": pl.Int64}))
    contract = compile_contract(tmp_path / "contract.py", cache=None)
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(Refusal, match="cannot be read"):
        check_files([tmp_path / "bad.parquet"], contract, as_of=TODAY)
    with pytest.raises(Refusal, match="does not exist"):
        check_files([tmp_path / "none.parquet"], contract, as_of=TODAY)
