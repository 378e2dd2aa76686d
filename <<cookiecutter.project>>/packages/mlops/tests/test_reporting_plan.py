"""`mlops report --plan`: every planned model is in the report, with its reasons, whatever its job left behind."""

import json
import os
import re
from pathlib import Path
from typing import Any

import evidence
import pytest
from hostile import HOSTILE
from markdown_it import MarkdownIt
from test_reporting_command import bare
from test_reporting_markdown import assert_inert

from mlops import actions
from mlops.cli import main
from mlops.errors import Refusal
from mlops.reporting import markdown, planned
from mlops.reporting.command import report

HEAD = "3c5f7a9b1d2e4f60718293a4b5c6d7e8f9012345"
RUN = {"GITHUB_SERVER_URL": "https://github.com", "GITHUB_REPOSITORY": "acme/models", "GITHUB_RUN_ID": "42"}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository of the base commit: no model of the plan needs to be known there."""
    (tmp_path / "packages" / "mlops").mkdir(parents=True)
    (tmp_path / "models").mkdir()
    monkeypatch.chdir(tmp_path)
    for name in RUN:
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def plan(root: Path, models: dict[str, list[str]], **more: Any) -> str:
    entries = [
        {"model": name, "runner": "ubuntu-24.04", "minutes": 60, "also": [], "reasons": reasons}
        for name, reasons in models.items()
    ]
    value = {"base": "1" * 40, "head": HEAD, "writable": True, "models": entries} | more
    (root / "plan.json").write_text(json.dumps(value))
    return "plan.json"


def put(root: Path, model: str, file: str, value: Any) -> None:
    path = root / "reports" / model / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value))


def told(root: Path) -> str:
    return (root / "reports" / "report.md").read_text(encoding="utf-8")


def broken(count: int = 1, **more: Any) -> dict[str, Any]:
    one = {"column": "radius", "check": "ge 0", "count": 12, "share": 0.03, "examples": [{"row": 5, "value": "SECRET"}]}
    return {"passed": False, "rows": 400, "as_of": "2026-07-01", "newest": None, "violations": [one] * count} | more


def test_a_planned_model_without_evidence_is_not_evaluated(root: Path) -> None:
    put(root, "tumour", "evidence.json", evidence.sample("tumour"))
    put(root, "stranger", "evidence.json", evidence.sample("stranger"))
    outcome = report(root, [], plan=plan(root, {"tumour": ["own files changed"], "churn": ["own files changed"]}))
    assert outcome.value["models"] == {"churn": "not evaluated", "tumour": "passed"}
    assert outcome.value["files"] == ["reports/report.md", "reports/summary.md"]
    assert outcome.code == 0
    assert "**churn** not evaluated: There is no evidence" in told(root)
    assert "see its log" in told(root)
    assert "stranger" not in told(root)


def test_the_reason_of_the_plan_is_shown_for_each_model(root: Path) -> None:
    put(
        root,
        "tumour",
        "evidence.json",
        evidence.sample("tumour") | {"planned": ["a lie of its job"], "missing": "data"},
    )
    report(root, [], plan=plan(root, {"tumour": ["packages/features changed", "uv.lock changed"], "churn": ["new"]}))
    assert "Measured because packages/features changed, uv.lock changed." in told(root)
    assert "Measured because new." in told(root)
    assert "a lie" not in told(root)
    assert "**tumour** not evaluated" not in told(root)


def test_broken_data_is_the_reason_with_columns_checks_and_counts(root: Path) -> None:
    put(root, "churn", "check.json", broken())
    report(root, [], plan=plan(root, {"churn": ["x"]}))
    assert "its data breaks the contract" in told(root)
    assert "The data breaks its contract: radius: ge 0 is broken in 12 rows (3 %)." in told(root).replace("&#95;", "_")
    assert "| radius | ge 0 | 12 | 3 % |" in told(root)
    assert "mend the data" in told(root)


def test_no_value_of_the_data_is_ever_shown(root: Path) -> None:
    """Examples may be personal; a report is public."""
    put(root, "churn", "check.json", broken(30, violations_left_out=7))
    report(root, [], plan=plan(root, {"churn": ["x"]}), html=True)
    for name in ("report.md", "summary.md", "report.html"):
        assert "SECRET" not in (root / "reports" / name).read_text(encoding="utf-8")
    assert "And 1 more" not in told(root)
    assert "35 more checks are broken" in told(root)


@pytest.mark.parametrize(
    "check",
    [
        None,
        "{",
        "[" * 100_000,
        "[]",
        "null",
        {"passed": True, "rows": 4, "violations": []},
        {"passed": True, "violations": [{"column": "x", "check": "y", "count": 1, "share": 0.1}]},
        {"passed": False, "violations": [{"column": 3}]},
        {"passed": False, "violations": []},
        {"passed": "no", "violations": [{}]},
        {"violations": {"a": 1}},
    ],
)
def test_a_check_that_says_nothing_leaves_the_log_as_the_reason(root: Path, check: Any) -> None:
    if check is not None:
        put(root, "churn", "check.json", check)
    report(root, [], plan=plan(root, {"churn": ["x"]}))
    assert "see its log" in told(root)
    assert "data breaks" not in told(root)


@pytest.mark.parametrize("value", ["", "{", "[]", '{"model": "other", "verdict": {"verdict": "passed"}}', "\x00"])
def test_broken_evidence_of_one_model_does_not_hide_the_others(root: Path, value: str) -> None:
    put(root, "churn", "evidence.json", value)
    put(root, "tumour", "evidence.json", evidence.sample("tumour"))
    outcome = report(root, [], plan=plan(root, {"churn": ["x"], "tumour": ["x"]}))
    assert outcome.value["models"] == {"churn": "not evaluated", "tumour": "passed"}
    assert "churn: evidence.json" in told(root)


@pytest.mark.parametrize("target", ["/dev/zero", "/etc/passwd", "../other/evidence.json", "nowhere"])
@pytest.mark.parametrize("name", ["evidence.json", "check.json"])
def test_a_link_in_an_artifact_leads_nowhere(root: Path, name: str, target: str) -> None:
    """What a job hands over is files; a link would read what is on the machine that reports."""
    put(root, "other", "evidence.json", evidence.sample("churn"))
    (root / "reports" / "churn").mkdir()
    (root / "reports" / "churn" / name).symlink_to(target)
    outcome = report(root, [], plan=plan(root, {"churn": ["x"]}))
    assert outcome.value["models"] == {"churn": "not evaluated"}
    assert ("it is no ordinary file" in told(root)) == (name == "evidence.json")
    (root / "plan.json").unlink()
    (root / "plan.json").symlink_to("/dev/zero")
    with pytest.raises(Refusal, match="no ordinary file"):
        report(root, [], plan="plan.json")


def test_a_change_that_affects_no_model_is_told_so(root: Path) -> None:
    outcome = report(root, [], plan=plan(root, {}), html=True)
    assert outcome.value == {"models": {}, "files": ["reports/report.md", "reports/summary.md"]}
    assert "No model is affected" in told(root)
    assert outcome.text.startswith("No model is affected")


def test_the_report_links_to_its_run_and_its_artifact(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in RUN.items():
        monkeypatch.setenv(name, value)
    put(root, "tumour", "evidence.json", evidence.sample("tumour"))
    for models in ({"tumour": ["x"]}, {}):
        report(root, [], plan=plan(root, models))
        html = MarkdownIt("commonmark", {"html": True}).render(told(root))
        page = "{GITHUB_SERVER_URL}/{GITHUB_REPOSITORY}/actions/runs/{GITHUB_RUN_ID}".format_map(RUN)
        links = set(re.findall(r'href="([^"]*)"', html))
        assert links == ({page, f"{page}#artifacts"} if models else {page})
        assert f"Measured commit <code>{HEAD[:12]}</code>" in html


@pytest.mark.parametrize(
    "settings",
    [
        {"GITHUB_RUN_ID": "42)](https://evil.example.com"},
        {"GITHUB_REPOSITORY": "acme/models/../x"},
        {"GITHUB_SERVER_URL": "javascript:alert(1)//"},
        {"GITHUB_SERVER_URL": "https://github.com/x"},
        {"GITHUB_RUN_ID": ""},
    ],
)
def test_a_link_is_an_address_of_a_run_or_not_there(settings: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (RUN | settings).items():
        monkeypatch.setenv(name, value)
    assert actions.run_url() is None


def test_the_minutes_of_the_pipeline_are_part_of_the_cost(root: Path) -> None:
    one = evidence.sample("tumour") | {"run": {"seconds": 192.0, "ran": ["train", "evaluate"], "lock_changed": True}}
    put(root, "tumour", "evidence.json", one)
    report(root, [], plan=plan(root, {"tumour": ["x"]}))
    assert "Stages that ran: train, evaluate." in told(root)
    assert "| The pipeline in this run | \u2013 | 3.2 minutes | \u2013 |" in told(root)


def test_what_making_a_version_took_is_told_by_a_run_that_trains_nothing_too(root: Path) -> None:
    """The comment is updated by the run on the stored commit, whose own seconds say nothing of the training."""
    one = evidence.sample("tumour") | {"run": {"seconds": 1.0, "ran": [], "lock_changed": False}}
    put(root, "tumour", "evidence.json", one)
    report(root, [], plan=plan(root, {"tumour": ["x"]}))
    for promised in (
        "No stage ran: dvc.lock was right already.",
        "| Making it | 2.0 minutes | 3.0 minutes | +50 % |",
        "| Making it, at 0.008 a minute | 0.0160 | 0.0240 | +50 % |",
        "| Energy, estimated | 2.500 Wh | 3.750 Wh | +50 % |",
        "| CO2e, estimated | 1 g | 1.500 g | +50 % |",
        "Making it, once its data was there: train 90.0 s, tune 45.0 s, evaluate 22.5 s, explain 22.5 s.",
        "estimates by codecarbon",
        "for the electricity of DEU",
    ):
        assert promised in told(root), promised
    assert "The pipeline in this run" not in told(root)


def test_what_was_not_measured_is_said_and_not_shown_as_nothing(root: Path) -> None:
    one = evidence.sample("tumour")
    one["spent"] |= {"kwh": None, "kg_co2e": None, "cost": None}
    one["champion"]["spent"] = None
    one["budget"]["price"] = 0.0
    put(root, "tumour", "evidence.json", one)
    report(root, [], plan=plan(root, {"tumour": ["x"]}))
    assert "Its energy was not measured: write mlops&#91;carbon&#93; instead of mlops" in told(root)
    assert "| Making it | \u2013 | 3.0 minutes | \u2013 |" in told(root)
    assert not re.search(r"\| (Energy|CO2e|Making it, at)", told(root))
    put(root, "tumour", "evidence.json", one | {"spent": None})
    report(root, [], plan=plan(root, {"tumour": ["x"]}))
    assert "Making it" not in told(root)


def test_the_age_curve_is_told_beside_what_model_toml_sets(root: Path) -> None:
    """What it recommends, how sure, of which rows, as a table and as a plot of text."""
    put(root, "tumour", "evidence.json", evidence.sample("tumour"))
    report(root, [], plan=plan(root, {"tumour": ["x"]}))
    for promised in (
        "retrain.every_days is 30, and the curve recommends 48; ",
        "watch.age_days sets no limit, and the curve asks for none.",
        "Measured on rows of 2025-07-02 to 2026-06-29.",
        "| Older by | Worse in roc_auc (95 % interval) | Rows |",
        "| 61 days | 0.0140 (0.0090 to 0.0200) | 250 |",
        'title "How it ages"',
        "line [0.01, 0.01, 0.01]",
    ):
        assert promised in told(root).replace("&#95;", "_"), promised


def test_a_model_whose_age_was_not_measured_says_why(root: Path) -> None:
    one = evidence.sample("tumour") | {"age": {"metric": "roc_auc", "points": [], "sentence": "It has no time."}}
    put(root, "tumour", "evidence.json", one)
    report(root, [], plan=plan(root, {"tumour": ["x"]}))
    section = told(root).partition("<summary>How it ages</summary>")[2].partition("</details>")[0]
    assert section.strip() == "It has no time."
    put(root, "tumour", "evidence.json", one | {"age": None})
    report(root, [], plan=plan(root, {"tumour": ["x"]}))
    assert "How it ages" not in told(root)


def test_the_report_holds_everything_that_a_reviewer_is_promised(root: Path) -> None:
    put(
        root,
        "tumour",
        "evidence.json",
        evidence.sample("tumour") | {"run": {"seconds": 60, "ran": ["train"], "lock_changed": True}},
    )
    report(root, [], plan=plan(root, {"tumour": ["x"]}))
    for promised in (
        "0.9713 → **0.9841**",
        "better by",
        "| Slice, roc_auc |",
        "Baseline, blind to its inputs",
        "Data contract: ",
        "Data and drift: ",
        "What the model looks at",
        "The pipeline in this run",
        "| Size |",
        "One row, half of the calls within",
        "Lineage",
    ):
        assert promised in told(root).replace("&#95;", "_"), promised


def test_the_summary_has_room_for_what_the_comment_leaves_out(root: Path) -> None:
    models = evidence.many(60)
    for one in models:
        put(root, one["model"], "evidence.json", one)
    report(root, [], plan=plan(root, {one["model"]: ["x"] for one in models}))
    summary = (root / "reports" / "summary.md").read_text(encoding="utf-8")
    assert len(told(root)) <= markdown.LIMIT - markdown.ADDED
    assert "models are left out here" in told(root)
    assert "left out here" not in summary
    assert len(summary.encode()) < actions.MOST_SUMMARY


@pytest.mark.parametrize("hostile", HOSTILE)
def test_nothing_from_a_plan_or_a_check_comes_alive(root: Path, hostile: str) -> None:
    """Reasons hold names of files in a pull request; checks hold what the pull request's code wrote."""
    violation = {"column": hostile, "check": hostile, "count": 3, "share": 0.5, "examples": []}
    put(root, "churn", "check.json", broken(violations=[violation] * 40))
    put(root, "tumour", "evidence.json", evidence.sample("tumour") | {"run": {"seconds": 1, "ran": [hostile] * 30}})
    put(root, "gone", "evidence.json", evidence.strings(evidence.sample("gone"), hostile))
    report(
        root, [], plan=plan(root, {"churn": [hostile] * 9, "tumour": [hostile], "gone": [hostile], "cut": [hostile]})
    )
    assert_inert(told(root))
    summary = (root / "reports" / "summary.md").read_bytes()
    assert len(summary) < actions.MOST_SUMMARY
    assert not re.search(rb"(?m)^\s*::", summary)


def test_no_plan_makes_a_report_too_long(root: Path) -> None:
    reasons = ["😀" * 500] * 20
    models = {f"model_{n}": reasons for n in range(100)}
    for name in models:
        put(root, name, "check.json", broken(100, violations_left_out=10**9))
    report(root, [], plan=plan(root, models))
    assert len(told(root)) <= markdown.LIMIT - markdown.ADDED
    assert len((root / "reports" / "summary.md").read_bytes()) < actions.MOST_SUMMARY


ENTRY: dict[str, Any] = {"model": "churn", "reasons": []}


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        {"models": {}},
        {"models": [], "writable": True},
        {"models": [], "writable": True, "head": "HEAD"},
        {"models": [], "writable": True, "head": HEAD + "\n"},
        {"models": [], "writable": "true", "head": HEAD},
        *(
            {"models": models, "writable": True, "head": HEAD}
            for models in (
                ["churn"],
                [{}],
                [ENTRY, ENTRY],
                [{"model": "churn"}],
                [{"model": "churn", "reasons": "x"}],
                [{"model": "churn", "reasons": [1]}],
                *(
                    [{"model": name, "reasons": []}]
                    for name in (
                        3,
                        "",
                        "..",
                        ".",
                        "../x",
                        "a/b",
                        "a\\b",
                        "/etc",
                        "a b",
                        "a\n",
                        "a\x00",
                        "x" * 101,
                        "-x",
                        "ü",
                    )
                ),
            )
        ),
    ],
)
def test_what_is_no_plan_is_refused_in_two_lines(root: Path, value: Any, capsys: Any) -> None:
    (root / "plan.json").write_text(json.dumps(value))
    assert main(["report", "--plan", "plan.json"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("mlops report: plan.json is no plan: ")
    assert len(said.strip().splitlines()) <= 2
    assert not (root / "reports").exists()


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "\udcff", "1" * 5000])
def test_a_plan_that_is_no_json_is_refused(root: Path, text: str) -> None:
    (root / "plan.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(Refusal, match=r"JSON|no plan"):
        report(root, [], plan="plan.json")


def test_a_missing_or_huge_plan_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Refusal, match="There is no absent"):
        report(root, [], plan="absent.json")
    monkeypatch.setattr(planned, "MOST_BYTES", 10)
    with pytest.raises(Refusal, match="at most 10 are read"):
        report(root, [], plan=plan(root, {}))


def test_a_plan_and_names_are_not_both_taken(root: Path) -> None:
    with pytest.raises(Refusal, match="not both"):
        report(root, ["churn"], plan=plan(root, {"churn": []}))


def test_a_planned_report_runs_on_a_bare_python(root: Path) -> None:
    put(root, "tumour", "evidence.json", evidence.sample("tumour"))
    done = bare(root, "report", "--plan", plan(root, {"tumour": ["x"], "churn": ["y"]}))
    assert (done.returncode, done.stderr) == (0, "")
    assert os.listdir(root / "reports") != []
