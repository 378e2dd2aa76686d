"""What is this data, who answers for it, and what is promised about it? The data card, `DATA.md`.

Pure: the contract and what the check found go in, Markdown comes out. Standard library only. All text out of the
contract is neutralised, because it is shown on GitHub.
"""

import json
from collections.abc import Mapping
from typing import Any

from mlops.data.contract import Check, Column, Contract
from mlops.reporting.neutral import code, text

_WORDS = {
    "ge": "at least",
    "gt": "more than",
    "le": "at most",
    "lt": "less than",
    "eq": "equal to",
    "ne": "not",
    "isin": "one of",
    "notin": "none of",
    "str_matches": "starts with a match of",
    "str_contains": "contains a match of",
    "str_startswith": "starts with",
    "str_endswith": "ends with",
}
VALUES = 12
"""Most values of a list that are named."""


def data_card(contract: Contract, check: Mapping[str, Any]) -> str:
    """The text of `DATA.md`; `check` is the value of `check.json`."""
    personal = [column.name for column in contract.columns if column.personal]
    fresh = contract.freshness_days
    days = "day" if fresh == 1 else "days"
    facts = [
        ("Owner", text(contract.owner) if contract.owner else "not named"),
        ("Rows", f"{check['rows']:,} up to {text(check['as_of'])}"),
        ("Newest row", text(check["newest"]) if check.get("newest") else "not known (no time column)"),
        ("Freshness", "no promise" if fresh is None else f"the newest row is at most {fresh} {days} old"),
        ("Contract", f"{'kept' if check['passed'] else 'BROKEN'} ({code(contract.source[:12])})"),
        ("Personal data", ", ".join(code(name) for name in personal) or "none is declared"),
    ]
    lines = [
        "# Data card",
        "",
        "Written by `mlops` from `contract.py` and the last check; change those, not this file.",
        "",
        text(contract.description, limit=1000) if contract.description else "The contract has no description.",
        "",
        "| | |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in facts),
        "",
        "## Columns",
        "",
        "| Column | Type | Role | Promise | Description |",
        "|---|---|---|---|---|",
        *(_row(column) for column in contract.columns),
        "",
    ]
    rules = [f"- {', '.join(code(name) for name in names)} occur together once." for names in contract.unique_together]
    rules += [f"- {code(name)}, a rule of our own over whole rows (see `contract.py`)." for name in contract.custom]
    if contract.strict:
        rules.append("- There are no other columns.")
    if rules:
        lines += ["## Rules over rows", "", *rules, ""]
    if check["violations"]:
        lines += ["## Violations", "", "| Column | Check | Rows | Share |", "|---|---|---:|---:|"]
        lines += [
            f"| {text(one['column'])} | {text(one['check'])} | {one['count']:,} | {one['share']:.2%} |"
            for one in check["violations"]
        ]
        if check.get("violations_left_out"):
            lines.append(f"| … | {check['violations_left_out']} more | | |")
        lines.append("")
    return "\n".join(lines)


def _row(column: Column) -> str:
    promises = [_promise(check) for check in column.checks]
    promises += [f"keeps {code(name)}" for name in column.custom]
    promises += ["unique"] if column.unique else []
    promises += ["may be missing"] if column.nullable else []
    promises += ["may be left out"] if not column.required else []
    role = f"{column.role}, personal" if column.personal else column.role
    return (
        f"| {code(column.name)} | {column.dtype} | {role} | {'; '.join(promises)} | "
        f"{text(column.description, limit=300) if column.description else ''} |"
    )


def _promise(check: Check) -> str:
    """A check in words."""
    if check.kind == "str_length":
        least, most = check.value
        if least == most:
            return f"{least} characters long"
        bounds = [f"at least {least}" if least is not None else "", f"at most {most}" if most is not None else ""]
        return f"{' and '.join(part for part in bounds if part)} characters long"
    values = check.value if isinstance(check.value, list) else [check.value]
    shown = ", ".join(text(json.dumps(value, ensure_ascii=False), limit=60) for value in values[:VALUES])
    more = f" and {len(values) - VALUES} more" if len(values) > VALUES else ""
    return f"{_WORDS[check.kind]} {shown}{more}"
