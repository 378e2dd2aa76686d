"""What is a row? What a client may send, from the manifest's schema, and the arrays that a model is asked with.

A request is parsed and checked in one pass by pydantic's core, strictly: a number is no text and a boolean no number,
nothing is NaN or infinite, nothing is left over. Where the checks end, plain NumPy arrays begin.
"""

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, LiteralString

import numpy as np
from numpy.typing import NDArray
from pydantic_core import PydanticCustomError, SchemaError, SchemaValidator, ValidationError, core_schema

from serve.errors import Refusal, Refused
from serve.prediction import Floats

NUMBERS = ("int", "float", "bool")
JSON_TYPES = {"int": "integer", "float": "number", "bool": "boolean", "str": "string"}
ANNOTATIONS = {"type", "description", "title", "examples", "default"}
LONGEST_ID = 200
Ids = list[str | int]
"""What a client calls the rows of a request, one for each."""


@dataclass(frozen=True)
class Feature:
    """One input of a model; one that is not `required` counts as missing where it is left out."""

    name: str
    dtype: str
    required: bool

    @property
    def is_number(self) -> bool:
        """Whether the model sees a float64; otherwise it sees text."""
        return self.dtype in NUMBERS


@dataclass(frozen=True, slots=True)
class Rows:
    """Checked rows: numbers (n, p) with NaN for missing, texts (n, q) of str with a gap for missing.

    The columns are the features of their kind, in the model's order.
    """

    numbers: Floats
    texts: NDArray[Any]

    def __len__(self) -> int:
        return len(self.numbers)

    def part(self, start: int, stop: int) -> "Rows":
        """Some of the rows."""
        return Rows(self.numbers[start:stop], self.texts[start:stop])


def together(parts: Sequence[Rows]) -> Rows:
    """Rows of several requests, one after another."""
    if len(parts) == 1:
        return parts[0]
    return Rows(np.concatenate([one.numbers for one in parts]), np.concatenate([one.texts for one in parts]))


class Columns:
    """The features of a model, and how rows of JSON values become arrays or a frame.

    `gap` stands for a missing text: None or NaN, whichever the frames had that the model was fitted on.
    """

    def __init__(self, manifest: Mapping[str, Any]) -> None:
        """From a manifest; a feature that is no number and no text is refused."""
        required = manifest["input_schema"]["required"]
        self.features = tuple(
            Feature(item["name"], item["dtype"], item["name"] in required) for item in manifest["features"]
        )
        for one in self.features:
            if one.dtype not in JSON_TYPES:
                raise Refusal(
                    f"{manifest['model']}: the feature {one.name} is a {one.dtype}, which no request can hold.",
                    do="Derive a number from it in ingest.py, or give it the role context, and train again.",
                )
        self.numbers = tuple(one.name for one in self.features if one.is_number)
        self.texts = tuple(one.name for one in self.features if not one.is_number)
        self._numbers, self._texts = _getter(self.numbers), _getter(self.texts)
        self.gap: float | None = None

    def of(self, rows: Sequence[Mapping[str, Any]]) -> Rows:
        """Arrays of checked rows; each has every feature, None where it is missing."""
        numbers = np.array([self._numbers(row) for row in rows], dtype=np.float64)
        texts = np.empty((len(rows), len(self.texts)), dtype=object)
        if self.texts:
            texts[:] = [self._texts(row) for row in rows]
            if self.gap is not None:
                texts[texts == np.array(None)] = self.gap
        return Rows(numbers.reshape(len(rows), len(self.numbers)), texts)

    def filled(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """A row with None for every feature that it leaves out."""
        return {one.name: row.get(one.name) for one in self.features}

    def position(self, name: str) -> tuple[bool, int]:
        """Whether a feature is among the numbers, and its column there or among the texts."""
        return (True, self.numbers.index(name)) if name in self.numbers else (False, self.texts.index(name))

    def frame(self, rows: Rows) -> Any:
        """A polars frame in the model's order, for an estimator that wants names."""
        import polars as pl

        columns: dict[str, Any] = {}
        for one in self.features:
            is_number, at = self.position(one.name)
            values = rows.numbers[:, at] if is_number else rows.texts[:, at].tolist()
            text = pl.String if self.gap is None else pl.Object
            columns[one.name] = pl.Series(one.name, values, dtype=pl.Float64 if is_number else text)
        return pl.DataFrame(columns)


def _getter(names: Sequence[str]) -> Callable[[Mapping[str, Any]], tuple[Any, ...]]:
    """The values of a row under these names, as a tuple; `itemgetter` gives no tuple for fewer than two."""
    if len(names) > 1:
        return operator.itemgetter(*names)
    return lambda row: tuple(row[name] for name in names)


class Reader:
    """Checks requests against a manifest's schema: a JSON body, or rows that came in another form."""

    def __init__(self, manifest: Mapping[str, Any], *, most_rows: int) -> None:
        """From a manifest; a rule in its schema that cannot be checked is refused, for unknown is not a pass."""
        try:
            row = self._row(manifest)
            rows = core_schema.list_schema(row, min_length=1, max_length=most_rows, strict=True, fail_fast=True)
            ids = core_schema.list_schema(_id(), max_length=most_rows, strict=True, fail_fast=True)
            self._rows = SchemaValidator(_only({"ids": ids}, rows=rows))
            self._one = SchemaValidator(_only(row=row))
            self._ids = SchemaValidator(_only(ids=ids))
        except (SchemaError, KeyError, TypeError, ValueError) as error:
            says = " ".join(str(error).split())[:200]
            raise Refusal(
                f"{manifest['model']}: the manifest's input_schema has a rule that the service cannot check: {says}.",
                do="Take that check off the column in contract.py, or do it in ingest.py; then train again.",
            ) from None
        self._names = {item["name"] for item in manifest["features"]}

    def rows(self, body: bytes) -> tuple[list[dict[str, Any]], Ids | None]:
        """The rows of `{"rows": [{…}, …], "ids": […]}`, and their ids where they are given."""
        found = self._checked(self._rows.validate_json, body)
        rows, ids = found["rows"], found.get("ids")
        if ids is not None:
            _as_many(ids, rows)
        return rows, ids

    def ids(self, value: Any, rows: Sequence[Any]) -> Ids:
        """Ids of these rows that are a Python value already, by the same rules."""
        ids: Ids = self._checked(self._ids.validate_python, {"ids": value})["ids"]
        _as_many(ids, rows)
        return ids

    def row(self, body: bytes) -> dict[str, Any]:
        """The row of `{"row": {…}}`."""
        return self._checked(self._one.validate_json, body)["row"]  # type: ignore[no-any-return]

    def check(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Rows that are Python values already, by the same rules."""
        return self._checked(self._rows.validate_python, {"rows": rows})["rows"]  # type: ignore[no-any-return]

    def _checked(self, validate: Callable[[Any], Any], value: Any) -> Any:
        try:
            return validate(value)
        except ValidationError as error:
            raise explained(error, self._names) from None

    def _row(self, manifest: Mapping[str, Any]) -> core_schema.CoreSchema:
        schema = manifest["input_schema"]
        fields = {}
        for item in manifest["features"]:
            name = item["name"]
            field = _field(schema["properties"][name])
            if name not in schema["required"]:
                missing = core_schema.with_default_schema(field, default=None)
                fields[name] = core_schema.typed_dict_field(missing, required=False)
            else:
                fields[name] = core_schema.typed_dict_field(field)
        return core_schema.typed_dict_schema(fields, extra_behavior="forbid", strict=True)


def explained(error: ValidationError, names: set[str]) -> Refused:
    """The first thing that is wrong with a request, in a sentence that repeats nothing of it."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    says = str(first["msg"])[:200]
    if first["type"] == "json_invalid":
        return Refused(400, f"The body is not valid JSON: {says.removeprefix('Invalid JSON: ')}.")
    place = ""
    for part in first["loc"]:
        if isinstance(part, int):
            place += f"[{part}]"
        elif part in names or part in PLACES:
            place += f".{part}" if place else part
    match first["type"]:
        case "extra_forbidden":
            says = "there is a field that the request may not have"
        case "missing":
            says = "this field is required"
    return Refused(422, f"{place or 'the body'}: {says[:1].lower()}{says[1:]}.")


PLACES = {"rows", "row", "ids", "inputs", "outputs", "name", "shape", "datatype", "data", "id", "parameters"}


def _only(
    optional: Mapping[str, core_schema.CoreSchema] | None = None, /, **fields: core_schema.CoreSchema
) -> core_schema.CoreSchema:
    """An object with exactly these fields, of which the `optional` ones may be left out."""
    found = {name: core_schema.typed_dict_field(field) for name, field in fields.items()}
    found |= {name: core_schema.typed_dict_field(field, required=False) for name, field in (optional or {}).items()}
    return core_schema.typed_dict_schema(found, extra_behavior="forbid", strict=True)


def _id() -> core_schema.CoreSchema:
    text = core_schema.str_schema(strict=True, min_length=1, max_length=LONGEST_ID)
    number = core_schema.int_schema(strict=True, ge=-(2**63), le=2**63 - 1)
    says = f"an id is a text of 1 to {LONGEST_ID} characters, or a whole number of 64 bits"
    return core_schema.union_schema([text, number], custom_error_type="id", custom_error_message=says)


def _as_many(ids: Ids, rows: Sequence[Any]) -> None:
    if len(ids) != len(rows):
        raise Refused(422, "ids: there must be one for each row.")


def _field(schema: Mapping[str, Any]) -> core_schema.CoreSchema:
    """One property of a JSON schema, as `mlops` derives it from a data contract."""
    rules = {key: value for key, value in schema.items() if key not in ANNOTATIONS}
    types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    kind = next(one for one in types if one != "null")
    found = _typed(kind, rules)
    for one in rules.pop("allOf", []):
        more = dict(one)
        found = core_schema.chain_schema([found, _typed(kind, more)])
        found = _tested(found, more)
    found = _tested(found, rules)
    return core_schema.nullable_schema(found) if "null" in types else found


def _typed(kind: str, rules: dict[str, Any]) -> core_schema.CoreSchema:
    """The type with the rules that pydantic's core knows; they are taken out of `rules`."""
    bounds = {"minimum": "ge", "exclusiveMinimum": "gt", "maximum": "le", "exclusiveMaximum": "lt"}
    given = {name: rules.pop(key) for key, name in bounds.items() if key in rules}
    match kind:
        case "integer":
            # 64 bits are what the columns of the training data had.
            inner = core_schema.int_schema(strict=True, ge=-(2**63), le=2**63 - 1)
            return core_schema.chain_schema([inner, core_schema.int_schema(**given)]) if given else inner
        case "number":
            return core_schema.float_schema(strict=True, allow_inf_nan=False, **given)
        case "boolean":
            return core_schema.bool_schema(strict=True)
        case "string":
            lengths = {"minLength": "min_length", "maxLength": "max_length"}
            given |= {name: rules.pop(key) for key, name in lengths.items() if key in rules}
            if "pattern" in rules:
                given |= _pattern(rules.pop("pattern"))
            return core_schema.str_schema(strict=True, **given)
    raise ValueError(f"type {kind}")


def _pattern(pattern: str) -> dict[str, Any]:
    """A pattern in an engine that cannot be made to run for ever; in Python's where only that one knows it."""
    try:
        SchemaValidator(core_schema.str_schema(pattern=pattern, regex_engine="rust-regex"))
    except SchemaError:
        return {"pattern": pattern, "regex_engine": "python-re"}
    return {"pattern": pattern, "regex_engine": "rust-regex"}


def _tested(found: core_schema.CoreSchema, rules: dict[str, Any]) -> core_schema.CoreSchema:
    """The rules on single values; one that is left over cannot be checked."""
    if "enum" in rules:
        known = frozenset(value for value in rules.pop("enum") if value is not None)
        found = _after(found, lambda value: value in known, "is none of the known values")
    if "not" in rules:
        refused = rules.pop("not")
        banned = frozenset(refused["enum"] if "enum" in refused else [refused["const"]])
        found = _after(found, lambda value: value not in banned, "is a value that is not allowed")
    if rules:
        raise ValueError(", ".join(sorted(rules)))
    return found


def _after(found: core_schema.CoreSchema, holds: Callable[[Any], bool], says: LiteralString) -> core_schema.CoreSchema:
    def check(value: Any) -> Any:
        if not holds(value):
            raise PydanticCustomError("value", says)
        return value

    return core_schema.no_info_after_validator_function(check, found)
