"""The folder of cache files: where it is, what it may take of its disk, and what goes when there is no more room."""

import contextlib
import logging
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tao_lite.data.cache import key as cache_key
from tao_lite.data.cache.file import CacheFile
from tao_lite.data.cache.images import readable
from tao_lite.data.example import Example
from tao_lite.data.geometry import Pixels

DISK_SHARE = 1 / 2
"""Share of the disk's free space, caches not counted, up to which the caches of a folder grow together."""

_SUFFIX = ".images"
_RECENT_SECONDS = 3600
"""What was opened or written to since then is taken to be in use. Removing it would do no harm but be in vain."""

_log = logging.getLogger(__name__)


class Disk:
    """A store in a cache file. An image whose file has changed since the data set was listed is not put there."""

    def __init__(self, file: CacheFile, examples: Sequence[Example], stamps: npt.NDArray[np.uint64]) -> None:
        self._file = file
        self._examples = examples
        self._stamps = stamps

    def get(self, index: int) -> Pixels | None:
        return self._file.get(index)

    def kept(self) -> npt.NDArray[np.bool_]:
        return self._file.kept()

    def put(self, images: Mapping[int, Pixels]) -> None:
        known = (index for index in images if cache_key.is_unchanged(self._examples[index], self._stamps[index]))
        self._file.put({index: images[index] for index in known})


def room(folder: Path) -> int:
    """Bytes that caches may take there, those that they have included; 0 where nothing can be written."""
    existing = next((path for path in (folder, *folder.parents) if path.exists()), Path("/"))
    if not folder.is_absolute() or not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        return 0
    with contextlib.suppress(OSError):
        return int((shutil.disk_usage(existing).free + sum(size for _, size, _ in _files(folder))) * DISK_SHARE)
    return 0


def open_disk(
    folder: Path, examples: Sequence[Example], channels: int, settings: Sequence[object], *, max_bytes: int
) -> Disk | None:
    """The store of these examples, made where there is none; None, with a warning, where that can't be."""
    stamps = cache_key.stamps(examples)
    key = cache_key.key(examples, stamps, settings)
    path = folder / f"{key[:16].hex()}{_SUFFIX}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _make_room(folder, path, max_bytes)
        file = CacheFile(path, key, len(examples), channels, max_bytes=max_bytes)
        os.utime(path)
        size = path.stat().st_size
    except OSError as error:
        _log.warning("%s: no cache can be kept there (%s); images are decoded anew each epoch", path, error.strerror)
        return None
    _log.info("decoded images are kept in %s: %s now, %s at most", path, readable(size), readable(max_bytes))
    return Disk(file, examples, stamps)


def _make_room(folder: Path, own: Path, max_bytes: int) -> None:
    """Remove those caches that were not used for longest until this one can grow to its size."""
    others = [entry for entry in _files(folder) if entry[2] != own]
    total = sum(size for _, size, _ in others)
    for used, size, path in others:
        if total + max_bytes <= room(folder):
            return
        if used < time.time() - _RECENT_SECONDS:
            with contextlib.suppress(OSError):
                path.unlink()
                _log.info("%s: removed, the cache that was not used for longest: %s", path, readable(size))
                total -= size


def _files(folder: Path) -> list[tuple[float, int, Path]]:
    """Time of last use, bytes on disk and path of each cache, oldest first."""
    files = []
    for path in folder.glob(f"*{_SUFFIX}"):
        with contextlib.suppress(OSError):
            status = path.stat()
            files.append((status.st_mtime, status.st_blocks * 512, path))
    return sorted(files)
