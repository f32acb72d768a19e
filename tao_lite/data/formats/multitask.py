"""Pictures with a label for each of several tasks: a CSV file with a column for the pictures and one for each task."""

import csv
import itertools
import logging
import os
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from tao_lite.data.example import Example, MultitaskOptions, Options
from tao_lite.data.formats.class_names import usable
from tao_lite.data.formats.inside import Inside
from tao_lite.data.formats.listing import SUFFIXES, suffix
from tao_lite.data.formats.manifest_rows import delimiter
from tao_lite.data.left_out import NO_LABEL, OUTSIDE, WRONG_LABEL
from tao_lite.errors import DataError, brief, listed
from tao_lite.files import reading
from tao_lite.spec.bind import did_you_mean
from tao_lite.spec.tasks import OF, ordered

BETWEEN = "|"
"""Parts the classes of a picture in a task of several."""

_FIELD = "dataset_config.multitask"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Row:
    """A line of the file below the first, and where it begins."""

    place: str
    cells: Sequence[str]


def read(root: Path, options: Options) -> list[Example]:
    """One example for each line of the CSV file `root` that has a label, in their order.

    The columns of training data have to hold labels; others may hold none, and may be missing.

    Raises:
        DataError: the file can't be read or is no such CSV file, or no line is left.
    """
    rows = _rows(root)
    first = next(rows, None)
    if first is None or not first.cells:
        raise DataError(f"{root}: is empty; must have a first line that names the columns, such as fname,color,size")
    columns = _columns(first, options)
    reader = _Reader(root, columns, options)
    examples = [example for row in rows for example in reader.examples(row)]
    if not examples:
        raise DataError(f"{options.name}: no line of {root} is left; left out: {options.report}")
    reader.verify(first.place, examples)
    _log.info("%s: read %d pictures of %d tasks", root, len(examples), len(columns))
    return examples


def class_names(_: Path, __: Options, labels: Collection[str]) -> tuple[str, ...]:
    """The classes of all tasks in the order of the network's outputs."""
    return ordered(list(labels))


class _Reader:
    """Makes examples of lines; it keeps which pictures there were, and in which columns classes seem to be several."""

    def __init__(self, path: Path, columns: Mapping[int, str], options: Options) -> None:
        """columns: the tasks by the number of their column."""
        self._path, self._columns, self._options = path, columns, options
        given = options.multitask.image_dir
        self._inside = Inside(Path(os.path.normpath(given or path.parent)))
        self._lines: dict[str, str] = {}
        self._joined: Counter[str] = Counter()

    def examples(self, row: _Row) -> Iterator[Example]:
        """The example of a line; none where it can't be used, which is reported, and of an empty line."""
        if not any(row.cells):
            return
        report = self._options.report
        name, labels = row.cells[0], []
        try:
            self._refuse_other_length(row)
            labels = [
                label for column, task in self._columns.items() for label in self._labels(task, row.cells[column])
            ]
            self._refuse_again(name, row.place)
        except ValueError as error:
            report(row.place, str(error), WRONG_LABEL)
            return
        try:
            picture = self._inside.path(name)
        except ValueError as error:
            report(row.place, str(error), OUTSIDE)
            return
        if not labels:
            report.count(NO_LABEL, place=row.place)
        elif not os.path.isfile(picture):  # noqa: PTH113 - Path.is_file raises for a name that is too long
            report(row.place, f"there is no picture {picture}; {_FIELD}.image_dir says where pictures are")
        else:
            yield Example(
                picture, "", str(picture.relative_to(self._inside.root)), labels=tuple(labels), place=row.place
            )

    def verify(self, place: str, examples: Sequence[Example]) -> None:
        """Say what looks wrong in all lines together.

        Raises:
            DataError: a column of training data holds no label.
        """
        for task, number in self._joined.items():
            _log.warning(
                "%s: in %d lines %s has a class with %s; if these are several classes, set %s.multi_label: %s",
                *(self._path, number, task, BETWEEN, _FIELD, f'"{task}"'),
            )
        known = {label.partition(OF)[0] for example in examples for label in example.labels}
        empty = [task for task in self._columns.values() if task not in known]
        if empty and self._options.split == "train":
            raise DataError(
                f"{place}: the column {empty[0]} holds no label; fill it, or name the others in {_FIELD}.tasks"
            )

    def _refuse_other_length(self, row: _Row) -> None:
        expected = max(self._columns) + 1
        if len(row.cells) < expected:
            raise ValueError(f"{len(row.cells)} cells, must be {expected} or more, as in the first line")

    def _refuse_again(self, name: str, place: str) -> None:
        first = self._lines.setdefault(name, place)
        if first != place:
            raise ValueError(f"{name} is there a second time; the first is {first}")

    def _labels(self, task: str, cell: str) -> list[str]:
        """The labels in a cell.

        Raises:
            ValueError: a name can't be one of a class.
        """
        if task not in self._options.multitask.multi_label:
            self._joined.update([task] if BETWEEN in cell else [])
            return [f"{task}{OF}{usable(cell)}"] if cell else []
        names = dict.fromkeys(part.strip() for part in cell.split(BETWEEN)) if cell else {}
        found = [f"{task}{OF}{usable(name)}" for name in names if name]
        return found or [f"{task}{OF}" for _ in names]


def _rows(path: Path) -> Iterator[_Row]:
    """The lines, blanks around their cells left out.

    Raises:
        DataError: it can't be read, or is no CSV file.
    """
    with closing(reading.text_lines(path, DataError)) as lines:
        first = next(lines, "")
        reader = csv.reader(itertools.chain([first], lines), delimiter=delimiter(first), strict=True)
        number = 1
        try:
            for cells in reader:
                yield _Row(f"{path}:{number}", [cell.strip() for cell in cells])
                number = reader.line_num + 1
        except csv.Error as error:
            raise DataError(f"{path}:{number}: is no line of a CSV file ({error})") from error


def _columns(first: _Row, options: Options) -> dict[int, str]:
    """The tasks by the number of their column, from the line that names the columns.

    Raises:
        DataError: it names none, or one twice, or is missing; or a task of the spec is not there.
    """
    names, place = first.cells, first.place
    if names and suffix(names[0]) in SUFFIXES:
        remedy = "add a first line such as fname,color,size"
        raise DataError(
            f"{place}: {brief(names[0])} is a picture, where the first line has to name the columns; {remedy}"
        )
    if len(names) < 2:
        raise DataError(f"{place}: names {len(names)} column, must name one for the pictures and one for each task")
    for number, name in enumerate(names):
        _refuse_column(name, number, names, place)
    return _chosen(
        {number: name for number, name in enumerate(names) if number}, options.multitask, place, options.split
    )


def _refuse_column(name: str, number: int, names: Sequence[str], place: str) -> None:
    if not name:
        raise DataError(f"{place}: column {number + 1} has no name; name it, or take it out")
    if names.index(name) != number:
        raise DataError(f"{place}: {name} is the name of columns {names.index(name) + 1} and {number + 1}; rename one")
    if number and OF in name:
        raise DataError(f"{place}: the name {brief(name)} has a {OF}, which parts a task from its classes; rename it")
    try:
        usable(name)
    except ValueError as error:
        raise DataError(f"{place}: {str(error).replace('the class', 'the column')}") from error


def _chosen(columns: dict[int, str], config: MultitaskOptions, place: str, split: str) -> dict[int, str]:
    """The columns that the spec takes as tasks; of training data it has to name none that is not there."""
    there = set(columns.values())
    for field, tasks in (("tasks", config.tasks), ("multi_label", config.multi_label)):
        missing = [task for task in tasks if task not in there]
        if missing and split == "train":
            found = f"there are {listed(columns.values())}{did_you_mean(missing[0], there)}"
            raise DataError(f"{place}: has no column {missing[0]}, which {_FIELD}.{field} names; {found}")
    chosen = {number: name for number, name in columns.items() if not config.tasks or name in config.tasks}
    if not chosen:
        raise DataError(
            f"{place}: has no column of the tasks {listed(config.tasks)}; there are {listed(columns.values())}"
        )
    return chosen
