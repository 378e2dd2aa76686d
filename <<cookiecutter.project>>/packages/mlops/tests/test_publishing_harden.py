"""The verb `harden`: GitHub gets exactly the rules of the files, once, and a dry run changes nothing."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from hub import Hub
from test_reporting_command import bare

from mlops import github
from mlops.cli import main
from mlops.errors import Refusal
from mlops.publishing import harden
from mlops.publishing.harden import compare

SHIPPED = {path.stem: json.loads(path.read_text()) for path in (ROOT / ".github" / "rulesets").glob("*.json")}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with the rulesets that are shipped."""
    root = tmp_path / "project"
    (root / "packages" / "mlops").mkdir(parents=True)
    (root / "models").mkdir()
    (root / ".github" / "rulesets").mkdir(parents=True)
    for name, value in SHIPPED.items():
        (root / ".github" / "rulesets" / f"{name}.json").write_text(json.dumps(value))
    monkeypatch.chdir(root)
    return root


def rules(hub: Hub, name: str) -> dict[str, Any]:
    (one,) = [one for one in hub.load()["rulesets"] if one["name"] == name]
    return {rule["type"]: rule.get("parameters", {}) for rule in one["rules"]}


def test_what_the_shipped_rules_protect() -> None:
    """Each line here is a promise of the how-to; take one out of the JSON and this fails."""
    main_branch = {rule["type"]: rule.get("parameters", {}) for rule in SHIPPED["default-branch"]["rules"]}
    assert SHIPPED["default-branch"]["conditions"]["ref_name"] == {"include": ["~DEFAULT_BRANCH"], "exclude": []}
    assert {"deletion", "non_fast_forward"} <= set(main_branch)
    assert main_branch["pull_request"]["require_code_owner_review"] is True
    assert main_branch["pull_request"]["required_approving_review_count"] >= 1
    assert main_branch["required_status_checks"]["strict_required_status_checks_policy"] is True
    assert main_branch["required_status_checks"]["required_status_checks"] == [
        {"context": "verdict", "integration_id": harden.ACTIONS_APP}
    ]
    storage = SHIPPED["dvc-storage"]
    assert storage["conditions"]["ref_name"]["include"] == ["refs/heads/dvc-storage"]
    # Workflows create the branch and push to it; nobody takes anything away.
    assert {rule["type"] for rule in storage["rules"]} == {"deletion", "non_fast_forward"}
    assert {one["enforcement"] for one in SHIPPED.values()} == {"active"}
    assert not any("bypass_actors" in one for one in SHIPPED.values())


def test_rules_are_made_once(hub: Hub, root: Path) -> None:
    first = harden.harden(root)
    assert first.value == {"changed": ["default-branch", "dvc-storage"], "applied": True, "codeowners": []}
    assert first.code == 0
    assert rules(hub, "default-branch")["pull_request"]["require_code_owner_review"] is True
    again = harden.harden(root)
    assert again.value["changed"] == []
    assert again.text == "default-branch: GitHub has it already.\ndvc-storage: GitHub has it already."
    assert [call[3] for call in hub.load()["calls"]].count("POST") == 2
    assert [call[3] for call in hub.load()["calls"]].count("PUT") == 0


def test_a_dry_run_shows_the_difference_and_writes_nothing(hub: Hub, root: Path) -> None:
    outcome = harden.harden(root, dry_run=True)
    assert hub.load()["rulesets"] == []
    assert "default-branch: would be made." in outcome.text
    assert '+  "name": "default-branch",' in outcome.text
    assert {call[3] for call in hub.load()["calls"]} == {"GET"}
    assert outcome.value == {"changed": ["default-branch", "dvc-storage"], "applied": False, "codeowners": []}


def test_what_somebody_changed_on_github_is_shown_and_put_right(hub: Hub, root: Path) -> None:
    harden.harden(root)
    one = hub.load()["rulesets"][0]
    one["enforcement"] = "disabled"
    one["rules"] = [rule for rule in one["rules"] if rule["type"] != "non_fast_forward"]
    one["rules"].append({"type": "creation"})
    hub.save()
    shown = harden.harden(root, dry_run=True)
    for line in ('-  "enforcement": "disabled",', '+  "enforcement": "active",', '-      "type": "creation"'):
        assert line in shown.text
    assert '+      "type": "non_fast_forward"' in shown.text
    assert harden.harden(root).value["changed"] == ["default-branch"]
    assert "creation" not in rules(hub, "default-branch")
    assert harden.harden(root).value["changed"] == []


@pytest.mark.parametrize(
    ("owners", "says"),
    [
        (None, "There is no CODEOWNERS on the default branch."),
        (
            [{"path": ".github/CODEOWNERS", "line": 5, "kind": "Unknown owner", "source": "* @acme\x1b[2J"}],
            ".github/CODEOWNERS, line 5: Unknown owner: * @acme?[2J",
        ),
    ],
)
def test_code_owners_whom_github_does_not_find_are_named(hub: Hub, root: Path, owners: Any, says: str) -> None:
    """A line that it cannot read asks nobody: the rule would be there and would not hold."""
    hub.world["owners"] = owners
    hub.save()
    outcome = harden.harden(root)
    assert outcome.code == 2
    assert says in outcome.text
    assert len(hub.load()["rulesets"]) == 2


def test_code_owners_that_cannot_be_checked_are_not_taken_for_good(hub: Hub, root: Path) -> None:
    hub.world["fail"] = {"GET .*codeowners/errors": 403}
    hub.save()
    outcome = harden.harden(root)
    assert outcome.code == 2
    assert "default-branch: made." in outcome.text
    assert "Nobody knows whether GitHub finds the code owners" in outcome.text


def test_who_is_exempt_stays_exempt(hub: Hub, root: Path) -> None:
    harden.harden(root)
    exempt = [{"actor_id": 5, "actor_type": "RepositoryRole", "bypass_mode": "always"}]
    for one in hub.load()["rulesets"]:
        one |= {"bypass_actors": exempt, "enforcement": "disabled"}
    hub.save()
    assert harden.harden(root).value["changed"] == ["default-branch", "dvc-storage"]
    assert [(one["bypass_actors"], one["enforcement"]) for one in hub.load()["rulesets"]] == [(exempt, "active")] * 2


def test_rulesets_of_other_names_are_left_alone(hub: Hub, root: Path) -> None:
    other = {"id": 5, "name": "theirs", "target": "branch", "enforcement": "active", "rules": [], "conditions": {}}
    hub.world["rulesets"] = [other]
    hub.save()
    harden.harden(root)
    assert hub.load()["rulesets"][0] == other


def weaken(value: dict[str, Any]) -> list[dict[str, Any]]:
    """The ruleset of the default branch, weakened in every single place."""
    found = []
    for n, rule in enumerate(value["rules"]):
        one = copy.deepcopy(value)
        del one["rules"][n]
        found.append(one)
        for key, given in rule.get("parameters", {}).items():
            one = copy.deepcopy(value)
            one["rules"][n]["parameters"][key] = (
                (not given) if isinstance(given, bool) else 0 if isinstance(given, int) else []
            )
            found.append(one)
    for path in (("enforcement",), ("target",), ("conditions", "ref_name", "include")):
        one = copy.deepcopy(value)
        inner = one
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = [] if path[-1] == "include" else "other"
        found.append(one)
    return found


def test_every_weaker_rule_on_github_is_seen() -> None:
    wanted = SHIPPED["default-branch"]
    weaker = weaken(wanted)
    assert len(weaker) > 10
    for there in weaker:
        assert compare(wanted, there), there
    assert compare(wanted, wanted | {"id": 3, "_links": {}, "updated_at": "x"}) == ()
    assert compare(wanted, wanted | {"rules": wanted["rules"][::-1]}) == ()


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"name": 3}', '{"name": "x", "target": "branch"}'])
def test_a_file_that_is_no_ruleset_is_refused_before_anything_is_written(hub: Hub, root: Path, text: str) -> None:
    (root / ".github" / "rulesets" / "zz.json").write_text(text)
    with pytest.raises(Refusal, match=r"zz\.json"):
        harden.harden(root)
    assert hub.load()["rulesets"] == []


def test_without_a_file_there_is_nothing_to_do(hub: Hub, root: Path) -> None:
    for path in (root / ".github" / "rulesets").iterdir():
        path.unlink()
    with pytest.raises(Refusal, match="no ruleset"):
        harden.harden(root)


def test_who_may_not_do_it_is_told_the_permission(hub: Hub, root: Path, capsys: Any) -> None:
    hub.world["fail"] = {"POST .*rulesets": 403}
    hub.save()
    assert main(["harden"]) == 2
    assert "`administration: write`" in capsys.readouterr().err
    hub.world["fail"] = {"GET .*": 403}
    hub.world["said"] = "Upgrade to GitHub Pro or make this repository public to enable this feature."
    hub.save()
    assert main(["harden", "--dry-run"]) == 2
    assert "Upgrade to GitHub Pro" in capsys.readouterr().err


def test_on_a_server_of_ones_own_the_check_is_anybodys(hub: Hub, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """GitHub Actions has another number there, and a ruleset with an unknown one is refused."""
    monkeypatch.setenv("GH_HOST", "github.example.com")
    harden.harden(root)
    checks = rules(hub, "default-branch")["required_status_checks"]["required_status_checks"]
    assert checks == [{"context": "verdict"}]
    assert harden.harden(root).value["changed"] == []


def test_what_github_says_cannot_move_the_terminal(hub: Hub, root: Path) -> None:
    harden.harden(root)
    hub.load()["rulesets"][0]["enforcement"] = "\x1b[2J\u202eevil"
    hub.save()
    assert "\x1b" not in harden.harden(root, dry_run=True).text
    assert "\u202e" not in harden.harden(root, dry_run=True).text


def test_it_runs_on_a_bare_python(hub: Hub, root: Path) -> None:
    done = bare(root, "harden", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert github.rulesets() == {}
