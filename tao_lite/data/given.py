"""What a user's table says of images: a column of a CSV file, or of JSON lines, beside one of paths."""

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from tao_lite.data.example import Example
from tao_lite.data.formats import manifest_rows
from tao_lite.data.left_out import LeftOut
from tao_lite.errors import DataError, brief, listed
from tao_lite.spec.bind import did_you_mean

PATH = "path"

_log = logging.getLogger(__name__)


def read(wish: str, examples: Sequence[Example]) -> tuple[str, list[str | None]]:
    """The column of FILE:COLUMN: its name, and of each example what stands there; None where nothing does.

    Pictures are called by their paths, absolute or from the table's folder or the current one. All parts of a picture
    have its value.

    Raises:
        DataError: the file can't be read, lacks a column, says two things of a picture, or is of none of these.
        ReadError: it can't be read now.
    """
    file, _, name = wish.rpartition(":")
    if not file or not name:
        raise DataError(f"--group_by: {brief(wish)} is no FILE:COLUMN; give a table and one of its columns")
    path, name = Path(file), name.strip().lower()
    _check_columns(path, name)
    values = _values(path, name)
    places = {_absolute(example.path): example.path for example in examples}
    found = {places[place]: value for key, value in values.items() if (place := _place(path, key, places))}
    if not found:
        first = brief(next(iter(values), None))
        raise DataError(
            f"{path}: none of its {len(values)} paths is of the data set's images, such as {examples[0].path}; the "
            f"first is {first}; write absolute paths, or from the table's folder or the current one"
        )
    texts = [found.get(example.path) for example in examples]
    if missing := sum(text is None for text in texts):
        _log.warning(
            "%s: says nothing of %d of the %d examples, which are in no group of it", wish, missing, len(texts)
        )
    return name, texts


def _check_columns(path: Path, name: str) -> None:
    names = manifest_rows.columns(path)
    for needed in (PATH, name):
        if needed not in names:
            hint = did_you_mean(needed, set(names))
            raise DataError(f"{path}:1: has no column {needed}; it has {listed(map(brief, names)) or 'nothing'}{hint}")


def _values(path: Path, name: str) -> Mapping[str, str]:
    """What the table says of each path."""
    found: dict[str, str] = {}
    for place, cells in manifest_rows.rows(path, LeftOut(str(path))):
        key, value = cells.get(PATH), cells.get(name)
        if not key or not value:
            continue
        if found.setdefault(key, value) != value:
            raise DataError(
                f"{place}: says {brief(value)} of {brief(key)}, of which a line before says {brief(found[key])}; "
                "leave one out"
            )
    return found


def _place(path: Path, key: str, places: Mapping[str, Path]) -> str | None:
    """The picture that is meant, of Windows too, if it is one of the examples."""
    spelled = Path(key.replace("\\", "/"))
    candidates = (_absolute(one) for one in (path.parent / key, path.parent / spelled, Path(key), spelled))
    return next((one for one in candidates if one in places), None)


def _absolute(path: Path) -> str:
    return os.path.normpath(Path.cwd() / path)
