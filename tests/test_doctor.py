"""`make doctor` in a generated repository, with the real `gh` and the GitHub on this machine."""

import datetime as dt
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Bake
from tests.github import ADMINISTRATOR, READ, GitHub, Repository
from tests.rendering import command, commit, make

NAME = "acme/ml-models"
OWNER = {**ADMINISTRATOR, "secrets": READ, "variables": READ}
READER = {"contents": READ}


@dataclass
class Clone:
    """A repository that was generated, on its GitHub."""

    root: Path
    github: GitHub
    home: Path

    @property
    def repository(self) -> Repository:
        """What GitHub has."""
        return self.github.repositories[NAME]

    def run(self, verb: str, **permissions: str) -> "subprocess.CompletedProcess[str]":
        """A verb, with a token of these permissions; GitHub must know whatever it asks."""
        with self.github.token(NAME, permissions, actor="ann") as token:
            settings = {
                **self.github.environment(),
                **{"GH_HOST": self.github.host, "GH_TOKEN": token, "GH_ENTERPRISE_TOKEN": token},
                **{"GITHUB_SERVER_URL": self.github.url, "GITHUB_REPOSITORY": NAME, "HOME": str(self.home)},
            }
            # `gh` stands beside the interpreter of these tests; Python is the one of whoever types `make`.
            settings["PATH"] = f"{os.environ['PATH']}{os.pathsep}{Path(sys.executable).parent}"
            command_line = ("python3", "-m", "mlops", verb, "--json")
            done = command(*command_line, cwd=self.root, PYTHONPATH="packages/mlops/src", **settings)
        assert self.github.unknown == []
        return done

    def doctor(self, **permissions: str) -> tuple[int, dict[str, set[str]], str]:
        """Its exit code, how each check ended, and all that it says."""
        done = self.run("doctor", **permissions)
        assert done.returncode in (0, 1), done.stdout + done.stderr
        found: dict[str, set[str]] = {}
        values: list[dict[str, Any]] = json.loads(done.stdout)
        for one in values:
            found.setdefault(one["check"], set()).add(one["outcome"])
        return done.returncode, found, "\n".join(f"{one['sentence']} {one['do']}" for one in values)


@pytest.fixture
def project(bake: Bake) -> Path:
    """A fresh repository, nothing trained."""
    return bake()


@pytest.fixture
def clone(project: Path, tmp_path: Path) -> Iterator[Clone]:
    """It was pushed, and nobody has changed a setting yet."""
    (project / "uv.lock").write_text("version = 1\n")
    commit(project, "Lock")
    home = tmp_path / "home"
    home.mkdir()
    with GitHub(tmp_path / "github") as github:
        github.create(NAME, project).settings |= {
            "actions/permissions": {"enabled": True, "allowed_actions": "all"},
            "actions/permissions/workflow": {
                "default_workflow_permissions": READ,
                "can_approve_pull_request_reviews": False,
            },
            "actions/oidc/customization/sub": {"use_default": True},
        }
        command("git", "remote", "add", "origin", f"{github.url}/{NAME}.git", cwd=project)
        yield Clone(project, github, home)


def test_in_a_fresh_repository_it_says_what_to_do_and_nothing_is_broken(project: Path) -> None:
    """Neither GitHub nor a version nor an installed package: its first words to a newcomer."""
    said = make(project, "doctor")
    assert "→ make setup" in said
    assert "→ make verdict MODEL=tumour" in said
    assert "There is no remote called origin." in said
    assert "@my-org/ml-team is the template's example" in said
    assert " broken" not in said


def test_after_the_first_push_it_says_what_github_still_needs(clone: Clone) -> None:
    """`make harden` is one of them; after it the rules are right, and a weaker one is broken."""
    code, found, said = clone.doctor(**OWNER)
    assert code == 0, said
    assert {outcome for ones in found.values() for outcome in ones} == {"ok", "to do"}, said
    for name in ("rules", "pull requests", "schedules", "runs", "staging", "production"):
        assert found[name] == {"to do"}, said
    assert {found[name] == {"ok"} for name in ("Actions", "token", "branch", "settings", "code owners")} == {True}

    assert clone.run("harden", **OWNER).returncode == 0
    clone.repository.settings["actions/permissions/workflow"]["can_approve_pull_request_reviews"] = True
    code, found, said = clone.doctor(**OWNER)
    assert (code, found["rules"], found["pull requests"]) == (0, {"ok"}, {"ok"}), said
    clone.repository.rulesets[0]["enforcement"] = "disabled"
    code, found, said = clone.doctor(**OWNER)
    assert (code, found["rules"]) == (1, {"broken"}), said


def test_it_sees_a_schedule_that_stopped_and_a_release_that_cannot_work(clone: Clone) -> None:
    """One schedule was switched off, one release failed, an address has no key; the rest is as it should be."""
    today = f"{dt.datetime.now(dt.UTC):%Y-%m-%d}T04:23:00Z"
    clone.repository.scheduled |= {"ct.yml": today, "watch.yml": today}
    clone.repository.ended |= dict.fromkeys(("ci.yml", "cd.yml", "ct.yml", "watch.yml"), "success")
    many = [{"name": f"V{number}", "value": ""} for number in range(40)]
    address = {"name": "STAGING_ADDRESS", "value": "ssh://deploy@models.example.com"}
    policy = {"protected_branches": False, "custom_branch_policies": True}
    clone.repository.settings |= {
        "actions/variables": [*many, address],
        "environments": [{"name": "staging", "protection_rules": [], "deployment_branch_policy": policy}],
        "environments/staging/deployment-branch-policies": [{"name": "main"}],
        "environments/staging/variables": [{"name": "DEPLOY_KNOWN_HOSTS", "value": "x"}],
        "environments/staging/secrets": [{"name": "DEPLOY_SSH_KEY"}],
    }
    code, found, said = clone.doctor(**OWNER)
    assert (code, found["schedules"], found["runs"], found["staging"]) == (0, {"ok"}, {"ok"}, {"ok"}), said

    clone.repository.off.add("ct.yml")
    clone.repository.ended["cd.yml"] = "failure"
    clone.repository.settings["environments/staging/secrets"] = []
    code, found, said = clone.doctor(**OWNER)
    assert code == 1
    for name in ("schedules", "runs", "staging"):
        assert "broken" in found[name], said
    assert "gh workflow enable ct.yml" in said
    assert "DEPLOY_SSH_KEY is not set" in said


def test_what_a_token_may_not_read_is_not_asked(clone: Clone) -> None:
    """Nothing that it cannot see is called right."""
    _, found, said = clone.doctor(**READER)
    for name in ("Actions", "pull requests", "schedules", "runs", "settings"):
        assert found[name] == {"not asked"}, said
    assert "The token may not read it: " in said
    assert "`administration: read`" in said
