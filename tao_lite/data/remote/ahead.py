"""Ahead: the shards that an epoch is about to need, fetched in its order and held until its last image of them."""

import itertools
import queue
import threading
from collections.abc import Sequence
from io import BufferedReader
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tao_lite.data.example import Example
from tao_lite.data.examples import Examples
from tao_lite.data.remote import limits, shards
from tao_lite.errors import StoreError
from tao_lite.files.places import fetched

_NUM_FETCHES = 4
"""At once: their latencies are waited for together."""
_MOST_HELD = 64
_PAUSE_SECONDS = 0.05

Indices = npt.NDArray[np.int64]
Kept = npt.NDArray[np.bool_]


class Plan(NamedTuple):
    """For each shard that is needed, in the order in which they are: the places of its first and last image."""

    shards: Indices
    first: Indices
    last: Indices


class Ahead:
    """Which shards the examples are in, if they are fetched ones: `following` an epoch fetches them."""

    def __init__(self, examples: Sequence[Example], num_neighbours: int = 1) -> None:
        """`num_neighbours` are the processes that share the machine's shard cache."""
        numbers, files = Examples.of(examples).files()
        is_fetched = [bool(fetched(file)[0]) for file in files]
        renumbered = np.full(len(files) + 1, -1, np.int64)
        renumbered[np.flatnonzero(is_fetched)] = np.arange(sum(is_fetched))
        self._shard_of = renumbered[numbers]
        self._files = list(itertools.compress(files, is_fetched))
        self._num_neighbours = num_neighbours

    def __bool__(self) -> bool:
        """Whether any shard is a fetched one."""
        return bool(self._files)

    def following(self, order: Indices, done: int, kept: Kept, lag: int) -> "Follower":
        """Fetch what the images of the order need after the place `done`, but for those that are `kept` decoded.

        `lag` is how many images further others may be read before it is told that one has been.

        Raises:
            StoreError: more shards are needed at a time than the cache can hold.
        """
        left = order[done:]
        found = plan(np.where(kept[left], -1, self._shard_of[left]), done)
        sizes, max_bytes = self._sizes()
        peak = peak_bytes(found, sizes, lag)
        if peak > max_bytes:
            raise StoreError(
                f"the order of images needs {peak:,} bytes of shards at a time, and the shard cache has {max_bytes:,}; "
                "set dataset_config.shuffle SHARDS, or lower shuffle_shards, or raise shard_cache_gib"
            )
        # Never more than there is: a shard that is needed later could take the room of one that is needed sooner.
        budget = min(max_bytes, max(peak + int(sizes.max(initial=0)), max_bytes // self._num_neighbours))
        return Follower([self._files[one] for one in found.shards], found, sizes[found.shards], budget)

    def num_bytes(self) -> tuple[int, int]:
        """Of all shards, and of the cache."""
        sizes, max_bytes = self._sizes()
        return int(sizes.sum()), max_bytes

    def _sizes(self) -> tuple[Indices, int]:
        listings = {folder: limits.read(folder) for folder in {file.parent.parent for file in self._files}}
        kept = {folder: listing for folder, listing in listings.items() if listing}
        sizes = [kept[file.parent.parent].shards[file.name].size for file in self._files]
        return np.array(sizes, np.int64), min(listing.max_bytes for listing in kept.values())


class Follower:
    """Threads that fetch shards in order, as far ahead as `budget` bytes allow."""

    def __init__(self, files: Sequence[Path], found: Plan, sizes: Indices, budget: int) -> None:
        self._files, self._plan, self._sizes, self._budget = files, found, sizes, budget
        # Where all find room, nothing has to be held: it takes a file number of the process for each.
        self._is_holding = int(sizes.sum()) > budget
        self._next_need = dict(zip(files, found.first.tolist(), strict=True))
        self._held: dict[int, BufferedReader | None] = {}
        self._num_bytes, self._done, self._is_over = 0, 0, False
        self._changed = threading.Condition()
        self._wanted: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        targets = [self._schedule, *[self._fetch] * min(_NUM_FETCHES, len(files))]
        for target in targets if files else ():
            threading.Thread(target=target, name="shards", daemon=True).start()

    def advance(self, done: int) -> None:
        """Let go of the shards whose images are all before this place."""
        with self._changed:
            self._done = done
            for number in [one for one in self._held if self._plan.last[one] < done]:
                self._release(number)
            self._changed.notify_all()

    def stop(self) -> None:
        """Let go of all."""
        with self._changed:
            self._is_over = True
            for number in list(self._held):
                self._release(number)
            self._changed.notify_all()

    def _release(self, number: int) -> None:
        if file := self._held.pop(number):
            file.close()
        self._num_bytes -= int(self._sizes[number])

    def _schedule(self) -> None:
        """Hand out the shards in order, so that an earlier one never waits for the room of a later one."""
        for number, size in enumerate(self._sizes.tolist()):
            with self._changed:
                while not (self._is_over or self._has_room(size)):
                    self._changed.wait()
                if self._is_over:
                    break
                self._held[number] = None
                self._num_bytes += size
            self._wanted.put(number)
        for _ in range(_NUM_FETCHES):
            self._wanted.put(None)

    def _has_room(self, size: int) -> bool:
        has_room = self._num_bytes + size <= self._budget and len(self._held) < _MOST_HELD
        return has_room or not self._is_holding or not self._held

    def _fetch(self) -> None:
        while (number := self._wanted.get()) is not None:
            file = self._opened(number)
            with self._changed:
                if number in self._held and self._is_holding:
                    self._held[number] = file
                elif file:
                    file.close()

    def _opened(self, number: int) -> BufferedReader | None:
        """The shard; None where it isn't needed any more, or can't be had: who reads it is told why."""
        while True:
            with self._changed:
                if number not in self._held:
                    return None
            try:
                return shards.opened(self._files[number], self._rank)
            except shards.CacheFullError:
                with self._changed:
                    self._changed.wait(_PAUSE_SECONDS)
            except StoreError:
                return None

    def _rank(self, file: Path) -> float:
        """What this epoch needs no more goes first, then what it needs last."""
        need = self._next_need.get(file, -1)
        return -1.0 if need < self._done else 1 / (1 + need)


def plan(numbers: Indices, done: int = 0) -> Plan:
    """What an order of images needs; of each its shard's number, or -1. Places are counted from `done`."""
    places = np.flatnonzero(numbers >= 0)
    needed = numbers[places]
    found, first = np.unique(needed, return_index=True)
    _, from_end = np.unique(needed[::-1], return_index=True)
    by_need = np.argsort(first, kind="stable")
    last = places[len(places) - 1 - from_end] + done
    return Plan(found[by_need], places[first][by_need] + done, last[by_need])


def peak_bytes(found: Plan, sizes: Indices, lag: int = 0) -> int:
    """The most bytes of shards that are needed at one place, each for `lag` places more than its images take."""
    own = sizes[found.shards]
    places = np.concatenate([found.first, found.last + 1 + lag])
    changes = np.concatenate([own, -own])
    by_place = np.lexsort((changes, places))
    return int(np.cumsum(changes[by_place]).max(initial=0))
