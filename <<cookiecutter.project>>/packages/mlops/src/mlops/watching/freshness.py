"""Is what a version learned from, and what it is asked now, recent enough? Days in, findings out; pure."""

import datetime as dt

from mlops.errors import counted
from mlops.watching.findings import Finding


def of_data(newest: dt.date | None, *, today: dt.date, freshness_days: int | None) -> Finding:
    """Whether the source still gives new rows, as the data contract asks."""
    if freshness_days is None:
        return _unknown("freshness", "The contract asks for no freshness.")
    if newest is None:
        return _unknown("freshness", "The contract names no column with the role time, so freshness is not evaluated.")
    age = (today - newest).days
    detail = {"newest": newest.isoformat(), "days": age, "limit": freshness_days}
    said = f"The newest row of the source is of {newest}, {counted(age, 'day')} ago (limit {freshness_days})."
    return Finding(kind="freshness", outcome="alarm" if age > freshness_days else "quiet", sentence=said, detail=detail)


def of_version(as_of: dt.date, *, today: dt.date, age_days: int) -> Finding:
    """Whether the data that the version learned from is too old."""
    age = (today - as_of).days
    if not age_days:
        return _unknown(
            "age", f"The version learned from data up to {as_of}; model.toml sets no limit (watch.age_days)."
        )
    said = f"The version learned from data up to {as_of}, {counted(age, 'day')} ago (limit {age_days})."
    detail = {"as_of": as_of.isoformat(), "days": age, "limit": age_days}
    return Finding(kind="age", outcome="alarm" if age > age_days else "quiet", sentence=said, detail=detail)


def of_rows(new: int, *, as_of: dt.date, limit: int) -> Finding:
    """Whether so many rows are new that a version shall be trained on them: no alarm, but `asks` for one."""
    said = f"{counted(new, 'row')} of the source are newer than {as_of} and have their outcome"
    said += f" (retrain.new_rows is {limit:,})."
    return Finding(kind="data", outcome="quiet", sentence=said, detail={"rows": new, "asks": new >= limit})


def _unknown(kind: str, sentence: str) -> Finding:
    return Finding(kind=kind, outcome="not evaluated", sentence=sentence)  # type: ignore[arg-type]
