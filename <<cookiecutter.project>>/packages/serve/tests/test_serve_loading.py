"""A version is verified before a byte of it is deserialised, and is loaded without any of the loaders that run code."""

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import skops.io

from serve import loading
from serve.errors import Refusal
from serve.model import Model
from serve.server import open_version


def _flip(folder: Path, file: str, at: float = 0.5) -> None:
    data = bytearray((folder / file).read_bytes())
    data[int((len(data) - 1) * at)] ^= 1
    (folder / file).write_bytes(bytes(data))


def _edit(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    change(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")


def _replace(folder: Path, data: bytes) -> None:
    (folder / "model.skops").write_bytes(data)


def _link(folder: Path) -> None:
    (folder / "model.skops").rename(folder.parent / "elsewhere")
    (folder / "model.skops").symlink_to(folder.parent / "elsewhere")


TAMPERED: dict[str, Callable[[Path], Any]] = {
    "the first bit of the model": lambda f: _flip(f, "model.skops", 0),
    "a bit in its middle": lambda f: _flip(f, "model.skops"),
    "its last bit": lambda f: _flip(f, "model.skops", 1),
    "a bit of the profile": lambda f: _flip(f, "profile.json"),
    "the model cut short": lambda f: _replace(f, (f / "model.skops").read_bytes()[:-1]),
    "the model made longer": lambda f: _replace(f, (f / "model.skops").read_bytes() + b"\0"),
    "the model empty": lambda f: _replace(f, b""),
    "a pickle in its place": lambda f: _replace(f, b"\x80\x04c__builtin__\neval\n."),
    "another model": lambda f: _replace(f, skops.io.dumps([1, 2])),
    "a link": _link,
    "no model": lambda f: (f / "model.skops").unlink(),
    "no manifest": lambda f: (f / "manifest.json").unlink(),
    "a manifest that is no JSON": lambda f: (f / "manifest.json").write_text("{"),
    "another digest": lambda f: _edit(f, lambda m: m["files"].update({"model.skops": "sha256:" + "0" * 64})),
    "a weaker digest": lambda f: _edit(f, lambda m: m["files"].update({"model.skops": "md5:" + "0" * 32})),
    "a file elsewhere": lambda f: _edit(f, lambda m: m["files"].update({"../model.skops": "sha256:" + "0" * 64})),
    "no digest": lambda f: _edit(f, lambda m: m["files"].pop("model.skops")),
    "a later format": lambda f: _edit(f, lambda m: m.update(format=99)),
    "no proof": lambda f: _edit(f, lambda m: m.pop("proof")),
    "a name that is a path": lambda f: _edit(f, lambda m: m.update(model="../toy")),
}


DOORS = pytest.mark.parametrize("door", [loading.load, loading.load_to_serve], ids=["to measure", "to serve"])


@DOORS
@pytest.mark.parametrize("name", TAMPERED)
def test_a_tampered_model_is_refused_before_a_byte_is_deserialised(
    name: str, door: Callable[[Path], Any], copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    TAMPERED[name](copy)

    def touched(*_: Any, **__: Any) -> None:
        raise AssertionError("the model was read before it was verified")

    monkeypatch.setattr(skops.io, "loads", touched)
    monkeypatch.setattr(skops.io, "get_untrusted_types", touched)
    monkeypatch.setattr(loading.fitted, "read", touched)
    with pytest.raises(Refusal) as refused:
        door(copy)
    assert len(str(refused.value).splitlines()) <= 2


@DOORS
@pytest.mark.parametrize(
    ("module", "name"), [("os", "system"), ("numpy", "memmap"), ("sklearn.datasets", "fetch_openml")]
)
def test_a_model_that_names_foreign_code_is_refused_even_when_its_digest_is_right(
    copy: Path, door: Callable[[Path], Any], module: str, name: str
) -> None:
    with zipfile.ZipFile(copy / "model.skops") as archive:
        protocol = json.loads(archive.read("schema.json"))["protocol"]
    node = {"__class__": name, "__module__": module, "__loader__": "FunctionNode", "content": "x"}
    with zipfile.ZipFile(copy / "model.skops", "w") as archive:
        archive.writestr("schema.json", json.dumps({**node, "protocol": protocol, "_skops_version": "0.16.0"}))
    digest = loading.digest((copy / "model.skops").read_bytes())
    _edit(copy, lambda manifest: manifest["files"].update({"model.skops": digest}))
    with pytest.raises(Refusal, match=f"uses {module}.{name}, which is not a class of"):
        door(copy)


def test_only_the_version_that_was_asked_for_is_served(toy: Path) -> None:
    """A manifest that was rewritten as a whole vouches for itself; the version's name does not."""
    version = loading.version(toy)
    assert open_version(toy, version).name == version
    with pytest.raises(Refusal, match="SERVE_VERSION asks for 000000000000"):
        open_version(toy, "0" * 12)


LOADERS = """
import importlib, sys
import serve.app, skops.io  # Modules that derive from an unpickler are defined before it is taken away.

def raising(*_, **__):
    raise AssertionError("a loader that runs code was called")

def heard(event, arguments):
    if event == "pickle.find_class":
        raising()

sys.addaudithook(heard)
names = ("pickle", "_pickle", "joblib", "joblib.numpy_pickle", "joblib.externals.cloudpickle", "cloudpickle", "dill")
for module in names:
    try:
        found = importlib.import_module(module)
    except ImportError:
        continue
    for name in ("load", "loads", "Unpickler", "_load", "_loads", "_Unpickler"):
        if hasattr(found, name):
            setattr(found, name, raising)
"""
ABSENT = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {absent!r}:
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Absent())
"""
SERVE = """
from pathlib import Path
from serve import app
from serve.loading import load
from serve.model import Model
from serve.service import Service
from serve.settings import Settings
model = Model(load(Path(sys.argv[1])))
app.create(Service(model, Settings()))
assert model.runtime == "swift", model.runtime
assert len(model.predict(model.golden)) == 1
print(*sorted({name.split(".")[0] for name in sys.modules}))
"""


def _run(code: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", code, os.fspath(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("kind", ["toy", "slow"])
def test_nothing_is_deserialised_by_a_loader_that_runs_code(kind: str, request: pytest.FixtureRequest) -> None:
    """pickle, joblib, cloudpickle and dill raise as soon as they are asked to load; the model is loaded and answers."""
    done = _run(LOADERS + SERVE, request.getfixturevalue(kind))
    assert done.returncode == 0, done.stderr


def test_the_loaders_are_really_taken_away(toy: Path) -> None:
    """The breaker: whoever unpickles, in whichever way, is heard."""
    for code in ("import pickle; pickle.loads(b'N.')", "import joblib; joblib.load(sys.argv[1])"):
        done = _run(LOADERS + code, toy)
        assert "a loader that runs code was called" in done.stderr


def test_it_serves_where_nothing_that_trains_is_installed(toy: Path) -> None:
    """No mlops, DVC, MLflow, pandas or pyarrow, and no polars on the way of a request."""
    absent = {"mlops", "dvc", "mlflow", "pandas", "pyarrow", "polars", "pandera", "matplotlib", "fairlearn", "dask"}
    done = _run(ABSENT.format(absent=absent) + SERVE, toy)
    assert done.returncode == 0, done.stderr
    assert not absent & set(done.stdout.split())


def test_a_model_that_says_otherwise_than_at_export_has_a_problem(copy: Path) -> None:
    """The golden row, and every row of the proof."""
    _edit(copy, lambda manifest: manifest["golden"].update(prediction=[0.123, 0.877]))
    assert "golden row" in Model(loading.load(copy)).problem


def test_one_wrong_prediction_of_the_proof_is_enough(copy: Path) -> None:
    _edit(copy, lambda manifest: manifest["proof"]["predictions"].__setitem__(5, [0.5, 0.5]))
    model = Model(loading.load(copy))
    assert model.problem
    assert model.runtime == ""
