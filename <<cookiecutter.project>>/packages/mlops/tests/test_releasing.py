"""May this version be shipped, and what is on record? The decisions, each with what must close it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from mlops.errors import Refusal
from mlops.releasing import admission, candidates, record
from mlops.releasing.admission import Image, Measured
from mlops.releasing.candidates import Shipped, released, untrained
from mlops.releasing.record import Ended

ONE, TWO = "1" * 32 + ".dir", "2" * 32 + ".dir"
CHANGE, HEAD = "c" * 40, "d" * 40
DIGEST = "sha256:" + "a" * 64
LOCK = """\
schema: '2.0'
stages:
  train:
    cmd: mlops train
    outs:
    - path: export
      hash: md5
      md5: {md5}
      size: 1
      nfiles: 3
"""
SERVE = {"packages/serve/src/serve/app.py": "a", "packages/serve/tests/test_app.py": "t", "deploy/Dockerfile": "d"}
RESOLVED = """\
version = 1
requires-python = ">=3.11"

[[package]]
name = "serve"
version = "0.1.0"
source = { editable = "packages/serve" }
dependencies = [{ name = "uvicorn" }]

[[package]]
name = "trainer"
version = "0.1.0"
source = { editable = "packages/trainer" }
dependencies = [{ name = "mlflow" }]

[[package]]
name = "uvicorn"
version = "1.0"
source = { registry = "https://example.org" }

[[package]]
name = "mlflow"
version = "3.0"
source = { registry = "https://example.org" }
"""


def shipped(
    versions: Mapping[str, str | None], serving: Mapping[str, str] = SERVE, resolved: str = RESOLVED
) -> Shipped:
    return Shipped(versions=versions, serving=serving, resolved=resolved.encode())


def names(before: Shipped | None, after: Shipped) -> dict[str, tuple[str, ...]]:
    return {one.model: one.reasons for one in released(before, after)}


# Which models are released?


def test_only_the_models_whose_version_changed_are_released() -> None:
    before = shipped({"a": ONE, "b": ONE, "c": None, "d": None})
    after = shipped({"a": TWO, "b": ONE, "c": ONE, "d": None, "e": None})
    assert names(before, after) == {"a": ("other version",), "c": ("first version",)}
    assert untrained(after) == ("d", "e")


def test_a_model_that_lost_its_version_or_is_gone_is_not_released() -> None:
    assert names(shipped({"a": ONE, "b": ONE}), shipped({"a": None})) == {}


@pytest.mark.parametrize(
    ("serving", "resolved", "why"),
    [
        (
            {**SERVE, "packages/serve/src/serve/app.py": "b"},
            RESOLVED,
            "serving code changed: packages/serve/src/serve/app.py",
        ),
        (
            {**SERVE, "packages/serve/src/serve/new.py": "b"},
            RESOLVED,
            "serving code changed: packages/serve/src/serve/new.py",
        ),
        ({**SERVE, "deploy/Dockerfile": "e"}, RESOLVED, "serving code changed: deploy/Dockerfile"),
        (SERVE, RESOLVED.replace('version = "1.0"', 'version = "1.1"'), "uvicorn 1.0 → 1.1"),
    ],
)
def test_other_serving_code_releases_every_model_that_has_a_version(
    serving: dict[str, str], resolved: str, why: str
) -> None:
    found = names(shipped({"a": ONE, "b": None}), shipped({"a": ONE, "b": None}, serving, resolved))
    assert list(found) == ["a"]
    assert why in found["a"][0]


def test_what_is_in_no_image_releases_nothing() -> None:
    """Tests and pages of the service, and packages that only training installs."""
    serving = {**SERVE, "packages/serve/tests/test_app.py": "u", "packages/serve/README.md": "r"}
    resolved = RESOLVED.replace('version = "3.0"', 'version = "3.1"')
    assert names(shipped({"a": ONE}), shipped({"a": ONE}, serving, resolved)) == {}


def test_without_a_commit_to_compare_with_all_versions_are_released() -> None:
    assert list(names(None, shipped({"a": ONE, "b": None}))) == ["a"]


def test_a_lock_names_its_version_and_a_broken_one_is_looked_at() -> None:
    assert candidates.locked(LOCK.format(md5=ONE).encode()) == ONE
    assert candidates.locked(LOCK.replace("export", "other").format(md5=ONE).encode()) is None
    assert candidates.locked(None) is None
    broken = candidates.locked(b"<" * 7 + b" HEAD\n")
    assert broken == candidates.UNREADABLE
    assert list(names(shipped({"a": ONE}), shipped({"a": broken}))) == ["a"]


# Was it measured?


def check(commit: str = HEAD, conclusion: str = "success", app: str = "github-actions", event: str = "") -> Measured:
    return Measured(commit=commit, conclusion=conclusion, app=app, event=event)


@pytest.mark.parametrize(
    "checks",
    [
        [check()],
        [check(conclusion="failure"), check()],
        [check(CHANGE, event="merge_group")],
        [check(CHANGE, event="pull_request")],
        [check("e" * 40, "failure"), check()],
    ],
    ids=["its pull request", "measured again", "the merge queue", "a fast-forward", "one of two pull requests"],
)
def test_a_verdict_that_passed_admits(checks: list[Measured]) -> None:
    assert admission.unmeasured("It", CHANGE, checks) == ""


@pytest.mark.parametrize(
    ("checks", "word"),
    [
        ([], "no verdict"),
        ([check(conclusion="failure")], "failure"),
        ([check(), check(conclusion="failure")], "failure"),
        ([check(conclusion="")], "not finished"),
        ([check(conclusion="skipped")], "skipped"),
        ([check(conclusion="neutral")], "neutral"),
        ([check(app="somebody-else")], "no verdict"),
        ([check(CHANGE, event="workflow_dispatch")], "no verdict"),
        ([check(CHANGE, event="")], "no verdict"),
    ],
    ids=[
        "none",
        "failed",
        "failed later",
        "runs",
        "skipped",
        "neutral",
        "another app",
        "by hand on main",
        "unknown run",
    ],
)
def test_anything_but_a_verdict_that_passed_is_refused(checks: list[Measured], word: str) -> None:
    """The breaker: unknown is not a pass, and a run that compared nothing measured nothing."""
    said = admission.unmeasured("It", CHANGE, checks)
    assert word in said
    assert "pull request" in said


def test_a_lock_that_does_not_match_its_inputs_is_refused() -> None:
    assert admission.unmatched("a", ()) == ""
    assert "train, evaluate" in admission.unmatched("a", ("train", "evaluate"))


def test_a_version_that_was_rolled_back_is_held_by_its_open_issue() -> None:
    mark = admission.marker("a", "0" * 12, "production")
    assert "issue 7" in admission.held("a", "0" * 12, {7: f"text {mark}", 3: "nothing"})
    assert admission.held("a", "1" * 12, {7: mark}) == ""
    assert admission.held("b", "0" * 12, {7: mark}) == ""
    assert admission.held("a", "0" * 12, {}) == ""


def test_a_version_that_the_branch_no_longer_names_is_not_deployed() -> None:
    assert admission.overtaken("a", ONE, ONE, "main") == ""
    assert "another version" in admission.overtaken("a", ONE, TWO, "main")
    assert "no version" in admission.overtaken("a", ONE, None, "main")
    assert admission.overtaken("a", None, None, "main") != ""


# Is it the image that was packaged?


def image(**other: str) -> Image:
    given = {"model": "a", "version": "0" * 12, "image": f"r.test/a@{DIGEST}", "digest": DIGEST, "commit": HEAD}
    return Image(**{**given, **other})


def test_the_packaged_image_is_not_strange() -> None:
    assert admission.strange(image(), model="a", digest=DIGEST, commit=HEAD) == ""
    assert admission.strange(image(image=DIGEST), model="a", digest="", commit=HEAD) == ""


@pytest.mark.parametrize(
    ("other", "asked", "word"),
    [
        ({}, {"digest": "sha256:" + "b" * 64}, "was packaged"),
        ({"digest": "sha256:" + "b" * 64}, {"digest": "sha256:" + "b" * 64}, "not named by its digest"),
        ({"image": "r.test/a:latest"}, {}, "not named by its digest"),
        ({"model": "b"}, {}, "is of b"),
        ({"commit": CHANGE}, {}, "was made from"),
    ],
)
def test_another_image_is_refused(other: dict[str, str], asked: dict[str, str], word: str) -> None:
    """The breaker: another digest, model, commit, or a name that can be moved."""
    given = {"model": "a", "digest": DIGEST, "commit": HEAD, **asked}
    assert word in admission.strange(image(**other), **given)


@pytest.mark.parametrize(
    "change",
    [
        {"model": "../b"},
        {"version": "0" * 11},
        {"image": f"r.test/a b@{DIGEST}"},
        {"image": f"r.test/a@{DIGEST}\n"},
        {"digest": "sha256:0"},
        {"commit": "main"},
        {"commit": None},
        {"model": 1},
    ],
)
def test_a_description_of_an_image_that_could_be_more_is_refused(change: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "image.json"
    good = {key: getattr(image(), key) for key in ("model", "version", "image", "digest", "commit")}
    path.write_text(json.dumps(good | {"tag": "x"}))
    assert admission.read_image(path) == image()
    path.write_text(json.dumps(good | change))
    with pytest.raises(Refusal):
        admission.read_image(path)


@pytest.mark.parametrize("text", ["", "[]", "{}", "[" * 100_000])
def test_a_broken_description_is_refused_in_a_sentence(text: str, tmp_path: Path) -> None:
    (tmp_path / "image.json").write_text(text)
    with pytest.raises(Refusal):
        admission.read_image(tmp_path / "image.json")
    with pytest.raises(Refusal, match="nothing was packaged"):
        admission.read_image(tmp_path / "absent.json")


# What is on record


def ended(outcome: str = "deployed", **other: Any) -> Ended:
    given = {"environment": "production", "outcome": outcome, "sentence": "It went.", "version": "0" * 12, **other}
    return Ended(**given)


def test_a_deployment_is_a_success_when_the_version_serves() -> None:
    assert [ended(one).state for one in ("deployed", "unchanged")] == ["success"] * 2
    assert [ended(one).state for one in ("rolled back", "failed", "else")] == ["failure"] * 3


def test_the_note_of_a_deployment_is_read_and_a_missing_one_is_known_as_missing(tmp_path: Path) -> None:
    path = tmp_path / "deployed.json"
    assert record.read_ended(path, "staging") is None
    path.write_text(json.dumps({"outcome": "rolled back", "sentence": "Worse.", "release": None, "facts": {"x": 1}}))
    found = record.read_ended(path, "staging")
    assert found == Ended(environment="staging", outcome="rolled back", sentence="Worse.", facts={"x": 1})
    for text in ("", "[]", '{"outcome": 1}'):
        path.write_text(text)
        with pytest.raises(Refusal):
            record.read_ended(path, "staging")


def test_the_release_note_says_what_which_and_from_where() -> None:
    note = record.Note(
        model="a",
        version="0" * 12,
        image=f"r.test/a@{DIGEST}",
        commit=HEAD,
        previous="1" * 12,
        metrics={"roc_auc": 0.9754, "rows": 100},
        ended=(ended(),),
    )
    text = record.release_note(note)
    for word in ("0" * 12, f"r.test/a@{DIGEST}", HEAD, "1" * 12, "0.9754", "production: It went.", "models/a/CARD.md"):
        assert word in text
    assert "rows" not in text


def test_an_issue_says_why_and_holds_its_version_whatever_a_target_said() -> None:
    why = "worse @everyone <!-- mlops rolled back b 111111111111 production -->"
    text = record.issue(model="a", version="0" * 12, one=ended("rolled back", version="1" * 12), why=why, run=None)
    assert admission.held("a", "0" * 12, {1: text})
    assert not admission.held("b", "1" * 12, {1: text})
    assert "@everyone" not in text
    assert "`111111111111` serves again" in text


def test_an_issue_about_a_version_that_nobody_knows_holds_nothing() -> None:
    text = record.issue(model="a", version="", one=ended(), why="slow", run=None)
    assert "<!--" not in text
    assert "not known" in text


def test_what_github_lists_is_one_short_line() -> None:
    line = record.description("a", ended(sentence="x\ny " * 200))
    assert len(line) <= 140
    assert "\n" not in line
