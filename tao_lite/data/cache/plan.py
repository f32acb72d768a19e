"""Which cache a data set gets: what it needs, what is free, and what the spec wants."""

import contextlib
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch

from tao_lite.data.cache.images import readable
from tao_lite.data.decode import image_size
from tao_lite.data.example import Example
from tao_lite.data.examples import Examples
from tao_lite.data.geometry import Size
from tao_lite.errors import DataError
from tao_lite.files.places import fetched

AUTO_SHARE = 1 / 4
"""Share of the available memory up to which AUTO keeps a data set there."""
MEMORY_SHARE = 3 / 4
"""Share of the available memory that MEMORY takes at most."""
DEVICE_SHARE = 1 / 2
"""Share of the device's free memory that DEVICE takes at most; the network needs the rest."""

DISK_SLACK = 3 / 2
"""By how much a cache on disk may exceed the estimate, which is made from a few pictures."""

_NUM_SAMPLED = 32

_log = logging.getLogger(__name__)

Kind = Literal["OFF", "MEMORY", "DISK", "DEVICE"]
_VERDICTS = {
    "OFF": "decoded anew each epoch",
    "MEMORY": "kept in memory",
    "DISK": "kept on disk",
    "DEVICE": "kept on the device",
}


class Room(NamedTuple):
    """Bytes that are free: of memory, for this process; on disk, for all caches; on the device, if it is a GPU."""

    memory: int
    disk: int = 0
    device: int = 0


class Plan(NamedTuple):
    """Where decoded images are kept and how many bytes of them."""

    kind: Kind
    max_bytes: int


def plan(mode: str, needed: int, room: Room, folder: Path, *, is_fixed: bool, is_read_once: bool = False) -> Plan:
    """The cache of `mode`, a name of Cache.Mode, for images that need so many bytes; says so in the log.

    `folder` is that of DISK. is_fixed: the network sees the same part of an image in each epoch. is_read_once: there is
    one epoch only, for which AUTO writes nothing to disk.
    """
    kind = _kind(mode, needed, room._replace(disk=0) if is_read_once and mode == "AUTO" else room, is_fixed=is_fixed)
    limits = {"OFF": 0, "MEMORY": int(room.memory * MEMORY_SHARE), "DEVICE": needed}
    limits["DISK"] = min(room.disk, int(needed * DISK_SLACK) + 2**20)
    if mode == "AUTO" and kind == "MEMORY":
        limits["MEMORY"] = int(room.memory * AUTO_SHARE)
    _log.info(
        "the images need about %s; available are %s of memory and %s on disk (%s): with cache %s they are %s",
        *(readable(needed), readable(room.memory), readable(room.disk), folder, mode, _VERDICTS[kind]),
    )
    return Plan(kind, limits[kind])


def device_room(device: torch.device) -> int:
    """Free bytes of a GPU; 0 of anything else."""
    return int(torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else 0


def estimate_bytes(examples: Sequence[Example], channels: int, size: Size | None) -> int:
    """About the bytes of all examples at that size or, without one, as they are in their files, judged by a few."""
    if size is not None:
        return len(examples) * size[0] * size[1] * channels
    boxes = Examples.of(examples).numbers("box")
    if boxes is not None and boxes.any(axis=1).all():
        width, height = np.asarray(boxes[:, 2:] - boxes[:, :2], np.int64).T
        areas = (width * height).tolist()
    else:  # Boxes are at hand; sizes of files have to be read from them. Of shards to be fetched, the first will do.
        is_fetched = bool(examples) and examples[0].span is not None and fetched(examples[0].span.file)[0]
        step = max(1, len(examples) // _NUM_SAMPLED)
        areas = list(_areas(examples[:_NUM_SAMPLED] if is_fetched else examples[::step]))
    return int(sum(areas) / max(1, len(areas)) * len(examples) * channels)


def _kind(mode: str, needed: int, room: Room, *, is_fixed: bool) -> Kind:
    if mode == "AUTO":
        if needed <= room.memory * AUTO_SHARE:
            return "MEMORY"
        return "DISK" if 0 < needed <= room.disk else "OFF"
    if mode == "DEVICE":
        reason = _not_on_device(needed, room, is_fixed=is_fixed)
        if reason:
            _log.warning("cache DEVICE: %s; the images are kept in memory instead", reason)
        return "MEMORY" if reason else "DEVICE"
    if mode == "DISK" and not room.disk:
        _log.warning("cache DISK: nothing can be written to its folder; set dataset_config.cache_dir to another")
        return "OFF"
    kinds: dict[str, Kind] = {"OFF": "OFF", "MEMORY": "MEMORY", "DISK": "DISK"}
    return kinds[mode]


def _not_on_device(needed: int, room: Room, *, is_fixed: bool) -> str:
    if not is_fixed:
        return "crops and sizes that change are made on the host, so that they are the same in every mode"
    if not room.device:
        return "the network is not on a GPU"
    if needed > room.device * DEVICE_SHARE:
        return f"the images need {readable(needed)}, and half of the GPU's free memory is {readable(room.device // 2)}"
    return ""


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
