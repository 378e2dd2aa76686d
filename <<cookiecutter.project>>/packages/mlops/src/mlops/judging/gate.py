"""May the challenger be promoted? Pure rules over values; each gives a finding, together they give the verdict.

Unknown is not a pass: one failed rule fails the verdict, one that could not be evaluated keeps it from passing.
A rule that asks nothing in this case (a first model has no champion) is `not applied` and says so.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from mlops.config import Budget, Gate
from mlops.judging.compare import Comparison, Pair
from mlops.judging.plausible import Arrivals
from mlops.learning.metrics import METRICS

Outcome = Literal["passed", "failed", "not evaluated", "not applied"]


@dataclass(frozen=True)
class Finding:
    """What one rule found, in a whole sentence with its numbers."""

    rule: str
    outcome: Outcome
    sentence: str


@dataclass(frozen=True)
class Verdict:
    """The verdict, the sentences that decided it, and every rule's finding."""

    verdict: Literal["passed", "failed", "not evaluated"]
    reasons: tuple[str, ...]
    rules: tuple[Finding, ...]

    def to_json(self) -> dict[str, Any]:
        """The `verdict` of the evidence."""
        return {
            "verdict": self.verdict,
            "reasons": list(self.reasons),
            "rules": [{"rule": one.rule, "outcome": one.outcome, "sentence": one.sentence} for one in self.rules],
        }


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How the challenger stands to a champion: `compared`, or why it is not.

    `first`: there is none yet. `reset`: `model.toml` sets it aside. `unknown`: it could not be found or fetched.
    `incomparable`: it cannot predict these rows, or predicts something else.
    """

    kind: Literal["first", "reset", "compared", "unknown", "incomparable"]
    because: str = ""
    version: str = ""


@dataclass(frozen=True, kw_only=True)
class Case:
    """Everything that the rules look at."""

    gate: Gate
    metrics: tuple[str, ...]
    """The metrics of `[evaluate]`; the first one is compared."""
    slices: tuple[str, ...]
    confidence: float
    stale: str
    """Why the evaluation is not one of this export from these inputs, in a sentence; empty when it is."""
    check: Mapping[str, Any] | None
    evaluation: Mapping[str, Any]
    standing: Standing
    comparison: Comparison | None
    arrivals: Arrivals
    used: frozenset[str]
    """The columns of `gate.accept` whose reason the champion has used."""
    budget: Budget
    spent: Mapping[str, Any] | None
    """What the stages took together; None where it is not known."""

    @property
    def primary(self) -> str:
        """The metric that is compared."""
        return self.metrics[0]


Found = tuple[Outcome, str]


def judge(case: Case) -> Verdict:
    """The verdict on a challenger; never raises for numbers that are missing or not finite."""
    rules = tuple(Finding(name, *rule(case)) for name, rule in RULES.items())
    outcomes = {one.outcome for one in rules}
    if "failed" in outcomes:
        return Verdict("failed", _sentences(rules, {"failed", "not evaluated"}), rules)
    if "not evaluated" in outcomes:
        return Verdict("not evaluated", _sentences(rules, {"not evaluated"}), rules)
    return Verdict("passed", _sentences(rules, {"passed", "not applied"}), rules)


def _sentences(rules: Iterable[Finding], outcomes: set[str]) -> tuple[str, ...]:
    kept = [one for one in rules if one.outcome in outcomes]
    # What failed is read first.
    return tuple(dict.fromkeys(one.sentence for one in sorted(kept, key=lambda one: one.outcome != "failed")))


def _current(case: Case) -> Found:
    """The evaluation is of this export, and the export is made from these inputs."""
    if case.stale:
        return "not evaluated", case.stale
    return "passed", "The evaluation is of this export, made from these inputs."


def _contract(case: Case) -> Found:
    """The data kept its contract."""
    check = case.check or {}
    if check.get("passed") is True:
        return "passed", f"The data contract holds on {_rows(check.get('rows'))}."
    if check.get("passed") is False:
        violations = check.get("violations") or [{}]
        first = violations[0]
        return "failed", (
            f"The data contract is broken: {len(violations)} check(s), first {first.get('check')} "
            f"on {first.get('column')} in {_rows(first.get('count'))}."
        )
    return "not evaluated", "The data contract was not checked."


def _plausible(case: Case) -> Found:
    """The world can have made the rows that arrived, or a person says why it did."""
    arrivals = case.arrivals
    counting = {name: why for name, why in case.gate.accept.items() if name not in case.used}
    doubts = [one for one in arrivals.doubts if one.about not in counting]
    accepted = [
        f"{one.sentence} Accepted in model.toml: {counting[one.about]}"
        for one in arrivals.doubts
        if one.about in counting
    ]
    if doubts:
        said = [one.sentence for one in doubts]
        names = list(dict.fromkeys(one.about for one in doubts))
        used = [name for name in names if name in case.used]
        if used:
            said.append(f"What model.toml accepts of {', '.join(used)} was used by the champion and no longer counts.")
        keys = ", ".join(f'{name} = "…"' for name in names)
        # What to do comes first: a report may cut a long sentence.
        return (
            "failed",
            f"Mend the source, or say in [gate.accept] of model.toml why it is right ({keys}): {' '.join(said)}",
        )
    if case.standing.kind == "unknown":
        return _comparable(case)
    if arrivals.because:
        return "not evaluated", f"Whether the data is plausible is not known: {arrivals.because.rstrip('.')}."
    if case.standing.kind in ("first", "reset"):
        found = (
            "No feature tells the target alone and no rows are repeated; there is no champion's data to hold them to."
        )
    elif arrivals.rows is None:
        found = "All rows together are plausible; which of them are newer than the champion's data is not known."
    elif arrivals.rows == 0:
        found = "No row is newer than the champion's data."
    else:
        is_one = arrivals.rows == 1
        found = f"{_rows(arrivals.rows)} newer than the champion's data {'is' if is_one else 'are'} plausible."
    return "passed", " ".join([found, *accepted])


def _measured(case: Case) -> Found:
    """Every metric that `model.toml` names has a value, and the first one an interval."""
    overall = _table(case.evaluation.get("overall"))
    missing = [name for name in case.metrics if _number(_table(overall.get(name)).get("value")) is None]
    if missing:
        return "not evaluated", f"The evaluation has no value of {', '.join(missing)} on the holdout."
    first = _table(overall[case.primary])
    low, high = _number(first.get("low")), _number(first.get("high"))
    if low is None or high is None:
        return "not evaluated", f"The evaluation has no interval of {case.primary} on the holdout."
    rows = case.evaluation.get("rows")
    return "passed", (
        f"{case.primary} is {_shown(first['value'])} on {_rows(rows)} of the holdout ({_interval(case, low, high)})."
    )


def _floors(case: Case) -> Found:
    """No metric is beyond its floor."""
    if not case.gate.floors:
        return "not applied", "No floors are set."
    beyond, unknown, held = [], [], []
    for name, floor in case.gate.floors.items():
        value = _number(_table(_table(case.evaluation.get("overall")).get(name)).get("value"))
        if value is None:
            unknown.append(f"{name} has no value to hold against its floor of {_shown(floor)}.")
        elif (value < floor) if METRICS[name].greater_is_better else (value > floor):
            side = "below" if METRICS[name].greater_is_better else "above"
            beyond.append(f"{name} is {_shown(value)}, {side} its floor of {_shown(floor)}.")
        else:
            held.append(f"{name} {_shown(value)} (floor {_shown(floor)})")
    if beyond or unknown:
        return "failed" if beyond else "not evaluated", " ".join(beyond + unknown)
    return "passed", f"Every floor holds: {', '.join(held)}."


def _baseline(case: Case) -> Found:
    """The dumb baseline is beaten, beyond doubt."""
    baseline = _table(case.evaluation.get("baseline"))
    difference = _table(baseline.get("difference"))
    value, low, high = (_number(difference.get(key)) for key in ("value", "low", "high"))
    if value is None or low is None or high is None:
        return "not evaluated", f"The baseline was not compared in {case.primary}."
    said = f"{_shown(abs(value))} {'better' if value > 0 else 'worse'} than the baseline"
    if low > 0:
        return "passed", f"{case.primary} is {said} ({_interval(case, low, high)})."
    return "failed", (
        f"{case.primary} is {said} ({_interval(case, low, high)}); the whole interval must be better than 0."
    )


def _comparable(case: Case) -> Found:
    """The champion is known, it can predict these rows, and there are enough that it was not trained on."""
    standing, comparison = case.standing, case.comparison
    match standing.kind:
        case "first":
            return "not applied", "This is the first version of the model: it is compared with the baseline only."
        case "reset":
            return "not applied", f"The champion is set aside in model.toml: {standing.because}"
        case "unknown":
            return "not evaluated", f"{standing.because.rstrip('.')}."
        case "incomparable":
            return "not evaluated", (
                f"The champion {standing.version} cannot be compared: {standing.because.rstrip('.')}. "
                'To start anew, set champion = "reset" and a reason in [gate] of model.toml.'
            )
    if comparison is None:
        return "not evaluated", f"The champion {standing.version} was not compared."
    least = case.gate.minimum_support
    left_out = f"{comparison.rows_left_out} more are left out because the champion may have been trained on them"
    if comparison.rows < least:
        return "not evaluated", (
            f"Only {_rows(comparison.rows)} {'is' if comparison.rows == 1 else 'are'} common to champion and "
            f"challenger, at least {least} are needed; {left_out}."
        )
    return "passed", (
        f"Champion {standing.version} and challenger are compared on the same {_rows(comparison.rows)}"
        + (f"; {left_out}." if comparison.rows_left_out else ".")
        + (f" {standing.because}" if standing.because else "")
    )


def _champion(case: Case) -> Found:
    """The challenger is not worse than the champion by more than the margin, beyond doubt."""
    if case.comparison is None or _comparable(case)[0] != "passed":
        return _without_champion(case)
    pair = case.comparison.metrics.get(case.primary)
    return _not_worse(case, pair, margin=case.gate.margin, where="")


def _slices(case: Case) -> Found:
    """The same for each slice that has enough rows."""
    if not case.slices:
        return "not applied", "No slices are set."
    if case.comparison is None or _comparable(case)[0] != "passed":
        return _without_champion(case)
    parts = {part.name: part for part in case.comparison.slices}
    found: list[Found] = []
    small = []
    for name in case.slices:
        part = parts.get(name)
        if part is None:
            found.append(("not evaluated", f"The slice {name!r} was not compared."))
        elif part.rows < case.gate.minimum_support:
            small.append(f"{name!r} ({_rows(part.rows)})")
        else:
            where = f" in the slice {name!r} ({_rows(part.rows)})"
            found.append(_not_worse(case, part.pair, margin=case.gate.slice_margin, where=where))
    for outcome in ("failed", "not evaluated"):
        sentences = [sentence for one, sentence in found if one == outcome]
        if sentences:
            return outcome, " ".join(sentences)
    unjudged = f" Too small to judge: {', '.join(small)}." if small else ""
    if not found:
        return "not applied", f"No slice has the {case.gate.minimum_support} rows needed.{unjudged}"
    return "passed", f"{len(found)} slice(s) are not worse by more than {_shown(case.gate.slice_margin)}.{unjudged}"


def _budget(case: Case) -> Found:
    """Making it took no more than `[budget]` allows, and what is limited was measured."""
    spent, budget = _table(case.spent), case.budget
    again = "train it again where dvc.yaml lists spent/STAGE.json among the metrics of each stage"
    energy = "add mlops[carbon] to the dependencies of the model and train it again, or set the limit to 0"
    beyond, unknown, held = [], [], []
    for key, limit, unit, way in (
        ("minutes", budget.minutes, " minutes", again),
        ("cost", budget.cost, f" (at {budget.price:g} a minute)", again),
        ("kwh", budget.kwh, " kWh (an estimate)", energy),
    ):
        used = _number(spent.get(key))
        if not limit:
            continue
        if used is None:
            unknown.append(f"budget.{key} is {limit:g}, and what making it took is not known: {way}.")
        elif used > limit:
            beyond.append(f"Making it took {_shown(used)}{unit}, and budget.{key} is {limit:g}.")
        else:
            held.append(f"{_shown(used)}{unit} of {limit:g}")
    if beyond:
        beyond.append("Make it with less (candidates, folds, rows), or raise the limit in model.toml and say why.")
    if beyond or unknown:
        return "failed" if beyond else "not evaluated", " ".join(beyond + unknown)
    return "passed", f"Making it took {', '.join(held)}."


RULES: dict[str, Callable[[Case], Found]] = {
    "current": _current,
    "contract": _contract,
    "plausible": _plausible,
    "measured": _measured,
    "floors": _floors,
    "baseline": _baseline,
    "comparable": _comparable,
    "champion": _champion,
    "slices": _slices,
    "budget": _budget,
}


def _without_champion(case: Case) -> Found:
    """What a rule about the champion says when there is nothing to compare with."""
    outcome, sentence = _comparable(case)
    return ("not evaluated", sentence) if outcome == "passed" else (outcome, sentence)


def _not_worse(case: Case, pair: Pair | None, *, margin: float, where: str) -> Found:
    """Non-inferiority: the lower end of the paired interval is above `-margin`."""
    name = case.primary
    if pair is None:
        return "not evaluated", f"{name} was not compared{where}."
    value, low, high = (_number(one) for one in (pair.difference.value, pair.difference.low, pair.difference.high))
    if value is None or low is None or high is None:
        return "not evaluated", f"The difference in {name}{where} has no value: it has no meaning on these rows."
    up = (value > 0) == METRICS[name].greater_is_better
    moved = f"{name} {'rose' if up else 'fell'} by {_shown(abs(value))}{where}" if value else f"{name} is equal{where}"
    range_ = _interval(case, low, high) + ("" if METRICS[name].greater_is_better else ", positive is better")
    if low > -margin:
        return "passed", f"{moved} ({range_}); at most {_shown(margin)} worse is allowed."
    if value > -margin:
        return "failed", (
            f"{moved} ({range_}); at most {_shown(margin)} worse is allowed, and these rows cannot rule out more."
        )
    return "failed", f"{moved} ({range_}); at most {_shown(margin)} is allowed."


def _interval(case: Case, low: float, high: float) -> str:
    return f"{case.confidence * 100:.4g} % interval {_shown(low)} to {_shown(high)}"


def _rows(count: Any) -> str:
    """How many rows, for a sentence."""
    return f"{count} row" if count == 1 else f"{count} rows"


def _shown(value: float) -> str:
    """A number for a sentence: three decimals for shares, three digits for large and for tiny values."""
    if value == 0 or 0.001 <= abs(value) < 10:
        return f"{value:.3f}"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def _number(value: Any) -> float | None:
    """A finite number, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
