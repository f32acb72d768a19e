"""Examples: those of a data set, or some of them, made of columns when they are asked for."""

import hashlib
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import overload

import numpy as np
import numpy.typing as npt

from tao_lite.data.columns import Array, Coded, Columns, Numbers, Texts
from tao_lite.data.example import Example
from tao_lite.spec import tasks

_SEEN = ("path", "label", "labels", "box", "weight")
"""The columns that decide what a network learns."""


class Examples(Sequence[Example]):
    """Rows of columns, in any order. What is about all of them is asked of the columns, without making an example."""

    def __init__(self, columns: Columns, rows: Numbers | None = None) -> None:
        """`rows` None: all, in their order."""
        self.columns = columns
        self._rows = rows

    @classmethod
    def of(cls, examples: Sequence[Example], above: str = "") -> "Examples":
        """The same examples in columns. Pixels in memory are no part of those; `above` is as in Columns."""
        return examples if isinstance(examples, cls) else cls(Columns.of(examples, above))

    @classmethod
    def below(cls, above: str, paths: Mapping[str, Texts]) -> "Examples":
        """Whole pictures, each in a group of its own, by their labels: paths below that folder."""
        kept = {label: texts for label, texts in paths.items() if texts}
        counts = [len(texts) for texts in kept.values()]
        ids = None if set(counts) == {1} else np.arange(len(kept), dtype=np.int32).repeat(counts)
        coded = {"path": Coded(Texts.joined(kept.values())), "label": Coded(Texts.of(kept), ids)}
        return cls(Columns(above=above, coded=coded, numbers={}))

    def __len__(self) -> int:
        return len(self.columns) if self._rows is None else len(self._rows)

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> "Examples": ...
    def __getitem__(self, index: int | slice) -> "Example | Examples":
        if isinstance(index, slice):
            return self.where(np.arange(len(self))[index])
        place = range(len(self))[index]
        return self.columns.example(place if self._rows is None else int(self._rows[place]))

    def __iter__(self) -> Iterator[Example]:
        return map(self.columns.example, range(len(self)) if self._rows is None else self._rows)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(own == one for own, one in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def where(self, chosen: npt.NDArray[np.bool_] | Numbers) -> "Examples":
        """Those that are marked or, in this order, numbered."""
        rows = np.asarray(np.flatnonzero(chosen) if chosen.dtype == np.bool_ else chosen, np.int64)
        return Examples(self.columns, rows if self._rows is None else self._rows[rows])

    def texts(self, name: str) -> Texts:
        """The texts of a column, which `ids` numbers; some may be of no example. The group's are always there."""
        return self._coded(name).texts

    def ids(self, name: str) -> Numbers:
        """The number of each example's text."""
        ids = self._coded(name).ids
        if ids is None:
            return np.arange(len(self)) if self._rows is None else self._rows
        return np.asarray(ids if self._rows is None else ids[self._rows], np.int64)

    def numbers(self, name: str) -> Array | None:
        """A column of numbers; None where all have the default."""
        found = self.columns.numbers.get(name)
        return found if found is None or self._rows is None else found[self._rows]

    def paths(self) -> Iterator[str]:
        """The path of each example."""
        texts = self.texts("path")
        found = iter(texts) if self._is_in_order("path") else (texts[one] for one in self.ids("path"))
        return map(self.columns.whole, found)

    def each(self, name: str) -> Iterator[str]:
        """The text of each example in a column of few texts; empty ones where there is no such column."""
        if not self._has(name):
            return itertools.repeat("", len(self))
        texts = self.texts(name)[:]
        return (texts[one] for one in self.ids(name).tolist())

    def files(self) -> tuple[Numbers, list[Path]]:
        """Of each example that is bytes of a larger file, its file's number in the list, in their order; else -1."""
        offsets = self.numbers("span")
        if offsets is None:
            return np.full(len(self), -1, np.int64), []
        ids = np.where(offsets[:, 0] >= 0, self.ids("span_file"), -1)
        found, first, places = np.unique(ids, return_index=True, return_inverse=True)
        in_order = [one for one in np.argsort(first).tolist() if found[one] >= 0]
        numbers = np.full(len(found), -1, np.int64)
        numbers[in_order] = np.arange(len(in_order))
        texts = self.texts("span_file")
        return numbers[places], [Path(self.columns.whole(texts[int(found[one])])) for one in in_order]

    def counts(self, name: str = "label") -> dict[str, int]:
        """How many examples have a text, for each one that any has, in the order of the examples."""
        ids, first, counts = np.unique(self.ids(name), return_index=True, return_counts=True)
        texts = self.texts(name)
        return {texts[ids[place]]: int(counts[place]) for place in np.argsort(first)}

    def last_paths(self) -> dict[str, str]:
        """For each label, in the order of the examples, the path of the last one that has it."""
        last = np.zeros(len(self.texts("label")), np.int64)
        last[self.ids("label")] = np.arange(len(self))
        of_text = dict(zip(self.texts("label"), last.tolist(), strict=True))
        return {label: str(self[of_text[label]].path) for label in self.counts()}

    def by_label(self, index_of: Mapping[str, int]) -> Numbers:
        """What each example's label has there."""
        ids, texts = self.ids("label"), self.texts("label")
        numbers = np.zeros(len(texts), np.int64)
        for one in np.unique(ids).tolist():
            numbers[one] = index_of[texts[one]]
        return numbers[ids]

    def labels(self) -> list[tuple[str, ...]] | None:
        """Of several tasks, the labels that `ids("labels")` numbers; None of one task."""
        return [tuple(json.loads(text)) for text in self.texts("labels")] if self._has("labels") else None

    def classes(self) -> tuple[Numbers, Numbers, Sequence[str]]:
        """Each example with each of its classes: their positions, the numbers of the classes, and these."""
        positions, labels = np.arange(len(self)), self.labels()
        if labels is None:
            return positions, self.ids("label"), self.texts("label")
        of_text = [tasks.classes(one) for one in labels]
        names = {name: number for number, name in enumerate(dict.fromkeys(itertools.chain(*of_text)))}
        numbers = [np.array([names[one] for one in classes], np.int64) for classes in of_text]
        ids = self.ids("labels")
        counts = np.array([len(one) for one in numbers])[ids]
        found = np.concatenate([*(numbers[one] for one in ids.tolist()), positions[:0]])
        return np.repeat(positions, counts), found, list(names)

    def class_names(self) -> set[str]:
        """The classes that any example has."""
        _, numbers, names = self.classes()
        return {names[one] for one in np.unique(numbers).tolist()}

    def regrouped(self, group_of: Callable[[str], str]) -> "Examples":
        """The same in the groups that are said for theirs."""
        ids, groups = self._coded("group").ids, Coded.of(map(group_of, self.texts("group")))
        if groups.ids is not None or ids is not None:
            numbers = np.arange(len(groups)) if groups.ids is None else groups.ids
            groups = Coded(groups.texts, np.asarray(numbers if ids is None else numbers[ids], np.int32))
        return Examples(replace(self.columns, coded={**self.columns.coded, "group": groups}), self._rows)

    def scaled(self, full_scale: float) -> "Examples":
        """The same with another `full_scale`."""
        column = np.broadcast_to(np.float64(full_scale), len(self.columns))
        return Examples(replace(self.columns, numbers={**self.columns.numbers, "full_scale": column}), self._rows)

    def relabelled(self, given: Mapping[int, str]) -> "Examples":
        """The same with other labels, by position; what they were before is noted as `annotated`."""
        if not given:
            return self
        rows = np.array(list(given)) if self._rows is None else self._rows[list(given)]
        before = dict(zip(rows.tolist(), (self[place].label for place in given), strict=True))
        after = dict(zip(rows.tolist(), given.values(), strict=True))
        count = len(self.columns)
        annotated = self.columns.coded.get("annotated", Coded(Texts.of([""]), np.zeros(count, np.int32)))
        changed = {"label": self._coded("label").changed(after), "annotated": annotated.changed(before)}
        return Examples(replace(self.columns, coded={**self.columns.coded, **changed}), self._rows)

    def digest(self) -> str:
        """Differs where what a network learns from them does; the folder in which they are is no part of it."""
        found = hashlib.sha256()
        for name in _SEEN:
            found.update(name.encode())
            if coded := self.columns.coded.get(name):
                arrays = (coded.texts.content, coded.texts.ends, coded.ids)
                for array in (one for one in arrays if one is not None):
                    found.update(array.tobytes())
            if (numbers := self.columns.numbers.get(name)) is not None:
                found.update(numbers.tobytes())
        if self._rows is not None:
            found.update(self._rows.tobytes())
        return found.hexdigest()

    def _has(self, name: str) -> bool:
        return name in self.columns.coded

    def _coded(self, name: str) -> Coded:
        return self.columns.coded["path" if name == "group" and not self._has(name) else name]

    def _is_in_order(self, name: str) -> bool:
        return self._rows is None and self._coded(name).ids is None
