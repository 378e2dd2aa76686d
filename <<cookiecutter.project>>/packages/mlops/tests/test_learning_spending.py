"""What a stage took: it is left beside the model, never costs the work, and the estimate of energy asks no network."""

import json
import os
import socket
import textwrap
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops.cli import Outcome
from mlops.config import Budget
from mlops.errors import Refusal
from mlops.learning import spending
from mlops.learning.spending import STAGES, spends, total
from mlops.workspace import Model

TRACKER = """
class OfflineEmissionsTracker:
    def __init__(self, **given):
        print(given)
        {init}

    def start(self):
        {start}

    def stop(self):
        {stop}

    class final_emissions_data:
        energy_consumed, emissions, country_name = 0.00123456, 0.000456789, {country!r}
"""


@spends
def train(model: Model) -> Outcome:
    """A stage that does its work."""
    (model.folder / "done").touch()
    return Outcome("done")


@spends
def tune(model: Model) -> Outcome:
    """A stage that fails."""
    raise Refusal("No.", do="Stop.")


def spent(model: Model, stage: str = "train") -> dict[str, Any]:
    value: dict[str, Any] = json.loads((model.folder / "spent" / f"{stage}.json").read_text())
    return value


@pytest.fixture
def absent(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if codecarbon were not installed."""
    monkeypatch.setattr(spending.importlib.util, "find_spec", lambda name: None)


def install(
    place: Path, patch: pytest.MonkeyPatch, *, init: str = "pass", start: str = "pass", stop: str = "pass", country: Any
) -> None:
    """A codecarbon that does as it is told, in place of the real one."""
    for name in [one for one in spending.sys.modules if one.split(".")[0] == "codecarbon"]:
        patch.delitem(spending.sys.modules, name)
    code = textwrap.dedent(TRACKER).format(init=init, start=start, stop=stop, country=country)
    (place / "codecarbon.py").write_text(code)
    patch.syspath_prepend(place)
    # What was imported must not outlive the test.
    patch.setitem(spending.sys.modules, "codecarbon", None)
    patch.delitem(spending.sys.modules, "codecarbon")


@pytest.mark.usefixtures("absent")
def test_a_stage_leaves_its_seconds_and_says_that_energy_is_not_known(tumour: Model) -> None:
    assert train(tumour).text == "done"
    found = spent(tumour)
    assert found.pop("seconds") >= 0
    assert found == {"kwh": None, "kg_co2e": None, "country": ""}


@pytest.mark.usefixtures("absent")
def test_a_stage_that_fails_leaves_nothing(tumour: Model) -> None:
    with pytest.raises(Refusal, match="No"):
        tune(tumour)
    assert not (tumour.folder / "spent").exists()


def test_a_stage_that_fails_ends_its_meter(
    tumour: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install(tmp_path, monkeypatch, stop="print('the meter ended')", country="Germany")
    with pytest.raises(Refusal, match="No"):
        tune(tumour)
    assert "the meter ended" in capsys.readouterr().out
    assert not (tumour.folder / "spent").exists()


def test_an_estimate_is_kept_with_the_country_of_its_electricity(
    tumour: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is told to write nothing and to ask nobody."""
    tumour.toml.write_text(tumour.toml.read_text().replace('country = ""', 'country = "DEU"'))
    install(tmp_path, monkeypatch, country="Germany")
    train(tumour)
    found = spent(tumour)
    assert (found["kwh"], found["kg_co2e"], found["country"]) == (0.001235, 0.0004568, "DEU")
    said = capsys.readouterr()
    for told in ("'output_methods': []", "'emissions_endpoint': None", "'electricitymaps_api_token': ''"):
        assert told in said.out
    assert said.err == ""


def test_a_country_that_is_not_known_gives_energy_and_no_co2e(
    tumour: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tumour.toml.write_text(tumour.toml.read_text().replace('country = ""', 'country = "ZZZ"'))
    install(tmp_path, monkeypatch, country=None)
    train(tumour)
    assert (spent(tumour)["kwh"], spent(tumour)["kg_co2e"]) == (0.001235, None)
    assert "does not know the electricity of ZZZ (budget.country" in capsys.readouterr().err


@pytest.mark.parametrize("where", ["init", "start", "stop"])
def test_an_estimate_that_fails_costs_a_line_and_never_the_work(
    where: str, tumour: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install(tmp_path, monkeypatch, country="Germany", **{where: "raise RuntimeError('no meter')"})
    train(tumour)
    assert (tumour.folder / "done").exists()
    assert spent(tumour)["kwh"] is None
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].endswith("RuntimeError: no meter.")


def test_the_real_estimate_asks_no_network_and_leaves_no_file(
    tumour: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Also where settings of this machine ask for files, a dashboard and the mix of the hour."""
    pytest.importorskip("codecarbon", reason="the extra mlops[carbon] is not installed")
    asked: list[Any] = []

    def refuse(*given: Any, **named: Any) -> Any:
        asked.append(given)
        raise OSError("no network")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    home = tmp_path / "home"
    home.mkdir()
    settings = ("save_to_api=true", "save_to_file=true", "emissions_endpoint=http://127.0.0.1:9/", "api_key=x")
    settings += ("electricitymaps_api_token=x", "co2_signal_api_token=x", "save_to_prometheus=true", "log_level=debug")
    (home / ".codecarbon.config").write_text("\n".join(["[codecarbon]", *settings]) + "\n")
    monkeypatch.setenv("HOME", os.fspath(home))
    for line in settings:
        name, _, value = line.partition("=")
        monkeypatch.setenv(f"CODECARBON_{name.upper()}", value)
    monkeypatch.chdir(tumour.folder)
    tumour.toml.write_text(tumour.toml.read_text().replace('country = ""', 'country = "DEU"'))
    before = set(tumour.root.rglob("*")) | set(home.iterdir())
    train(tumour)
    found = spent(tumour)
    assert found["kwh"] >= 0
    # Germany's mix is between that of wind and that of coal.
    assert 0.05 * found["kwh"] <= found["kg_co2e"] <= 1.0 * found["kwh"]
    after = set(tumour.root.rglob("*")) | set(home.iterdir())
    assert {path.name for path in after - before} == {"done", "spent", "train.json"}
    assert asked == []
    assert capfd.readouterr() == ("", "")


def took(**changes: Any) -> dict[str, Any]:
    """What four stages left, of 30 seconds, 0.25 kWh and 0.125 kg each."""
    one = {"seconds": 30, "kwh": 0.25, "kg_co2e": 0.125, "country": "DEU"}
    return {stage: dict(one) for stage in STAGES} | changes


def test_the_stages_are_summed_and_priced() -> None:
    found = total(took(age={"seconds": 60.0, "kwh": 1.0, "kg_co2e": 0.5, "country": "DEU"}), Budget(price=0.5))
    assert found is not None
    assert (found["minutes"], found["kwh"], found["kg_co2e"], found["cost"]) == (3.0, 2.0, 1.0, 1.5)
    assert found["country"] == "DEU"
    assert found["seconds"] == dict.fromkeys(STAGES, 30.0) | {"age": 60.0}


def test_without_a_price_there_is_no_cost() -> None:
    found = total(took(), Budget())
    assert found is not None
    assert (found["minutes"], found["cost"]) == (2.0, None)


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("left", [None, {}, [], "x", {"seconds": None}, {"seconds": -1}, {"seconds": True}])
def test_a_stage_that_is_not_known_leaves_the_whole_unknown(stage: str, left: Any) -> None:
    """A sum without one of its parts would be too small, and would pass a limit."""
    assert total(took(**{stage: left}), Budget(price=1)) is None


@pytest.mark.parametrize("key", ["kwh", "kg_co2e"])
def test_energy_that_one_stage_does_not_know_is_not_known(key: str) -> None:
    some = took(explain={"seconds": 30, "kwh": 0.25, "kg_co2e": 0.125, "country": "DEU", key: None})
    found = total(some, Budget())
    assert found is not None
    assert found[key] is None
    assert found["minutes"] == 2.0


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["seconds", "kwh", "country", "x"]), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([*STAGES, "age", "x"]), JSON), st.floats(0, 1e6))
def test_files_that_say_anything_give_numbers_or_nothing(spent: dict[str, Any], price: float) -> None:
    """They come out of git, where anybody may have written them."""
    found = total(spent, Budget(price=price))
    if found is not None:
        assert found["minutes"] >= 0
        assert json.loads(json.dumps(found, allow_nan=False)) == found
