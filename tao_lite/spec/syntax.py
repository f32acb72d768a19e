"""Protobuf text format as a tree that remembers where each piece stands in the file.

The tree knows nothing of the schema: dialects are converted on it, `bind` turns it into a message. Grammar:
https://protobuf.dev/reference/protobuf/textformat-spec/
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from google.protobuf import text_encoding

MAX_DEPTH = 32

_TOKEN = re.compile(
    r"""(?P<space>[ \t\r\v\f\n]+|\#[^\n]*)
      | (?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
      | (?P<number>-?(?:0[xX][0-9a-fA-F]+|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?[fF]?)(?![\w.]))
      | (?P<word>-?[A-Za-z_][\w.-]*)
      | (?P<mark>[{}<>\[\]:,;])""",
    re.VERBOSE,
)
_CLOSING = {"{": "}", "<": ">", "[": "]"}


@dataclass(frozen=True, slots=True)
class Place:
    """Line and column, from 1; line 0 is the command line."""

    line: int
    column: int


COMMAND_LINE = Place(0, 0)


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong where: `path` is the field, such as train_config.n_epochs."""

    place: Place
    path: str
    text: str


@dataclass(frozen=True, slots=True)
class Scalar:
    """A value as written: a string (without its quotes), number, word, or raw (from the command line: any of them)."""

    text: str
    kind: str


@dataclass(slots=True)
class Field:
    """`name: value` or `name { fields }`."""

    name: str
    value: "Scalar | list[Field]"
    place: Place
    value_place: Place


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    place: Place


class TextFormatError(Exception):
    """The text is not text format; carries the one problem that stopped the parser."""

    def __init__(self, place: Place, text: str) -> None:
        super().__init__(text)
        self.problem = Problem(place, "", text)


def parse(text: str) -> list[Field]:
    """Tree of a whole file.

    Raises:
        TextFormatError: with the place and what was expected there.
    """
    return _Parser(text).fields(closing="", depth=0)


def parse_value(text: str, name: str) -> list[Field]:
    """Fields called `name` for a value of the command line: `5`, `{ patience: 3 }`, `[0, 1]` or a bare string."""
    if text.strip().startswith(("{", "[")):
        fields = parse(f"{name}: {text}")
        for field in _walk(fields):
            field.place = field.value_place = COMMAND_LINE
        return fields
    return [Field(name, Scalar(text, "raw"), COMMAND_LINE, COMMAND_LINE)]


def _walk(fields: list[Field]) -> Iterator[Field]:
    for field in fields:
        yield field
        if isinstance(field.value, list):
            yield from _walk(field.value)


def _tokens(text: str) -> Iterator[_Token]:
    position, line, line_start = 0, 1, 0
    while position < len(text):
        place = Place(line, position - line_start + 1)
        match = _TOKEN.match(text, position)
        if match is None:
            raise TextFormatError(place, _unreadable(text[position:]))
        kind = str(match.lastgroup)
        if kind != "space":
            yield _Token(kind, match.group(), place)
        line += match.group().count("\n")
        if "\n" in match.group():
            line_start = match.start() + match.group().rindex("\n") + 1
        position = match.end()
    yield _Token("end", "", Place(line, position - line_start + 1))


def _unreadable(rest: str) -> str:
    if rest[0] in "\"'":
        return f"the string has no closing {rest[0]} on its line"
    found = re.split(r"[\s{}\[\]:;,#]", rest[:40])[0] or rest[0]
    return f"can't read {found!r}; expected a field, a value or a brace"


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens = _tokens(text)
        self._next = next(self._tokens)

    def fields(self, closing: str, depth: int, opened: Place | None = None) -> list[Field]:
        found: list[Field] = []
        while not (self._next.text == closing and self._next.kind in ("mark", "end")):
            if self._next.kind == "end":
                where = f"opened at line {opened.line}" if opened else "of the file"
                raise TextFormatError(
                    self._next.place, f"the file ends inside the block {where}; a {closing!r} is missing"
                )
            found += self._field(depth)
            while self._next.kind == "mark" and self._next.text in ",;":
                self._take()
        return found

    def _field(self, depth: int) -> list[Field]:
        name = self._take()
        if name.kind != "word":
            raise TextFormatError(name.place, f"expected a field name, found {name.text!r}")
        has_colon = self._skip(":")
        if self._next.kind == "mark" and self._next.text == "[":
            return [Field(name.text, value, name.place, place) for value, place in self._list(depth)]
        if not has_colon and self._next.text not in ("{", "<"):
            raise TextFormatError(self._next.place, f"expected ':' or '{{' after {name.text!r}, found {self._found()}")
        place = self._next.place
        return [Field(name.text, self._value(depth), name.place, place)]

    def _list(self, depth: int) -> Iterator[tuple[Scalar | list[Field], Place]]:
        self._take()
        while not self._skip("]"):
            place = self._next.place
            yield self._value(depth), place
            self._skip(",")

    def _value(self, depth: int) -> Scalar | list[Field]:
        token = self._take()
        if token.kind == "mark" and token.text in ("{", "<"):
            if depth >= MAX_DEPTH:
                raise TextFormatError(token.place, f"blocks are nested more than {MAX_DEPTH} deep")
            inner = self.fields(_CLOSING[token.text], depth + 1, token.place)
            self._take()
            return inner
        if token.kind == "string":
            return Scalar(self._string(token), "string")
        if token.kind in ("number", "word"):
            return Scalar(token.text, token.kind)
        raise TextFormatError(
            token.place,
            f"expected a value, found {token.text!r}" if token.text else "expected a value, found the end of the file",
        )

    def _string(self, token: _Token) -> str:
        parts = [token]
        while self._next.kind == "string":
            parts.append(self._take())
        try:
            return b"".join(text_encoding.CUnescape(part.text[1:-1]) for part in parts).decode()
        except ValueError as error:
            raise TextFormatError(token.place, f"the string {token.text} has a wrong escape ({error})") from error

    def _found(self) -> str:
        return repr(self._next.text) if self._next.text else "the end of the file"

    def _skip(self, mark: str) -> bool:
        if self._next.kind == "mark" and self._next.text == mark:
            self._take()
            return True
        return False

    def _take(self) -> _Token:
        token = self._next
        if token.kind != "end":
            self._next = next(self._tokens)
        return token
