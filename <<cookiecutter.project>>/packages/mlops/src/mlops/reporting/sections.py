"""What is told of one model, as plain values: sentences, tables and charts that Markdown and HTML both show.

Nothing is escaped here: whoever renders a section neutralises each of its texts. Standard library only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mlops.reporting import facts
from mlops.reporting.facts import number, rows, shown, table

Evidence = dict[str, Any]

MARKS = {"failed": "❌", "not evaluated": "⚠️", "passed": "✅", "not applied": "\u2796"}


@dataclass(frozen=True)
class Grid:
    """A table; `align` has one of l, r, c per column, `limit` is the most characters of a cell."""

    header: tuple[str, ...]
    align: str
    rows: tuple[tuple[str, ...], ...]
    limit: int = 60


@dataclass(frozen=True)
class Bar:
    """One bar of a chart, and the point of the line above it where there is one."""

    name: str
    height: float
    line: float | None = None


@dataclass(frozen=True)
class Chart:
    """Bars with a line; `legend` says which is which; `lying` bars leave room for long names."""

    title: str
    axis: str
    bars: tuple[Bar, ...]
    legend: str = ""
    lying: bool = False


@dataclass(frozen=True, kw_only=True)
class Section:
    """One subject: what is said of it, its table and its chart."""

    key: str
    title: str
    said: tuple[str, ...] = ()
    grid: Grid | None = None
    chart: Chart | None = None


def sections(one: Evidence) -> list[Section]:
    """All there is to tell of a model, the most important first; what is unknown is left out."""
    found = (
        violations(one),
        rules(one),
        metrics(one),
        slices(one),
        contract(one),
        data(one),
        others(one),
        calibration(one),
        fairness(one),
        importance(one),
        sensitivity(one),
        training(one),
        aging(one),
        cost(one),
        lineage(one),
    )
    return [section for section in found if section]


def about(one: Evidence) -> list[str]:
    """Which version of what is compared with which, in one to three sentences."""
    champion, comparison = table(one.get("champion")), table(one.get("comparison"))
    said = [str(one["description"])] if one.get("description") else []
    planned = [str(reason) for reason in facts.items(one.get("planned"))]
    because = [f"Measured because {', '.join(planned[:5])}{f' and {len(planned) - 5} more' * (len(planned) > 5)}."]
    if one.get("missing"):
        return because if planned else []
    version = f"Owner {_word(one.get('owner'))} · version {_word(one.get('version'))}"
    if champion or comparison:
        version += f" against the champion {_word(champion.get('version') or comparison.get('champion'))}"
    said.append(version)
    if comparison:
        counted = f"Both were scored on the same {shown(comparison.get('rows'))} rows of the holdout"
        left = number(comparison.get("rows_left_out"))
        if left:
            counted += f"; {shown(left)} rows were left out because the champion may have been trained on them"
        said.append(f"{counted}.")
    else:
        said.append(facts.STANDINGS[facts.standing(one)])
    return [line for line in (*said, *(because if planned else ())) if line]


def violations(one: Evidence) -> Section | None:
    """Which checks the data breaks: columns, checks and counts, never values."""
    body = tuple(
        (column, check, shown(count), f"{shown(share * 100)} %" if share is not None else "")
        for column, check, count, share in facts.violations(one)
    )
    grid = Grid(("Column", "Check", "Rows", "Share"), "llrr", body, limit=120)
    return _with_grid("violations", "What breaks the data contract", grid)


def rules(one: Evidence) -> Section | None:
    """The gate's rules and what each found."""
    body = tuple(
        (MARKS.get(str(rule.get("outcome")), ""), _word(rule.get("rule")), _word(rule.get("sentence")))
        for rule in facts.rules(one)
    )
    return _with_grid("rules", "Rules", Grid(("", "Rule", "What was found"), "cll", body, limit=240))


def metrics(one: Evidence) -> Section | None:
    """Every metric: champion, challenger, difference; or the version's own value where nothing is compared."""
    comparison, evaluation = table(one.get("comparison")), table(one.get("evaluation"))
    overall, own, compared = (
        table(evaluation.get("overall")),
        table(one.get("metrics")),
        table(comparison.get("metrics")),
    )
    primary = comparison.get("primary") or evaluation.get("primary")
    # The metric that the gate compares is read first; the files hold them by name.
    names = sorted(
        (name for name in {**compared, **overall, **own} if name != "rows"), key=lambda name: name != primary
    )
    body: list[tuple[str, ...]] = []
    for name in names:
        both = table(compared.get(name))
        measured = facts.interval(overall.get(name))
        alone = (
            f"{shown(measured.value)} {facts.spread(measured)}" if measured.value is not None else shown(own.get(name))
        )
        if comparison:
            new = both.get("challenger") if both else own.get(name)
            difference = facts.gain(facts.interval(both.get("difference")))
            body.append((name, shown(both.get("champion")), shown(new), difference))
        else:
            body.append((name, alone.rstrip()))
    within = _within(evaluation)
    if comparison:
        grid = Grid(("Metric", "Champion", "Challenger", f"Is it better?{within}"), "lrrl", tuple(body))
    else:
        grid = Grid(("Metric", f"This version{within}"), "lr", tuple(body))
    return _with_grid("metrics", "Metrics", grid)


def slices(one: Evidence) -> Section | None:
    """The first metric in each slice."""
    comparison, evaluation = table(one.get("comparison")), table(one.get("evaluation"))
    primary = _word(comparison.get("primary") or evaluation.get("primary"))
    compared = rows(comparison.get("slices"))
    if compared:
        body = tuple(
            (
                _word(part.get("name")),
                shown(part.get("rows")),
                shown(part.get("champion")),
                shown(part.get("challenger")),
                facts.gain(facts.interval(part.get("difference"))),
            )
            for part in compared
        )
        header = (f"Slice, {primary}", "Rows", "Champion", "Challenger", "Is it better?")
        chart = _chart(
            f"{primary} by slice",
            primary,
            [(part.get("name"), part.get("challenger"), part.get("champion")) for part in compared],
            legend="Bars: challenger, line: champion.",
        )
        return Section(key="slices", title="Slices", grid=Grid(header, "lrrrl", body), chart=chart)
    found = []
    for part in rows(evaluation.get("slices")):
        own = facts.interval(table(part.get("metrics")).get(primary))
        found.append(
            (_word(part.get("name")), shown(part.get("rows")), f"{shown(own.value)} {facts.spread(own)}".rstrip())
        )
    return _with_grid("slices", "Slices", Grid((f"Slice, {primary}", "Rows", "This version"), "lrr", tuple(found)))


def contract(one: Evidence) -> Section | None:
    """What the change does to the data contract."""
    before, after = table(one.get("champion")).get("contract"), one.get("contract")
    if not after:
        return None
    if not before:
        count = len(rows(table(after).get("columns")))
        return Section(
            key="contract",
            title="Data contract",
            said=(f"{count} columns; there is no champion's contract to compare with.",),
        )
    body = tuple(
        (change.column or "(the whole)", change.what, change.before, change.after)
        for change in facts.contract_changes(before, after)
    )
    if not body:
        return Section(key="contract", title="Data contract", said=("This change leaves the data contract as it is.",))
    grid = Grid(("Column", "What changes", "Champion", "Challenger"), "llll", body, limit=120)
    return Section(key="contract", title=f"Data contract: {len(body)} change{'s' * (len(body) > 1)}", grid=grid)


def data(one: Evidence) -> Section | None:
    """The contract check, and how far the data moved."""
    check, moved = table(one.get("check")), facts.drift(one)
    said = []
    if check:
        passed = "passed" if check.get("passed") is True else "did not pass"
        said.append(
            f"The contract check {passed} on {shown(check.get('rows'))} rows up to {_word(check.get('as_of'))}; "
            f"the newest is of {_word(check.get('newest'))}."
        )
    if not moved:
        said += ["Drift against the champion's data was not measured."] if one.get("champion") else []
        return Section(key="data", title="Data and drift", said=tuple(said)) if said else None
    count = sum(is_moved for _, _, is_moved in moved)
    said.append(
        f"{count} of {len(moved)} columns moved against the champion's reference window "
        "(PSI, the population stability index: 0 is alike)."
    )
    body = tuple((name, shown(psi), "moved" if is_moved else "alike") for name, psi, is_moved in moved)
    chart = _chart("Data drift", "PSI", [(name, psi, None) for name, psi, _ in moved], lying=True)
    grid = Grid(("Column", "PSI", "Reading"), "lrl", body)
    title = f"Data and drift: {count} moved" if count else "Data and drift"
    return Section(key="data", title=title, said=tuple(said), grid=grid, chart=chart)


def others(one: Evidence) -> Section | None:
    """The baseline and the linear model."""
    evaluation = table(one.get("evaluation"))
    primary = str(evaluation.get("primary"))
    body = []
    for key, title in (("baseline", "Baseline, blind to its inputs"), ("linear", "Linear model")):
        other = table(evaluation.get(key))
        if other:
            value = table(other.get("metrics")).get(primary)
            difference = facts.gain(facts.interval(other.get("difference")))
            body.append((f"{title}: {_word(other.get('name'))}", shown(value), difference))
    grid = Grid(("Other model", primary, "This version is"), "lrl", tuple(body))
    return _with_grid("others", "Baseline and linear model", grid)


def calibration(one: Evidence) -> Section | None:
    """Whether predictions mean what they say."""
    found = table(table(one.get("evaluation")).get("calibration"))
    error = number(found.get("error"))
    said = () if error is None else (f"Calibration error {shown(error)}: how far predictions lie from what happened.",)
    chart = _chart(
        "Calibration",
        "observed",
        [
            (shown(part.get("predicted"), places=2), part.get("observed"), part.get("predicted"))
            for part in rows(found.get("bins"))
        ],
        legend="Bars: what was observed, line: what was predicted; alike is good.",
    )
    return Section(key="calibration", title="Calibration", said=said, chart=chart) if said or chart else None


def fairness(one: Evidence) -> Section | None:
    """Scores of the groups, and the gap between them."""
    body = []
    for group in rows(table(one.get("evaluation")).get("fairness")):
        parts = rows(group.get("by"))
        by = [
            f"{_word(part.get('value'))} {shown(part.get('score'))} ({shown(part.get('rows'))} rows)"
            for part in parts[:6]
        ]
        by += [f"{len(parts) - 6} more"] if len(parts) > 6 else []
        also = [f"{name.replace('_', ' ')} {shown(value)}" for name, value in table(group.get("extra")).items()]
        told = (_word(group.get("group")), _word(group.get("metric")), "; ".join(by), shown(group.get("gap")))
        body.append((*told, "; ".join(also[:4])))
    grid = Grid(("Groups by", "Metric", "Score of each", "Gap", "Also"), "lllrl", tuple(body), limit=160)
    return _with_grid("fairness", "Fairness", grid)


def importance(one: Evidence) -> Section | None:
    """Which features matter, and what changed."""
    found = facts.importances(one)
    if not found:
        return None
    known = sorted((part for part in found if part[2] is not None), key=lambda part: -(part[2] or 0))
    ranks = {name: n for n, (name, _, _) in enumerate(known, 1)}
    body = []
    for n, (name, new, old) in enumerate(found, 1):
        rank = ranks.get(name)
        told = "new" if rank is None else "same rank" if rank == n else f"was number {rank}"
        body.append((name, shown(old), shown(new), told if ranks else ""))
    explanation = table(one.get("explanation"))
    said = [
        f"How much {_word(explanation.get('metric'))} suffers without the feature "
        f"({_word(explanation.get('method'))} importance)."
    ]
    shap = [
        f"{_word(part.get('feature'))} {shown(part.get('mean_absolute'))}" for part in rows(explanation.get("shap"))
    ]
    said += [f"SHAP, mean absolute value: {', '.join(shap[:8])}."] if shap else []
    return Section(
        key="importance",
        title="What the model looks at",
        said=tuple(said),
        grid=Grid(("Feature", "Champion", "Challenger", "Change"), "lrrl", tuple(body)),
        chart=_chart(
            "Importance", "importance", found, legend="Bars: challenger, line: champion." if ranks else "", lying=True
        ),
    )


def sensitivity(one: Evidence) -> Section | None:
    """How far predictions move when an input is a little off."""
    found = rows(table(one.get("evaluation")).get("sensitivity"))
    found = sorted(found, key=lambda part: -(number(part.get("change")) or 0))
    body = tuple((_word(part.get("feature")), shown(part.get("change"))) for part in found)
    return _with_grid(
        "sensitivity", "Sensitivity to noise", Grid(("Feature", "Mean change of the prediction"), "lr", body)
    )


def training(one: Evidence) -> Section | None:
    """Cross-validation scores with their spread, and the parameters."""
    found, params = table(one.get("training")), table(one.get("params"))
    body = []
    for name, given in table(found.get("scores")).items():
        score = table(given)
        folds = ", ".join(shown(fold) for fold in facts.items(score.get("folds"))[:10])
        body.append((name, f"{shown(score.get('mean'))} ± {shown(score.get('std'))}", folds))
    values = [f"{name} = {_word(value)[:60]}" for name, value in table(params.get("params")).items()]
    chosen = f", chosen out of {shown(params.get('candidates'))} candidates" if params.get("tuned") else ""
    more = f" and {len(values) - 12} more" if len(values) > 12 else ""
    said = (f"Parameters{chosen}: {', '.join(values[:12])}{more}.",) if values else ()
    header = ("Metric", f"Mean ± spread over {shown(found.get('folds'))} folds", "Each fold")
    if not body and not said:
        return None
    grid = Grid(header, "lrl", tuple(body), limit=120) if body else None
    return Section(key="training", title="Cross-validation", said=said, grid=grid)


def aging(one: Evidence) -> Section | None:
    """How much worse an older model is, and what follows from it for the model's settings."""
    found, settings, points = table(one.get("age")), table(one.get("retrain")), facts.ages(one)
    if not found:
        return None
    said = [_word(found.get("sentence"))]
    if points:
        pairs = (("retrain.every_days", "every_days", "recommended_days"), ("watch.age_days", "age_days", "alarm_days"))
        said.append(f"{'; '.join(_against(name, settings.get(key), found.get(by)) for name, key, by in pairs)}.")
        said.append(f"Measured on rows of {_word(found.get('first'))} to {_word(found.get('last'))}.")
    metric = _word(found.get("metric"))
    body = tuple(
        (f"{shown(days, places=0)} days", f"{shown(loss.value)} {facts.spread(loss)}".rstrip(), shown(count))
        for days, loss, count in points
    )
    header = ("Older by", f"Worse in {metric}{_within(table(one.get('evaluation')))}", "Rows")
    chart = _chart(
        "How it ages",
        f"worse in {metric}",
        [(shown(days, places=0), loss.value, found.get("margin")) for days, loss, _ in points],
        legend="Bars: how much worse a model is that is older by so many days, line: the margin of the gate.",
    )
    grid = Grid(header, "rrr", body) if body else None
    return Section(key="aging", title="How it ages", said=tuple(said), grid=grid, chart=chart)


def _against(name: str, given: Any, measured: Any) -> str:
    """A setting of `model.toml` beside what the age curve says of it."""
    stands = f"{name} is {shown(given)}" if number(given) else f"{name} sets no limit"
    return f"{stands}, and the curve {f'recommends {shown(measured)}' if number(measured) else 'asks for none'}"


def cost(one: Evidence) -> Section | None:
    """Size, latency, and what making the version took: minutes, their price, energy."""
    body = tuple(
        (
            what,
            "" if before is None else f"{shown(before, places=_places(unit))} {unit}".rstrip(),
            "" if after is None else f"{shown(after, places=_places(unit))} {unit}".rstrip(),
            facts.ratio(before, after),
        )
        for what, before, after, unit in facts.costs(one)
    )
    if not body:
        return None
    spent, run = table(one.get("spent")), table(one.get("run"))
    said = []
    if spent:
        stages = sorted(table(spent.get("seconds")).items(), key=lambda stage: -(number(stage[1]) or 0))
        told = ", ".join(f"{name} {shown(seconds, places=1)} s" for name, seconds in stages[:10])
        said.append(f"Making it, once its data was there: {told}.")
        said.append(_energy(spent))
    if run:
        ran = [_word(stage) for stage in facts.items(run.get("ran"))]
        said.append(f"Stages that ran: {', '.join(ran[:20])}." if ran else "No stage ran: dvc.lock was right already.")
    grid = Grid(("What", "Champion", "Challenger", "Change"), "lrrr", body)
    return Section(key="cost", title="Cost", said=tuple(said), grid=grid)


def _places(unit: str) -> int | None:
    return 1 if unit in ("minutes", "seconds") else None


def _energy(spent: Evidence) -> str:
    """How far the energy is known."""
    if number(spent.get("kwh")) is None:
        return (
            "Its energy was not measured: write mlops[carbon] instead of mlops in the model's pyproject.toml, "
            "and train it again."
        )
    mix = spent.get("country") or "the world's average (budget.country names none)"
    return (
        "Energy and CO2e are estimates by codecarbon, of the whole machine while a stage ran, for the electricity of "
        f"{mix}."
    )


def lineage(one: Evidence) -> Section | None:
    """What made this version."""
    found, champion = table(one.get("lineage")), table(one.get("champion"))
    if not found:
        return None
    modified = " with changes that were not committed" if found.get("modified") else ""
    body = [
        ("Version", _word(one.get("version"))),
        ("Trained from commit", f"{_word(found.get('commit'))}{modified}"),
        ("Training data, SHA-256", _word(found.get("data"))),
        ("Data contract, SHA-256", _word(found.get("contract"))),
    ]
    if found.get("serving"):
        body.append(("At work", f"It {_word(found.get('serving'))}."))
    if champion:
        body.append(("Champion", f"{_word(champion.get('version'))} of commit {_word(champion.get('commit'))}"))
    grid = Grid(("What", "Which"), "ll", tuple(body), limit=120)
    return Section(key="lineage", title="Lineage", grid=grid)


def _with_grid(key: str, title: str, grid: Grid) -> Section | None:
    return Section(key=key, title=title, grid=grid) if grid.rows else None


def _chart(
    title: str, axis: str, values: Sequence[tuple[Any, Any, Any]], *, legend: str = "", lying: bool = False
) -> Chart | None:
    """A chart of (name, height, line); None below two bars."""
    bars = tuple(
        Bar(_word(name), height, number(line)) for name, given, line in values if (height := number(given)) is not None
    )
    return Chart(title, axis, bars, legend, lying) if len(bars) > 1 else None


def _within(evaluation: Evidence) -> str:
    sure = number(evaluation.get("confidence"))
    return f" ({shown(sure * 100)} % interval)" if sure else ""


def _word(value: Any) -> str:
    """A value of evidence as text, a dash where it is missing; cut, because it may be huge."""
    return "\u2013" if value is None or value == "" else str(value)[:2000]
