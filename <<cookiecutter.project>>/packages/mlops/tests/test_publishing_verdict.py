"""The verdict: green only when every job and every planned model is; each rule has the case that it must refuse."""

import json
import re
from pathlib import Path
from typing import Any

import evidence
import pytest
from hostile import HOSTILE
from hub import HEAD, Hub, payload, pull
from test_reporting_command import bare

from mlops import actions
from mlops.cli import main
from mlops.errors import Refusal
from mlops.publishing.verdict import JOBS, Case, judge, takeover, verdict
from mlops.reporting import facts
from mlops.reporting.planned import Planned

GREEN = dict.fromkeys(JOBS, "success")
SKIPPED = GREEN | dict.fromkeys(("data", "train", "report", "store"), "skipped")
RIGHT = {"seconds": 1.0, "ran": [], "lock_changed": False}
RESULTS = ["success", "failure", "cancelled", "skipped", "unknown", "", None, 3, ["success"], {"result": "success"}]


def plan(*models: str, writable: bool = True, head: str = HEAD) -> Planned:
    return Planned(head=head, writable=writable, models=dict.fromkeys(models, ("own files changed",)))


def passed(model: str, *, lock_changed: Any = True) -> dict[str, Any]:
    ran = [] if lock_changed is False else ["train"]
    return evidence.sample(model) | {"run": {"seconds": 1.0, "ran": ran, "lock_changed": lock_changed}}


def case(**changes: Any) -> Case:
    """Two models, all well."""
    both = {name: passed(name) for name in ("churn", "tumour")}
    usual: dict[str, Any] = {
        "results": GREEN,
        "plan": plan("churn", "tumour"),
        "head": HEAD,
        "started": frozenset(both),
        "evidence": both,
        "takeover": "Somebody takes it over.",
    }
    return Case(**usual | changes)


def empty(**changes: Any) -> Case:
    """A change that affects no model."""
    return case(**{"plan": plan(), "started": frozenset(), "evidence": {}, "results": SKIPPED} | changes)


def test_all_well_is_green() -> None:
    assert judge(case()) == ()
    assert judge(empty()) == ()


@pytest.mark.parametrize("job", JOBS)
@pytest.mark.parametrize("result", RESULTS)
def test_no_job_may_end_otherwise_than_well(job: str, result: Any) -> None:
    """With models planned and a branch that may be written to, no job may be skipped."""
    reds = judge(case(results=GREEN | {job: result}))
    assert (reds == ()) == (result == "success")
    assert result == "success" or any(re.search(rf"\bjob {job}\b", red) for red in reds)


@pytest.mark.parametrize("job", JOBS)
@pytest.mark.parametrize("result", RESULTS)
def test_without_a_planned_model_only_the_jobs_for_models_may_be_skipped(job: str, result: Any) -> None:
    reds = judge(empty(results=SKIPPED | {job: result}))
    may_skip = job not in ("plan", "check")
    assert (reds == ()) == (result == "success" or (result == "skipped" and may_skip))


@pytest.mark.parametrize("job", JOBS)
def test_a_job_that_nobody_reports_on_is_red(job: str) -> None:
    for one in (case(), empty()):
        reds = judge(Case(**vars(one) | {"results": {key: value for key, value in one.results.items() if key != job}}))
        assert any(f"the job {job} ended" in red for red in reds)


@pytest.mark.parametrize("result", [one for one in RESULTS if one != "success"])
def test_a_job_that_was_added_since_must_succeed(result: Any) -> None:
    for one in (case(), empty()):
        assert judge(Case(**vars(one) | {"results": {**one.results, "extra": "success"}})) == ()
        (red,) = judge(Case(**vars(one) | {"results": {**one.results, "extra": result}}))
        assert "extra" in red


def test_a_broken_plan_is_red_whatever_else_is_green() -> None:
    assert judge(case(plan=None, plan_problem="plan.json is no plan.")) == ("plan.json is no plan.",)
    assert judge(case(plan=None))
    reds = judge(case(plan=None, plan_problem="There is no plan.json.", results=SKIPPED | {"plan": "failure"}))
    assert reds == ("The job plan failed: see its log.",)
    reds = judge(case(plan=None, results=SKIPPED | {"plan": "failure", "check": "failure"}))
    assert reds == ("The job plan failed: see its log.", "The job check failed: see its log.")


def test_a_plan_of_another_commit_is_red() -> None:
    (red,) = judge(case(plan=plan("churn", "tumour", head="b" * 40)))
    assert "bbbbbbbbbbbb" in red
    assert judge(case(plan=plan("churn", "tumour", head="b" * 40), head="")) == ()


@pytest.mark.parametrize("started", [None, frozenset(), frozenset({"churn"}), frozenset({"churn", "tumour", "x"})])
def test_the_started_jobs_must_be_those_of_the_plan(started: Any) -> None:
    """A plan without models beside jobs that ran, or the other way round, is no plan."""
    assert len(judge(case(started=started))) == 1
    assert (judge(empty(started=started)) == ()) == (started == frozenset())


@pytest.mark.parametrize("kind", ["failed", "not evaluated", "maybe", None, 3])
def test_a_model_that_did_not_pass_is_red_with_its_first_reason(kind: Any) -> None:
    one = passed("churn") | {"verdict": {"verdict": kind, "reasons": ["slice old: worse by 0.2", "floor"], "rules": []}}
    (red,) = judge(case(evidence={"churn": one, "tumour": passed("tumour")}, results=GREEN | {"train": "failure"}))
    assert red.startswith("churn: the gate failed: " if kind == "failed" else "churn was not evaluated: ")
    assert "slice old: worse by 0.2" in red
    assert red.endswith("And 1 more.")


def test_a_model_without_evidence_is_red() -> None:
    (red,) = judge(case(evidence={"tumour": passed("tumour")}))
    assert "churn" in red
    gone = facts.unmeasured("churn", reasons=[], check=None)
    (red,) = judge(case(evidence={"tumour": passed("tumour"), "churn": gone}, results=GREEN | {"train": "failure"}))
    assert red == f"churn was not evaluated: {facts.CUT_OFF}"


def test_broken_data_is_named_instead_of_the_two_jobs_that_it_stopped() -> None:
    check = {"passed": False, "violations": [{"column": "age", "check": "ge 0", "count": 3, "share": 0.1}]}
    gone = facts.unmeasured("churn", reasons=[], check=check)
    results = GREEN | {"data": "failure", "train": "failure"}
    (red,) = judge(case(evidence={"tumour": passed("tumour"), "churn": gone}, results=results))
    assert red == "churn was not evaluated: The data breaks its contract: age: ge 0 is broken in 3 rows (10 %)."


def test_a_job_that_failed_for_another_reason_is_still_named() -> None:
    reds = judge(case(results=GREEN | {"train": "failure"}))
    assert reds == ("The job train failed: see its log.",)
    worse = passed("churn") | {"verdict": {"verdict": "failed", "reasons": ["worse"]}}
    reds = judge(case(evidence={"churn": worse, "tumour": passed("tumour")}, results=GREEN | {"data": "failure"}))
    assert reds == ("churn: the gate failed: worse", "The job data failed: see its log.")


@pytest.mark.parametrize("changed", [True, False, None, "false", 0])
@pytest.mark.parametrize("store", ["success", "skipped", "failure", "cancelled", None])
@pytest.mark.parametrize("writable", [True, False])
def test_a_lock_is_right_already_or_was_stored(changed: Any, store: Any, writable: bool) -> None:
    """A passed model whose lock is not right would be merged as an old version."""
    one = case(
        plan=plan("churn", "tumour", writable=writable),
        results=GREEN | {"store": store},
        evidence={"churn": passed("churn", lock_changed=changed), "tumour": passed("tumour", lock_changed=False)},
    )
    reds = judge(one)
    skip_asked = store == "skipped" and not writable
    assert (reds == ()) == (store == "success" or (skip_asked and changed is False))
    told = any(red.startswith("churn passed, but") for red in reds)
    assert told == (store != "success" and changed is not False)
    assert any("Somebody takes it over." in red for red in reds) == (skip_asked and changed is not False)


def test_a_right_lock_whose_bytes_had_to_be_made_again_is_not_stored() -> None:
    """Merged like that, it would name a version that nobody can fetch."""
    made = passed("churn") | {"run": {"seconds": 1.0, "ran": ["train"], "lock_changed": False}}
    results = GREEN | {"store": "skipped"}
    one = {"evidence": {"churn": made, "tumour": passed("tumour", lock_changed=False)}, "results": results}
    (red,) = judge(case(**one, plan=plan("churn", "tumour", writable=False)))
    assert red.startswith("churn passed, but this version is not in the storage")


def test_evidence_that_does_not_say_whether_its_lock_is_right_is_not_right() -> None:
    silent = {key: value for key, value in passed("churn").items() if key != "run"}
    one = {"evidence": {"churn": silent, "tumour": passed("tumour")}, "results": GREEN | {"store": "skipped"}}
    assert len(judge(case(**one, plan=plan("churn", "tumour", writable=False)))) == 2


@pytest.mark.parametrize(
    ("event", "says"),
    [
        (actions.Event(name="pull_request", number=7, is_fork=True), "from a fork: someone who may write here"),
        (actions.Event(name="pull_request", number=7), "`gh pr checkout 7`"),
        (actions.Event(name="merge_group"), "Update the branch"),
        (actions.Event(name="workflow_dispatch"), "branch of its own"),
    ],
)
def test_who_can_take_it_over_is_said(event: actions.Event, says: str) -> None:
    assert says in takeover(event)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The checkout of the base commit."""
    root = tmp_path / "project"
    (root / "packages" / "mlops").mkdir(parents=True)
    (root / "models").mkdir()
    monkeypatch.chdir(root)
    return root


def give(
    root: Path, monkeypatch: pytest.MonkeyPatch, *, results: Any = GREEN, models: Any = ("churn",), **more: Any
) -> None:
    """Lay out what the jobs leave: the plan, the artifacts and `NEEDS`."""
    entries = [{"model": name, "reasons": ["x"]} for name in models]
    value = {"base": "1" * 40, "head": HEAD, "writable": True, "models": entries} | more
    put(root, "plan/plan.json", value)
    shards = json.dumps([entries] if entries else [])
    needs = {job: {"result": result, "outputs": {}} for job, result in results.items()}
    needs.setdefault("plan", {})["outputs"] = {"shards": shards, "writable": "true"}
    monkeypatch.setenv("NEEDS", json.dumps(needs))


def put(root: Path, path: str, value: Any) -> None:
    place = root / "artifacts" / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(value if isinstance(value, str) else json.dumps(value))


TYPED = ["verdict", "--plan", "artifacts/plan/plan.json", "--artifacts", "artifacts"]


def test_a_good_change_is_green_on_the_page_and_in_the_exit_code(
    hub: Hub, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    give(root, monkeypatch)
    put(root, "evaluation-churn/churn/evidence.json", passed("churn"))
    assert main(TYPED) == 0
    assert capsys.readouterr().out == "passed: 1 model measured, and good enough.\n"
    assert hub.summary.startswith("## ✅ Passed")


def test_a_change_of_documents_says_that_nothing_needed_measuring(
    hub: Hub, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    give(root, monkeypatch, results=SKIPPED, models=())
    assert main(TYPED) == 0
    assert "nothing needed measuring" in capsys.readouterr().out
    assert "nothing needed measuring" in hub.summary


def test_every_red_is_a_sentence_on_the_page_in_the_log_and_an_annotation(
    hub: Hub, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    give(root, monkeypatch, results=GREEN | {"check": "failure", "train": "failure"}, models=("churn", "gone", "bad"))
    put(root, "evaluation-churn/evidence.json", evidence.sample("churn", verdict="failed"))
    put(root, "check-bad/check.json", {"passed": False, "violations": [{"column": "age", "check": "ge 0", "count": 3}]})
    assert main(TYPED) == 1
    said = capsys.readouterr().out
    lines = [line[2:] for line in said.splitlines() if line.startswith("- ")]
    assert len(lines) == 4
    assert said.count("::error title=Verdict::") == 4
    assert hub.summary.count("\n- ") == 4
    assert "churn: the gate failed: " in lines[0]
    assert "gone was not evaluated: There is no evidence" in lines[1]
    assert "bad was not evaluated: The data breaks its contract: age: ge 0 is broken in 3 rows." in lines[2]
    assert lines[3] == "The job check failed: see its log."


def test_the_evidence_of_one_model_is_taken_from_its_own_artifact_only(
    hub: Hub, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    give(root, monkeypatch, models=("churn", "tumour"))
    put(root, "evaluation-churn/churn/evidence.json", passed("churn"))
    put(root, "evaluation-churn/tumour/evidence.json", passed("tumour"))
    outcome = verdict(root, plan="artifacts/plan/plan.json", artifacts="artifacts")
    assert outcome.value["reasons"] == (f"tumour was not evaluated: {facts.CUT_OFF}",)


def test_on_one_machine_the_reports_are_looked_at(hub: Hub, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    give(root, monkeypatch)
    (root / "reports" / "churn").mkdir(parents=True)
    (root / "reports" / "churn" / "evidence.json").write_text(json.dumps(passed("churn")))
    assert verdict(root, plan="artifacts/plan/plan.json").code == 0


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "[" * 100_000, '"x"'])
def test_without_needs_nothing_is_judged(hub: Hub, root: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    give(root, monkeypatch)
    monkeypatch.setenv("NEEDS", text)
    with pytest.raises(Refusal, match="NEEDS"):
        verdict(root, plan="artifacts/plan/plan.json")


@pytest.mark.parametrize(
    "needs",
    [
        {},
        {"plan": None},
        {"plan": "success"},
        dict.fromkeys(JOBS, "success"),
        {job: {"result": "success"} for job in JOBS},
        {job: {"result": "success", "outputs": {"shards": "[[{}]]"}} for job in JOBS},
        {job: {"result": "success", "outputs": {"shards": "[[[]]]"}} for job in JOBS},
        {job: {"result": "success", "outputs": {"shards": '[[{"model": []}]]'}} for job in JOBS},
    ],
)
def test_needs_of_another_shape_are_red(hub: Hub, root: Path, needs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    give(root, monkeypatch)
    put(root, "evaluation-churn/evidence.json", passed("churn"))
    monkeypatch.setenv("NEEDS", json.dumps(needs))
    assert verdict(root, plan="artifacts/plan/plan.json", artifacts="artifacts").code == 1


def test_a_missing_plan_is_red_and_said(hub: Hub, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    give(root, monkeypatch)
    (root / "artifacts" / "plan" / "plan.json").unlink()
    assert main(TYPED) == 1
    assert "What had to be measured is not known: There is no plan.json." in capsys.readouterr().out


def test_a_fork_whose_lock_is_right_passes_and_one_whose_lock_is_not_is_told_who_helps(
    hub: Hub, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.run("pull_request", payload(head=pull(7, "better", repo="mallory/models")["head"]))
    give(root, monkeypatch, results=GREEN | {"store": "skipped"}, writable=False)
    put(root, "evaluation-churn/evidence.json", passed("churn", lock_changed=False))
    assert verdict(root, plan="artifacts/plan/plan.json", artifacts="artifacts").code == 0
    put(root, "evaluation-churn/evidence.json", passed("churn", lock_changed=True))
    (red,) = verdict(root, plan="artifacts/plan/plan.json", artifacts="artifacts").value["reasons"]
    assert "It is from a fork: someone who may write here takes it over by `gh pr checkout 7`" in red


@pytest.mark.parametrize("hostile", HOSTILE)
def test_nothing_from_evidence_or_jobs_comes_alive(
    hub: Hub, root: Path, hostile: str, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """No workflow command, no mention, no link, no HTML, no colour, no second line."""
    give(root, monkeypatch, results=GREEN | {hostile: "failure", "check": hostile}, models=("churn", "bad", "gone"))
    one = passed("churn") | {"verdict": {"verdict": "failed", "reasons": [hostile, hostile]}}
    put(root, "evaluation-churn/evidence.json", one)
    violation = {"column": hostile, "check": hostile, "count": 3, "share": 0.5}
    put(root, "check-bad/check.json", {"passed": False, "violations": [violation] * 30})
    put(root, "evaluation-gone/evidence.json", evidence.strings(evidence.sample("gone"), hostile))
    assert main(TYPED) == 1
    said = capsys.readouterr()
    lines = (said.out + said.err).splitlines()
    assert all(re.match(r"not passed:$|- |::error title=Verdict::", line) for line in lines)
    assert "##[" not in said.out
    assert "\x1b" not in said.out
    assert len(said.out) < 20_000
    assert all(line.startswith(("## ", "- ")) for line in hub.summary.splitlines() if line)
    shown = re.sub(r"`[0-9a-fA-F]{7,64}`", "", hub.summary)
    assert not re.search(r"@\w|https?:/|<[a-z!/]|\]\(|(?<![&\w])#\d", shown)


def test_a_thousand_reds_are_counted(hub: Hub, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    give(root, monkeypatch, models=[f"model_{n}" for n in range(1000)])
    assert main(TYPED) == 1
    said = capsys.readouterr().out
    assert "- and 900 more." in said
    assert said.count("::error") == 100


def test_the_verdict_runs_on_a_bare_python(hub: Hub, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    give(root, monkeypatch)
    put(root, "evaluation-churn/evidence.json", passed("churn"))
    done = bare(root, *TYPED)
    assert (done.returncode, done.stderr) == (0, "")
