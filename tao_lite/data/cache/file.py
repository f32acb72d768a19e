"""CacheFile: finished images in one file on disk, which any number of threads, processes and runs fill and read.

    head (64 bytes) | one entry of 32 bytes for each example | pixels, in the order in which they came

The file grows during the first epoch. Whoever decodes an image takes room at the end, under a lock of the kernel, which
dies with its holder; writes the pixels; and only then marks the entry as filled. So an entry is there with all its
pixels or not at all, whenever a process is killed, and what is there is good in the next run. Two that decode the same
image write the same bytes to the same place: the file's name and head hold the key of everything the pixels depend on.

It is read, not mapped: of a mapped file that is cut off meanwhile, a touch ends the process (SIGBUS), and so does a
write to one on a full disk. A read of 150 KB costs 20 microseconds more, and lets its checksum be compared each time.
"""

import contextlib
import errno
import fcntl
import logging
import os
import struct
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import google_crc32c
import numpy as np
import numpy.typing as npt

from tao_lite.data.geometry import Pixels

_HEAD = struct.Struct("<8sIQ32sI8x")
_ENTRY = struct.Struct("<QIIIII4x")
_MAGIC = b"TAOLITE\0"
_VERSION = 1
_TRY_SECONDS = 0.0005
_LOCK_TRIES = 40
_OPEN_TRIES = 10_000

_log = logging.getLogger(__name__)


class _Entry(NamedTuple):
    """Where the pixels of an example are. checksum: of the pixels; 0 until all are written, as is is_filled."""

    offset: int
    height: int
    width: int
    is_filled: int
    checksum: int


class CacheFile:
    """get(index): the pixels of an example, or None where they are not in the file; put: write them there."""

    def __init__(self, path: Path, key: bytes, count: int, channels: int, *, max_bytes: int) -> None:
        """Open or make the file for `count` examples; one that is damaged or of another version is made anew.

        Raises:
            OSError: the file can't be opened, made or written to.
        """
        self.path = path
        self._count, self._channels, self._max_bytes = count, channels, max_bytes
        self.empty_bytes = _HEAD.size + count * _ENTRY.size
        self._head = _with_checksum(_HEAD, _MAGIC, _VERSION, count, key)
        self._is_writing = True
        self._damaged: set[int] = set()
        self._repaired: set[int] = set()
        self._thread_lock = threading.Lock()
        self._descriptor = self._open()

    def __del__(self) -> None:
        if descriptor := getattr(self, "_descriptor", None):
            os.close(descriptor)

    def get(self, index: int) -> Pixels | None:
        """uint8 [H, W, C], read-only."""
        entry = self._entry(index)
        if entry is None or not entry.is_filled:
            return None
        size = entry.height * entry.width * self._channels
        content = self._read(size, entry.offset)
        if len(content) == size and google_crc32c.value(content) == entry.checksum:
            return np.frombuffer(content, np.uint8).reshape(entry.height, entry.width, self._channels)
        if not self._damaged:
            _log.warning("%s: damaged; what can't be read from it is decoded anew", self.path)
        self._damaged.add(index)
        return None

    def kept(self) -> npt.NDArray[np.bool_]:
        """Of each example, whether its entry says that it is there."""
        content = self._read(self._count * _ENTRY.size, _HEAD.size)
        entries = _ENTRY.iter_unpack(content[: len(content) // _ENTRY.size * _ENTRY.size])
        filled = [_Entry(*values).is_filled for *values, _ in entries]
        return np.array(filled + [False] * (self._count - len(filled)), np.bool_)

    def put(self, images: Mapping[int, Pixels]) -> None:
        """Write the images. Where that fails, for the disk is full or the file at its limit, no more are written."""
        for index, image in images.items():
            if not self._is_writing:
                return
            try:
                self._put(index, image)
            except OSError as error:
                self._is_writing = False
                words = "%s: can't be written to (%s); images that are not in it yet are decoded anew each epoch"
                _log.warning(words, self.path, error.strerror)

    def _put(self, index: int, image: Pixels) -> None:
        content = image.tobytes()
        entry = self._reserve(index, image, len(content))
        if entry is None:
            return
        _write(self._descriptor, content, entry.offset)
        self._set_entry(index, entry._replace(is_filled=1, checksum=google_crc32c.value(content)))

    def _reserve(self, index: int, image: Pixels, size: int) -> _Entry | None:
        """The entry of the image with a place in the file; None if there is nothing to do, or others won't let us."""
        with self._locked() as is_locked:
            if not is_locked:
                return None
            old, end = self._entry(index), os.fstat(self._descriptor).st_size
            is_lost = index in self._damaged
            # On a failing disk, repairs would make the file longer in each epoch: once is enough.
            if index in self._repaired or (old and old.is_filled and not is_lost):
                return None
            if is_lost:
                self._repaired.add(index)
            # Someone took room and died. It is good, unless the file was cut off meanwhile.
            if old and not is_lost and old[1:3] == image.shape[:2] and old.offset + size <= end:
                return old
            if end + size > self._max_bytes:
                raise OSError(errno.EFBIG, f"at its limit of {self._max_bytes:,} bytes")
            new = _Entry(max(end, self.empty_bytes), image.shape[0], image.shape[1], 0, 0)
            os.ftruncate(self._descriptor, new.offset + size)
            self._set_entry(index, new)
            return new

    def _entry(self, index: int) -> _Entry | None:
        """What the file says of the example; None if it says nothing, or that is damaged."""
        content = self._read(_ENTRY.size, _HEAD.size + index * _ENTRY.size)
        if len(content) < _ENTRY.size:
            return None
        *values, _ = _ENTRY.unpack(content)
        return _Entry(*values) if content == _with_checksum(_ENTRY, *values) else None

    def _set_entry(self, index: int, entry: _Entry) -> None:
        _write(self._descriptor, _with_checksum(_ENTRY, *entry), _HEAD.size + index * _ENTRY.size)

    def _read(self, size: int, offset: int) -> bytes:
        """As many of the bytes as can be read."""
        with contextlib.suppress(OSError):
            return os.pread(self._descriptor, size, offset)
        return b""

    def _open(self) -> int:
        """A descriptor of the file, which now has a good head and room for all entries."""
        while True:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                if self._is_ready(descriptor):
                    return descriptor
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)

    def _is_ready(self, descriptor: int) -> bool:
        """Whether the file can be used; it is made if empty, and removed, for another try, if damaged."""
        if not any(_try_lock(descriptor) for _ in range(_OPEN_TRIES)):
            raise OSError(errno.EBUSY, "locked by another process for seconds")
        status = os.fstat(descriptor)
        if not status.st_nlink:  # Removed meanwhile.
            return False
        if status.st_size == 0:
            os.ftruncate(descriptor, self.empty_bytes)
            _write(descriptor, self._head, 0)
        elif os.pread(descriptor, _HEAD.size, 0) != self._head or status.st_size < self.empty_bytes:
            # Others may still read the file: it is replaced, not overwritten.
            _log.warning("%s: damaged or of another version; made anew", self.path)
            self.path.unlink()
            return False
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        return True

    @contextlib.contextmanager
    def _locked(self) -> Iterator[bool]:
        """Whether this thread has the file's end to itself, which takes microseconds unless the holder was stopped."""
        with self._thread_lock:
            is_locked = any(_try_lock(self._descriptor) for _ in range(_LOCK_TRIES))
            try:
                yield is_locked
            finally:
                if is_locked:
                    fcntl.flock(self._descriptor, fcntl.LOCK_UN)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        time.sleep(_TRY_SECONDS)
        return False
    return True


def _with_checksum(form: struct.Struct, *values: object) -> bytes:
    """The values and a checksum of them."""
    plain = form.pack(*values, 0)
    return form.pack(*values, google_crc32c.value(plain))


def _write(descriptor: int, content: bytes, offset: int) -> None:
    done = 0
    while done < len(content):
        done += os.pwrite(descriptor, memoryview(content)[done:], offset + done)
