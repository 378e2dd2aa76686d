"""What did it take to make a version? Each stage that fits or asks a model leaves its time and energy beside it.

`spent/<stage>.json` is a metric of its stage, kept in git, and travels with the version: a stage that does not run
again, or whose results come from DVC's cache, says what it took when it ran. No stage reads one, so none makes one run.
The energy is an estimate by codecarbon where that is installed (the extra `mlops[carbon]`): it asks no network and
leaves no file.
"""

import functools
import importlib.util
import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from mlops.cli import Outcome
from mlops.config import Budget
from mlops.files import write_json
from mlops.workspace import Model

STAGES = ("tune", "train", "evaluate", "explain")
"""What every version took."""
OPTIONAL = ("age",)
"""What some pipelines do beside that."""


def fact(stage: str) -> str:
    """The fact of a model (see `Model.json`) that says what this stage took."""
    return f"spent/{stage}"


def spends(stage: Callable[[Model], Outcome]) -> Callable[[Model], Outcome]:
    """The same stage, which leaves what it took; one that fails leaves nothing."""

    @functools.wraps(stage)
    def run(model: Model) -> Outcome:
        begin = time.monotonic()
        with _metered(model.config().budget.country) as energy:
            outcome = stage(model)
        write_json(model.json(fact(stage.__name__)), {"seconds": round(time.monotonic() - begin, 3), **energy})
        return outcome

    return run


def total(spent: Mapping[str, Any], budget: Budget) -> dict[str, Any] | None:
    """What the stages took together, and its price on the runner of the budget; `spent` holds their files by stage.

    None where a stage of `STAGES` left nothing that can be read. Energy and CO2e are None where a stage does not know
    its own; the price is None where the budget names none.
    """
    found = {stage: _table(spent.get(stage)) for stage in (*STAGES, *OPTIONAL)}
    found = {stage: one for stage, one in found.items() if one or stage in STAGES}
    seconds = {stage: _amount(one.get("seconds")) for stage, one in found.items()}
    minutes = _sum(seconds.values(), per=60)
    if minutes is None:
        return None
    countries = {str(one.get("country") or "") for one in found.values()}
    return {
        "seconds": seconds,
        "minutes": minutes,
        "kwh": _sum(_amount(one.get("kwh")) for one in found.values()),
        "kg_co2e": _sum(_amount(one.get("kg_co2e")) for one in found.values()),
        "country": ", ".join(sorted(filter(None, countries))),
        "cost": minutes * budget.price if budget.price else None,
    }


def _sum(amounts: Iterable[float | None], per: float = 1) -> float | None:
    """The sum, None where one of them is not known."""
    added = 0.0
    for amount in amounts:
        if amount is None:
            return None
        added += amount
    return added / per


def _amount(value: Any) -> float | None:
    """A finite number that is not below zero; files in git may say anything."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and 0 <= value < 1e15 else None


def _table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


@contextmanager
def _metered(country: str) -> Iterator[dict[str, Any]]:
    """What the machine used meanwhile, known after the block: `kwh`, `kg_co2e` and the `country` of its electricity.

    Whatever goes wrong with the estimate costs a line on stderr and never the work.
    """
    energy: dict[str, Any] = {"kwh": None, "kg_co2e": None, "country": country}
    meter = _try("start", lambda: _meter(country))
    data = None
    try:
        yield energy
    finally:
        # A stage that fails must not leave a meter behind that goes on measuring.
        if meter is not None:
            data = _try("end", lambda: _read(meter))
    if data is not None:
        energy["kwh"] = float(f"{data.energy_consumed:.4g}")
        if country and not data.country_name:
            _say(f"does not know the electricity of {country} (budget.country in model.toml)")
        else:
            energy["kg_co2e"] = float(f"{data.emissions:.4g}")


def _meter(country: str) -> Any:
    """A meter that runs, None without codecarbon."""
    if importlib.util.find_spec("codecarbon") is None:
        return None
    # It says hello before it can be told to be quiet.
    logging.getLogger("codecarbon").disabled = True
    from codecarbon import OfflineEmissionsTracker

    # Also what its own settings on this machine might ask for stays off: files, dashboards, tables of the hour. Each of
    # these is named, because a value that is given wins.
    meter = OfflineEmissionsTracker(
        country_iso_code=country,
        output_methods=[],
        emissions_endpoint=None,
        electricitymaps_api_token="",
        allow_multiple_runs=True,
        tracking_mode="machine",
        log_level="critical",
    )
    meter.start()
    return meter


def _read(meter: Any) -> Any:
    meter.stop()
    return meter.final_emissions_data


def _try(what: str, attempt: Callable[[], Any]) -> Any:
    try:
        return attempt()
    except Exception as error:
        _say(f"did not {what}: {type(error).__name__}: {str(error)[:200]}")
        return None


def _say(what: str) -> None:
    print(f"The estimate of energy is not whole: codecarbon {what}.", file=sys.stderr)
