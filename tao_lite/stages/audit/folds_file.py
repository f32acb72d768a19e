"""folds.csv, which a cross-validation leaves: of each example the probabilities by the network that had not seen it."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from tao_lite.data.example import Example
from tao_lite.errors import DataError, brief, listed
from tao_lite.files import reading
from tao_lite.files.writing import csv_text

_AGAIN = "cross-validate again, or take it out of the folder"

Key = tuple[str, ...]


def key(example: Example) -> Key:
    """What a row says of the example: path, box and label."""
    return _cells((str(example.path), example.box_text, example.label))


def read(file: Path, names: Sequence[str]) -> dict[Key, list[float]]:
    """The probabilities of these classes, by the keys of examples.

    Raises:
        DataError: it lacks a class or another column, or a probability is no number from 0 to 1.
    """
    text = reading.read_text(file, DataError, errors="surrogateescape")
    rows = csv.DictReader(io.StringIO(text, newline=""))
    columns = _cells(names)
    missing = [name for name in ("path", "box", "label", *columns) if name not in (rows.fieldnames or ())]
    if missing:
        raise DataError(f"{file}:1: lacks the columns {listed(missing)}; {_AGAIN}")
    found: dict[Key, list[float]] = {}
    for row in rows:
        try:
            values = [float(row[name]) for name in columns]
        except (TypeError, ValueError):
            values = []
        if not values or not all(0 <= value <= 1 for value in values):
            given = brief([row[name] for name in columns])
            raise DataError(f"{file}:{rows.line_num}: {given} are no probabilities; {_AGAIN}")
        found[row["path"], row["box"], row["label"]] = values
    return found


def _cells(values: Sequence[str]) -> Key:
    """The words as they stand in a CSV file."""
    return tuple(next(csv.reader(io.StringIO(csv_text([values]), newline=""))))
