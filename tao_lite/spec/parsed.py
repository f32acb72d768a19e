"""A file's fields in our words, whichever of TAO's families and forms it is of."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from tao_lite.spec.findings import COMMAND_LINE, Finding, Place, note
from tao_lite.spec.text import forms, syntax
from tao_lite.spec.text.syntax import Document

if TYPE_CHECKING:
    from tao_lite.spec.text.nodes import Named

# What -r says; files of other families ask for it in their words.
_RESULTS = "results_dir"


class Parsed(NamedTuple):
    """The tree of a file, and where it is from if its family is another than ours.

    `overrides` are those of the command line that are still to be applied, in our words. `origins` says of which field
    of the family each of ours is, `assumed` which of ours are the family's defaults.
    """

    document: Document
    overrides: Sequence[str] = ()
    findings: Sequence[Finding] = ()
    family: str = ""
    origins: Mapping[str, str] = MappingProxyType({})
    assumed: frozenset[str] = frozenset()

    def named(self, findings: Sequence[Finding]) -> list[Finding]:
        """The findings with the family's name, and its own name of the field."""
        return [_named(one, self.family, self.origins) for one in findings] if self.family else list(findings)


def parsed(text: str, path: Path, overrides: Sequence[str] = ()) -> Parsed:
    """The fields of a text that came from the path, which says its form.

    Raises:
        SpecError: an override that is not field.path=value.
        TextFormatError: with the place and what was expected there.
    """
    from tao_lite.spec.families import recognise

    if not forms.is_other(path):
        document = syntax.document(text)
        family = recognise.of_text(document.fields)
        if family == recognise.OURS:
            return Parsed(document, _without_results(overrides))
        from tao_lite.spec.text import nodes

        return _converted(nodes.named(document.fields, Place(1, 1)), family, overrides)
    top = forms.named(text, path)
    try:
        family = recognise.family(top)
    except recognise.ForeignError as foreign:
        return Parsed(Document([]), findings=[foreign.finding])
    if family == recognise.OURS:
        from tao_lite.spec.text import nodes

        return Parsed(Document(nodes.fields(top)), _without_results(overrides))
    return _converted(top, family, overrides)


def other_task(text: str, path: Path) -> Finding | None:
    """Which other task of TAO a text is for that holds what we don't know; nothing if it may be ours.

    Raises:
        TextFormatError: with the place and what was expected there.
    """
    if forms.is_other(path):
        return None
    from tao_lite.spec.families import recognise

    return recognise.other_task(syntax.document(text).fields)


def _converted(top: "Named", family: str, overrides: Sequence[str]) -> Parsed:
    from tao_lite.spec.families import overriding, table
    from tao_lite.spec.families.all import FAMILIES
    from tao_lite.spec.text import nodes

    ours = []
    for override in overrides:
        if table.descriptor(override.partition("=")[0].strip()):
            ours.append(override)
        else:
            top = overriding.overridden(top, override)
    found = table.convert(FAMILIES[family], top)
    document = Document(nodes.fields(found.top))
    known = note(Place(1, 1), "", "is the family of this file; tao-lite spec upgrade writes it in our words")
    # That -r has no field needs no saying to whoever gives it.
    findings = [one for one in found.findings if (one.path, one.place) != (_RESULTS, COMMAND_LINE)]
    return Parsed(document, ours, [known, *findings], family, found.origins, found.assumed)


def _without_results(overrides: Sequence[str]) -> list[str]:
    return [override for override in overrides if override.partition("=")[0].strip() != _RESULTS]


def _named(finding: Finding, family: str, origins: Mapping[str, str]) -> Finding:
    theirs = origins.get(finding.path, "")
    name = f"{family}'s {theirs}:" if theirs and theirs != finding.path else f"{family}:"
    name = name if finding.path else family
    return Finding(finding.level, finding.path, f"{name} {finding.text}", finding.place)
