"""A spec in today's spelling: what `spec upgrade` writes."""

from collections import Counter
from pathlib import Path

from google.protobuf.message import Message

from tao_lite.errors import SpecError
from tao_lite.spec import dialects
from tao_lite.spec.bind import bind
from tao_lite.spec.findings import Finding, error
from tao_lite.spec.load import as_line
from tao_lite.spec.text import forms, syntax, write
from tao_lite.spec.text.syntax import Document, Field, TextFormatError


def upgraded(text: str, path: Path) -> tuple[str, list[Finding]]:
    """The text of a file, in any form, as text format in today's spelling; and a note for each conversion.

    Comments and order stay (those of YAML are lost). Both texts load to the same spec.

    Raises:
        SpecError: the text can't be parsed.
    """
    try:
        document = forms.document(text, path)
    except TextFormatError as stop:
        raise SpecError(as_line(path, error(stop.place, "", stop.text))) from stop
    before = _comments(document)
    notes = dialects.convert(document.fields)
    # Where a whole block goes, its comments may; they are the user's, so the end of the file takes them.
    document.closing += (before - _comments(document)).elements()
    new = write.text(document)
    assert _meaning(document.fields) == _meaning(syntax.parse(new)), f"{path}: upgrading it changed its meaning"
    return new, notes


def _comments(document: Document) -> Counter[str]:
    found = Counter(document.closing)
    for one in syntax.walk(document.fields):
        found.update([*one.comments, one.opening, *one.closing, one.comment])
    del found[""]
    return found


def _meaning(tree: list[Field]) -> tuple[Message, list[str]]:
    """The message, and the fields that don't fit it."""
    dialects.convert(tree)
    bound = bind(tree)
    return bound.experiment, [problem.path for problem in bound.problems]
