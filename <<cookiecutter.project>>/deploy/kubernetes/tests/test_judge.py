"""How often is the judge of the rollouts wrong? Its rule, simulated over a whole step with a look every 15 seconds.

That Prometheus computes the numbers of this rule was tried with a Prometheus, where the template is made.
"""

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import yaml

JUDGE = Path(__file__).resolve().parents[1] / "strategies" / "rollout" / "judge.yaml"
RUNS, LOOKS = 5_000, 120
WRONG = 0.01
"""At most so many rollouts may end wrongly, for each of the two errors."""


class Rule(NamedTuple):
    """What judge.yaml says of a metric."""

    limit: float
    tolerated: float
    floor: int
    z: float
    in_a_row: int


class Ends(NamedTuple):
    """The shares of rollouts that were promoted, rolled back as worse, and rolled back undecided."""

    promoted: float
    worse: float
    undecided: float


def rule(metric: str) -> Rule:
    """The rule for a share of the requests."""
    spec = yaml.safe_load(JUDGE.read_text(encoding="utf-8"))["spec"]
    values = {one["name"]: one.get("value", "") for one in spec["args"]}
    (one,) = [one for one in spec["metrics"] if one["name"] == metric]
    part = re.search(r"result\[0\] > ([\d.]+) \* \{\{args\.(\w+)\}\}$", one["failureCondition"])
    assert part is not None
    assert one["successCondition"].endswith(f"result[1] <= {{{{args.{part[2]}}}}}")
    limit = float(values[part[2]])
    floor, z = int(values["requests"]), float(values["z"])
    return Rule(limit, float(part[1]) * limit, floor, z, one["consecutiveSuccessLimit"])


def simulated(judge: Rule, *, rate: float, part: float, before: float, after: float, seed: int = 5) -> Ends:
    """Rollouts in which the new version gets `part` of `rate` requests a minute, and fails on the share `after`."""
    random = np.random.default_rng(seed)
    shape = (RUNS, LOOKS)
    new, old = random.poisson(rate / 4 * part, shape), random.poisson(rate / 4 * (1 - part), shape)
    bad, usual = random.binomial(new, after).cumsum(1), random.binomial(old, before).cumsum(1)
    new, old = new.cumsum(1), old.cumsum(1)
    seen = (new >= judge.floor) & (old >= judge.floor)
    with np.errstate(divide="ignore", invalid="ignore"):
        difference = bad / new - usual / old
        around = judge.z * np.sqrt((bad + 1) / new**2 + (usual + 1) / old**2)
    fine = seen & (difference + around <= judge.limit)
    for _ in range(judge.in_a_row - 1):
        fine[:, 1:] &= fine[:, :-1].copy()
        fine[:, 0] = False
    worse = seen & (difference - around > judge.tolerated)
    first_fine, first_worse = (np.where(one.any(1), one.argmax(1), LOOKS) for one in (fine, worse))
    promoted, back = first_fine < first_worse, (first_worse <= first_fine) & (first_worse < LOOKS)
    return Ends(float(promoted.mean()), float(back.mean()), float((~promoted & ~back).mean()))


@pytest.mark.parametrize("metric", ["errors", "refusals"])
@pytest.mark.parametrize("part", [0.33, 0.5])
@pytest.mark.parametrize("before", [0.002, 0.01, 0.05])
@pytest.mark.parametrize("rate", [60, 600, 6000])
def test_both_errors_are_rare(metric: str, rate: float, before: float, part: float) -> None:
    """Worse by the limit is not promoted; as good is not taken for worse; whatever the traffic."""
    judge = rule(metric)
    worse = simulated(judge, rate=rate, part=part, before=before, after=before + judge.limit)
    assert worse.promoted <= WRONG, worse
    as_good = simulated(judge, rate=rate, part=part, before=before, after=before)
    assert as_good.worse <= WRONG, as_good


def test_it_decides_where_there_is_traffic() -> None:
    """A judge that always held would pass the test above."""
    judge = rule("errors")
    assert simulated(judge, rate=600, part=0.33, before=0.01, after=0.01).promoted > 0.99
    assert simulated(judge, rate=600, part=0.33, before=0.01, after=0.06).worse > 0.99


def test_it_does_not_promote_what_it_has_not_seen() -> None:
    judge = rule("errors")
    assert simulated(judge, rate=6, part=0.33, before=0.0, after=0.0) == Ends(0.0, 0.0, 1.0)


def test_a_threshold_for_each_look_would_be_wrong() -> None:
    """The breaker: without its standard errors, the same rule promotes what is worse by the limit."""
    judge = rule("errors")._replace(z=0.0, floor=1)
    assert simulated(judge, rate=60, part=0.33, before=0.002, after=0.022).promoted > 0.5
