"""What must the data be? The data contract as plain values, and the request schema that follows from it.

Standard library only: reports and the service read `contract.json` without pandera or polars.
The values come out of `models/<name>/contract.py` through `mlops.data.compile`.
"""

import json
from dataclasses import dataclass, field
from typing import Any

from mlops.errors import Refusal
from mlops.files import read_json
from mlops.workspace import Model

DTYPES = ("int", "float", "str", "bool", "date", "datetime")
ROLES = ("feature", "id", "time", "target", "group", "context")
KINDS = (
    "ge",
    "gt",
    "le",
    "lt",
    "eq",
    "ne",
    "isin",
    "notin",
    "str_length",
    "str_matches",
    "str_startswith",
    "str_endswith",
    "str_contains",
)
_JSON_TYPES = {
    "int": "integer",
    "float": "number",
    "str": "string",
    "bool": "boolean",
    "date": "string",
    "datetime": "string",
}


@dataclass(frozen=True)
class Check:
    """One standard check: a kind of `KINDS` and its value in JSON's types (days and times as ISO text).

    `str_length` has `[least, most]`, either of which may be None; `str_matches` matches at the start of the text.
    """

    kind: str
    value: Any

    @property
    def label(self) -> str:
        """The check in one short line, such as `ge 0`; the name under which violations are counted."""
        return shorten(f"{self.kind} {json.dumps(self.value, ensure_ascii=False)}", 80)


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of the contract."""

    name: str
    dtype: str
    nullable: bool = False
    unique: bool = False
    required: bool = True
    """Whether the data must have the column at all."""
    checks: tuple[Check, ...] = ()
    custom: tuple[str, ...] = ()
    """Names of the checks that only pandera can run."""
    role: str = "feature"
    personal: bool = False
    description: str = ""


@dataclass(frozen=True, kw_only=True)
class Contract:
    """One data contract; `source` is the sha256 of the file that it was compiled from."""

    source: str
    owner: str
    description: str
    freshness_days: int | None
    columns: tuple[Column, ...]
    strict: bool = False
    """Whether columns that the contract does not name are violations."""
    unique_together: tuple[tuple[str, ...], ...] = ()
    """Groups of columns whose values, taken together, occur once."""
    custom: tuple[str, ...] = field(default=())
    """Names of the checks over whole rows, which only pandera can run."""

    @property
    def features(self) -> tuple[Column, ...]:
        """The columns that the model sees, in the contract's order."""
        return tuple(column for column in self.columns if column.role == "feature")

    @property
    def target(self) -> Column | None:
        """The column that is predicted."""
        return self._with_role("target")

    @property
    def id(self) -> Column | None:
        """The column that names a row."""
        return self._with_role("id")

    @property
    def time(self) -> Column | None:
        """The column that says when a row happened."""
        return self._with_role("time")

    @property
    def group(self) -> Column | None:
        """The column whose rows a split must not tear apart."""
        return self._with_role("group")

    @property
    def has_custom(self) -> bool:
        """Whether a check needs pandera while the data is read."""
        return bool(self.custom) or any(column.custom for column in self.columns)

    def column(self, name: str) -> Column | None:
        """The column of that name, or None."""
        return next((column for column in self.columns if column.name == name), None)

    def _with_role(self, role: str) -> Column | None:
        return next((column for column in self.columns if column.role == role), None)

    def to_json(self) -> dict[str, Any]:
        """The value that `contract.json` holds; `from_json` gives an equal contract back."""
        return {
            "source": self.source,
            "owner": self.owner,
            "description": self.description,
            "freshness_days": self.freshness_days,
            "strict": self.strict,
            "unique_together": [list(names) for names in self.unique_together],
            "custom": list(self.custom),
            "columns": [
                {
                    "name": column.name,
                    "dtype": column.dtype,
                    "nullable": column.nullable,
                    "unique": column.unique,
                    "required": column.required,
                    "checks": [{"kind": check.kind, "value": check.value} for check in column.checks],
                    "custom": list(column.custom),
                    "role": column.role,
                    "personal": column.personal,
                    "description": column.description,
                }
                for column in self.columns
            ],
        }

    @staticmethod
    def from_json(value: dict[str, Any]) -> "Contract":
        """A contract from what `to_json` gave; raises KeyError, TypeError or ValueError for anything else."""
        columns = tuple(
            Column(
                name=one["name"],
                dtype=_known(one["dtype"], DTYPES),
                nullable=one["nullable"],
                unique=one["unique"],
                required=one["required"],
                checks=tuple(Check(_known(check["kind"], KINDS), check["value"]) for check in one["checks"]),
                custom=tuple(one["custom"]),
                role=_known(one["role"], ROLES),
                personal=one["personal"],
                description=one["description"],
            )
            for one in value["columns"]
        )
        return Contract(
            source=value["source"],
            owner=value["owner"],
            description=value["description"],
            freshness_days=value["freshness_days"],
            columns=columns,
            strict=value["strict"],
            unique_together=tuple(tuple(names) for names in value["unique_together"]),
            custom=tuple(value["custom"]),
        )

    def request_schema(self) -> dict[str, Any]:
        """JSON schema (2020-12) of one row of features, as a client of the service sends it.

        Optional columns may be left out, nullable ones may be null; nothing that the contract does not name may be
        sent. Checks that only pandera can run, and checks across rows, have no counterpart in a request.
        """
        return {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "description": self.description,
            "properties": {column.name: _property(column) for column in self.features},
            "required": [column.name for column in self.features if column.required],
            "additionalProperties": False,
        }


def read(model: Model) -> Contract:
    """The contract that the check stage wrote; a missing or foreign file is refused."""
    path = model.json("contract")
    do = f"`make train MODEL={model.name}` writes it."
    try:
        return Contract.from_json(read_json(path, do=do))
    except (KeyError, TypeError, ValueError):
        raise Refusal(f"models/{model.name}/contract.json is not a contract of this version of mlops.", do=do) from None


def shorten(text: str, most: int) -> str:
    """The text on one line and with at most `most` characters."""
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1] + "…"


def _known(value: Any, known: tuple[str, ...]) -> str:
    if value not in known:
        raise ValueError(value)
    return str(value)


def _property(column: Column) -> dict[str, Any]:
    kind = _JSON_TYPES[column.dtype]
    found: dict[str, Any] = {"type": [kind, "null"] if column.nullable else kind}
    if column.description:
        found["description"] = column.description
    if column.dtype in ("date", "datetime"):
        found["format"] = {"date": "date", "datetime": "date-time"}[column.dtype]
    more: list[dict[str, Any]] = []
    for check in column.checks:
        for key, value in _keywords(check, column).items():
            # A keyword that is taken already, such as a second pattern, holds beside the first.
            if key in found:
                more.append({key: value})
            else:
                found[key] = value
    if more:
        found["allOf"] = more
    return found


def _keywords(check: Check, column: Column) -> dict[str, Any]:
    """The JSON-schema keywords of one check; days and times are compared by no keyword, so they have none."""
    value = check.value
    bounds = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
    null = [None] if column.nullable else []
    match check.kind:
        case "ge" | "gt" | "le" | "lt":
            return {bounds[check.kind]: value} if column.dtype in ("int", "float") else {}
        case "eq":
            return {"enum": [value, *null]}
        case "ne":
            return {"not": {"const": value}}
        case "isin":
            return {"enum": [*value, *null]}
        case "notin":
            return {"not": {"enum": list(value)}}
        case "str_length":
            return {key: size for key, size in zip(("minLength", "maxLength"), value, strict=True) if size is not None}
        case "str_matches":
            return {"pattern": f"^(?:{value})"}
        case "str_contains":
            return {"pattern": value}
        case "str_startswith":
            return {"pattern": f"^{_literal(value)}"}
        case _:
            return {"pattern": f"{_literal(value)}$"}


def _literal(text: str) -> str:
    """A pattern that matches `text` itself, in the syntax that JSON schema shares with Python."""
    return "".join("\\" + character if character in r"\^$.*+?()[]{}|/" else character for character in text)
