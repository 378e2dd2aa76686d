"""Text from data is shown and does nothing."""

import re
import unicodedata

import pytest
from hostile import HOSTILE

from mlops.reporting.neutral import NOTHING, code, html, label, text, visible

# What GitHub turns into something after rendering, outside code.
LIVE = re.compile(
    r"@\w|#\d|\bgh-\d|://|\bwww\.\w|\b(?:mailto|xmpp|javascript):\S|:[\w+-]+:|(?<![\w.])[0-9a-f]{7,40}(?!\w)|\$",
    re.IGNORECASE,
)


def test_the_corpus_is_large_enough() -> None:
    assert len(set(HOSTILE)) >= 90


@pytest.mark.parametrize("given", HOSTILE)
def test_nothing_invisible_and_no_line_break_is_left(given: str) -> None:
    """Control, bidirectional and zero-width characters are gone; white space is one space."""
    for shown in (visible(given), text(given), code(given), label(given), html(given)):
        assert shown.strip() == shown != ""
        assert all(unicodedata.category(one)[0] != "C" for one in shown)
        assert not re.search(r"\s\s|[\r\n\u2028\u2029]", shown)


@pytest.mark.parametrize("given", HOSTILE)
def test_length_is_bounded(given: str) -> None:
    assert len(visible(given, limit=50)) <= 50
    assert len(text(given, limit=50)) <= 50 * 8
    assert len(label(given, limit=20)) <= 20


@pytest.mark.parametrize("given", HOSTILE)
def test_nothing_that_github_links_is_left_outside_code(given: str) -> None:
    prose = re.sub(r"`[^`]*`", "", text(given))
    assert not LIVE.search(re.sub(r"&#?\w+;", "", prose))
    assert not re.search(r"[<>\[\]|\\*~]", prose)


@pytest.mark.parametrize("given", HOSTILE)
def test_a_label_cannot_leave_its_quotes(given: str) -> None:
    assert not re.search(r"[\"'`;%<>{}\[\]|\\#&]", label(given))


@pytest.mark.parametrize("given", HOSTILE)
def test_html_has_no_live_character(given: str) -> None:
    assert not re.search(r"[<>\"']", html(given))


@pytest.mark.parametrize(
    "given",
    [
        "mean_radius",
        "large nuclei",
        "0.9841 (0.97 to 0.99)",
        "better by 0.5",
        "Zoë's café, 3 + 4 = 7",
        "a/b-c_d",
        "+0.5",
    ],
)
def test_ordinary_text_is_left_alone(given: str) -> None:
    """What people write stays readable in the source too."""
    assert text(given) == given


def test_a_digest_stands_in_a_code_span() -> None:
    """GitHub links commits in prose, not in code."""
    assert text("of commit deadbeefcafe now") == "of commit `deadbeefcafe` now"
    assert code("deadbeefcafe") == "`deadbeefcafe`"


def test_code_that_would_break_its_span_becomes_text() -> None:
    assert "`" not in code("a`b|c")


@pytest.mark.parametrize("given", [None, "", "\u200b", " \n "])
def test_nothing_is_shown_as_a_dash(given: object) -> None:
    assert text(given) == code(given).strip("`") == label(given) == html(given) == NOTHING


def test_other_values_are_shown_too() -> None:
    assert text(3) == "3"
    assert text(10**5000) == "(unreadable)"
    assert text([1, "@x"]) == "&#91;1, '\uff20x'&#93;"
