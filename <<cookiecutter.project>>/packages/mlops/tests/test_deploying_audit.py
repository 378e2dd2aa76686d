"""Is every change of the audit log found, and said what no chain can find?"""

import datetime as dt
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops.deploying import audit
from mlops.deploying.audit import Entry, append, entries, head, verify

NOW = dt.datetime(2026, 11, 21, 7, 30, tzinfo=dt.UTC)


def entry(number: int = 0, **more: str) -> Entry:
    fields: dict[str, str] = {
        "who": "ada",
        "environment": "production",
        "model": "tumour",
        "to": f"{number:012x}",
        **more,
    }
    return Entry(time=NOW + dt.timedelta(minutes=number), what="deploy", **fields)  # type: ignore[arg-type]


def log(count: int) -> list[str]:
    lines: list[str] = []
    for number in range(count):
        lines.append(append(lines, entry(number)))
    return lines


LOG = log(6)


def test_a_log_that_was_only_appended_to_is_whole() -> None:
    assert verify([]) is None
    assert verify(LOG) is None
    assert verify(LOG, known_head=head(LOG)) is None


def test_a_line_says_who_did_what_when_and_why() -> None:
    """On one line of ASCII, whatever the texts hold."""
    line = append([], entry(reason="gäbe\nes \u202eнет\x00 {", run="https://ci/1", origin="3f2a9c01d47b", who="ada\n"))
    assert line.isascii()
    assert line.isprintable()
    value = json.loads(line)
    assert value["time"] == "2026-11-21T07:30:00+00:00"
    assert (value["who"], value["what"], value["from"], value["run"]) == (
        "ada",
        "deploy",
        "3f2a9c01d47b",
        "https://ci/1",
    )
    assert value["reason"] == "gäbe es  нет  {"
    assert verify([line]) is None


def test_times_are_in_utc_and_never_without_a_zone() -> None:
    zone = dt.timezone(dt.timedelta(hours=2))
    there = Entry(time=NOW.astimezone(zone), who="a", what="rollback", environment="e", model="m")
    assert json.loads(append([], there))["time"] == "2026-11-21T07:30:00+00:00"
    with pytest.raises(ValueError, match="time zone"):
        append([], Entry(time=dt.datetime(2026, 1, 1), who="a", what="rollback", environment="e", model="m"))


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 5), st.integers(0, 400), st.characters(codec="utf-8"))
def test_an_edit_of_any_character_is_found_at_its_line(place: int, column: int, put: str) -> None:
    """Also on the last line, which nothing follows."""
    line = LOG[place]
    column %= len(line)
    edited = line[:column] + put + line[column + 1 :]
    lines = [*LOG[:place], edited, *LOG[place + 1 :]]
    assert verify(lines) == (None if edited == line else place)


@pytest.mark.parametrize("place", range(5))
def test_a_line_that_is_taken_out_is_found(place: int) -> None:
    assert verify([*LOG[:place], *LOG[place + 1 :]]) == place


@pytest.mark.parametrize("place", range(5))
def test_a_new_order_is_found(place: int) -> None:
    swapped = [*LOG]
    swapped[place], swapped[place + 1] = swapped[place + 1], swapped[place]
    assert verify(swapped) == place


@pytest.mark.parametrize("place", range(6))
def test_a_line_that_is_put_in_or_repeated_is_found(place: int) -> None:
    """A foreign line at the very top is a good first line: then the old first one breaks the chain."""
    assert verify([*LOG[:place], append([], entry(9)), *LOG[place:]]) == (place or 1)
    assert verify([*LOG[: place + 1], LOG[place], *LOG[place + 1 :]]) == place + 1


def test_another_spelling_of_the_same_values_is_found() -> None:
    """Spaces, the order of keys, and a key more."""
    value = json.loads(LOG[2])
    for other in (
        json.dumps(value),
        json.dumps(dict(reversed(value.items())), separators=(",", ":")),
        json.dumps({**value, "more": ""}, separators=(",", ":")),
        "null",
        "[" * 100_000,
        "",
    ):
        assert verify([*LOG[:2], other, *LOG[3:]]) == 2


def test_an_edit_that_mends_its_own_digest_is_found_at_the_next_line() -> None:
    """The chain, and not only the line, holds it together."""
    forged = append(LOG[:2], entry(2, who="eve"))
    assert verify([*LOG[:2], forged]) is None
    assert verify([*LOG[:2], forged, *LOG[3:]]) == 3


def test_a_line_of_other_types_is_found_though_its_digest_is_right() -> None:
    """Whoever reads the log may count on texts."""
    value = {**json.loads(LOG[5]), "who": 5}
    rest = {key: one for key, one in value.items() if key != "digest"}
    line = audit._dumps({**rest, "digest": audit._digest(audit._dumps(rest))})
    assert verify([*LOG[:5], line]) == 5
    assert len(entries([*LOG[:5], line])) == 5


def test_what_a_chain_cannot_see_is_seen_by_who_kept_its_head() -> None:
    """Lines missing at the end, and a log that was written anew as a whole."""
    kept = head(LOG)
    assert verify(LOG[:4]) is None
    assert verify(LOG[:4], known_head=kept) == 4
    assert verify([], known_head=kept) == 0
    anew: list[str] = []
    for number in range(6):
        anew.append(append(anew, entry(number, who="eve")))
    assert verify(anew) is None
    assert verify(anew, known_head=kept) == 6


def test_a_head_that_was_kept_earlier_still_holds_when_lines_were_added() -> None:
    """The state may be a step behind the log."""
    assert verify(LOG, known_head=head(LOG[:3])) is None
    assert verify(LOG, known_head=audit.FIRST) is None


def test_a_broken_log_can_be_appended_to_and_stays_broken() -> None:
    """A rollback does not fail because somebody edited a file."""
    torn = [*LOG[:3], LOG[3][:50]]
    lines = [*torn, append(torn, entry(7))]
    assert verify(lines) == 3
    assert [one["to"] for one in entries(lines)] == [f"{n:012x}" for n in (0, 1, 2, 7)]


def test_texts_are_cut_so_that_a_log_cannot_be_flooded() -> None:
    line = append([], entry(reason="x" * 10**6))
    assert len(line) < 3_000
    assert verify([line]) is None
