"""Examples to batches: decoded, cut and resized by threads, a few batches ahead of whoever trains on them."""

import itertools
from collections import Counter, deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tao_lite.data.batch import Batch
from tao_lite.data.cache.folder import open_disk
from tao_lite.data.cache.images import Images, Memory, Store
from tao_lite.data.cache.resident import Resident
from tao_lite.data.dataset import DataSet
from tao_lite.data.draws import CROP_ASPECT, CROP_LEFT, CROP_SCALE, CROP_TOP
from tao_lite.data.geometry import Fixed, Pixels, RandomBox, Size, fixed, random_crop, resize, resize_crop, squeeze
from tao_lite.data.growth import Growth
from tao_lite.data.left_out import UNREADABLE, LeftOut
from tao_lite.data.remote.ahead import Ahead, Follower
from tao_lite.data.sampler import Pick, Sampler
from tao_lite.errors import DataError
from tao_lite.spec.tasks import Tasks

NUM_BATCHES_AHEAD = 2
NUM_IMAGES_PER_TASK = 8
"""Few enough that the threads end together and stop at once, enough that handing out tasks costs nothing."""
_NUM_AT_ONCE = 1024

Geometry = Fixed | Literal["random_crop", "whole"]
"""Which part of a picture is seen; whole pictures come in their own size, one in a batch."""


@dataclass(frozen=True)
class Cache:
    """Room for what is the same in every epoch: the decoded image with random crop, the resized one otherwise."""

    max_bytes: int
    place: Path | torch.device | None = None
    """A file's folder or, not with random crop, a device that gets all; None: the host's memory."""


@dataclass(kw_only=True, eq=False)
class Loader:
    """The batches of a data set, epoch by epoch. A batch depends on the sampler's pick and on nothing else."""

    data_set: DataSet
    sampler: Sampler
    size: Size
    channels: int
    num_workers: int
    geometry: Geometry
    interpolation: Literal["bilinear", "bicubic"]
    bars: int = 0
    """The value of the bars beside letterboxed pictures."""
    report: LeftOut
    """Told of what can't be decoded. Ends the epoch if it raises."""
    total: Callable[[Tensor], Tensor] = torch.clone
    """The sum of a tensor over the processes, which come to it together."""
    cache: Cache | None = None
    random_box: RandomBox = random_crop
    """What a random crop cuts out."""
    ahead: Ahead | None = None
    """Fetches shards that are behind a URL, before their images are decoded."""
    growth: Growth | None = None
    """By which images are smaller than `size` in the first epochs."""
    pin_memory: bool = False
    """Page-locked batches, which a CUDA device fetches while the host goes on."""
    _images: Images = field(init=False, repr=False)
    _resident: Resident | None = field(init=False, repr=False, default=None)
    _labels: npt.NDArray[np.int64] = field(init=False, repr=False)
    _weights: npt.NDArray[np.float32] | None = field(init=False, repr=False)
    _targets: npt.NDArray[np.int64 | np.int8] = field(init=False, repr=False)
    _seen: npt.NDArray[np.int64] = field(init=False, repr=False)
    """Of each class, how many images of the epoch could be read and how many could not: [2, classes]."""

    def __post_init__(self) -> None:
        self._labels, self._targets = self.data_set.labels(), self.data_set.targets()
        self._weights = self.data_set.weights()
        self._seen = np.zeros((2, len(self.data_set.label_names)), np.int64)
        self._images = Images(self.data_set.examples, self.channels, self._resized_if_fixed, self._store())
        if self.cache and isinstance(self.cache.place, torch.device):
            assert self.geometry != "random_crop"
            assert not self.growth
            self._resident = Resident(self.num_examples, self.size, self.channels, self.cache.place)

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.data_set.class_names

    @property
    def tasks(self) -> Tasks:
        return self.data_set.tasks

    @property
    def num_examples(self) -> int:
        """Examples of the data set, over all processes."""
        return len(self.data_set.examples)

    def __len__(self) -> int:
        """Batches of an epoch in this process."""
        return len(self.sampler)

    def epoch(self, epoch: int, done: int = 0) -> Generator[Batch]:
        """The batches of the epoch without the first `done` images of its order.

        What goes wrong in a thread is raised here. However the iteration ends, no thread outlives it, but one that
        fetches a shard does so to its end.

        Raises:
            StoreError: a store behind a URL fails or refuses, or the shard cache is too small.
            DataError: by way of `report`, where too many can't be read, or where one of several training processes
                would leave out a batch.
        """
        sampler, picks, num_batches = self.sampler, self.sampler.batches(epoch, done), 0
        size = self.growth.size(epoch) if self.growth else self.size
        self._seen[:] = 0
        cv2.setNumThreads(1)  # the pool's threads are enough
        pool = ThreadPoolExecutor(self.num_workers, thread_name_prefix="decode")
        follower = self._following(epoch, done)
        try:
            pending = deque(self._begin(pool, pick, size) for pick in itertools.islice(picks, NUM_BATCHES_AHEAD))
            while pending:
                batch = self._complete(pending.popleft())
                if follower:
                    follower.advance(batch.done)
                pending.extend(self._begin(pool, pick, size) for pick in itertools.islice(picks, 1))
                if len(batch.paths) >= sampler.smallest_batch:
                    num_batches += 1
                    yield batch
                elif sampler.training and sampler.world_size > 1:
                    # Left out here alone, it would leave the other processes waiting for this one.
                    raise DataError(
                        f"batch {batch.number} of process {sampler.rank} has too few images that can be read, and the "
                        "others can't wait; remove the bad images or train in one process"
                    )
        finally:
            if follower:
                follower.stop()
            pool.shutdown(cancel_futures=True)
        self._verify(num_batches, is_whole=done == 0)

    def _following(self, epoch: int, done: int) -> Follower | None:
        """What fetches the shards of the epoch that are behind a URL."""
        if not self.ahead:
            return None
        store = self._resident or self._images.store
        kept = store.kept() if store else np.zeros(self.num_examples, np.bool_)
        lag = NUM_BATCHES_AHEAD * self.sampler.split.batch
        return self.ahead.following(self.sampler.order(epoch), done, kept, lag)

    def fill(self) -> int:
        """Decode what the cache lacks, bad images being told to `report`; how many images it holds then."""
        unread: Counter[str] = Counter()
        with ThreadPoolExecutor(self.num_workers, thread_name_prefix="decode") as pool:
            for part in _parts(range(self.num_examples), _NUM_AT_ONCE):
                for index, problem in zip(part, pool.map(self._problem, part), strict=True):
                    if problem:
                        self._tell(index, problem)
                        unread[self.data_set.examples[index].label] += 1
        self.report.unread(unread)
        return sum(map(self._images.is_kept, range(self.num_examples)))

    def _problem(self, index: int) -> str:
        """Why there is no such image; empty if there is."""
        try:
            self._images[index]
        except DataError as error:
            return str(error)
        return ""

    def _tell(self, index: int, message: str) -> None:
        path = self.data_set.examples[index].path
        self.report(str(path), message.removeprefix(f"{path}: "), labels=())

    def _count(self, labels: npt.NDArray[np.int64], kept: list[int]) -> None:
        """Note which images of a batch, by their slots, could be read.

        Raises:
            DataError: too many of the epoch can't be, whatever the other processes find.
        """
        is_read = np.isin(np.arange(len(labels)), kept)
        for row, part in enumerate((labels[is_read], labels[~is_read])):
            self._seen[row] += np.bincount(part, minlength=self._seen.shape[1])
        num_unread = int(self._seen[1].sum())
        if num_unread and self.report.is_too_much(num_unread, self.num_examples):
            self._refuse(self._seen)

    def _verify(self, num_batches: int, *, is_whole: bool) -> None:
        """Sum up an epoch: how much of it could not be read, over all processes.

        Raises:
            DataError: too much for the data set or a class, or there was nothing to train on.
        """
        seen = self.total(torch.from_numpy(np.append(self._seen.ravel(), num_batches)))
        counts = seen[:-1].reshape(self._seen.shape).numpy()
        self.report.unread({name: number for name, number in self._by_class(counts[1]).items() if number})
        if is_whole and counts[1].any():
            self._refuse(counts if seen[-1] else np.stack([0 * counts[0], counts[1]]))

    def _refuse(self, counts: npt.NDArray[np.int64]) -> None:
        read, unread = map(self._by_class, counts)
        self.report.verify(read, {(UNREADABLE, name): number for name, number in unread.items() if number})

    def _by_class(self, counts: npt.NDArray[np.int64]) -> dict[str, int]:
        return dict(zip(self.data_set.label_names, counts.tolist(), strict=True))

    def _store(self) -> Store | None:
        """What keeps images on the host."""
        if self.cache is None or isinstance(self.cache.place, torch.device):
            return None
        if self.cache.place is None:
            return Memory(self.num_examples, self.cache.max_bytes)
        is_random = self.geometry == "random_crop"
        view = (self.geometry, self.size, self.interpolation, self.bars)
        settings = (self.channels, None if is_random else view)
        folder, max_bytes = self.cache.place, self.cache.max_bytes
        return open_disk(folder, self.data_set.examples, self.channels, settings, max_bytes=max_bytes)

    def _begin(self, pool: ThreadPoolExecutor, pick: Pick, size: Size) -> "_Pending":
        """The batch, its images still being made by the pool in that size."""
        made = self._resident.missing(pick.indices) if self._resident else np.arange(len(pick.indices))
        # A fresh buffer each time: whoever holds the batch before may still be reading it.
        images = torch.empty((len(made), *size, self.channels), dtype=torch.uint8, pin_memory=self.pin_memory)
        whole = np.empty(len(made), np.object_) if self.geometry == "whole" else None
        out = images.numpy() if whole is None else whole
        tasks = [
            pool.submit(self._fill, out, pick.indices[made], pick.draws[made], slots)
            for slots in _parts(range(len(made)), NUM_IMAGES_PER_TASK)
        ]
        return _Pending(pick, made, images, tasks, whole)

    def _fill(
        self, out: npt.NDArray[Any], indices: npt.NDArray[np.int64], numbers: npt.NDArray[np.float64], slots: range
    ) -> list[tuple[int, str]]:
        """Put the images of these slots in their places; the slots that stay empty, with the reason."""
        empty, size = [], out.shape[1:3]
        for slot in slots:
            try:
                image = self._images[int(indices[slot])]
            except DataError as error:
                empty.append((slot, str(error)))
                continue
            if self.geometry == "random_crop":
                scale, left, top, shape = numbers[slot, [CROP_SCALE, CROP_LEFT, CROP_TOP, CROP_ASPECT]].tolist()
                box = self.random_box(_size(image), self.size, (scale, left, top, shape))
                image = resize_crop(image, box, size, self.interpolation)
            elif self.growth and size != self.size:
                image = resize(image, squeeze(self.size, size), size, self.interpolation)
            out[slot] = image
        return empty

    def _resized_if_fixed(self, image: Pixels) -> Pixels:
        """The image as far as it is the same in every epoch."""
        if self.geometry in ("random_crop", "whole"):
            return image
        return fixed(image, self.geometry, self.size, self.interpolation, self.bars)

    def _complete(self, pending: "_Pending") -> Batch:
        """The batch, waited for, less its empty slots."""
        pick, made = pending.pick, pending.made
        failed = dict(itertools.chain.from_iterable(task.result() for task in pending.tasks))
        empty = {int(made[place]): message for place, message in failed.items()}
        examples = [self.data_set.examples[index] for index in pick.indices]
        for slot, message in empty.items():
            self._tell(int(pick.indices[slot]), message)
        kept = [slot for slot in range(len(examples)) if slot not in empty]
        self._count(self._labels[pick.indices], kept)
        good = [place for place in range(len(made)) if place not in failed]
        images = pending.images[good] if failed else pending.images
        if pending.whole is not None and good:
            images = torch.from_numpy(np.stack(list(pending.whole[good])))
        if self._resident:
            self._resident.put(pick.indices[made[good]], images)
            images = self._resident.get(pick.indices[kept])
        # The largest float32 below 1: rounding must not reach 1.
        draws = np.minimum(pick.draws[kept], 1 - 2.0**-24).astype(np.float32)
        weights = None if self._weights is None else torch.from_numpy(self._weights[pick.indices[kept]])
        return Batch(
            images=self._pinned(images).permute(0, 3, 1, 2),
            labels=self._pinned(torch.from_numpy(self._targets[pick.indices[kept]])),
            paths=tuple(examples[slot].path for slot in kept),
            draws=self._pinned(torch.from_numpy(draws)),
            weights=None if weights is None else self._pinned(weights),
            number=pick.number,
            done=pick.done,
            surplus=pick.surplus,
            indices=tuple(pick.indices[kept].tolist()),
        )

    def _pinned(self, tensor: Tensor) -> Tensor:
        is_wanted = self.pin_memory and tensor.device.type == "cpu" and not tensor.is_pinned()
        return tensor.pin_memory() if is_wanted else tensor


@dataclass(frozen=True, slots=True)
class _Pending:
    """A batch of which the threads are still making the slots `made`. images: uint8 [len(made), H, W, C].

    Whole pictures are made in `whole`, the images then being empty.
    """

    pick: Pick
    made: npt.NDArray[np.int64]
    images: Tensor
    tasks: list[Future[list[tuple[int, str]]]]
    whole: npt.NDArray[np.object_] | None


def _parts(slots: range, size: int) -> list[range]:
    return [slots[first : first + size] for first in range(0, len(slots), size)]


def _size(image: Pixels) -> Size:
    height, width, _ = image.shape
    return height, width
