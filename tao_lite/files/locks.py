"""Locks on files: the kernel frees them however a process ends, also on other machines that share the file system."""

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from tao_lite.files import writing


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold the lock in the block, once whoever holds it frees it.

    Raises:
        RunError: the file can't be made.
    """
    with writing.open_to_append(path) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def taken(path: Path) -> BinaryIO | None:
    """The lock, held until it is closed; None where another process holds it.

    Raises:
        RunError: the file can't be made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = writing.open_to_append(path)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file
