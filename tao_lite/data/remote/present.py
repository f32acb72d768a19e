"""Makes the folder that stands for a URL what a reader takes for a data set: indexes of shards, and class names."""

import contextlib
import fcntl
import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tao_lite.data.example import RemoteOptions
from tao_lite.data.formats.listing import suffix
from tao_lite.data.formats.shard_index import MAX_INDEX_BYTES, SUFFIX, ShardIndex, index_name, parse, scan
from tao_lite.data.remote import limits, shards
from tao_lite.data.remote.limits import Shard
from tao_lite.errors import DataError, StoreError
from tao_lite.files import reading, writing
from tao_lite.files.places import SHARDS, hidden, url_of
from tao_lite.files.store import Entry, Store

_NAMES = ("classnames.txt", "labels.txt", "classmap.json")
_LOCK = ".lock"
_NUM_THREADS = 16  # a store answers many at once
_NUM_SCANS = 4

_log = logging.getLogger(__name__)


def make(folder: Path, allowed: RemoteOptions, name: str) -> None:
    """Fetch what is new at the URL since the folder was last made; `name` is how messages call the data set.

    Shards are fetched here only where they have no index beside them.

    Raises:
        DataError: there are no shards.
        StoreError: the store fails or refuses.
    """
    store = limits.store(url_of(folder), allowed.timeout_seconds)
    entries = store.list()
    found = {one: entry for one, entry in entries.items() if one.lower().endswith(SUFFIX)}
    if not found:
        raise DataError(f"{name}: {hidden(url_of(folder))} {_instead(entries)}")
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        known = _without_changed(folder, found)
        limits.write(folder, known, allowed)
        _fetch_names(folder, store, entries)
        missing = [one for one in known if not (folder / index_name(one)).is_file()]
        with ThreadPoolExecutor(_NUM_THREADS, thread_name_prefix="index") as pool:
            is_fetched = list(pool.map(lambda one: _fetch_index(folder, store, one, entries), missing))
        _scan_all(folder, [one for one, is_there in zip(missing, is_fetched, strict=True) if not is_there])
        for one in missing:
            known[one] = known[one]._replace(sha256=_read(folder / index_name(one)).sha256)
        limits.write(folder, known, allowed)


def _instead(entries: Mapping[str, Entry]) -> str:
    """What a store holds that has no shards, and what to do."""
    if not entries:
        return "holds no files; check the URL, which is of a folder, and give it without the names of files"
    kinds = Counter(suffix(one) or "no suffix" for one in entries)
    listed = ", ".join(f"{count} x {kind}" for kind, count in kinds.most_common(5))
    return (
        f"holds no shards (*{SUFFIX}), but {listed}; other formats are read from local files only: write shards with "
        "tao-lite dataset convert --to webdataset, and copy those there"
    )


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """The folder, for one process at a time."""
    with writing.open_to_append(folder / _LOCK) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _without_changed(folder: Path, found: Mapping[str, Entry]) -> dict[str, Shard]:
    """The shards there are; of those that are not what they were the folder forgets all."""
    before = limits.read(folder)
    old = before.shards if before else {}
    same = {one: old[one] for one, entry in found.items() if one in old and old[one][:2] == tuple(entry)}
    for one in old.keys() - same.keys():
        _log.info("%s: changed or gone; what was kept of it is forgotten", limits.place(folder, one))
        (folder / index_name(one)).unlink(missing_ok=True)
        shards.drop(folder / SHARDS / one)
    return {one: same.get(one) or Shard(*found[one]) for one in sorted(found)}


def _fetch_names(folder: Path, store: Store, entries: Mapping[str, Entry]) -> None:
    for one in entries:
        if one in _NAMES or one.endswith(".pbtxt"):
            writing.write(folder / one, store.read(one))


def _fetch_index(folder: Path, store: Store, shard: str, entries: Mapping[str, Entry]) -> bool:
    """Take the index beside a shard; whether there is one of the shard as it is."""
    name = index_name(shard)
    if name not in entries:
        return False
    try:
        content = b"".join(store.parts(name, entries[name].size))
        found = parse(content.decode(), Path(name))
    except (DataError, FileNotFoundError, UnicodeDecodeError) as error:
        _log.warning("%s: can't be used (%s); made anew", limits.place(folder, name), error)
        return False
    if found.size != entries[shard].size:
        _log.warning("%s: is of a shard of another size; made anew", limits.place(folder, name))
        return False
    writing.write(folder / name, content)
    return True


def _scan_all(folder: Path, names: list[str]) -> None:
    """Make indexes of shards that have none, each fetched once."""
    if not names:
        return
    _log.info("%s: %d shards have no index; each is fetched to make one", hidden(url_of(folder)), len(names))

    def index(name: str) -> None:
        with shards.opened(folder / SHARDS / name) as file:
            try:
                found = scan(Path(limits.place(folder, name)), file)
            except DataError as error:
                raise StoreError(str(error)) from error
        writing.write(folder / index_name(name), found.to_text())

    with ThreadPoolExecutor(_NUM_SCANS, thread_name_prefix="scan") as pool:
        for _ in pool.map(index, names):
            pass


def _read(path: Path) -> ShardIndex:
    return parse(reading.read_text(path, DataError, max_bytes=MAX_INDEX_BYTES), path)
