"""Mirror: a copy of a run's checkpoints at a URL, from which a machine that has none of them goes on.

Files are called by their content there (resnet_001.pth.SHA256), and mirror.json says which ones make up the run. It is
written after they are there, and what it no longer names goes after that: so whoever reads finds a whole run, always.
"""

import json
import logging
import threading
import time
from collections.abc import Container, Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Self, TypedDict

from tao_lite.errors import CheckpointError, RunError, StoreError
from tao_lite.files import reading, writing
from tao_lite.files.noting import stamp
from tao_lite.files.places import hidden
from tao_lite.files.store import Store
from tao_lite.run import Run

_MANIFEST = "mirror.json"
_FORMAT = "tao_lite mirror 1"
_MAX_BYTES = 2**36
_MAX_MANIFEST_BYTES = 2**24

_log = logging.getLogger(__name__)


class _Content(TypedDict):
    """What is said of a file."""

    size: int
    sha256: str


class Mirror:
    """Copies in a thread of its own what was saved last. A store that fails is named, and stops nothing."""

    def __init__(self, run: Run, url: str, timeout_seconds: float) -> None:
        """An empty URL is no mirror.

        Raises:
            StoreError, RunError: as Store.
        """
        self._run, self._timeout = run, timeout_seconds
        self._store = Store(url, timeout_seconds) if url and run.is_main else None
        self._wanted, self._is_over = threading.Event(), threading.Event()
        self._is_saved = False  # a run that has saved nothing must not take the place of what is there
        self._known: dict[Path, tuple[int, _Content]] = {}
        self._thread = threading.Thread(target=self._follow, name="mirror", daemon=True)

    def fetch(self) -> None:
        """Where the folder holds no checkpoint, bring those of the mirror, if it has any.

        Raises:
            StoreError: the store fails, or what it holds is damaged: a run begun anew would take its place.
        """
        if self._store is None or any(self._run.weights.glob("*.pth")):
            return
        before: Mapping[str, object] = {}
        while (found := _manifest(self._store)) and found != before:
            try:
                self._bring(self._store, found)
            except _GoneError:  # a run that still writes has meanwhile saved another one
                before = found
                continue
            _log.info("Brought %d files of the run from %s", len(found["files"]), self._store.url)
            return
        if found:
            raise StoreError(f"{self._store.url}: does not hold what its {_MANIFEST} names; {_BEGIN}")

    def __enter__(self) -> Self:
        if self._store:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Wait for the last copy, as long as a store may fail."""
        if self._store is None:
            return
        self._is_over.set()
        self._wanted.set()
        if not self._is_saved:
            return
        self._thread.join(2 * self._timeout)
        if self._thread.is_alive():
            _log.warning("%s: is too slow for the last checkpoint, which is in %s", self._store.url, self._run.weights)

    def follow(self) -> None:
        """Have what is in the folder now copied, soon; what could not be copied before is tried again."""
        self._is_saved = True
        self._wanted.set()

    def _follow(self) -> None:
        assert self._store
        while True:
            self._wanted.wait()
            self._wanted.clear()
            is_last = self._is_over.is_set()
            try:
                if self._is_saved:
                    self._copy(self._store)
            except (OSError, RunError, StoreError, CheckpointError) as error:
                _log.warning("no copy was made: %s; the training goes on, and the next checkpoint is copied", error)
            if is_last:
                return

    def _copy(self, store: Store) -> None:
        """Bring the mirror up to date."""
        files, there = self._files(), store.list()
        began = time.monotonic()
        known = {name: self._copied(store, path, there) for name, path in files.items()}
        links = {
            alias.name: alias.readlink().name for alias in (self._run.latest, self._run.best) if alias.is_symlink()
        }
        store.write(_MANIFEST, json.dumps({"format": _FORMAT, "files": known, "links": links}).encode())
        named = {_object(path, known[name]["sha256"]) for name, path in files.items()}
        for name in there.keys() - named - {_MANIFEST}:
            if _is_object(name):
                store.remove(name)
        _log.info("%s: copied in %.1f s", store.url, time.monotonic() - began)

    def _copied(self, store: Store, path: Path, there: Container[str]) -> "_Content":
        """What is in the file, which is then in the store; one that did not change is not read again."""
        now = stamp(path)
        before, found = self._known.get(path, (None, None))
        if found and before == now and _object(path, found["sha256"]) in there:
            return found
        content = reading.read(path, CheckpointError, max_bytes=_MAX_BYTES)
        found = _Content(size=len(content), sha256=sha256(content).hexdigest())
        if _object(path, found["sha256"]) not in there:
            store.write(_object(path, found["sha256"]), content)
        self._known[path] = now, found
        return found

    def _files(self) -> dict[str, Path]:
        """What a run needs to go on and its readers to read it, by path below the results folder."""
        run = self._run
        links = [alias.resolve() for alias in (run.latest, run.best) if alias.exists()]
        small = [run.spec, run.classmap, run.training_csv, run.class_mapping, run.trackers, run.summary("train")]
        kept = [path for path in (*dict.fromkeys(links), run.interrupted, *small) if path.is_file()]
        return {path.relative_to(run.results.resolve()).as_posix(): path for path in map(Path.resolve, kept)}

    def _bring(self, store: Store, found: Mapping[str, Mapping[str, Mapping[str, object]]]) -> None:
        for name, one in found["files"].items():
            path, size, digest = self._run.results / name, int(str(one["size"])), sha256()
            with writing.new_file(path, size) as file:
                for part in _parts(store, _object(path, str(one["sha256"])), size):
                    digest.update(part)
                    file.write(part)
                if digest.hexdigest() != one["sha256"]:
                    raise StoreError(f"{store.url}/{_object(path, str(one['sha256']))}: is damaged; {_BEGIN}")
        for alias, target in found["links"].items():
            writing.link(self._run.weights / alias, self._run.weights / str(target))


_BEGIN = "bring it back, or begin anew with --fresh, which writes over it"


class _GoneError(Exception):
    """What the mirror named is no longer there."""


def _parts(store: Store, name: str, size: int) -> Iterator[bytes]:
    try:
        yield from store.parts(name, size)
    except FileNotFoundError as error:
        raise _GoneError(name) from error


def _object(path: Path, digest: str) -> str:
    """How a file is called in the store."""
    return f"{path.name}.{digest}"


def _is_object(name: str) -> bool:
    """Whether a mirror has given the name: what a user has put there stays."""
    _, _, digest = name.rpartition(".")
    return len(digest) == 64 and all(one in "0123456789abcdef" for one in digest)


def _manifest(store: Store) -> Mapping[str, Mapping[str, Mapping[str, object]]]:
    """What the mirror says of itself; empty where there is none.

    Raises:
        StoreError: it is damaged, or names files outside the results folder.
    """
    try:
        content = store.read(_MANIFEST)
    except FileNotFoundError:
        return {}
    place = f"{hidden(store.url)}/{_MANIFEST}"
    try:
        value = json.loads(content[:_MAX_MANIFEST_BYTES])
        names = [*value["files"], *value["links"], *value["links"].values()]
        is_good = value["format"] == _FORMAT and all(map(_is_within, names))
        is_good = is_good and all(int(one["size"]) >= 0 and str(one["sha256"]) for one in value["files"].values())
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise StoreError(f"{place}: is damaged ({error}); {_BEGIN}") from error
    if not is_good:
        raise StoreError(f"{place}: is no list of a run's files of this version; give another URL with -r")
    assert isinstance(value, dict)
    return value


def _is_within(name: str) -> bool:
    """Whether it is a plain path in the results folder or its folder of weights."""
    folder, _, base = name.rpartition("/")
    return folder in ("", "weights") and bool(base) and not base.startswith(".") and name.isprintable()
