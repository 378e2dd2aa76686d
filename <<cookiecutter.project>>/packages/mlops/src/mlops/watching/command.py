"""The verbs `watch` and `age`: has the world moved since a version was made, and how fast does it do so?

`watch` writes `reports/<model>/watch.json` and `watch.md`, and alarms by its exit code. It reads the prediction log and
the model's source, and asks the version again; it writes nothing else and starts nothing.
"""

import dataclasses
import datetime as dt
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mlops.cli import Outcome
from mlops.config import ModelConfig
from mlops.data import sources
from mlops.data.contract import Contract, read
from mlops.data.profile import tabled
from mlops.errors import Refusal
from mlops.files import read_json, write_json, write_text
from mlops.learning import export, metrics
from mlops.learning.export import Exported
from mlops.learning.metrics import Floats, Metric
from mlops.learning.spending import spends
from mlops.reporting.neutral import visible
from mlops.watching import drift, findings, freshness, performance, shown, skew, textfile, window
from mlops.watching.findings import Finding
from mlops.watching.window import KEY, SAID, Served, Span, Window
from mlops.workspace import Model

CODES = {"quiet": 0, "alarm": 1, "not evaluated": 3}
DAY = "\0day"
LABELLED = 10_000
"""Most new rows, the newest ones, on which performance is measured."""


@dataclass(frozen=True, kw_only=True)
class _Subject:
    """The version that is watched, and everything that was settled when it was made."""

    model: Model
    config: ModelConfig
    contract: Contract
    exported: Exported
    version: str
    profile: dict[str, Any]
    evaluation: dict[str, Any]
    as_of: dt.date
    today: dt.date

    @property
    def known_until(self) -> dt.date:
        """The last day whose outcomes are known."""
        return self.today - dt.timedelta(days=self.config.watch.label_delay_days)

    @property
    def chance(self) -> float:
        """What this look may spend on one family of tests."""
        return drift.look_chance(self.config.drift.false_alarms, runs_per_week=self.config.watch.runs_per_week)


def watch(model: Model, today: str | None = None, log: str | None = None, metrics: str | None = None) -> Outcome:
    """Look once; the exit code is 0 for quiet, 1 for an alarm, 3 when nothing could be judged.

    `today` (`YYYY-MM-DD`, default: today in UTC) is the last day of the current window, `log` stands in for
    `watch.log`. `metrics` is a folder for what Prometheus shows of it.
    """
    for name in ("watch.json", "watch.md"):
        # What an earlier look found must not pass for what this one did.
        (model.reports / name).unlink(missing_ok=True)
    subject = _subject(model, day(today))
    span = Span.until(subject.today, subject.config.watch.window_days)
    place = subject.config.watch.log if log is None else log
    seen, late, why = _windows(subject, span, place)
    found = [*_of_log(subject, seen, why, is_asked=bool(place)), *_of_source(subject, seen, late)]
    found.append(freshness.of_version(subject.as_of, today=subject.today, age_days=subject.config.watch.age_days))
    outcome = findings.overall(found)
    value = {
        "model": model.name,
        "version": subject.version,
        "outcome": outcome,
        "today": subject.today.isoformat(),
        "window": {"first": span.first.isoformat(), "last": span.last.isoformat(), **_counts(seen)},
        "findings": [one.to_json() for one in found],
    }
    write_json(model.reports / "watch.json", value)
    write_text(model.reports / "watch.md", shown.markdown(value))
    if metrics is not None:
        textfile.write(value, Path(metrics), now=dt.datetime.now(dt.UTC))
    return Outcome(shown.terminal(value), value, CODES[outcome])


@spends
def age(model: Model) -> Outcome:
    """Measure how fast the model ages on its own data; write `age.json`, and `reports/<model>/age.md` with a plot.

    A stage of the pipeline: where no curve can be drawn, `age.json` says why. Raises `Refusal` without rows or
    parameters.
    """
    config, contract = model.config(), read(model)
    do = f"`make train MODEL={model.name}` makes it; `make pull MODEL={model.name}` brings what was stored."
    if not model.raw.is_file():
        raise Refusal(f"{model.name}: data/raw.parquet does not exist.", do=do)
    params = read_json(model.json("params"), do=do)["params"]
    value = {"metric": _metric(model, config).name, "points": [], **_aged(model, config, contract, params)}
    write_json(model.json("age"), value)
    write_text(model.reports / "age.md", shown.aging({"model": model.name, **value}))
    return Outcome(f"{model.name}: {value['sentence']}", {"model": model.name, **value})


def _aged(model: Model, config: ModelConfig, contract: Contract, params: dict[str, Any]) -> dict[str, Any]:
    """The curve and what follows from it, or the sentence that says why there is none."""
    from mlops.learning import fit, loading
    from mlops.learning.engine import engine
    from mlops.watching import aging

    if not config.retrain.age_periods:
        return {"sentence": "How it ages is not measured: retrain.age_periods is 0."}
    if contract.time is None:
        return {"sentence": "How it ages cannot be measured: the contract names no column with the role time."}
    # A row that nobody knows the time of has no age.
    frame = pl.read_parquet(model.raw).drop_nulls(contract.time.name).sort(contract.time.name, maintain_order=True)
    if frame.is_empty():
        return {"sentence": "How it ages cannot be measured: no row has a time."}
    rows = fit.rows_of(frame, contract, config, where=model.name)
    build, days = loading.build_of(model), frame[contract.time.name].cast(pl.Date)

    def answer(learned: NDArray[np.bool_], tested: NDArray[np.bool_]) -> Floats:
        return fit.Built(build, params, rows.classes).fit(rows.X[learned], rows.y[learned]).predict(rows.X[tested])

    try:
        with engine(config.train.engine):
            points = aging.measure(
                days.to_physical().to_numpy(),
                fit.coded(rows.y, rows.classes),
                answer,
                metric=_metric(model, config),
                periods=config.retrain.age_periods,
                least=config.gate.minimum_support,
                resamples=config.evaluate.resamples,
                confidence=config.evaluate.confidence,
                seed=config.evaluate.seed,
            )
    except (Refusal, ValueError) as error:
        # Half of the time may be too little for an estimator that learns well from all of it.
        said = visible(error, limit=200).rstrip(".")
        return {"sentence": f"How it ages cannot be measured: a part of the rows teaches nothing ({said})."}
    if not points:
        few = f"{frame.height:,} rows are too few for {config.retrain.age_periods} periods (retrain.age_periods)"
        return {"sentence": f"How it ages cannot be measured: {few}."}
    found = aging.curve(points, margin=config.gate.margin)
    return {
        "sentence": found.sentence,
        "first": str(days.min()),
        "last": str(days.max()),
        **dataclasses.asdict(found),
    }


def day(text: str | None) -> dt.date:
    """A day as people write it; today in UTC without one, or where a form was left empty."""
    if not text:
        return dt.datetime.now(dt.UTC).date()
    try:
        return dt.date.fromisoformat(text)
    except ValueError:
        raise Refusal(f"{text!r} is not a day.", do="Write it as YYYY-MM-DD, such as 2026-09-01.") from None


def _subject(model: Model, today: dt.date) -> _Subject:
    do = f"`make pull MODEL={model.name}` brings a stored version; `make train MODEL={model.name}` makes one."
    if not (model.export / export.MANIFEST).is_file():
        raise Refusal(f"{model.name}: nothing to watch: its export is not on this machine.", do=do)
    exported = export.load(model.export)
    return _Subject(
        model=model,
        config=model.config(),
        contract=read(model),
        exported=exported,
        version=export.version(model.export),
        profile=read_json(model.export / export.PROFILE, do=do),
        evaluation=read_json(model.json("evaluation"), do=do),
        # What the version was made with; model.toml may have moved on.
        as_of=dt.date.fromisoformat(read_json(model.json("check"), do=do)["as_of"]),
        today=today,
    )


# The prediction log.


def _windows(subject: _Subject, span: Span, log: str) -> tuple[Window | None, Window | None, str]:
    """The current window, and one as long whose outcomes are known by now; or why there are none."""
    if not log:
        return None, None, "model.toml names no prediction log (watch.log)"
    served = Served(
        version=subject.version,
        classes=subject.exported.classes,
        features=tuple(column for column in subject.contract.features if not column.personal),
        inputs=subject.profile,
        outputs=subject.evaluation.get("outputs"),
    )
    with tempfile.TemporaryDirectory(prefix="mlops-watch-") as folder:
        try:
            paths = [one for path in _files(subject.model, log, Path(folder)) for one in window.named(path)]
            if not paths:
                return None, None, f"there is no prediction log at {log}"
            paths = list(dict.fromkeys(paths))
            seen = window.read(paths, span=span, served=served)
            earlier = Span.until(subject.known_until, subject.config.watch.window_days)
            return seen, seen if earlier == span else window.read(paths, span=earlier, served=served), ""
        except (Refusal, OSError, pl.exceptions.PolarsError) as error:
            said = error.what if isinstance(error, Refusal) else (str(error).splitlines() or [type(error).__name__])[0]
            return None, None, f"the prediction log cannot be read: {said[:200].rstrip('.')}"


def _files(model: Model, log: str, folder: Path) -> list[Path]:
    # A log that was just rotated is there as `….1` only.
    found = sources.files(model, log, folder, key="watch.log")
    return found or ([] if "://" in log else [model.folder / log])


def _counts(seen: Window | None) -> dict[str, Any]:
    if seen is None:
        return {"rows": 0}
    newest = seen.newest.isoformat() if seen.newest else None
    return {"rows": seen.rows, "others": dict(seen.others), "broken": seen.broken, "newest": newest}


def _of_log(subject: _Subject, seen: Window | None, why: str, *, is_asked: bool) -> list[Finding]:
    """Drift of inputs and outputs, and the replay; `is_asked` when a log was named at all."""
    if seen is not None and not seen.rows:
        why = f"no row of version {subject.version} was logged in the window"
        if seen.others:
            others = ", ".join(f"{name[:12]} ({count:,})" for name, count in list(seen.others.items())[:3])
            why += f"; rows of other versions were: {others}"
    if seen is None or seen.inputs is None:
        return [_unknown("drift", why, blind=is_asked), _unknown("skew", why, blind=is_asked)]
    return [_drift(subject, seen), _replay(subject, seen)]


def _drift(subject: _Subject, seen: Window) -> Finding:
    sides = [("input", subject.profile, seen.inputs), ("output", subject.evaluation.get("outputs"), seen.outputs)]
    pairs = [
        drift.Pair(column=name, side=side, reference=old["columns"][name], current=column)  # type: ignore[arg-type]
        for side, old, new in sides
        if old is not None and new is not None
        for name, column in new["columns"].items()
        if name in old["columns"] and old["columns"][name]["kind"] == column["kind"]
    ]
    settings = subject.config.drift
    rules = drift.Rules(psi=settings.psi, minimum_rows=settings.minimum_rows, chance=subject.chance)
    found = drift.judge(pairs, rules)
    said = [found.sentence]
    personal = [column.name for column in subject.contract.features if column.personal]
    if personal:
        said.append(f"Personal columns are not logged and not judged: {', '.join(personal)}.")
    if seen.outputs is None:
        said.append("The outputs are not judged: this version was evaluated before their reference was kept.")
    columns = [
        dataclasses.asdict(one) | {"shares": _shares(pair)} for one, pair in zip(found.columns, pairs, strict=True)
    ]
    outcome = {"moved": "alarm", "steady": "quiet"}.get(found.outcome, "not evaluated")
    detail = {"columns": columns, "limit": settings.psi}
    return Finding(kind="drift", outcome=outcome, sentence=" ".join(said), detail=detail)  # type: ignore[arg-type]


def _shares(pair: drift.Pair) -> list[list[float]]:
    """Shares of both windows by bin, for the plot."""
    table = tabled(pair.reference, pair.current)
    return [[round(float(share), 6) for share in side / max(side.sum(), 1)] for side in table]


def _replay(subject: _Subject, seen: Window) -> Finding:
    personal = [column.name for column in subject.contract.features if column.personal]
    if personal:
        names = ", ".join(personal)
        return _unknown("skew", f"personal columns are not logged ({names}), so no row can be replayed", blind=False)
    try:
        again = subject.exported.predict(seen.sample)
    except Refusal as refusal:
        return _unknown("skew", refusal.what.rstrip("."), blind=True)
    return skew.replayed(_logged(seen.sample, subject.exported.classes), again)


def _logged(sample: pl.DataFrame, classes: list[Any] | None) -> Floats:
    values = sample[SAID] if classes is None else sample[SAID].explode()
    found = values.cast(pl.Float64).to_numpy()
    return found if classes is None else found.reshape(sample.height, len(classes))


def _unknown(kind: findings.Kind, why: str, *, blind: bool) -> Finding:
    said = f"{kind.capitalize()} is not evaluated: {why}."
    return Finding(kind=kind, outcome="not evaluated", sentence=said, blind=blind)


# The model's source.


def _of_source(subject: _Subject, seen: Window | None, late: Window | None) -> list[Finding]:
    """Performance on rows that came after the version's data, freshness, and skew of rows that are found by id."""
    data = dataclasses.replace(subject.config.data, as_of=subject.today.isoformat())
    with tempfile.TemporaryDirectory(prefix="mlops-watch-") as folder:
        path = Path(folder) / "rows.parquet"
        try:
            sources.fetch(subject.model, data, subject.contract, path)
        except Refusal as refusal:
            said = refusal.what.rstrip(".")
            return [_unknown("performance", said, blind=True), _unknown("freshness", said, blind=True)]
        rows = pl.scan_parquet(path)
        newest = _newest(subject.contract, rows)
        found = [*_skew(subject, seen, rows), _performance(subject, late, rows), *_new(subject, rows)]
    limit = subject.contract.freshness_days
    return [*found, freshness.of_data(newest, today=subject.today, freshness_days=limit)]


def _newest(contract: Contract, rows: pl.LazyFrame) -> dt.date | None:
    if contract.time is None:
        return None
    found = rows.select(pl.col(contract.time.name).max()).collect(engine="streaming").item()
    return found.date() if isinstance(found, dt.datetime) else found


def _skew(subject: _Subject, seen: Window | None, rows: pl.LazyFrame) -> list[Finding]:
    """Whether the rows that were logged with ids are in the source as they were served; nothing where none were."""
    if seen is None or (there := _joined(subject, seen, rows)) is None:
        return []
    names = [column.name for column in subject.contract.features if column.name in seen.sample.columns]
    minimum = subject.config.drift.minimum_rows
    return [skew.compared(_named(seen), there.select(KEY, *names), names, on=KEY, minimum_rows=minimum)]


def _performance(subject: _Subject, late: Window | None, rows: pl.LazyFrame) -> Finding:
    """What was said at the time, where it is known; what the version says now of new rows, where it is not."""
    labelled = _labelled(subject, rows)
    if labelled is None:
        why = "the contract names no column with the role time, so new rows are not known"
        return _unknown("performance", why, blind=False)
    joined = _joined(subject, late, labelled)
    if late is None or joined is None or joined.height < subject.config.drift.minimum_rows:
        newest = labelled.filter(pl.col(DAY) > subject.as_of).sort(DAY, maintain_order=True).tail(LABELLED)
        return _judged(subject, newest.drop(DAY).collect(engine="streaming"), None)
    known = joined.select(KEY).join(_named(late).select(KEY, SAID), on=KEY, how="left", maintain_order="left")
    return _judged(subject, joined, _logged(known, subject.exported.classes))


def _new(subject: _Subject, rows: pl.LazyFrame) -> list[Finding]:
    """Whether the rows that came after the version's data ask for a new one; nothing where model.toml does not ask."""
    labelled, limit = _labelled(subject, rows), subject.config.retrain.new_rows
    if not limit or labelled is None:
        return []
    count = labelled.filter(pl.col(DAY) > subject.as_of).select(pl.len()).collect(engine="streaming").item()
    return [freshness.of_rows(count, as_of=subject.as_of, limit=limit)]


def _labelled(subject: _Subject, rows: pl.LazyFrame) -> pl.LazyFrame | None:
    """The rows whose outcome is known by now, with their `DAY`; None where the contract names no time or target."""
    time, target = subject.contract.time, subject.contract.target
    if time is None or target is None:
        return None
    dated = rows.with_columns(pl.col(time.name).cast(pl.Date).alias(DAY))
    return dated.filter(pl.col(target.name).is_not_null() & (pl.col(DAY) <= subject.known_until))


def _named(seen: Window) -> pl.DataFrame:
    """The rows of the sample that have ids, each once as it was served last."""
    return seen.sample.filter(pl.col(KEY).is_not_null()).unique(KEY, keep="last", maintain_order=True)


def _joined(subject: _Subject, seen: Window | None, rows: pl.LazyFrame) -> pl.DataFrame | None:
    """The source's rows whose ids were logged, each once; None where no ids are."""
    key = subject.contract.id
    if seen is None or key is None or not seen.rows or seen.sample[KEY].is_null().all():
        return None
    ids = seen.sample[KEY].drop_nulls().unique()
    found = rows.with_columns(pl.col(key.name).cast(pl.String).alias(KEY))
    return found.filter(pl.col(KEY).is_in(ids.implode())).unique(KEY, keep="last", maintain_order=True).collect()


def _judged(subject: _Subject, rows: pl.DataFrame, served: Floats | None) -> Finding:
    """Performance on labelled rows: of what was `served`, else of what the version says now."""
    config = subject.config
    metric, settings = _metric(subject.model, config), config.evaluate
    promise = performance.of_promise(
        subject.evaluation, margin=config.gate.margin, resamples=settings.resamples, seed=settings.seed
    )
    rules = performance.Rules(minimum_rows=config.drift.minimum_rows, chance=subject.chance)
    if promise is None or subject.evaluation["primary"] != metric.name:
        return _unknown("performance", f"this version promised nothing in {metric.name}", blind=False)
    try:
        y, prediction = _asked(subject, rows, served)
    except Refusal as refusal:
        return _unknown("performance", refusal.what.rstrip("."), blind=True)
    return performance.judge(metric, y, prediction, promise=promise, rules=rules)


def _metric(model: Model, config: ModelConfig) -> Metric:
    where = model.toml.relative_to(model.root).as_posix()
    return metrics.check(config.evaluate.metrics, task=config.model.task, where=where)[0]


def _asked(subject: _Subject, rows: pl.DataFrame, served: Floats | None) -> tuple[Any, Floats]:
    """What happened in each row, and what was predicted."""
    from mlops.learning import evaluate

    if rows.is_empty():
        return np.zeros(0), np.zeros(0)
    where = f"{subject.model.name}: the new rows"
    y = evaluate.outcome(subject.exported, rows, subject.contract, where=where)
    return y, subject.exported.predict(rows) if served is None else served
