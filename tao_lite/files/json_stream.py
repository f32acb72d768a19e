"""A JSON object of any size, read piece by piece: the items of its arrays one after the other, in bounded memory."""

import json
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from tao_lite.errors import TaoLiteError
from tao_lite.files import reading

MAX_ITEM = 2**24
"""Characters of one item, which is read as a whole."""

_BLANKS = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder()
# After what looks like a whole number, in a part of the text.
_GOES_ON = ("", ".", "e", "E")
# Where the text read so far ends inside -Infinity or \u1234, the error stands this much before the end at most.
_LONGEST_WORD = 16


class Item(NamedTuple):
    """An item of an array that is a member of the file's object, or such a member that is no array (number 0)."""

    member: str
    number: int  # in its array, from 0
    value: Any


def items(path: Path, damaged: type[TaoLiteError]) -> Iterator[Item]:
    """The items of all arrays of the file's object in their order, and its other members.

    Raises:
        damaged: as reading.text_parts; it is no JSON object, is cut off, or an item is larger than MAX_ITEM.
        ReadError: as reading.retried.
    """
    with closing(reading.text_parts(path, damaged)) as parts:
        text = _Text(path, damaged, parts)
        yield from _members(text)
        if text.next():
            raise text.wrong("something follows the object")


def _members(text: "_Text") -> Iterator[Item]:
    end = text.take("{")
    if text.next() == "}":
        end = text.take("}")
    while end != "}":
        if text.next() != '"':
            raise text.wrong('must be a name in ""')
        name = text.value()
        text.take(":")
        if text.next() == "[":
            yield from _of_array(text, name)
        else:
            yield Item(name, 0, text.value())
        end = text.take(",}")


def _of_array(text: "_Text", member: str) -> Iterator[Item]:
    end, number = text.take("["), 0
    if text.next() == "]":
        end = text.take("]")
    while end != "]":
        text.next()
        yield Item(member, number, text.value())
        number += 1
        end = text.take(",]")


class _Text:
    """A window of the text that moves on; state: what is in the window, and how far it is used up."""

    def __init__(self, path: Path, damaged: type[TaoLiteError], parts: Iterator[str]) -> None:
        self._path, self._damaged, self._parts = path, damaged, parts
        self._window, self._at = "", 0
        self._line, self._column = 1, 1
        """Of the window's first character."""

    def next(self) -> str:
        """The next character that is no blank, which stays; empty at the end."""
        while True:
            match = _BLANKS.match(self._window, self._at)
            assert match  # it matches nothing too
            self._at = match.end()
            if self._at < len(self._window) or not self._grow():
                return self._window[self._at : self._at + 1]

    def take(self, wanted: str) -> str:
        """The next character, used up, which must be one of these.

        Raises:
            damaged: it is another.
        """
        found = self.next()
        if not found:
            raise self.wrong("the file is cut off")
        if found not in wanted:
            raise self.wrong(f"found {found!r}, must be {' or '.join(wanted)}")
        self._at += 1
        return found

    def value(self) -> Any:
        """The value that begins here, used up.

        Raises:
            damaged: it is no JSON, or too large.
        """
        while True:
            problem, place = "", self._at
            try:
                value, end = _DECODER.raw_decode(self._window, self._at)
                if self._window[end : end + 1] not in _GOES_ON:
                    self._at = end
                    return value
            except json.JSONDecodeError as error:
                is_open = error.msg.startswith("Unterminated") or error.pos > len(self._window) - _LONGEST_WORD
                problem, place = "" if is_open else error.msg, error.pos
            except RecursionError:
                problem = "nested too deeply; is it the right file?"
            except ValueError as error:  # a number of more digits than Python reads
                problem = str(error)
            if problem:
                raise self.wrong(problem, place)
            if len(self._window) - self._at > MAX_ITEM:
                raise self.wrong(f"an item of more than {MAX_ITEM:,} characters; is it the right file?")
            if not self._grow():
                raise self.wrong("the file is cut off", len(self._window))

    def wrong(self, problem: str, place: int = -1) -> TaoLiteError:
        """The error that something is wrong at this place of the window, or where it is used up."""
        line, column = self._position(self._at if place < 0 else place)
        return self._damaged(f"{self._path}:{line}:{column}: is not JSON that can be read ({problem})")

    def _position(self, place: int) -> tuple[int, int]:
        lines = self._window.count("\n", 0, place)
        column = place - self._window.rfind("\n", 0, place) if lines else self._column + place
        return self._line + lines, column

    def _grow(self) -> bool:
        """Let what is used up go and double what is left, at least; false at the end of the file."""
        self._line, self._column = self._position(self._at)
        left = [self._window[self._at :]]
        wanted, size = max(2 * len(left[0]), 1), len(left[0])
        for part in self._parts:
            left.append(part)
            size += len(part)
            if size >= wanted:
                break
        has_grown = size > len(left[0])
        self._window, self._at = "".join(left), 0
        return has_grown
