"""What has been opened and listed: each file and folder with its state before that, so that a change shows later."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path

NO_FILE = 0


@dataclass
class Noted:
    """Files and folders by their paths, with their stamps; state, for it grows while others read."""

    stamps: dict[str, int] = field(default_factory=dict)
    newest: float = 0
    """When the last of them was changed, as the system counts seconds."""
    has_failed: bool = False
    """Whether the system refused something, which it may give the next time."""

    def add(self, path: str) -> None:
        if path in self.stamps:
            return
        self.stamps[path] = NO_FILE
        try:
            status = os.stat(path)  # noqa: PTH116 - twice as fast as Path.stat
        except OSError:
            # That it comes into being shows in the folder where it would be.
            if (above := os.path.dirname(path)) != path:  # noqa: PTH120 - a million of them
                self.add(above)
            return
        self.newest = max(self.newest, status.st_ctime)
        self.stamps[path] = _stamp(status)


_noted: ContextVar[Noted | None] = ContextVar("noted", default=None)


@contextmanager
def noting() -> Iterator[Noted]:
    """What this thread opens and lists within the block."""
    found = Noted()
    token = _noted.set(found)
    try:
        yield found
    finally:
        _noted.reset(token)


def note(path: Path | str) -> None:
    """Call it before the state of a file or folder, be it that it isn't there, is made use of."""
    if found := _noted.get():
        found.add(str(path))


def failed() -> None:
    """Call it where the system refuses what may be there."""
    if found := _noted.get():
        found.has_failed = True


def stamp(path: Path | str) -> int:
    """A number for the state of a file or folder, which another content changes; 0 where there is none.

    Of size and times. The time of change is one of them: unpacking and copying may set the other back. The inode is
    not: file systems over a network number anew with each mount.
    """
    try:
        return _stamp(os.stat(path))  # noqa: PTH116 - twice as fast as Path.stat
    except OSError:
        return NO_FILE


def _stamp(status: os.stat_result) -> int:
    state = (status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return int.from_bytes(hashlib.blake2b(repr(state).encode(), digest_size=8).digest(), "little") or 1
