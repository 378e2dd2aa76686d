"""Does the small YAML reader read what the real one reads, and refuse everything else?"""

import random
from typing import Any

import pytest
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from mlops.planning import plainyaml
from mlops.planning.plainyaml import Opaque, Unreadable

TEXTS = 20_000

PIPELINE = """\
# A comment.
vars:
  - ../p.yaml:a,b
  - x: 1
stages:
  a:
    cmd: run it
      --with more words
    wdir: ..
    deps: [a, "b c", 'd']  # three
    params:
    - p.yaml: [a.b]
    - q
    outs:
      - x: {cache: false}
      - y:
          cache: true
    desc: |
      hello: x
        more

      z
  b@x:
    foreach: {a: 1, b: {c: d}}
    do:
      cmd: >-
        x
        y
      deps:
      - ${item}
"""

PIECES = [
    "a", "b: ", "b:", "- ", "-", "[", "]", "{", "}", ", ", ",", "'x'", '"y"', "'", '"', "\n", "\n  ", "\n    ", "\n",
    "\n- ", "\n  - ", "#", " # c\n", " ", "  ", "|\n", "> \n", ": ", "x y", "1", "0.5", "1e3", "true", "null", "on",
    "2024-01-01", "${x}", "&a ", "*a", "!t ", "---\n", "...\n", "? ", "a/b.c", "../x", "http://x/y", "a:b", "a#b", "%",
    "@", "`", "k1: v\n", "k2:\n  - q\n", "\n\n", "key: [a, b]\n", "m: {a: 1}\n", "~", "\x3c\x3c: ", "=", ".5", "0o7",
    "0x1f", "1_000", "2d", "-x", "--y", "\\", "é", "'a''b'", '"a\\n"', "2024/x", "07", "12:30", "2001-12-14t21:59:43Z",
    "key:\n", "  - ", "    x: y\n", "\t", "\r\n",
]  # fmt: skip


def made(chance: random.Random) -> str:
    """A text of pieces, or a pipeline with a few of them put in or taken out."""
    if chance.random() < 0.5:
        return "".join(chance.choice(PIECES) for _ in range(chance.randint(1, 14)))
    text = PIPELINE
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(text))
        kind = chance.random()
        if kind < 0.3:
            text = text[:at] + text[at + chance.randint(1, 4) :]
        elif kind < 0.7:
            text = text[:at] + chance.choice(PIECES) + text[at:]
        else:
            start = chance.randrange(len(text))
            text = text[:at] + text[start : start + chance.randint(1, 20)] + text[at:]
    return text


def same(mine: Any, theirs: Any) -> bool:
    """Whether two values are equal; what was left open may be anything."""
    if isinstance(mine, Opaque):
        return True
    if type(mine) is not type(theirs):
        return False
    if isinstance(mine, dict):
        return list(mine) == list(theirs) and all(same(mine[key], theirs[key]) for key in mine)
    if isinstance(mine, list):
        return len(mine) == len(theirs) and all(map(same, mine, theirs))
    return bool(mine == theirs)


@pytest.mark.parametrize("seed", range(4))
def test_what_it_reads_is_what_the_library_of_dvc_reads(seed: int) -> None:
    """Over random texts: equal values, or it says that it cannot read it. And it does read many of them."""
    chance = random.Random(seed)
    read = 0
    for _ in range(TEXTS // 4):
        text = made(chance)
        try:
            mine = plainyaml.load(text)
        except Unreadable:
            continue
        try:
            theirs = YAML(typ="safe", pure=True).load(text)
        except YAMLError as error:
            pytest.fail(f"{text!r} is read as {mine!r}, and is none: {error}")
        assert same(mine, theirs), text
        read += 1
    assert read > TEXTS / 4 * 0.08


def test_a_pipeline_as_people_write_it_is_read() -> None:
    found = plainyaml.load(PIPELINE)
    assert found["vars"] == ["../p.yaml:a,b", {"x": 1}]
    assert found["stages"]["a"]["cmd"] == "run it --with more words"
    assert found["stages"]["a"]["deps"] == ["a", "b c", "d"]
    assert found["stages"]["a"]["outs"] == [{"x": {"cache": False}}, {"y": {"cache": True}}]
    assert found["stages"]["b@x"]["foreach"] == {"a": 1, "b": {"c": "d"}}
    assert found["stages"]["b@x"]["do"]["deps"] == ["${item}"]


def test_a_list_over_several_lines_is_read() -> None:
    text = 'a:\n  b: [\n    x,  # one\n    "y",\n  ]\n  c: {p: [1,\n      2], q: ~}\n'
    assert plainyaml.load(text) == {"a": {"b": ["x", "y"], "c": {"p": [1, 2], "q": None}}}


@pytest.mark.parametrize("text", ["", "\n", "# nothing\n", "---\n"])
def test_nothing_is_none(text: str) -> None:
    assert plainyaml.load(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "a: &x 1", "a: *x", "a: !!str 1", "a: b\n---\nc: d", "%YAML 1.2\n---\na: b", "a:\tb", "a: 'b\n  c'",
        "a: b\na: c",
        "? a\n: b", "a: b: c", "a:\n  b\n c: d", "a: [b", "a: {b}", 'a: "\\x41"', "a: [b: c]", "- a\nb: c", "a",
        "\x3c\x3c: x",
        "a: |2\n    x", "a: b\n...\n", "\ufeffa: b", "a: \x07", "[" * 60 + "]" * 60, "a: " + "[" * 60 + "]" * 60,
        "1: b",
        "a: b\u2028c", "- [a]]", "a: [x, , y]", "a: x\n\n  y",
    ],
)  # fmt: skip
def test_what_is_not_plain_is_refused(text: str) -> None:
    with pytest.raises(Unreadable):
        plainyaml.load(text)


@pytest.mark.parametrize("text", ["1e3", "2024-01-01", "on", "No", "0x1f", "017", "1_000", ".inf", "12:30:00", "0o7"])
def test_a_scalar_on_which_readers_differ_is_left_open(text: str) -> None:
    assert plainyaml.load(f"a: {text}") == {"a": Opaque(text)}


def test_a_large_text_is_refused_before_it_costs_time() -> None:
    with pytest.raises(Unreadable, match="1 MB"):
        plainyaml.load("a: b\n" * 300_000)
