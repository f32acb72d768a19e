"""The pixels of examples, as far as they are the same in every epoch, kept in memory where they fit."""

import contextlib
import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from tao_lite.data.decode import decode, image_size
from tao_lite.data.example import Example
from tao_lite.data.geometry import Pixels, Size
from tao_lite.errors import DataError

AUTO_SHARE = 1 / 4
"""Share of the available memory up to which AUTO keeps a data set."""
MEMORY_SHARE = 3 / 4
"""Share of the available memory that MEMORY takes at most."""

_NUM_SAMPLED = 32
_NUM_LOCKS = 64

logger = logging.getLogger(__name__)


class Images:
    """images[index]: the pixels of an example, decoded, cut out of its frame and finished. For several threads.

    With a budget, what was decoded stays in memory until the budget is spent; nothing is dropped for something else.
    A frame with several examples is then decoded once for all of them.
    """

    def __init__(
        self, examples: Sequence[Example], channels: int, finish: Callable[[Pixels], Pixels], *, budget_bytes: int = 0
    ) -> None:
        """`finish` is applied to each cut-out image before it is kept; it must always give the same."""
        self._examples = examples
        self._channels = channels
        self._finish = finish
        self._budget_bytes = budget_bytes
        self._free_bytes = budget_bytes
        self._stored: dict[int, Pixels] = {}
        self._bad: dict[int, str] = {}
        self._indices_of_frame: defaultdict[Path, list[int]] = defaultdict(list)
        self._is_storing = budget_bytes > 0
        if self._is_storing:
            for index, example in enumerate(examples):
                self._indices_of_frame[example.path].append(index)
        # A lock per frame would be one per file; sharing a few costs a wait now and then.
        self._frame_locks = [threading.Lock() for _ in range(_NUM_LOCKS)]
        self._budget_lock = threading.Lock()

    def __getitem__(self, index: int) -> Pixels:
        """uint8 [H, W, C]; not to be written to.

        Raises:
            DataError: the image can't be decoded. It isn't tried again.
        """
        image = self._stored.get(index)
        if image is None:
            path = self._examples[index].path
            lock = self._frame_locks[hash(path) % _NUM_LOCKS] if self._is_storing else contextlib.nullcontext()
            with lock:
                image = self._stored.get(index)  # Another thread may have decoded the frame meanwhile.
                if image is None and index not in self._bad:
                    images = self._decode(self._indices_of_frame[path] if self._is_storing else [index])
                    self._keep(images)
                    image = images.get(index)
        if image is None:
            raise DataError(self._bad[index])
        return image

    def _decode(self, indices: Sequence[int]) -> dict[int, Pixels]:
        """The finished images of examples that share a frame; those that can't be had are noted as bad."""
        images = {}
        first = self._examples[indices[0]]
        try:
            frame = decode(first.path, self._channels, first.span)
        except DataError as error:
            self._bad.update(dict.fromkeys(indices, str(error)))
            return {}
        for index in indices:
            try:
                images[index] = self._finish(_cut(frame, self._examples[index]))
            except DataError as error:
                self._bad[index] = str(error)
        return images

    def _keep(self, images: dict[int, Pixels]) -> None:
        needed = sum(image.nbytes for image in images.values())
        with self._budget_lock:
            if not self._is_storing:
                return
            if needed <= self._free_bytes:
                self._free_bytes -= needed
                self._stored.update(images)
                return
            self._is_storing = False
        logger.info(
            "kept %d of %d examples in memory, %s; the others are decoded anew each epoch",
            *(len(self._stored), len(self._examples), _readable(self._budget_bytes - self._free_bytes)),
        )


def budget_bytes(mode: str, needed: int, available: int) -> int:
    """Bytes that may be kept: 0 for OFF; for AUTO, 0 unless the need is at most a quarter of the available memory."""
    budgets = {
        "OFF": 0,
        "AUTO": int(available * AUTO_SHARE) if needed <= available * AUTO_SHARE else 0,
        "MEMORY": int(available * MEMORY_SHARE),
    }
    budget = budgets[mode]
    verdict = "are kept in memory" if budget else "are decoded anew each epoch"
    logger.info(
        "the images need about %s, %s of memory are available: with cache %s they %s",
        *(_readable(needed), _readable(available), mode, verdict),
    )
    return budget


def estimate_bytes(examples: Sequence[Example], channels: int, size: Size | None) -> int:
    """About the bytes of all examples at that size or, without one, as they are in their files, judged by a few."""
    if size is not None:
        return len(examples) * size[0] * size[1] * channels
    # Boxes are at hand; sizes of files have to be read from them.
    step = 1 if all(example.box for example in examples) else max(1, len(examples) // _NUM_SAMPLED)
    areas = list(_areas(examples[::step]))
    return int(sum(areas) / max(1, len(areas)) * len(examples) * channels)


def _areas(examples: Iterable[Example]) -> Iterable[int]:
    """Pixels of each example that has a box or whose file's head can be read."""
    for example in examples:
        if example.box is not None:
            left, top, right, bottom = example.box
            yield (right - left) * (bottom - top)
            continue
        with contextlib.suppress(DataError):  # It is reported when its turn comes.
            width, height = image_size(example.path, example.span)
            yield width * height


def _cut(frame: Pixels, example: Example) -> Pixels:
    """The example's own pixels; a copy, so that they don't keep the frame in memory.

    Raises:
        DataError: the box lies outside the frame.
    """
    if example.box is None:
        return frame
    left, top, right, bottom = example.box
    image = frame[top:bottom, left:right].copy()
    if not image.size:
        height, width = frame.shape[:2]
        raise DataError(f"{example.path}: the box {example.box} lies outside the picture of {width} x {height} pixels")
    return image


def _readable(num_bytes: int) -> str:
    return f"{num_bytes / 2**30:.1f} GiB" if num_bytes >= 2**30 else f"{num_bytes / 2**20:.1f} MiB"
