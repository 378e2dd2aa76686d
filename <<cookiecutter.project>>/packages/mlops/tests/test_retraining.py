"""From a due model to a pull request or an issue: what is written, who is believed, and how the next run recovers."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import evidence
import pytest
import stored
from hub import Hub
from pages import TOML
from stored import git

from mlops import actions, files, github, storage
from mlops.errors import Refusal
from mlops.retraining import words
from mlops.retraining.history import alarms, history
from mlops.retraining.propose import Decision, Found, decide, propose
from mlops.retraining.start import start
from mlops.storing.pack import pack
from mlops.workspace import Model

REASON = "its data is of 2026-07-01, 92 days ago; the schedule is 30 days"


@dataclass
class Desk:
    """What GitHub was asked to write, and what it answers."""

    pulls: list[dict[str, Any]] = field(default_factory=list)
    issues: dict[int, dict[str, Any]] = field(default_factory=dict)
    dispatched: list[str] = field(default_factory=list)
    merging: list[int] = field(default_factory=list)
    forbids: bool = False

    def open_pull(self, title: str, body: str, *, branch: str, into: str) -> int:
        if self.forbids:
            raise github.Failure("GitHub Actions is not permitted to create or approve pull requests.", status=403)
        self.pulls.append({"number": len(self.pulls) + 1, "branch": branch, "into": into, "title": title, "body": body})
        return len(self.pulls)

    def pull_of(self, branch: str) -> github.PullRequest | None:
        return next((github.PullRequest(one["number"], "") for one in self.pulls if one["branch"] == branch), None)

    def change_pull(self, number: int, *, title: str, body: str) -> None:
        self.pulls[number - 1] |= {"title": title, "body": body}

    def open_issue(self, title: str, body: str, *, label: str) -> github.Issue:
        number = len(self.issues) + 1
        self.issues[number] = {"title": title, "body": body, "label": label, "open": True, "comments": []}
        return self.listed(label)[-1]

    def listed(self, label: str) -> list[github.Issue]:
        return [
            github.Issue(
                number=number, author="bot", title=one["title"], body=one["body"], updated="2026-09-20T00:00:00Z"
            )
            for number, one in self.issues.items()
            if one["open"] and one["label"] == label
        ]


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> Desk:
    one = Desk()
    for name, function in {
        "create_pull_request": one.open_pull,
        "pull_request_of": one.pull_of,
        "update_pull_request": one.change_pull,
        "create_issue": one.open_issue,
        "open_issues": one.listed,
        "update_issue": lambda number, *, title, body: one.issues[number].update(title=title, body=body),
        "close_issue": lambda number, *, done: one.issues[number].update(open=False),
        "comment_on_issue": lambda number, body: one.issues[number]["comments"].append(body),
        "dispatch": lambda workflow, *, branch: one.dispatched.append(f"{workflow} {branch}"),
        "merge_when_passed": one.merging.append,
    }.items():
        monkeypatch.setattr(github, name, function)
    monkeypatch.delenv("MLOPS_PUSH_STARTS_CI", raising=False)
    return one


@pytest.fixture
def server(tmp_path: Path) -> Path:
    return stored.bare(tmp_path / "origin.git")


@pytest.fixture
def base(project: Path, server: Path) -> Path:
    """The default branch's checkout, where the trusted jobs run."""
    stored.add(project)
    (project / "models" / "cheap" / "model.toml").write_text(TOML)
    stored.connected(project, server)
    return project


def planned(root: Path, place: Path, *models: str) -> str:
    """What `mlops due --into` wrote."""
    due = [{"model": model, "reasons": [REASON]} for model in models or ("cheap",)]
    files.write_json(place, {"head": git(root, "rev-parse", "HEAD"), "today": "2026-10-01", "models": due, "held": []})
    return str(place)


def started(root: Path, folder: Path, day: str = "2026-10-01") -> str:
    """Start what is due; the file that says what was started."""
    start(root, planned(root, folder / "due.json"), as_of=day, into=str(folder / "started.json"))
    return str(folder / "started.json")


# Where models are measured.


def test_a_working_branch_is_the_default_branch_with_newer_data_and_nothing_else(
    base: Path, server: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_OUTPUT", str(tmp_path / "output"))
    before = git(base, "show-ref"), git(base, "status", "--porcelain")
    outcome = start(base, planned(base, tmp_path / "due.json"), as_of="2026-10-01", into=str(tmp_path / "started.json"))
    head = git(server, "rev-parse", "ct-work/cheap")
    assert git(server, "rev-parse", f"{head}^@") == git(base, "rev-parse", "HEAD")
    assert git(server, "diff", "--name-only", f"{head}^", head) == "models/cheap/model.toml"
    assert git(server, "show", f"{head}:models/cheap/model.toml") == TOML.replace("2026-07-01", "2026-10-01").strip()
    assert REASON in git(server, "log", "-1", "--format=%B", head)
    said = (tmp_path / "output").read_text().splitlines()[1]
    assert json.loads(said) == [[{"model": "cheap", "runner": "ubuntu-24.04", "minutes": 60, "also": "", "head": head}]]
    assert json.loads((tmp_path / "started.json").read_text()) == outcome.value
    assert (git(base, "show-ref"), git(base, "status", "--porcelain")) == before


def test_what_a_run_before_left_is_replaced(base: Path, server: Path, tmp_path: Path) -> None:
    """It crashed after making its branch: the next one begins anew, without force on anybody else's."""
    started(base, tmp_path, "2026-09-01")
    first = git(server, "rev-parse", "ct-work/cheap")
    started(base, tmp_path, "2026-10-01")
    second = git(server, "rev-parse", "ct-work/cheap")
    assert second != first
    assert git(server, "rev-parse", f"{second}^@") == git(base, "rev-parse", "HEAD")


def test_data_of_that_day_already_starts_nothing(base: Path, server: Path, tmp_path: Path) -> None:
    outcome = start(base, planned(base, tmp_path / "due.json"), as_of="2026-07-01")
    assert outcome.value["models"] == []
    assert "nothing new to train on" in outcome.text
    assert git(server, "for-each-ref", "--format=%(refname)", "refs/heads/ct-work") == ""


@pytest.mark.parametrize(
    "spoil",
    [
        lambda value: value | {"head": "--upload-pack=x"},
        lambda value: value | {"models": [value["models"][0] | {"model": "../x"}]},
        lambda value: value | {"models": [value["models"][0] | {"reasons": [1]}]},
        lambda value: value | {"models": value["models"] * 2},
        lambda value: [],
    ],
)
def test_a_file_that_is_no_plan_is_refused_in_a_line(base: Path, tmp_path: Path, spoil: Callable[[Any], Any]) -> None:
    path = Path(planned(base, tmp_path / "due.json"))
    path.write_text(json.dumps(spoil(json.loads(path.read_text()))))
    with pytest.raises(Refusal, match="is no plan of retraining"):
        start(base, str(path))


# What becomes of them.


def judged(verdict: str = "passed", **changes: Any) -> dict[str, Any]:
    return evidence.sample("cheap", verdict=verdict) | changes


def test_only_a_new_version_that_passed_and_is_stored_is_proposed() -> None:
    """Every other way is refused with the reason, and one that serves already is nothing new."""

    def kind(found: dict[str, Any], **more: Any) -> Decision:
        return decide(Found(model="cheap", reasons=(REASON,), evidence=found, **more))

    assert kind(judged(), stored=True).kind == "proposed"
    assert kind(judged()).kind == "refused"
    assert kind(judged(), store_problem="a digest is wrong").why == ("a digest is wrong",)
    same = judged()
    assert kind(same | {"version": same["champion"]["version"]}, stored=True).kind == "nothing new"
    for verdict in ("failed", "not evaluated"):
        assert kind(judged(verdict), stored=True).kind == "refused"
        assert kind(judged(verdict), stored=True).why
    assert kind({"verdict": {"verdict": "not evaluated", "reasons": []}}, stored=True).kind == "refused"


def trained(server: Path, place: Path, artifacts: Path, *, verdict: str = "passed") -> None:
    """What the training job leaves: evidence always, the packed version where it passed."""
    root = stored.clone(server, place)
    (root / "packages" / "mlops").mkdir(parents=True, exist_ok=True)
    git(root, "checkout", "-q", "ct-work/cheap")
    model = Model(root, "cheap")
    (model.folder / "train.py").write_text(stored.TRAIN)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        storage.repro(model, pull=True)
        version = files.digest(model.export / "manifest.json")[:12]
        found = judged(verdict, version=version, run=None)
        for path in (model.reports / "evidence.json", artifacts / "evaluation-cheap" / "cheap" / "evidence.json"):
            path.parent.mkdir(parents=True, exist_ok=True)
            files.write_json(path, found)
        if verdict == "passed":
            pack(model, str(artifacts / "outputs-cheap"))


@pytest.fixture
def run(base: Path, server: Path, tmp_path: Path) -> Callable[..., Any]:
    """One whole run of retraining, with what the training job says; gives the outcome of `propose`."""
    turns = iter(range(10))

    def once(day: str = "2026-10-01", *, verdict: str = "passed") -> Any:
        folder = tmp_path / f"turn-{next(turns)}"
        folder.mkdir()
        started(base, folder, day)
        trained(server, folder / "job", folder / "artifacts", verdict=verdict)
        return propose(base, str(folder / "started.json"), str(folder / "artifacts"))

    return once


def branches(server: Path) -> set[str]:
    return set(git(server, "for-each-ref", "--format=%(refname:short)", "refs/heads/ct", "refs/heads/ct-work").split())


def test_a_version_that_passed_becomes_a_pull_request(run: Callable[..., Any], server: Path, desk: Desk) -> None:
    """One branch with the newer day and the lock; CI is started there, and the reason is told."""
    outcome = run()
    assert outcome.code == 0, outcome.text
    assert branches(server) == {"ct/cheap"}
    changed = git(server, "diff", "--name-only", "main", "ct/cheap").split()
    assert changed == ["models/cheap/dvc.lock", "models/cheap/metrics.json", "models/cheap/model.toml"]
    (pull,) = desk.pulls
    assert (pull["branch"], pull["into"]) == ("ct/cheap", "main")
    assert pull["title"] == "Retrain cheap: roc_auc 0.9713 → 0.9841"
    assert "92 days ago" in pull["body"]
    assert desk.dispatched == ["ci.yml ct/cheap"]
    assert desk.issues == {}
    assert desk.merging == []


def test_the_next_run_updates_the_same_pull_request_without_force(
    run: Callable[..., Any], base: Path, server: Path, desk: Desk
) -> None:
    """The branch moves forward to exactly the newest measured files; what others pushed there stays in its history."""
    run("2026-10-01")
    first = git(server, "rev-parse", "ct/cheap")
    (base / "README.md").write_text("Moved on.\n")
    stored.commit(base, "Move on")
    git(base, "push", "-q", "origin", "main")
    outcome = run("2026-11-01")
    assert "updated" in outcome.text
    assert len(desk.pulls) == 1
    git(server, "merge-base", "--is-ancestor", first, "ct/cheap")
    assert 'as_of = "2026-11-01"' in git(server, "show", "ct/cheap:models/cheap/model.toml")
    changed = git(server, "diff", "--name-only", "main", "ct/cheap").split()
    assert changed == ["models/cheap/dvc.lock", "models/cheap/metrics.json", "models/cheap/model.toml"]


@pytest.mark.parametrize("verdict", ["failed", "not evaluated"])
def test_a_version_that_did_not_pass_becomes_one_issue_that_is_kept_up_to_date(
    run: Callable[..., Any], server: Path, desk: Desk, verdict: str
) -> None:
    for day in ("2026-10-01", "2026-11-01"):
        outcome = run(day, verdict=verdict)
        assert outcome.code == 0
        assert desk.pulls == []
        assert branches(server) == set()
    (issue,) = desk.issues.values()
    assert issue["title"] == "Retraining cheap was refused"
    reason = judged(verdict)["verdict"]["reasons"][0].split("(")[0].strip().rstrip(".")[:12]
    assert reason in issue["body"]
    assert git(server, "for-each-ref", "refs/heads/dvc-storage") == ""
    # A version that passes closes it.
    run("2026-12-01")
    assert not issue["open"]
    assert issue["comments"] == ["A newer version passed: see pull request #1."]


def test_where_workflows_may_not_open_pull_requests_an_issue_says_what_to_click(
    run: Callable[..., Any], server: Path, desk: Desk
) -> None:
    desk.forbids = True
    outcome = run()
    assert outcome.code == 0
    assert branches(server) == {"ct/cheap"}
    (issue,) = desk.issues.values()
    assert issue["title"] == "Retraining cheap waits for a pull request"
    assert words.ALLOW in issue["body"]
    assert desk.dispatched == []


def test_a_job_that_ended_early_is_an_issue_and_leaves_nothing(
    base: Path, server: Path, tmp_path: Path, desk: Desk
) -> None:
    path = started(base, tmp_path)
    (tmp_path / "artifacts").mkdir()
    outcome = propose(base, path, str(tmp_path / "artifacts"))
    assert outcome.code == 0
    assert branches(server) == set()
    assert len(desk.issues) == 1


def test_bytes_that_are_not_what_they_say_are_refused(base: Path, server: Path, tmp_path: Path, desk: Desk) -> None:
    """The training job lies about its version: `store` finds it, and no branch of a pull request appears."""
    path = started(base, tmp_path)
    trained(server, tmp_path / "job", tmp_path / "artifacts")
    victim = next(one for one in (tmp_path / "artifacts" / "outputs-cheap" / "objects").rglob("*") if one.is_file())
    victim.chmod(0o644)
    victim.write_bytes(b"something else")
    propose(base, path, str(tmp_path / "artifacts"))
    assert branches(server) == set()
    assert desk.pulls == []
    assert [one["title"] for one in desk.issues.values()] == ["Retraining cheap was refused"]


def test_it_merges_by_itself_only_where_model_toml_says_so(
    base: Path, run: Callable[..., Any], desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing that the training job wrote decides it; GitHub waits for the verdict."""
    (base / "models" / "cheap" / "model.toml").write_text(TOML + "[retrain]\nauto_merge = true\n")
    stored.commit(base, "Merge by itself")
    git(base, "push", "-q", "origin", "main")
    assert "merges by itself when its verdict is passed" in run().text
    assert desk.merging == [1]

    def clean(number: int) -> None:
        raise github.Failure("Pull request is in clean status.")

    monkeypatch.setattr(github, "merge_when_passed", clean)
    outcome = run("2026-11-01")
    assert outcome.code == 0
    assert "does not merge by itself: Pull request is in clean status" in outcome.text


def test_pushes_that_start_ci_start_no_second_run(
    run: Callable[..., Any], desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLOPS_PUSH_STARTS_CI", "true")
    run()
    assert desk.dispatched == []


def test_hostile_reasons_mention_nobody_and_show_no_markup() -> None:
    text = words.body("cheap", ["@everyone <img src=x> [a](http://x) `", "x\n# y"], ["#1"], None)
    for bad in ("@everyone", "<img", "](http", "\n# y", "#1"):
        assert bad not in text


# What is known.


def test_history_tells_what_is_open_and_what_was_tried(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pull(
        number: int, branch: str, *, is_open: bool, is_fork: bool = False, day: str = "2026-09-01"
    ) -> github.Proposal:
        return github.Proposal(
            number=number, branch=branch, is_open=is_open, is_fork=is_fork, created=f"{day}T04:00:00Z"
        )

    pulls = [
        pull(1, "ct/alpha", is_open=True),
        pull(2, "ct/beta", is_open=False),
        pull(3, "ct/gamma", is_open=True, is_fork=True),
        pull(4, "better", is_open=True),
        pull(5, "ct/beta", is_open=False, day="2026-09-15"),
    ]
    body = f"text\n{words.marker('beta')}\n"
    issues = [github.Issue(number=9, author="bot", title="", body=body, updated="2026-09-20T04:00:00Z")]
    monkeypatch.setattr(github, "pull_requests", lambda: pulls)
    monkeypatch.setattr(github, "open_issues", lambda label: issues)
    alarm = {"model": "alpha", "kind": "drift", "sentence": "3 of 10 columns moved"}
    hub.run(
        "repository_dispatch",
        {"client_payload": alarm, "repository": {"default_branch": "main"}},
        GITHUB_REF="refs/heads/main",
    )
    history(tmp_path, str(tmp_path / "history.json"))
    assert json.loads((tmp_path / "history.json").read_text()) == {
        "open": {"alpha": "pull request 1"},
        "attempted": {"alpha": "2026-09-01", "beta": "2026-09-20"},
        "alarms": {"alpha": {"drift": "3 of 10 columns moved"}},
    }


@pytest.mark.parametrize(
    "asked",
    [
        None,
        "x",
        {"model": "../x", "kind": "drift", "sentence": "x"},
        {"model": "alpha", "kind": "other", "sentence": "x"},
        {"model": "alpha", "kind": "drift", "sentence": 5},
    ],
)
def test_a_dispatch_that_is_no_alarm_is_none(asked: Any) -> None:
    assert alarms(asked) == {}


def test_retraining_is_planned_on_the_default_branch_only(hub: Hub, tmp_path: Path) -> None:
    """Somebody starts the workflow on a branch: its models are not what serves."""
    hub.run("workflow_dispatch", {"repository": {"default_branch": "main"}}, GITHUB_REF="refs/heads/better")
    with pytest.raises(Refusal, match="main only"):
        history(tmp_path, str(tmp_path / "history.json"))
    assert actions.event().branch == "better"
