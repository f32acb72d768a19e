"""What `tao-lite spec check` says of files: remarks with their places, and the table of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tao_lite.errors import SpecError, printable
from tao_lite.spec.findings import COMMAND_LINE, Finding, Level
from tao_lite.spec.load import examine, read
from tao_lite.stages import preflight

ERROR, WARNING, CONVERTED = "error", "warning", "converted"
_KINDS = {Level.ERROR: ERROR, Level.BLOCKER: ERROR, Level.WARNING: WARNING, Level.NOTE: CONVERTED}


@dataclass(frozen=True, slots=True)
class Remark:
    """One thing that is said of a file. No line: the file as a whole, or a field of the command line."""

    file: str
    line: int | None
    column: int | None
    # Field, such as train_config.n_epochs; empty where it is none.
    path: str
    kind: str
    text: str

    @property
    def place(self) -> str:
        """file:line:column, as editors and terminals take it."""
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


def diagnose(path: Path, *, stage: str, overrides: Sequence[str] = ()) -> list[Remark]:
    """All that is to be said of a file for a stage, in the order of the file; what can't be read is an error."""
    try:
        found = examine(read(path), path, stage=stage, overrides=overrides, check=preflight.check)
    except SpecError as error:
        return [Remark(str(path), None, None, "", ERROR, str(error).removeprefix(f"{path}: "))]
    return [_remark(path, finding, stage) for finding in found.findings]


def table(path: Path, remarks: Sequence[Remark]) -> Iterator[str]:
    """Lines for one file: place, kind, field and text of each remark in columns, and a verdict."""
    rows = [(one.place, one.kind, one.path, one.text) for one in remarks]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (printable(cell).ljust(width) for cell, width in zip(row, widths, strict=True) if width)
        yield "  ".join(cells).rstrip()
    num_errors = sum(one.kind == ERROR for one in remarks)
    yield f"{path}: {f'{num_errors} error' + 's' * (num_errors > 1) if num_errors else 'ok'}"


def _remark(path: Path, finding: Finding, stage: str) -> Remark:
    line, column = finding.place if finding.place != COMMAND_LINE else (None, None)
    text = f"{stage} would stop here: {finding.text}" if finding.level == Level.BLOCKER else finding.text
    return Remark(str(path), line, column, finding.path, _KINDS[finding.level], text if line else f"{text} (--set)")
