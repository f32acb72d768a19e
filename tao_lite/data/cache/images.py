"""The pixels of examples, as far as they are the same in every epoch: decoded once where a store keeps them."""

import contextlib
import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from tao_lite.data.decode import decode
from tao_lite.data.example import Example
from tao_lite.data.examples import Examples
from tao_lite.data.geometry import Pixels, cut
from tao_lite.errors import DataError

_NUM_LOCKS = 64

_log = logging.getLogger(__name__)


class Store(Protocol):
    """What keeps images, by the index of their example. For several threads."""

    def get(self, index: int) -> Pixels | None: ...

    def put(self, images: Mapping[int, Pixels]) -> None: ...

    def kept(self) -> npt.NDArray[np.bool_]:
        """Of each example, whether it is there; one that turns out to be damaged may be among them."""
        ...


class Memory:
    """Keeps images until the budget is spent; nothing is dropped for something else."""

    def __init__(self, count: int, budget_bytes: int) -> None:
        """`count` is that of the examples."""
        self._count = count
        self._budget_bytes = budget_bytes
        self._free_bytes = budget_bytes
        self._stored: dict[int, Pixels] = {}
        self._is_full = False
        self._lock = threading.Lock()

    def get(self, index: int) -> Pixels | None:
        return self._stored.get(index)

    def kept(self) -> npt.NDArray[np.bool_]:
        kept = np.zeros(self._count, np.bool_)
        kept[list(self._stored)] = True
        return kept

    def put(self, images: Mapping[int, Pixels]) -> None:
        needed = sum(image.nbytes for image in images.values())
        with self._lock:
            if self._is_full:
                return
            if needed <= self._free_bytes:
                self._free_bytes -= needed
                self._stored.update(images)
                return
            self._is_full = True
        _log.info(
            "kept %d of %d examples in memory, %s; the others are decoded anew each epoch",
            *(len(self._stored), self._count, readable(self._budget_bytes - self._free_bytes)),
        )


class Images:
    """images[index]: the pixels of an example, decoded, cut out of its frame and finished. For several threads.

    What was decoded goes to the store, where there is one. A frame with several examples is then decoded once for all
    of them.
    """

    def __init__(
        self, examples: Sequence[Example], channels: int, finish: Callable[[Pixels], Pixels], store: Store | None = None
    ) -> None:
        """`finish` is applied to each cut-out image before it is kept; it must always give the same."""
        self._examples = examples
        self._channels = channels
        self._finish = finish
        self.store = store
        self._bad: dict[int, str] = {}
        self._indices_of_frame = _shared_frames(examples) if store else {}
        # A lock per frame would be one per file; sharing a few costs a wait now and then.
        self._frame_locks = [threading.Lock() for _ in range(_NUM_LOCKS)]

    def __getitem__(self, index: int) -> Pixels:
        """uint8 [H, W, C]; not to be written to.

        Raises:
            DataError: the image can't be decoded. It isn't tried again.
        """
        image = self.store.get(index) if self.store else None
        return self._decoded(index) if image is None else image

    def is_kept(self, index: int) -> bool:
        """Whether the store has the image."""
        return self.store is not None and self.store.get(index) is not None

    def _decoded(self, index: int) -> Pixels:
        path, store = self._examples[index].path, self.store
        with self._frame_locks[hash(path) % _NUM_LOCKS] if store else contextlib.nullcontext():
            image = store.get(index) if store else None  # Another thread may have decoded the frame meanwhile.
            if image is None and index not in self._bad:
                images = self._decode(self._indices_of_frame.get(path, [index]))
                if store:
                    store.put(images)
                image = images.get(index)
        if image is None:
            raise DataError(self._bad[index])
        return image

    def _decode(self, indices: Sequence[int]) -> dict[int, Pixels]:
        """The finished images of examples that share a frame; those that can't be had are noted as bad."""
        images = {}
        first = self._examples[indices[0]]
        try:
            frame = first.pixels
            if frame is None:
                frame = decode(first.path, self._channels, first.span, first.full_scale)
        except DataError as error:
            self._bad.update(dict.fromkeys(indices, str(error)))
            return {}
        for index in indices:
            path, box = self._examples[index].path, self._examples[index].box
            image = cut(frame, box)
            if image.size:
                images[index] = self._finish(image)
            else:
                height, width = frame.shape[:2]
                self._bad[index] = f"{path}: the box {box} lies outside the picture of {width} x {height} pixels"
        return images


def readable(num_bytes: int) -> str:
    return f"{num_bytes / 2**30:.1f} GiB" if num_bytes >= 2**30 else f"{num_bytes / 2**20:.1f} MiB"


def _shared_frames(examples: Sequence[Example]) -> Mapping[Path, list[int]]:
    """The examples of each frame of which an example is a part."""
    columns = Examples.of(examples)
    boxes, paths = columns.numbers("box"), columns.ids("path")
    if boxes is None:
        return {}
    has_parts = np.zeros(len(columns.texts("path")), np.bool_)
    has_parts[paths[boxes.any(axis=1)]] = True
    indices_of_frame: defaultdict[int, list[int]] = defaultdict(list)
    for index in np.flatnonzero(has_parts[paths]).tolist():
        indices_of_frame[paths[index]].append(index)
    return {examples[indices[0]].path: indices for indices in indices_of_frame.values()}
