"""The rows of a manifest, a table as CSV or as JSON lines, each with its place and its cells as texts."""

import csv
import itertools
import json
import logging
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from tao_lite.data.left_out import WRONG_LABEL, LeftOut
from tao_lite.errors import DataError, brief, listed
from tao_lite.files import reading
from tao_lite.spec.bind import did_you_mean, nearest

NEEDED = ("path", "label")
SIDES = ("left", "top", "right", "bottom")
COLUMNS = (*NEEDED, *SIDES, "split", "group", "weight")

_DELIMITERS = ",;\t"

_log = logging.getLogger(__name__)


class Row(NamedTuple):
    """One row: where it stands (file:line), and its cells by column, those that are empty left out."""

    place: str
    cells: Mapping[str, str]


def rows(path: Path, report: LeftOut) -> Iterator[Row]:
    """The rows that are not empty; those that can't be read are reported.

    The columns of CSV, parted by commas, semicolons or tabs, are named by the first line; those of JSON lines by each.

    Raises:
        DataError: the file can't be read, has no columns path and label, or is no CSV.
        ReadError: it can't be read now.
    """
    with closing(reading.text_lines(path, DataError)) as lines:
        first = next(lines, "")
        read = _of_json if first.lstrip().startswith("{") else _of_csv
        yield from (row for row in read(path, itertools.chain([first], lines), report) if row.cells)


def columns(path: Path) -> Collection[str]:
    """The columns of the first line.

    Raises:
        DataError: as rows.
        ReadError: as rows.
    """
    first = next(reading.text_lines(path, DataError), "")
    if first.lstrip().startswith("{"):
        return next((row.cells for row in _of_json(path, iter([first]), LeftOut(is_logged=False))), {})
    return _header(path, first)


def _of_csv(path: Path, lines: Iterator[str], report: LeftOut) -> Iterator[Row]:
    first = next(lines)
    names = _header(path, first)
    _refuse_missing(path, names)
    reader = csv.reader(itertools.chain([first], lines), delimiter=_delimiter(first), strict=True)
    next(reader)
    while True:
        place = f"{path}:{reader.line_num + 1}"
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise DataError(f"{place}: is no CSV that can be read ({error}); mend its quotes or line ends") from error
        if cells is None:
            return
        texts = [cell.strip() for cell in cells]
        if any(texts) and len(texts) != len(names):
            report(place, f"has {len(texts)} cells, and the first line names {len(names)} columns", WRONG_LABEL)
        elif any(texts):
            yield Row(place, {name: text for name, text in zip(names, texts, strict=True) if text})


def _header(path: Path, line: str) -> list[str]:
    names = [name.strip().lower() for name in next(csv.reader([line], delimiter=_delimiter(line)), [])]
    if twice := [name for name, count in Counter(names).items() if name and count > 1]:
        raise DataError(f"{path}:1: names the column {listed(twice)} more than once")
    return names


def _delimiter(line: str) -> str:
    return max(_DELIMITERS, key=line.count)


def _of_json(path: Path, lines: Iterator[str], report: LeftOut) -> Iterator[Row]:
    is_first = True
    for number, line in enumerate(lines, 1):
        place = f"{path}:{number}"
        if not line.strip():
            continue
        try:
            cells = _cells(line)
        except (ValueError, RecursionError) as error:
            report(place, str(error), WRONG_LABEL)
            continue
        if is_first:
            _refuse_missing(path, cells)
            is_first = False
        yield Row(place, cells)


def _cells(line: str) -> dict[str, str]:
    """The cells of a line of JSON.

    Raises:
        ValueError: it is none, or holds what is no text and no number.
    """
    try:
        value = json.loads(line)
    except ValueError as error:
        raise ValueError(f"is not JSON ({error})") from error
    if not isinstance(value, dict):
        raise ValueError(f"is {brief(value)}, must be an object")
    return {name.lower(): text for name, cell in value.items() if (text := _text(name, cell))}


def _text(name: str, cell: object) -> str:
    if cell is None or isinstance(cell, str):
        return cell or ""
    if type(cell) in (int, float):
        return repr(cell)
    if name.lower() in COLUMNS:
        raise ValueError(f"{name} is {brief(cell)}, must be a text or a number")
    return ""


def _refuse_missing(path: Path, names: Collection[str]) -> None:
    """Refuse a table without a column that is needed.

    Raises:
        DataError: there is no path or no label.
    """
    for needed in NEEDED:
        if needed not in names:
            near = nearest(needed, set(names).difference(COLUMNS))
            remedy = f"; if {brief(near)} is meant, name it {needed}" if near else f"; name one {needed}"
            found = listed(map(brief, names)) or "nothing"
            raise DataError(f"{path}:1: has no column {needed}; it has {found}{remedy}")


def log_unread(path: Path) -> None:
    """Name the columns of the first line that are not read.

    Raises:
        DataError: as rows.
        ReadError: as rows.
    """
    names = columns(path)
    for name in [name for name in names if name and name not in COLUMNS]:
        hint = did_you_mean(name, set(COLUMNS).difference(names))
        _log.log(logging.WARNING if hint else logging.INFO, "%s:1: column %s is not read%s", path, brief(name), hint)
