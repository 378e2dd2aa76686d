"""The rules of the gate: each is shown to close, unknown is never a pass, and the odds are what they promise."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops.config import Budget, Gate
from mlops.judging import gate
from mlops.judging.compare import Comparison, Pair, Part, compare
from mlops.judging.gate import RULES, Case, Standing, Verdict, judge
from mlops.judging.plausible import Arrivals, Doubt
from mlops.learning.bootstrap import Interval
from mlops.learning.metrics import METRICS

RULES_OF_MODEL = Gate(margin=0.01, slice_margin=0.05, minimum_support=30, floors={"roc_auc": 0.9, "log_loss": 0.5})


def pair(value: float = 0.0, low: float = -0.005, high: float = 0.005) -> Pair:
    return Pair(champion=0.95, challenger=0.95 + value, difference=Interval(value, low, high))


def comparison(*, rows: int = 200, primary: Pair | None = None, parts: tuple[Part, ...] | None = None) -> Comparison:
    if parts is None:
        parts = (Part(name="young", rows=90, pair=pair()), Part(name="old", rows=110, pair=pair()))
    return Comparison(
        rows=rows,
        rows_left_out=0,
        primary="roc_auc",
        metrics={"roc_auc": primary or pair(), "log_loss": pair()},
        slices=parts,
    )


def evaluation(**changes: Any) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "rows": 200,
        "primary": "roc_auc",
        "overall": {
            "roc_auc": {"value": 0.95, "low": 0.93, "high": 0.97},
            "log_loss": {"value": 0.3, "low": 0.2, "high": 0.4},
        },
        "baseline": {"name": "prior", "metrics": {}, "difference": {"value": 0.45, "low": 0.4, "high": 0.5}},
    }
    return facts | changes


GOOD = Case(
    gate=RULES_OF_MODEL,
    metrics=("roc_auc", "log_loss"),
    slices=("young", "old"),
    confidence=0.95,
    stale="",
    check={"passed": True, "rows": 800, "violations": []},
    evaluation=evaluation(),
    standing=Standing(kind="compared", version="0123456789ab"),
    comparison=comparison(),
    arrivals=Arrivals(rows=57),
    used=frozenset(),
    budget=Budget(minutes=60, price=0.01, cost=0.5, kwh=1.0),
    spent={"minutes": 12.0, "cost": 0.12, "kwh": 0.2},
)


def spent(**changes: Any) -> Case:
    """The good case, but for what making it took."""
    return but(spent={"minutes": 12.0, "cost": 0.12, "kwh": 0.2} | changes)


def but(**changes: Any) -> Case:
    """A case that passes, but for these changes."""
    return dataclasses.replace(GOOD, **changes)


def overall(metric: str, **values: Any) -> dict[str, Any]:
    facts = evaluation()
    facts["overall"][metric] = facts["overall"][metric] | values
    return facts


def baseline(**values: Any) -> dict[str, Any]:
    return evaluation(baseline={"name": "prior", "difference": {"value": 0.4, "low": 0.3, "high": 0.5} | values})


def slices(young: Part | None) -> Comparison:
    old = Part(name="old", rows=110, pair=pair())
    return comparison(parts=(young, old) if young else (old,))


DOUBTED = Arrivals(rows=57, doubts=(Doubt("age", "age is odd."), Doubt("size", "size is odd, too.")))


def accepting(**why: str) -> Gate:
    return dataclasses.replace(RULES_OF_MODEL, accept=why)


NAN = math.nan
WORSE = pair(-0.031, -0.055, -0.010)

# For each rule the cases that it must refuse: (what is wrong, the case, the rule's outcome, words of its sentence).
BREAKERS: dict[str, list[tuple[str, Case, str, str]]] = {
    "current": [
        ("stale evaluation", but(stale="The export is not the one that dvc.lock locks."), "not evaluated", "dvc.lock"),
    ],
    "contract": [
        ("broken", but(check={"passed": False, "violations": [{"column": "age", "check": "ge", "count": 3}]}), "failed",
         "The data contract is broken: 1 check(s), first ge on age in 3 rows."),
        ("not checked", but(check=None), "not evaluated", "was not checked"),
        ("says nothing", but(check={}), "not evaluated", "was not checked"),
        ("says something else", but(check={"passed": "yes"}), "not evaluated", "was not checked"),
    ],
    "plausible": [
        ("a doubt", but(arrivals=DOUBTED), "failed",
         'Mend the source, or say in [gate.accept] of model.toml why it is right (age = "…", size = "…"): '
         'age is odd. size is odd, too.'),
        ("one is accepted and one is not", but(arrivals=DOUBTED, gate=accepting(age="We moved to months.")), "failed",
         'Mend the source, or say in [gate.accept] of model.toml why it is right (size = "…"): size is odd, too.'),
        ("an acceptance that the champion has used",
         but(arrivals=DOUBTED, gate=accepting(age="We moved to months.", size="It grew."), used=frozenset(["age"])),
         "failed", "What model.toml accepts of age was used by the champion and no longer counts."),
        ("nobody could look", but(arrivals=Arrivals(because="data/train.parquet is not on this machine.")),
         "not evaluated", "Whether the data is plausible is not known: data/train.parquet is not on this machine."),
    ],
    "measured": [
        ("no overall", but(evaluation=evaluation(overall={})), "not evaluated", "no value of roc_auc, log_loss"),
        ("a null", but(evaluation=overall("log_loss", value=None)), "not evaluated", "no value of log_loss"),
        ("a NaN", but(evaluation=overall("roc_auc", value=NAN)), "not evaluated", "no value of roc_auc"),
        ("an infinity", but(evaluation=overall("log_loss", value=math.inf)), "not evaluated", "no value of log_loss"),
        ("a boolean", but(evaluation=overall("roc_auc", value=True)), "not evaluated", "no value of roc_auc"),
        ("no interval", but(evaluation=overall("roc_auc", low=None)), "not evaluated", "no interval of roc_auc"),
    ],
    "floors": [
        ("below", but(evaluation=overall("roc_auc", value=0.89)), "failed",
         "roc_auc is 0.890, below its floor of 0.900."),
        ("above", but(evaluation=overall("log_loss", value=0.51)), "failed",
         "log_loss is 0.510, above its floor of 0.500."),
        ("unknown", but(evaluation=overall("log_loss", value=NAN)), "not evaluated", "no value to hold against"),
    ],
    "baseline": [
        ("worse", but(evaluation=baseline(value=-0.02, low=-0.1, high=-0.01)), "failed",
         "roc_auc is 0.020 worse than the baseline (95 % interval -0.100 to -0.010)"),
        ("perhaps no better", but(evaluation=baseline(value=0.1, low=0.0)), "failed", "must be better than 0"),
        ("unknown", but(evaluation=baseline(low=NAN)), "not evaluated", "was not compared"),
        ("absent", but(evaluation=evaluation(baseline=None)), "not evaluated", "was not compared"),
    ],
    "comparable": [
        ("features changed", but(standing=Standing(kind="incomparable", because="its feature age is gone"),
                                 comparison=None), "not evaluated", "its feature age is gone"),
        ("bytes lost", but(standing=Standing(kind="unknown", because="It cannot be fetched."), comparison=None),
         "not evaluated", "It cannot be fetched."),
        ("too few rows", but(comparison=comparison(rows=29)), "not evaluated", "Only 29 rows are common"),
        ("not compared", but(comparison=None), "not evaluated", "was not compared"),
    ],
    "champion": [
        ("clearly worse", but(comparison=comparison(primary=WORSE)), "failed",
         "roc_auc fell by 0.031 (95 % interval -0.055 to -0.010); at most 0.010 is allowed."),
        ("perhaps worse", but(comparison=comparison(primary=pair(0.002, -0.02, 0.02))), "failed",
         "roc_auc rose by 0.002 (95 % interval -0.020 to 0.020); at most 0.010 worse is allowed, and these rows"),
        ("at the margin", but(comparison=comparison(primary=pair(0.0, -0.01, 0.02))), "failed", "roc_auc is equal"),
        ("unknown", but(comparison=comparison(primary=pair(0.0, NAN, 0.02))), "not evaluated", "has no value"),
        ("absent", but(comparison=dataclasses.replace(comparison(), metrics={})), "not evaluated",
         "roc_auc was not compared"),
    ],
    "slices": [
        ("one is worse", but(comparison=slices(Part(name="young", rows=90, pair=pair(-0.08, -0.12, -0.06)))), "failed",
         "roc_auc fell by 0.080 in the slice 'young' (90 rows) (95 % interval -0.120 to -0.060); at most 0.050"),
        ("one has no value", but(comparison=slices(Part(name="young", rows=90, pair=pair(NAN, NAN, NAN)))),
         "not evaluated", "no meaning on these rows"),
        ("one is absent", but(comparison=slices(None)), "not evaluated", "The slice 'young' was not compared."),
        ("a failed one outweighs an unknown one",
         but(comparison=comparison(parts=(Part(name="old", rows=90, pair=pair(-0.08, -0.12, -0.06)),))),
         "failed", "in the slice 'old'"),
    ],
    "budget": [
        ("too long", spent(minutes=75.25), "failed",
         "Making it took 75.2 minutes, and budget.minutes is 60. Make it with less"),
        ("too dear", spent(cost=0.51), "failed", "Making it took 0.510 (at 0.01 a minute), and budget.cost is 0.5."),
        ("too much energy", spent(kwh=1.01), "failed", "Making it took 1.010 kWh (an estimate), and budget.kwh is 1."),
        ("a failed limit outweighs an unknown one", spent(minutes=61.0, kwh=None), "failed", "budget.minutes is 60"),
        ("nothing known", but(spent=None), "not evaluated", "budget.minutes is 60, and what making it took is not"),
        ("energy not measured", spent(kwh=None), "not evaluated", "add mlops[carbon] to the dependencies"),
        ("a NaN", spent(cost=NAN), "not evaluated", "budget.cost is 0.5, and what making it took is not known"),
    ],
}  # fmt: skip

CASES = [
    pytest.param(rule, case, outcome, words, id=f"{rule}: {name}")
    for rule, breakers in BREAKERS.items()
    for name, case, outcome, words in breakers
]


def test_every_rule_has_its_breaker() -> None:
    """A rule that no case here can close is not a rule."""
    assert set(BREAKERS) == set(RULES)
    assert all(BREAKERS.values())


def test_a_good_challenger_passes() -> None:
    """The case that the breakers change passes every rule."""
    verdict = judge(GOOD)
    assert verdict.verdict == "passed"
    assert {one.rule: one.outcome for one in verdict.rules} == dict.fromkeys(RULES, "passed")


@pytest.mark.parametrize(("rule", "case", "outcome", "words"), CASES)
def test_the_breaker_closes_its_rule(rule: str, case: Case, outcome: str, words: str) -> None:
    """Each breaker is refused by its rule, with a sentence that says so, and the verdict is not passed."""
    verdict = judge(case)
    found = next(one for one in verdict.rules if one.rule == rule)
    assert (found.outcome, words in found.sentence) == (outcome, True), found.sentence
    assert verdict.verdict in ("failed", "not evaluated")
    assert found.sentence in verdict.reasons


@pytest.mark.parametrize(
    ("rule", "case"),
    [
        pytest.param(rule, breakers[0][1], id=rule)
        for rule, breakers in BREAKERS.items()
        if rule not in ("measured", "comparable")
    ],
)
def test_without_its_rule_the_breaker_would_pass(rule: str, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is this rule, and no other, that the breaker breaks.

    (Missing numbers and an unknown champion are refused by more rules than one.)
    """
    monkeypatch.delitem(RULES, rule)
    assert judge(case).verdict == "passed"


def test_failed_outweighs_not_evaluated_which_outweighs_passed() -> None:
    """One failed rule fails the verdict; an unknown one alone keeps it from passing."""
    unknown = but(check=None)
    assert judge(unknown).verdict == "not evaluated"
    both = dataclasses.replace(unknown, evaluation=overall("roc_auc", value=0.5))
    verdict = judge(both)
    assert verdict.verdict == "failed"
    assert "below its floor" in verdict.reasons[0]
    assert "The data contract was not checked." in verdict.reasons


def test_the_first_version_is_compared_with_the_baseline_only_and_says_so() -> None:
    """No champion is no obstacle, and no secret."""
    verdict = judge(but(standing=Standing(kind="first"), comparison=None))
    assert verdict.verdict == "passed"
    assert any("first version of the model: it is compared with the baseline only" in one for one in verdict.reasons)
    worse = but(standing=Standing(kind="first"), comparison=None, evaluation=baseline(value=0.01, low=-0.01))
    assert judge(worse).verdict == "failed"


def test_a_reset_is_said_with_its_reason() -> None:
    """A champion that is set aside does not block, its reason is shown, and the other rules still hold."""
    reset = Standing(kind="reset", because="The features are measured by another device.")
    verdict = judge(but(standing=reset, comparison=None))
    assert verdict.verdict == "passed"
    assert any("another device" in one for one in verdict.reasons)
    assert judge(but(standing=reset, comparison=None, evaluation=overall("roc_auc", value=0.5))).verdict == "failed"


def test_what_a_person_accepts_is_said_and_passes() -> None:
    """Every doubt has its reason: the verdict passes, and shows both."""
    verdict = judge(but(arrivals=DOUBTED, gate=accepting(age="We moved to months.", size="It grew by law.")))
    assert verdict.verdict == "passed"
    assert any("age is odd. Accepted in model.toml: We moved to months." in one for one in verdict.reasons)


@pytest.mark.parametrize(
    ("kind", "arrivals", "words"),
    [
        ("first", Arrivals(), "there is no champion's data to hold them to"),
        ("reset", Arrivals(), "there is no champion's data to hold them to"),
        ("compared", Arrivals(), "which of them are newer than the champion's data is not known"),
        ("compared", Arrivals(rows=0), "No row is newer than the champion's data."),
        ("compared", Arrivals(rows=1), "1 row newer than the champion's data is plausible."),
    ],
)
def test_it_is_said_what_could_be_looked_at(kind: Any, arrivals: Arrivals, words: str) -> None:
    """A first version has no champion's data; rows without a time are not known to be new."""
    case = but(standing=Standing(kind=kind, version="0123456789ab"), arrivals=arrivals)
    assert any(words in one for one in judge(case).reasons)


def test_with_an_unknown_champion_no_data_is_plausible() -> None:
    """What could not be held against anything is not evaluated; what is doubted all the same fails."""
    unknown = but(standing=Standing(kind="unknown", because="It is lost."), comparison=None, arrivals=Arrivals())
    found = {one.rule: one.outcome for one in judge(unknown).rules}
    assert found["plausible"] == "not evaluated"
    assert judge(dataclasses.replace(unknown, arrivals=DOUBTED)).verdict == "failed"


def test_small_slices_are_shown_and_not_judged() -> None:
    """A slice below the minimum support cannot fail a version; the sentence names it."""
    small = slices(Part(name="young", rows=29, pair=pair(-0.5, -0.6, -0.4)))
    verdict = judge(but(comparison=small))
    assert verdict.verdict == "passed"
    assert any("Too small to judge: 'young' (29 rows)" in one for one in verdict.reasons)


def test_a_metric_where_less_is_better_is_told_the_right_way_round() -> None:
    """A difference is turned so that positive is better; the sentence says which way the metric itself moved."""
    case = but(
        metrics=("log_loss",),
        comparison=dataclasses.replace(comparison(), metrics={"log_loss": pair(-0.2, -0.3, -0.1)}),
    )
    assert "log_loss rose by 0.200 (95 % interval -0.300 to -0.100, positive is better); at most" in " ".join(
        judge(case).reasons
    )


def test_left_out_rows_are_counted_in_the_verdict() -> None:
    """Rows that the champion may have learnt are said to be left out."""
    verdict = judge(but(comparison=dataclasses.replace(comparison(), rows_left_out=17)))
    assert any("17 more are left out" in one for one in verdict.reasons)


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(
        ["overall", "baseline", "difference", "value", "low", "high", "roc_auc", "log_loss", "rows", "passed"]
    ), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(facts=st.dictionaries(st.sampled_from(["overall", "baseline", "rows", "primary"]), JUNK))
def test_whatever_an_evaluation_holds_there_is_a_verdict(facts: dict[str, Any]) -> None:
    """Damaged facts never raise; without a proper difference to the baseline they never pass."""
    verdict = judge(but(evaluation=facts))
    low = facts.get("baseline")
    proper = isinstance(low, dict) and isinstance(low.get("difference"), dict) and low["difference"].get("low")
    assert isinstance(verdict, Verdict)
    assert verdict.verdict != "passed" or (isinstance(proper, int | float) and proper > 0)


def simulated(seed: int, spoil: Callable[[np.ndarray, np.random.Generator], np.ndarray]) -> str:
    """The verdict on a challenger whose scores are the champion's, spoilt, on 400 rows."""
    rng = np.random.default_rng(seed)
    y = (rng.random(400) < 0.4).astype(int)
    # Both are noisy readings of one signal, as two trainings on nearly the same data are.
    signal = y + rng.normal(0, 0.5, 400)

    def chances(score: np.ndarray) -> np.ndarray:
        positive = 1 / (1 + np.exp(-4 * (score - 0.5)))
        return np.column_stack([1 - positive, positive])

    made = compare(
        y=y,
        champion=chances(signal + rng.normal(0, 0.05, 400)),
        challenger=chances(spoil(signal, rng) + rng.normal(0, 0.05, 400)),
        seen=np.zeros(400, dtype=bool),
        slices={"young": np.arange(400) < 200, "old": np.arange(400) >= 200},
        metrics=(METRICS["roc_auc"], METRICS["log_loss"]),
        resamples=200,
        confidence=0.95,
        seed=7,
    )
    return judge(but(comparison=made)).verdict


def test_an_equal_challenger_usually_passes() -> None:
    """A version that is as good as the champion is let through in at least 9 of 10 trials."""
    verdicts = [simulated(seed, lambda signal, rng: signal) for seed in range(40)]
    assert verdicts.count("passed") >= 36


def test_a_clearly_worse_challenger_nearly_always_fails() -> None:
    """A version that lost a good part of the signal is refused in every trial."""
    verdicts = [simulated(seed, lambda signal, rng: signal + rng.normal(0, 0.5, len(signal))) for seed in range(40)]
    assert set(verdicts) == {"failed"}


def test_a_challenger_that_is_worse_on_one_slice_fails() -> None:
    """A version that is fine overall but for one part of the data is refused because of that part."""

    def spoil(signal: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return np.where(np.arange(400) < 200, signal + rng.normal(0, 0.7, 400), signal)

    assert {simulated(seed, spoil) for seed in range(10)} == {"failed"}


def test_the_verdict_is_plain_json() -> None:
    """What the report reads: the verdict, its reasons and every rule."""
    value = judge(GOOD).to_json()
    assert set(value) == {"verdict", "reasons", "rules"}
    assert [set(rule) for rule in value["rules"]] == [{"rule", "outcome", "sentence"}] * len(gate.RULES)
