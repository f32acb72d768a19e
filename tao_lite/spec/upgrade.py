"""A spec in today's spelling: what `spec upgrade` writes."""

from collections import Counter
from pathlib import Path

from google.protobuf.message import Message

from tao_lite.errors import SpecError
from tao_lite.spec import dialects
from tao_lite.spec.bind import bind
from tao_lite.spec.findings import Finding, Level, error
from tao_lite.spec.load import as_line
from tao_lite.spec.parsed import other_task, parsed
from tao_lite.spec.text import comments, forms, syntax, write
from tao_lite.spec.text.syntax import Document, Field, TextFormatError


def upgraded(text: str, path: Path) -> tuple[str, list[Finding]]:
    """The text of a file, in any form and of any family, as text format in today's spelling; and what was changed.

    Comments and order stay. Both texts load to the same spec.

    Raises:
        SpecError: as `converted`.
    """
    document, notes = converted(text, path)
    new = write.text(document)
    assert _meaning(document.fields) == _meaning(syntax.parse(new)), f"{path}: upgrading it changed its meaning"
    return new, notes


def converted(text: str, path: Path) -> tuple[Document, list[Finding]]:
    """The tree of a file, in any form and of any family, in today's spelling; and what was changed.

    Raises:
        SpecError: the text can't be parsed, or is of another task.
    """
    try:
        given = parsed(text, path)
        foreign = None if forms.is_other(path) else other_task(text, path)
    except TextFormatError as stop:
        raise SpecError(as_line(path, error(stop.place, "", stop.text))) from stop
    wrong = [one for one in given.findings if one.level == Level.ERROR]
    if foreign or wrong:
        raise SpecError("\n".join(as_line(path, one) for one in ([foreign] if foreign else given.named(wrong))))
    document = given.document
    if path.suffix.lower() in (".yaml", ".yml"):
        from tao_lite.spec.text import yaml_comments

        comments.attach(document, yaml_comments.of(text))
    elif given.family and not forms.is_other(path):
        comments.attach(document, comments.of(syntax.document(text)))
    before = _comments(document)
    notes = given.named(sorted([*given.findings, *dialects.convert(document.fields)], key=lambda one: one.place))
    # Where a whole block goes, its comments may; they are the user's, so the end of the file takes them.
    document.closing += (before - _comments(document)).elements()
    return document, notes


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
