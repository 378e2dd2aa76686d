"""The report that a pull request shows: many models' evidence in, one GitHub comment out.

The first screen answers what changed, whether it is better and by how much, what blocks it and what to do.
A comment that is too long is refused by GitHub as a whole, so the report shortens itself: models that passed lose
their details first, then the others, then the table loses rows, and each time it says how many.
Pure, and standard library only: it runs where nothing is installed.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from mlops.reporting import facts, sections
from mlops.reporting.facts import Summary, shown, table
from mlops.reporting.neutral import NOTHING, code, label, text
from mlops.reporting.neutral import summary as summarised
from mlops.reporting.sections import Chart, Section

LIMIT = 60_000
"""Most characters of a comment; GitHub takes 65,536."""

ADDED = 500
"""What the poster may add to a report."""

MARKS = sections.MARKS
_HEAD = 12_000
_RESERVED = 16_000
_NAMED = 5
_MISSES = 10
_STYLE = (
    '%%{init: {"xyChart": {"width": 640, "height": 340}, '
    '"themeVariables": {"xyChart": {"plotColorPalette": "#4c8eda, #e0902b"}}}}%%'
)
_EMPTY = "No model has been judged: run `mlops gate` for each model, then `mlops report`."
_UNAFFECTED = "## ✅ No model is affected\n\nThis change can affect no model, so nothing had to be measured."

Evidence = dict[str, Any]


@dataclass(frozen=True)
class Run:
    """Where the evidence was made: the page of the workflow run (a URL of ours), and the measured commit."""

    url: str
    commit: str


def unaffected(run: Run | None = None) -> str:
    """The report on a change for which the plan asks no model to be measured."""
    return f"{_UNAFFECTED}\n\n{_links(run, reports=False)}".rstrip() + "\n"


def report(evidence: Sequence[Evidence], *, run: Run | None = None, limit: int = LIMIT - ADDED) -> str:
    """The report on all models in `evidence`, at most `limit` characters (20,000 or more)."""
    if not evidence:
        return f"## No model was judged\n\n{_EMPTY}\n"
    models = facts.order(evidence)
    summaries = [facts.summary(one) for one in models]
    head = _head(summaries)
    blocked = any(summary.verdict != "passed" for summary in summaries)
    foot = "\n\n".join(part for part in (_foot(len(models)), _links(run, reports=True)) if part)
    room = limit - len(head) - len(foot) - 400
    overview = _overview(models, summaries, room - (_RESERVED if blocked and len(models) > 1 else 0))
    details = _details(models, summaries, room - len(overview))
    return "\n\n".join(part for part in (head, overview, details, foot) if part) + "\n"


def _head(summaries: Sequence[Summary]) -> str:
    """The verdict in one line, then why and what to do."""
    parts = [f"## {MARKS[summaries[0].verdict]} {text(facts.headline(summaries))}"]
    blocked = [summary for summary in summaries if summary.verdict != "passed"]
    if blocked:
        lines = [f"> [!{'CAUTION' if blocked[0].verdict == 'failed' else 'WARNING'}]"]
        size = 0
        for n, summary in enumerate(blocked):
            said = _why(summary)
            size += len(said)
            if n == _NAMED or (n and size > _HEAD):
                lines.append(f"> - and {len(blocked) - n:,} more, in the table below.")
                break
            lines.append(f"> - {said}")
        lines += [">", f"> **What to do:** {_advice(blocked)}"]
        parts.append("\n".join(lines))
    elif len(summaries) == 1:
        parts.append(_good_news(summaries[0]))
    return "\n\n".join(parts)


def _why(summary: Summary) -> str:
    reasons = [text(reason, limit=300) for reason in summary.reasons[:3]]
    more = len(summary.reasons) - len(reasons)
    said = " ".join(reasons) + (f" And {more} more." if more else "")
    return f"**{text(summary.model, limit=60)}** {summary.verdict}: {said or 'no reason was given.'}"


def _advice(blocked: Sequence[Summary]) -> str:
    model = blocked[0].model
    # A name that is not one cannot be typed either; the folder in models/ is.
    name = model if model.isidentifier() and model.isascii() and len(model) <= 60 else "…"
    again = f"`make train MODEL={name}`, then `make gate MODEL={name}`"
    if blocked[0].missing == "data":
        return (
            "mend the data, or change `contract.py` if the world has changed. Try it on your machine: "
            f"`make train MODEL={name}`."
        )
    if blocked[0].missing:
        return f"read the log of the job of this model, then run it again, or try it on your machine: {again}."
    if blocked[0].verdict == "failed":
        return (
            "improve the data or the model, or change the threshold in `model.toml` with a reason that a reviewer "
            f"accepts. Try it on your machine: {again}."
        )
    return (
        "remove what kept the gate from judging (the reason above names it), then measure again: "
        f'{again}. If the versions can never be compared, `model.toml` can say `champion = "reset"` with a reason.'
    )


def _good_news(summary: Summary) -> str:
    said = facts.STANDINGS[summary.standing]
    if said:
        return f"> [!NOTE]\n> {said} Merging makes it the champion."
    return "> [!TIP]\n> Merging makes this version the champion."


def _overview(models: Sequence[Evidence], summaries: Sequence[Summary], room: int) -> str:
    """One row per model: all columns where they fit, else fewer columns, else fewer rows and how many are left out."""
    full = _rows_within(models, summaries, room, _wide, _WIDE)
    if full.count("\n") - 1 == len(models):
        return full
    narrow = _rows_within(models, summaries, room - 200, _narrow, _NARROW)
    left = summaries[narrow.count("\n") - 1 :]
    if not left:
        return narrow
    counts = [(verdict, sum(one.verdict == verdict for one in left)) for verdict in facts.VERDICTS]
    told = ", ".join(f"{count:,} {verdict}" for verdict, count in counts if count)
    return f"{narrow}\n\n{len(left):,} more models are left out of this table: {told}."


_WIDE = ("", "Model", "Verdict", "Metric", "Champion → challenger", "Is it better?", "What else changed")
_NARROW = ("", "Model", "Is it better?")


def _wide(one: Evidence, summary: Summary) -> tuple[str, ...]:
    values = f"{_other(summary)} → **{shown(summary.challenger)}**"
    return (
        MARKS[summary.verdict],
        f"**{text(summary.model, limit=60)}**",
        summary.verdict,
        text(summary.metric, limit=40),
        values,
        facts.answer(summary),
        _changed(one),
    )


def _narrow(one: Evidence, summary: Summary) -> tuple[str, ...]:
    return MARKS[summary.verdict], text(summary.model, limit=60), facts.answer(summary)


def _other(summary: Summary) -> str:
    if summary.against == "baseline":
        return f"{shown(summary.other)} (baseline)"
    return shown(summary.other)


def _changed(one: Evidence) -> str:
    """What a version changes beside its scores, in a few words."""
    champion = table(one.get("champion"))
    said = []
    if champion.get("contract") and one.get("contract"):
        count = len(facts.contract_changes(champion.get("contract"), one.get("contract")))
        said += [f"{count} in the data contract"] if count else []
    moved = sum(moved for _, _, moved in facts.drift(one))
    said += [f"{moved} drifted column{'s' * (moved > 1)}"] if moved else []
    for what, before, after, _ in facts.costs(one)[:1]:
        more = facts.ratio(before, after)
        said += [f"{what.lower()} {more}"] if more and more != "the same" else []
    return ", ".join(said) or NOTHING


def _rows_within(
    models: Sequence[Evidence],
    summaries: Sequence[Summary],
    room: int,
    row: Callable[[Evidence, Summary], tuple[str, ...]],
    header: tuple[str, ...],
) -> str:
    """The table with as many of its rows as fit in `room` characters."""
    lines = [_line(header), _line([":-:"] + [":--"] * (len(header) - 1))]
    size = sum(len(line) + 1 for line in lines)
    for one, summary in zip(models, summaries, strict=True):
        line = _line(row(one, summary))
        size += len(line) + 1
        if size > room:
            break
        lines.append(line)
    return "\n".join(lines)


def _details(models: Sequence[Evidence], summaries: Sequence[Summary], room: int) -> str:
    """Details of as many models as fit: short ones first for those that need a person, then longer, then the others."""
    chosen: dict[int, str] = {}
    bad = [n for n, summary in enumerate(summaries) if summary.verdict != "passed"]
    good = [n for n, summary in enumerate(summaries) if summary.verdict == "passed"]
    left = room
    for numbers, form in ((bad, _brief), (bad, _full), (good, _brief), (good, _full)):
        misses = 0
        for n in numbers:
            if form is _full and n not in chosen:
                continue
            body = _folded(summaries[n], form(models[n]), is_open=len(models) == 1)
            cost = len(body) - len(chosen.get(n, "")) + 2
            if cost > left:
                misses += 1
                if misses == _MISSES:
                    break
                continue
            chosen[n] = body
            left -= cost
    absent = len(models) - len(chosen)
    parts = [chosen[n] for n in sorted(chosen)]
    if absent:
        parts.append(f"The details of {absent:,} models are left out here; `mlops report --html` shows all.")
    return "\n\n".join(parts)


def _folded(summary: Summary, body: str, *, is_open: bool) -> str:
    line = f"{MARKS[summary.verdict]} <b>{summarised(summary.model, limit=60)}</b> · {summary.verdict}"
    if summary.challenger is not None:
        line += f" · {summarised(summary.metric, limit=40)} {_other(summary)} → {shown(summary.challenger)}"
    return f"<details{' open' * is_open}>\n<summary>{line}</summary>\n\n{body}\n\n</details>"


def _brief(one: Evidence) -> str:
    chosen = (sections.violations(one), sections.rules(one), sections.metrics(one))
    return "\n\n".join(part for part in (_about(one), *(_section(each, most=8) for each in chosen if each)) if part)


def _full(one: Evidence) -> str:
    parts = [_about(one)]
    for part in sections.sections(one):
        body = _section(part, most=15)
        is_open = part.key in ("violations", "rules", "metrics", "slices")
        parts.append(body if is_open else f"<details>\n<summary>{part.title}</summary>\n\n{body}\n\n</details>")
    return "\n\n".join(part for part in parts if part)


def _about(one: Evidence) -> str:
    return "\\\n".join(text(line, limit=300) for line in sections.about(one))


def _section(section: Section, *, most: int) -> str:
    """Sentences, a table of at most `most` rows and a count of the others, and a chart."""
    parts = [text(line, limit=400) for line in section.said]
    if section.grid:
        grid = section.grid
        marks = {"l": ":--", "r": "--:", "c": ":-:"}
        lines = [[text(cell, limit=60) if cell else "" for cell in grid.header], [marks[one] for one in grid.align]]
        lines += [[text(cell or None, limit=grid.limit) for cell in row] for row in grid.rows[:most]]
        parts.append("\n".join(_line(line) for line in lines))
        if len(grid.rows) > most:
            parts.append(f"and {len(grid.rows) - most:,} more.")
    if section.chart:
        parts.append(_mermaid(section.chart))
    return "\n\n".join(part for part in parts if part)


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _mermaid(chart: Chart, *, most: int = 10) -> str:
    """Bars, with a line over them where all of it is known; empty below two bars."""
    bars = chart.bars[:most]
    if len(bars) < 2:
        return ""
    line = [bar.line for bar in bars if bar.line is not None]
    both = len(line) == len(bars)
    values = [bar.height for bar in bars]
    known = values + (line if both else [])
    low, high = min(known), max(known)
    room = (high - low) * 0.25 or abs(high) * 0.25 or 1.0
    # Scores that lie close together would all look the same on an axis from zero.
    bottom = low - room if low < 0 or low > 0.5 * high else 0.0
    names = ", ".join(f'"{label(bar.name, limit=20)}"' for bar in bars)
    lines = [
        "```mermaid",
        _STYLE,
        "xychart-beta horizontal" if chart.lying else "xychart-beta",
        f'    title "{label(chart.title, limit=60)}"',
        f"    x-axis [{names}]",
        f'    y-axis "{label(chart.axis)}" {bottom:.6g} --> {high + room * 0.2:.6g}',
        f"    bar [{', '.join(f'{value:.6g}' for value in values)}]",
        *([f"    line [{', '.join(f'{value:.6g}' for value in line)}]"] if both else []),
        "```",
    ]
    return "\n".join(lines) + (f"\n\n{text(chart.legend)}" if chart.legend and both else "")


def _foot(count: int) -> str:
    return (
        "<sub>Differences are champion → challenger on the same rows, with a bootstrap interval; better is always "
        f"towards the goal of the metric. {count:,} model{'s' * (count != 1)}.</sub>"
    )


def _links(run: Run | None, *, reports: bool) -> str:
    """Where to read on: the run, and the page with every plot, which is an artifact of it."""
    if run is None:
        return ""
    page = f" · [report.html with every plot]({run.url}#artifacts), in the artifact `evaluation-`*model*" * reports
    return f"<sub>Measured commit {code(run.commit[:12])} · [run and logs]({run.url}){page}</sub>"
