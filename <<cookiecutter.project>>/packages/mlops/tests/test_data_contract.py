"""Is `contract.py` understood, cached and, when it is broken, refused in one line? And what follows from it."""

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from mlops.data.card import data_card
from mlops.data.compile import compile_contract
from mlops.data.contract import KINDS, Check, Column, Contract, read
from mlops.errors import Refusal
from mlops.workspace import Model

HEAD = (
    "import datetime as dt\nimport re\nfrom typing import Optional\nimport polars as pl\nimport pandera.polars as pa\n"
)
WHOLE = (
    HEAD
    + '''

class Contract(pa.DataFrameModel):
    """Orders of the shop."""

    number: int = pa.Field(ge=1, unique=True, description="Number", metadata={"role": "id"})
    day: dt.date = pa.Field(ge=dt.date(2020, 1, 1), metadata={"role": "time"})
    at: dt.datetime = pa.Field(le=dt.datetime(2030, 1, 1), metadata={"role": "context"})
    price: float = pa.Field(in_range={"min_value": 0, "max_value": 9, "include_max": False}, ne=3.5, nullable=True)
    kind: str = pa.Field(isin=["a", "b"], str_startswith="a", str_endswith="b", str_contains="x+", notin=["z"])
    code: str = pa.Field(str_matches="a|b", str_length={"min_value": 1, "max_value": 3}, metadata={"personal": True})
    paid: bool = pa.Field(eq=True)
    gift: Optional[int] = pa.Field(gt=0, lt=9)
    late: int = pa.Field(isin=[0, 1], metadata={"role": "target"})

    @pa.check("price")
    def rounded(cls, data):
        return data.lazyframe.select(pl.col(data.key) == pl.col(data.key).round(2))

    @pa.dataframe_check
    def paid_or_late(cls, data):
        return data.lazyframe.select(pl.col("paid") | (pl.col("late") == 1))

    class Config:
        strict = True
        unique = ["day", "kind"]
        metadata = {"owner": "@shop", "freshness_days": 3}
'''
)


def compiled(folder: Path, text: str) -> Contract:
    """The contract of that text, in a folder like a model's."""
    path = folder / "models" / "shop" / "contract.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return compile_contract(path, cache=None)


def test_everything_that_the_class_says_is_in_the_contract(tmp_path: Path) -> None:
    """Types, checks, roles, personal data, owner, freshness, descriptions, and what only pandera can run."""
    contract = compiled(tmp_path, WHOLE)
    assert (contract.owner, contract.freshness_days, contract.description) == ("@shop", 3, "Orders of the shop.")
    assert (contract.strict, contract.unique_together, contract.custom) == (True, (("day", "kind"),), ("paid_or_late",))
    assert [(column.name, column.dtype, column.role) for column in contract.columns] == [
        ("number", "int", "id"),
        ("day", "date", "time"),
        ("at", "datetime", "context"),
        ("price", "float", "feature"),
        ("kind", "str", "feature"),
        ("code", "str", "feature"),
        ("paid", "bool", "feature"),
        ("gift", "int", "feature"),
        ("late", "int", "target"),
    ]
    found = {column.name: column for column in contract.columns}
    assert found["number"].unique
    assert found["number"].description == "Number"
    assert found["day"].checks == (Check("ge", "2020-01-01"),)
    assert set(found["price"].checks) == {Check("ge", 0), Check("lt", 9), Check("ne", 3.5)}
    assert found["price"].nullable
    assert found["price"].custom == ("rounded",)
    assert found["code"].personal
    assert not found["gift"].required
    assert {check.kind for column in contract.columns for check in column.checks} == set(KINDS)
    assert [column.name for column in contract.features] == ["price", "kind", "code", "paid", "gift"]
    assert (contract.id, contract.time, contract.target) == (found["number"], found["day"], found["late"])
    assert contract.group is None


def test_the_contract_survives_its_file(tmp_path: Path) -> None:
    """What `contract.json` holds is the whole contract."""
    contract = compiled(tmp_path, WHOLE)
    assert Contract.from_json(json.loads(json.dumps(contract.to_json()))) == contract


def test_a_foreign_contract_file_is_refused(tumour: Model) -> None:
    """A missing or half contract.json names the command that writes it."""
    with pytest.raises(Refusal, match="does not exist"):
        read(tumour)
    tumour.json("contract").write_text('{"columns": [{"name": 1}]}', encoding="utf-8")
    with pytest.raises(Refusal, match=r"models/tumour/contract\.json"):
        read(tumour)


BROKEN = {
    "a conflict": ("import x\n" + "<" * 7 + " HEAD\n", "line 2, is a conflict that git left"),
    "not Python": ("class Contract(:\n", "line 1: SyntaxError"),
    "raises": (HEAD + "raise ValueError('many\\nlines')\n", "line 6: ValueError: many lines"),
    "leaves": ("import sys\nsys.exit(0)\n", "line 2: SystemExit"),
    "no class": (HEAD, "has no class Contract"),
    "another class": (HEAD + "class Contract: pass\n", "has no class Contract"),
    "unknown module": ("import nothing_like_it\n", "line 1: ModuleNotFoundError"),
    "unknown type": (HEAD + "class Contract(pa.DataFrameModel):\n    x: pl.Categorical\n", "column x has the type"),
    "unknown option": (HEAD + "class Contract(pa.DataFrameModel):\n    x: int = pa.Field(gee=1)\n", "contract.py"),
    "unknown role": (
        HEAD + "class Contract(pa.DataFrameModel):\n    x: int = pa.Field(metadata={'role': 'key'})\n",
        "column x has the role 'key'",
    ),
    "unknown metadata": (
        HEAD + "class Contract(pa.DataFrameModel):\n    x: int = pa.Field(metadata={'rol': 'id'})\n",
        "unknown key 'rol'",
    ),
    "two targets": (
        HEAD
        + "class Contract(pa.DataFrameModel):\n"
        + "    x: int = pa.Field(metadata={'role': 'target'})\n    y: int = pa.Field(metadata={'role': 'target'})\n",
        "gives the role target to x and y",
    ),
    "time as text": (
        HEAD + "class Contract(pa.DataFrameModel):\n    x: str = pa.Field(metadata={'role': 'time'})\n",
        "role time and the type str",
    ),
    "freshness without time": (
        HEAD + "class Contract(pa.DataFrameModel):\n    x: int\n    class Config:\n"
        "        metadata = {'freshness_days': 3}\n",
        "no time column",
    ),
    "freshness as text": (
        HEAD + "class Contract(pa.DataFrameModel):\n    x: int\n    class Config:\n"
        "        metadata = {'freshness_days': '3'}\n",
        "freshness_days is '3'",
    ),
    "look-around": (
        HEAD + "class Contract(pa.DataFrameModel):\n    x: str = pa.Field(str_matches='(?=a)')\n",
        "column x \\(str\\), str_matches",
    ),
    "a text pattern for a number": (
        HEAD + "class Contract(pa.DataFrameModel):\n    x: int = pa.Field(str_matches='a')\n",
        "column x \\(int\\), str_matches",
    ),
    "infinity": (HEAD + "class Contract(pa.DataFrameModel):\n    x: float = pa.Field(le=float('inf'))\n", "value inf"),
    "a pattern for names": (
        HEAD + "class Contract(pa.DataFrameModel):\n    x: int = pa.Field(alias='x.*', regex=True)\n",
        "is a pattern",
    ),
    "a default": (HEAD + "class Contract(pa.DataFrameModel):\n    x: int = pa.Field(default=1)\n", "changes data"),
    "no columns": (HEAD + "class Contract(pa.DataFrameModel):\n    pass\n", "has no columns"),
    "unknown column in unique": (
        HEAD + "class Contract(pa.DataFrameModel):\n    x: int\n    class Config:\n        unique = ['x', 'y']\n",
        "names y",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_contract_is_refused_in_a_line(case: str, tmp_path: Path) -> None:
    """It names the file and the error; no traceback, and no longer than two lines."""
    text, message = BROKEN[case]
    with pytest.raises(Refusal, match=message) as refusal:
        compiled(tmp_path, text)
    assert "models/shop/contract.py" in str(refusal.value)
    assert str(tmp_path) not in str(refusal.value)
    assert len(str(refusal.value).splitlines()) <= 2


def test_a_missing_contract_is_refused(tmp_path: Path) -> None:
    """The file that is missing is named."""
    with pytest.raises(Refusal, match=r"contract\.py does not exist"):
        compile_contract(tmp_path / "contract.py", cache=None)


def test_an_unchanged_contract_imports_no_pandera(tmp_path: Path) -> None:
    """The second time, the compiled contract comes out of the cache; a changed file is compiled again."""
    path, cache = tmp_path / "contract.py", tmp_path / "cache"
    path.write_text(WHOLE, encoding="utf-8")
    first = compile_contract(path, cache=cache)
    script = (
        "import sys; from pathlib import Path; from mlops.data.compile import compile_contract;"
        f"c = compile_contract(Path({str(path)!r}), cache=Path({str(cache)!r}));"
        "print(c.owner, *sorted({'pandera', 'polars', 'pandas', 'numpy'} & set(sys.modules)))"
    )

    def again() -> str:
        return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.strip()

    assert again() == "@shop"
    path.write_text(WHOLE.replace("@shop", "@store"), encoding="utf-8")
    assert again().startswith("@store")
    assert again() == "@store"
    for kept in cache.iterdir():
        kept.write_text("{", encoding="utf-8")
    path.write_text(WHOLE, encoding="utf-8")
    assert compile_contract(path, cache=cache) == first


def test_the_contract_module_needs_no_package() -> None:
    """Reports and the service read `contract.json` on a bare Python."""
    script = (
        "import sys, mlops.data.contract, mlops.data.card, mlops.data.compile;"
        "print(sorted({'pandera', 'polars', 'pandas', 'numpy', 'dvc'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_request_schema_says_what_the_contract_says(tmp_path: Path) -> None:
    """Features only: types, ranges, categories, patterns, missing values, and nothing that is not named."""
    schema = compiled(tmp_path, WHOLE).request_schema()
    assert schema["required"] == ["price", "kind", "code", "paid"]
    assert schema["additionalProperties"] is False
    assert set(schema["properties"]) == {"price", "kind", "code", "paid", "gift"}
    assert schema["properties"]["price"] == {
        "type": ["number", "null"],
        "minimum": 0,
        "exclusiveMaximum": 9,
        "not": {"const": 3.5},
    }
    assert schema["properties"]["gift"] == {"type": "integer", "exclusiveMinimum": 0, "exclusiveMaximum": 9}
    assert schema["properties"]["code"] == {"type": "string", "pattern": "^(?:a|b)", "minLength": 1, "maxLength": 3}


ROWS = {
    "good": ({"price": 1.0, "kind": "a", "code": "a", "paid": True}, True),
    "null where it may be": ({"price": None, "kind": "a", "code": "a", "paid": True}, True),
    "null where it may not": ({"price": 1, "kind": None, "code": "a", "paid": True}, False),
    "missing": ({"price": 1, "kind": "a", "code": "a"}, False),
    "unknown": ({"price": 1, "kind": "a", "code": "a", "paid": True, "x": 1}, False),
    "over the limit": ({"price": 9, "kind": "a", "code": "a", "paid": True}, False),
    "forbidden value": ({"price": 3.5, "kind": "a", "code": "a", "paid": True}, False),
    "unknown category": ({"price": 1, "kind": "c", "code": "a", "paid": True}, False),
    "wrong start": ({"price": 1, "kind": "a", "code": "ca", "paid": True}, False),
    "too long": ({"price": 1, "kind": "a", "code": "aaaa", "paid": True}, False),
    "not equal": ({"price": 1, "kind": "a", "code": "a", "paid": False}, False),
    "text for a number": ({"price": "1", "kind": "a", "code": "a", "paid": True}, False),
    "optional": ({"price": 1, "kind": "a", "code": "a", "paid": True, "gift": 3}, True),
    "optional out of range": ({"price": 1, "kind": "a", "code": "a", "paid": True, "gift": 9}, False),
}


@pytest.mark.parametrize("case", ROWS)
def test_a_validator_agrees_with_the_contract(case: str, tmp_path: Path) -> None:
    """An independent JSON-schema validator refuses the rows that break the contract, and only those."""
    row, good = ROWS[case]
    text = WHOLE.replace(', str_startswith="a", str_endswith="b", str_contains="x+"', "")
    schema = compiled(tmp_path, text).request_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    assert jsonschema.Draft202012Validator(schema).is_valid(row) == good


CHECK = {"passed": True, "rows": 1234, "as_of": "2026-07-01", "newest": "2026-06-30", "violations": []}


def test_the_data_card_names_owner_freshness_and_personal_data(tmp_path: Path) -> None:
    """Every column with its promises in words, and the rules over rows."""
    card = data_card(compiled(tmp_path, WHOLE), CHECK)
    for words in (
        "| Freshness | the newest row is at most 3 days old |",
        "| Personal data | `code` |",
        "1,234 up to 2026-07-01",
        "| `price` | float | feature |",
        "at least 0",
        "may be missing",
        "`paid_or_late`",
        "There are no other columns.",
    ):
        assert words in card
    assert sum(line.startswith("| `") for line in card.splitlines()) == 9


def test_text_in_the_data_card_is_harmless() -> None:
    """Mentions, HTML, images and broken tables that a contract holds show their characters and do nothing."""
    evil = "@admin <img src=x> ![a](http://x) | cell\n# heading"
    column = Column(name=evil, dtype="str", checks=(Check("isin", [evil]),), description=evil, custom=(evil,))
    contract = Contract(source="0" * 64, owner=evil, description=evil, freshness_days=None, columns=(column,))
    found = {"column": evil, "check": evil, "count": 3, "share": 0.5, "examples": []}
    card = data_card(contract, {**CHECK, "passed": False, "violations": [found]})
    assert "BROKEN" in card
    for bad in ("@admin", "<img", "![a]", "http://", "\n# heading"):
        assert bad not in card
    assert all(line.count("|") in (3, 5, 6) for line in card.splitlines() if line.startswith("|"))
