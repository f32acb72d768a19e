"""The shard cache: shards of data sets at URLs on this machine's disk, each fetched once for all of its processes.

A shard is there whole and checked, or not at all. It is fetched into a file NAME.part, which whoever fetches holds a
lock on; the file has its whole size from the start, so that the sizes of all files are what the cache takes. Readers
hold a shared lock on a shard that is open, and only what nobody holds is evicted. Locks are the kernel's and die with
their holder: what a killed process has left is nobody's, and the next one that needs room or the shard takes it.
"""

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from hashlib import sha256
from io import BufferedReader
from pathlib import Path

from tao_lite.data.formats.shard_index import index_name
from tao_lite.data.remote import limits
from tao_lite.data.remote.limits import Listing
from tao_lite.errors import StoreError
from tao_lite.files import writing
from tao_lite.files.places import SHARDS, url_of

Rank = Callable[[Path], float | None]
"""Which shards go first where room is needed: those of the lowest number; None must stay."""

_PART = ".part"
_LOCK = ".lock"
_POLL_SECONDS = 0.01


class CacheFullError(StoreError):
    """No shard may be evicted for another one now."""


def opened(file: Path, rank: Rank | None = None) -> BufferedReader:
    """The shard, open, fetched if it is not there; it is not evicted until it is closed.

    Raises:
        StoreError: it can't be fetched, isn't what its index says, or the cache or disk is full.
    """
    while True:
        with contextlib.suppress(FileNotFoundError):
            descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            if os.fstat(descriptor).st_nlink:
                return os.fdopen(descriptor, "rb")
            os.close(descriptor)  # evicted meanwhile
        if rank:
            _fetch(file, rank)
        else:
            _fetch_in_time(file)


def drop(file: Path) -> bool:
    """Remove a shard, or what is left of a fetch, unless it is in use."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        file.unlink(missing_ok=True)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


def _fetch_in_time(file: Path) -> None:
    """Fetch for a reader that waits: what was fetched first goes first, and others may have to let go."""
    until = time.monotonic() + _listing(file).timeout_seconds
    while True:
        try:
            return _fetch(file, lambda other: other.stat().st_mtime)
        except CacheFullError:
            if time.monotonic() > until:
                raise
            time.sleep(10 * _POLL_SECONDS)


def _fetch(file: Path, rank: Rank) -> None:
    """Have the shard on disk, by this process or another."""
    listing, folder = _listing(file), file.parent.parent
    if file.name not in listing.shards:
        raise StoreError(f"{limits.place(folder, file.name)}: was not there when the data set was listed")
    size = listing.shards[file.name].size
    file.parent.mkdir(exist_ok=True)
    with _taken(file.with_name(file.name + _PART), listing.timeout_seconds) as descriptor:
        if file.exists():
            return
        _reserve(file, descriptor, size, rank, listing.max_bytes)
        _fill(file, descriptor, size, listing)
        os.fsync(descriptor)
        with alone(folder.parent):
            file.with_name(file.name + _PART).replace(file)
        writing.sync_folder(file.parent)


@contextlib.contextmanager
def alone(remote: Path) -> Iterator[None]:
    """Meanwhile nobody else makes room in the cache or renames a file there, so that each is counted once."""
    with writing.open_to_append(remote / _LOCK) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _taken(part: Path, patience: float) -> Iterator[int]:
    """The file to fetch into, locked; it is gone afterwards, by its removal or under the shard's name.

    Raises:
        StoreError: another process holds it, and nothing comes in.
    """
    while not _is_at(part, descriptor := _locked(part, patience)):
        os.close(descriptor)
    try:
        yield descriptor
    finally:
        if _is_at(part, descriptor):
            part.unlink()
        os.close(descriptor)


def _locked(part: Path, patience: float) -> int:
    """The file, open, when nobody else holds it; or another one is there in its place."""
    descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        _wait_for(part, descriptor, patience)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _is_at(path: Path, descriptor: int) -> bool:
    """Whether the open file is the one at the path."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _wait_for(part: Path, descriptor: int, patience: float) -> None:
    """Take the lock, unless the file becomes the shard meanwhile, or goes: readers may hold that for long."""
    while _is_at(part, descriptor):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            idle = time.time() - os.fstat(descriptor).st_mtime
            if idle > 2 * patience:
                raise StoreError(
                    f"{part}: another process fetches it, and nothing came for {idle:.0f} s; end that process"
                ) from None
            time.sleep(_POLL_SECONDS)
        else:
            return


def _reserve(file: Path, descriptor: int, size: int, rank: Rank, max_bytes: int) -> None:
    """Give the open file its size, once others have made room for it.

    Raises:
        CacheFullError: none of the others may go.
        StoreError: the shard is larger than the cache, or the disk is full.
    """
    remote, place = file.parent.parent.parent, limits.place(file.parent.parent, file.name)
    if size > max_bytes:
        raise StoreError(
            f"{place}: has {size:,} bytes, {_whole_cache(max_bytes)}; raise dataset_config.shard_cache_gib"
        )
    with alone(remote):
        os.ftruncate(descriptor, 0)
        missing = limits.used_bytes(remote) + size - max_bytes
        for other in _by_rank(remote, rank) if missing > 0 else ():
            its_size = limits.size_of(other)
            if drop(other):
                missing -= its_size
            if missing <= 0:
                break
        if missing > 0:
            raise CacheFullError(
                f"{place}: the shard cache in {remote} is full, {_whole_cache(max_bytes)}, and all of its shards are "
                "in use; raise dataset_config.shard_cache_gib or lower shuffle_shards"
            )
        try:
            os.posix_fallocate(descriptor, 0, size)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise StoreError(
                f"{file}: could not be written ({error.strerror}: {size:,} bytes are needed); free some, or set "
                "dataset_config.shard_cache_gib or cache_dir"
            ) from error


def _whole_cache(max_bytes: int) -> str:
    return f"which has {max_bytes:,} bytes in all"


def _by_rank(remote: Path, rank: Rank) -> list[Path]:
    found = []
    for path in remote.glob(f"*/{SHARDS}/*"):
        with contextlib.suppress(FileNotFoundError):
            number = -2.0 if path.name.endswith(_PART) else rank(path)
            if number is not None:
                found.append((number, path))
    return [path for _, path in sorted(found)]


def _fill(file: Path, descriptor: int, size: int, listing: Listing) -> None:
    """Put the shard's bytes into the open file.

    Raises:
        StoreError: they can't be fetched, or are not those that the index is of.
    """
    folder, digest, done = file.parent.parent, sha256(), 0
    place = limits.place(folder, file.name)
    try:
        for part in limits.store(url_of(folder), listing.timeout_seconds).parts(file.name, size):
            digest.update(part)
            _write(descriptor, part, done)
            done += len(part)
    except FileNotFoundError as error:
        raise StoreError(f"{place}: is no longer there; bring it back, or give the same command again") from error
    except OSError as error:
        raise StoreError(f"{file}: could not be written ({error.strerror})") from error
    expected = listing.shards[file.name].sha256
    if expected and digest.hexdigest() != expected:
        raise StoreError(
            f"{place}: its sha256 is not the one in its index; it was changed or damaged: bring it back, or remove "
            f"{index_name(file.name)} there to have it indexed anew"
        )


def _write(descriptor: int, content: bytes, offset: int) -> None:
    done = 0
    while done < len(content):
        done += os.pwrite(descriptor, memoryview(content)[done:], offset + done)


def _listing(file: Path) -> Listing:
    folder = file.parent.parent
    found = limits.read(folder)
    if found is None:
        raise StoreError(f"{folder}: its list of shards is gone; give the same command again")
    return found
