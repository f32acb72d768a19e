"""Groups of images in which a network is weak: what is known of an image, by which they are told apart."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from tao_lite.data import decode, given
from tao_lite.data.dataset import DataSet
from tao_lite.data.example import Example
from tao_lite.errors import DataError, SpecError
from tao_lite.files import writing
from tao_lite.machine.host import usable_cores
from tao_lite.metrics import groups
from tao_lite.metrics.clusters import k_means
from tao_lite.metrics.groups import ALPHA, MIN_IMAGES, Column, Group, measured, named
from tao_lite.monitor import console
from tao_lite.run import Run, Summary
from tao_lite.training.observer import Observed

_NUM_AT_ONCE = 4096
_MIN_OF_CLUSTER = 30
_MOST_CLUSTERS = 50
_HEADER = (
    *("column", "value", "class", "images", "right", "accuracy", "low", "high"),
    *("rest_images", "rest_accuracy", "p_value", "weak"),
)


@dataclass(frozen=True, kw_only=True)
class Wish:
    """By what images are told apart."""

    has_own: bool = True  # by all that is known of them without the user
    tables: tuple[str, ...] = ()  # FILE:COLUMN each, as `given.read` has them


def given_columns(wish: Wish, data_set: DataSet) -> list[Column]:
    """The columns of the user's tables: before an evaluation, for they may be wrong.

    Raises:
        DataError, ReadError: as `given.read`.
        SpecError: the data set has several tasks.
    """
    if data_set.tasks:
        raise SpecError("--groups, --group_by: the network has several tasks, and groups are of one; leave them out")
    found = [given.read(one, data_set.examples) for one in wish.tables]
    return [_of_texts(name, texts) for name, texts in found]


def find(data_set: DataSet, observed: Observed, given: Sequence[Column], *, has_own: bool) -> tuple[Group, ...]:
    """The groups as `groups.find` has them, by the given columns and, if wanted, by what is known of images."""
    own = _own(data_set.examples, observed) if has_own else []
    return groups.find([*given, *own], data_set.labels(), data_set.class_names, observed.is_right, observed.is_read)


def written(found: Sequence[Group], run: Run) -> Summary:
    """Write groups.csv, print the weak ones, and give what evaluate.json has of them."""
    rows = [
        (
            *(one.column, one.value, one.class_name, one.num_images, one.num_right, one.accuracy, *one.interval),
            *(one.num_rest, one.rest_accuracy, one.p_value, int(one.is_weak)),
        )
        for one in found
    ]
    writing.write(run.groups_csv, writing.csv_text([_HEADER, *rows]))
    weak = [dict(zip(_HEADER[:-1], row[:-1], strict=True)) for row in rows if row[-1]]
    console.line(f"{len(weak)} of {len(found)} groups are weaker than the rest: {run.groups_csv}")
    if weak:
        columns = ("column", "value", "class", "images", "accuracy", "rest_accuracy")
        console.table("Weak groups", columns, [[one[name] for name in columns] for one in weak])
    test = "Fisher's exact test, one-sided, corrected by Holm"
    return {"groups": {"tested": len(found), "test": test, "alpha": ALPHA, "weak": weak}}


def _own(examples: Sequence[Example], observed: Observed) -> list[Column]:
    sizes = _sizes(examples)
    occlusion, truncation = (
        np.array([value if value >= 0 else np.nan for value in values])
        for values in ([one.occluded for one in examples], [one.truncated for one in examples])
    )
    found = [
        measured("size", np.sqrt(sizes[:, 0] * sizes[:, 1])),
        measured("aspect", sizes[:, 0] / sizes[:, 1]),
        measured("occlusion", occlusion),
        measured("truncation", truncation),
        measured("brightness", np.where(observed.is_read, observed.brightness, np.nan)),
        named("folder", _folders(examples)),
        named("sequence", _sequences(examples)),
    ]
    if observed.features is not None and (clusters := _clusters(observed)):
        found.append(clusters)
    return found


def _of_texts(name: str, texts: Sequence[str | None]) -> Column:
    """Numbers of which few come often enough for a group are measured; those of cameras, say, are words."""
    known = [text for text in texts if text]
    if len(set(known)) * MIN_IMAGES <= len(known):
        return named(name, texts)
    try:
        return measured(name, np.array([float(text) if text else np.nan for text in texts]))
    except ValueError:
        return named(name, texts)


def _sizes(examples: Sequence[Example]) -> npt.NDArray[np.float64]:
    """Width and height of each object or, where there is no box, of the picture: [N, 2], NaN where it can't be read."""
    boxes = np.array([one.box or (np.nan,) * 4 for one in examples], np.float64).reshape(-1, 4)
    found = boxes[:, 2:] - boxes[:, :2]
    whole = np.flatnonzero(np.isnan(found[:, 0]))
    with ThreadPoolExecutor(usable_cores()) as pool:
        for start in range(0, len(whole), _NUM_AT_ONCE):
            part = whole[start : start + _NUM_AT_ONCE]
            found[part] = list(pool.map(_picture_size, [examples[index] for index in part]))
    return found


def _picture_size(example: Example) -> tuple[float, float]:
    try:
        return decode.image_size(example.path, example.span)
    except DataError:
        return np.nan, np.nan


def _folders(examples: Sequence[Example]) -> list[str]:
    """The folder of each picture, below the one that is common to all."""
    here = Path.cwd()
    folders = [str(here / one.path.parent) for one in examples]
    root = os.path.commonpath(set(folders)) if folders else ""
    return [str(Path(folder).relative_to(root)) for folder in folders]


def _sequences(examples: Sequence[Example]) -> list[str | None]:
    """What group_pattern says of each, where it joins pictures: at least two of them on the average."""
    pictures, sequences = {one.path for one in examples}, {one.group for one in examples}
    is_joined = len(sequences) <= len(pictures) / 2
    return [one.group if is_joined else None for one in examples]


def _clusters(observed: Observed) -> Column | None:
    """What images have in common for the network. It is not looked at within a class: there, a wrong image's cluster is
    that of the class it is taken for, which says no more than that it is wrong.
    """
    assert observed.features is not None
    number = min(int(observed.is_read.sum()) // _MIN_OF_CLUSTER, _MOST_CLUSTERS)
    if number < 2:
        return None
    codes = np.full(len(observed.is_read), -1, np.int64)
    codes[observed.is_read] = k_means(observed.features[torch.from_numpy(observed.is_read)], number).numpy()
    values = tuple(f"{one + 1}" for one in range(number))
    return Column(name="cluster", codes=codes, values=values, is_crossed=False)
