"""The verb `report`: reads what the gate wrote, writes the reports, refuses what is no evidence."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import evidence
import pytest

import mlops
from mlops.cli import main
from mlops.errors import Refusal
from mlops.reporting import command
from mlops.reporting.command import report

BARE = "import sys; sys.path.insert(0, {!r}); from mlops.cli import main; sys.exit(main({!r}))"


def bare(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`mlops` on a Python with no package but our own source: isolated, without site-packages."""
    script = BARE.format(str(Path(mlops.__file__).parents[1]), list(arguments))
    command = [sys.executable, "-I", "-S", "-c", script]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, encoding="utf-8", check=False)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with the models `tumour` and `diabetes`; the gate has seen `tumour`."""
    (tmp_path / "packages" / "mlops").mkdir(parents=True)
    for name in ("tumour", "diabetes"):
        (tmp_path / "models" / name).mkdir(parents=True)
        (tmp_path / "models" / name / "model.toml").write_text("")
    put(tmp_path, "tumour", evidence.sample("tumour"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def put(root: Path, model: str, value: Any) -> Path:
    path = root / "reports" / model / "evidence.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return path


def test_all_judged_models_are_reported(root: Path) -> None:
    put(root, "diabetes", evidence.sample("diabetes", task="regression", verdict="failed"))
    outcome = report(root, [])
    written = (root / "reports" / "report.md").read_text(encoding="utf-8")
    assert "diabetes" in written
    assert "tumour" in written
    assert "reports/report.md" in outcome.text
    assert "1 failed, 1 passed" in outcome.text
    assert outcome.value == {"models": {"diabetes": "failed", "tumour": "passed"}, "files": ["reports/report.md"]}
    assert outcome.code == 0


def test_a_model_that_was_deleted_is_not_reported(root: Path) -> None:
    """Its folder in reports/ may lie there for years."""
    put(root, "gone", evidence.sample("gone"))
    assert report(root, []).value["models"] == {"tumour": "passed"}
    shutil.rmtree(root / "models" / "tumour")
    with pytest.raises(Refusal, match="has not judged any model"):
        report(root, [])


def test_only_named_models_are_reported(root: Path) -> None:
    put(root, "diabetes", evidence.sample("diabetes"))
    report(root, ["tumour"])
    assert "diabetes" not in (root / "reports" / "report.md").read_text(encoding="utf-8")


def test_html_is_written_when_asked_for(root: Path) -> None:
    assert report(root, []).value["files"] == ["reports/report.md"]
    assert not (root / "reports" / "report.html").exists()
    assert report(root, [], html=True).value["files"] == ["reports/report.md", "reports/report.html"]
    assert "<svg" in (root / "reports" / "report.html").read_text(encoding="utf-8")


def test_json_lists_models_and_verdicts(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["models"] == {"tumour": "passed"}


def test_nothing_judged_is_refused(root: Path) -> None:
    (root / "reports" / "tumour" / "evidence.json").unlink()
    with pytest.raises(Refusal, match="has not judged any model"):
        report(root, [])


def test_a_model_that_the_gate_has_not_seen_is_refused_by_name(root: Path) -> None:
    with pytest.raises(Refusal, match="diabetes: the gate has not judged it"):
        report(root, ["diabetes"])


def test_an_unknown_model_is_refused_with_the_nearest_name(root: Path) -> None:
    with pytest.raises(Refusal) as refused:
        report(root, ["tumor"])
    assert "tumour" in str(refused.value)


@pytest.mark.parametrize(
    "broken",
    [
        "",
        "{",
        "[]",
        "null",
        '"text"',
        "1" * 5000,
        "[" * 100_000,
        '{"model": "tumour"}',
        '{"model": "tumour", "verdict": "passed"}',
        '{"model": "tumour", "verdict": {"verdict": "maybe"}}',
        '{"model": 3, "verdict": {"verdict": "passed"}}',
        '{"model": "diabetes", "verdict": {"verdict": "passed"}}',
        '{"model": "tumour", "verdict": {"verdict": ["passed"]}}',
        '{"model": "../../etc", "verdict": {"verdict": "passed"}}',
        "\x00\x01",
    ],
)
def test_broken_evidence_is_refused_in_two_lines_that_name_the_model(root: Path, broken: str, capsys: Any) -> None:
    put(root, "tumour", broken)
    assert main(["report"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("mlops report: tumour: ")
    assert len(said.strip().splitlines()) <= 2
    assert len(said) < 600
    assert not (root / "reports" / "report.md").exists()


def test_bytes_that_are_not_text_are_refused(root: Path) -> None:
    (root / "reports" / "tumour" / "evidence.json").write_bytes(b"\xff\xfe{}")
    with pytest.raises(Refusal, match=r"tumour: evidence\.json is not valid JSON"):
        report(root, [])


def test_an_enormous_file_is_refused_before_it_is_read(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "MOST_BYTES", 1000)
    with pytest.raises(Refusal, match=r"tumour: evidence\.json .* at most 1,000 are read"):
        report(root, [])


@pytest.mark.parametrize("wrong", [3, "text", ["text"], {"a": 1}, True])
def test_a_wrong_type_is_refused_and_says_where(root: Path, wrong: Any) -> None:
    """At every place of the evidence that has a type, one of these values is of another one."""
    one = evidence.sample("tumour")
    refused: list[str] = []
    for path in evidence.paths(one):
        put(root, "tumour", evidence.replaced(one, path, wrong) if path else wrong)
        try:
            report(root, [])
        except Refusal as refusal:
            refused.append(str(refusal))
    assert len(refused) > 40
    assert all(said.startswith("tumour: ") and len(said.splitlines()) <= 2 for said in refused)


def test_missing_parts_are_no_reason_to_refuse(root: Path) -> None:
    put(root, "tumour", {"model": "tumour", "verdict": {"verdict": "not evaluated"}})
    assert report(root, []).value["models"] == {"tumour": "not evaluated"}


def test_the_report_runs_on_a_bare_python(root: Path) -> None:
    done = bare(root, "report")
    assert (done.returncode, done.stderr) == (0, "")
    assert (root / "reports" / "report.md").exists()


def test_html_without_its_library_is_refused_and_the_other_report_is_there(root: Path) -> None:
    done = bare(root, "report", "--html")
    assert done.returncode == 2
    assert "report.html needs matplotlib" in done.stderr
    assert (root / "reports" / "report.md").exists()
