"""report.html: real plots, nothing fetched, nothing run, nothing from data alive."""

import json
import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from typing import Any

import evidence
import pytest
from hostile import HOSTILE
from test_reporting_markdown import WORDS

from mlops.reporting import figures, html

TAGS = {
    "html",
    "head",
    "meta",
    "title",
    "style",
    "body",
    "main",
    "section",
    "h1",
    "h2",
    "h3",
    "p",
    "ul",
    "li",
    "b",
    "a",
}
TAGS |= {"span", "div", "table", "thead", "tbody", "tr", "th", "td", "details", "summary", "figure", "figcaption"}
TAGS |= {"svg", "g", "path", "defs", "text", "use", "clippath", "rect", "circle"}
VOID = {"meta"}
ATTRIBUTES = {"lang", "charset", "http-equiv", "content", "name", "class", "id", "role", "aria-label", "style"}


class Examined(HTMLParser):
    """What a browser would see: tags, attributes, balance."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.stack: list[str] = []
        self.titles = 0
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in TAGS, tag
        drawing = tag == "svg" or "svg" in self.stack
        for name, given in attrs:
            value = given or ""
            if name in ("href", "xlink:href"):
                assert re.fullmatch(r"#[\w-]+", value), value
            elif not drawing:
                assert name in ATTRIBUTES, name
            assert not name.startswith("on")
            assert name not in ("src", "srcset", "action", "data")
            if name in ("style", "clip-path", "fill"):
                assert not re.search(r"url\((?!#)", value)
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.stack.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data[:80]}")


def assert_inert(source: str) -> None:
    """Only known tags and attributes, all closed; every drawing is XML; the policy forbids the rest."""
    assert Examined(source).stack == []
    assert source.count("<svg") == source.count("</svg>")
    for drawing in re.findall(r"<svg.*?</svg>", source, flags=re.DOTALL):
        ElementTree.fromstring(drawing)
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:" in source.split("<style>")[0]


def named(one: dict[str, Any], hostile: str) -> dict[str, Any]:
    """`one` with its names replaced wherever they stand, keys included, so that plots show them."""
    dumped = json.dumps(one)
    for word in WORDS:
        dumped = dumped.replace(json.dumps(word)[1:-1], json.dumps(hostile)[1:-1])
    found: dict[str, Any] = json.loads(dumped)
    return found


@pytest.fixture(scope="module")
def page() -> str:
    return html.report([evidence.sample(verdict="failed")])


def test_a_page_is_whole_and_inert(page: str) -> None:
    assert_inert(page)
    assert_inert(html.report([evidence.sample(task="regression", first=True), evidence.sample("other")]))


def test_nothing_is_fetched(page: str) -> None:
    """No address but the names of XML namespaces."""
    assert set(re.findall(r"\w+://[^\"'\s>]+", page)) <= {"http://www.w3.org/1999/xlink", "http://www.w3.org/2000/svg"}
    assert "<script" not in page
    assert "@import" not in page


@pytest.mark.parametrize("hostile", HOSTILE[::5])
def test_hostile_names_do_nothing_in_plots_and_tables(hostile: str) -> None:
    assert_inert(html.report([named(evidence.sample(), hostile)]))


@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_texts_do_nothing_in_tables(hostile: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(html, "DRAWN", 0)
    assert_inert(html.report([evidence.strings(evidence.sample(verdict="failed"), hostile)]))


@pytest.mark.parametrize(
    "alive", ["<script>x</script>", "<img src=x>", "<p onclick=x>y</p>", "<a href=x>y</a>", "<p>", "<!-- x -->"]
)
def test_the_examination_notices_what_is_alive(alive: str, page: str) -> None:
    """The breaker of these tests."""
    with pytest.raises(AssertionError):
        assert_inert(page.replace("</main>", f"{alive}</main>"))


@pytest.mark.parametrize(
    ("task", "titles"),
    [
        (
            "classification",
            [
                "Champion and challenger",
                "ROC",
                "Precision and recall",
                "Calibration",
                "Confusion",
                "What the model looks at",
                "Fairness",
                "Cross-validation",
                "Data drift",
                "mean_radius: the champion's data",
            ],
        ),
        (
            "regression",
            [
                "Champion and challenger",
                "Calibration",
                "Residuals",
                "What the model looks at",
                "How it ages",
                "Data drift",
            ],
        ),
    ],
)
def test_every_plot_is_drawn_with_a_text_for_who_cannot_see_it(task: str, titles: list[str]) -> None:
    plots = figures.plots(evidence.sample(task=task))
    for title in titles:
        plot = next(one for one in plots if one.title.startswith(title))
        assert plot.svg.count("<path") > 3
        assert re.search(r"\d", plot.alt)
    page = html.report([evidence.sample(task=task)])
    assert page.count('role="img" aria-label="') == len(plots)


def test_plots_show_the_names_and_both_versions() -> None:
    """A plot is of this evidence: names as text, one colour for each version."""
    drawn = {one.title: one.svg for one in figures.plots(evidence.sample())}
    slices = drawn["Champion and challenger, overall and by slice"]
    assert all(f">{name}</text>" in slices for name in ("all rows", "small nuclei", "large nuclei", "allowed margin"))
    for title in ("What the model looks at", "Champion and challenger, overall and by slice"):
        assert "var(--champion)" in drawn[title]
        assert "var(--challenger)" in drawn[title]
    assert "var(--bad)" in drawn["Data drift"]
    assert all(f">{name}</text>" in drawn["How it ages"] for name in ("margin", "retrain.every_days", "older by days"))


def test_a_moved_category_is_drawn_too() -> None:
    one = evidence.sample()
    one["drift"].append({"column": "clinic", "psi": 0.4, "moved": True})
    plot = next(plot for plot in figures.plots(one) if plot.title.startswith("clinic"))
    assert "north" in plot.alt
    assert ">south</text>" in plot.svg


def test_colours_follow_the_page_and_no_stand_in_is_left(page: str) -> None:
    assert not any(stand_in in page for stand_in in figures._COLOURS)
    assert "prefers-color-scheme: dark" in page
    assert "@media print" in page


def test_equal_evidence_gives_equal_bytes() -> None:
    one = evidence.sample()
    assert html.report([one]) == html.report([evidence.sample()])
    assert not re.search(r"20\d\d-\d\d-\d\dT", html.report([one]))


def test_the_first_screen_says_what_is_blocked_and_why(page: str) -> None:
    banner = page.split("<section")[1]
    assert "tumour is blocked: worse than the champion" in banner
    assert "large nuclei" in banner
    assert "worse by 0.0128 (0.0026 to 0.0230)" in banner


def test_a_first_model_says_that_there_is_no_champion() -> None:
    assert "First version: there is no champion yet" in html.report([evidence.sample(first=True)])


def test_many_models_are_listed_and_only_the_first_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(html, "DRAWN", 1)
    page = html.report(evidence.many(40))
    assert_inert(page)
    assert all(f">model_{n:04}</a>" in page for n in range(40))
    assert page.count("<div class='plots'>") == 1
    assert page.count("Plots are drawn for the first 1 models") == 39


@pytest.mark.parametrize("value", [None, "text", 1e308, float("nan"), [], {}, [[]]])
def test_a_wrong_value_in_any_place_never_raises(value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every place of the tables, and every fifth of the plots, which are drawn and not saved: that takes longer."""
    one = evidence.sample()
    places = [path for path in evidence.paths(one) if path]
    with monkeypatch.context() as quick:
        quick.setattr(figures.Figure, "savefig", lambda _, stream, **__: stream.write("<svg></svg>"))
        for path in places[::5]:
            figures.plots(evidence.replaced(one, path, value))
    monkeypatch.setattr(html, "DRAWN", 0)
    for path in places[::2]:
        html.report([evidence.replaced(one, path, value)])
