"""Is a model due when it should be, held when it should be, and is the reason said?"""

import datetime as dt
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mlops import cli
from mlops.config import Retrain
from mlops.errors import Refusal
from mlops.watching.due import SPREAD, Due, Known, Settings, early, plan
from mlops.watching.planned import due, summary, unplanned

SOURCE = Path(cli.__file__).resolve().parents[1]
TODAY = dt.date(2026, 11, 21)
ALARM = {"tumour": {"drift": "2 columns moved."}}


def of(days: int, known: Known | None = None, model: str = "tumour", **retrain: Any) -> list[Due]:
    """The plan for one model whose data is so many days old."""
    one = Settings(model=model, as_of=TODAY - dt.timedelta(days=days), retrain=Retrain(**retrain))
    return plan([one], known or Known(), today=TODAY)


def test_nothing_is_due_without_a_reason() -> None:
    assert of(10_000) == []
    assert of(5, every_days=30) == []


def test_a_schedule_is_due_by_the_age_of_the_data() -> None:
    found = of(30, every_days=30)
    assert found == [Due("tumour", ("its data is of 2026-10-22, 30 days ago; the schedule is 30 days",))]


@pytest.mark.parametrize("every", [1, 2, 7, 14, 30, 365])
def test_a_schedule_comes_early_and_never_late(every: int) -> None:
    """By the same days for the same name, by all numbers for many names, and by none where every day counts."""
    names = [f"model_{n}" for n in range(500)]
    found = {early(name, every) for name in names}
    assert found == set(range(max(1, min(SPREAD, every // 4))))
    for name in names[:50]:
        assert of(every, model=name, every_days=every)
        assert of(every - early(name, every), model=name, every_days=every)
        assert not of(every - early(name, every) - 1, model=name, every_days=every)


def test_an_alarm_is_a_reason_where_model_toml_says_so() -> None:
    known = Known(alarms={"tumour": {"drift": "2 columns moved.", "skew": "Another model.", "age": "Too old."}})
    assert of(1, known)[0].reasons == ("drift: 2 columns moved.", "age: Too old.")
    assert of(1, known, on=["performance"]) == []
    assert of(1, known, on=[]) == []


def test_new_data_is_a_reason_where_model_toml_asks_for_it() -> None:
    known = Known(alarms={"tumour": {"data": "300 rows are newer."}})
    assert of(1, known, new_rows=200)[0].reasons == ("data: 300 rows are newer.",)
    assert of(1, known) == []


HELD = {
    "the repository is frozen": ({"freeze": "Quarter end"}, {}, "retraining is frozen: Quarter end"),
    "the model is frozen": ({}, {"freeze": "New sensor"}, "its retraining is frozen: New sensor"),
    "a pull request is open": ({"open": {"tumour": "#12"}}, {}, "a retraining pull request is open: #12"),
    "another one is open": ({"open": {"diabetes": "#12"}}, {}, ""),
    "an attempt was just made": (
        {"attempted": {"tumour": dt.date(2026, 11, 15)}},
        {},
        "the last attempt was on 2026-11-15, and the cooldown is 7 days",
    ),
    "the cooldown is over": ({"attempted": {"tumour": dt.date(2026, 11, 14)}}, {}, ""),
    "there is no cooldown": ({"attempted": {"tumour": TODAY}}, {"cooldown_days": 0}, ""),
    "nothing": ({}, {}, ""),
}


@pytest.mark.parametrize(("known", "retrain", "held"), HELD.values(), ids=HELD)
def test_what_is_due_by_itself_can_be_held(known: dict[str, Any], retrain: dict[str, Any], held: str) -> None:
    """By the schedule and by an alarm alike; the reason stays with it."""
    for found in (of(40, Known(**known), every_days=30, **retrain), of(1, Known(alarms=ALARM, **known), **retrain)):
        assert [one.held for one in found] == [held]
        assert found[0].reasons


@pytest.mark.parametrize(("known", "retrain", "held"), HELD.values(), ids=HELD)
def test_what_a_person_asks_for_is_held_by_nothing(known: dict[str, Any], retrain: dict[str, Any], held: str) -> None:
    found = of(1, Known(asked={"tumour": "New labels."}, **known), **retrain)
    assert found == [Due("tumour", ("asked for: New labels.",))]


def test_the_plan_is_sorted_and_has_every_model_once() -> None:
    models = [Settings(model=name, as_of=TODAY, retrain=Retrain()) for name in ("b", "a", "c")]
    known = Known(alarms={"b": {"drift": "x"}, "a": {"drift": "y", "age": "z"}, "gone": {"drift": "w"}})
    assert [one.model for one in plan(models, known, today=TODAY)] == ["a", "b"]


# The verb.


@pytest.fixture
def scheduled(project: Path) -> Path:
    """`tumour` is trained anew every 30 days, as the scaffold has it, and `diabetes` without a schedule; committed."""
    toml = project / "models" / "diabetes" / "model.toml"
    text = toml.read_text()
    assert "\nevery_days = 30\n" in text
    toml.write_text(text.replace("every_days = 30", "every_days = 0"))
    subprocess.run(["git", "commit", "-qam", "schedule"], cwd=project, check=True)
    return project


def names(value: Any) -> list[str]:
    return [one["model"] for one in value["models"]]


def test_the_verb_reads_the_commit_and_not_the_work_tree(scheduled: Path) -> None:
    (scheduled / "models" / "tumour" / "model.toml").unlink()
    found = due(scheduled, today="2026-07-20")
    assert found.value["models"] == []
    found = due(scheduled, today="2026-07-31", into=str(scheduled / "due.json"))
    reason = "its data is of 2026-07-01, 30 days ago; the schedule is 30 days"
    assert found.value["models"] == [{"model": "tumour", "reasons": [reason]}]
    assert json.loads((scheduled / "due.json").read_text()) == found.value
    assert found.text == f"1 of 2 models due.\n  tumour: {reason}"


def test_the_verb_takes_what_is_known_and_the_alarms_of_earlier_looks(
    scheduled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = scheduled / "reports" / "diabetes" / "watch.json"
    looked.parent.mkdir(parents=True)
    alarm = {"kind": "drift", "outcome": "alarm", "sentence": "1 column moved."}
    young = {"kind": "age", "outcome": "quiet", "sentence": "Young."}
    asks = {"kind": "data", "outcome": "quiet", "sentence": "300 rows are newer.", "asks": True}
    looked.write_text(json.dumps({"findings": [alarm, young, asks]}))
    known = scheduled / "known.json"
    known.write_text(json.dumps({"open": {"tumour": "#7"}}))
    found = due(scheduled, today="2026-07-31", known=str(known)).value
    assert names(found) == ["diabetes"]
    assert found["models"][0]["reasons"] == ["drift: 1 column moved."]
    assert found["held"][0]["held"] == "a retraining pull request is open: #7"
    assert names(due(scheduled, today="2026-07-31").value) == ["diabetes", "tumour"]
    known.write_text(json.dumps({"attempted": {"tumour": "2026-07-30T10:00:00Z"}, "alarms": {"diabetes": {}}}))
    assert names(due(scheduled, today="2026-07-31", known=str(known)).value) == []
    monkeypatch.setenv("RETRAIN_FREEZE", "Holidays")
    found = due(scheduled, today="2026-07-31").value
    assert names(found) == []
    assert {one["held"] for one in found["held"]} == {"retraining is frozen: Holidays"}
    asked = due(scheduled, today="2026-07-31", model=["tumour"], reason="New  labels.\n").value
    assert names(asked) == ["tumour"]
    assert asked["models"][0]["reasons"][0] == "asked for: New labels."


@pytest.mark.parametrize("text", ["{", "[]", '{"findings": 1}', '{"findings": [{"kind": 1}]}'])
def test_a_broken_look_raises_no_alarm_and_no_error(scheduled: Path, text: str) -> None:
    path = scheduled / "reports" / "tumour" / "watch.json"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    assert names(due(scheduled, today="2026-07-02").value) == []


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({"today": "tomorrow"}, "'tomorrow' is not a day."),
        ({"head": "nowhere"}, "There is no commit 'nowhere' here."),
        ({"model": ["nobody"], "reason": "x"}, "There is no model 'nobody' in that commit."),
        ({"model": ["tumour"], "reason": " "}, "Nobody says why that model shall be trained."),
    ],
)
def test_what_cannot_be_planned_is_refused(scheduled: Path, given: dict[str, Any], what: str) -> None:
    with pytest.raises(Refusal) as caught:
        due(scheduled, **{"today": "2026-07-31", **given})
    assert caught.value.what == what
    assert caught.value.do


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"opened": {}}',
        '{"open": []}',
        '{"open": {"a": 1}}',
        '{"attempted": {"a": "x"}}',
        '{"alarms": {"a": "b"}}',
    ],
)
def test_a_file_that_says_nothing_is_refused(scheduled: Path, text: str) -> None:
    """An open pull request that is not understood would be opened again."""
    (scheduled / "known.json").write_text(text)
    with pytest.raises(Refusal) as caught:
        due(scheduled, known=str(scheduled / "known.json"))
    assert caught.value.do == "Write it as docs/reference/command-line.md says."


def breaking(root: Path, model: str, old: str, new: str) -> None:
    """Commit a mistake in a `model.toml`."""
    toml = root / "models" / model / "model.toml"
    text = toml.read_text(encoding="utf-8")
    assert text.count(old) == 1
    toml.write_bytes(text.replace(old, new).encode("latin-1"))
    subprocess.run(["git", "commit", "-qam", "break"], cwd=root, check=True)


MISTAKES = {
    "what says when it is due": ("every_days = 30", "every_days = -1", "retrain.every_days is -1. It must be"),
    "what says how it is trained": ("folds = 5", "folds = 0", "train.folds is 0. It must be"),
    "what says where it is trained": ("minutes = 60", "minutes = 0", "budget.minutes is 0. It must be"),
    "TOML itself": ("[retrain]\n", "[retrain\n", "is not valid TOML"),
    "the letters": ("every_days = 30", "every_days = 30 # t\xe4glich", "is not UTF-8 text"),
    "a day that nobody can move": (
        'as_of = "2026-07-01"',
        'as_of = """2026-07-01"""',
        "data.as_of is written in an unusual way",
    ),
}


@pytest.mark.parametrize(("old", "new", "said"), MISTAKES.values(), ids=MISTAKES)
def test_a_broken_model_is_said_by_name_and_holds_no_other_one(
    scheduled: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, old: str, new: str, said: str
) -> None:
    """Whatever of it is broken, it is found before one job starts the training of all."""
    breaking(scheduled, "tumour", old, new)
    known = scheduled / "known.json"
    known.write_text(json.dumps({"alarms": {"diabetes": {"drift": "1 column moved."}}}))
    monkeypatch.setenv("GITHUB_OUTPUT", str(tmp_path / "output"))
    found = due(scheduled, today="2026-07-31", known=str(known), into=str(tmp_path / "due.json"))
    assert found.code == 2
    assert names(found.value) == ["diabetes"]
    (broken,) = found.value["broken"]
    assert broken["model"] == "tumour"
    assert broken["sentence"].startswith("models/tumour/model.toml")
    assert said in broken["sentence"]
    assert "1 of 2 models due; 1 broken." in found.text
    assert broken["sentence"] in found.text
    assert "tumour" in summary(found.value, 2)
    lines = (tmp_path / "output").read_text().splitlines()
    assert (lines[1], lines[4]) == ("1", "1")
    # A workflow goes on with the others, and what was left out makes its run red in the end.
    assert due(scheduled, today="2026-07-31", known=str(known), keep_going=True).code == 0
    left = unplanned(scheduled, str(tmp_path / "due.json"))
    assert (left.code, left.text) == (2, broken["sentence"])


def test_a_mistake_of_a_model_that_is_not_due_is_left_to_ci(scheduled: Path) -> None:
    breaking(scheduled, "tumour", "folds = 5", "folds = 0")
    assert due(scheduled, today="2026-07-02").code == 0


def test_a_broken_model_that_a_person_asks_for_is_not_trained(scheduled: Path) -> None:
    breaking(scheduled, "tumour", "every_days = 30", "every_days = -1")
    found = due(scheduled, today="2026-07-02", model=["tumour"], reason="New labels.")
    assert (found.code, names(found.value)) == (2, [])


def test_a_plan_without_a_mistake_is_green(scheduled: Path, tmp_path: Path) -> None:
    assert due(scheduled, today="2026-07-31", into=str(tmp_path / "due.json")).code == 0
    assert unplanned(scheduled, str(tmp_path / "due.json")).code == 0
    for text in ("[]", "{}", '{"broken": [1]}', "{"):
        (tmp_path / "due.json").write_text(text)
        with pytest.raises(Refusal) as caught:
            unplanned(scheduled, str(tmp_path / "due.json"))
        assert "mlops due --into FILE" in caught.value.do


def test_the_summary_makes_reasons_harmless() -> None:
    """A reason may come from a log or a person."""
    one = {"model": "tumour", "reasons": ["@all | <script> #1"]}
    broken = [{"model": "x", "sentence": "@them <b>"}]
    text = summary({"models": [one], "held": [{**one, "held": "| @you"}], "broken": broken}, 1)
    assert "@" not in text
    assert "<script>" not in text
    assert [line.count("|") for line in text.splitlines() if line.startswith("|")] == [4, 4, 4, 4]
    assert "<b>" not in text
    assert "1 of 1 model due; 1 held; 1 broken." in text


def test_the_verb_runs_on_a_bare_python(scheduled: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    command = [sys.executable, "-S", "-s", "-m", "mlops", "due", "--today", "2026-07-31", "--json"]
    done = subprocess.run(command, cwd=scheduled, env=environment, capture_output=True, text=True, check=True)
    assert names(json.loads(done.stdout)) == ["tumour"]
