"""Groups of images in which a network does worse than in the others: found without being fooled by their number.

A group is judged beside the rest by Fisher's exact test: how likely it would be to hold so many of the wrong images, or
more, if being wrong had nothing to do with it. Of many groups some look weak by chance; Holm's correction sees to it
that with a probability of 95 % none is called weak that isn't, however groups overlap.

Sources: R. A. Fisher, J. Royal Statistical Society 98 (1935); S. Holm, Scandinavian J. of Statistics 6 (1979).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from tao_lite.metrics.intervals import wilson

ALPHA = 0.05
"""How likely it may be that any group is called weak by chance."""
MIN_IMAGES = 10
"""Of a smaller group, or beside a smaller rest, nothing is said."""
MAX_WRONG = 6
"""Images of a group that are named."""
MAX_VALUES = 100
"""Values of one column that are compared: the most frequent ones."""
_MAX_DISTINCT = 8
"""A column of more numbers than this is cut into quarters."""
_NUM_PARTS = 4

Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

_ALL = -1
"""In a label's place: all of them."""


class _Counts(NamedTuple):
    images: int
    right: int
    all_images: int
    all_right: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Column:
    """What is known of each image by one name. `codes`: int64 [N], the place of its value in `values`, -1 for none."""

    name: str
    codes: Integers
    values: tuple[str, ...]
    is_crossed: bool = True
    """Whether it is looked at within each class too."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """Images of one value of a column, all or those of a class, and the rest they are compared with.

    The rest is all other images that have a value or, within a class, those of the class. `p_value` is before the
    correction.
    """

    column: str
    value: str
    class_name: str  # empty: all classes
    num_images: int
    num_right: int
    num_rest: int
    num_rest_right: int
    p_value: float
    is_weak: bool = False
    wrong: tuple[int, ...] = ()
    """The first of its images that are wrong, by their index."""

    @property
    def accuracy(self) -> float:
        return self.num_right / self.num_images

    @property
    def rest_accuracy(self) -> float:
        return self.num_rest_right / self.num_rest

    @property
    def interval(self) -> tuple[float, float]:
        """Ends of the accuracy's 95 % interval, which knows nothing of other groups."""
        return wilson(self.accuracy, self.num_images)


def named(name: str, texts: Sequence[str | None]) -> Column:
    """A column of words, one for each image; None and "" are none."""
    values = tuple(sorted({text for text in texts if text}))
    code_of = {value: code for code, value in enumerate(values)}
    codes = np.array([code_of[text] if text else -1 for text in texts], np.int64)
    return Column(name=name, codes=codes, values=values)


def measured(name: str, numbers: npt.NDArray[np.float64]) -> Column:
    """A column of numbers, one for each image, NaN for none: few of them are values, of many quarters are made."""
    is_known = ~np.isnan(numbers)
    distinct, places, counts = np.unique(numbers[is_known], return_inverse=True, return_counts=True)
    codes = np.full(len(numbers), -1, np.int64)
    if len(distinct) <= _MAX_DISTINCT:
        codes[is_known] = places
        return Column(name=name, codes=codes, values=tuple(f"{value:g}" for value in distinct))
    # A number that comes very often lies in the quarter of its middle, and those above or below it in others.
    quarters = ((counts.cumsum() - counts / 2) / counts.sum() * _NUM_PARTS).astype(np.int64)
    kept, parts = np.unique(quarters, return_inverse=True)
    codes[is_known] = parts[places]
    ends = [(distinct[parts == part].min(), distinct[parts == part].max()) for part in range(len(kept))]
    values = tuple(f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}" for low, high in ends)
    return Column(name=name, codes=codes, values=values)


def find(
    columns: Sequence[Column], labels: Integers, class_names: Sequence[str], is_right: Flags, is_read: Flags
) -> tuple[Group, ...]:
    """The groups of at least MIN_IMAGES images with a rest of as many, weak ones first, most certain first.

    labels: int64 [N]. is_right, is_read: bool [N], whether the network was right, and whether there was an image.
    Groups that hold the same images as a class are that class.
    """
    classes = Column(name="class", codes=labels, values=tuple(class_names), is_crossed=False)
    found = [
        group for column in (classes, *columns) for group in _groups(column, labels, class_names, is_right, is_read)
    ]
    found.sort(key=lambda group: group.p_value)
    num_weak = _num_rejected([group.p_value for group in found])
    return tuple(replace(group, is_weak=place < num_weak) for place, group in enumerate(found))


def exact_test(num_wrong: int, num_images: int, all_wrong: int, num_all: int) -> float:
    """How likely at least `num_wrong` of `num_images` are, drawn from `num_all` of which `all_wrong` are wrong."""
    counts = torch.arange(num_wrong, min(num_images, all_wrong) + 1, dtype=torch.float64)
    logarithms = _log_choices(all_wrong, counts) + _log_choices(num_all - all_wrong, num_images - counts)
    total = _log_choices(num_all, torch.tensor(num_images, dtype=torch.float64))
    return min(1.0, float((logarithms - total).exp().sum()))


def _groups(
    column: Column, labels: Integers, class_names: Sequence[str], is_right: Flags, is_read: Flags
) -> Iterator[Group]:
    is_known = is_read & (column.codes >= 0)
    num_values, num_classes = len(column.values), len(class_names)
    all_images, all_right = (np.bincount(labels[one], minlength=num_classes) for one in (is_known, is_known & is_right))
    sizes = np.bincount(column.codes[is_known], minlength=num_values)
    for code in np.argsort(-sizes, kind="stable")[:MAX_VALUES]:
        place = is_known & (column.codes == code)
        images, right = (np.bincount(labels[one], minlength=num_classes) for one in (place, place & is_right))
        present = np.flatnonzero(images)
        # In a folder of one class the class itself is judged.
        views = [_ALL] if not column.is_crossed or len(present) > 1 else []
        for label in [*views, *(present if column.is_crossed else ())]:
            part = slice(None) if label == _ALL else slice(label, label + 1)
            counts = _Counts(*(int(one[part].sum()) for one in (images, right, all_images, all_right)))
            if min(counts.images, counts.all_images - counts.images) >= MIN_IMAGES:
                is_wrong = place & ~is_right & ((labels == label) | (label == _ALL))
                class_name = "" if label == _ALL else class_names[label]
                yield _group(column.name, column.values[code], class_name, counts, is_wrong)


def _group(column: str, value: str, class_name: str, counts: _Counts, is_wrong: Flags) -> Group:
    images, right, all_images, all_right = counts
    return Group(
        column=column,
        value=value,
        class_name=class_name,
        num_images=images,
        num_right=right,
        num_rest=all_images - images,
        num_rest_right=all_right - right,
        p_value=exact_test(images - right, images, all_images - all_right, all_images),
        wrong=tuple(np.flatnonzero(is_wrong)[:MAX_WRONG].tolist()),
    )


def _num_rejected(p_values: Sequence[float]) -> int:
    """How many of the ascending values Holm's correction lets pass."""
    passed = [p_value <= ALPHA / (len(p_values) - place) for place, p_value in enumerate(p_values)]
    return [*passed, False].index(False)


def _log_choices(number: int, chosen: torch.Tensor) -> torch.Tensor:
    """Logarithm of the number of ways to choose; minus infinity where there is none."""
    whole = torch.tensor(number, dtype=torch.float64)
    left = whole - chosen
    found = torch.lgamma(whole + 1) - torch.lgamma(chosen + 1) - torch.lgamma(left.clamp(min=0) + 1)
    return found.where(left >= 0, -torch.inf)
