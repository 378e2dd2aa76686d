"""Each question to new rows: what it doubts, what it lets pass, and that chance alone hardly ever raises a doubt."""

import dataclasses
import datetime as dt
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops.config import About, Data, Evaluate, Gate, ModelConfig, Split
from mlops.data.contract import Column, Contract
from mlops.data.profile import profile
from mlops.judging import plausible
from mlops.judging.arrivals import Known, look
from mlops.judging.plausible import ROWS, Dates, Doubt, Said
from mlops.learning.export import Exported

TARGET = Column(name="ill", dtype="int", role="target")
SIZE, AGE = Column(name="size", dtype="float"), Column(name="age", dtype="float", personal=True)
KIND = Column(name="kind", dtype="str")
CONTRACT = Contract(
    source="0" * 64,
    owner="@acme/care",
    description="Patients",
    freshness_days=30,
    columns=(
        Column(name="patient", dtype="int", role="id"),
        Column(name="day", dtype="date", role="time"),
        SIZE,
        AGE,
        KIND,
        TARGET,
    ),
)
CONFIG = ModelConfig(
    model=About(task="classification", owner="@acme/care", description="Who is ill?"),
    data=Data(source="rows.csv", as_of="2026-07-01"),
    split=Split(method="time"),
    evaluate=Evaluate(metrics=["roc_auc"]),
    gate=Gate(margin=0.01, slice_margin=0.05),
)
START = dt.date(2025, 1, 1)


def patients(count: int = 400, *, seed: int = 0, days: int | None = None) -> pl.DataFrame:
    """Rows in which size tells something of the outcome, from `START` on, one a day where nothing else is said."""
    rng = np.random.default_rng(seed)
    size = rng.normal(100, 10, count)
    return pl.DataFrame(
        {
            "patient": np.arange(count),
            "size": size,
            "age": rng.normal(50, 12, count),
            "kind": rng.choice(["a", "b", "c"], count),
            "ill": (size + rng.normal(0, 10, count) > 100).astype(np.int64),
        }
    ).with_columns((pl.lit(START) + pl.duration(days=pl.int_range(count) * (days or count) // count)).alias("day"))


def reference(rows: pl.DataFrame) -> dict[str, Any]:
    return profile(rows, [SIZE, AGE, KIND, TARGET], 10)


def asked(new: pl.DataFrame, *, columns: tuple[Column, ...] = (SIZE, AGE)) -> list[str]:
    """What is doubted about the place and scale of columns, against 400 rows and the latest 100 of them."""
    old = patients()
    return [one.sentence for one in plausible.moved(new, columns, [reference(old), reference(old[-100:])], bins=10)]


def changed(count: int = 100, **how: pl.Expr) -> pl.DataFrame:
    return patients(count, seed=1).with_columns(**how)


# What must be doubted, and the words; each change keeps ranges that a contract would allow.
MOVED = {
    "a hundred times": (changed(size=pl.col("size") * 100), "size is not what it was: the middle of 100 new rows is"),
    "a tenth": (
        changed(size=pl.col("size") / 10),
        "the middle of 100 new rows is 10, 1/12 as wide, and was 99.5: is it in another unit?",
    ),
    "kelvin": (changed(size=pl.col("size") + 273), "in another unit?"),
    "all alike": (changed(size=pl.lit(104.0)), ", all of them alike, and was"),
    "a few, larger": (
        changed(size=pl.when(pl.int_range(pl.len()) % 4 == 0).then(pl.col("size") * 100).otherwise("size")),
        "size is far beyond all that was in 25 of 100 new rows",
    ),
    "a few, smaller": (
        changed(size=pl.when(pl.int_range(pl.len()) % 4 == 0).then(pl.col("size") / 100).otherwise("size")),
        "size is far beyond all that was in 25 of 100 new rows",
    ),
    "swapped": (changed(size=pl.col("age"), age=pl.col("size")), "size and age look swapped: in 100 new rows each is"),
}


@pytest.mark.parametrize("name", MOVED)
def test_another_place_or_scale_is_doubted(name: str) -> None:
    rows, words = MOVED[name]
    (said,) = asked(rows)
    assert words in said


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param(changed(), id="nothing"),
        pytest.param(changed(size=pl.col("size") + 20), id="two standard deviations"),
        pytest.param(changed(size=(pl.col("size") - 100) * 3 + 100), id="three times the spread"),
        pytest.param(changed(size=pl.lit(None, dtype=pl.Float64)), id="all missing"),
        pytest.param(changed(9, size=pl.col("size") * 100), id="too few to tell"),
        pytest.param(
            changed(size=pl.when(pl.int_range(pl.len()) < 15).then(1e6).otherwise("size")), id="some outliers"
        ),
        pytest.param(changed().drop("size"), id="not there"),
    ],
)
def test_drift_is_not_doubted(rows: pl.DataFrame) -> None:
    assert asked(rows) == []


def test_what_the_latest_rows_are_like_is_not_doubted() -> None:
    """Both references must be left: the champion's, and that of the rows before, which a person may have accepted."""
    new, old = changed(size=pl.col("size") * 100), patients()
    assert plausible.moved(new, (SIZE,), [reference(old), reference(new)], bins=10) == ()
    assert plausible.moved(new, (SIZE,), [reference(old)], bins=10) != ()
    assert plausible.moved(new, (SIZE,), [], bins=10) == ()


def test_a_column_that_always_had_one_value_is_not_asked_about() -> None:
    """What is far from a point is not known."""
    flat = reference(patients().with_columns(size=pl.lit(1.0)))
    assert plausible.moved(changed(), (SIZE,), [flat], bins=10) == ()


def gaps(share: float, value: float) -> pl.DataFrame:
    return changed(size=pl.when(pl.int_range(pl.len()) < share * 100).then(value).otherwise("size"))


def test_gaps_that_are_filled_with_one_value_are_doubted() -> None:
    before = [patients(), patients()[-100:]]
    (found,) = plausible.filled(gaps(0.3, 99.5), before, CONTRACT)
    assert found == Doubt(
        "size", "size is 99.5 in 30 of 100 new rows, and in 0.0% of the rows before: are gaps filled with it?"
    )
    assert plausible.filled(gaps(0.1, 99.5), before, CONTRACT) == ()
    assert plausible.filled(gaps(0.3, 99.5), [*before, gaps(0.3, 99.5)], CONTRACT) == ()
    assert plausible.filled(gaps(0.3, 99.5), [], CONTRACT) == ()


def test_a_personal_value_is_not_shown() -> None:
    new = changed(age=pl.when(pl.int_range(pl.len()) < 40).then(51.0).otherwise("age"))
    (found,) = plausible.filled(new, [patients()], CONTRACT)
    assert found.sentence.startswith("age has one value in 40 of 100 new rows")


def test_a_column_of_few_values_may_have_another_commonest_one() -> None:
    """Counts and rounded measures repeat by nature."""
    before = patients().with_columns(size=(pl.col("size") / 10).round())
    moved = changed(size=(pl.col("size") / 10).round() + 4)
    assert plausible.filled(moved, [before], CONTRACT) == ()


@pytest.mark.parametrize(
    ("new", "repeats", "usual", "is_doubted"),
    [
        (100, 20, 0.0, True),
        (100, 20, None, True),
        (100, 9, 0.0, False),
        (1000, 90, 0.0, False),
        (100, 20, 0.12, False),
        (100, 60, 0.4, True),
        (100, 52, 0.41, False),
        (100, 100, 1.0, False),
    ],
)
def test_rows_that_repeat_more_than_usual_are_doubted(
    new: int, repeats: int, usual: float | None, is_doubted: bool
) -> None:
    assert [one.about for one in plausible.repeated(new, repeats, usual)] == ([ROWS] if is_doubted else [])


def leaked(count: int = 100, *, wrong: int = 0) -> pl.DataFrame:
    """Age tells the outcome, but for some rows."""
    is_wrong = pl.int_range(pl.len()) < wrong
    return changed(count, age=50 + 12 * (pl.col("ill") - is_wrong.cast(pl.Int64)).abs() + pl.col("age") / 100)


def test_a_feature_that_suddenly_tells_the_outcome_is_doubted() -> None:
    before = [patients(), patients()[-100:]]
    (found,) = plausible.told(leaked(), before, CONTRACT.features, TARGET, task="classification")
    assert found.about == "age"
    assert "age alone tells ill in 100 new rows, right in 100%; before it was right in" in found.sentence
    assert plausible.told(leaked(wrong=5), before, CONTRACT.features, TARGET, task="classification") == ()
    assert plausible.told(leaked(), [*before, leaked(90)], CONTRACT.features, TARGET, task="classification") == ()
    assert plausible.told(changed(), before, CONTRACT.features, TARGET, task="classification") == ()


def test_a_text_that_tells_the_outcome_is_doubted() -> None:
    new = changed(kind=pl.when(pl.col("ill") == 1).then(pl.lit("b")).otherwise(pl.lit("a")))
    (found,) = plausible.told(new, [patients()], CONTRACT.features, TARGET, task="classification")
    assert found.about == "kind"


def test_a_rare_class_weighs_as_much_as_the_others() -> None:
    """To say `healthy` of everybody is no knowledge, however many are."""
    rare = patients(1000).with_columns(ill=(pl.int_range(pl.len()) % 50 == 0).cast(pl.Int64))
    assert plausible.told(rare, (), CONTRACT.features, TARGET, task="classification") == ()


def test_a_number_that_tells_a_number_is_doubted() -> None:
    """The order is enough, in either direction; texts tell no number."""
    target = Column(name="stay", dtype="float", role="target")
    before, new = (one.with_columns(stay=pl.col("size") / 10 + pl.col("age") / 5) for one in (patients(), changed()))
    cube = new.with_columns(size=-(pl.col("stay") ** 3))
    (found,) = plausible.told(cube, [before], CONTRACT.features, target, task="regression")
    assert found.about == "size"
    assert "rank correlation 1.00; before it was rank correlation 0." in found.sentence
    assert plausible.told(new, [before], CONTRACT.features, target, task="regression") == ()


KNOWN = Dates(rows=400, newest=START + dt.timedelta(days=399), complete=START + dt.timedelta(days=398))


def days(*offsets: int) -> pl.Series:
    """The days of the 400 known rows, one a day, and of new ones."""
    return pl.Series("day", [START + dt.timedelta(days=one) for one in (*range(400), *offsets)])


@pytest.mark.parametrize(
    ("times", "words"),
    [
        (days(*range(400, 500)), None),
        (days(*range(400, 480), *range(20)), None),
        (days(*range(400, 470), *range(30)), "At least 29 of 100 rows that arrived have day up to 2026-02-03"),
        (days(*range(30)), "At least 29 of 30 rows that arrived"),
        (days(*range(9)), None),
        (days(*range(400, 420), *range(451, 480)), "No row has day between 2026-02-24 and 2026-03-28; the longest gap"),
        (days(*range(400, 420), *range(449, 480)), None),
        (days(*range(431, 480)), "No row has day between 2026-02-04 and 2026-03-08"),
        (days(*range(400, 440), *[440] * 11), "11 new rows have the day 2026-03-17, and no day had more than 1"),
        (days(*range(400, 440), *[440] * 10), None),
    ],
)
def test_dates_that_jump_are_doubted(times: pl.Series, words: str | None) -> None:
    found = plausible.dated(times, "day", KNOWN, freshness_days=30)
    assert [one.about for one in found] == (["day"] if words else [])
    assert all(words in one.sentence for one in found if words)


def test_rows_whose_outcome_came_late_are_expected() -> None:
    """The days that were not complete when the champion's data was read may fill up."""
    late = days(*range(370, 400), *range(400, 430))
    known = dataclasses.replace(KNOWN, complete=START + dt.timedelta(days=369))
    assert plausible.dated(late, "day", known, freshness_days=30) == ()
    assert plausible.dated(late, "day", KNOWN, freshness_days=30) != ()


def mixed(ill: int, healthy: int) -> pl.DataFrame:
    return pl.DataFrame({"ill": [1] * ill + [0] * healthy})


@pytest.mark.parametrize(
    ("ill", "healthy", "is_doubted"),
    [(75, 25, True), (65, 35, True), (55, 45, False), (9, 3, False), (0, 100, True), (2, 98, False)],
)
def test_a_class_that_pours_in_is_doubted(ill: int, healthy: int, is_doubted: bool) -> None:
    """Three rows in ten would need another class: 30 % of the rows before were ill."""
    before = [mixed(300, 700), mixed(33, 67)]
    found = plausible.poured(mixed(ill, healthy), TARGET, before)
    assert [one.about for one in found] == (["ill"] if is_doubted else [])
    assert plausible.poured(mixed(ill, healthy), TARGET, [*before, mixed(ill * 9, healthy * 9)]) == ()
    assert plausible.poured(mixed(ill, healthy), TARGET, []) == ()


def said(count: int = 200, *, wrong: float = 0.0, seed: int = 0, number: bool = False) -> Said:
    """What a good version says of rows, a share of whose labels are others'."""
    rng = np.random.default_rng(seed)
    signal = rng.normal(size=count)
    moved = rng.random(count) < wrong
    if number:
        truth = signal + rng.normal(0, 0.7, count)
        return Said(truth=np.where(moved, rng.permutation(truth), truth), prediction=signal)
    truth = (signal + rng.normal(0, 0.3, count) > 0).astype(np.int64)
    positive = 1 / (1 + np.exp(-3 * signal))
    return Said(truth=np.where(moved, 1 - truth, truth), prediction=np.column_stack([1 - positive, positive]))


def nothing() -> Said | None:
    raise AssertionError("the estimator was asked to learn although nothing is odd")


@pytest.mark.parametrize("number", [False, True])
def test_labels_that_nobody_can_learn_are_doubted(number: bool) -> None:
    """The champion cannot order them, and neither can a version that learns from them."""
    before, wrong = said(number=number), 1.0 if number else 0.3
    new = said(wrong=wrong, seed=1, number=number)
    (found,) = plausible.contradicted(new, before, lambda: new, "ill")
    assert "nor can it be learnt from these rows" in found.sentence
    assert plausible.contradicted(new, before, lambda: None, "ill") != ()
    assert plausible.contradicted(said(seed=1, number=number), before, nothing, "ill") == ()


@pytest.mark.parametrize("number", [False, True])
def test_a_relation_that_changed_is_for_training_to_follow(number: bool) -> None:
    """The champion is lost, a version that learns from the new rows is not: that is concept drift."""
    lost = said(wrong=0.5 if not number else 1.0, seed=1, number=number)
    learnt = said(seed=2, number=number)
    assert plausible.contradicted(lost, said(number=number), lambda: learnt, "ill") == ()


def test_labels_that_say_the_opposite_are_doubted_though_they_can_be_learnt() -> None:
    (found,) = plausible.contradicted(said(wrong=1.0, seed=1), said(), nothing, "ill")
    assert "the labels say the opposite: did they change their names?" in found.sentence


@pytest.mark.parametrize(
    ("new", "before"),
    [
        pytest.param(said(12, wrong=0.5), said(), id="few new rows"),
        pytest.param(said(wrong=0.5, seed=3), said(12), id="few rows before"),
        pytest.param(said(wrong=0.5, seed=1), said(wrong=0.5, seed=2), id="a champion that knows nothing"),
        pytest.param(
            dataclasses.replace(said(), truth=np.zeros(200, dtype=np.int64)), said(), id="one class only"
        ),
    ],
)  # fmt: skip
def test_where_an_order_says_nothing_labels_are_not_doubted(new: Said, before: Said) -> None:
    assert plausible.contradicted(new, before, nothing, "ill") == ()


@given(rows=st.integers(1, 300), hits=st.integers(0, 300), share=st.floats(0.0, 1.0))
def test_the_tail_of_the_binomial_is_a_chance(rows: int, hits: int, share: float) -> None:
    """Between 0 and 1, falling with the hits; and exact where the sum is short."""
    hits = min(hits, rows)
    found = plausible.binomial_above(hits, rows, share)
    assert 0.0 <= found <= 1.0
    assert plausible.binomial_above(hits + 1, rows, share) <= found + 1e-12
    exact = math.fsum(math.comb(rows, k) * share**k * (1 - share) ** (rows - k) for k in range(hits, rows + 1))
    assert found == pytest.approx(exact, rel=1e-6, abs=1e-12)


class Reader:
    """An estimator that says what it was made to say."""

    def predict_proba(self, x: Any) -> Any:
        positive = 1 / (1 + np.exp(-(x["size"].to_numpy(dtype=float) - 100) / 5))
        return np.column_stack([1 - positive, positive])


def champion(rows: pl.DataFrame, *, check: dict[str, Any] | None = None) -> Known:
    """A champion that learned from three quarters of the rows."""
    cut = rows["day"][int(rows.height * 0.75)]
    manifest = {
        "model": "tumour",
        "task": "classification",
        "target": "ill",
        "classes": [0, 1],
        "features": [{"name": one.name, "dtype": one.dtype} for one in CONTRACT.features],
        "input_schema": CONTRACT.request_schema(),
        "split": {
            "method": "time", "column": "day", "seed": 7, "cutoff": cut.isoformat(), "target": None, "edges": [],
            "thresholds": {}, "default": None,
        },
    }  # fmt: skip
    newest = rows["day"].max()
    facts = {"rows": rows.height, "newest": str(newest), "as_of": str(newest)} if check is None else check
    return Known(
        version=Exported(None, manifest, Reader()),  # type: ignore[arg-type]
        profile=reference(rows.filter(pl.col("day") <= cut)),
        check=facts,
    )


def doubts(rows: pl.DataFrame, known: Known | None) -> list[str]:
    return [one.sentence for one in look(rows.lazy(), CONTRACT, CONFIG, known).doubts]


def test_history_that_was_rewritten_is_doubted_without_a_new_row() -> None:
    """The champion's own rows are held against its reference profile."""
    rows = patients()
    known = champion(rows)
    assert look(rows.lazy(), CONTRACT, CONFIG, known) == plausible.Arrivals(rows=0)
    (found,) = doubts(rows.with_columns(pl.col("size") * 100), known)
    assert "the middle of 301 old rows is" in found


def test_a_new_feature_is_asked_whether_it_tells_the_outcome_alone() -> None:
    """There is no before: a feature of a pull request that knows the outcome is doubted with no new row."""
    rows = patients()
    known = champion(rows)
    known = dataclasses.replace(
        known, profile={"rows": 300, "columns": {k: v for k, v in known.profile["columns"].items() if k != "age"}}
    )
    assert doubts(rows, known) == []
    (found,) = doubts(rows.with_columns(age=pl.col("ill") * 10.0), known)
    assert "age alone tells ill in 400 rows, right in 100%; is it known only after the outcome?" in found


@pytest.mark.parametrize("check", [{}, {"rows": 400, "newest": None, "as_of": "2026-01-01"}])
def test_without_dates_all_rows_are_held_against_the_profile(check: dict[str, Any]) -> None:
    """Which rows are new is not known, and said so; a change of all of them is seen."""
    rows = patients()
    known = champion(rows, check=check)
    assert look(rows.lazy(), CONTRACT, CONFIG, known) == plausible.Arrivals(rows=None)
    (found,) = doubts(rows.with_columns(pl.col("size") * 100), known)
    assert "the middle of 400 rows is" in found


def test_a_first_version_is_asked_for_repeated_rows_where_rows_can_be_told_apart() -> None:
    rows = patients()
    twice = pl.concat([rows, rows.head(100).with_columns(pl.col("patient") + 1000)])
    assert doubts(rows, None) == []
    (found,) = doubts(twice, None)
    assert "100 of 500 rows repeat another row in every feature" in found
    coarse = twice.with_columns(size=pl.col("size") // 20 * 20, age=pl.col("age") // 20 * 20)
    assert doubts(coarse, None) == []


@settings(max_examples=25, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10_000), count=st.integers(1, 120), rounded=st.booleans())
def test_sound_rows_raise_no_doubt_however_few_they_are(seed: int, count: int, rounded: bool) -> None:
    """New rows from the same source, one or many, smooth or coarse."""
    rows = patients(400 + count, seed=seed)
    if rounded:
        rows = rows.with_columns((pl.col("size") / 5).round() * 5, (pl.col("age") / 5).round() * 5)
    assert doubts(rows, champion(rows.head(400))) == []


@pytest.mark.parametrize(
    "spoil",
    [
        lambda rows: rows.with_columns(pl.lit(None, dtype=pl.Float64).alias("size")),
        lambda rows: rows.with_columns(pl.lit(math.nan).alias("size")),
        lambda rows: rows.with_columns(pl.lit(math.inf).alias("size")),
        lambda rows: rows.with_columns(pl.lit("a").alias("kind")),
        lambda rows: rows.with_columns(pl.lit(1).alias("ill")),
        lambda rows: rows.drop("kind"),
        lambda rows: rows.clear(),
    ],
)
def test_whatever_arrives_there_is_an_answer(spoil: Callable[[pl.DataFrame], pl.DataFrame]) -> None:
    """New rows that hold nothing, or one value only, never break the look."""
    rows = patients(450)
    known = rows.head(400)
    after = pl.concat([known, spoil(rows.tail(50))], how="diagonal_relaxed")
    assert isinstance(doubts(after, champion(known)), list)


def test_the_same_rows_give_the_same_words() -> None:
    is_new = pl.col("day") > START + dt.timedelta(days=399)
    rows = patients(500).with_columns(age=pl.when(is_new).then(1.0).otherwise("age"))
    known = champion(rows.head(400))
    assert doubts(rows, known) == doubts(rows, known) != []
