"""Folds: the groups of a data set dealt out so that each is held out once, and each fold has its part of each class."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tao_lite.data.example import Example
from tao_lite.data.examples import Examples
from tao_lite.data.grouping import FIELD as GROUP_PATTERN
from tao_lite.errors import DataError

FIELD = "dataset_config.fold"

Counts = Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class Fold:
    """One of `num_folds`, counted from 1: what validates where the others train. `seed` says which groups it has."""

    num_folds: int
    number: int
    seed: int

    def divide(self, examples: Sequence[Example]) -> tuple[Examples, Examples]:
        """Training and validation examples, in their order.

        Raises:
            DataError: as `dealt`.
        """
        fold_of = dealt(examples, self.num_folds, self.seed)
        columns = Examples.of(examples)
        is_held_out = np.array([fold_of[example.group] == self.number for example in columns])
        return columns.where(~is_held_out), columns.where(is_held_out)


def dealt(examples: Collection[Example], num_folds: int, seed: int) -> dict[str, int]:
    """The fold of each group, from 1; a function of the groups' names and classes and of the seed.

    Large groups come first, each to the fold that has the least of its classes, as shares of these classes; of equal
    folds to the one with the fewest examples. Where each group is one example of one class, two folds differ by one
    example of a class at most, and by one in all.

    Raises:
        DataError: there are fewer groups than folds, or a class that a fold would leave the others without.
    """
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    sizes = Counter(example.group for example in examples)
    for example in examples:
        counts[example.group].update(example.classes)
    _refuse_few(counts, num_folds)
    totals = Counter(label for example in examples for label in example.classes)
    # In squares, so that a class counts by its shares, whether it is common or rare.
    weights = {label: 1 / count**2 for label, count in totals.items()}
    held = [Counter[str]() for _ in range(num_folds)]
    filled = [0] * num_folds
    fold_of: dict[str, int] = {}
    for group in sorted(counts, key=lambda one: (-sizes[one], sorted(counts[one].items()), _chance(seed, one))):
        own = [(label, count * weights[label]) for label, count in counts[group].items()]
        costs = [sum(cost * has[label] for label, cost in own) for has in held]
        place = min(range(num_folds), key=lambda fold: (costs[fold], filled[fold], fold))
        fold_of[group] = place + 1
        held[place].update(counts[group])
        filled[place] += sizes[group]
    _refuse_gathered(held, totals)
    return fold_of


def _chance(seed: int, group: str) -> bytes:
    text = f"{seed}\0{group}"
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).digest()


def _refuse_few(counts: Mapping[str, Counts], num_folds: int) -> None:
    if len(counts) < num_folds:
        raise DataError(
            f"{FIELD}: {num_folds} folds need as many groups of images, and the data has {len(counts)} "
            f"({GROUP_PATTERN} says what belongs together); ask for fewer folds"
        )
    groups_of: defaultdict[str, list[str]] = defaultdict(list)
    for group, own in counts.items():
        for label in own:
            groups_of[label].append(group)
    for label, groups in sorted(groups_of.items()):
        if len(groups) == 1:
            raise DataError(
                f"{FIELD}: class {label!r} is in one group of images only ({groups[0]}), so that one fold would be "
                f"trained without it; add others, leave the class out, or let {GROUP_PATTERN} divide the group"
            )


def _refuse_gathered(held: Collection[Counts], totals: Counts) -> None:
    """Refuse folds of which one has all of a class: its training would have none."""
    for label, total in sorted(totals.items()):
        if any(has[label] == total for has in held):
            raise DataError(
                f"{FIELD}: all groups of class {label!r} came into one fold, which would be trained without it; "
                "choose another seed or number of folds"
            )
