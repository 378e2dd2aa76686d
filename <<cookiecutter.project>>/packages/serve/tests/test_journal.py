"""The prediction log is a sample of bounded size, and never stands in the way of an answer."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from serve.errors import Refusal
from serve.journal import KEPT, Journal


def journal(path: Path, **changed: Any) -> tuple[Journal, list[int]]:
    dropped: list[int] = []
    given: dict[str, Any] = {"share": 1.0, "most_bytes": 10**6, "version": "v", "personal": ["name"], "named": True}
    return Journal(path, dropped=dropped.append, **{**given, **changed}), dropped


def test_files_rotate_by_size_and_the_newest_are_kept(tmp_path: Path) -> None:
    found, dropped = journal(tmp_path / "p.jsonl", most_bytes=500)
    for number in range(100):
        found.write([{"size": number, "name": "Ada"}], [0.5], now=0.0)
        while not found._queue.empty():
            time.sleep(0.001)
    found.close()
    assert dropped == []
    files = sorted(tmp_path.iterdir())
    assert len(files) == KEPT
    assert all(path.stat().st_size < 700 for path in files)
    numbers = [
        json.loads(line)["features"]["size"]
        for path in [*files[1:], files[0]]
        for line in path.read_text().splitlines()
    ]
    assert numbers == list(range(numbers[0], 100))


def test_a_file_that_is_full_never_changes_again(tmp_path: Path) -> None:
    """Neither its name nor what it holds, so that what copies it elsewhere does so once."""
    found, _ = journal(tmp_path / "p.jsonl", most_bytes=1)
    seen: dict[str, str] = {}
    for number in range(KEPT):
        found.write([{"size": number}], [1], now=0.0)
        while not found._queue.empty():
            time.sleep(0.001)
        for path in tmp_path.glob("p.jsonl.*"):
            assert seen.setdefault(path.name, path.read_text()) == path.read_text()
    found.close()
    assert sorted(one for one in seen if (tmp_path / one).is_file()) == sorted(seen)[-(KEPT - 1) :]


def test_rows_are_logged_with_the_ids_that_the_client_gave_as_text(tmp_path: Path) -> None:
    """And without them where the id is personal, or the contract has none."""
    rows = [{"size": 1}, {"size": 2}]
    for named, expected in ((True, ["a", "7", None, None]), (False, [None] * 4)):
        found, _ = journal(tmp_path / f"{named}.jsonl", named=named)
        found.write(rows, [0.5, 0.6], ["a", 7], now=0.0)
        found.write(rows, [0.5, 0.6], now=0.0)
        found.close()
        lines = [json.loads(line) for line in (tmp_path / f"{named}.jsonl").read_text().splitlines()]
        assert [line.get("id") for line in lines] == expected
        assert [line["features"] for line in lines] == rows * 2


def test_a_sample_is_a_share_of_the_requests(tmp_path: Path) -> None:
    found, _ = journal(tmp_path / "p.jsonl", share=0.25)
    for _ in range(400):
        found.write([{"size": 1}], [1], now=0.0)
    found.close()
    assert 50 <= len((tmp_path / "p.jsonl").read_text().splitlines()) <= 150
    nothing, _ = journal(tmp_path / "none.jsonl", share=0.0)
    nothing.write([{"size": 1}], [1], now=0.0)
    nothing.close()
    assert (tmp_path / "none.jsonl").read_text() == ""


def test_lines_that_cannot_be_written_are_counted_and_the_rest_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A disk that is full for a while; one line on standard error says so, once."""
    found, dropped = journal(tmp_path / "p.jsonl")

    class Full:
        def write(self, data: bytes) -> None:
            raise OSError(28, "No space left on device")

        def close(self) -> None:
            pass

    found._stream = Full()
    for number in range(3):
        found.write([{"size": number}], [1], now=0.0)
    found.close()
    assert dropped == [1]
    assert len((tmp_path / "p.jsonl").read_text().splitlines()) == 2
    assert capsys.readouterr().err.count("No space left on device") == 1


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Refusal, match="The prediction log cannot be written"):
        journal(tmp_path / "file" / "p.jsonl")
