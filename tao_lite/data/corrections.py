"""Corrections: which examples a person has left out or given another class, by lists beside the data.

The lists are CSV files as `dataset audit` and its page write them; the data themselves stay as they are.
"""

import logging
import os
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from tao_lite.data.asked import root_of
from tao_lite.data.example import Example
from tao_lite.data.examples import Examples
from tao_lite.data.formats.class_names import read_classmap
from tao_lite.data.formats.manifest_rows import Row, columns, is_json, no_column, rows
from tao_lite.data.left_out import EXCLUDED, LeftOut
from tao_lite.errors import DataError, brief, listed
from tao_lite.files.writing import as_meant
from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec.bind import did_you_mean
from tao_lite.spec.paths import data_folder

EXCLUDE, RELABEL = "dataset_config.exclude", "dataset_config.relabel"
DECISIONS = ("accept", "keep", "unsure")
COLUMNS = ("path", "box", "label", "likely", "decision")

_NUM_NAMED = 3

_log = logging.getLogger(__name__)

Box = tuple[int, int, int, int]
_Key = tuple[str, Box | None]
"""Path of a picture, and the box of an example in it, None for all of it."""


@dataclass(frozen=True)
class _Wish:
    """A row that takes effect: where it stands, the label that it says there is, and the class to give."""

    place: str
    label: str
    likely: str


@dataclass
class Corrections:
    """What the lists of a spec ask for; state, for it keeps which rows have found their example in a data set."""

    excluded: Mapping[_Key, _Wish] = field(default_factory=dict)
    relabelled: Mapping[_Key, _Wish] = field(default_factory=dict)
    _known: set[str] = field(default_factory=set)
    _found: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, experiment: pb.Experiment) -> "Corrections":
        """Those of a spec; a path that is no absolute one is below its training data, or else its validation data.

        Raises:
            DataError: a list can't be read or contradicts itself, or the data have several tasks.
            ReadError: a list can't be read now.
        """
        config, train = experiment.dataset_config, experiment.train_config
        lists = {name: root_of(path) for name, path in ((EXCLUDE, config.exclude), (RELABEL, config.relabel)) if path}
        if not lists:
            return cls()
        if config.format == pb.DatasetFormat.MULTITASK:
            raise DataError(
                f"{' and '.join(lists)}: a row has one label, and data of format MULTITASK have several; correct the "
                "CSV file itself"
            )
        root = root_of(train.train_dataset_path or train.val_dataset_path)
        folder = root if root.is_dir() else data_folder(root)
        relabelled = _read(lists[RELABEL], folder, {"accept"}, is_named=True) if RELABEL in lists else {}
        # One list for both: what was accepted gets its class, and what nobody was sure of is left out.
        is_same = len({os.path.realpath(path) for path in lists.values()}) < len(lists)
        wanted = {"unsure"} if is_same else {"accept", "unsure"}
        excluded = _read(lists[EXCLUDE], folder, wanted) if EXCLUDE in lists else {}
        known = read_classmap(root_of(config.classmap_path)) if config.classmap_path else ()
        return cls(excluded, relabelled, set(known))

    def __bool__(self) -> bool:
        return bool(self.excluded or self.relabelled)

    def applied(self, found: Sequence[Example], report: LeftOut, class_names: Iterable[str]) -> Examples:
        """The examples that are left, with the classes that they get; `class_names` are the classes there are.

        Raises:
            DataError: a row names no such class, another label than the data have, or no box of several; or nothing is
                left.
        """
        examples = Examples.of(found)
        if not self:
            return examples
        self._known.update(class_names)
        named = {path for path, _ in (*self.relabelled, *self.excluded)}
        places = [place for place, path in enumerate(map(os.path.normpath, examples.paths())) if path in named]
        concerned = [(place, examples[place]) for place in places]
        number = Counter(_path(one) for _, one in concerned)
        given = [(place, self._relabelled(one, number)) for place, one in concerned]
        left_out = [place for place, one in given if self._is_excluded(one, report)]
        if len(left_out) == len(examples):
            raise DataError(f"{EXCLUDE}: names all {len(examples)} examples of {report.name}; take rows out of it")
        relabelled = {place: one.label for place, one in given if one.annotated}
        changed = len(relabelled.keys() - set(left_out))
        _log.info("%s: %d labels were corrected, %d left out", report.name, changed, len(left_out))
        return examples.relabelled(relabelled).where(np.delete(np.arange(len(examples)), left_out))

    def verify(self) -> None:
        """Name the rows that no example was found for, when all data sets have been read.

        Raises:
            DataError: none was found for any row.
        """
        for name, wishes in ((RELABEL, self.relabelled), (EXCLUDE, self.excluded)):
            lost = [(wish.place, path) for (path, _), wish in wishes.items() if wish.place not in self._found]
            if not lost:
                continue
            named = listed([f"{path} ({place})" for place, path in lost[:_NUM_NAMED]])
            text = f"{len(lost)} of its {len(wishes)} rows name what the data don't have, such as {named}"
            if len(lost) == len(wishes):
                raise DataError(f"{name}: {text}; is it a list of these data, with their boxes?")
            _log.warning("%s: %s", name, text)

    def _relabelled(self, example: Example, number: Mapping[str, int]) -> Example:
        wish = self._wish(self.relabelled, example)
        if wish is None:
            return example
        path = _path(example)
        if number[path] > 1 and (path, example.box) not in self.relabelled:
            raise DataError(
                f"{wish.place}: names no box, and {path} has {number[path]} examples; write left top right "
                "bottom of the one that is meant, in pixels"
            )
        if wish.likely not in self._known:
            known = f"the classes are {listed(sorted(self._known))}{did_you_mean(wish.likely, self._known)}"
            raise DataError(f"{wish.place}: likely is {brief(wish.likely)}, which is no class of the data; {known}")
        if wish.label not in ("", example.label) and example.label != wish.likely:
            raise DataError(
                f"{wish.place}: the label is {brief(wish.label)} here and {brief(example.label)} in the data, which "
                "have changed; audit them again, or empty the cell"
            )
        return replace(example, label=wish.likely, annotated=example.label) if example.label != wish.likely else example

    def _is_excluded(self, example: Example, report: LeftOut) -> bool:
        wish = self._wish(self.excluded, example)
        if wish:
            report.count(EXCLUDED, example.label, str(example.path))
        return wish is not None

    def _wish(self, wishes: Mapping[_Key, _Wish], example: Example) -> _Wish | None:
        """What the rows ask for the example: that of its box before that of the whole picture."""
        path = _path(example) if wishes else ""
        found = [wish for box in (example.box, None) if (wish := wishes.get((path, box)))]
        self._found.update(wish.place for wish in found)
        return found[0] if found else None


def _path(example: Example) -> str:
    return os.path.normpath(example.path)


def _read(path: Path, folder: Path, wanted: Collection[str], *, is_named: bool = False) -> dict[_Key, _Wish]:
    """The rows with one of the decisions that are wanted; is_named: they have to name a class."""
    names = _columns(path, ("path", "likely") if is_named else ("path",))
    wishes: dict[_Key, _Wish] = {}
    decided: dict[_Key, tuple[str, str]] = {}
    for row in rows(path, LeftOut(fail=True, remedy="mend the row")):
        # In a list without decisions all have been made.
        decision = _decision(row) if "decision" in names else DECISIONS[0]
        is_wanted = decision in wanted
        likely = _word(row, "likely") if is_named and is_wanted else ""
        if is_named and is_wanted and not likely:
            raise DataError(f"{row.place}: has no likely, the class to give; name it, or decide to keep")
        key = _key(row, folder)
        said = " ".join(filter(None, (decision or "undecided", likely)))
        before, place = decided.setdefault(key, (said, row.place))
        if said != before:
            raise DataError(f"{row.place}: {key[0]} is {brief(said)} here and {brief(before)} in {place}; take one out")
        if is_wanted:
            wishes.setdefault(key, _Wish(row.place, _word(row, "label"), likely))
    return wishes


def _columns(path: Path, needed: Collection[str]) -> Collection[str]:
    if is_json(path):
        raise DataError(f"{path}:1: is JSON; must be CSV, whose first line names the columns {', '.join(COLUMNS)}")
    names = columns(path)
    for name in needed:
        if name not in names:
            raise no_column(path, name, names, set(names).difference(COLUMNS))
    return names


def _decision(row: Row) -> str:
    """What was decided; empty where nothing was yet."""
    found = row.cells.get("decision", "").lower()
    if found and found not in DECISIONS:
        hint = did_you_mean(found, DECISIONS)
        raise DataError(f"{row.place}: decision is {brief(found)}, must be {', '.join(DECISIONS)} or empty{hint}")
    return found


def _key(row: Row, folder: Path) -> _Key:
    if "path" not in row.cells:
        raise DataError(f"{row.place}: has no path; name the picture, or take the row out")
    path = os.path.normpath(folder / _word(row, "path").replace("\\", "/"))
    return path, _box(row) if "box" in row.cells else None


def _box(row: Row) -> Box:
    """left top right bottom, as of Example.box."""
    words = row.cells["box"].split()
    if len(words) != 4 or not all(word.isascii() and word.isdecimal() for word in words):
        text = f"box is {brief(row.cells['box'])}, must be left top right bottom in whole pixels, as audit writes them"
        raise DataError(f"{row.place}: {text}")
    left, top, right, bottom = map(int, words)
    return left, top, right, bottom


def _word(row: Row, column: str) -> str:
    return as_meant(row.cells.get(column, ""))
