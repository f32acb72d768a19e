"""Files that we write, in one way: whole or not at all, on disk when that is said, and never through a link.

Every command begins here: what takes long to import is imported where it is needed.
"""

import contextlib
import errno
import fcntl
import io
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from io import BufferedRandom
from pathlib import Path
from typing import BinaryIO

from tao_lite.errors import RunError

_PART = re.compile(r"\.tao_lite-[0-9a-f]{16}\.part")
_FULL = {errno.ENOSPC, errno.EDQUOT}
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # how what a spreadsheet computes begins


@contextlib.contextmanager
def new_file(path: Path, num_bytes: int = 0, *, is_synced: bool = True) -> Iterator[BufferedRandom]:
    """A file to fill, readable too: it takes the place of `path`, or of a link there, when the block ends well.

    Readers see the old file or the new one, never a part. `num_bytes`, where known, is named where the disk is full.
    Without `is_synced` the disk gets it in its own time: for what is checked again before it counts.

    Raises:
        RunError: the disk is full or refuses; what was at the path is untouched.
    """
    with _clear_errors(path, num_bytes):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary, file = _create(path.parent)
        try:
            with file:
                yield file
                file.flush()
                if is_synced:
                    os.fsync(file.fileno())
                temporary.replace(path)
                if is_synced:
                    sync_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder to fill: it takes the place of `path`, an empty folder or nothing, when the block ends well.

    What a writer that was killed has left beside it goes first. The disk gets it in its own time.

    Raises:
        RunError: the disk is full or refuses.
    """
    with _clear_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_dead(path.parent)
        temporary = _part_of(path.parent)
        temporary.mkdir()
        lock = os.open(temporary, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with contextlib.suppress(OSError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield temporary
            temporary.replace(path)
        finally:
            _remove(temporary)
            os.close(lock)


def write(path: Path, content: str | bytes) -> None:
    """Put the content at the path, as new_file does. Names that are no UTF-8 keep their bytes.

    Raises:
        RunError: as new_file.
    """
    data = content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content
    with new_file(path, len(data)) as file:
        file.write(data)


def write_json(path: Path, value: Mapping[str, object]) -> None:
    """Put the value at the path as indented JSON, as new_file does.

    Raises:
        RunError: as new_file.
    """
    write(path, json.dumps(value, indent=2) + "\n")


def csv_text(rows: Iterable[Iterable[object]]) -> str:
    """The rows as CSV. Words that a spreadsheet would take for a formula begin with an apostrophe, as it writes text.

    Source: https://owasp.org/www-community/attacks/CSV_Injection
    """
    import csv

    text = io.StringIO()
    plain = csv.writer(text, lineterminator="\n")
    quoted = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
    for row in rows:
        cells = [_cell(value) for value in row]
        # A carriage return, which Python leaves unquoted before 3.13, ends a row for whoever reads it.
        (quoted if any("\r" in str(cell) for cell in cells) else plain).writerow(cells)
    return text.getvalue()


def as_meant(word: str) -> str:
    """The word that csv_text has written as this one."""
    return word[1:] if word.startswith("'") and word[1:].startswith(_FORMULA) else word


def _cell(value: object) -> object:
    if isinstance(value, int | float):
        return value
    word = str(value)
    with contextlib.suppress(ValueError):
        float(word)
        return word
    return f"'{word}" if word.startswith(_FORMULA) else word


def link(alias: Path, target: Path) -> None:
    """Let the alias point to a file of the same folder, atomically.

    Raises:
        RunError: as new_file.
    """
    temporary = _part_of(alias.parent)
    with _clear_errors(alias):
        try:
            temporary.symlink_to(target.name)
            temporary.replace(alias)
            sync_folder(alias.parent)
        finally:
            temporary.unlink(missing_ok=True)


def open_to_append(path: Path) -> BinaryIO:
    """The file, made where there is none, to read and to append to.

    Raises:
        RunError: it is a link or no regular file, or the system refuses.
    """
    with _clear_errors(path):
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            descriptor = os.open(path, flags, 0o666)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise RunError(f"{path}: is a link, and is not written through; remove it") from error
            raise
        if not (path.is_file() or path.is_char_device()):  # /dev/null is where a user may send a log
            os.close(descriptor)
            raise RunError(f"{path}: is no regular file, and is not written to; remove it")
        return os.fdopen(descriptor, "a+b")


def remove_dead(folder: Path) -> None:
    """Remove what writers that were killed have left in the folder; those at work hold a lock on theirs."""
    with contextlib.suppress(OSError):
        for path in [one for one in folder.iterdir() if _PART.fullmatch(one.name)]:
            if path.is_symlink():
                path.unlink(missing_ok=True)
                continue
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(path)
            except BlockingIOError:
                pass
            finally:
                os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Have the folder's names on disk, where its file system can be asked for that."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    """Remove the file, or the folder with what is in it, if it is there."""
    import shutil

    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _part_of(folder: Path) -> Path:
    return folder / f".tao_lite-{os.urandom(8).hex()}.part"


def _create(folder: Path) -> tuple[Path, BufferedRandom]:
    """A new file in the folder, locked as long as it is open, and nobody else's: O_EXCL goes through no link."""
    while True:
        path = _part_of(folder)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        with contextlib.suppress(OSError):  # without locks nobody removes it either
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(descriptor).st_nlink:
            return path, os.fdopen(descriptor, "w+b")
        os.close(descriptor)  # taken for dead before it was locked


@contextlib.contextmanager
def _clear_errors(path: Path, num_bytes: int = 0) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            folder = next(one for one in path.absolute().parents if one.exists())
            needed = f"{num_bytes:,} bytes are needed, " if num_bytes else ""
            status = os.statvfs(folder)
            free = status.f_bavail * status.f_frsize
            reason = f"{error.strerror}: {needed}{free:,} are free there"
        else:
            reason = error.strerror or str(error)
        raise RunError(f"{path}: could not be written ({reason})") from error
