"""Comments of a file that was read into other words, and the fields that they stand beside or before."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from tao_lite.spec.text.syntax import Document, Field, Scalar, walk


class Comment(NamedTuple):
    """A comment from `#` on, its line, and whether it has the line for itself."""

    line: int
    text: str
    is_alone: bool


def attach(document: Document, comments: Iterable[Comment]) -> None:
    """Put the comments, in their order, to the fields of a document without any."""
    for comment in comments:
        beside = None if comment.is_alone else _on_line(document.fields, comment.line)
        if beside:
            beside.comment = comment.text
        else:
            _before(document, comment.line).append(comment.text)


def of(document: Document) -> list[Comment]:
    """Those of text format. Lines of their own are told by the field that follows."""
    return sorted(_of(document), key=lambda comment: comment.line)


def _of(document: Document) -> Iterator[Comment]:
    last = 1
    for one in walk(document.fields):
        yield from (Comment(one.place.line - 1, text, is_alone=True) for text in one.comments if text)
        for line, text in ((one.place.line, one.opening), (one.value_place.line, one.comment)):
            if text:
                yield Comment(line, text, is_alone=False)
        last = max(last, one.value_place.line)
        yield from (Comment(_last_line(one), text, is_alone=True) for text in one.closing if text)
    yield from (Comment(last, text, is_alone=True) for text in document.closing if text)


def _last_line(block: Field) -> int:
    inner = block.value if isinstance(block.value, list) else []
    return max((one.value_place.line for one in walk(inner)), default=block.place.line)


def _on_line(fields: list[Field], line: int) -> Field | None:
    """The last value that stands on the line and has no comment yet."""
    values = [one for one in walk(fields) if one.value_place.line == line and isinstance(one.value, Scalar)]
    return values[-1] if values and not values[-1].comment else None


def _before(document: Document, line: int) -> list[str]:
    """The comment lines before the first field that stands after the line; the outermost of those."""
    after = [one for one in walk(document.fields) if one.place.line > line]
    return min(after, key=lambda one: one.place).comments if after else document.closing
