"""Columns: the examples of a data set in arrays, which a file can hold and processes share.

A column of texts keeps each text once, and for each row the number of its text; one of numbers is an array. A column
that is not there has its default in all rows. So a picture of an image folder takes what its name does, and 12 bytes.
"""

import itertools
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tao_lite.data.example import Example, Span

Array = npt.NDArray[Any]
Numbers = npt.NDArray[np.int64]

NOT_BELOW = "\0"
"""Before a path that is not below the data set's folder."""
_NUM_AT_ONCE = 2**16
# Names of files that are no UTF-8 have lone surrogates in Python, as texts of JSON may.
_ENCODING = "utf-8", "surrogatepass"
_SPANS = "span_file"


@dataclass(frozen=True, eq=False)
class Texts(Sequence[str]):
    """Texts, one after the other in uint8, and where each of them ends: int64 [N]."""

    content: npt.NDArray[np.uint8]
    ends: Numbers

    @classmethod
    def of(cls, texts: Iterable[str]) -> "Texts":
        parts, left = list[Texts](), iter(texts)
        while encoded := [text.encode(*_ENCODING) for text in itertools.islice(left, _NUM_AT_ONCE)]:
            ends = np.cumsum(np.array([len(one) for one in encoded], np.int64))
            parts.append(cls(np.frombuffer(b"".join(encoded), np.uint8), ends))
        return cls.joined(parts)

    @classmethod
    def joined(cls, parts: Collection["Texts"]) -> "Texts":
        starts = np.cumsum([0, *(len(part.content) for part in parts)])
        ends = [part.ends + start for part, start in zip(parts, starts, strict=False)]
        content = [part.content for part in parts]
        return cls(np.concatenate([np.empty(0, np.uint8), *content]), np.concatenate([np.empty(0, np.int64), *ends]))

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[one] for one in range(len(self))[index]]
        start = self.ends[index - 1] if index else 0
        return self.content[start : self.ends[index]].tobytes().decode(*_ENCODING)

    def mention(self, part: str) -> bool:
        """Whether it is in any of them, or across two."""
        return part.encode(*_ENCODING) in self.content.tobytes()

    def __iter__(self) -> Iterator[str]:
        last = 0
        for first in range(0, len(self), _NUM_AT_ONCE):
            ends = self.ends[first : first + _NUM_AT_ONCE].tolist()
            content, start = self.content[last : ends[-1]].tobytes(), last
            for end in ends:
                yield content[last - start : end - start].decode(*_ENCODING)
                last = end


@dataclass(frozen=True, eq=False)
class Coded:
    """A text for each row: texts[ids[row]], texts[row] where ids is None. Texts come in the order of the rows."""

    texts: Texts
    ids: npt.NDArray[np.int32] | None = None

    @classmethod
    def of(cls, values: Iterable[str]) -> "Coded":
        known: dict[str, int] = {}
        ids = [known.setdefault(value, len(known)) for value in values]
        return cls(Texts.of(known), None if len(known) == len(ids) else np.array(ids, np.int32))

    def __len__(self) -> int:
        return len(self.texts if self.ids is None else self.ids)

    def __getitem__(self, row: int) -> str:
        text: str = self.texts[row if self.ids is None else self.ids[row]]
        return text

    def changed(self, texts: Mapping[int, str]) -> "Coded":
        """The same with other texts in these rows."""
        known = {text: number for number, text in enumerate(self.texts)}
        ids = np.arange(len(self), dtype=np.int32) if self.ids is None else self.ids.copy()
        for row, text in texts.items():
            ids[row] = known.setdefault(text, len(known))
        return Coded(Texts.of(known), ids)


@dataclass(frozen=True, kw_only=True, eq=False)
class Columns:
    """What is known of each example, by the fields of Example; `above` is the folder of relative paths and a slash.

    Paths below it are without it, others after NOT_BELOW. The group is the path's text where there is no column of
    groups. `labels` are JSON. A span has a file, and offset and length in int64 [N, 2], an offset of -1 where there is
    none; a box is int32 [N, 4], all 0 where there is none.
    """

    above: str
    coded: Mapping[str, Coded]
    numbers: Mapping[str, Array]

    @classmethod
    def of(cls, examples: Sequence[Example], above: str) -> "Columns":
        """Of examples whose pixels are in files."""
        paths = [_below(str(one.path), above) for one in examples]
        coded = {"path": Coded.of(paths), "label": Coded.of(one.label for one in examples)}
        groups = [one.group for one in examples]
        texts = {
            "group": groups if groups != paths else [],
            "labels": [json.dumps(one.labels) for one in examples] if any(one.labels for one in examples) else [],
            "place": [one.place for one in examples],
            "annotated": [one.annotated for one in examples],
            _SPANS: [_below(str(one.span.file), above) if one.span else "" for one in examples],
        }
        coded |= {name: Coded.of(column) for name, column in texts.items() if any(column)}
        numbers: dict[str, Array] = {
            "box": np.array([one.box or (0, 0, 0, 0) for one in examples], np.int32).reshape(-1, 4),
            "span": np.array([one.span[1:] if one.span else (-1, 0) for one in examples], np.int64).reshape(-1, 2),
        }
        numbers |= {name: np.array([getattr(one, name) for one in examples], np.float64) for name in _FLOATS}
        return cls(
            above=above,
            coded=coded,
            numbers={name: column for name, column in numbers.items() if (column != _DEFAULTS[name]).any()},
        )

    def __len__(self) -> int:
        return len(self.coded["label"])

    def example(self, row: int) -> Example:
        path, label = self.coded["path"][row], self.coded["label"][row]
        # Most data sets have no more than these.
        more = {name: self._value(name, row) for name in self._more}
        return Example(Path(self.whole(path)), label, **{"group": path, **more})

    @cached_property
    def _more(self) -> list[str]:
        return [name for name in (*self.coded, *self.numbers) if name not in ("path", "label", _SPANS)]

    def whole(self, path: str) -> str:
        """The path that is meant."""
        return path[1:] if path.startswith(NOT_BELOW) else self.above + path

    def _value(self, name: str, row: int) -> Any:
        if name in self.coded:
            text = self.coded[name][row]
            return tuple(json.loads(text)) if name == "labels" else text
        value = self.numbers[name][row].tolist()
        if name == "box":
            return tuple(value) if value[2] else None
        if name == "span":
            offset, length = value
            return Span(Path(self.whole(self.coded[_SPANS][row])), offset, length) if offset >= 0 else None
        return value


_FLOATS = {"full_scale": 0, "weight": 1, "occluded": -1, "truncated": -1}
_DEFAULTS: Mapping[str, Any] = {**_FLOATS, "box": 0, "span": (-1, 0)}


def _below(path: str, above: str) -> str:
    return path[len(above) :] if above and path.startswith(above) else NOT_BELOW + path
