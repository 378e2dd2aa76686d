"""`mlops deploy`, `rollback` and `status` say in a few lines what happened and what to type next."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from dockers import Killed, World
from test_deploying_host import MODEL, PAGE, release

from mlops import cli
from mlops.deploying import command, host
from mlops.deploying.docker import Docker
from mlops.deploying.release import Release

Typed = Callable[..., tuple[int, str]]


@pytest.fixture
def world() -> World:
    """An engine with a proxy's image and two releases in its registry."""
    found = World()
    release(found, "9")
    found.images["haproxy:3.2"] = next(iter(found.registry.values()))
    return found


@pytest.fixture
def shop(tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with a model and three environments, whose engine is in memory."""
    root = tmp_path / "shop"
    (root / "packages" / "mlops").mkdir(parents=True)
    (root / "models" / MODEL).mkdir(parents=True)
    (root / "models" / MODEL / "model.toml").write_text("")
    pages = root / "deploy" / "environments"
    pages.mkdir(parents=True)
    (pages / "local.toml").write_text(PAGE)
    (pages / "staging.toml").write_text(PAGE.replace("replicas", 'address = ""\nreplicas', 1))
    (pages / "frozen.toml").write_text(PAGE + '[freeze]\nreason = "the audit is on"\n')
    monkeypatch.chdir(root)
    for name in ("DEPLOY_ADDRESS", "DEPLOY_FREEZE", "GITHUB_ACTOR", "GITHUB_EVENT_PATH", "GITHUB_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(command, "Docker", lambda address: world)
    monkeypatch.setattr(host, "Clock", lambda: world.clock)
    monkeypatch.setattr("mlops.deploying.docker.time.sleep", world.sleep)
    return root


@pytest.fixture
def typed(shop: Path, capsys: pytest.CaptureFixture[str]) -> Typed:
    """Type a command: its exit code, and what it printed."""

    def run(*words: str) -> tuple[int, str]:
        capsys.readouterr()
        code = cli.main(words)
        said = capsys.readouterr()
        return code, said.out + said.err

    return run


def packaged(shop: Path, wanted: Release) -> Path:
    """What `make image` leaves."""
    path = shop / "reports" / MODEL / "image.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    value = {"model": wanted.model, "version": wanted.version, "image": wanted.image, "commit": wanted.commit}
    path.write_text(json.dumps(value))
    return path


def test_a_laptop_deploys_asks_and_goes_back(shop: Path, world: World, typed: Typed) -> None:
    for name in "12":
        packaged(shop, release(world, name))
        code, text = typed("deploy", "--strategy", "canary")
        assert code == 0, text
        # The first one has nothing to go back to.
        assert ("make rollback" in text) == (name == "2")
    assert "tumour 222222222222 serves local instead of 111111111111." in text
    assert "http://127.0.0.1:8080/tumour/predict" in text
    assert "`make rollback MODEL=tumour ENV=local` goes back to 111111111111." in text
    code, text = typed("status")
    assert code == 0
    assert "tumour 222222222222 serves in local, from 2222222222." in text
    assert "2 of 2 containers ready; requests: 100 % to 222222222222" in text
    assert "it can go back to 111111111111" in text
    code, text = typed("rollback", "--reason", "people complain")
    assert code == 0
    assert re.search(r"tumour 111111111111 serves local instead of 222222222222, after [\d.]+ seconds\.", text)
    code, text = typed("status")
    assert "rollback, 222222222222 to 111111111111, by " in text
    assert "people complain" in text


def test_the_same_again_is_unchanged(shop: Path, world: World, typed: Typed) -> None:
    packaged(shop, release(world, "1"))
    assert typed("deploy")[0] == 0
    code, text = typed("deploy")
    assert code == 0
    assert "serves local already; nothing was touched" in text


def test_a_worse_release_exits_with_1_and_notes_how_it_ended(shop: Path, world: World, typed: Typed) -> None:
    packaged(shop, release(world, "1"))
    typed("deploy")
    packaged(shop, release(world, "2", fails=0.9))
    code, text = typed("deploy", "--into", "deployed.json")
    assert code == 1
    assert "tumour 222222222222 was rolled back in local, 111111111111 serves:" in text
    noted = json.loads((shop / "deployed.json").read_text())
    assert noted["outcome"] == "rolled back"
    assert noted["release"]["version"] == "1" * 12
    assert noted["sentence"] in text


def test_a_workflow_names_the_file_of_the_image(shop: Path, world: World, typed: Typed) -> None:
    path = packaged(shop, release(world, "1"))
    moved = path.rename(shop / "image.json")
    code, text = typed("deploy", "--image", moved.name, "--into", "deployed.json", "--", MODEL)
    assert code == 0, text
    assert json.loads((shop / "deployed.json").read_text())["release"]["commit"] == "1" * 40
    code, text = typed("rollback", "--to", "", "--reason", "x", "--into", "deployed.json", "--", MODEL)
    assert "has no earlier version here" in text


def test_an_image_can_be_named_and_says_itself_what_it_is(world: World, typed: Typed) -> None:
    wanted = release(world, "1")
    code, text = typed("deploy", "--image", wanted.image)
    assert code == 0, text
    code, text = typed("deploy", "--image", wanted.image, "--version", "2" * 12)
    assert code == 2
    assert "The image is for tumour 111111111111, not tumour 222222222222." in text
    code, text = typed("deploy", "--image", "sha256:0")
    assert code == 2
    assert "is not at the Docker engine at hand" in text


@pytest.mark.parametrize(
    ("words", "what", "do"),
    [
        (["deploy"], "image.json does not exist", "`make image MODEL=tumour`"),
        (["deploy", "--env", "staging"], "staging has no target yet", "deploy/environments/staging.toml"),
        (["deploy", "--env", "nowhere"], "no environment 'nowhere'", "frozen, local, staging"),
        (["deploy", "--strategy", "red"], "no strategy 'red'", "canary"),
        (["rollback"], "tumour was never deployed to local", "mlops deploy"),
    ],
)
def test_what_cannot_be_is_refused_in_two_lines(typed: Typed, words: list[str], what: str, do: str) -> None:
    code, text = typed(*words)
    assert code == 2
    assert what in text
    assert do in text
    assert len(text.strip().splitlines()) == 2


def test_a_freeze_stops_a_deployment_and_no_rollback(
    shop: Path, world: World, typed: Typed, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "12":
        packaged(shop, release(world, name))
        typed("deploy")
    monkeypatch.setenv("DEPLOY_FREEZE", "the shop is full")
    packaged(shop, release(world, "3"))
    code, text = typed("deploy")
    assert code == 2
    assert "the shop is full" in text
    code, text = typed("deploy", "--override", "the fix for the outage")
    assert code == 0
    assert "override, 222222222222 to 333333333333" in typed("status")[1]
    assert "the fix for the outage" in typed("status")[1]
    assert typed("rollback")[0] == 0


def test_what_was_never_deployed_is_said_so(typed: Typed) -> None:
    code, text = typed("status")
    assert code == 0
    assert text.startswith("tumour was never deployed to local.")
    assert "`make deploy MODEL=tumour ENV=local`" in text


def test_a_deployment_that_was_killed_is_shown_with_what_to_type(shop: Path, world: World, typed: Typed) -> None:
    packaged(shop, release(world, "1"))
    typed("deploy")
    packaged(shop, release(world, "2"))
    world.fuse = world.calls + 40
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cli, "_as_refusal", _raised)
        with pytest.raises(Killed):
            cli.main(["deploy"])
    world.fuse = -1
    world.locks.clear()
    code, text = typed("status")
    assert code == 0
    assert re.search(r"canary of 222222222222, begun by .* at 2026-11-18 12:\d\d:\d\d UTC: step \d+ of 15", text)
    assert "`make deploy MODEL=tumour ENV=local` goes on" in text
    assert typed("deploy")[0] == 0


def _raised(error: BaseException) -> None:
    """What is killed says nothing."""
    raise error


def test_an_edited_audit_log_is_noticed(shop: Path, world: World, typed: Typed) -> None:
    packaged(shop, release(world, "1"))
    typed("deploy")
    path = next(name for name in world.files if name.endswith("audit.jsonl"))
    lines = world.files[path].splitlines(keepends=True)
    world.files[path] = lines[0]
    code, text = typed("status")
    assert code == 1
    assert "The audit log was changed: line 2" in text


def test_a_machine_gets_one_value(shop: Path, world: World, typed: Typed, capsys: pytest.CaptureFixture[str]) -> None:
    packaged(shop, release(world, "1"))
    assert cli.main(["deploy", "--json"]) == 0
    value: Any = json.loads(capsys.readouterr().out)
    assert value["outcome"] == "deployed"
    assert cli.main(["status", "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["state"]["current"]["version"] == "1" * 12
    assert value["shares"] == {"1" * 12: 100.0}


def test_the_engine_of_the_environment_is_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The address of the page, or of DEPLOY_ADDRESS, is the DOCKER_HOST of every call."""
    program = tmp_path / "docker"
    program.write_text('#!/bin/sh\necho "$DOCKER_HOST"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert Docker("ssh://deploy@host").run(["version"], given=(), seconds=5).out == "ssh://deploy@host\n"
