"""Comments of YAML, and the fields that they stand beside or before."""

from collections.abc import Iterator
from typing import NamedTuple

import yaml

from tao_lite.spec.text.syntax import Document, Field, Scalar, walk


class Comment(NamedTuple):
    """A comment from `#` on, its line, and whether it has the line for itself."""

    line: int
    text: str
    is_alone: bool


def attach(document: Document, text: str) -> None:
    """Put the comments of a text, which is YAML, to the fields of its document."""
    for comment in _comments(text):
        beside = None if comment.is_alone else _on_line(document.fields, comment.line)
        if beside:
            beside.comment = comment.text
        else:
            _before(document, comment.line).append(comment.text)


def _comments(text: str) -> Iterator[Comment]:
    """All comments: what stands between two tokens, for there is nothing else but blanks."""
    end, line = 0, 1
    for token in yaml.scan(text, Loader=yaml.SafeLoader):
        start = token.start_mark.index
        for offset, part in enumerate(text[end:start].split("\n")):
            words = part.strip()
            if words.startswith("#"):
                yield Comment(line + offset, words, is_alone=offset > 0 or not text[:end].rpartition("\n")[2].strip())
        if token.end_mark.index >= end:
            end, line = token.end_mark.index, token.end_mark.line + 1


def _on_line(fields: list[Field], line: int) -> Field | None:
    """The last value that stands on the line and has no comment yet."""
    values = [one for one in walk(fields) if one.value_place.line == line and isinstance(one.value, Scalar)]
    return values[-1] if values and not values[-1].comment else None


def _before(document: Document, line: int) -> list[str]:
    """The comment lines before the first field that stands after the line; the outermost of those."""
    after = [one for one in walk(document.fields) if one.place.line > line]
    return min(after, key=lambda one: one.place).comments if after else document.closing
