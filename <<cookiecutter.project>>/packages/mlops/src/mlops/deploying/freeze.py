"""May something be deployed now? A switch and windows in UTC, pure in the moment that is asked about.

A freeze stops deploys and never rollbacks: going back is how a bad day ends. An override needs a reason, which the
caller puts into the audit log.
"""

import datetime as dt
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mlops.errors import Refusal

SWITCH = "DEPLOY_FREEZE"
"""The environment variable (a GitHub variable) that freezes at once; its value is the reason."""
SHORTEST_REASON = 10
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
DAY, WEEK = 24 * 60, 7 * 24 * 60

_WEEKLY = re.compile(rf"({'|'.join(DAYS)}) (\d\d):(\d\d)")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d", re.ASCII)


@dataclass(frozen=True)
class Weekly:
    """Every week from one minute (Monday 00:00 is 0) up to another, through Sunday night where that is smaller."""

    start: int
    end: int

    def closes(self, now: dt.datetime) -> dt.datetime | None:
        """When the window that holds `now` ends; None when none does."""
        minute = now.weekday() * DAY + now.hour * 60 + now.minute
        if (minute - self.start) % WEEK >= (self.end - self.start) % WEEK:
            return None
        whole = now.replace(second=0, microsecond=0)
        return whole + dt.timedelta(minutes=(self.end - minute) % WEEK)


@dataclass(frozen=True)
class Once:
    """From one moment up to another."""

    start: dt.datetime
    end: dt.datetime

    def closes(self, now: dt.datetime) -> dt.datetime | None:
        """When it ends; None when `now` is not in it."""
        return self.end if self.start <= now < self.end else None


Window = Weekly | Once


@dataclass(frozen=True, kw_only=True)
class Frozen:
    """Why nothing is deployed, and until when; None where only a person ends it."""

    reason: str
    until: dt.datetime | None

    @property
    def sentence(self) -> str:
        """For the person who wanted to deploy."""
        end = f" until {self.until:%a %Y-%m-%d %H:%M} UTC" if self.until else ""
        return f"deployments are frozen{end}: {self.reason}"


def is_sentence(text: str) -> bool:
    """Whether this is one line with something in it."""
    return bool(text.strip()) and text.isprintable()


def window(text: str) -> Window | None:
    """A window from its text; None where it means nothing, or no time at all."""
    start, slash, end = text.partition(" / ")
    if not slash:
        return None
    first, last = _WEEKLY.fullmatch(start), _WEEKLY.fullmatch(end)
    if first and last:
        minutes = _minute(first), _minute(last)
        known = None not in minutes and minutes[0] != minutes[1]
        return Weekly(*minutes) if known else None  # type: ignore[arg-type]
    from_, to = _moment(start), _moment(end)
    return Once(from_, to) if from_ and to and from_ < to else None


def _minute(found: "re.Match[str]") -> int | None:
    hours, minutes = int(found[2]), int(found[3])
    return DAYS.index(found[1]) * DAY + hours * 60 + minutes if hours < 24 and minutes < 60 else None


def _moment(text: str) -> dt.datetime | None:
    try:
        return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC) if _MOMENT.fullmatch(text) else None
    except ValueError:
        return None


def standing(*, reason: str, windows: Sequence[str], switch: str, now: dt.datetime) -> Frozen | None:
    """The freeze that holds at `now` (any time zone, never none); None when there is none.

    `reason` and `windows` are the page's, `switch` is the variable's value. Windows that touch or overlap are one.
    Texts that mean no window were refused when the page was read.
    """
    if now.tzinfo is None:
        raise ValueError("a moment without a time zone")
    switched = switch.strip() or reason.strip()
    if switched:
        return Frozen(reason=switched, until=None)
    known = [(text, found) for text in windows if (found := window(text))]
    here = now.astimezone(dt.UTC)
    first = next((text for text, one in known if one.closes(here)), None)
    return None if first is None else Frozen(reason=f"the window {first}", until=_end(here, [one for _, one in known]))


def _end(now: dt.datetime, windows: Sequence[Window]) -> dt.datetime | None:
    """When the first free minute comes; None where windows that repeat leave none.

    Between two windows that come once, each weekly one can lead on at most once before the chain has gone round.
    """
    end = now
    for _ in range((len(windows) + 1) ** 2):
        closes = max((found for one in windows if (found := one.closes(end))), default=None)
        if closes is None:
            return end
        end = closes
    return None


def admit(
    frozen: Frozen | None, *, what: Literal["deploy", "rollback"], model: str, environment: str, override: str | None
) -> str:
    """The reason for which a freeze is passed, for the audit log; empty where there is no freeze to pass.

    Raises `Refusal` where the freeze stops this, or `override` gives no reason. A rollback is never stopped.
    """
    if what == "rollback":
        return ""
    reason = None if override is None else override.strip()
    if reason is not None and (len(reason) < SHORTEST_REASON or not is_sentence(reason)):
        raise Refusal(
            f"{model} is not deployed to {environment}: the override has no reason.",
            do=f"Say why in one line of at least {SHORTEST_REASON} characters; it goes into the audit log.",
        )
    if frozen is None:
        return ""
    if reason is None:
        raise Refusal(
            f"{model} is not deployed to {environment}: {frozen.sentence}.",
            do="Wait, or deploy with --override REASON, which goes into the audit log. Rollbacks are not stopped.",
        )
    return reason
