"""Does `model.toml` refuse every mistake with a sentence, and does its reference page say what the code does?"""

import dataclasses
import datetime as dt
import re
import tomllib
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mlops import config
from mlops.config import ModelConfig, parse
from mlops.errors import Refusal

REFERENCE = Path(__file__).resolve().parents[3] / "docs" / "reference" / "model-toml.md"

SMALL = """\
[model]
task = "classification"
owner = "@acme/care"
description = "Is it?"
[data]
source = "replay"
as_of = "2026-07-01"
[split]
method = "time"
[train]
[tune]
[evaluate]
metrics = ["roc_auc", "brier"]
[gate]
margin = 0.01
slice_margin = 0.05
[watch]
[retrain]
[budget]
[drift]
"""


NO_BUDGET = SMALL.partition("[budget]")[0]
DAY_LINE = 'as_of = "2026-07-01"'


def with_line(section: str, line: str) -> str:
    """`SMALL` with a line in a section, in place of the line that sets the same key."""
    key = line.partition("=")[0].strip()
    head, _, rest = SMALL.partition(f"[{section}]\n")
    body, bracket, tail = rest.partition("\n[") if not rest.startswith("[") else ("", "[", rest[1:])
    kept = [one for one in body.splitlines() if one.partition("=")[0].strip() != key]
    bracket = bracket.lstrip("\n")
    return f"{head}[{section}]\n" + "\n".join([*kept, line]) + f"\n{bracket}{tail}"


def refused(text: str) -> Refusal:
    with pytest.raises(Refusal) as caught:
        parse(text, where="models/tumour/model.toml")
    refusal = caught.value
    assert refusal.what.startswith("models/tumour/model.toml")
    assert refusal.do
    assert len(str(refusal).splitlines()) == 2
    assert len(str(refusal)) < 500
    return refusal


def test_a_small_file_gives_every_default() -> None:
    """What is left out has the default that the dataclass shows."""
    found = parse(SMALL, where="here")
    assert (found.split.holdout, found.train.folds, found.tune.space, found.gate.champion) == (0.25, 5, {}, "compare")


# Each limit with values that it must refuse; `test_every_limit_has_a_breaker` sees to it that none is left out.
BREAKERS = {
    "model.owner": ('owner = ""', 'owner = " "', 'owner = "a\\nb"', 'owner = "a\\u001bb"'),
    "model.description": ('description = ""', 'description = "\\n "'),
    "data.source": ('source = ""', 'source = "a\\nb"'),
    "data.as_of": ('as_of = "tomorrow"', 'as_of = "2026-02-30"', 'as_of = "20260701"', 'as_of = "2026-W27-3"'),
    "split.holdout": ("holdout = 0", "holdout = 1", "holdout = -0.1", "holdout = 1.0"),
    "split.seed": ("seed = -1", "seed = 4294967296"),
    "train.folds": ("folds = 1", "folds = -5", "folds = 101"),
    "train.seed": ("seed = -1", "seed = 4294967296"),
    "train.params": (
        "params = {seed = 1}",
        "params = {rate = nan}",
        "params = {rate = inf}",
        "params = {day = 2026-07-01}",
        "params = {deep = {list = [1, [inf]]}}",
        f"params = {{n = 1{'0' * 400}}}",
    ),
    "tune.factor": ("factor = 1", "factor = 101"),
    "tune.space": ("space = {rate = []}", "space = {rate = [nan]}", "space = {seed = [1]}"),
    "evaluate.metrics": ("metrics = []", 'metrics = ["roc_auc", "roc_auc"]'),
    "evaluate.resamples": ("resamples = 99", "resamples = 100001"),
    "evaluate.confidence": ("confidence = 0.5", "confidence = 1"),
    "evaluate.seed": ("seed = -1", "seed = 4294967296"),
    "evaluate.noise": ("noise = -0.1", "noise = 10.1"),
    "evaluate.slices": (
        'slices = [{name = "a", where = "x > 1"}, {name = "a", where = "x > 2"}]',
        'slices = [{name = "", where = "x > 1"}]',
        'slices = [{name = "a\\nb", where = "x > 1"}]',
        'slices = [{name = "a", where = " "}]',
    ),
    "evaluate.groups": ('groups = {sex = ""}', 'groups = {"" = "sex"}'),
    "gate.margin": ("margin = -0.01",),
    "gate.slice_margin": ("slice_margin = -1",),
    "gate.minimum_support": ("minimum_support = 1",),
    "gate.reason": (
        'champion = "reset"',
        'champion = "reset"\nreason = "because"',
        'champion = "reset"\nreason = "         "',
    ),
    "gate.floors": ("floors = {accuracy = 0.5}",),
    "gate.accept": (
        'accept = {size = "because"}',
        'accept = {size = "          "}',
        'accept = {"" = "It is so by law."}',
    ),
    "drift.psi": ("psi = 0", "psi = -1"),
    "drift.bins": ("bins = 1", "bins = 1001"),
    "drift.minimum_rows": ("minimum_rows = 19", "minimum_rows = -1"),
    "drift.false_alarms": ("false_alarms = 0", "false_alarms = 0.51"),
    "watch.log": ('log = "a\\nb"', 'log = " "'),
    "watch.window_days": ("window_days = 0", "window_days = 367"),
    "watch.runs_per_week": ("runs_per_week = 0", "runs_per_week = 169"),
    "watch.label_delay_days": ("label_delay_days = -1", "label_delay_days = 3651"),
    "watch.age_days": ("age_days = -1", "age_days = 3651"),
    "retrain.every_days": ("every_days = -1", "every_days = 3651"),
    "retrain.on": ('on = ["drift", "drift"]',),
    "retrain.new_rows": ("new_rows = -1",),
    "retrain.cooldown_days": ("cooldown_days = -1", "cooldown_days = 367"),
    "retrain.freeze": ('freeze = " "', 'freeze = "a\\nb"'),
    "retrain.age_periods": ("age_periods = -1", "age_periods = 3", "age_periods = 121"),
    "budget.runner": ('runner = ""', 'runner = "a b"', 'runner = "${{ x }}"', 'runner = "-x"', 'runner = "a\\n"'),
    "budget.minutes": ("minutes = 0", "minutes = 7201"),
    "budget.price": ("price = -0.01",),
    "budget.cost": ("cost = -1", "cost = 1", "cost = -1\nprice = 0.1"),
    "budget.kwh": ("kwh = -1",),
    "budget.country": ('country = "de"', 'country = "deu"', 'country = "DEU\\n"', 'country = "Germany"'),
}


@pytest.mark.parametrize(("key", "line"), [(key, line) for key, lines in BREAKERS.items() for line in lines])
def test_a_value_beyond_a_limit_is_refused_with_its_key_and_what_it_must_be(key: str, line: str) -> None:
    """The refusal is that limit's and no other's."""
    refusal = refused(with_line(key.split(".")[0], line))
    need = next(limit.need for limit in config.LIMITS if limit.key == key)
    assert f": {key} is " in refusal.what
    assert refusal.do == f"It must be {need}."


def test_every_limit_has_a_breaker() -> None:
    """A limit without a case that it refuses is not known to close."""
    assert list(BREAKERS) == [limit.key for limit in config.LIMITS]


@pytest.mark.parametrize(
    ("section", "line"),
    [
        ("split", "holdout = 0.99"),
        ("train", "seed = 4294967295"),
        ("train", "params = {estimator = 'linear', trees = 10, rate = 0.1, deep = [1, {a = true}]}"),
        ("tune", "space = {rate = [0.1, 1], estimator = ['linear']}"),
        ("evaluate", "confidence = 0.99"),
        ("evaluate", "noise = 0"),
        ("gate", "margin = 0"),
        ("gate", 'champion = "reset"\nreason = "The features changed."'),
        ("gate", "floors = {brier = -1}"),
    ],
)
def test_a_value_at_its_limit_is_accepted(section: str, line: str) -> None:
    """The limits close where they say, and not before."""
    parse(with_line(section, line), where="here")


# For each kind of type, values that are not of it.
WRONG = {
    "text": ("1", "1.5", "true", "2026-07-01", "[]", "{}", "12:00:00", "2026-07-01T00:00:00Z"),
    "whole number": ("1.0", '"1"', "true", "[]", "{}", "nan", "2026-07-01"),
    "number": ('"1"', "true", "nan", "inf", "-inf", f"1{'0' * 400}", "[]", "2026-07-01"),
    "choices": ('"other"', "1", "true", "[]", "{}", '""'),
    "list of choices": ('"drift"', "[1]", '["other"]', "{}", '["drift", true]'),
    "true or false": ("1", '"true"', "0.0", "[]", "{}", "2026-07-01"),
    "list of texts": ('"roc_auc"', "[1]", "[[]]", "{}", '["roc_auc", true]'),
    "list of tables": ('"a"', "[1]", '["a"]', "{}", "[{}]", '[{name = "a"}]', '[{name = "a", where = "b", more = 1}]'),
    "table of values": ('"a"', "1", "[]", "true"),
    "table of lists": ('"a"', "[]", "{a = 1}", '{a = "b"}', "{a = {}}"),
    "table of texts": ('"a"', "[]", "{a = 1}", "{a = []}"),
    "table of numbers": ('"a"', "[]", '{roc_auc = "b"}', "{roc_auc = nan}", "{roc_auc = true}"),
}


def form(kind: Any) -> str:
    """The word that the reference page has for a type."""
    arguments = get_args(kind)
    if get_origin(kind) is Literal:
        return " or ".join(f'`"{word}"`' for word in arguments)
    words = {str: "text", int: "whole number", float: "number", bool: "true or false"}
    if kind in words:
        return words[kind]
    if get_origin(kind) is list and get_origin(arguments[0]) is Literal:
        return "list of " + ", ".join(f'`"{word}"`' for word in get_args(arguments[0]))
    if get_origin(kind) is list:
        return "list of tables" if dataclasses.is_dataclass(arguments[0]) else f"list of {words[arguments[0]]}s"
    inner = {str: "texts", float: "numbers", Any: "values", list[Any]: "lists"}
    return f"table of {inner[arguments[1]]}"


def keys() -> list[tuple[str, "dataclasses.Field[Any]"]]:
    """Every section and key, from the dataclasses."""
    sections = [(item.name, item.type) for item in dataclasses.fields(ModelConfig)]
    return [(section, item) for section, kind in sections for item in dataclasses.fields(kind)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("section", "line"),
    [
        (section, f"{item.name} = {value}")
        for section, item in keys()
        for value in WRONG[re.sub("`.*`", "choices", form(item.type)) if "`" in form(item.type) else form(item.type)]
    ],
)
def test_a_value_of_a_wrong_type_is_refused_with_its_key(section: str, line: str) -> None:
    """Every key, with values of every other type."""
    assert f"{section}.{line.partition(' ')[0]}" in refused(with_line(section, line)).what


@pytest.mark.parametrize(("section", "item"), [pair for pair in keys() if config.is_required(pair[1])])
def test_a_missing_key_is_refused_by_name(section: str, item: "dataclasses.Field[Any]") -> None:
    """A required key has no silent default."""
    text = re.sub(rf"(?m)^{item.name} = .*\n", "", SMALL, count=1)
    assert text != SMALL
    assert refused(text).what.endswith(f"{section}.{item.name} is missing.")


@pytest.mark.parametrize("section", ["model", "data", "split", "evaluate", "gate"])
def test_a_missing_section_is_refused_by_name(section: str) -> None:
    """The same for a whole section."""
    text = re.sub(rf"\[{section}\]\n([^\[].*\n)*", "", SMALL)
    assert f": {section} is missing" in refused(text).what


@pytest.mark.parametrize("value", ["1", '"a"', "true", "[]", "2026-07-01"])
def test_a_section_that_is_no_table_is_refused(value: str) -> None:
    """`drift = 1` is a sentence, not a crash."""
    assert refused(f"drift = {value}\n" + SMALL.replace("[drift]\n", "")).what.endswith("drift is not a table.")


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        (SMALL.replace("owner", "ownr"), "Did you mean model.owner?"),
        (SMALL.replace("[drift]", "[drfit]"), "Did you mean drift?"),
        (SMALL + "zzz = 1\n", "Known here: psi, bins, minimum_rows, false_alarms."),
        (SMALL.replace('"time"', '"times"'), "Did you mean 'time'? It can be 'time' or 'stratified' or 'grouped'."),
        (with_line("data", "as_of = 2026-07-01"), "It must be text in quotes."),
        (with_line("evaluate", "slices = {}"), "Write [[evaluate.slices]] above each entry."),
    ],
)
def test_a_slip_gets_a_hint(text: str, hint: str) -> None:
    """The second line says what to write."""
    assert refused(text).do == hint


HOSTILE = {
    "empty": "",
    "not TOML": "model: {task: x}",
    "duplicate key": SMALL + "psi = 1\npsi = 2\n",
    "duplicate section": SMALL + "[model]\n",
    "byte order mark": "\ufeff" + SMALL,
    "lone carriage returns": SMALL.replace("\n", "\r"),
    "NUL": SMALL.replace("replay", "re\0play"),
    "huge": SMALL + "# " + "x" * config.LARGEST_FILE,
    "huge number": with_line("train", "folds = " + "9" * 5000),
    "large number": with_line("train", "folds = " + "9" * 4000),
    "huge key": SMALL + "x" * 10_000 + " = 1\n",
    "key with escapes": SMALL + '"\\u001b[31m\\n" = 1\n',
    "huge value": with_line("split", f'method = "{"x" * 10_000}"'),
    "deep lists": with_line("train", f"params = {{a = {'[' * 5000}{']' * 5000}}}"),
    "deep tables": with_line("train", f"params = {{{'a.' * 5000}a = 1}}"),
    "deep inline tables": with_line("train", "params = " + "{a = " * 3000 + "1" + "}" * 3000),
    "deep section": SMALL + f"[{'a.' * 5000}a]\n",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_file_is_refused_in_two_short_lines(text: str) -> None:
    """Nothing but a refusal, whatever the text."""
    printed = str(refused(text))
    assert all(char.isprintable() or char == "\n" for char in printed)


def test_a_byte_order_mark_is_named() -> None:
    """A mark that no editor shows is not "invalid statement (at line 1, column 1)"."""
    assert "byte order mark" in refused("\ufeff" + SMALL).what


def test_windows_line_ends_are_fine() -> None:
    """A file saved on Windows says the same."""
    assert parse(SMALL.replace("\n", "\r\n"), where="here") == parse(SMALL, where="here")


@pytest.mark.parametrize(
    ("data", "words"),
    [(b"\xff\xfe", "is not UTF-8"), (None, "does not exist"), (b"#" * (config.LARGEST_FILE + 5), "larger than 1 MB")],
)
def test_a_file_that_cannot_be_read_is_refused_by_name(tmp_path: Path, data: bytes | None, words: str) -> None:
    """Its path is in the message."""
    path = tmp_path / "model.toml"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(Refusal, match=words) as caught:
        config.load(path)
    assert str(path) in caught.value.what


# Fragments that look like parts of a model.toml, in any order and number.
FRAGMENT = st.sampled_from(
    [
        *SMALL.splitlines(),
        "[[evaluate.slices]]",
        "[train.params]",
        "[gate.floors]",
        "=",
        "[",
        "]",
        '"""',
        "'",
        "#",
        "\r",
    ]
)
KEY = st.sampled_from([item.name for _, item in keys()]) | st.text(max_size=8)
VALUE = st.sampled_from(
    ["nan", "-inf", "1e400", "0x10", "1979-05-27T07:32:00Z", "[1, 'a']", "{a.b = 1}", "9" * 4400]
) | (st.text(max_size=8) | st.integers().map(str) | st.floats().map(str))
LINE = FRAGMENT | st.builds("{} = {}".format, KEY, VALUE) | st.text(max_size=30)


def attempt(text: str) -> str:
    """The refusal of a text, or nothing where it is accepted; any other exception is what the tests look for."""
    try:
        assert isinstance(parse(text, where="here"), ModelConfig)
    except Refusal as refusal:
        return str(refusal)
    return ""


@settings(max_examples=300, deadline=None)
@given(st.lists(LINE, max_size=30).map("\n".join))
@example(with_line("train", "params = {a = " + "1" * 4300 + "}"))
def test_parse_gives_a_configuration_or_a_refusal(text: str) -> None:
    """Whatever a person types: never another exception, never a long message."""
    assert len(attempt(text)) < 600


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(keys()), VALUE)
def test_a_strange_value_for_a_known_key_gives_a_configuration_or_a_refusal(
    pair: tuple[str, "dataclasses.Field[Any]"], value: str
) -> None:
    """The same, beyond the TOML parser."""
    assert len(attempt(with_line(pair[0], f"{pair[1].name} = {value}"))) < 600


DAY = dt.date(2026, 9, 30)
FORMS = {
    "plain": ('as_of = "2026-07-01"', 'as_of = "2026-09-30"'),
    "comment": ('as_of = "2026-07-01"  # was "2025"', 'as_of = "2026-09-30"  # was "2025"'),
    "spacing": ('  as_of\t =   "2026-07-01"', '  as_of\t =   "2026-09-30"'),
    "no spacing": ('as_of="2026-07-01"', 'as_of="2026-09-30"'),
    "single quotes": ("as_of = '2026-07-01'", "as_of = '2026-09-30'"),
    "quoted key": ('"as_of" = "2026-07-01"', '"as_of" = "2026-09-30"'),
}


@pytest.mark.parametrize(("before", "after"), FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["LF", "CRLF"])
def test_moving_the_day_changes_the_day_and_nothing_else(before: str, after: str, end: str) -> None:
    """Comments, spacing, quotes and line ends stay as the person wrote them."""
    text = SMALL.replace('as_of = "2026-07-01"', before).replace("\n", end)
    assert config.set_as_of(text, DAY) == SMALL.replace('as_of = "2026-07-01"', after).replace("\n", end)


@pytest.mark.parametrize(
    "decoy",
    [
        '[train.params]\nas_of = "2026-07-01"\n',
        '# as_of = "2026-07-01"\n',
        '[data.more]\nas_of = "2026-07-01"\n',
        'text = """\nas_of = "2026-07-01"\n"""\n',
    ],
)
def test_moving_the_day_leaves_the_same_words_elsewhere_alone(decoy: str) -> None:
    """Only `data.as_of` moves, whether the other one comes before or after it."""
    day = '[data]\nas_of = "2026-07-01"\n'
    moved = '[data]\nas_of = "2026-09-30"\n'
    assert config.set_as_of(decoy + day, DAY) == decoy + moved
    if not decoy.startswith("text"):
        assert config.set_as_of(day + decoy, DAY) == moved + decoy


def test_moving_the_day_finds_dotted_and_inline_spellings() -> None:
    """TOML has more than one way to write a table."""
    assert config.set_as_of('data.as_of = "2026-07-01"\n', DAY) == 'data.as_of = "2026-09-30"\n'
    assert config.set_as_of('data = {a = 1, as_of = "2026-07-01"}', DAY) == 'data = {a = 1, as_of = "2026-09-30"}'


def test_a_day_in_a_spelling_that_cannot_be_moved_is_refused() -> None:
    """Rather than to leave the day where it was and say nothing."""
    with pytest.raises(Refusal, match="unusual"):
        config.set_as_of('[data]\nas_of = """2026-07-01"""\n', DAY)


def documented() -> dict[str, tuple[str, str, str]]:
    """Key to (type, default, limit), from the tables of the reference page."""
    found, section = {}, ""
    for line in REFERENCE.read_text(encoding="utf-8").splitlines():
        if heading := re.fullmatch(r"##+ `\[+([\w.]+)\]+`", line):
            section = heading[1]
        if row := re.fullmatch(r"\| `(\w+)` \| (.+?) \| (.+?) \| (.*?) ?\| (.+) \|", line):
            found[f"{section}.{row[1]}"] = (row[2], row[3], row[4])
    return found


def test_the_reference_page_lists_every_key_with_its_type_default_and_limit() -> None:
    """A key, a default or a limit that changes in the code changes on the page, or this fails."""
    needs = {limit.key: limit.need for limit in config.LIMITS}
    pairs = [*keys(), *(("evaluate.slices", item) for item in dataclasses.fields(config.Slice))]
    expected = {}
    for section, item in pairs:
        key = f"{section}.{item.name}"
        expected[key] = (form(item.type), _default(item), needs.get(key, ""))
    assert documented() == expected


def _default(item: "dataclasses.Field[Any]") -> str:
    if config.is_required(item):
        return "required"
    factory = item.default_factory
    value = item.default if factory is dataclasses.MISSING else factory()
    return f'`"{value}"`' if isinstance(value, str) else f"`{value}`"


def test_the_reference_page_names_the_metrics_that_exist() -> None:
    """Per task, those of the registry."""
    from mlops.learning.metrics import METRICS

    text = REFERENCE.read_text(encoding="utf-8")
    for task in get_args(config.Task):
        line = re.search(rf"(?m)^Metrics for {task} are (.+)\.$", text)
        assert line
        assert re.findall(r"`(\w+)`", line[1]) == [name for name, metric in METRICS.items() if metric.task == task]


def test_the_scaffolds_own_file_is_valid_for_both_tasks(fresh: Path) -> None:
    """What `make new-model` writes is accepted, and its day can be moved."""
    for name in ("tumour", "diabetes"):
        text = (fresh / "models" / name / "model.toml").read_text(encoding="utf-8")
        moved = config.set_as_of(text, DAY)
        assert parse(moved, where="here").data.as_of == "2026-09-30"
        assert tomllib.loads(moved) != tomllib.loads(text)


def test_a_conflict_that_git_left_is_named_with_its_line() -> None:
    """The most frequent reason why a `model.toml` stops being TOML."""
    text = "a = 1\n" + "<" * 7 + " HEAD\nb = 2\n"
    with pytest.raises(Refusal, match=r"^model\.toml, line 2, is a conflict that git left"):
        config.parse(text, where="model.toml")


@pytest.mark.parametrize(
    "more",
    [
        "",
        "[budget]\n",
        "[budget]\nminutes = 5\n",
        '[budget]\nminutes = 5\nprice = 0.1\ncost = 2\nkwh = 1.5\ncountry = "DEU"\n',
        "[budget]  \n# why\n\nrunner = 'big'\nminutes = 5\n\n[drift]\nbins = 5\n",
        "[budget] # why\nminutes = 5\n",
        "[budget]\r\nminutes = 5\r\n",
        "[budget]\nminutes = 5",
        "[drift]\nbins = 5 # not the budget\n\n[budget]\nminutes = 5\n",
        "[budget]\nminutes = 5\n [drift]\nbins = 5\n",
        " [budget]\n minutes = 5\n",
        '["budget"]\nminutes = 5\n',
        '[train.params]\ntext = """\n[budget]\nminutes = 5\n"""\n',
        "[train.params]\ntext = '''\n[budget]\nminutes = 5\n'''\n",
    ],
)
def test_the_budget_read_by_itself_is_that_of_the_whole_file(more: str) -> None:
    text = f"{NO_BUDGET}\n{more}"
    assert config.budget(text, where="model.toml") == parse(text, where="model.toml").budget


@pytest.mark.parametrize("line", ["minutes = 0", "minutes = 'x'", "hours = 1", "runner = '${{ x }}'", "minutes ="])
def test_a_budget_read_by_itself_is_refused_as_the_whole_file_is(line: str) -> None:
    text = f"{NO_BUDGET}\n[budget]\n{line}\n"
    with pytest.raises(Refusal) as caught:
        config.budget(text, where="models/tumour/model.toml")
    assert caught.value.what.split(" (")[0] == refused(text).what.split(" (")[0]


@pytest.mark.parametrize(
    "more",
    [
        "",
        "[retrain]\n",
        "[retrain]\nevery_days = 30\nfreeze = 'over the holidays'\nauto_merge = true\n",
        '[retrain]  \n# why retrain\n\non = [\n    "drift",\n]\n\n[drift]\nbins = 5\n',
        "[retrain] # why\nevery_days = 5\n",
        "[retrain]\r\nevery_days = 5\r\n",
        "[retrain]\nevery_days = 5",
        "[retrain]\nevery_days = 5\n [drift]\nbins = 5\n",
        "[drift]\nbins = 5 # not retrain\n",
        '["retrain"]\nevery_days = 5\n',
        '[train.params]\ntext = """\n[retrain]\nevery_days = 5\n"""\n',
        "[train.params]\nas_of = '2020-01-01'\n",
    ],
)
@pytest.mark.parametrize("day", ['as_of = "2026-07-01"', "as_of='2026-07-01' # x", 'as_of   ="2026-07-01"  # as_of'])
def test_when_to_retrain_read_by_itself_is_that_of_the_whole_file(more: str, day: str) -> None:
    text = f"{NO_BUDGET.replace('[retrain]', '').replace(DAY_LINE, day)}\n{more}"
    whole = parse(text, where="model.toml")
    assert config.retrain(text, where="model.toml") == (whole.data.as_of, whole.retrain)


@pytest.mark.parametrize("line", ["every_days = -1", "every_days = 'x'", "days = 1", 'on = ["rain"]', "every_days ="])
def test_when_to_retrain_read_by_itself_is_refused_as_the_whole_file_is(line: str) -> None:
    text = f"{NO_BUDGET.replace('[retrain]', '')}\n[retrain]\n{line}\n"
    with pytest.raises(Refusal) as caught:
        config.retrain(text, where="models/tumour/model.toml")
    assert caught.value.what.split(" (")[0] == refused(text).what.split(" (")[0]
