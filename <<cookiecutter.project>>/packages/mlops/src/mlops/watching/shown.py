"""What does a look say to people? `watch.json` as Markdown with plots in text, and as lines for a terminal.

Standard library only. Names come from data contracts and logs, and are made harmless.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from mlops.reporting import neutral

LEVELS = "▁▂▃▄▅▆▇█"
WIDTH = 20
"""Characters of a whole bar."""
MOST_COLUMNS = 100
WORDS = {"quiet": "quiet", "alarm": "**alarm**", "not evaluated": "not evaluated"}


def markdown(value: Mapping[str, Any]) -> str:
    """The whole look: the verdict, a line for each finding, and the columns, the most moved first."""
    span = value["window"]
    lines = [
        f"### {neutral.text(value['model'])}: {value['outcome']}",
        "",
        f"Version {neutral.code(value['version'])}, {span['rows']:,} logged rows of {span['first']} to {span['last']}."
        + _beside(span),
        "",
        "| What | Outcome | |",
        "|---|---|---|",
    ]
    lines += [
        f"| {one['kind']} | {WORDS[one['outcome']]} | {neutral.text(one['sentence'], limit=600)} |"
        for one in value["findings"]
    ]
    for one in value["findings"]:
        if one.get("columns"):
            lines += ["", *_columns(one["columns"], limit=one["limit"])]
        if one.get("now"):
            lines += ["", *_scores(one)]
    return "\n".join(lines) + "\n"


def terminal(value: Mapping[str, Any]) -> str:
    """The verdict and a line for each finding."""
    lines = [f"{value['model']} {value['version']}: {value['outcome']}"]
    return "\n".join([*lines, *(f"  {one['outcome']}  {one['kind']}: {one['sentence']}" for one in value["findings"])])


def aging(value: Mapping[str, Any]) -> str:
    """The age curve: how much worse an older model is, with its interval, as bars of the worst loss."""
    points = value["points"]
    if not points:
        return f"### {neutral.text(value['model'])}: how it ages\n\n{neutral.text(value['sentence'], limit=600)}\n"
    highest = max([point["high"] for point in points] + [value["margin"], 1e-12])
    name = neutral.visible(value["metric"], limit=30)
    lines = [f"### {neutral.text(value['model'])}: how it ages", "", neutral.text(value["sentence"], limit=600), ""]
    lines += [f"Measured on rows of {neutral.text(value['first'])} to {neutral.text(value['last'])}.", ""]
    lines += ["```text", f"{'older by':>9}  {f'worse in {name}':<{WIDTH + 2}}"]
    for point in points:
        told = f"{point['loss']:.4g} ({point['low']:.4g} to {point['high']:.4g}), {point['rows']:,} rows"
        lines.append(f"{point['days']:>4.0f} days  {bar(point['loss'] / highest)}  {told}")
    lines.append(f"{'margin':>9}  {bar(value['margin'] / highest)}  {value['margin']:g}")
    return "\n".join([*lines, "```"]) + "\n"


def sparkline(shares: Sequence[float], *, highest: float) -> str:
    """One block for each share, of `highest` the full one."""
    if highest <= 0:
        return LEVELS[0] * len(shares)
    return "".join(LEVELS[min(len(LEVELS) - 1, int(share / highest * len(LEVELS)))] for share in shares)


def bar(share: float) -> str:
    """A bar of `WIDTH` characters for a share of one; what is more than that fills it."""
    full = round(max(0.0, min(1.0, share)) * WIDTH)
    return "█" * full + "░" * (WIDTH - full)


def _beside(span: Mapping[str, Any]) -> str:
    said = []
    if span.get("others"):
        said.append(f" {sum(span['others'].values()):,} rows of other versions are left out.")
    if span.get("broken"):
        said.append(f" {span['broken']:,} lines of the log are broken.")
    return "".join(said)


def _columns(columns: Sequence[Mapping[str, Any]], *, limit: float) -> list[str]:
    """PSI as bars of twice the limit, so that the middle is where a column has moved; histograms side by side."""
    judged = sorted((one for one in columns if one["psi"] is not None), key=lambda one: -one["psi"])
    if not judged:
        return []
    names = [neutral.visible(one["column"], limit=30) for one in judged[:MOST_COLUMNS]]
    wide = max(map(len, names))
    lines = ["```text", f"{'column':<{wide}}  {'PSI':>7}  {'limit in the middle':<{WIDTH}}  reference > current"]
    for name, one in zip(names, judged, strict=False):
        old, new = one["shares"]
        highest = max([*old, *new], default=0)
        both = f"{sparkline(old, highest=highest)} > {sparkline(new, highest=highest)}"
        mark = "  moved" if one["outcome"] == "moved" else ""
        shown = name.replace("`", "'")
        lines.append(f"{shown:<{wide}}  {one['psi']:>7.3f}  {bar(one['psi'] / (2 * limit))}  {both}{mark}")
    lines.append("```")
    moved = [neutral.text(one["sentence"], limit=400) for one in judged if one["outcome"] == "moved"]
    unknown = [neutral.text(one["sentence"], limit=400) for one in columns if one["outcome"] == "not evaluated"]
    if len(judged) > MOST_COLUMNS:
        lines.append(f"\nAnd {len(judged) - MOST_COLUMNS:,} more columns; `watch.json` has them all.")
    said = [*moved, *unknown]
    return [*lines, *(["", *(f"- {one}" for one in said[:MOST_COLUMNS])] if said else [])]


def _scores(one: Mapping[str, Any]) -> list[str]:
    """Both intervals on one scale."""
    sides = [("promised", one["promised"]), ("now", one["now"])]
    low, high = min(side["low"] for _, side in sides), max(side["high"] for _, side in sides)
    lines = ["```text", f"{neutral.visible(one['metric'], limit=30)}, {low:.4g} to {high:.4g}"]
    for name, side in sides:
        places = [round((side[key] - low) / (high - low or 1) * 2 * WIDTH) for key in ("low", "value", "high")]
        line = ["─" if places[0] <= place <= places[2] else " " for place in range(2 * WIDTH + 1)]
        line[max(0, min(2 * WIDTH, places[1]))] = "●"
        lines.append(f"{name:<8}  {''.join(line).rstrip()}")
    return [*lines, "```"]
