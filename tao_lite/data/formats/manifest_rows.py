"""The rows of a manifest, a table as CSV or as JSON lines, each with its place and its cells as texts."""

import csv
import itertools
import json
import logging
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
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
        DataError: the file can't be read, or is no CSV.
        ReadError: it can't be read now.
    """
    with closing(reading.text_lines(path, DataError)) as lines:
        first = next(lines, "")
        read = _of_json if _is_json(first) else _of_csv
        for place, cells in read(path, itertools.chain([first], lines), report):
            if filled := {name: text for name, text in cells.items() if text}:
                yield Row(place, filled)


def is_json(path: Path) -> bool:
    """Whether the file has JSON lines.

    Raises:
        DataError: the file can't be read.
        ReadError: it can't be read now.
    """
    with closing(reading.text_lines(path, DataError)) as lines:
        return _is_json(next(lines, ""))


def columns(path: Path) -> Collection[str]:
    """The columns that there are, in their order.

    Raises:
        DataError: as rows.
        ReadError: as rows.
    """
    with closing(reading.text_lines(path, DataError)) as lines:
        first = next(lines, "")
        if not _is_json(first):
            return _header(path, first)
        found = _of_json(path, itertools.chain([first], lines), LeftOut(is_logged=False))
        return dict.fromkeys(name for _, cells in found for name in cells)


def check_columns(path: Path) -> None:
    """Refuse a table without a column that is needed, and name those that are not read.

    Raises:
        DataError: there is no path or no label; or as rows.
        ReadError: as rows.
    """
    names = columns(path)
    others = [name for name in names if name and name not in COLUMNS]
    for needed in NEEDED:
        if needed not in names:
            # As TAO calls it.
            tasks = "for a column for each of several tasks, set dataset_config.format: MULTITASK"
            raise no_column(path, needed, names, others, tasks if "fname" in names else "")
    for name in others:
        hint = did_you_mean(name, set(COLUMNS).difference(names))
        _log.log(logging.WARNING if hint else logging.INFO, "%s:1: column %s is not read%s", path, brief(name), hint)


def no_column(path: Path, needed: str, names: Collection[str], others: Iterable[str], remedy: str = "") -> DataError:
    """That the column is not there; one of the `others` may be meant."""
    near = nearest(needed, others)
    remedy = remedy or (f"if {brief(near)} is meant, name it {needed}" if near else f"name one {needed}")
    return DataError(f"{path}:1: has no column {needed}; it has {listed(map(brief, names)) or 'nothing'}; {remedy}")


_Cells = Iterator[tuple[str, Mapping[str, str]]]
"""Of each row, its place and its cells by column."""


def _is_json(first: str) -> bool:
    return first.lstrip().startswith("{")


def _of_csv(path: Path, lines: Iterator[str], report: LeftOut) -> _Cells:
    first = next(lines)
    names = _header(path, first)
    reader = csv.reader(lines, delimiter=delimiter(first), strict=True)
    while True:
        place = f"{path}:{reader.line_num + 2}"
        cells = _next(reader, place)
        if cells is None:
            return
        if any(cells) and len(cells) != len(names):
            report(place, f"has {len(cells)} cells, and the first line names {len(names)} columns", WRONG_LABEL)
        elif any(cells):
            yield place, dict(zip(names, cells, strict=True))


def _header(path: Path, line: str) -> list[str]:
    cells = _next(csv.reader([line], delimiter=delimiter(line), strict=True), f"{path}:1")
    names = [name.lower() for name in cells or ()]
    if twice := [name for name, count in Counter(names).items() if name and count > 1]:
        raise DataError(f"{path}:1: names the column {listed(twice)} more than once")
    return names


def _next(reader: Iterator[list[str]], place: str) -> list[str] | None:
    """The cells of the next row, without blanks around them; None at the end."""
    try:
        cells = next(reader, None)
    except csv.Error as error:
        why = str(error).partition(" - ")[0]
        raise DataError(f"{place}: is no CSV that can be read ({why}); mend its quotes or line ends") from error
    return None if cells is None else [cell.strip() for cell in cells]


def delimiter(line: str) -> str:
    return max(_DELIMITERS, key=line.count)


def _of_json(path: Path, lines: Iterator[str], report: LeftOut) -> _Cells:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        place = f"{path}:{number}"
        try:
            yield place, _parsed(line)
        except ValueError as error:
            report(place, str(error), WRONG_LABEL)


def _parsed(line: str) -> Mapping[str, str]:
    """The cells of a line of JSON; of columns that are not read, empty ones.

    Raises:
        ValueError: it is no JSON object, or a cell is no text and no number.
    """
    try:
        value = json.loads(line)
    except ValueError as error:
        raise ValueError(f"is not JSON ({error})") from error
    except RecursionError as error:
        raise ValueError("is nested too deeply") from error
    if not isinstance(value, dict):
        raise ValueError(f"is {brief(value)}, must be an object")
    return {name.lower(): _text(name, cell) for name, cell in value.items()}


def _text(name: str, cell: object) -> str:
    if cell is None or isinstance(cell, str):
        return cell or ""
    if type(cell) in (int, float):
        return repr(cell)
    if name.lower() in COLUMNS:
        raise ValueError(f"{name} is {brief(cell)}, must be a text or a number")
    return ""
