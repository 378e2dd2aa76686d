"""Nothing that is sent makes the service fail, repeat what it was sent, or grow."""

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from hostile_requests import GOOD, JSON, RAW, TENSORS
from toys import Running, Start

MOST = 2048
ROUTES = ("/predict", "/explain", "/v2/models/toy/infer")


@pytest.fixture(scope="module", params=["toy", "graphed"])
def served(request: pytest.FixtureRequest) -> Path:
    """The quick model, once for each runtime."""
    folder: Path = request.getfixturevalue(request.param)
    return folder


@pytest.fixture(scope="module")
def running(start: Start, served: Path) -> Running:
    """A service of it."""
    return start(served)


def test_there_are_at_least_200_of_them() -> None:
    assert len(JSON) + len(RAW) + len(TENSORS) >= 200


@pytest.mark.parametrize("name", JSON)
def test_a_hostile_body_gets_a_short_answer_below_500(name: str, running: Running) -> None:
    body = JSON[name]
    for route in ROUTES:
        sent = body.replace(b'{"rows": [', b'{"row": ').replace(b"]}", b"}") if route == "/explain" else body
        answer = running.post(route, sent)
        assert answer.status in (200, 400, 413, 422), answer
        assert len(answer.body) <= MOST
        assert (
            answer.value["version" if "version" in answer.value else "model_version"]
            == running.service.model.version.name
        )
    still_works(running)


@pytest.mark.parametrize("name", TENSORS)
def test_a_hostile_tensor_gets_a_short_answer_below_500(name: str, running: Running) -> None:
    answer = running.post("/v2/models/toy/infer", TENSORS[name])
    assert answer.status in (400, 422), answer
    assert len(answer.body) <= MOST
    still_works(running)


@pytest.mark.parametrize("name", RAW)
def test_hostile_bytes_get_a_short_answer_below_500(name: str, running: Running) -> None:
    found = running.send(RAW[name])
    for line in found.split(b"\r\n"):
        if line.startswith(b"HTTP/1.1 "):
            assert int(line.split()[1]) < 500, found[:500]
    if name != "pipelined requests":
        assert len(found) <= MOST
    assert b"model-version: " in found or not found
    still_works(running)


def still_works(running: Running) -> None:
    assert running.post("/predict", GOOD).status == 200


SECRET = "Zanzibar-7731"


@pytest.mark.parametrize(
    "body",
    [
        {"rows": [{"size": SECRET, "count": 1, "marked": True, "kind": "a"}]},
        {"rows": [{"size": 1, "count": 1, "marked": True, "kind": SECRET}]},
        {"rows": [{"size": 1, "count": 1, "marked": True, "kind": "a", SECRET: 1}]},
        {"rows": [{"size": 1, "count": 1, "marked": True, "kind": "a", "city": SECRET.lower()}]},
        {SECRET: 1},
        SECRET,
        {"inputs": [{"name": SECRET, "shape": [1], "datatype": SECRET[:10], "data": [SECRET]}]},
    ],
    ids=str,
)
def test_no_error_repeats_what_was_sent(body: object, running: Running) -> None:
    for route in ROUTES:
        answer = running.post(route, body)
        assert answer.status == 422
        assert SECRET.lower() not in (answer.body + str(answer.headers).encode()).decode().lower()
    answer = running.get(f"/{SECRET}?{SECRET}", X_Secret=SECRET)
    assert answer.status == 404
    assert SECRET.lower() not in answer.body.decode().lower()


@pytest.fixture(scope="module")
def alone(served: Path) -> Iterator[tuple[Running, psutil.Process]]:
    """The service in a process of its own, whose memory can be measured."""
    command = [sys.executable, "-m", "serve", "run", str(served)]
    environment = {**os.environ, "SERVE_LISTEN": "127.0.0.1:0"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline().split("http://127.0.0.1:")[1].split(",")[0])
            yield Running(None, port), psutil.Process(process.pid)  # type: ignore[arg-type]
        finally:
            process.kill()


def test_memory_stays_flat_under_hostile_requests(alone: tuple[Running, psutil.Process]) -> None:
    """Going through all of them again costs nothing that stays; the lowest of three is what allocators do not blur."""
    running, process = alone
    bodies = [*JSON.values(), *TENSORS.values()]

    def lowest() -> int:
        found = []
        for _ in range(3):
            for route, body in itertools.product(ROUTES, bodies):
                running.post(route, body)
            found.append(process.memory_info().rss)
        return min(found)

    lowest()
    before = lowest()
    assert lowest() - before < 8_000_000
    assert json.loads(running.post("/predict", GOOD).body)["predictions"]
