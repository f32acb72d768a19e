"""The index of a data set: its examples in a file, made once, which all processes of a machine and later runs map.

    a lock on the data set's folder -> who has it reads the folder and writes the file -> the others map it

It holds what a reader gave, reported and said, and the state of every folder that was listed and every file that was
opened. At each start these are asked for their state; if one has changed, the data set is read anew. A picture that
was replaced in place is none of them, unless its size was needed: nothing in the list depends on it.
"""

import contextlib
import dataclasses
import fcntl
import functools
import hashlib
import json
import logging
import logging.handlers
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

import tao_lite.data
from tao_lite.data.columns import Coded, Columns, Texts
from tao_lite.data.example import Options
from tao_lite.data.examples import Examples
from tao_lite.data.left_out import LeftOut
from tao_lite.errors import RunError
from tao_lite.files import arrays, noting, writing
from tao_lite.files.noting import Noted

LEAST = 50_000
"""Of fewer examples there is no index: they are read in a second or two."""
NUM_KEPT = 16
"""Indexes that a folder keeps: those that were used last."""
SUFFIX = ".index"

_SETTLED_SECONDS = 2.0
"""What was changed so shortly before it was read may change again without that its times show it."""
_PATIENCE_SECONDS = 300.0
_PAUSE_SECONDS = 0.05
_EVERYTHING = 2**31

_log = logging.getLogger(__name__)

Read = Callable[[], Examples]
Said = list[tuple[str, int, str]]
"""Logger, level and text of each line."""


def examples(root: Path, kind: str, options: Options, read: Read) -> Examples:
    """What `read` gives, reports to `options.report` and logs; from the index where there is a good one.

    `kind` is a name in FORMATS; without `options.index_dir` there is no index.
    """
    if options.index_dir is None or options.report.total:
        return read()
    path = options.index_dir / f"{_key(root, kind, options)}{SUFFIX}"
    if found := _opened(path):
        return found.told(options.report)
    with _turn(root if root.is_dir() else root.parent, options.index_dir) as is_first:
        if found := _opened(path, is_damage_told=is_first):
            return found.told(options.report)
        begun = time.time()
        with noting.noting() as noted, _heard() as said:
            noting.note(root)
            listed = read()
        is_settled = not noted.has_failed and noted.newest < begun - _SETTLED_SECONDS
        if len(listed) < LEAST or not is_settled:
            return listed
        try:
            _write(path, listed.columns, options.report, said, noted)
        except RunError as error:
            level = logging.WARNING if is_first else logging.DEBUG
            _log.log(level, "no index of %s can be kept, so that it is read anew at each start: %s", root, error)
    again = _opened(path)
    return again.examples if again else listed


class _Found(NamedTuple):
    """What an index holds: the examples, and what their reader reported and said."""

    examples: Examples
    report: Mapping[str, Any]
    said: Said

    def told(self, report: LeftOut) -> Examples:
        """The examples, when it is reported and said as their reader did."""
        report.restore(self.report)
        for name, level, text in self.said:
            logging.getLogger(name).log(level, "%s", text)
        return self.examples


def _opened(path: Path, *, is_damage_told: bool = False) -> _Found | None:
    """What the index at the path holds, where there is one of the data as they are now."""
    try:
        found = arrays.read(path)
    except OSError:
        return None
    # A file of another name is of other data.
    if found is None or found[0]["key"] != path.stem:
        if is_damage_told:
            _log.warning("%s: damaged or no index of these data; made anew", path)
        return None
    head, held = found
    sources = Texts(held["sources.content"], held["sources.ends"])
    if any(noting.stamp(one) != before for one, before in zip(sources, held["stamps"].tolist(), strict=True)):
        _log.debug("%s: is of the data before they were changed", path)
        return None
    coded = {
        name: Coded(Texts(held[f"{name}.content"], held[f"{name}.ends"]), held.get(f"{name}.ids"))
        for name in head["coded"]
    }
    columns = Columns(above=head["above"], coded=coded, numbers={name: held[name] for name in head["numbers"]})
    with contextlib.suppress(OSError):
        os.utime(path)
    _log.info("%s: %d examples are listed there, as they were found before", path, len(columns))
    return _Found(Examples(columns), head["report"], head["said"])


def _write(path: Path, columns: Columns, report: LeftOut, said: Said, noted: Noted) -> None:
    """Raises RunError where the folder can't be written to, or has no room."""
    sources = Texts.of(noted.stamps)
    held: dict[str, npt.NDArray[Any]] = {
        "stamps": np.array(list(noted.stamps.values()), np.uint64),
        "sources.content": sources.content,
        "sources.ends": sources.ends,
        **columns.numbers,
    }
    for name, one in columns.coded.items():
        held |= {f"{name}.content": one.texts.content, f"{name}.ends": one.texts.ends}
        held |= {} if one.ids is None else {f"{name}.ids": one.ids}
    head = {
        "key": path.stem,
        "above": columns.above,
        "coded": list(columns.coded),
        "numbers": list(columns.numbers),
        "report": report.state(),
        "said": said,
    }
    writing.remove_dead(path.parent)
    arrays.write(path, head, held)
    _log.info("%s: the list of %d examples is kept there for the next start", path, len(columns))
    _remove_old(path.parent)


def _remove_old(folder: Path) -> None:
    """Remove those that were not used for longest."""
    with contextlib.suppress(OSError):
        for path in sorted(folder.glob(f"*{SUFFIX}"), key=lambda one: one.stat().st_mtime)[:-NUM_KEPT]:
            path.unlink()
            _log.info("%s: removed, the index that was not used for longest", path)


def _key(root: Path, kind: str, options: Options) -> str:
    """Of all that a reader is given, and of the readers themselves."""
    given = {one.name: getattr(options, one.name) for one in dataclasses.fields(options)}
    kept = {name: value for name, value in given.items() if name not in ("report", "written", "index_dir")}
    text = json.dumps([_code(), str(root), kind, options.report.fail, kept], default=_plain, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _plain(value: Any) -> object:
    if dataclasses.is_dataclass(value):
        return {one.name: getattr(value, one.name) for one in dataclasses.fields(value)}
    return sorted(value) if isinstance(value, frozenset) else str(value)


@functools.cache
def _code() -> str:
    """What makes examples of files. The source itself, so that nobody has to remember to count a version up."""
    folder = Path(__file__).parent
    files = [*folder.glob("*.py"), *folder.glob("formats/*.py")]
    return hashlib.blake2b(b"".join(path.read_bytes() for path in sorted(files)), digest_size=16).hexdigest()


@contextlib.contextmanager
def _heard() -> Iterator[Said]:
    """What readers say within the block; others hear it at the end."""
    said: Said = []
    logger = logging.getLogger(tao_lite.data.__name__)
    before = logger.level, logger.propagate
    ears = logging.handlers.MemoryHandler(_EVERYTHING, flushLevel=_EVERYTHING, flushOnClose=False)
    logger.addHandler(ears)
    # A process that shows warnings only may be the one that reads.
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield said
    finally:
        logger.removeHandler(ears)
        logger.setLevel(before[0])
        logger.propagate = before[1]
        for record in ears.buffer:
            if record.thread == threading.get_ident():
                said.append((record.name, record.levelno, record.getMessage()))
            if logging.getLogger(record.name).isEnabledFor(record.levelno):
                logger.handle(record)


@contextlib.contextmanager
def _turn(*folders: Path) -> Iterator[bool]:
    """Whether this process is the first to come; others wait until that is done, though not for ever.

    Folders are locked, the first that can be: it needs no file, and the system unlocks it however a process ends.
    """
    descriptor = None
    try:
        descriptor, is_first = _locked(folders)
        yield is_first
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _locked(folders: Iterable[Path]) -> tuple[int | None, bool]:
    """An open folder, and whether its lock was free; it then has it until it is closed."""
    for folder in folders:
        existing, descriptor = next(one for one in (folder, *folder.parents) if one.is_dir()), -1
        try:
            descriptor = os.open(existing, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            return descriptor, _is_free(descriptor)
        except OSError:  # some file systems over a network lock no folders
            with contextlib.suppress(OSError):
                os.close(descriptor)
    return None, True


def _is_free(descriptor: int) -> bool:
    """Lock it; where another one has done that, wait until it is free and leave it so."""
    end = time.monotonic() + _PATIENCE_SECONDS
    operation = fcntl.LOCK_EX
    while True:
        try:
            fcntl.flock(descriptor, operation | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                return False
            operation = fcntl.LOCK_SH
            time.sleep(_PAUSE_SECONDS)
        else:
            if operation == fcntl.LOCK_SH:
                fcntl.flock(descriptor, fcntl.LOCK_UN)
            return operation == fcntl.LOCK_EX
