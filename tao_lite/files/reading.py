"""Files that others wrote, opened in one way: regular ones only, in bounds, and patient with a system that fails.

Two things can be wrong. The file: missing, no regular file, too large, no text - an error of the caller's kind. Or the
system: a disk, a network, permissions - then whatever the file holds may be whole, and it is a ReadError.
"""

import codecs
import errno
import json
import logging
import os
import stat
import threading
import time
from collections.abc import Callable, Generator
from contextlib import closing
from functools import partial
from io import BufferedReader
from pathlib import Path
from typing import Any, TypeVar

from tao_lite.errors import ReadError, TaoLiteError
from tao_lite.files import noting

MAX_TEXT_BYTES = 2**26
"""More than any spec, label file, class map or list of images that is meant to be read as one."""
PART_BYTES = 2**20
MAX_LINE = 2**20
"""Characters of one line in a text that is read line by line."""

_log = logging.getLogger(__name__)

T = TypeVar("T")

_MAY_PASS = {
    *(errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN, errno.EBUSY, errno.EMFILE, errno.ENFILE, errno.EREMOTEIO),
    *(errno.ENETDOWN, errno.ENETUNREACH, errno.ECONNRESET, errno.EHOSTDOWN, errno.EHOSTUNREACH),
}
_MISSING = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG}
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class _Patience:
    """Seconds that this process may still wait for reads that fail; a read that then succeeds gives them back.

    So one bad sector costs seconds, and a disk that is gone does not cost them for each of its files.
    """

    PAUSES = (0.1, 0.4, 1.5)
    TOTAL_SECONDS = 8.0

    def __init__(self) -> None:
        self._lock, self._left = threading.Lock(), self.TOTAL_SECONDS

    def spend(self, seconds: float) -> bool:
        """Whether there is so much patience left; it is then spent."""
        with self._lock:
            is_left = self._left >= seconds
            self._left -= seconds if is_left else 0
        return is_left

    def restore(self) -> None:
        with self._lock:
            self._left = self.TOTAL_SECONDS


_patience = _Patience()


def retried(path: Path, read: Callable[[], T]) -> T:
    """What `read` returns; called anew, after a pause, while the system fails in a way that may pass.

    Raises:
        ReadError: the system still fails, or refuses.
        OSError: `read` found no such file, or a fault that is not the system's (no errno).
    """
    for attempt in range(len(_Patience.PAUSES) + 1):
        try:
            found = read()
        except OSError as error:
            if error.errno is None or error.errno in _MISSING:
                raise
            is_last = attempt == len(_Patience.PAUSES) or error.errno not in _MAY_PASS
            if is_last or not _patience.spend(_Patience.PAUSES[attempt]):
                noting.failed()
                raise ReadError(_refusal(path, error)) from error
            if attempt == 0:
                _log.warning("%s: %s; waiting for it", path, error.strerror)
            time.sleep(_Patience.PAUSES[attempt])
        else:
            if attempt:
                _patience.restore()
            return found
    raise AssertionError


def open_regular(path: Path, damaged: type[TaoLiteError], source: Path | None = None) -> BufferedReader:
    """The file, open for reading; `source` is where its bytes are, if not at the path that messages name.

    Raises:
        damaged: there is none, or it is no regular file.
        ReadError: as retried.
    """
    try:
        return retried(path, lambda: _open(path, damaged, source or path))
    except OSError as error:
        raise damaged(f"{path}: {_absence(error)}") from error


def read(path: Path, damaged: type[TaoLiteError], *, max_bytes: int) -> bytes:
    """The content of a file.

    Raises:
        damaged: as open_regular, or it has more bytes than that.
        ReadError: as retried.
    """

    def content() -> bytes:
        with _open(path, damaged, path) as file:
            return file.read(min(os.fstat(file.fileno()).st_size, max_bytes) + 1)

    try:
        found = retried(path, content)
    except OSError as error:
        raise damaged(f"{path}: {_absence(error)}") from error
    if len(found) > max_bytes:
        raise damaged(f"{path}: has more than {max_bytes:,} bytes, which is more than is read; is it the right file?")
    return found


def read_text(
    path: Path, damaged: type[TaoLiteError], *, max_bytes: int = MAX_TEXT_BYTES, errors: str = "strict"
) -> str:
    """The text of a UTF-8 file without a byte order mark, or of a UTF-16 file with one, as Windows' Notepad writes it.

    `errors`, as of bytes.decode, says what becomes of what is no UTF-8: names of files may be "surrogateescape".

    Raises:
        damaged: as read, or it is no such text.
        ReadError: as retried.
    """
    content = read(path, damaged, max_bytes=max_bytes)
    is_wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        if is_wide:
            return content.decode("utf-16")
        return content.removeprefix(codecs.BOM_UTF8).decode("utf-8", errors)
    except UnicodeDecodeError as error:
        raise damaged(_no_text(path, 1, error)) from error


def text_parts(path: Path, damaged: type[TaoLiteError]) -> Generator[str]:
    """The text of read_text, of a file of any size, in parts of a megabyte or so.

    Raises:
        damaged: as open_regular, or it is no such text.
        ReadError: as retried.
    """
    line = 1
    with open_regular(path, damaged) as file:
        decoder = _decoder(retried(path, lambda: file.peek(2)))
        while True:
            part = retried(path, partial(_part_at, file, file.tell()))
            try:
                text = decoder.decode(part, final=not part)
            except UnicodeDecodeError as error:
                raise damaged(_no_text(path, line, error)) from error
            yield text
            if not part:
                return
            line += part.count(b"\n")


def text_lines(path: Path, damaged: type[TaoLiteError]) -> Generator[str]:
    """The lines of text_parts, each with its end; a line ends with LF.

    Raises:
        damaged: as text_parts, or a line is longer than MAX_LINE.
        ReadError: as retried.
    """
    rest, number = "", 0
    with closing(text_parts(path, damaged)) as parts:
        for part in parts:
            *lines, rest = (rest + part).split("\n")
            number += len(lines)
            if len(rest) > MAX_LINE:
                raise damaged(f"{path}:{number + 1}: is longer than {MAX_LINE:,} characters; is it the right file?")
            yield from (f"{line}\n" for line in lines)
    if rest:
        yield rest


def _part_at(file: BufferedReader, start: int) -> bytes:
    file.seek(start)  # where an attempt that failed has left it is unknown
    return file.read(PART_BYTES)


def _decoder(head: bytes) -> codecs.IncrementalDecoder:
    is_wide = head[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    return codecs.getincrementaldecoder("utf-16" if is_wide else "utf-8-sig")()


def _no_text(path: Path, line: int, error: UnicodeDecodeError) -> str:
    """That the file is no text; `line` is the one in which the bytes begin that could not be decoded."""
    if error.encoding.startswith("utf-16"):
        return f"{path}: is not UTF-16, as its first bytes say; save it as UTF-8"
    line += error.object.count(b"\n", 0, error.start)
    return f"{path}:{line}: byte {error.object[error.start]:#04x} is not UTF-8; save it as UTF-8"


Pairs = list[tuple[str, Any]]


def read_json(
    path: Path,
    damaged: type[TaoLiteError],
    *,
    max_bytes: int = MAX_TEXT_BYTES,
    of_pairs: Callable[[Pairs], object] | None = None,
) -> Any:
    """The value in a JSON file; of_pairs makes something of an object's names and values, else it is a dict.

    Raises:
        damaged: as read_text, or it is no JSON.
        ReadError: as retried.
    """
    return parse_json(read_text(path, damaged, max_bytes=max_bytes), path, damaged, of_pairs)


def parse_json(
    text: str, path: Path, damaged: type[TaoLiteError], of_pairs: Callable[[Pairs], object] | None = None
) -> Any:
    """As read_json, of a text that came from the path.

    Raises:
        damaged: it is no JSON.
    """
    try:
        return json.loads(text, object_pairs_hook=of_pairs)
    except json.JSONDecodeError as error:
        raise damaged(f"{path}:{error.lineno}:{error.colno}: is not JSON ({error.msg})") from error
    except RecursionError as error:
        raise damaged(f"{path}: is nested too deeply; is it the right file?") from error
    except ValueError as error:  # a number of more digits than Python reads
        raise damaged(f"{path}: is not JSON that can be read ({error})") from error


def digest(path: Path, damaged: type[TaoLiteError]) -> str:
    """The sha256 of the file.

    Raises:
        damaged: as open_regular.
        ReadError: as retried.
    """

    import hashlib

    def found() -> str:
        with open_regular(path, damaged) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    return retried(path, found)


def _open(path: Path, damaged: type[TaoLiteError], source: Path) -> BufferedReader:
    noting.note(source)
    # O_NONBLOCK: opening a named pipe would wait for a writer, perhaps for ever. It means nothing to regular files.
    try:
        descriptor = os.open(source, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        raise damaged(f"{path}: is {_KINDS[stat.S_IFSOCK]} or a device, not a regular file") from error
    try:
        kind = stat.S_IFMT(os.fstat(descriptor).st_mode)
        if kind != stat.S_IFREG:
            raise damaged(f"{path}: is {_KINDS.get(kind, 'of another kind')}, not a regular file")
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def _absence(error: OSError) -> str:
    return "no such file; check the path" if error.errno == errno.ENOENT else f"no such file ({error.strerror})"


def _refusal(path: Path, error: OSError) -> str:
    assert error.errno is not None
    name = errno.errorcode.get(error.errno, str(error.errno))
    remedy = (
        "change its permissions"
        if error.errno in (errno.EACCES, errno.EPERM)
        else "the file itself may be whole: check the disk or the network, then give the same command again"
    )
    return f"{path}: can't be read now ({error.strerror}, {name}); {remedy}"
