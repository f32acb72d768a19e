"""Small moves on a parsed tree: find fields, take one out and keep its comments."""

from collections.abc import Iterator, Sequence

from tao_lite.spec.text.syntax import Field, Scalar

# A field whose value is a list of fields; `find` treats any other as empty.
Block = Field


def find(block: Block, name: str = "") -> Iterator[Field]:
    """The fields of a block, by name if one is given; the block may be changed meanwhile."""
    inner = list(block.value) if isinstance(block.value, list) else []
    yield from (one for one in inner if not name or one.name == name)


def drop(block: Block, one: Field, comments: Sequence[str] | None = None) -> None:
    """Take the field out of the block; its comments go to what follows."""
    assert isinstance(block.value, list)
    index = index_of(one, block.value)
    del block.value[index]
    kept = [comment for comment in ([*one.comments, one.comment] if comments is None else comments) if comment]
    if index < len(block.value):
        block.value[index].comments[:0] = kept
    else:
        block.closing[:0] = kept


def index_of(one: Field, fields: Sequence[Field]) -> int:
    """Position of this very field; fields that say the same are equal."""
    return next(index for index, other in enumerate(fields) if other is one)


def scalar_text(one: Field) -> str:
    """Text of the field's value; nothing for a block."""
    return one.value.text if isinstance(one.value, Scalar) else ""
