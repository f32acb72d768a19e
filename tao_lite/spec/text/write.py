"""Tree to text in one form: two spaces a level, `name: value`, `name { ... }`; comments, order and values as they are.

A block that stood on one line stays there while it fits; so does a list.
"""

import re
from collections.abc import Iterator, Sequence

from tao_lite.spec.text.syntax import Document, Field, Scalar, walk

WIDTH = 100

_INDENT = "  "
# Words and numbers, as syntax reads them.
_BARE = re.compile(r"-?(?:[A-Za-z_][\w.-]*|0[xX][0-9a-fA-F]+|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?[fF]?)")
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def text(document: Document) -> str:
    """The whole file; reading it again gives the same document."""
    lines = [*_block(document.fields, ""), *_comments(document.closing, "")]
    while lines and not lines[0]:
        del lines[0]
    return "".join(f"{line}\n" for line in lines)


def scalar(value: Scalar) -> str:
    """A value as it stands in a file."""
    if value.kind == "string" or not _BARE.fullmatch(value.text):
        return '"' + "".join(map(_escaped, value.text)) + '"'
    return value.text


def _escaped(character: str) -> str:
    if character < " " or character == "\x7f":
        return _ESCAPES.get(character, f"\\{ord(character):03o}")
    return _ESCAPES.get(character, character)


def _block(fields: Sequence[Field], indent: str) -> Iterator[str]:
    """Lines of the fields, those of one list together."""
    for items in _lists(fields):
        yield from _comments(items[0].comments, indent)
        yield from _field(items, indent)


def _lists(fields: Sequence[Field]) -> Iterator[list[Field]]:
    """Each field by itself, or with the others of the list in which it stood."""
    items: list[Field] = []
    for one in fields:
        if items and not _continues(items[-1], one):
            yield items
            items = []
        items.append(one)
    if items:
        yield items


def _continues(before: Field, one: Field) -> bool:
    in_one_list = (before.name, before.place) == (one.name, one.place)
    plain = isinstance(before.value, Scalar) and isinstance(one.value, Scalar)
    return in_one_list and plain and not before.comment and not one.comments


def _field(items: list[Field], indent: str) -> Iterator[str]:
    one = items[0]
    end = _after(items[-1].comment)
    if not isinstance(one.value, list):
        in_line = indent + _in_line(items)
        if len(in_line) <= WIDTH or len(items) == 1:
            yield in_line + end
        else:
            yield from (f"{indent}{one.name}: [", *_one_per_line(items, indent + _INDENT), f"{indent}]{end}")
    elif _stood_on_one_line(one) and len(indent + _in_line(items)) <= WIDTH:
        yield indent + _in_line(items) + end
    else:
        inner = [*_block(one.value, indent + _INDENT), *_comments(one.closing, indent + _INDENT)]
        yield f"{indent}{one.name} {{" + _after(one.opening)
        yield from inner[1:] if inner and not inner[0] else inner
        yield f"{indent}}}{end}"


def _in_line(items: list[Field]) -> str:
    one = items[0]
    if isinstance(one.value, list):
        inner = " ".join(_in_line(group) for group in _lists(one.value))
        return f"{one.name} {{ {inner} }}" if inner else f"{one.name} {{ }}"
    values = ", ".join(scalar(item.value) for item in items if isinstance(item.value, Scalar))
    return f"{one.name}: [{values}]" if len(items) > 1 else f"{one.name}: {values}"


def _one_per_line(items: list[Field], indent: str) -> Iterator[str]:
    for item in items:
        if isinstance(item.value, Scalar):
            yield f"{indent}{scalar(item.value)}{',' if item is not items[-1] else ''}"


def _stood_on_one_line(block: Field) -> bool:
    inner = list(walk(block.value)) if isinstance(block.value, list) else []
    commented = (
        block.opening
        or block.closing
        or any(one.comments or one.comment or one.opening or one.closing for one in inner)
    )
    return not commented and all(one.place.line == block.place.line for one in inner)


def _comments(comments: Sequence[str], indent: str) -> Iterator[str]:
    yield from (f"{indent}{comment}" if comment else "" for comment in comments)


def _after(comment: str) -> str:
    return f"  {comment}" if comment else ""
