"""What a spec allows for data sets at URLs, kept in the folder that stands for one, where every reader finds it."""

import functools
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from tao_lite.data.example import RemoteOptions
from tao_lite.errors import DataError
from tao_lite.files import reading, writing
from tao_lite.files.noting import NO_FILE, stamp
from tao_lite.files.places import SHARDS, fetched, hidden, url_of
from tao_lite.files.store import Store

DISK_SHARE = 1 / 2
"""Share of the disk's free space, shards not counted, that they take unless the spec says else."""

_LISTING = ".listing.json"
_MAX_BYTES = 2**28


class Shard(NamedTuple):
    """A shard in the store; the sha256 is that of its index, empty while it has none."""

    size: int
    state: str
    sha256: str = ""


class Listing(NamedTuple):
    """What the store had when the run began: its shards and, by the spec, how they are fetched."""

    shards: dict[str, Shard]
    max_bytes: int
    timeout_seconds: float


def write(folder: Path, shards: Mapping[str, Shard], allowed: RemoteOptions) -> None:
    """Keep the listing of the folder; what was kept before is replaced.

    Raises:
        RunError: it can't be written.
    """
    max_bytes = allowed.max_bytes if allowed.max_bytes is not None else _share(folder.parent)
    value = {"shards": shards, "max_bytes": max_bytes, "timeout_seconds": allowed.timeout_seconds}
    writing.write(folder / _LISTING, json.dumps(value))


def read(folder: Path) -> Listing | None:
    """What was last written; None where nothing was.

    Raises:
        DataError: it is damaged.
    """
    path = folder / _LISTING
    now = stamp(path)
    return None if now == NO_FILE else _parsed(path, now)


@functools.lru_cache(maxsize=8)
def _parsed(path: Path, _: int) -> Listing:
    """Of the file in a state: it is asked for shard by shard, and names them all."""
    value = reading.read_json(path, DataError, max_bytes=_MAX_BYTES)
    try:
        shards = {str(name): Shard(int(size), *map(str, rest)) for name, (size, *rest) in value["shards"].items()}
        return Listing(shards, int(value["max_bytes"]), float(value["timeout_seconds"]))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: is damaged ({error}); remove {path.parent}, it is then made anew") from error


@functools.lru_cache(maxsize=64)
def store(url: str, timeout_seconds: float) -> Store:
    """The store behind a URL, one for the process.

    Raises:
        StoreError: as Store.
        RunError: as Store.
    """
    return Store(url, timeout_seconds)


def place(folder: Path, name: str) -> str:
    """How messages call a file at the URL that the folder stands for."""
    return f"{hidden(url_of(folder))}/{name}"


def state(file: Path) -> str:
    """What changes with the content of a fetched shard, whether it is here or not; empty for any other file."""
    listing = read(file.parent.parent) if fetched(file)[0] else None
    shard = listing.shards.get(file.name) if listing else None
    return repr(shard) if shard else ""


def used_bytes(remote: Path) -> int:
    """Bytes of all shards below the folder of remote data sets."""
    return sum(map(size_of, remote.glob(f"*/{SHARDS}/*")))


def size_of(path: Path) -> int:
    """Bytes of a file; 0 where it has gone meanwhile."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _share(remote: Path) -> int:
    return int((shutil.disk_usage(remote).free + used_bytes(remote)) * DISK_SHARE)
