"""CARD.md, DATA.md and lineage.json: facts out of the files, judgement kept, nothing written without a change."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import evidence
import pytest
from hostile import HOSTILE
from test_reporting_markdown import LIVE, TAG, tokens

import mlops
from mlops.errors import Refusal
from mlops.files import digest
from mlops.reporting import card
from mlops.workspace import Model

TOML = """
[model]
task = "classification"
owner = "@acme/care"
description = "Is the mass malignant?"
[data]
source = "replay"
as_of = "2026-07-01"
[split]
method = "time"
[evaluate]
metrics = ["roc_auc"]
[gate]
margin = 0.0123
slice_margin = 0.0567
[gate.floors]
roc_auc = 0.9012
"""


@pytest.fixture
def model(tmp_path: Path) -> Model:
    """A trained model's files, without the model."""
    made = Model(tmp_path, "tumour")
    made.folder.mkdir(parents=True)
    made.toml.write_text(TOML, encoding="utf-8")
    fill(made, evidence.sample())
    return made


def fill(model: Model, one: dict[str, Any]) -> None:
    for name in ("metrics", "evaluation", "training", "params", "explanation", "contract", "check"):
        put(model.json(name), one[name])
    manifest = {"model": model.name, "lineage": one["lineage"], "libraries": {"scikit-learn": "1.9.0"}, "version": "no"}
    put(model.export / "manifest.json", manifest)


def put(path: Path, value: Any) -> None:
    """As JSON in ASCII, which holds texts that UTF-8 cannot."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value), encoding="ascii")


def facts(model: Model) -> str:
    text = (model.folder / "CARD.md").read_text(encoding="utf-8")
    return text.split(card.START)[1].split(card.END)[0]


def cells(body: str, title: str) -> dict[str, list[str]]:
    """The rows of the table below a title, by their first cell."""
    section = body.split(f"## {title}\n")[1].split("\n## ")[0]
    lines = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line.startswith("|")
    ]
    return {line[0]: line[1:] for line in lines[2:]}


def numbers(text: str) -> list[tuple[float, int]]:
    """Every number in `text`, and with how many decimals it is written."""
    found = re.findall(r"[+-]?\d[\d,]*(?:\.\d+)?", text.replace("\u2212", "-"))
    return [(float(one.replace(",", "")), len(one.partition(".")[2])) for one in found]


def assert_equal(shown: str, *expected: float) -> None:
    """The numbers in `shown` are `expected`, rounded as they are written and to no less than three digits."""
    found = numbers(shown)
    assert len(found) == len(expected), shown
    for (value, decimals), wanted in zip(found, expected, strict=True):
        assert value == pytest.approx(wanted, abs=0.5 * 10**-decimals + 1e-12)
        assert value == pytest.approx(wanted, rel=0.005)


def test_every_score_is_the_one_in_the_metrics_file(model: Model) -> None:
    card.write(model)
    metrics = json.loads(model.json("metrics").read_text())
    overall = json.loads(model.json("evaluation").read_text())["overall"]
    shown = cells(facts(model), "Scores on the holdout")
    assert set(shown) == set(metrics) - {"rows"}
    for name, (value, interval) in shown.items():
        assert_equal(value, metrics[name])
        assert_equal(interval, overall[name]["low"], overall[name]["high"])
    assert f"{metrics['rows']} rows that the model has not seen" in facts(model)


def test_every_other_number_is_the_one_in_its_file(model: Model) -> None:
    card.write(model)
    body = facts(model)
    one = evidence.sample()
    evaluation = one["evaluation"]
    for part in evaluation["slices"]:
        rows, value, interval = cells(body, "Slices")[part["name"]]
        own = part["metrics"]["roc_auc"]
        assert_equal(f"{rows} {value} {interval}", part["rows"], own["value"], own["low"], own["high"])
    for key, name in (("baseline", "baseline (prior)"), ("linear", "linear (linear)")):
        gap = evaluation[key]["difference"]
        shown = " ".join(cells(body, "Against simple models")[name])
        assert_equal(shown, evaluation[key]["metrics"]["roc_auc"], gap["value"], gap["low"], gap["high"])
    (group,) = evaluation["fairness"]
    assert_equal(body.split("differs by ")[1].split("\n")[0].rstrip("."), group["gap"])
    assert_equal(body.split("Calibration error: ")[1].split("\n")[0].rstrip("."), evaluation["calibration"]["error"])
    for part in one["explanation"]["features"]:
        shown = " ".join(cells(body, "What the model looks at")[part["feature"]])
        assert_equal(shown, part["importance"], part["std"])
    for name, score in one["training"]["scores"].items():
        assert_equal(" ".join(cells(body, "Training")[name]), score["mean"], score["std"])
    assert [row[0] for row in cells(body, "What a new version must show").values()] == ["0.0123", "0.0567", "0.9012"]


def test_a_changed_metric_changes_the_card(model: Model) -> None:
    """The breaker: no number of the card is of an earlier run."""
    card.write(model)
    before = facts(model)
    one = evidence.sample()
    one["metrics"]["roc_auc"] = 0.7531
    fill(model, one)
    card.write(model)
    assert "0.7531" not in before
    assert cells(facts(model), "Scores on the holdout")["roc_auc"][0] == "0.7531"


def test_a_new_card_asks_for_a_persons_judgement(model: Model) -> None:
    card.write(model)
    text = (model.folder / "CARD.md").read_text(encoding="utf-8")
    for title in ("Intended use", "Not intended for", "Limits", "Ethical considerations"):
        assert f"## {title}\n" in text.split(card.END)[1]


def test_judgement_is_kept_to_the_letter(model: Model) -> None:
    """Text above and below the facts, odd line ends and trailing spaces included."""
    card.write(model)
    path = model.folder / "CARD.md"
    above, below = "<!-- mine -->\r\nUse with care.  \n\n", "\n\n## Limits\r\n\tnot for children   \n\n\nend"
    path.write_bytes((above + card.START + "old facts" + card.END + below).encode())
    card.write(model)
    text = path.read_bytes().decode()
    assert text.startswith(above + card.START)
    assert text.endswith(card.END + below)
    assert "old facts" not in text
    assert "0.9841" in text


def test_a_card_without_markers_keeps_its_text(model: Model) -> None:
    (model.folder / "CARD.md").write_text("# My own card\n\nWritten by hand.\n", encoding="utf-8")
    card.write(model)
    text = (model.folder / "CARD.md").read_text(encoding="utf-8")
    assert text.endswith("# My own card\n\nWritten by hand.\n")
    assert "0.9841" in facts(model)


@pytest.mark.parametrize(
    "damaged",
    [
        card.START,
        card.END,
        f"{card.END}\n{card.START}",
        f"{card.START}{card.END}{card.START}{card.END}",
        f"{card.START}\n{card.START}{card.END}",
    ],
)
def test_damaged_markers_are_refused_and_nothing_is_lost(model: Model, damaged: str) -> None:
    path = model.folder / "CARD.md"
    path.write_text(f"mine\n{damaged}\nmine too", encoding="utf-8")
    with pytest.raises(Refusal, match=r"models/tumour/CARD\.md"):
        card.write(model)
    assert path.read_text(encoding="utf-8") == f"mine\n{damaged}\nmine too"


def test_a_card_that_is_not_text_is_refused_and_kept(model: Model) -> None:
    (model.folder / "CARD.md").write_bytes(b"\xff\xfe")
    with pytest.raises(Refusal, match="not UTF-8"):
        card.write(model)
    assert (model.folder / "CARD.md").read_bytes() == b"\xff\xfe"


def test_nothing_is_written_when_nothing_changed(model: Model) -> None:
    card.write(model)
    paths = [model.folder / "CARD.md", model.folder / "DATA.md", model.json("lineage")]
    for path in paths:
        os.utime(path, (1, 1))
    card.write(model)
    assert [path.stat().st_mtime for path in paths] == [1, 1, 1]


def test_lineage_is_what_the_manifest_says(model: Model) -> None:
    card.write(model)
    made = evidence.sample()["lineage"]
    assert json.loads(model.json("lineage").read_text()) == {
        "model": "tumour",
        "version": digest(model.export / "manifest.json")[:12],
        **{key: made[key] for key in ("commit", "modified", "data", "contract", "params", "seed")},
        "libraries": {"scikit-learn": "1.9.0"},
    }


def test_the_version_is_the_one_that_the_export_names(model: Model) -> None:
    from mlops.learning.export import version

    card.write(model)
    assert json.loads(model.json("lineage").read_text())["version"] == version(model.export)
    assert f"`{version(model.export)}`" in facts(model)


def test_the_data_card_is_written_beside_it(model: Model) -> None:
    card.write(model)
    assert "mean_radius" in (model.folder / "DATA.md").read_text(encoding="utf-8")


def test_a_model_that_is_not_trained_is_refused_with_what_to_do(model: Model) -> None:
    model.json("evaluation").unlink()
    with pytest.raises(Refusal) as refused:
        card.write(model)
    assert "evaluation.json does not exist" in refused.value.what
    assert "make train" in refused.value.do


@pytest.mark.parametrize("hostile", HOSTILE)
def test_nothing_from_data_comes_alive_in_the_card(model: Model, hostile: str) -> None:
    """Only our two markers and our link to the data card."""
    one = evidence.sample()
    fill(model, {name: evidence.strings(part, hostile) for name, part in one.items()} | {"contract": one["contract"]})
    put(model.json("check"), one["check"] | {"as_of": hostile})
    card.write(model)
    body = facts(model)
    for token in tokens(body.replace("[DATA.md](DATA.md)", "")):
        assert token.type not in ("link_open", "image", "fence", "em_open", "hr", "bullet_list_open"), token.content
        if token.type in ("html_block", "html_inline"):
            assert not TAG.findall(token.content)
        if token.type == "text":
            assert not LIVE.search(token.content)
    for grid in re.findall(r"(?:^\|.*\n?)+", body, flags=re.MULTILINE):
        assert len({line.count("|") for line in grid.strip().splitlines()}) == 1


def test_the_card_is_written_by_the_standard_library_alone(model: Model) -> None:
    """It runs after every training, also when nothing was trained: nothing heavy may be imported for it."""
    source = str(Path(mlops.__file__).parents[1])
    script = (
        f"import sys; sys.path.insert(0, {source!r}); from pathlib import Path; from mlops.reporting import card; "
        f"from mlops.workspace import Model; card.write(Model(Path({str(model.root)!r}), 'tumour'))"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert (model.folder / "CARD.md").exists()
