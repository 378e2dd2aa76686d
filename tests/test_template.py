"""The template repository's own promises: fixed top level, commands that README and CI share, pinned actions."""

import json
import re
import runpy

import pytest
import yaml

from tests.rendering import ROOT, template

TOP = {
    *("<<cookiecutter.project>>", "hooks", ".github", "tests", "benchmarks", ".ci"),
    *("cookiecutter.json", "README.md", "pyproject.toml", "Makefile", "CHANGELOG.md", "LICENSE"),
    *(".gitignore", ".gitattributes"),
}


def test_the_top_level_is_fixed() -> None:
    assert {path.name for path in template().iterdir()} - {"uv.lock"} == TOP


def test_make_help_lists_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text()
    phony = re.search(r"(?m)^\.PHONY: (.*)$", makefile)
    assert phony is not None
    assert set(re.findall(r"(?m)^([a-z-]+):.*## ", makefile)) == set(phony[1].split())


def test_ci_runs_the_command_of_the_readme() -> None:
    command = (ROOT / ".ci" / "run").read_text().splitlines()[-1]
    assert command == "exec make test"
    assert "\nmake test\n" in (ROOT / "README.md").read_text()


def test_the_readme_lists_the_prompts() -> None:
    from tests.rendering import PROMPTS

    assert re.findall(r"(?m)^\| `(\w+)` \|", (ROOT / "README.md").read_text()) == PROMPTS


def test_the_verdict_needs_every_job() -> None:
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())["jobs"]
    assert set(jobs["verdict"]["needs"]) == set(jobs) - {"verdict"}
    (step,) = jobs["verdict"]["steps"]
    assert step["run"] == f'test "$RESULTS" = "{" ".join(["success"] * len(jobs["verdict"]["needs"]))}"'


def test_the_page_of_measurements_says_what_the_results_say() -> None:
    """No figure on it was typed by hand."""
    script = runpy.run_path(str(ROOT / "benchmarks" / "__main__.py"))
    assert (ROOT / "benchmarks" / "README.md").read_text() == script["page"](script["results"]()) + "\n"


@pytest.mark.parametrize(
    ("result", "row"),
    [
        ({"measured": 0.5, "at_most": 0.6}, "| ratio | 0.500 | 0.6 | yes | yes |"),
        ({"measured": 0.7, "at_most": 0.6}, "| ratio | 0.700 | 0.6 | NO | yes |"),
        (None, "| noop | not measured | | NO | |"),
    ],
)
def test_a_missed_goal_is_said_on_the_page(result: dict[str, float] | None, row: str) -> None:
    one = {"goals": {"ratio": result}, "right": True, "question": "", "notes": [], "versions": {}, "tables": {}}
    page = runpy.run_path(str(ROOT / "benchmarks" / "__main__.py"))["page"]
    assert row in page({"noop": one} if result else {}).splitlines()


def test_measurements_name_no_machine() -> None:
    for path in (ROOT / "benchmarks" / "results").glob("*.json"):
        assert not re.search(r"(^|[\s\"'])/\w|[\w.]+@[\w.]+|localhost", path.read_text()), path
        assert set(json.loads(path.read_text())) >= {"question", "goals", "right", "tables", "versions"}, path


def test_every_file_that_the_readme_names_is_there() -> None:
    """Links, pictures, and the tests that prove its promises."""
    text = (ROOT / "README.md").read_text()
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    assert links
    for link in links:
        assert (ROOT / link).exists(), link
    names = re.findall(r"`(test_\w+)`", text)
    tests = "".join(path.read_text() for path in (*ROOT.glob("tests/*.py"), *ROOT.glob("<<*/**/tests/test_*.py")))
    assert names
    assert [name for name in names if f"def {name}(" not in tests] == []
