"""Does a freeze stop exactly what it should, at the minute that it says, and never a rollback?"""

import datetime as dt
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mlops.deploying import freeze
from mlops.deploying.freeze import Frozen, admit, standing, window
from mlops.errors import Refusal

WEEKEND = "Fri 16:00 / Mon 06:00"
HOLIDAYS = "2026-12-20 00:00 / 2027-01-03 00:00"


def at(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC)


def frozen(*windows: str, now: str, reason: str = "", switch: str = "") -> Frozen | None:
    return standing(reason=reason, windows=windows, switch=switch, now=at(now))


# 2026-11-20 is a Friday.
@pytest.mark.parametrize(
    ("now", "until"),
    [
        ("2026-11-20 15:59:59", None),
        ("2026-11-20 16:00", "2026-11-23 06:00"),
        ("2026-11-20 23:59:59", "2026-11-23 06:00"),
        ("2026-11-21 00:00", "2026-11-23 06:00"),
        ("2026-11-22 23:59", "2026-11-23 06:00"),
        ("2026-11-23 00:00", "2026-11-23 06:00"),
        ("2026-11-23 05:59:59.999999", "2026-11-23 06:00"),
        ("2026-11-23 06:00", None),
        ("2026-11-25 12:00", None),
    ],
)
def test_a_weekend_is_frozen_from_its_first_minute_to_its_last(now: str, until: str | None) -> None:
    """Through Sunday night, where the week begins anew."""
    found = frozen(WEEKEND, now=now)
    assert (found and found.until) == (until and at(until))


@pytest.mark.parametrize(
    ("now", "until"),
    [
        ("2026-11-17 21:59", None),
        ("2026-11-17 22:00", "2026-11-18 04:00"),
        ("2026-11-18 03:59", "2026-11-18 04:00"),
        ("2026-11-18 04:00", None),
    ],
)
def test_a_night_is_frozen_across_midnight(now: str, until: str | None) -> None:
    found = frozen("Tue 22:00 / Wed 04:00", now=now)
    assert (found and found.until) == (until and at(until))


def test_days_of_the_year_are_frozen_once() -> None:
    """And not every week."""
    assert frozen(HOLIDAYS, now="2026-12-19 23:59") is None
    assert frozen(HOLIDAYS, now="2026-12-20 00:00") == Frozen(reason=f"the window {HOLIDAYS}", until=at("2027-01-03"))
    assert frozen(HOLIDAYS, now="2027-01-03 00:00") is None
    assert frozen(HOLIDAYS, now="2027-12-25 00:00") is None


def test_windows_that_touch_end_when_the_last_one_does() -> None:
    """A weekend within the holidays, and a day after another."""
    assert frozen(WEEKEND, HOLIDAYS, now="2026-12-18 17:00").until == at("2027-01-04 06:00")  # type: ignore[union-attr]
    days = ("Mon 00:00 / Tue 00:00", "Tue 00:00 / Wed 12:00")
    assert frozen(*days, now="2026-11-23 08:00").until == at("2026-11-25 12:00")  # type: ignore[union-attr]


def test_windows_that_leave_no_minute_of_the_week_have_no_end() -> None:
    found = frozen("Mon 00:00 / Thu 00:00", "Thu 00:00 / Mon 00:00", now="2026-11-25 08:00")
    assert found is not None
    assert found.until is None


def test_the_switch_freezes_at_once_and_before_the_page() -> None:
    """Both give their words, and only a person ends them."""
    assert frozen(now="2026-11-25 12:00", switch=" the database moves ") == Frozen(
        reason="the database moves", until=None
    )
    assert frozen(now="2026-11-25 12:00", reason="audit") == Frozen(reason="audit", until=None)
    assert frozen(WEEKEND, now="2026-11-21 12:00", reason="page", switch="variable").reason == "variable"  # type: ignore[union-attr]
    assert frozen(now="2026-11-25 12:00", switch="  ", reason=" ") is None


def test_a_moment_is_taken_in_its_own_time_zone_and_never_without_one() -> None:
    """17:30 in Berlin's summer is half an hour before the weekend."""
    berlin = dt.timezone(dt.timedelta(hours=2))
    before = dt.datetime(2026, 7, 3, 17, 30, tzinfo=berlin)
    assert standing(reason="", windows=[WEEKEND], switch="", now=before) is None
    assert standing(reason="", windows=[WEEKEND], switch="", now=before + dt.timedelta(minutes=30)) is not None
    with pytest.raises(ValueError, match="time zone"):
        standing(reason="", windows=[], switch="", now=dt.datetime(2026, 7, 3))


BAD = [
    "",
    "Fri 16:00",
    "Fri 16:00 - Mon 06:00",
    "Fri 16:00/Mon 06:00",
    "fri 16:00 / mon 06:00",
    "Friday 16:00 / Monday 06:00",
    "Fri 24:00 / Mon 06:00",
    "Fri 16:60 / Mon 06:00",
    "Fri 16:00 / Fri 16:00",
    "Fri 4pm / Mon 6am",
    "Fri 16:00 / 2026-12-20 00:00",
    "2026-12-20 / 2027-01-03",
    "2026-12-20 00:00 / 2026-12-20 00:00",
    "2027-01-03 00:00 / 2026-12-20 00:00",
    "2026-02-30 00:00 / 2026-03-01 00:00",
    "2026-12-20 00:00 / 2027-01-03 25:00",
    "2026-12-20 00:00+02:00 / 2027-01-03 00:00",
    "٢٠٢٦-12-20 00:00 / 2027-01-03 00:00",
    "Fri 16:00 / Mon 06:00\n",
    " Fri 16:00 / Mon 06:00",
]


@pytest.mark.parametrize("text", BAD)
def test_a_text_that_means_no_window_is_none(text: str) -> None:
    """Rather than one that never closes, or closes at another time."""
    assert window(text) is None


MINUTE = st.integers(0, freeze.WEEK - 1)


def spelled(minute: int) -> str:
    return f"{freeze.DAYS[minute // freeze.DAY]} {minute % freeze.DAY // 60:02}:{minute % 60:02}"


@settings(max_examples=300, deadline=None)
@given(MINUTE, MINUTE, st.datetimes(min_value=dt.datetime(2020, 1, 1), max_value=dt.datetime(2040, 1, 1)))
@example(freeze.WEEK - 1, 0, dt.datetime(2026, 11, 22, 23, 59, 59))
def test_a_weekly_window_holds_exactly_its_minutes(start: int, end: int, moment: dt.datetime) -> None:
    """Against a walk over the minutes of the week; the end is the first free minute, and is free."""
    text = f"{spelled(start)} / {spelled(end)}"
    if start == end:
        assert window(text) is None
        return
    now = moment.replace(tzinfo=dt.UTC)
    minutes, minute = set(), start
    while minute != end:
        minutes.add(minute)
        minute = (minute + 1) % freeze.WEEK
    found = standing(reason="", windows=[text], switch="", now=now)
    assert (found is not None) == (moment.weekday() * freeze.DAY + moment.hour * 60 + moment.minute in minutes)
    if found is not None:
        assert found.until is not None
        assert found.until > now
        assert standing(reason="", windows=[text], switch="", now=found.until) is None
        last = found.until - dt.timedelta(microseconds=1)
        assert standing(reason="", windows=[text], switch="", now=last) is not None


MOMENT = st.datetimes(min_value=dt.datetime(2026, 1, 1), max_value=dt.datetime(2026, 3, 1))
ANY = st.builds("{} / {}".format, MINUTE.map(spelled), MINUTE.map(spelled)) | st.builds(
    "{:%Y-%m-%d %H:%M} / {:%Y-%m-%d %H:%M}".format, MOMENT, MOMENT
)


@settings(max_examples=200, deadline=None)
@given(st.lists(ANY.filter(lambda text: window(text) is not None), max_size=6), MOMENT)
def test_a_moment_is_frozen_when_one_of_the_windows_holds_it(windows: list[str], moment: dt.datetime) -> None:
    """And the end of several windows is the first moment that none of them holds."""
    now = moment.replace(tzinfo=dt.UTC)

    def one_of_them(when: dt.datetime) -> bool:
        return any(standing(reason="", windows=[one], switch="", now=when) for one in windows)

    found = standing(reason="", windows=windows, switch="", now=now)
    assert (found is not None) == one_of_them(now)
    if found is not None and found.until is not None:
        assert not one_of_them(found.until)
        step = (found.until - now) / 50
        assert all(one_of_them(now + n * step) for n in range(50))


ASKED: dict[str, Any] = {"model": "tumour", "environment": "production"}


def test_a_frozen_deploy_is_refused_with_the_reason_the_end_and_the_way_around() -> None:
    with pytest.raises(Refusal) as caught:
        admit(frozen(WEEKEND, now="2026-11-21 12:00"), what="deploy", override=None, **ASKED)
    assert caught.value.what == (
        "tumour is not deployed to production: deployments are frozen until Mon 2026-11-23 06:00 UTC: "
        "the window Fri 16:00 / Mon 06:00."
    )
    assert "--override" in caught.value.do


@pytest.mark.parametrize("reason", ["", "   ", "because", "a\nb" * 5, "x" * 9])
def test_an_override_without_a_reason_is_refused_also_where_nothing_is_frozen(reason: str) -> None:
    """A script that always overrides is found out on the first day."""
    for standing_ in (None, frozen(WEEKEND, now="2026-11-21 12:00")):
        with pytest.raises(Refusal, match="override has no reason"):
            admit(standing_, what="deploy", override=reason, **ASKED)


def test_an_override_with_a_reason_passes_and_gives_the_reason_for_the_audit_log() -> None:
    """Where nothing is frozen there is nothing to pass, and nothing to record."""
    why = " The fix for the wrong units. "
    assert admit(frozen(WEEKEND, now="2026-11-21 12:00"), what="deploy", override=why, **ASKED) == why.strip()
    assert admit(None, what="deploy", override=why, **ASKED) == ""
    assert admit(None, what="deploy", override=None, **ASKED) == ""


@settings(max_examples=50, deadline=None)
@given(st.none() | st.text(max_size=20), st.text(max_size=20))
def test_no_freeze_ever_stops_a_rollback(override: str | None, switch: str) -> None:
    standing_ = frozen(WEEKEND, now="2026-11-21 12:00", switch=switch)
    assert standing_ is not None
    assert admit(standing_, what="rollback", override=override, **ASKED) == ""
