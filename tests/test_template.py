"""The template repository's own promises: fixed top level, commands that README and CI share, pinned actions."""

import re

import yaml

from tests.rendering import ROOT, template

TOP = {
    *("<<cookiecutter.project>>", "hooks", ".github", "tests", "benchmarks", ".ci"),
    *("cookiecutter.json", "README.md", "pyproject.toml", "Makefile", "CHANGELOG.md", "LICENSE"),
    *(".gitignore", ".gitattributes"),
}
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


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


def test_workflows_grant_nothing_at_the_top_pin_actions_and_end() -> None:
    assert WORKFLOWS
    for path in WORKFLOWS:
        text = path.read_text()
        flow = yaml.safe_load(text)
        assert flow["permissions"] == {}, path
        for job in flow["jobs"].values():
            assert "timeout-minutes" in job
            assert job["runs-on"] == "ubuntu-24.04"
            for step in job["steps"]:
                assert "${{" not in step.get("run", "")
                assert "continue-on-error" not in step
                if step.get("uses", "").startswith("actions/checkout@"):
                    assert step["with"]["persist-credentials"] is False
        for used in re.findall(r"uses: (\S+.*)", text):
            assert re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", used), used


def test_the_verdict_needs_every_job() -> None:
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())["jobs"]
    assert set(jobs["verdict"]["needs"]) == set(jobs) - {"verdict"}
    (step,) = jobs["verdict"]["steps"]
    assert step["run"] == f'test "$RESULTS" = "{" ".join(["success"] * len(jobs["verdict"]["needs"]))}"'
