"""Are written files whole, byte-stable and readable, and is a broken one refused by name?"""

import errno
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops import files
from mlops.errors import Refusal

VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
VALUES = VALUE.filter(lambda value: "\\ud" not in ascii(value))


@given(VALUES)
def test_a_value_comes_back_as_it_was(value: Any) -> None:
    """Any value of JSON's types."""
    assert json.loads(files.dumps(value)) == value


def test_equal_values_are_equal_bytes(tmp_path: Path) -> None:
    """Whatever the order in which keys were set, and on every system the same line ends."""
    files.write_json(tmp_path / "a", {"b": 1, "a": [1.5, "µ"]})
    files.write_json(tmp_path / "b", {"a": (np.float64(1.5), "µ"), "b": np.int32(1)})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert (tmp_path / "a").read_bytes() == '{\n  "a": [\n    1.5,\n    "µ"\n  ],\n  "b": 1\n}\n'.encode()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), np.float64("nan")])
def test_what_json_cannot_say_becomes_null(value: float) -> None:
    """NaN in a file would be refused by every other reader."""
    assert files.dumps({"x": [value]}) == '{\n  "x": [\n    null\n  ]\n}\n'


def test_a_write_replaces_the_file_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    """Folders are made, the mode is that of any other file."""
    path = tmp_path / "new" / "folder" / "file.json"
    for number in (1, 2):
        files.write_json(path, {"n": number})
    assert files.read_json(path, do="") == {"n": 2}
    assert [one.name for one in path.parent.iterdir()] == ["file.json"]
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_write_that_fails_keeps_the_old_file_and_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full: the error has the file's own name, and no half file lies about."""
    path = tmp_path / "file.json"
    files.write_json(path, {"n": 1})

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left") as caught:
        files.write_json(path, {"n": 2})
    assert caught.value.filename == str(path)
    assert [one.name for one in tmp_path.iterdir()] == ["file.json"]
    assert files.read_json(path, do="") == {"n": 1}


def test_an_interrupted_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C between writing and replacing."""

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        files.write_text(tmp_path / "x", "text")
    assert list(tmp_path.iterdir()) == []


def test_a_write_below_a_file_names_that_file(tmp_path: Path) -> None:
    """A file stands where a folder should be."""
    (tmp_path / "x").write_text("")
    with pytest.raises(OSError, match="x") as caught:
        files.write_text(tmp_path / "x" / "y", "text")
    assert str(tmp_path / "x") in str(caught.value.filename)


BROKEN = {
    "missing": None,
    "empty": b"",
    "cut short": b'{"a": ',
    "not UTF-8": b'"\xff"',
    "too deep": b"[" * 100_000,
    "number too long": b"1" * 5000,
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
def test_a_broken_file_is_refused_by_name_with_what_to_do(tmp_path: Path, data: bytes | None) -> None:
    """Whatever is in it, two short lines."""
    path = tmp_path / "metrics.json"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(Refusal) as caught:
        files.read_json(path, do="Run it again.")
    assert str(path) in caught.value.what
    assert caught.value.do == "Run it again."
    assert len(str(caught.value)) < 600


def test_a_conflict_is_found_by_its_first_marker() -> None:
    """Seven signs and a space open a line; a ruler in a text is no conflict."""
    start, end = "<" * 7 + " HEAD", ">" * 7 + " theirs"
    assert files.conflict(f"a = 1\n{start}\na = 2\n{end}\n") == 2
    assert files.conflict(f"a = 1\n{end}\n") == 2
    assert files.conflict(f"a = 1\n x {start}\n{'<' * 9}\n=======\n") is None


@pytest.mark.parametrize("algorithm", ["sha256", "md5"])
def test_a_digest_is_that_of_the_bytes(tmp_path: Path, algorithm: str) -> None:
    """Also of a file larger than one block."""
    data = os.urandom(1_000_003)
    (tmp_path / "x").write_bytes(data)
    assert files.digest(tmp_path / "x", algorithm) == hashlib.new(algorithm, data).hexdigest()
