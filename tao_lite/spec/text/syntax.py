"""Protobuf text format as a tree that remembers the comments and where each piece stands in the file.

The tree knows nothing of the schema: dialects are converted on it, `bind` turns it into a message, `write` into text
again. Grammar: https://protobuf.dev/reference/protobuf/textformat-spec/
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from google.protobuf import text_encoding

from tao_lite.spec.findings import COMMAND_LINE, Place

MAX_DEPTH = 32
# Words, marks, comments and blanks; so many are read in half a second.
MAX_PIECES = 100_000

_TOKEN = re.compile(
    r"""(?P<space>[ \t\r\v\f\n]+)
      | (?P<comment>\#[^\n]*)
      | (?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
      | (?P<number>-?(?:0[xX][0-9a-fA-F]+|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?[fF]?)(?![\w.]))
      | (?P<word>-?[A-Za-z_][\w.-]*)
      | (?P<mark>[{}<>\[\]:,;])""",
    re.VERBOSE,
)
_CLOSING = {"{": "}", "<": ">", "[": "]"}


@dataclass(frozen=True, slots=True)
class Scalar:
    """A value as written: a string (without its quotes), number, word, or raw (from the command line: any of them)."""

    text: str
    kind: str


@dataclass(slots=True)
class Field:
    """`name: value` or `name { fields }`, with its comments. Equal to another that says the same elsewhere.

    The comments are whole, from `#`; an empty one is an empty line. Items of one list share their `place`.
    """

    name: str
    value: "Scalar | list[Field]"
    place: Place = field(compare=False)
    value_place: Place = field(compare=False)
    # Lines before the field, and the end of its last line.
    comments: list[str] = field(default_factory=list)
    comment: str = ""
    # Of a block: the end of its first line, and the lines before its closing brace.
    opening: str = ""
    closing: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Document:
    """A whole file: its fields and the comment lines after the last one."""

    fields: list[Field]
    closing: list[str] = field(default_factory=list)


class TextFormatError(Exception):
    """The text is not text format; carries the place and the problem that stopped the parser."""

    def __init__(self, place: Place, text: str) -> None:
        super().__init__(text)
        self.place, self.text = place, text


def document(text: str, *, max_pieces: int = MAX_PIECES) -> Document:
    """Tree of a whole file, the comments at its end included.

    Raises:
        TextFormatError: with the place and what was expected there.
    """
    parser = _Parser(text, max_pieces)
    fields = parser.fields(closing="", depth=0)
    return Document(fields, parser.comments_before_closing(bool(fields)))


def parse(text: str, *, max_pieces: int = MAX_PIECES) -> list[Field]:
    """Fields of a whole file.

    Raises:
        TextFormatError: with the place and what was expected there.
    """
    return document(text, max_pieces=max_pieces).fields


def parse_value(text: str, name: str) -> list[Field]:
    """Fields called `name` for a value of the command line: `5`, `{ patience: 3 }`, `[0, 1]` or a bare string."""
    if text.strip().startswith(("{", "[")):
        fields = parse(f"{name}: {text}")
        for one in walk(fields):
            one.place = one.value_place = COMMAND_LINE
        return fields
    return [Field(name, Scalar(text, "raw"), COMMAND_LINE, COMMAND_LINE)]


def walk(fields: list[Field]) -> Iterator[Field]:
    """Every field, those inside blocks included, in the order of the file."""
    for one in fields:
        yield one
        if isinstance(one.value, list):
            yield from walk(one.value)


class Token(NamedTuple):
    kind: str
    text: str
    place: Place
    # Line and text of each comment since the token before; an empty text is an empty line.
    comments: list[tuple[int, str]]


def tokens(text: str, max_pieces: int = MAX_PIECES) -> Iterator[Token]:
    position, line, line_start, num_pieces = 0, 1, 0, 0
    comments: list[tuple[int, str]] = []
    while position < len(text):
        match = _TOKEN.match(text, position)
        num_pieces += 1
        if num_pieces > max_pieces:
            raise TextFormatError(
                Place(line, position - line_start + 1), f"{max_pieces:,} words up to here; is it the right file?"
            )
        if match is None:
            raise TextFormatError(Place(line, position - line_start + 1), _unreadable(text[position:]))
        kind, found = str(match.lastgroup), match.group()
        if kind == "space":
            lines = found.count("\n")
            if lines:
                line += lines
                line_start = position + found.rindex("\n") + 1
            if lines > 1:
                comments.append((line - 1, ""))
        elif kind == "comment":
            comments.append((line, found.rstrip()))
        else:
            yield Token(kind, found, Place(line, position - line_start + 1), comments)
            comments = []
        position = match.end()
    yield Token("end", "", Place(line, position - line_start + 1), comments)


def _unreadable(rest: str) -> str:
    if rest[0] in "\"'":
        return f"the string has no closing {rest[0]} on its line"
    found = re.split(r"[\s{}\[\]:;,#]", rest[:40])[0] or rest[0]
    return f"can't read {found!r}; expected a field, a value or a brace"


class _Parser:
    def __init__(self, text: str, max_pieces: int) -> None:
        self._tokens = tokens(text, max_pieces)
        self._next = next(self._tokens)
        # Line of the last token taken, and comments that stood inside a field where no form of ours has a place.
        self._line = 0
        self._stray: list[str] = []

    def fields(self, closing: str, depth: int, opened: Place | None = None) -> list[Field]:
        found: list[Field] = []
        while not (self._next.text == closing and self._next.kind in ("mark", "end")):
            if self._next.kind == "end":
                where = f"opened at line {opened.line}" if opened else "of the file"
                raise TextFormatError(
                    self._next.place, f"the file ends inside the block {where}; a {closing!r} is missing"
                )
            comments = self._comments(after_field=bool(found))
            fields = self._field(depth)
            while self._next.kind == "mark" and self._next.text in ",;":
                self._end_comment(fields)
                self._take()
            self._end_comment(fields)
            if fields:
                fields[0].comments[:0] = comments
            else:
                self._stray[:0] = comments
            found += fields
        return found

    def comments_before_closing(self, after_field: bool) -> list[str]:
        """Comment lines between the last field and the end of its block."""
        comments = self._comments(after_field=after_field)
        while comments and not comments[-1]:
            comments.pop()
        return comments

    def _field(self, depth: int) -> list[Field]:
        name = self._take()
        if name.kind != "word":
            raise TextFormatError(name.place, f"expected a field name, found {name.text!r}")
        has_colon = self._skip(":")
        if self._next.kind == "mark" and self._next.text == "[":
            return self._list(name, depth)
        if not has_colon and self._next.text not in ("{", "<"):
            raise TextFormatError(self._next.place, f"expected ':' or '{{' after {name.text!r}, found {self._found()}")
        return [self._filled(name, depth)]

    def _list(self, name: Token, depth: int) -> list[Field]:
        self._take()
        items: list[Field] = []
        while not self._skip("]"):
            comments = self._comments(after_field=False)
            items.append(self._filled(name, depth))
            items[-1].comments[:0] = comments
            self._end_comment(items)
            if self._skip(","):
                self._end_comment(items)
        return items

    def _filled(self, name: Token, depth: int) -> Field:
        """The field of that name with the value that comes next."""
        one = Field(name.text, Scalar("", "word"), name.place, self._next.place)
        token = self._take()
        if token.kind == "mark" and token.text in ("{", "<"):
            self._fill_block(one, token, depth)
        elif token.kind == "string":
            one.value = Scalar(self._string(token), "string")
        elif token.kind in ("number", "word"):
            one.value = Scalar(token.text, token.kind)
        else:
            found = repr(token.text) if token.text else "the end of the file"
            raise TextFormatError(token.place, f"expected a value, found {found}")
        one.comments += self._stray
        self._stray = []
        return one

    def _fill_block(self, one: Field, brace: Token, depth: int) -> None:
        if depth >= MAX_DEPTH:
            raise TextFormatError(brace.place, f"blocks are nested more than {MAX_DEPTH} deep")
        one.comments, self._stray = self._stray, []
        one.opening = self._comment_on_this_line()
        one.value = self.fields(_CLOSING[brace.text], depth + 1, brace.place)
        one.closing = self.comments_before_closing(bool(one.value))
        self._take()

    def _string(self, token: Token) -> str:
        parts = [token]
        while self._next.kind == "string":
            parts.append(self._take())
        # Python's own reader, which CUnescape uses, lets unknown escapes pass with a warning.
        unknown = re.search(r"(?<!\\)(?:\\\\)*(\\[^abfnrtvxXuU0-7'\"?\\])", "".join(part.text for part in parts))
        if unknown:
            raise TextFormatError(token.place, f"the string {token.text} has the unknown escape {unknown[1]}")
        try:
            return b"".join(text_encoding.CUnescape(part.text[1:-1]) for part in parts).decode()
        except ValueError as error:
            raise TextFormatError(token.place, f"the string {token.text} has a wrong escape ({error})") from error

    def _comments(self, *, after_field: bool) -> list[str]:
        """The comment lines before the next token, now claimed, without repeated empty lines."""
        claimed = self._stray + [text for _, text in self._next.comments]
        self._stray = []
        self._next.comments.clear()
        last = "" if not after_field else "#"
        kept = []
        for text in claimed:
            if text or last:
                kept.append(text)
            last = text
        return kept

    def _comment_on_this_line(self) -> str:
        """The comment that follows the last token on its line, now claimed; nothing if there is none."""
        comments = self._next.comments
        return comments.pop(0)[1] if comments and comments[0][1] and comments[0][0] == self._line else ""

    def _end_comment(self, fields: list[Field]) -> None:
        if fields and not fields[-1].comment:
            fields[-1].comment = self._comment_on_this_line()

    def _found(self) -> str:
        return repr(self._next.text) if self._next.text else "the end of the file"

    def _skip(self, mark: str) -> bool:
        if self._next.kind == "mark" and self._next.text == mark:
            self._take()
            return True
        return False

    def _take(self) -> Token:
        token = self._next
        self._stray += [text for _, text in token.comments if text]
        self._line = token.place.line
        if token.kind != "end":
            self._next = next(self._tokens)
        return token
