"""The report with every plot, as one HTML file that needs nothing else: no script, no network, no other file.

The page's own policy forbids everything but its inline style. All text from data passes `neutral.html`.
Light or dark follows the reader's system; printing shows everything.
"""

from collections.abc import Sequence
from typing import Any

from mlops.reporting import facts, figures, sections
from mlops.reporting.facts import Summary, shown
from mlops.reporting.neutral import html
from mlops.reporting.sections import Grid, Section

Evidence = dict[str, Any]

DRAWN = 25
"""Models that get plots, those that need a person first; drawing thousands would take minutes and nobody looks."""

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
_CLASSES = {"failed": "bad", "not evaluated": "unsure", "passed": "good"}
_OUTCOMES = {mark: outcome for outcome, mark in sections.MARKS.items()}
_OPEN = ("violations", "rules", "metrics", "slices")
_STYLE = """
:root { color-scheme: light dark;
  --ground: #f6f7f9; --paper: #ffffff; --ink: #1b2330; --muted: #5b6675; --grid: #dde2e9;
  --challenger: #2f6fbf; --champion: #c9822b; --bad: #b4303a; --good: #23784a; --unsure: #94660a;
  --bad-soft: #fbeaea; --good-soft: #e7f5ec; --unsure-soft: #fcf3df; }
@media (prefers-color-scheme: dark) { :root {
  --ground: #10151c; --paper: #181f29; --ink: #e3e8ef; --muted: #9aa7b6; --grid: #2f3947;
  --challenger: #6aa7f0; --champion: #e3a455; --bad: #f2868c; --good: #6fcf97; --unsure: #e6bb5c;
  --bad-soft: #3a2025; --good-soft: #1a3226; --unsure-soft: #37301c; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1100px; margin: 0 auto; padding: 32px 24px 64px; }
h1 { font-size: 27px; line-height: 1.25; margin: 0 0 4px; letter-spacing: -0.01em; }
h2 { font-size: 21px; margin: 0 0 4px; }
h3 { font-size: 15px; margin: 28px 0 8px; }
p { margin: 4px 0 8px; max-width: 80ch; }
a { color: var(--challenger); }
code { font: 13px ui-monospace, monospace; }
.quiet { color: var(--muted); }
.card { background: var(--paper); border: 1px solid var(--grid); border-radius: 10px; padding: 22px 26px; 
  margin: 22px 0; overflow-wrap: break-word; }
.banner { border-left: 6px solid var(--tone); background: var(--soft); }
.good { --tone: var(--good); --soft: var(--good-soft); }
.bad { --tone: var(--bad); --soft: var(--bad-soft); }
.unsure { --tone: var(--unsure); --soft: var(--unsure-soft); }
.mark { display: inline-block; padding: 1px 10px; border-radius: 99px; background: var(--soft); color: var(--tone);
  font-weight: 600; font-size: 13px; white-space: nowrap; }
.figures { display: flex; flex-wrap: wrap; gap: 6px 40px; margin: 12px 0 0; padding: 0; list-style: none; }
.figures b { display: block; font-size: 22px; font-weight: 650; font-variant-numeric: tabular-nums; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: 14px; }
th, td { padding: 6px 14px 6px 0; border-bottom: 1px solid var(--grid); text-align: left; vertical-align: top; }
th { color: var(--muted); font-weight: 600; font-size: 13px; }
.r { text-align: right; } .c { text-align: center; width: 1%; }
.better { color: var(--good); font-weight: 600; } .worse { color: var(--bad); font-weight: 600; }
details { border-top: 1px solid var(--grid); }
summary { cursor: pointer; padding: 10px 0; font-weight: 600; }
details > :last-child { margin-bottom: 18px; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 440px), 1fr));
  gap: 18px 28px; margin-top: 20px; }
figure { margin: 0; min-width: 0; break-inside: avoid; } figure.wide { grid-column: 1 / -1; }
figcaption { font-weight: 600; font-size: 14px; margin-bottom: 4px; }
figure svg { width: 100%; height: auto; display: block; font-family: system-ui, sans-serif; }
figure svg * { stroke-linejoin: round; stroke-linecap: butt; }
ul { padding-left: 20px; margin: 6px 0; }
@media print { body { background: none; font-size: 12px; } main { max-width: none; padding: 0; }
  .card { border: 0; padding: 0; break-inside: auto; } tr { break-inside: avoid; }
  details::details-content { content-visibility: visible; block-size: auto; } }
"""


def report(evidence: Sequence[Evidence]) -> str:
    """The page on all models in `evidence`, UTF-8 text; equal evidence gives equal bytes."""
    models = facts.order(evidence)
    summaries = [facts.summary(one) for one in models]
    parts = [_banner(summaries), _overview(summaries)]
    parts += [_model(one, summary, n) for n, (one, summary) in enumerate(zip(models, summaries, strict=True))]
    title = f"Report: {summaries[0].model}" if len(summaries) == 1 else f"Report on {len(summaries):,} models"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n'
        f"<title>{html(title, limit=100)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(part for part in parts if part)
        + "\n</main>\n</body>\n</html>\n"
    )


def _banner(summaries: Sequence[Summary]) -> str:
    """The verdict, why, and the numbers that carry it."""
    first = summaries[0]
    if len(summaries) > 1:
        counts = [(verdict, sum(one.verdict == verdict for one in summaries)) for verdict in facts.VERDICTS]
        told = "".join(f"<li><b>{count:,}</b>{verdict}</li>" for verdict, count in counts)
        return _section(first.verdict, f"<h1>{html(facts.headline(summaries))}</h1><ul class='figures'>{told}</ul>")
    # What passed is in the rules below; here is what blocks.
    reasons = first.reasons[:10] if first.verdict != "passed" else ()
    said = "".join(f"<li>{html(reason)}</li>" for reason in reasons)
    numbers = ""
    if first.challenger is not None:
        pairs = [(first.against, shown(first.other))] if first.other is not None else []
        pairs += [("challenger" if pairs else "this version", shown(first.challenger))]
        pairs += [("is it better?", facts.gain(first.difference))] if first.difference.value is not None else []
        cells = "".join(f"<li><b>{html(value)}</b>{html(name)}</li>" for name, value in pairs)
        numbers = f"<p class='quiet'>{html(first.metric, limit=60)}</p><ul class='figures'>{cells}</ul>"
    standing = facts.STANDINGS[first.standing]
    new = f"<p>{html(standing)}</p>" if standing else ""
    return _section(first.verdict, f"<h1>{html(facts.headline(summaries))}</h1>{new}<ul>{said}</ul>{numbers}")


def _section(verdict: str, body: str) -> str:
    return f'<section class="card banner {_CLASSES[verdict]}">{body}</section>'


def _overview(summaries: Sequence[Summary]) -> str:
    """One row per model, each a link into the page."""
    if len(summaries) == 1:
        return ""
    lines = [
        f'<tr><td><a href="#model-{n}">{html(one.model, limit=60)}</a></td><td>{_mark(one.verdict)}</td>'
        f"<td>{html(one.metric, limit=40)}</td><td class='r'>{shown(one.other)}</td>"
        f"<td class='r'>{shown(one.challenger)}</td><td>{_cell(facts.answer(one), 120)}</td></tr>"
        for n, one in enumerate(summaries)
    ]
    header = "<th>Model</th><th>Verdict</th><th>Metric</th><th class='r'>Champion</th><th class='r'>Challenger</th>"
    return (
        "<section class='card'><h2>All models</h2><div class='scroll'><table>"
        f"<thead><tr>{header}<th>Is it better?</th></tr></thead><tbody>{''.join(lines)}</tbody></table></div></section>"
    )


def _mark(verdict: str) -> str:
    return f"<span class='mark {_CLASSES[verdict]}'>{verdict}</span>"


def _model(one: Evidence, summary: Summary, place: int) -> str:
    """A model's card: about, rules, metrics, plots, then everything else folded."""
    told = sections.sections(one)
    parts = [f"<h2>{html(summary.model, limit=60)} {_mark(summary.verdict)}</h2>"]
    parts += [f"<p class='quiet'>{html(line)}</p>" for line in sections.about(one)]
    parts += [f"<h3>{html(part.title)}</h3>{_body(part)}" for part in told if part.key in _OPEN]
    if place < DRAWN:
        drawn = "".join(_figure(plot) for plot in figures.plots(one))
        parts.append(f"<div class='plots'>{drawn}</div>" if drawn else "")
    else:
        parts.append(
            f"<p class='quiet'>Plots are drawn for the first {DRAWN} models; name this one to get its own.</p>"
        )
    parts += [
        f"<details><summary>{html(part.title)}</summary>{_body(part)}</details>"
        for part in told
        if part.key not in _OPEN
    ]
    return f'<section class="card" id="model-{place}">{"".join(parts)}</section>'


def _figure(plot: figures.Plot) -> str:
    wide = " class='wide'" if plot.width > 6 else ""
    head = f'<svg role="img" aria-label="{html(f"{plot.title}. {plot.alt}", limit=700)}"'
    return f"<figure{wide}><figcaption>{html(plot.title)}</figcaption>{plot.svg.replace('<svg', head, 1)}</figure>"


def _body(section: Section) -> str:
    said = "".join(f"<p>{html(line)}</p>" for line in section.said)
    return said + (_grid(section.grid) if section.grid else "")


def _grid(grid: Grid) -> str:
    classes = [f" class='{one}'" if one != "l" else "" for one in grid.align]
    head = "".join(
        f"<th{css}>{html(cell, limit=80) if cell else ''}</th>" for css, cell in zip(classes, grid.header, strict=True)
    )
    body = "".join(
        "<tr>"
        + "".join(f"<td{css}>{_cell(cell, grid.limit)}</td>" for css, cell in zip(classes, row, strict=True))
        + "</tr>"
        for row in grid.rows[:500]
    )
    more = f"<p class='quiet'>and {len(grid.rows) - 500:,} more.</p>" if len(grid.rows) > 500 else ""
    return f"<div class='scroll'><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>{more}"


def _cell(value: str, limit: int) -> str:
    """A cell, with outcomes as badges and the words `better by` and `worse by` coloured."""
    if value in _OUTCOMES:
        return f"<span class='mark {_CLASSES.get(_OUTCOMES[value], '')}'>{_OUTCOMES[value]}</span>"
    shown_value = html(value or None, limit=limit)
    for word in ("better", "worse"):
        if shown_value.startswith(f"{word} by "):
            return f"<span class='{word}'>{word}</span>{shown_value[len(word) :]}"
    return shown_value
