"""What GitHub reads beside the workflows: who is asked, what is updated, what is asked of people, what is enforced."""

import ast
import json
import re
import sys
from pathlib import Path

import pytest
import yaml

from tests.conftest import Bake
from tests.rendering import PRODUCT, ROOT, command

SCHEMAS = {
    "dependabot.yml": "vendor.dependabot",
    "ISSUE_TEMPLATE/config.yml": "vendor.github-issue-config",
    **{f"ISSUE_TEMPLATE/{name}.yml": "vendor.github-issue-forms" for name in ("bug", "data-problem", "model-request")},
}
OWNER = re.compile(r"@[A-Za-z0-9][A-Za-z0-9-]*(?:/[A-Za-z0-9][A-Za-z0-9_-]*)?")


CHECKER = (sys.executable, "-m", "check_jsonschema")


def read(path: str) -> str:
    return (PRODUCT / path).read_text(encoding="utf-8")


@pytest.mark.parametrize("path", SCHEMAS)
def test_each_file_is_what_github_understands(path: str) -> None:
    checker = (*CHECKER, "--builtin-schema", SCHEMAS[path], str(PRODUCT / ".github" / path))
    done = command(*checker, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_broken_form_is_seen(tmp_path: Path) -> None:
    """The breaker of the check above."""
    (tmp_path / "dependabot.yml").write_text(read(".github/dependabot.yml").replace("days: 7", "days: soon"))
    done = command(*CHECKER, "--builtin-schema", "vendor.dependabot", "dependabot.yml", cwd=tmp_path)
    assert done.returncode != 0


def test_every_kind_of_dependency_waits_a_week_and_comes_in_one_pull_request() -> None:
    updates = yaml.safe_load(read(".github/dependabot.yml"))["updates"]
    assert {one["package-ecosystem"] for one in updates} == {"uv", "docker", "docker-compose", "github-actions"}
    for one in updates:
        assert one["cooldown"] == {"default-days": 7}
        assert [group["patterns"] for group in one["groups"].values()] == [["*"]]


def test_updates_of_actions_reach_the_composite_ones() -> None:
    updates = yaml.safe_load(read(".github/dependabot.yml"))["updates"]
    (actions,) = [one for one in updates if one["package-ecosystem"] == "github-actions"]
    assert actions["directories"] == ["/", "/.github/actions/*"]


@pytest.mark.parametrize("owner", ["octocat", "my-org/ml-team", "@my-org/ml-team", "@octocat"])
def test_code_owners_are_whom_the_prompt_named(owner: str, bake: Bake) -> None:
    """Every line names a pattern and an owner as GitHub writes them; the judge is covered after everything else."""
    text = (bake(owner=owner) / ".github" / "CODEOWNERS").read_text(encoding="utf-8")
    lines = [line.split() for line in text.splitlines() if line and not line.startswith("#")]
    assert [pattern for pattern, *_ in lines] == ["*", "/.github/", "/packages/mlops/"]
    for _, *owners in lines:
        assert owners == [f"@{owner.lstrip('@')}"]
        assert OWNER.fullmatch(owners[0])


def test_no_form_asks_for_rows_of_data() -> None:
    """Issues may be public; the forms that lead people to data say so first."""
    for name in ("bug", "data-problem"):
        form = yaml.safe_load(read(f".github/ISSUE_TEMPLATE/{name}.yml"))
        assert form["body"][0]["type"] == "markdown"
        assert "everybody" in form["body"][0]["attributes"]["value"]


def test_what_the_pages_name_is_there(bake: Bake) -> None:
    project = bake()
    makefile = (project / "Makefile").read_text(encoding="utf-8")
    for page in (".github/CONTRIBUTING.md", ".github/SECURITY.md", "docs/how-to/protect-the-default-branch.md"):
        text = (project / page).read_text(encoding="utf-8")
        for target in re.findall(r"(?m)(?:^|`)make ([a-z-]+)", text):
            assert f"\n{target}:" in makefile, target
        for path in re.findall(r"`((?:docs|\.github|packages)/[\w./-]+)`", text):
            assert (project / path).exists(), path


def test_the_required_check_is_the_job_that_needs_all_others() -> None:
    """One that no job reports would hold every pull request for ever; one that needs fewer jobs lets some past."""
    ruleset = json.loads(read(".github/rulesets/default-branch.json"))
    (checks,) = [rule["parameters"] for rule in ruleset["rules"] if rule["type"] == "required_status_checks"]
    (required,) = [one["context"] for one in checks["required_status_checks"]]
    jobs = yaml.safe_load(read(".github/workflows/ci.yml"))["jobs"]
    assert [name for name, job in jobs.items() if job.get("name", name) == required] == ["verdict"]
    assert set(jobs["verdict"]["needs"]) == set(jobs) - {"verdict"}
    (table,) = [
        node.value
        for node in ast.parse(read("packages/mlops/src/mlops/publishing/verdict.py")).body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "JOBS"
    ]
    assert isinstance(table, ast.Dict)
    assert {key.value for key in table.keys if isinstance(key, ast.Constant)} == set(jobs["verdict"]["needs"])
