"""What can a look at a served version find, and what is the verdict? Values only."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["drift", "skew", "freshness", "performance", "age", "data"]
Outcome = Literal["quiet", "alarm", "not evaluated"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One answer: its kind, the outcome, a sentence for people, and the numbers behind it."""

    kind: Kind
    outcome: Outcome
    sentence: str
    detail: dict[str, Any] = field(default_factory=dict)
    blind: bool = False
    """Whether something that should have been looked at could not be, such as a log that is not there."""

    def to_json(self) -> dict[str, Any]:
        """As `watch.json` has it."""
        told = {"kind": self.kind, "outcome": self.outcome, "sentence": self.sentence, "blind": self.blind}
        return {**told, **self.detail}


def overall(findings: Sequence[Finding]) -> Outcome:
    """`alarm` when anything alarms; `quiet` when something was judged and nothing was out of sight; else neither.

    What nobody asked for, and what waits for more rows, is said by name and keeps no look from being quiet.
    """
    outcomes = {one.outcome for one in findings}
    if "alarm" in outcomes:
        return "alarm"
    return "quiet" if "quiet" in outcomes and not any(one.blind for one in findings) else "not evaluated"
