"""The forms of a spec file - text format, JSON, YAML - recognised by the suffix and read into one tree."""

from pathlib import Path

from tao_lite.spec.text import syntax
from tao_lite.spec.text.syntax import Document

_OTHERS = (".json", ".yaml", ".yml")


def is_other(path: Path) -> bool:
    """Whether the file is, by its suffix, another form than text format."""
    return path.suffix.lower() in _OTHERS


def document(text: str, path: Path) -> Document:
    """Tree of a whole file. Comments are kept in text format only.

    Raises:
        TextFormatError: with the place and what was expected there.
    """
    if not is_other(path):
        return syntax.document(text)
    from tao_lite.spec.text import nodes

    if path.suffix.lower() == ".json":
        from tao_lite.spec.text import json_form

        return Document(nodes.fields(json_form.parse(text)))
    from tao_lite.spec.text import yaml_form

    return Document(nodes.fields(yaml_form.parse(text)))
