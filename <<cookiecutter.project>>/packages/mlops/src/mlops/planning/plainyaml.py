"""The plain part of YAML, read strictly: what a person writes into a `dvc.yaml`, without a package.

The plan must run on a bare Python, which has no YAML. A reader that guesses would skip a model that a change affects,
so this one never guesses: what is outside the part that it knows (anchors, tags, tabs, several documents, scalars
over several lines in quotes, and everything that is broken) raises `Unreadable`, and the plan is then conservative.
The tests compare it with the library that DVC reads with: wherever both read, they read the same.
"""

import re
from dataclasses import dataclass
from typing import Any, NoReturn

LARGEST = 1_000_000
DEEPEST = 50


class Unreadable(Exception):
    """A text that is outside the plain part of YAML, or no YAML at all; the message is the end of a sentence."""


@dataclass(frozen=True)
class Opaque:
    """A scalar that is there, and whose value depends on the reader: a date, `1e3`, `on`, a block of text."""

    text: str


def load(text: str) -> Any:
    """The value of one document: dicts with text keys, lists, texts, numbers, booleans, None and `Opaque`.

    Raises `Unreadable` for everything that is not plain.
    """
    if len(text) > LARGEST:
        raise Unreadable("it is larger than 1 MB")
    return _Reader(text.replace("\r\n", "\n")).document()


_WHOLE = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})")
_DECIMAL = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,8})\.[0-9]{1,8}")
_WORDS: dict[str, Any] = {"~": None, "": None}
for _word, _meaning in (("null", None), ("true", True), ("false", False)):
    _WORDS |= {_word: _meaning, _word.capitalize(): _meaning, _word.upper(): _meaning}
# Whatever begins like a number, and the words that YAML 1.1 takes for booleans.
_AMBIGUOUS = re.compile(r"[-+.]*[0-9].*|[-+]?\.(?:inf|nan)|yes|no|on|off", re.IGNORECASE)
# A path such as `2024/x.csv` or a name such as `2d` begins like a number and cannot be one.
_NO_NUMBER = re.compile(r"[-+.]*[0-9][^:]*[/@g-mp-su-wyG-MP-SU-WY][^:]*")


def _scalar(text: str) -> Any:
    """What an unquoted word means."""
    if text in _WORDS:
        return _WORDS[text]
    if _WHOLE.fullmatch(text):
        return int(text)
    if _DECIMAL.fullmatch(text):
        return float(text)
    if _AMBIGUOUS.fullmatch(text) and not _NO_NUMBER.fullmatch(text):
        return Opaque(text)
    return text


_ENTRY = re.compile(r"-(?: |$)")
_ESCAPES = {'"': '"', "\\": "\\", "/": "/", "n": "\n", "t": "\t"}
_CLOSERS = {"[": "]", "{": "}"}


class _Reader:
    """One pass over the lines; `row` is the next line that is not read yet."""

    def __init__(self, text: str) -> None:
        self.lines = text.split("\n")
        self.row = 0
        self.depth = 0
        if not text.replace("\n", "").isprintable():
            self.row = next(row for row, line in enumerate(self.lines) if not line.isprintable())
            self.fail("a tab" if "\t" in self.lines[self.row] else "a character that cannot be shown")

    def fail(self, what: str) -> NoReturn:
        """Give up, naming the line."""
        raise Unreadable(f"line {self.row + 1} has {what}")

    def document(self) -> Any:
        """The whole text as one value."""
        line = self.peek()
        if line is not None and self.lines[self.row].rstrip() == "---":
            self.row += 1
            line = self.peek()
        value = None if line is None else self.block(line[0])
        if self.peek() is not None:
            self.fail("something after the end of the document")
        if not isinstance(value, dict | list | None):
            raise Unreadable("it is neither a table nor a list")
        return value

    def peek(self) -> tuple[int, str] | None:
        """Indentation and text of the next line that says something; moves over blank lines and comments."""
        while self.row < len(self.lines):
            line = self.lines[self.row]
            text = line.lstrip(" ")
            if text and not text.startswith("#"):
                if line.startswith(("---", "...", "%")) and (line[0] == "%" or line[3:4] in ("", " ")):
                    if line.rstrip() == "---" and not any(map(self._says, self.lines[: self.row])):
                        return 0, "---"
                    self.fail("a directive or a second document")
                return len(line) - len(text), text.rstrip(" ")
            self.row += 1
        return None

    @staticmethod
    def _says(line: str) -> bool:
        return bool(line.strip()) and not line.lstrip().startswith("#")

    def block(self, indent: int) -> Any:
        """The value that begins at the next line, whose indentation is `indent`."""
        self.depth += 1
        if self.depth > DEEPEST:
            self.fail("too many levels")
        _, text = self.peek() or (0, "")
        if _ENTRY.match(text):
            value: Any = self.sequence(indent)
        elif self.key(text) is not None:
            value = self.mapping(indent)
        else:
            value = self.inline(indent, parent=indent - 1)
        self.depth -= 1
        return value

    def sequence(self, indent: int) -> list[Any]:
        """Entries that begin with a dash at `indent`."""
        found: list[Any] = []
        while (line := self.peek()) is not None and line[0] == indent and _ENTRY.match(line[1]):
            rest = line[1][1:].lstrip(" ")
            if not rest or rest.startswith("#"):
                self.row += 1
                found.append(self.below(indent))
                continue
            column = indent + len(line[1]) - len(rest)
            # What follows the dash is a block of its own, as if the dash were a space.
            self.lines[self.row] = " " * column + self.lines[self.row][column:]
            if _ENTRY.match(rest) or self.key(rest) is not None:
                found.append(self.block(column))
            else:
                found.append(self.inline(column, parent=indent))
        self.no_deeper(indent)
        return found

    def mapping(self, indent: int) -> dict[str, Any]:
        """Keys at `indent` and their values."""
        found: dict[str, Any] = {}
        while (line := self.peek()) is not None and line[0] == indent:
            split = self.key(line[1])
            if split is None:
                if _ENTRY.match(line[1]):
                    break
                self.fail("a line without a key")
            key, rest = split
            if key in found:
                self.fail("a key that stands there twice")
            if not rest or rest.startswith("#"):
                self.row += 1
                after = self.peek()
                same = after is not None and after[0] == indent and _ENTRY.match(after[1])
                found[key] = self.sequence(indent) if same else self.below(indent)
            else:
                found[key] = self.inline(indent + len(line[1]) - len(rest), parent=indent)
        self.no_deeper(indent)
        return found

    def no_deeper(self, indent: int) -> None:
        """A block is over; a line that is further in belongs to nothing."""
        line = self.peek()
        if line is not None and line[0] > indent:
            self.fail("an indentation that fits nothing")

    def below(self, indent: int) -> Any:
        """The block further in than `indent`, or None when the next line is not."""
        line = self.peek()
        return self.block(line[0]) if line is not None and line[0] > indent else None

    def key(self, text: str) -> tuple[str, str] | None:
        """The key that a line begins with and what follows its colon; None when it begins with no key."""
        if text[0] in "\"'":
            key, end = self.quoted(text, 0)
            rest = text[end:].lstrip(" ")
            if not re.match(r":(?: |$)", rest):
                return None
            return key, rest[1:].lstrip(" ")
        if text[0] in "[{":
            return None
        colon = re.search(r":(?= |$)| #", text)
        if colon is None or colon[0] != ":":
            return None
        self.plain_start(text)
        value = _scalar(text[: colon.start()].rstrip(" "))
        if not isinstance(value, str) or colon.start() > 1000:
            self.fail("a key that is no text")
        return value, text[colon.end() :].lstrip(" ")

    def plain_start(self, text: str, *, flow: str = "") -> None:
        """Refuse what cannot begin an unquoted scalar, and what begins something that is not plain."""
        if text[0] in "&*!" or re.match(r"(?:=|<{2})(?:[ :]|$)", text):
            self.fail("an anchor, an alias or a tag")
        if text[0] in ",]}#|>@`%[{\"'" or (
            text[0] in "-?:" and (not text[1:] or text[1] in f" {flow}" or (flow and text[0] != "-"))
        ):
            self.fail(f"{text[0]!r} where a value begins")

    def inline(self, column: int, *, parent: int) -> Any:
        """The value that begins at `column` of this line, in a block whose keys are at `parent`."""
        text = self.lines[self.row][column:].rstrip(" ")
        if text[0] in "[{":
            return _Flow(self, column).value()
        if text[0] in "\"'":
            value, end = self.quoted(text, 0)
            self.rest(text[end:])
            return value
        if text[0] in "|>":
            return self.literal(text, parent)
        self.plain_start(text)
        found, commented = [self.plain(text)], " #" in text
        self.row += 1
        # Further lines of the same scalar are further in; a comment or a blank line makes that doubtful.
        while self.row < len(self.lines) and (line := self.lines[self.row]).strip(" "):
            if len(line) - len(line.lstrip(" ")) <= parent or line.lstrip(" ").startswith("#"):
                break
            if line.startswith(("---", "...")):
                break
            if commented:
                self.fail("a value that goes on after a comment")
            found.append(self.plain(line.strip(" ")))
            commented = " #" in line
            self.row += 1
        if (line_after := self.peek()) is not None and line_after[0] > parent:
            self.fail("a value that goes on after a blank line or a comment")
        return _scalar(found[0]) if len(found) == 1 else " ".join(found)

    def plain(self, text: str) -> str:
        """An unquoted scalar up to a comment."""
        comment = text.find(" #")
        text = (text if comment < 0 else text[:comment]).rstrip(" ")
        if re.search(r":(?= |$)", text):
            self.fail("a colon inside a value")
        return text

    def rest(self, text: str) -> None:
        """Only a comment may follow a value on its line."""
        if (text.strip(" ") and not text.startswith(" ")) or text.strip(" ")[:1] not in ("", "#"):
            self.fail("something after a value")
        self.row += 1

    def quoted(self, text: str, start: int) -> tuple[str, int]:
        """A scalar in quotes on one line, and the position after it."""
        quote, at, found = text[start], start + 1, []
        while at < len(text):
            one = text[at]
            if one == quote == "'" and text[at + 1 : at + 2] == "'":
                found.append("'")
                at += 2
            elif one == quote:
                return "".join(found), at + 1
            elif one == "\\" and quote == '"':
                if text[at + 1 : at + 2] not in _ESCAPES or not text[at + 1 : at + 2]:
                    self.fail("an unusual escape")
                found.append(_ESCAPES[text[at + 1]])
                at += 2
            else:
                found.append(one)
                at += 1
        self.fail("quotes that do not end on their line")

    def literal(self, text: str, parent: int) -> Opaque:
        """A block of text after `|` or `>`; no path is written so, and its exact value is left open."""
        if not re.fullmatch(r"[|>][-+]?(?: +#.*)?", text):
            self.fail("an unusual head of a block of text")
        self.row += 1
        found: list[str] = []
        inner = 0
        while self.row < len(self.lines):
            line = self.lines[self.row]
            indent = len(line) - len(line.lstrip(" "))
            if not line.strip(" "):
                if line and not inner:
                    self.fail("a block of text that begins with blanks")
            elif indent <= parent:
                break
            elif indent < inner:
                self.fail("a block of text whose indentation shrinks")
            else:
                inner = inner or indent
            found.append(line)
            self.row += 1
        return Opaque("\n".join(found))


class _Flow:
    """Lists and tables in brackets, over one or more lines."""

    def __init__(self, reader: _Reader, column: int) -> None:
        self.reader, self.column = reader, column

    def value(self) -> Any:
        """The bracket that begins here; then only a comment may follow on its line."""
        found = self.node()
        reader = self.reader
        reader.rest(reader.lines[reader.row][self.column :].rstrip(" "))
        return found

    @property
    def text(self) -> str:
        """What is left of this line."""
        return self.reader.lines[self.reader.row][self.column :]

    def skip(self) -> str:
        """Move over blanks, comments and line ends; give the character that is next."""
        reader = self.reader
        while True:
            line = reader.lines[reader.row]
            while self.column < len(line) and line[self.column] == " ":
                self.column += 1
            if self.column < len(line) and line[self.column] != "#":
                return line[self.column]
            if self.column < len(line) and self.column and line[self.column - 1] != " ":
                reader.fail("a comment that begins inside a value")
            reader.row += 1
            self.column = 0
            if reader.row >= len(reader.lines):
                reader.row -= 1
                reader.fail("a bracket that does not end")
            if reader.lines[reader.row].startswith(("---", "...")):
                reader.fail("a second document inside a bracket")

    def node(self) -> Any:
        """One value: a bracket, quotes, or an unquoted word."""
        reader = self.reader
        first = self.skip()
        if first in "[{":
            reader.depth += 1
            if reader.depth > DEEPEST:
                reader.fail("too many levels")
            self.column += 1
            inner: Any = self.table() if first == "{" else self.list()
            reader.depth -= 1
            return inner
        if first in "\"'":
            quoted, length = reader.quoted(self.text, 0)
            self.column += length
            return quoted
        reader.plain_start(self.text, flow=",[]{}")
        end = re.search(r"[,\[\]{}]|:(?=[ ,\[\]{}]|$)| #|$", self.text)
        assert end is not None
        word = self.text[: end.start()].rstrip(" ")
        if "?" in word or re.search(r":(?![\w./-])", word):
            reader.fail("a colon or a question mark inside a value")
        self.column += len(word)
        return _scalar(word)

    def list(self) -> list[Any]:
        """Values between `[` and `]`."""
        found: list[Any] = []
        while self.skip() != "]":
            found.append(self.node())
            self.comma("]")
        self.column += 1
        return found

    def table(self) -> dict[str, Any]:
        """Keys and values between `{` and `}`."""
        found: dict[str, Any] = {}
        while self.skip() != "}":
            key = self.node()
            if not isinstance(key, str) or key in found:
                self.reader.fail("a key that is no text, or stands there twice")
            if not re.match(r":(?: |$)", self.text):
                self.reader.fail("a key without a colon and a space")
            self.column += 1
            if self.skip() in ",}":
                self.reader.fail("a key without a value")
            found[key] = self.node()
            self.comma("}")
        self.column += 1
        return found

    def comma(self, closer: str) -> None:
        """After a value comes a comma or the end."""
        after = self.skip()
        if after == ",":
            self.column += 1
        elif after != closer:
            self.reader.fail("a bracket without a comma or an end")
