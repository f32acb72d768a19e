"""The user's spec with other values: order and comments stay."""

from collections.abc import Iterable
from pathlib import Path

from tao_lite.spec import load
from tao_lite.spec.text import write
from tao_lite.spec.text.syntax import Field, parse_value
from tao_lite.spec.upgrade import converted


def text(path: Path, settings: Iterable[str]) -> str:
    """The spec in the file as text format, with `field=value` settings in it."""
    document, _ = converted(load.read(path), path)
    for setting in settings:
        dotted, _, value = setting.partition("=")
        *blocks, name = dotted.strip().split(".")
        _put(document.fields, blocks, parse_value(value, name))
    return write.text(document)


def _put(fields: list[Field], blocks: list[str], new: list[Field]) -> None:
    """Let the fields of a block say the new ones; where a field stood, its place and its comments stay."""
    for block in blocks:
        inner = next((one for one in fields if one.name == block and isinstance(one.value, list)), None)
        if inner is None:
            place = fields[-1].place if fields else new[0].place
            inner = Field(block, [], place, place)
            fields.append(inner)
        assert isinstance(inner.value, list)
        fields = inner.value
    old = [one for one in fields if one.name == new[0].name]
    if len(old) == len(new) == 1:
        old[0].value = new[0].value
        return
    for one in old:
        fields.remove(one)
    for one in new:
        one.place = one.value_place = fields[-1].place if fields else one.place
    fields += new
