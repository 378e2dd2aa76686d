"""The pull-request report: first screen, every part, bounded size, and nothing from data comes alive."""

import json
import re
from html import unescape
from typing import Any

import evidence
import pytest
from hostile import HOSTILE
from markdown_it import MarkdownIt
from markdown_it.token import Token
from test_reporting_neutral import LIVE

from mlops.reporting import facts, markdown

WORDS = (
    "tumour",
    "mean_radius",
    "roc_auc",
    "large nuclei",
    "@acme/care",
    "texture",
    "smooth",
    "prior",
    "forest",
    "clinic",
)
TAG = re.compile(r"</?[a-zA-Z!?/][^>]*>?")
ALLOWED = {
    "<details>",
    "<details open>",
    "</details>",
    "<summary>",
    "</summary>",
    "<b>",
    "</b>",
    "<sub>",
    "</sub>",
    "<code>",
    "</code>",
}
CODE = re.compile(r"<code>\w+</code>")
NUMBER = r"-?[\d.]+(?:e[+-]?\d+)?"
QUOTED = r'"[^"\n`;%<>{}\[\]|\\#&]*"'
CHART = re.compile(
    re.escape(markdown._STYLE)
    + rf"\nxychart-beta(?: horizontal)?\n    title {QUOTED}\n    x-axis \[{QUOTED}(?:, {QUOTED})*\]\n"
    rf"    y-axis {QUOTED} {NUMBER} --> {NUMBER}\n    bar \[{NUMBER}(?:, {NUMBER})*\]\n"
    rf"(?:    line \[{NUMBER}(?:, {NUMBER})*\]\n)?"
)


def tokens(source: str) -> list[Token]:
    """All tokens of GitHub-flavoured Markdown, inline ones too."""
    found = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).parse(source)
    return [part for token in found for part in (token, *(token.children or []))]


def assert_inert(source: str) -> None:
    """Only our own tags and charts; no link, image, mention or reference; tables and folds whole."""
    assert len(source) <= markdown.LIMIT
    for token in tokens(source):
        assert token.type not in ("link_open", "image", "code_block", "s_open", "em_open"), token.content
        if token.type in ("html_block", "html_inline"):
            assert set(TAG.findall(token.content)) <= ALLOWED
        if token.type == "fence":
            assert token.info == "mermaid"
            assert CHART.fullmatch(token.content), token.content
        if token.type in ("text", "html_block", "html_inline"):
            shown = token.content if token.type == "text" else unescape(TAG.sub("", CODE.sub("", token.content)))
            assert not LIVE.search(shown), shown
        if token.type == "heading_open":
            assert token.tag == "h2"
    assert source.count("<details") == source.count("</details>")
    for grid in re.findall(r"(?:^\|.*\n?)+", source, flags=re.MULTILINE):
        assert len({line.count("|") for line in grid.strip().splitlines()}) == 1, grid


@pytest.mark.parametrize("hostile", HOSTILE)
@pytest.mark.parametrize("first", [True, False])
def test_nothing_from_data_comes_alive(hostile: str, first: bool) -> None:
    """Hostile names, sentences, keys and values in every field of the evidence."""
    one = evidence.sample(first=True) if first else evidence.sample(verdict="failed")
    everywhere = evidence.strings(one, hostile)
    named = json.dumps(one)
    for word in WORDS:
        named = named.replace(json.dumps(word)[1:-1], json.dumps(hostile)[1:-1])
    everywhere["verdict"]["verdict"] = one["verdict"]["verdict"]
    for given in (everywhere, json.loads(named)):
        assert_inert(markdown.report([given]))


@pytest.mark.parametrize("verdict", facts.VERDICTS)
@pytest.mark.parametrize("task", ["classification", "regression"])
def test_a_sample_is_inert_and_has_charts(verdict: str, task: str) -> None:
    source = markdown.report([evidence.sample(verdict=verdict, task=task)])
    assert_inert(source)
    assert source.count("```mermaid") >= 2


def test_the_examination_notices_what_is_alive() -> None:
    """The breaker of these tests: each of these must be refused by `assert_inert`."""
    for alive in (
        "@octocat",
        "see #12",
        "[a](b)",
        "![a](b)",
        "<script>",
        "a\n\n# b",
        "| a |\n| - |\n| b | c |\n",
        "x @y",
        "```js\n```",
    ):
        with pytest.raises(AssertionError):
            assert_inert(alive)


def test_the_first_screen_of_a_failed_model_says_what_why_and_what_to_do() -> None:
    first = markdown.report([evidence.sample(verdict="failed")]).split("<details")[0]
    assert first.startswith("## ❌ tumour is blocked: worse than the champion\n")
    assert "roc_auc fell by 0.013" in first
    assert "large nuclei" in first
    assert "**What to do:**" in first
    assert "| 0.9841 → **0.9713** | worse by 0.0128 (0.0026 to 0.0230) |" in first


def test_the_first_screen_of_a_passed_model_says_how_much_better() -> None:
    first = markdown.report([evidence.sample()]).split("<details")[0]
    assert first.startswith("## ✅ tumour passed: better than the champion\n")
    assert "better by 0.0128 (0.0026 to 0.0230)" in first
    assert "What to do" not in first


def test_a_smaller_error_is_called_better() -> None:
    first = markdown.report([evidence.sample(task="regression")]).split("<details")[0]
    assert "| 56.12 → **54.31** | better by 1.810 (0.362 to 3.258) |" in first


def test_a_first_model_says_that_there_is_no_champion() -> None:
    source = markdown.report([evidence.sample(first=True)])
    assert "First version: there is no champion yet" in source
    assert "0.5000 (baseline) → **0.9841**" in source


def test_only_the_gate_calls_a_version_the_first() -> None:
    """A champion that could not be found is not the absence of one."""
    lost = evidence.sample(first=True, verdict="not evaluated") | {"standing": "unknown"}
    source = markdown.report([lost])
    assert "First version" not in source
    assert "The champion is not known" in source
    assert "First version" not in markdown.report([lost | {"standing": None}])


def test_an_incomparable_champion_is_not_a_pass() -> None:
    first = markdown.report([evidence.sample(verdict="not evaluated")]).split("<details")[0]
    assert "could not be judged, and unknown is not a pass" in first
    assert "not compared" in first
    assert "mean_fractal_dimension is gone" in first


def test_a_reset_champion_is_said_to_be_set_aside() -> None:
    one = evidence.sample(verdict="passed") | {"comparison": None, "standing": "reset"}
    assert "model.toml sets the champion aside" in markdown.report([one])


@pytest.mark.parametrize(
    ("title", "fact"),
    [
        ("Data contract: 8 changes", "| clinic | column added | – | str, context, personal data |"),
        ("Data contract: 8 changes", "| mean_fractal_dimension | column removed | float, feature | – |"),
        ("Data contract: 8 changes", "| mean_radius | values | ≥ 0 and ≤ 16 | ≥ 0 and ≤ 50 |"),
        ("Data and drift: 1 moved", "| mean_radius | 0.3100 | moved |"),
        (
            "Baseline and linear model",
            "| Baseline, blind to its inputs: prior | 0.5000 | better by 0.4800 (0.4600 to 0.5000) |",
        ),
        (
            "Baseline and linear model",
            "| Linear model: linear | 0.9743 | no clear difference: +0.0040 (\u22120.0020 to 0.0100) |",
        ),
        ("Calibration", "Calibration error 0.0312"),
        ("Fairness", "| texture | roc_auc | smooth 0.9841 (74 rows); rough 0.9546 (69 rows) | 0.0295 |"),
        ("What the model looks at", "| mean_area | 0.0290 | 0.0790 | was number 4 |"),
        ("Sensitivity to noise", "| mean_radius | 0.0300 |"),
        ("Cross-validation", "| roc_auc | 0.9743 ± 0.0118 | 0.9546, 0.9644, 0.9743, 0.9841, 0.9939 |"),
        ("Cross-validation", "estimator = forest"),
        ("Cost", "| Size | 1.334 MB | 1.482 MB | +11 % |"),
        ("Cost", "| One row, half of the calls within | 2.340 ms | 2.600 ms | +11 % |"),
        ("Lineage", "| Trained from commit | `3c5f7a9b1d2e4f60718293a4b5c6d7e8f9012345` |"),
    ],
)
def test_details_tell_every_part_of_the_evidence(title: str, fact: str) -> None:
    source = markdown.report([evidence.sample()])
    section = source.split(f"<summary>{title}</summary>")[1].split("</details>")[0]
    assert fact in section


def test_the_compared_metric_is_read_first() -> None:
    """Files hold metrics by name; the report puts the one that the gate compares on top."""
    one = evidence.sample()
    for part in (one["metrics"], one["evaluation"]["overall"], one["comparison"]["metrics"]):
        for name in sorted(part):
            part[name] = part.pop(name)
    body = markdown.report([one]).split("| Metric | Champion | Challenger |")[1]
    assert body.index("| roc_auc |") < body.index("| average_precision |") < body.index("| log_loss |")


def test_open_parts_show_rules_metrics_and_slices() -> None:
    source = markdown.report([evidence.sample(verdict="failed")])
    assert "| ❌ | champion | roc_auc fell by 0.013" in source
    assert "| log_loss | 0.1187 | 0.1402 | worse by 0.0215 (0.0043 to 0.0387) |" in source
    assert (
        "| small nuclei | 71 | 0.9644 | 0.9519 | no clear difference: \u22120.0125 (\u22120.0305 to 0.0054) |" in source
    )
    assert "12 rows were left out because the champion may have been trained on them" in source


@pytest.mark.parametrize("count", [1, 20, 500, 5000])
def test_the_report_fits_for_any_number_of_models(count: int) -> None:
    source = markdown.report(evidence.many(count))
    assert_inert(source)
    if count > 1:
        # Room that is there is used.
        assert len(source) > 50_000
        assert f"{count:,} models" in source.splitlines()[0]


@pytest.mark.parametrize("count", [20, 500])
def test_every_model_is_named_while_there_is_room(count: int) -> None:
    source = markdown.report(evidence.many(count))
    assert all(f"model_{n:04}" in source.split("<details")[0] for n in range(count))


def test_what_is_left_out_is_counted() -> None:
    """Rows shown and rows left out add up to all models, by verdict too."""
    source = markdown.report(evidence.many(5000))
    shown = len(set(re.findall(r"^\| \S+ \| (model_\d{4}) \|", source, flags=re.MULTILINE)))
    left = re.search(r"([\d,]+) more models are left out of this table: (.*)\.", source)
    assert left
    assert shown + int(left[1].replace(",", "")) == 5000
    assert sum(int(part.split()[0].replace(",", "")) for part in left[2].split(", ")) == 5000 - shown
    assert "details of" in source


def test_blocked_models_keep_their_details_longest() -> None:
    source = markdown.report(evidence.many(500))
    folded = re.findall(r"<summary>(\S+) <b>(model_\d+)</b>", source)
    assert folded
    assert {mark for mark, _ in folded} == {"❌"}
    whole = markdown.report(evidence.many(20))
    assert all(f"<b>{one['model']}</b>" in whole for one in evidence.many(20) if one["verdict"]["verdict"] != "passed")


@pytest.mark.parametrize("count", [1, 20, 500])
def test_huge_texts_everywhere_still_fit(count: int) -> None:
    """Texts that grow when they are escaped, in every field of every model."""
    huge = evidence.strings(evidence.sample(verdict="failed"), "<|&*" * 5000)
    huge["verdict"]["verdict"] = "failed"
    huge["verdict"]["rules"] *= 100
    source = markdown.report([huge] * count)
    assert len(source) <= markdown.LIMIT
    assert_inert(source)


def test_any_part_may_be_missing() -> None:
    """Null in place of any value, at any depth, never raises and never makes the report unsafe."""
    for n, one in enumerate(evidence.blank(evidence.sample(verdict="failed"))):
        source = markdown.report([one])
        if n % 25 == 0:
            assert_inert(source)
    for one in evidence.blank(evidence.sample(first=True, task="regression")):
        markdown.report([one])
    assert_inert(markdown.report([{"model": "tumour", "verdict": {"verdict": "passed"}}]))


@pytest.mark.parametrize("value", ["text", -1, 1e308, float("nan"), float("inf"), True, [], {}, [[]], 10**400])
def test_a_wrong_value_in_any_place_never_raises(value: Any) -> None:
    one = evidence.sample()
    for path in evidence.paths(one):
        if path:
            markdown.report([evidence.replaced(one, path, value)])


def test_no_model_is_said_plainly() -> None:
    assert markdown.report([]).startswith("## No model was judged")


def test_equal_evidence_gives_equal_reports() -> None:
    models = evidence.many(20)
    assert markdown.report(models) == markdown.report(list(reversed(models)))
