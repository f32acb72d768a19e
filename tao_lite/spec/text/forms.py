"""The forms of a spec file - text format, JSON, YAML - recognised by the suffix and read into one tree."""

from pathlib import Path
from typing import TYPE_CHECKING

from tao_lite.spec.text import syntax
from tao_lite.spec.text.syntax import Document

if TYPE_CHECKING:
    from tao_lite.spec.text.nodes import Named

_OTHERS = (".json", ".yaml", ".yml")


def is_other(path: Path) -> bool:
    """Whether the file is, by its suffix, another form than text format."""
    return path.suffix.lower() in _OTHERS


def document(text: str, path: Path) -> Document:
    """Tree of a whole file in our words. Comments are kept in text format only.

    Raises:
        TextFormatError: with the place and what was expected there.
    """
    if not is_other(path):
        return syntax.document(text)
    from tao_lite.spec.text import nodes

    return Document(nodes.fields(named(text, path)))


def named(text: str, path: Path) -> "Named":
    """Values by name of a JSON or YAML file, whatever their words mean.

    Raises:
        TextFormatError: with the place and what was expected there.
    """
    if path.suffix.lower() == ".json":
        from tao_lite.spec.text import json_form

        return json_form.parse(text)
    from tao_lite.spec.text import yaml_form

    return yaml_form.parse(text)
