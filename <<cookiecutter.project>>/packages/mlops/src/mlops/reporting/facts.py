"""What a model's evidence says, read without trusting it: every report asks its questions here.

Evidence is the JSON that the gate writes. Any part of it may be null: the accessors give None or nothing then,
and never raise. `problem` says whether a value is evidence at all. Standard library only.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

VERDICTS = ("failed", "not evaluated", "passed")
"""All verdicts, the one that needs a person first."""

_INTERVAL = {"value": "number", "low": "number", "high": "number"}
_SCORES = {"*": "number"}
_OTHER = {"name": "text", "metrics": _SCORES, "difference": _INTERVAL}
_CONTRACT = {
    "owner": "text",
    "description": "text",
    "freshness_days": "number",
    "columns": [
        {
            "name": "text",
            "dtype": "text",
            "nullable": "flag",
            "unique": "flag",
            "personal": "flag",
            "role": "text",
            "description": "text",
            "checks": [{"kind": "text"}],
            "custom": ["text"],
        }
    ],
}
_EXPLANATION = {
    "method": "text",
    "metric": "text",
    "features": [{"feature": "text", "importance": "number", "std": "number"}],
    "shap": [{"feature": "text", "mean_absolute": "number"}],
}
_TIMES = {"p50": "number", "p95": "number"}
_COST = {"size_bytes": "number", "latency_ms": {"*": _TIMES}}
_SPENT = {
    "seconds": {"*": "number"},
    "minutes": "number",
    "kwh": "number",
    "kg_co2e": "number",
    "country": "text",
    "cost": "number",
}
_SHAPE: dict[str, Any] = {
    "model": "text",
    "task": "text",
    "owner": "text",
    "description": "text",
    "version": "text",
    "verdict": {
        "verdict": "text",
        "reasons": ["text"],
        "rules": [{"rule": "text", "outcome": "text", "sentence": "text"}],
    },
    "standing": "text",
    "comparison": {
        "champion": "text",
        "champion_commit": "text",
        "rows": "number",
        "rows_left_out": "number",
        "primary": "text",
        "metrics": {"*": {"champion": "number", "challenger": "number", "difference": _INTERVAL}},
        "slices": [
            {"name": "text", "rows": "number", "champion": "number", "challenger": "number", "difference": _INTERVAL}
        ],
    },
    "metrics": _SCORES,
    "evaluation": {
        "rows": "number",
        "primary": "text",
        "confidence": "number",
        "overall": {"*": _INTERVAL},
        "slices": [{"name": "text", "where": "text", "rows": "number", "metrics": {"*": _INTERVAL}}],
        "baseline": _OTHER,
        "linear": _OTHER,
        "calibration": {"bins": [{"predicted": "number", "observed": "number", "count": "number"}], "error": "number"},
        "sensitivity": [{"feature": "text", "change": "number"}],
        "fairness": [
            {
                "group": "text",
                "metric": "text",
                "by": [{"rows": "number", "score": "number"}],
                "gap": "number",
                "extra": _SCORES,
            }
        ],
        "curves": {"*": [["number"]]},
        "confusion": {"counts": [["number"]]},
        "residuals": [["number"]],
    },
    "training": {
        "folds": "number",
        "scores": {"*": {"mean": "number", "std": "number", "folds": ["number"]}},
    },
    "params": {"params": {"*": "any"}, "tuned": "flag", "candidates": "number", "score": "number"},
    "explanation": _EXPLANATION,
    "cost": _COST,
    "contract": _CONTRACT,
    "check": {
        "passed": "flag",
        "rows": "number",
        "newest": "text",
        "as_of": "text",
        "violations": [{"column": "text", "check": "text", "count": "number", "share": "number"}],
        "violations_left_out": "number",
    },
    "run": {"seconds": "number", "ran": ["text"], "lock_changed": "flag"},
    "spent": _SPENT,
    "budget": {"runner": "text", "price": "number"},
    "age": {
        "metric": "text",
        "sentence": "text",
        "first": "text",
        "last": "text",
        "margin": "number",
        "points": [{"days": "number", "loss": "number", "low": "number", "high": "number", "rows": "number"}],
        "recommended_days": "number",
        "alarm_days": "number",
    },
    "retrain": {"every_days": "number", "age_days": "number"},
    "planned": ["text"],
    "missing": "text",
    "lineage": {
        "commit": "text",
        "modified": "flag",
        "data": "text",
        "contract": "text",
        "params": {"*": "any"},
        "serving": "text",
    },
    "thresholds": {"margin": "number", "slice_margin": "number", "minimum_support": "number", "floors": _SCORES},
    "champion": {
        "version": "text",
        "commit": "text",
        "contract": _CONTRACT,
        "explanation": _EXPLANATION,
        "cost": _COST,
        "spent": _SPENT,
    },
    "drift": [{"column": "text", "psi": "number", "moved": "flag"}],
    "profiles": {"challenger": {"*": "any"}, "champion": {"*": "any"}},
}
_NAMES = {"text": "text", "number": "a number", "flag": "true or false", dict: "a table", list: "a list"}


def problem(evidence: Any) -> str | None:
    """Why `evidence` cannot be read, in a few words; None for evidence."""
    found = _mismatch(evidence, _SHAPE, "")
    if found:
        return found
    if not isinstance(evidence.get("model"), str):
        return "model is missing"
    verdict = (evidence.get("verdict") or {}).get("verdict")
    return None if verdict in VERDICTS else "verdict.verdict is none of " + ", ".join(VERDICTS)


def _mismatch(value: Any, shape: Any, where: str) -> str | None:
    """Where `value` first differs in type from `shape`; null fits everywhere but at the top."""
    if shape == "any" or (value is None and where):
        return None
    kind = type(shape) if isinstance(shape, dict | list) else shape
    fits = {
        "text": isinstance(value, str),
        "number": isinstance(value, int | float) and not isinstance(value, bool),
        "flag": isinstance(value, bool),
        dict: isinstance(value, dict),
        list: isinstance(value, list),
    }[kind]
    if not fits:
        return f"{where or 'the whole'} is not {_NAMES[kind]}"
    parts: Iterable[tuple[Any, Any, str]] = ()
    if isinstance(shape, list):
        parts = ((item, shape[0], f"{where}[{n}]") for n, item in enumerate(value))
    elif isinstance(shape, dict) and "*" in shape:
        # Free keys are data: they are not repeated in a message.
        parts = ((item, shape["*"], f"{where}.…") for item in value.values())
    elif isinstance(shape, dict):
        parts = ((value.get(key), inner, f"{where}.{key}".lstrip(".")) for key, inner in shape.items())
    return next((found for part in parts if (found := _mismatch(*part))), None)


def number(value: Any) -> float | None:
    """A finite number, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def table(value: Any) -> dict[str, Any]:
    """A dictionary, empty when `value` is none."""
    return value if isinstance(value, dict) else {}


def items(value: Any) -> list[Any]:
    """A list, empty when `value` is none."""
    return value if isinstance(value, list) else []


def word(value: Any) -> str | None:
    """A text that says something, or None."""
    return value if isinstance(value, str) and value else None


def rows(value: Any) -> list[dict[str, Any]]:
    """The dictionaries in a list."""
    return [one for one in items(value) if isinstance(one, dict)]


@dataclass(frozen=True)
class Interval:
    """A value with its confidence interval, any of the three None where unknown."""

    value: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def reading(self) -> str:
        """What a difference means, where positive is better."""
        if self.value is None:
            return "unknown"
        if self.low is not None and self.low > 0:
            return "better"
        if self.high is not None and self.high < 0:
            return "worse"
        return "no clear difference"


def interval(value: Any) -> Interval:
    """An interval out of evidence."""
    given = table(value)
    return Interval(number(given.get("value")), number(given.get("low")), number(given.get("high")))


def decimals(*values: float | None) -> int:
    """How many decimals show three or four digits that matter of the largest of `values`."""
    known = [abs(value) for value in values if value is not None]
    size = max(known, default=0.0)
    if size >= 1000 or all(value == int(value) for value in known):
        return 0
    return next(n for n, least in enumerate((100, 10, 1, 0.01, 0.001, 0), start=1) if size >= least)


def shown(value: Any, *, sign: bool = False, places: int | None = None) -> str:
    """A number for people: three or four digits that matter, thousands separated; a dash when unknown."""
    found = number(value)
    if found is None:
        return "\u2013"
    digits = decimals(found) if places is None else places
    tiny = found != 0 and abs(found) < 0.5 * 10**-digits and places is None
    form = ".2e" if tiny or abs(found) >= 1e15 else f",.{digits}f"
    return f"{found:{'+' if sign else ''}{form}}".replace("-", "\u2212")


def spread(value: Interval) -> str:
    """`low to high` of an interval, in brackets; empty when unknown."""
    if value.low is None or value.high is None:
        return ""
    places = decimals(value.value, value.low, value.high)
    return f"({shown(value.low, places=places)} to {shown(value.high, places=places)})"


def gain(value: Interval) -> str:
    """A difference in words: better or worse, by how much, how sure."""
    if value.value is None:
        return "\u2013"
    places = decimals(value.value, value.low, value.high)
    if value.reading == "no clear difference":
        return f"no clear difference: {shown(value.value, sign=True, places=places)} {spread(value)}".rstrip()
    ends = sorted(abs(end) for end in (value.low, value.high) if end is not None)
    sure = Interval(abs(value.value), ends[0], ends[1]) if len(ends) == 2 else Interval()
    return f"{value.reading} by {shown(abs(value.value), places=places)} {spread(sure)}".rstrip()


@dataclass(frozen=True, kw_only=True)
class Summary:
    """One model on one line: what was compared with what, and the verdict."""

    model: str
    verdict: str
    reasons: tuple[str, ...]
    metric: str | None
    against: str
    """What the new version is compared with: `champion`, `baseline` or `nothing`."""
    other: float | None
    challenger: float | None
    difference: Interval
    standing: str
    missing: str
    """Why there is no evidence of a model that the plan asked for: `data`, `cut off`; empty when there is some."""


STANDINGS = {
    "first": "First version: there is no champion yet, so it is compared with the baseline only.",
    "reset": "model.toml sets the champion aside, so this version is compared with the baseline only.",
    "compared": "",
    "incomparable": "Not compared with the champion: the rules say why.",
    "unknown": "The champion is not known, so nothing was compared with it: the rules say why.",
}
"""How a version can stand to a champion, and what a reader must know about each."""


def standing(evidence: dict[str, Any]) -> str:
    """How the version stands to the champion, one of `STANDINGS`; never `first` unless the gate says so."""
    given = evidence.get("standing")
    if isinstance(given, str) and given in STANDINGS:
        return given
    if evidence.get("comparison"):
        return "compared"
    return "incomparable" if evidence.get("champion") else "unknown"


def summary(evidence: dict[str, Any]) -> Summary:
    """The line of one model."""
    verdict, evaluation = table(evidence.get("verdict")), table(evidence.get("evaluation"))
    comparison, baseline = table(evidence.get("comparison")), table(evaluation.get("baseline"))
    metric = word(comparison.get("primary")) or word(evaluation.get("primary"))
    stands = standing(evidence)
    compared = table(table(comparison.get("metrics")).get(metric)) if metric else {}
    against, other, challenger, difference = "nothing", None, None, Interval()
    if comparison:
        against, other, challenger = "champion", compared.get("champion"), compared.get("challenger")
        difference = interval(compared.get("difference"))
    elif stands in ("first", "reset") and baseline and metric:
        against, other = "baseline", table(baseline.get("metrics")).get(metric)
        difference = interval(baseline.get("difference"))
    if challenger is None and metric:
        challenger = table(evidence.get("metrics")).get(metric)
    said = verdict.get("verdict")
    return Summary(
        model=str(evidence.get("model")),
        verdict=said if said in VERDICTS else "not evaluated",
        reasons=tuple(str(reason) for reason in items(verdict.get("reasons")) if reason),
        metric=metric,
        against=against,
        other=number(other),
        challenger=number(challenger),
        difference=difference,
        standing=stands,
        missing=word(evidence.get("missing")) or "",
    )


def answer(summary: Summary) -> str:
    """Is it better, in a few words."""
    if summary.missing:
        return "not measured"
    if summary.difference.value is None:
        return {"first": "first version", "reset": "champion set aside"}.get(summary.standing, "not compared")
    if summary.standing in ("first", "reset"):
        return f"{gain(summary.difference)} than the baseline"
    return gain(summary.difference)


def headline(summaries: Sequence[Summary]) -> str:
    """What a reader must know first, in one line; `summaries` in the order of `order`."""
    first = summaries[0]
    if len(summaries) > 1:
        if first.verdict == "passed":
            return f"All {len(summaries):,} models passed"
        counts = [(verdict, sum(one.verdict == verdict for one in summaries)) for verdict in VERDICTS]
        told = ", ".join(f"{count:,} {verdict}" for verdict, count in counts if count)
        return f"Blocked: of {len(summaries):,} models, {told}"
    name, reading = first.model[:60], first.difference.reading
    than = {
        "better": f"better than the {first.against}",
        "worse": f"worse than the {first.against}",
        "no clear difference": f"no clear difference from the {first.against}",
        "unknown": "",
    }[reading]
    if first.verdict == "passed":
        found = "slightly worse, within the allowed margin" if reading == "worse" else than
        return f"{name} passed{': ' if found else ''}{found}"
    if first.verdict == "failed":
        # A model can be better on the whole and still break a rule; the reasons say which.
        found = than if reading in ("worse", "unknown") else f"{than}, but a rule failed"
        return f"{name} is blocked{': ' if found else ''}{found}"
    if first.missing == "data":
        return f"{name} is blocked: its data breaks the contract"
    return f"{name} is blocked: it could not be judged, and unknown is not a pass"


def order(evidence: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Models as a reader needs them: failed, not evaluated, passed; by name within each."""
    return sorted(evidence, key=lambda one: (VERDICTS.index(summary(one).verdict), str(one.get("model"))))


def rules(evidence: dict[str, Any]) -> list[dict[str, Any]]:
    """The gate's rules, those that closed it first."""
    outcomes = ("failed", "not evaluated", "passed")
    found = rows(table(evidence.get("verdict")).get("rules"))
    return sorted(found, key=lambda one: outcomes.index(one["outcome"]) if one.get("outcome") in outcomes else 3)


@dataclass(frozen=True)
class Change:
    """One difference between two data contracts: the column, what kind of change, and how it read and reads."""

    column: str
    what: str
    before: str = ""
    after: str = ""


def contract_changes(before: Any, after: Any) -> list[Change]:
    """What the new version does to the data contract, in the contract's order; removed columns last."""
    old = {str(column.get("name")): column for column in rows(table(before).get("columns"))}
    new = {str(column.get("name")): column for column in rows(table(after).get("columns"))}
    found: list[Change] = []
    for name, column in new.items():
        if name not in old:
            found.append(Change(name, "column added", "", described(column)))
        elif old[name] != column:
            found += _column_changes(name, old[name], column)
    found += [Change(name, "column removed", described(column), "") for name, column in old.items() if name not in new]
    whole = (
        ("freshness_days", "freshness in days"),
        ("owner", "owner"),
        ("strict", "other columns are violations"),
        ("unique_together", "unique together"),
        ("custom", "checks over whole rows"),
    )
    for key, what in whole:
        one, two = table(before).get(key), table(after).get(key)
        if one != two and before and after:
            found.append(Change("", what, _word(one), _word(two)))
    return found


def _column_changes(name: str, old: dict[str, Any], new: dict[str, Any]) -> list[Change]:
    found = []
    for key, what in (("dtype", "type"), ("role", "role")):
        if old.get(key) != new.get(key):
            found.append(Change(name, what, _word(old.get(key)), _word(new.get(key))))
    flags = (
        ("nullable", "may be empty", False),
        ("required", "must be there", True),
        ("unique", "unique", False),
        ("personal", "personal data", False),
    )
    for key, what, usual in flags:
        before, after = bool(old.get(key, usual)), bool(new.get(key, usual))
        if before != after:
            found.append(Change(name, what, _word(before), _word(after)))
    if limits(old) != limits(new):
        found.append(Change(name, "values", limits(old), limits(new)))
    if old.get("description") != new.get("description"):
        found.append(Change(name, "description", _word(old.get("description")), _word(new.get("description"))))
    return found


def described(column: dict[str, Any]) -> str:
    """A column in a few words."""
    words = [_word(column.get("dtype")), _word(column.get("role")), limits(column)]
    words += ["personal data"] if column.get("personal") else []
    return ", ".join(word for word in words if word)


def limits(column: dict[str, Any]) -> str:
    """What a contract demands of a column's values, in mathematical signs where there are any."""
    signs = {
        "ge": "\u2265",
        "gt": ">",
        "le": "\u2264",
        "lt": "<",
        "eq": "=",
        "ne": "\u2260",
        "isin": "one of",
        "notin": "none of",
    }
    said = []
    for check in rows(column.get("checks"))[:20]:
        kind = _word(check.get("kind"))
        said.append(f"{signs.get(kind, kind.replace('_', ' '))} {_word(check.get('value'))}")
    said += [_word(name) for name in items(column.get("custom"))[:20]]
    return " and ".join(said)


def _word(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return shown(value)
    if isinstance(value, list):
        return ", ".join(_word(one) for one in value[:20]) + (", …" if len(value) > 20 else "")
    return str(value)[:1000]


def importances(evidence: dict[str, Any]) -> list[tuple[str, float, float | None]]:
    """(feature, importance, the champion's importance or None), the most important first."""
    old = {
        str(one.get("feature")): number(one.get("importance"))
        for one in rows(table(table(evidence.get("champion")).get("explanation")).get("features"))
    }
    found = [
        (str(one.get("feature")), value, old.get(str(one.get("feature"))))
        for one in rows(table(evidence.get("explanation")).get("features"))
        if (value := number(one.get("importance"))) is not None
    ]
    return sorted(found, key=lambda one: -one[1])


def drift(evidence: dict[str, Any]) -> list[tuple[str, float, bool]]:
    """(column, PSI, whether it counts as moved), the most moved first."""
    found = [
        (str(one.get("column")), psi, bool(one.get("moved")))
        for one in rows(evidence.get("drift"))
        if (psi := number(one.get("psi"))) is not None
    ]
    return sorted(found, key=lambda one: -one[1])


def ages(evidence: dict[str, Any]) -> list[tuple[float, Interval, float | None]]:
    """(days, how much worse a model is that is older by them, rows it was measured on), the youngest first."""
    return [
        (days, loss, number(one.get("rows")))
        for one in rows(table(evidence.get("age")).get("points"))
        for loss in [interval({"value": one.get("loss"), "low": one.get("low"), "high": one.get("high")})]
        if (days := number(one.get("days"))) is not None and loss.value is not None
    ]


def violations(evidence: dict[str, Any]) -> list[tuple[str, str, float | None, float | None]]:
    """(column, check, rows, share of all rows) of what breaks the data contract, in the contract's order.

    Values of the data are never among them: a check names what should be, not what is.
    """
    return [
        (str(one.get("column")), str(one.get("check")), number(one.get("count")), number(one.get("share")))
        for one in rows(table(evidence.get("check")).get("violations"))
    ]


CUT_OFF = "There is no evidence: the job was cut off or failed before the gate; see its log."
"""What is known of a model that left nothing."""


def unmeasured(model: str, *, reasons: Sequence[str], check: Any, because: str = CUT_OFF) -> dict[str, Any]:
    """What stands for the evidence of a model that the plan asked for and that left none; `check` is its check.json.

    A broken contract is the reason when the check says so, otherwise `because` is.
    """
    one: dict[str, Any] = {"model": model, "planned": list(reasons), "missing": "cut off", "check": check}
    if problem(one | {"verdict": {"verdict": "not evaluated"}}):
        one["check"] = None
    found = violations(one)
    said = [because]
    if found and table(one["check"]).get("passed") is False:
        one["missing"] = "data"
        said = [f"The data breaks its contract: {told(*broken)}." for broken in found[:_NAMED]]
        more = len(found) - _NAMED + int(number(one["check"].get("violations_left_out")) or 0)
        said += [f"{more:,} more checks are broken."] if more > 0 else []
    return one | {"verdict": {"verdict": "not evaluated", "reasons": said, "rules": []}}


_NAMED = 2
"""Broken checks that are reasons by themselves; the others are counted."""


def told(column: str, check: str, count: float | None, share: float | None) -> str:
    """One broken check in words."""
    part = f" ({shown(share * 100)} %)" if share is not None else ""
    return f"{column}: {check} is broken in {shown(count)} {'row' if count == 1 else 'rows'}{part}"


def costs(evidence: dict[str, Any]) -> list[tuple[str, float | None, float | None, str]]:
    """(what, champion, challenger, unit) for what a version needs and what making it took.

    Rows that neither version has are left out. What making it took is of the version: the run that shows it may have
    trained nothing.
    """
    champion = table(evidence.get("champion"))
    new, old = table(evidence.get("cost")), table(champion.get("cost"))
    found: list[tuple[str, float | None, float | None, str]] = [
        ("Size", _scaled(old.get("size_bytes")), _scaled(new.get("size_bytes")), "MB")
    ]
    for key, what in (("rows_1", "One row"), ("rows_1000", "1,000 rows")):
        for quantile, name in (("p50", "half of the calls within"), ("p95", "95 % of the calls within")):
            one, two = (table(table(each.get("latency_ms")).get(key)).get(quantile) for each in (old, new))
            found.append((f"{what}, {name}", number(one), number(two), "ms"))
    before, after = table(champion.get("spent")), table(evidence.get("spent"))
    price = number(table(evidence.get("budget")).get("price"))
    found += [
        _in_unit("Making it", before.get("minutes"), after.get("minutes"), (("minutes", 1), ("seconds", 60))),
        (f"Making it, at {price or 0:g} a minute", number(before.get("cost")), number(after.get("cost")), ""),
        _in_unit("Energy, estimated", before.get("kwh"), after.get("kwh"), (("kWh", 1), ("Wh", 1e3))),
        _in_unit("CO2e, estimated", before.get("kg_co2e"), after.get("kg_co2e"), (("kg", 1), ("g", 1e3))),
    ]
    run = table(evidence.get("run"))
    if run.get("ran") or not after:
        seconds = number(run.get("seconds"))
        minutes = None if seconds is None else seconds / 60
        found.append(_in_unit("The pipeline in this run", None, minutes, (("minutes", 1), ("seconds", 60))))
    return [one for one in found if one[1] is not None or one[2] is not None]


def _in_unit(
    what: str, before: Any, after: Any, units: Sequence[tuple[str, float]]
) -> tuple[str, float | None, float | None, str]:
    """Two amounts in the first of the units (name, how many make one of the first) in which one of them reaches 1."""
    one, two = number(before), number(after)
    most = max((value for value in (one, two) if value is not None), default=0.0)
    unit, many = next((unit for unit in units if most * unit[1] >= 1), units[-1])
    return what, None if one is None else one * many, None if two is None else two * many, unit


def _scaled(size: Any) -> float | None:
    found = number(size)
    return None if found is None else found / 1e6


def ratio(before: float | None, after: float | None) -> str:
    """How much bigger or smaller, in per cent."""
    if before is None or after is None or before <= 0:
        return ""
    change = (after / before - 1) * 100
    return "the same" if abs(change) < 0.5 else f"{shown(change, sign=True, places=0)} %"
