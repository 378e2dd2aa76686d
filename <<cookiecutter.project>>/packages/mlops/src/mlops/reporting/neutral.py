"""How text that comes from data is made harmless before it is shown.

A name, a sentence or a description may hold anything: a mention, a link, HTML, half a table.
Each function here keeps it readable and takes away its effect, for one place where text can stand:
`text` in GitHub Markdown (paragraphs, table cells), `summary` in its HTML blocks, `code` as a code span,
`label` inside double quotes in a Mermaid chart, `html` in HTML text and attributes.
GitHub looks for mentions and references after Markdown is rendered, so escaping does not stop them:
the character that starts one is replaced by its look-alike. Standard library only.
"""

import html as _html
import re
import unicodedata
from typing import Any

NOTHING = "\u2013"
"""What is shown where there is nothing to show."""

_MARKS = 2
"""Combining marks kept after one letter; more would draw over the neighbouring lines."""

_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
_LOOKALIKES = (
    (re.compile("@"), "\uff20"),  # mentions, e-mail addresses
    (re.compile(r"\$"), "\uff04"),  # formulas
    (re.compile(r"#(?=\d)"), "\uff03"),  # #123, owner/name#123
    (re.compile(r"(?i)\b(gh)-(?=\d)"), "\\1\u2011"),  # GH-123
    (re.compile(r":(?=\S)"), "\ua789"),  # https://, javascript:, :emoji:
    (re.compile(r"(?i)\b(www)\.(?=\S)"), "\\1\u2024"),  # www.example.com
)
_COMMIT = re.compile(r"(?<![\w.])[0-9a-fA-F]{7,64}(?!\w)")
_PUNCTUATION = {ord(mark): f"&#{ord(mark)};" for mark in "\\`*~[]|"} | {
    ord("&"): "&amp;",
    ord("<"): "&lt;",
    ord(">"): "&gt;",
    ord('"'): "&quot;",
}
_BLOCK = re.compile(r"^(?:[+-](?=[\s-]|$)|#{1,6}(?=\s|$)|=|\d{1,9}(?=[.)](?:\s|$)))")
_UNDERSCORE = re.compile(r"(?<![^\W_])_|_(?![^\W_])")
_PLAIN_CODE = re.compile(r"[\w ./=+,()%-]+")
_LABEL = str.maketrans("\"'`%<>&#;", "\u2033\u2032\u2032\uff05\u2039\u203a\uff06\uff03,")
_NOT_LABEL = re.compile(r"[^\w \u2032\u2033\uff05\u2039\u203a\uff06\uff03\uff20\uff04\ua789.,:+/()=\u2013\u2026-]")


def visible(value: Any, *, limit: int = 200) -> str:
    """One line of visible characters of any value, at most `limit` long; `NOTHING` when none is left.

    Control, bidirectional, zero-width, private and unassigned characters and lone surrogates are dropped,
    every kind of white space becomes one space, and of many combining marks on a letter two are kept.
    Not escaped for anything: the other functions do that.
    """
    if value is None:
        return NOTHING
    try:
        given = value if isinstance(value, str) else str(value)
    except (ValueError, RecursionError):
        return "(unreadable)"
    # A hostile value may be megabytes long; nothing beyond this is looked at.
    shortened = len(given) > limit * 8
    given = given[: limit * 8]
    line = " ".join((given if given.isascii() and given.isprintable() else _without_invisible(given)).split())
    if len(line) > limit or shortened:
        line = line[: limit - 1].rstrip() + "…"
    return line or NOTHING


def _without_invisible(given: str) -> str:
    kept: list[str] = []
    marks = 0
    for character in _INVISIBLE.sub("", given):
        category = unicodedata.category(character)
        if character.isspace() or category in ("Zl", "Zp"):
            kept.append(" ")
            marks = 0
        elif category[0] == "M":
            marks += 1
            if marks <= _MARKS:
                kept.append(character)
        elif category[0] != "C":
            kept.append(character)
            marks = 0
    return "".join(kept)


def text(value: Any, *, limit: int = 200) -> str:
    """`value` as inline GitHub Markdown that shows its characters and does nothing.

    Safe in a paragraph, a list item and a table cell: no mention, reference, link, image, HTML,
    emphasis, formula or emoji, no line break, no cell border. `limit` counts visible characters.
    """
    line = _defused(visible(value, limit=limit))
    pieces, end = [], 0
    for commit in _COMMIT.finditer(line):
        # In a code span GitHub does not look for commits.
        pieces += [_escaped(line[end : commit.start()]), f"`{commit.group()}`"]
        end = commit.end()
    pieces.append(_escaped(line[end:]))
    joined = "".join(pieces)
    return _BLOCK.sub(lambda start: "".join(f"&#{ord(one)};" for one in start.group()), joined)


def summary(value: Any, *, limit: int = 60) -> str:
    """`value` as `text` for an HTML block such as `<summary>`, where Markdown's code spans are not read."""
    return re.sub(r"`(\w+)`", r"<code>\1</code>", text(value, limit=limit))


def code(value: Any, *, limit: int = 80) -> str:
    """`value` as a code span, for names and digests; one that holds unusual characters is shown as `text`."""
    line = visible(value, limit=limit)
    return f"`{line}`" if _PLAIN_CODE.fullmatch(line) else text(value, limit=limit)


def label(value: Any, *, limit: int = 24) -> str:
    """`value` for use between double quotes in a Mermaid chart: letters, digits and a few harmless signs."""
    line = _defused(visible(value, limit=limit)).translate(_LABEL)
    return " ".join(_NOT_LABEL.sub(" ", line).split()) or NOTHING


def html(value: Any, *, limit: int = 500) -> str:
    """`value` for HTML text and quoted attributes."""
    return _html.escape(visible(value, limit=limit), quote=True)


def _defused(line: str) -> str:
    for pattern, replacement in _LOOKALIKES:
        line = pattern.sub(replacement, line)
    return line


def _escaped(part: str) -> str:
    """Entities for the punctuation that Markdown and HTML read; an entity never opens anything."""
    return _UNDERSCORE.sub("&#95;", part.translate(_PUNCTUATION))
