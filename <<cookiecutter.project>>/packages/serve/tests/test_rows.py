"""A request is accepted exactly when the manifest's JSON schema accepts it, but for what is stricter on purpose."""

import json
import math
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlops.data.contract import Check, Column, Contract
from serve.errors import Refusal, Refused
from serve.rows import Columns, Reader

COLUMNS = (
    Column(name="f", dtype="float", checks=(Check("gt", -5), Check("le", 5))),
    Column(name="g", dtype="float", nullable=True, checks=(Check("ne", 2),)),
    Column(name="i", dtype="int", checks=(Check("isin", [1, 2, 3]),)),
    Column(name="j", dtype="int", nullable=True, required=False, checks=(Check("ge", 0), Check("notin", [4, 5]))),
    Column(name="b", dtype="bool"),
    Column(name="s", dtype="str", checks=(Check("str_length", [1, 4]), Check("str_matches", "[a-c]+"))),
    Column(name="t", dtype="str", nullable=True, checks=(Check("isin", ["x", "y"]),)),
    Column(name="u", dtype="str", required=False, checks=(Check("str_startswith", "a."), Check("str_contains", "b"))),
    Column(name="v", dtype="str", checks=(Check("str_endswith", "$"), Check("eq", "c$"))),
)


def manifest(columns: tuple[Column, ...] = COLUMNS) -> dict[str, Any]:
    contract = Contract(source="0" * 64, owner="o", description="d", freshness_days=None, columns=columns)
    features = [{"name": column.name, "dtype": column.dtype} for column in columns]
    return {"model": "toy", "features": features, "input_schema": contract.request_schema()}


READER = Reader(manifest(), most_rows=5)
SCHEMA = jsonschema.Draft202012Validator(manifest()["input_schema"])
VALUES: dict[str, list[Any]] = {
    "f": [-5, -4.9, 0, 5, 5.1, "1", None, True],
    "g": [2, 2.5, None, -1e300],
    "i": [0, 1, 2, 3, None, "1", 1.5],
    "j": [-1, 0, 4, 5, 6, None],
    "b": [True, False, None, 0, "true"],
    "s": ["", "a", "abca", "abcab", "d", "ad", "ab\n", "éa", None, 1],
    "t": ["x", "y", "z", None],
    "u": ["a.b", "a.", "axb", "ba.b", "a.xb", None],
    "v": ["c$", "$", "c"],
}


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.fixed_dictionaries({}, optional={name: st.sampled_from(values) for name, values in VALUES.items()}))
def test_a_row_is_accepted_exactly_when_its_schema_accepts_it(row: dict[str, Any]) -> None:
    for one in (row, {**ROW, **row}):
        try:
            READER.rows(json.dumps({"rows": [one]}).encode())
            accepted = True
        except Refused:
            accepted = False
        assert accepted == SCHEMA.is_valid(one), one


ROW = {"f": 1, "g": None, "i": 1, "b": True, "s": "a", "t": None, "v": "c$"}


@pytest.mark.parametrize("ids", [None, ["a"], [7], [-(2**63)], ["ü" * 200], ["007"]])
def test_a_client_may_say_what_a_row_is_called(ids: list[str | int] | None) -> None:
    named = {} if ids is None else {"ids": ids}
    rows, found = READER.rows(json.dumps({"rows": [ROW], **named}).encode())
    assert found == ids
    assert ids is None or READER.ids(ids, rows) == ids


@pytest.mark.parametrize(
    "ids",
    [
        *(None, [], ["a", "b"], "a", 7, {"0": "a"}, [None], [""], ["a" * 201], [1.0], [1.5], [True], [math.nan]),
        *([math.inf], [["a"]], [{"id": "a"}], [2**63], [-(2**63) - 1], [10**400], ["a"] * 6, [[[[[]]]]]),
    ],
    ids=lambda ids: repr(ids)[:30],
)
def test_ids_of_another_number_or_kind_are_refused(ids: Any) -> None:
    with pytest.raises(Refused) as refused:
        READER.rows(json.dumps({"rows": [ROW], "ids": ids}).encode())
    assert refused.value.says.startswith("ids") or "not valid JSON" in refused.value.says
    with pytest.raises(Refused):
        READER.ids(ids, [ROW])


@pytest.mark.parametrize("text", ["1.0", "NaN", "Infinity", "1e999", str(2**63), "true"])
def test_what_is_stricter_than_the_schema(text: str) -> None:
    """A whole number has no fraction and 64 bits; no number is NaN or infinite; a truth is no number."""
    reader = Reader(manifest((Column(name="i", dtype="int"), Column(name="f", dtype="float"))), most_rows=5)
    reader.rows(b'{"rows": [{"i": 9223372036854775807, "f": 1}]}')
    with pytest.raises(Refused):
        reader.rows(f'{{"rows": [{{"i": {text}, "f": 1}}]}}'.encode())
    if text not in ("1.0", str(2**63)):
        with pytest.raises(Refused):
            reader.rows(f'{{"rows": [{{"i": 1, "f": {text}}}]}}'.encode())


def test_a_pattern_cannot_be_made_to_run_for_ever() -> None:
    """The breaker of Python's own engine, which would need longer than the universe has."""
    reader = Reader(manifest((Column(name="s", dtype="str", checks=(Check("str_matches", "(a+)+$"),)),)), most_rows=5)
    with pytest.raises(Refused):
        reader.rows(json.dumps({"rows": [{"s": "a" * 50_000 + "b"}]}).encode())


def test_a_rule_that_cannot_be_checked_is_refused_when_the_model_is_loaded() -> None:
    """Unknown is not a pass."""
    value = manifest((Column(name="f", dtype="float"),))
    value["input_schema"]["properties"]["f"]["multipleOf"] = 0.5
    with pytest.raises(Refusal, match=r"cannot check: multipleOf"):
        Reader(value, most_rows=5)


def test_a_feature_that_no_request_can_hold_is_refused() -> None:
    with pytest.raises(Refusal, match="the feature day is a date"):
        Columns({**manifest(), "features": [{"name": "day", "dtype": "date"}]})


def test_rows_become_arrays() -> None:
    """Numbers with NaN for missing, truths as 0 and 1, text with its gap; in the model's order."""
    columns = Columns(manifest())
    row = {"f": 1, "g": None, "i": 2, "j": None, "b": True, "s": "a", "t": None, "u": None, "v": "c$"}
    found = columns.of([row, {**row, "g": 7.5}])
    assert columns.numbers == ("f", "g", "i", "j", "b")
    assert found.numbers.dtype == np.float64
    assert found.numbers.tolist()[1] == pytest.approx([1, 7.5, 2, math.nan, 1], nan_ok=True)
    assert found.texts.tolist() == [["a", None, None, "c$"]] * 2
    columns.gap = math.nan
    texts = columns.of([row]).texts.tolist()[0]
    assert texts[0] == "a"
    assert all(math.isnan(texts[place]) for place in (1, 2))


def test_one_column_of_a_kind_is_a_matrix_too() -> None:
    columns = Columns(manifest((COLUMNS[0], COLUMNS[5])))
    found = columns.of([{"f": 1.0, "s": "a"}] * 3)
    assert (found.numbers.shape, found.texts.shape) == ((3, 1), (3, 1))
    none = Columns(manifest((COLUMNS[0],))).of([{"f": 1.0}])
    assert none.texts.shape == (1, 0)
