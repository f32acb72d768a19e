"""Manifests: a table names the pictures, their classes and, where it likes, boxes, splits, groups and weights."""

import logging
import math
import os
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from tao_lite.data.example import Example, Options, Split
from tao_lite.data.formats import split_folders
from tao_lite.data.formats.inside import Inside
from tao_lite.data.formats.manifest_rows import NEEDED, SIDES, Row, check_columns, columns, rows
from tao_lite.data.formats.objects import Box, Chooser, LabelledObject, checked_box
from tao_lite.data.left_out import WRONG_LABEL, LeftOut
from tao_lite.errors import DataError, brief, listed
from tao_lite.files.noting import stamp

FILE_NAMES = ("manifest.csv", "manifest.tsv", "manifest.jsonl", "manifest.ndjson")

_log = logging.getLogger(__name__)


class _Labelled(NamedTuple):
    """What a row says: the picture, its class, and the part of it that is meant, if not all."""

    place: str
    frame: Example
    label: str
    box: Box | None


def read(root: Path, options: Options) -> list[Example]:
    """One example per row of the split in `options.split`, in their order; all rows, where none says a split.

    A row without split is of the training. Rows with a box pass the filters of `options.kitti`. The group of a row that
    says none is its path.

    Raises:
        DataError: the table can't be used, a group is torn between splits, or no row is left.
    """
    path = _file_at(root)
    if path is None:
        raise DataError(f"{options.name}: {root} is no manifest and holds none ({', '.join(FILE_NAMES)})")
    check_columns(path)
    split = _asked(path, options)
    chooser = Chooser(options)
    runs = groupby(_labelled(path, split, options.report), key=lambda one: (one.frame, one.box is None))
    found = [example for (frame, _), run in runs for example in _examples(frame, list(run), chooser, options.report)]
    chooser.log_unmatched()
    if not found:
        raise chooser.nothing_left(f"the rows of {path}{f' for {split}' if split else ''}")
    _log.info("%s: read %d examples%s", path, len(found), f" for {split}" if split else "")
    return found


def is_at(root: Path) -> bool:
    """Whether `root` is a manifest by its suffix, or holds one by its name."""
    path = _file_at(root)
    return path is not None and path.suffix.lower() in {Path(name).suffix for name in FILE_NAMES}


def split_names(root: Path) -> list[Split]:
    """The splits that the rows say; none where none says one.

    Raises:
        DataError: the table can't be used, or a group is torn between splits.
    """
    path = _file_at(root)
    found = _splits(path) if path else ()
    return [split for split in split_folders.ALIASES if split in found]


def _file_at(root: Path) -> Path | None:
    return root if root.is_file() else next((root / name for name in FILE_NAMES if (root / name).is_file()), None)


def _asked(path: Path, options: Options) -> Split | None:
    """The split to read, or None for all rows.

    Raises:
        DataError: no row is of it.
    """
    found = _splits(path)
    if not found or options.split in found:
        return options.split if found else None
    if options.split == "test" and "val" in found:
        _log.info("%s: has no test split; took val", path)
        return "val"
    raise DataError(f"{options.name}: {path} has no rows for {options.split}, only for {', '.join(sorted(found))}")


def _splits(path: Path) -> Collection[Split]:
    """The splits that the rows say, which train then is too if a row says none.

    Raises:
        DataError: a group or a picture is in several.
    """
    return _splits_at(path, stamp(path))


@lru_cache(maxsize=8)
def _splits_at(path: Path, _: int) -> Collection[Split]:
    """As `_splits`, for the file in the state of that stamp: who reads a manifest asks several times."""
    if "split" not in columns(path):
        return ()
    sides: dict[str, tuple[Split, str]] = {}
    is_divided = False
    for row in rows(path, LeftOut(is_logged=False)):
        is_divided |= "split" in row.cells
        split = _split(row)
        if split is None or "path" not in row.cells:
            continue  # it is reported where it is read
        for whole in {_group(row), _picture(row)}:
            other, place = sides.setdefault(whole, (split, row.place))
            if split != other:
                raise DataError(
                    f"{row.place}: {brief(whole)} is for {split} here and for {other} in {place}; it must not be torn"
                )
    return {split for split, _ in sides.values()} if is_divided else ()


def _split(row: Row) -> Split | None:
    """That of the row; None for a word that means none."""
    return split_folders.role(row.cells.get("split", "train"))


def _group(row: Row) -> str:
    return row.cells.get("group") or _picture(row)


def _picture(row: Row) -> str:
    """The path, in one spelling."""
    return os.path.normpath(row.cells["path"].replace("\\", "/"))


def _labelled(path: Path, split: Split | None, report: LeftOut) -> Iterator[_Labelled]:
    """What the rows of a split say, of all for None; those that say nothing are reported."""
    inside = Inside(path.parent)
    for row in rows(path, report):
        own = _split(row)
        if own is None:
            report(row.place, f"split is {brief(row.cells['split'])}, must be train, val or test", WRONG_LABEL)
        elif split in (None, own):
            try:
                yield _meaning(row, inside)
            except ValueError as error:
                report(row.place, str(error), WRONG_LABEL)


def _meaning(row: Row, inside: Inside) -> _Labelled:
    """What the row says.

    Raises:
        ValueError: it makes no sense; says why.
    """
    if missing := [name for name in NEEDED if name not in row.cells]:
        raise ValueError(f"has no {' and no '.join(missing)}")
    weight = _number(row, "weight") if "weight" in row.cells else 1
    if weight <= 0:
        raise ValueError(f"weight is {row.cells['weight']}, must be above 0")
    frame = Example(inside.path(row.cells["path"]), "", _group(row), weight=weight)
    return _Labelled(row.place, frame, row.cells["label"], _box(row))


def _box(row: Row) -> Box | None:
    missing = [side for side in SIDES if side not in row.cells]
    if len(missing) == len(SIDES):
        return None
    if missing:
        raise ValueError(f"has a box without {listed(missing)}")
    left, top, right, bottom = (_number(row, side) for side in SIDES)
    return checked_box((left, top, right, bottom))


def _number(row: Row, column: str) -> float:
    try:
        number = float(row.cells[column])
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{column} is {brief(row.cells[column])}, must be a number")
    return number


def _examples(frame: Example, found: Collection[_Labelled], chooser: Chooser, report: LeftOut) -> Iterable[Example]:
    """Those of rows that follow each other and are of one picture, all with a box or all without."""
    if not frame.path.is_file():
        for one in found:
            if label := chooser.label(one.label, one.place):
                report(one.place, f"there is no picture {frame.path}", labels=[label])
        return []
    objects = [LabelledObject(one.place, one.label, one.box) for one in found if one.box]
    if objects:
        return chooser.examples(frame, objects)
    return [replace(frame, label=label) for one in found if (label := chooser.label(one.label, one.place))]
