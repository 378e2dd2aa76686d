"""Run every benchmark in turn, then write `README.md` from what they measured: `make bench`.

    python -m benchmarks [page | NAME ...]

With names, only those run, and with `page` none; the page always shows the newest result of each.
No figure on it is typed by hand.
"""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
NAMES = (
    "rendering",
    "contract",
    "noop",
    "startup",
    "planning",
    "overhead",
    "pull_request",
    "serving",
    "image",
    "drift",
    "due",
)


def page(results: Mapping[str, Any]) -> str:
    """`README.md` as Markdown, from the values of `results/*.json` by benchmark; an absent one is said to be absent."""
    return "\n".join(
        [
            "# What was measured",
            "",
            "Written by `make bench` from `results/*.json`; run it again rather than edit it.",
            "",
            "Whole processes, interleaved in one run; the medians are compared.",
            "Seconds belong to the machine that was at hand; only ratios within one run mean something elsewhere.",
            "",
            "| Goal | Measured | At most | Reached | Answers right |",
            "|---|---:|---:|---|---|",
            *_goals(results),
            *(line for name in NAMES for line in _part(name, results.get(name))),
        ]
    )


def _goals(results: Mapping[str, Any]) -> Iterator[str]:
    for name in NAMES:
        if name not in results:
            yield f"| {name} | not measured | | NO | |"
            continue
        right = "yes" if results[name]["right"] else "NO"
        for goal, one in sorted(results[name]["goals"].items()):
            reached = "yes" if one["measured"] <= one["at_most"] else "NO"
            yield f"| {goal} | {one['measured']:.3f} | {one['at_most']:.4g} | {reached} | {right} |"


def _part(name: str, result: Mapping[str, Any] | None) -> Iterator[str]:
    if result is None:
        return
    yield from ["", f"## `{name}.py`", "", result["question"]]
    yield from result["notes"]
    yield from ["", ", ".join(f"{what} {version}" for what, version in sorted(result["versions"].items()))]
    for heading, lines in result["tables"].items():
        yield from ["", f"### {heading}", "", *lines]


def results() -> dict[str, Any]:
    """The newest result of each benchmark that was run."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in (HERE / "results").glob("*.json")}


def main() -> int:
    """Run the named benchmarks, or all; write the page; 1 when one missed its goal."""
    names = [] if sys.argv[1:] == ["page"] else sys.argv[1:] or NAMES
    if unknown := [name for name in names if name not in NAMES]:
        print(f"There is no benchmark {', '.join(unknown)}; there are {', '.join(NAMES)}.", file=sys.stderr)
        return 2
    codes = [subprocess.run([sys.executable, HERE / f"{name}.py"], check=False).returncode for name in names]
    (HERE / "README.md").write_text(page(results()) + "\n", encoding="utf-8")
    return int(any(codes))


if __name__ == "__main__":
    raise SystemExit(main())
