"""How every benchmark here measures: whole processes, interleaved, every value kept, medians compared.

A benchmark is a script that names its peers (argument lists), runs them in turns with `interleave`, and hands the
runs to `table` and `conclude`. Times are not portable between machines; ratios within one run are what the goals name.
Wall time, processor time and peak memory come from the kernel (`wait4`), so a process cannot misreport them.
Where a peer starts processes of its own, their processor time counts and the peak is that of the largest one.
"""

import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results"


@dataclass(frozen=True)
class Run:
    """One process: seconds on the wall, seconds of processor, peak resident memory in MB, and what it printed."""

    wall_s: float
    cpu_s: float
    peak_mb: float
    output: str
    code: int


def run(
    command: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    accept: Sequence[int] = (0,),
) -> Run:
    """Run one command to its end; a code that is not in `accept` ends the benchmark with what it said.

    `env` is added to the environment. Byte code is written as usual, so that warm starts are warm.
    """
    full = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"} | dict(env or {})
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        started = time.perf_counter()
        child = subprocess.Popen(list(command), stdout=out, stderr=err, cwd=cwd, env=full)
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.perf_counter() - started
        # wait4 has reaped the child; without this, Popen would look for it again.
        child.returncode = code = os.waitstatus_to_exitcode(status)
        out.seek(0)
        output = out.read().decode(errors="replace").strip()
        if code not in accept:
            err.seek(0)
            raise SystemExit(f"{command[0]} … exited with {code}:\n{output}\n{err.read().decode(errors='replace')}")
    unit = 1024 * 1024 if sys.platform == "darwin" else 1024
    return Run(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / unit, output, code)


def interleave(peers: Mapping[str, Callable[[], Run]], *, repeats: int, warm_up: int = 1) -> dict[str, list[Run]]:
    """Run every peer in turn, `repeats` times; the first `warm_up` rounds fill caches and are not kept.

    Each value is printed as it comes. The order turns by one each round, so that no peer always follows the same.
    """
    runs: dict[str, list[Run]] = {name: [] for name in peers}
    names = list(peers)
    for turn in range(warm_up + repeats):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            one = peers[name]()
            kept = turn >= warm_up
            print(f"  {'' if kept else '(warm-up) '}{name}: {one.wall_s:.3f} s, {one.peak_mb:.0f} MB", flush=True)
            if kept:
                runs[name].append(one)
    return runs


def median(runs: Sequence[Run], what: str = "wall_s") -> float:
    """The median of one of the measured values."""
    return statistics.median(getattr(one, what) for one in runs)


def versions(*distributions: str) -> dict[str, str]:
    """The versions of the peers, of Python and of the machine; a peer that is not installed ends the benchmark."""
    found = {"python": platform.python_version(), "machine": f"{platform.machine()}, {os.cpu_count()} cores"}
    for name in distributions:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            raise SystemExit(f"{name} is not installed; a missing peer is not a win.") from None
    return found


def table(runs: Mapping[str, Sequence[Run]], *, against: str, correct: Mapping[str, bool] | None = None) -> str:
    """A Markdown table: medians, ratios to the peer `against`, and whether the answer was right."""
    base_wall, base_peak = median(runs[against]), median(runs[against], "peak_mb")
    lines = [
        "| | wall, s | processor, s | peak, MB | time ratio | memory ratio | correct |",
        "|---|---:|---:|---:|---:|---:|---|",
    ]
    for name, ones in runs.items():
        wall, cpu, peak = (median(ones, what) for what in ("wall_s", "cpu_s", "peak_mb"))
        right = "" if correct is None else ("yes" if correct[name] else "NO")
        ratios = f"{wall / base_wall:.3f} | {peak / base_peak:.3f}"
        lines.append(f"| {name} | {wall:.3f} | {cpu:.3f} | {peak:.0f} | {ratios} | {right} |")
    return "\n".join(lines)


def values(runs: Mapping[str, Sequence[Run]]) -> dict[str, list[dict[str, Any]]]:
    """Every measured value, for the JSON file; outputs are left out."""
    kept = ("wall_s", "cpu_s", "peak_mb")
    return {
        name: [{key: round(value, 4) for key, value in asdict(one).items() if key in kept} for one in ones]
        for name, ones in runs.items()
    }


def conclude(
    name: str,
    *,
    question: str,
    facts: Mapping[str, Any],
    tables: Mapping[str, str],
    goals: Mapping[str, tuple[float, float]],
    right: bool,
    notes: Sequence[str] = (),
) -> int:
    """Write `results/<name>.json` and say every goal as measured; 0 when all hold and every answer is right, else 1.

    `goals` names (measured, at most); `tables` are Markdown by heading; `facts` are versions and single values. The
    page `README.md` is made from these files by `python -m benchmarks`.
    """
    reached = {goal: {"measured": round(found, 4), "at_most": most} for goal, (found, most) in goals.items()}
    value = {
        **facts,
        "question": question,
        "goals": reached,
        "right": right,
        "notes": list(notes),
        "tables": {heading: text.splitlines() for heading, text in tables.items()},
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    for goal, (found, most) in goals.items():
        print(f"{'reached' if found <= most else 'MISSED '}  {goal}: {found:.3f} (goal: at most {most})")
    if not right:
        print("WRONG    an answer is not the right one; see the table")
    return int(not right or any(found > most for found, most in goals.values()))
