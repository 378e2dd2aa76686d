"""Exported models to serve, made once, and services that run in this process."""

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from toys import Running, Start, exported, prepared

from serve.loading import load_to_serve
from serve.model import Model
from serve.server import Server, bind
from serve.service import Service
from serve.settings import Settings, check


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export of a logistic regression: quick."""
    folder = tmp_path_factory.mktemp("toy") / "export"
    exported(folder, prepared(LogisticRegression(max_iter=1000)))
    return folder


@pytest.fixture(scope="session")
def numbers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export of a regression."""
    folder = tmp_path_factory.mktemp("numbers") / "export"
    exported(folder, prepared(Ridge()), task="regression", name="numbers")
    return folder


@pytest.fixture(scope="session")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export of a forest, which takes a while."""
    folder = tmp_path_factory.mktemp("slow") / "export"
    exported(folder, prepared(RandomForestClassifier(n_estimators=40, random_state=7)), name="slow")
    return folder


@pytest.fixture(scope="session")
def graphed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export of the quick model that serves by ONNX Runtime."""
    pytest.importorskip("onnxruntime", reason="serve[onnx] is not installed: no graph can be asked")
    pytest.importorskip("skl2onnx", reason="mlops[onnx] is not installed: no graph can be made")
    folder = tmp_path_factory.mktemp("graphed") / "export"
    exported(folder, prepared(LogisticRegression(max_iter=1000)), runtime="onnx")
    return folder


@pytest.fixture
def copy(toy: Path, tmp_path: Path) -> Path:
    """A copy of `toy` to spoil."""
    return shutil.copytree(toy, tmp_path / "export")


@pytest.fixture(scope="module")
def start() -> Iterator[Start]:
    """Start services in threads of this process: `start(folder, max_rows=10)`; all end with the module."""
    ends: list[Callable[[], None]] = []

    def _start(folder: Path, *, spoil: Callable[[Service], None] | None = None, **given: Any) -> Running:
        settings = check(Settings(listen="127.0.0.1:0", drain=0.0, **given))
        service = Service(Model(load_to_serve(folder)), settings)
        if spoil:
            spoil(service)
        listener = bind(settings)
        port = listener.getsockname()[1]
        server = Server(service, f"127.0.0.1:{port}")
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()

        def end() -> None:
            server.should_exit = server.force_exit = True
            thread.join(timeout=10)
            service.close()

        ends.append(end)
        deadline = time.monotonic() + 30
        while not server.started:
            assert time.monotonic() < deadline, "the service never started"
            time.sleep(0.01)
        return Running(service, port)

    yield _start
    for end in ends:
        end()


@pytest.fixture(scope="module")
def running(start: Start, toy: Path) -> Running:
    """A service of the quick model."""
    return start(toy)
