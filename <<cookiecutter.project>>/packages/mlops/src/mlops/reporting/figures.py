"""The plots of report.html: evidence in, SVG text out, drawn by matplotlib.

Colours are CSS variables of the page, so that one drawing serves light, dark and print; text stays text.
Equal evidence gives equal bytes: no date, no random identifiers. Names from data are cut, cleaned and never parsed
as formulas; matplotlib escapes them for XML.
"""

import io
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from mlops.reporting import facts
from mlops.reporting.facts import interval, items, number, rows, shown, table
from mlops.reporting.neutral import visible

Evidence = dict[str, Any]

# Stand-ins that no other colour uses; each becomes the page's variable of that name.
_COLOURS = {"#010203": "ink", "#040506": "muted", "#070809": "grid", "#0a0b0c": "challenger", "#0d0e0f": "champion"}
_COLOURS |= {"#101112": "bad", "#131415": "good"}
INK, MUTED, GRID, CHALLENGER, CHAMPION, BAD, GOOD = _COLOURS
_SETTINGS: Any = {
    "svg.hashsalt": "mlops",
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 9,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.titlecolor": INK,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "figure.facecolor": "none",
    "figure.constrained_layout.wspace": 0.06,
    "axes.facecolor": "none",
}


@dataclass(frozen=True)
class Plot:
    """One drawing: its title, what a person who cannot see it is told, and the SVG."""

    title: str
    alt: str
    svg: str
    width: float
    """Inches."""


def plots(one: Evidence) -> list[Plot]:
    """All drawings that the evidence holds data for, in the order of reading."""
    made = (
        differences(one),
        roc(one),
        precision_recall(one),
        calibration(one),
        confusion(one),
        residuals(one),
        importance(one),
        fairness(one),
        folds(one),
        aging(one),
        drift(one),
        *distributions(one),
    )
    return [plot for plot in made if plot]


def differences(one: Evidence) -> Plot | None:
    """Slices: champion and challenger on the left, their difference with its interval on the right."""
    comparison, evaluation = table(one.get("comparison")), table(one.get("evaluation"))
    primary = str(comparison.get("primary") or evaluation.get("primary"))
    own = {str(part.get("name")): table(part.get("metrics")).get(primary) for part in rows(evaluation.get("slices"))}
    lines: list[tuple[str, Any, Any, Any]] = []
    overall = table(table(comparison.get("metrics")).get(primary))
    measured = table(evaluation.get("overall")).get(primary)
    if overall or measured:
        value = overall.get("challenger", table(measured).get("value"))
        lines.append(("all rows", overall.get("champion"), value, overall.get("difference")))
        own["all rows"] = measured
    compared = rows(comparison.get("slices"))
    if compared:
        lines += [
            (str(part.get("name")), part.get("champion"), part.get("challenger"), part.get("difference"))
            for part in compared
        ]
    else:
        lines += [(name, None, table(given).get("value"), None) for name, given in own.items() if name != "all rows"]
    lines = [line for line in lines[:16] if number(line[2]) is not None]
    if not lines:
        return None
    with_difference = any(interval(line[3]).value is not None for line in lines)

    def draw(figure: Figure) -> None:
        left, *right = figure.subplots(1, 1 + with_difference, sharey=True, squeeze=False)[0]
        for n, (name, old, new, gap) in enumerate(lines):
            measured = interval(own.get(name))
            if measured.low is not None and measured.high is not None and not compared:
                left.plot([measured.low, measured.high], [n, n], color=CHALLENGER, linewidth=2, alpha=0.45)
            left.plot([number(new)], [n], "o", color=CHALLENGER, markersize=7, label="challenger" if n == 0 else None)
            if number(old) is not None:
                label = "champion" if n == 0 else None
                left.plot([number(old)], [n], "D", color=CHAMPION, markersize=5.5, label=label)
            found = interval(gap)
            if right and found.value is not None:
                colour = {"better": GOOD, "worse": BAD}.get(found.reading, MUTED)
                if found.low is not None and found.high is not None:
                    right[0].plot([found.low, found.high], [n, n], color=colour, linewidth=2.5)
                right[0].plot([found.value], [n], "o", color=colour, markersize=6)
        left.set_yticks(range(len(lines)), [_name(line[0]) for line in lines])
        left.set_ylim(len(lines) - 0.4, -0.6)
        for axes in (left, *right):
            axes.locator_params(axis="x", nbins=5)
        left.set_xlabel(_name(primary))
        if any(number(line[1]) is not None for line in lines):
            left.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0.2)
        if right:
            right[0].axvline(0, color=INK, linewidth=1)
            margin = number(table(one.get("thresholds")).get("margin"))
            if margin:
                right[0].axvline(-margin, color=BAD, linewidth=1, linestyle=(0, (4, 3)))
                right[0].annotate(
                    "allowed margin",
                    (-margin, -0.6),
                    color=BAD,
                    ha="right",
                    va="bottom",
                    fontsize=8,
                    annotation_clip=False,
                )
            right[0].set_xlabel("difference: right of 0 is better")

    told = "; ".join(
        f"{_name(name)}: {shown(new)}" + (f", {facts.gain(interval(gap))}" if interval(gap).value is not None else "")
        for name, _, new, gap in lines
    )
    title = "Champion and challenger, overall and by slice" if with_difference else "Overall and by slice"
    return _plot(title, f"{_name(primary)}. {told}", draw, width=9.2, height=1.5 + 0.34 * len(lines))


def roc(one: Evidence) -> Plot | None:
    """The ROC curve with the line of chance."""
    return _curve(one, "roc", "ROC", "false positive rate", "true positive rate", chance=True)


def precision_recall(one: Evidence) -> Plot | None:
    """The curve of precision over recall."""
    return _curve(one, "precision_recall", "Precision and recall", "recall", "precision", chance=False)


def _curve(one: Evidence, key: str, title: str, across: str, up: str, *, chance: bool) -> Plot | None:
    points = _points(table(table(one.get("evaluation")).get("curves")).get(key))
    if len(points) < 2:
        return None

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        if chance:
            axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
        xs, ys = zip(*points, strict=True)
        axes.plot(xs, ys, color=CHALLENGER, linewidth=2)
        axes.fill_between(xs, ys, color=CHALLENGER, alpha=0.08, linewidth=0)
        axes.set(xlim=(0, 1.01), ylim=(0, 1.02), xlabel=across, ylabel=up)

    middle = points[len(points) // 2]
    return _plot(title, f"Curve of {up} over {across}; midway, {shown(middle[1])} at {shown(middle[0])}.", draw)


def calibration(one: Evidence) -> Plot | None:
    """Predicted against observed, with the number of rows in each bin."""
    found = table(table(one.get("evaluation")).get("calibration"))
    bins = [
        (predicted, observed, number(part.get("count")) or 0.0)
        for part in rows(found.get("bins"))
        if (predicted := number(part.get("predicted"))) is not None
        and (observed := number(part.get("observed"))) is not None
    ]
    if len(bins) < 2:
        return None

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        ends = [min(min(one[:2]) for one in bins), max(max(one[:2]) for one in bins)]
        axes.plot(ends, ends, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
        axes.plot([one[0] for one in bins], [one[1] for one in bins], color=CHALLENGER, linewidth=1.5, alpha=0.6)
        most = max(one[2] for one in bins) or 1
        sizes = [20 + 160 * one[2] / most for one in bins]
        axes.scatter([one[0] for one in bins], [one[1] for one in bins], s=sizes, color=CHALLENGER, linewidths=0)
        axes.set(xlabel="predicted", ylabel="observed")

    far = max(bins, key=lambda one: abs(one[0] - one[1]))
    off = f"farthest off where {shown(far[0])} was predicted and {shown(far[1])} observed"
    told = f"Calibration error {shown(found.get('error'))}; {off}."
    return _plot("Calibration (a larger dot has more rows)", told, draw)


def confusion(one: Evidence) -> Plot | None:
    """The confusion matrix: what was, against what was predicted."""
    found = table(table(one.get("evaluation")).get("confusion"))
    names = [_name(label, 14) for label in items(found.get("labels"))][:12]
    counts = [[number(count) or 0.0 for count in items(line)[: len(names)]] for line in items(found.get("counts"))]
    counts = counts[: len(names)]
    if len(names) < 2 or len(counts) != len(names) or any(len(line) != len(names) for line in counts):
        return None

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.grid(False)
        for n, line in enumerate(counts):
            total = sum(line) or 1
            for m, count in enumerate(line):
                share = count / total
                colour = CHALLENGER if n == m else BAD
                axes.fill_between(
                    [m - 0.48, m + 0.48], n - 0.48, n + 0.48, color=colour, alpha=0.1 + 0.4 * share, linewidth=0
                )
                size = 11 if len(names) < 5 else 7
                axes.annotate(shown(count), (m, n), ha="center", va="center", fontsize=size)
        axes.set_xticks(range(len(names)), names)
        axes.set_yticks(range(len(names)), names)
        axes.set(xlim=(-0.5, len(names) - 0.5), ylim=(len(names) - 0.5, -0.5), xlabel="predicted", ylabel="was")

    told = "; ".join(
        f"was {names[n]}, predicted {names[m]}: {shown(count)}"
        for n, line in enumerate(counts)
        for m, count in enumerate(line)
    )
    return _plot("Confusion", told[:600], draw)


def residuals(one: Evidence) -> Plot | None:
    """Residuals over predictions, and how they are spread."""
    points = _points(table(one.get("evaluation")).get("residuals"))
    if len(points) < 2:
        return None

    def draw(figure: Figure) -> None:
        left, right = figure.subplots(1, 2, sharey=True, width_ratios=[3, 1])
        left.axhline(0, color=INK, linewidth=1)
        left.scatter([x for x, _ in points], [y for _, y in points], s=14, color=CHALLENGER, alpha=0.5, linewidths=0)
        left.set(xlabel="predicted", ylabel="observed - predicted")
        right.hist([y for _, y in points], bins=20, orientation="horizontal", color=CHALLENGER, alpha=0.6)
        right.set_xlabel("rows")

    ordered = sorted(y for _, y in points)
    half = shown(ordered[len(ordered) // 2])
    told = f"{len(points)} residuals from {shown(ordered[0])} to {shown(ordered[-1])}, half of them above {half}."
    return _plot("Residuals", told, draw, width=9.2)


def importance(one: Evidence) -> Plot | None:
    """Importance of the features, champion and challenger."""
    found = facts.importances(one)[:12]
    if not found:
        return None
    spreads = {
        str(part.get("feature")): number(part.get("std")) or 0.0
        for part in rows(table(one.get("explanation")).get("features"))
    }

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        both = any(old is not None for _, _, old in found)
        height = 0.38 if both else 0.6
        places = [n - height / 2 if both else n for n in range(len(found))]
        errors = [spreads.get(name, 0.0) for name, _, _ in found]
        axes.barh(
            places,
            [new for _, new, _ in found],
            height,
            xerr=errors,
            color=CHALLENGER,
            ecolor=MUTED,
            label="challenger",
        )
        if both:
            axes.barh(
                [n + height / 2 for n in range(len(found))],
                [old or 0.0 for *_, old in found],
                height,
                color=CHAMPION,
                label="champion",
            )
            axes.legend(loc="lower right")
        axes.set_yticks(range(len(found)), [_name(name) for name, _, _ in found])
        axes.set_ylim(len(found) - 0.4, -0.6)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel(f"{_name(table(one.get('explanation')).get('method'))} importance")

    told = "; ".join(
        f"{_name(name)} {shown(new)}" + (f" (champion {shown(old)})" if old is not None else "")
        for name, new, old in found
    )
    return _plot("What the model looks at", told, draw, height=1.2 + 0.32 * len(found))


def fairness(one: Evidence) -> Plot | None:
    """The score of each group."""
    lines = [
        (f"{_name(group.get('group'), 14)}: {_name(part.get('value'), 14)}", score)
        for group in rows(table(one.get("evaluation")).get("fairness"))
        for part in rows(group.get("by"))[:8]
        if (score := number(part.get("score"))) is not None
    ][:16]
    if len(lines) < 2:
        return None

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for n, (_, score) in enumerate(lines):
            axes.plot([score], [n], "o", color=CHALLENGER, markersize=7)
        axes.set_yticks(range(len(lines)), [name for name, _ in lines])
        axes.set_ylim(len(lines) - 0.4, -0.6)
        axes.margins(x=0.3)
        axes.set_xlabel("score of the group")

    told = "; ".join(f"{name} {shown(score)}" for name, score in lines)
    return _plot("Fairness: the score of each group", told, draw, height=1.3 + 0.3 * len(lines))


def folds(one: Evidence) -> Plot | None:
    """Cross-validation: each fold's score in the first metric."""
    evaluation, training = table(one.get("evaluation")), table(one.get("training"))
    scores = table(training.get("scores"))
    primary = facts.word(evaluation.get("primary"))
    metric = primary if primary in scores else next(iter(scores), "")
    values = [
        value for fold in items(table(scores.get(metric)).get("folds"))[:30] if (value := number(fold)) is not None
    ]
    if len(values) < 2:
        return None

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        mean = sum(values) / len(values)
        axes.axhline(mean, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
        axes.plot(range(1, len(values) + 1), values, "o", color=CHALLENGER, markersize=7)
        axes.set_xticks(range(1, len(values) + 1))
        axes.set(xlabel="fold", ylabel=_name(metric))
        axes.margins(y=0.3)

    return _plot("Cross-validation", f"{_name(metric)} by fold: {', '.join(shown(value) for value in values)}.", draw)


def aging(one: Evidence) -> Plot | None:
    """How much worse an older model is, with its interval, beside the gate's margin and what model.toml sets."""
    found, points = table(one.get("age")), facts.ages(one)
    margin = number(found.get("margin"))
    if len(points) < 2:
        return None
    every = number(table(one.get("retrain")).get("every_days"))

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        days, losses = [x for x, *_ in points], [loss.value for _, loss, _ in points]
        if all(loss.low is not None and loss.high is not None for _, loss, _ in points):
            low, high = [loss.low for _, loss, _ in points], [loss.high for _, loss, _ in points]
            axes.fill_between(days, low, high, color=CHALLENGER, alpha=0.15, linewidth=0)  # type: ignore[arg-type]
        axes.plot(days, losses, "o-", color=CHALLENGER, markersize=5, linewidth=1.6)  # type: ignore[arg-type]
        axes.axhline(0, color=INK, linewidth=1)
        if margin is not None:
            axes.axhline(margin, color=BAD, linewidth=1, linestyle=(0, (4, 3)), label="margin")
        if every:
            axes.axvline(every, color=CHAMPION, linewidth=1.4, label="retrain.every_days")
        axes.set(xlabel="older by days", ylabel=f"worse in {_name(found.get('metric'))}", xlim=(0, None))
        if margin is not None or every:
            axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0.2)

    told = "; ".join(f"{shown(days, places=0)} days: {shown(loss.value)}" for days, loss, _ in points)
    return _plot("How it ages", told, draw)


def drift(one: Evidence) -> Plot | None:
    """PSI of each column."""
    found = facts.drift(one)[:16]
    if not found:
        return None

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        colours = [BAD if moved else CHALLENGER for *_, moved in found]
        axes.barh(range(len(found)), [psi for _, psi, _ in found], 0.6, color=colours)
        axes.set_yticks(range(len(found)), [_name(name) for name, *_ in found])
        axes.set_ylim(len(found) - 0.4, -0.6)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel("PSI (red: moved)")

    told = "; ".join(f"{_name(name)} {shown(psi)}{', moved' if moved else ''}" for name, psi, moved in found)
    return _plot("Data drift", told, draw, height=1.2 + 0.28 * len(found))


def distributions(one: Evidence) -> list[Plot]:
    """Then and now, for the columns that moved; the most moved first, four at most."""
    profiles = table(one.get("profiles"))
    before, after = (table(table(profiles.get(side)).get("columns")) for side in ("champion", "challenger"))
    moved = [name for name, _, is_moved in facts.drift(one) if is_moved][:4]
    made = [_distribution(name, table(before.get(name)), table(after.get(name))) for name in moved]
    return [plot for plot in made if plot]


def _distribution(name: str, before: Evidence, after: Evidence) -> Plot | None:
    if not before or not after or before.get("kind") != after.get("kind"):
        return None
    title = f"{_name(name)}: the champion's data and the challenger's"
    if before.get("kind") == "category":
        names = list(dict.fromkeys([*table(before.get("counts")), *table(after.get("counts"))]))[:12]
        sides = [
            _shares([number(table(side.get("counts")).get(key)) or 0.0 for key in names]) for side in (before, after)
        ]

        def draw(figure: Figure) -> None:
            axes = figure.subplots()
            for side, offset, colour in ((0, -0.2, CHAMPION), (1, 0.2, CHALLENGER)):
                axes.bar([n + offset for n in range(len(names))], sides[side], 0.38, color=colour)
            axes.set_xticks(range(len(names)), [_name(key, 12) for key in names])
            axes.set_ylabel("share of rows")

        told = "; ".join(
            f"{_name(key)} {shown(one)} then, {shown(two)} now" for key, one, two in zip(names, *sides, strict=True)
        )
        return _plot(title, told, draw) if names else None
    steps = [step for side in (before, after) if (step := _density(side))]
    if len(steps) < 2:
        return None

    def draw_density(figure: Figure) -> None:
        axes = figure.subplots()
        for (edges, heights), colour, label in zip(
            steps, (CHAMPION, CHALLENGER), ("champion", "challenger"), strict=True
        ):
            axes.stairs(heights, edges, color=colour, linewidth=2, label=label)
            axes.stairs(heights, edges, color=colour, alpha=0.1, fill=True)
        axes.legend(loc="upper right")
        axes.set(xlabel=_name(name), ylabel="density")
        axes.set_ylim(0)

    told = f"Mean {shown(before.get('mean'))} then, {shown(after.get('mean'))} now."
    return _plot(title, told, draw_density)


def _density(side: Evidence) -> tuple[list[float], list[float]] | None:
    """(edges, heights) of a numeric profile, from the least to the greatest value; None when it cannot be drawn."""
    inner = [edge for given in items(side.get("edges")) if (edge := number(given)) is not None]
    counts = [number(count) or 0.0 for count in items(side.get("counts"))]
    low, high = number(side.get("min")), number(side.get("max"))
    if low is None or high is None or len(counts) != len(inner) + 1:
        return None
    # The other side's edges may reach beyond this side's values: those bins are empty.
    kept = [(edge, n) for n, edge in enumerate(inner) if low < edge < high]
    edges = [low, *(edge for edge, _ in kept), high]
    if sorted(set(edges)) != edges:
        return None
    cuts = [0, *(n + 1 for _, n in kept), len(counts)]
    shares = _shares([sum(counts[start:end]) for start, end in pairwise(cuts)])
    return edges, [share / (end - start) for share, (start, end) in zip(shares, pairwise(edges), strict=True)]


def _shares(counts: Sequence[float]) -> list[float]:
    total = sum(counts) or 1.0
    return [count / total for count in counts]


def _points(value: Any) -> list[tuple[float, float]]:
    """Pairs of finite numbers, at most 1,000."""
    found = []
    for pair in items(value)[:1000]:
        both = [number(one) for one in items(pair)[:2]]
        if len(both) == 2 and both[0] is not None and both[1] is not None:
            found.append((both[0], both[1]))
    return found


def _name(value: Any, limit: int = 26) -> str:
    return visible(value, limit=limit)


def _plot(
    title: str, alt: str, draw: Callable[[Figure], None], *, width: float = 4.5, height: float = 3.1
) -> Plot | None:
    """Draw into an SVG; values that matplotlib cannot draw (1e308 as an axis) give no plot rather than no report."""
    with matplotlib.rc_context(_SETTINGS), warnings.catch_warnings():
        # Letters that the measuring font lacks are drawn by the reader's own.
        warnings.simplefilter("ignore")
        figure = Figure(figsize=(width, height), layout="constrained")
        stream = io.StringIO()
        try:
            draw(figure)
            for axes in figure.axes:
                axes.tick_params(length=0)
            figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
        except (ValueError, OverflowError, ArithmeticError):
            return None
    return Plot(title, alt, _inline(stream.getvalue()), width)


def _inline(svg: str) -> str:
    """The drawing for a page: without file header, metadata, global style and repeated ids; colours as variables."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<style type=\"text/css\">.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r" font-family: [^;\"]*;", "", svg)
    svg = re.sub(r"<(g|text|svg) id=\"[\w.:-]+_\d+\"", r"<\1", svg)
    for stand_in, name in _COLOURS.items():
        svg = svg.replace(f": {stand_in}", f": var(--{name})")
    return svg.strip()
