"""The tree of errors a user can cause; each message says where, what was found and what to do.

TaoLiteError
├── SpecError         the spec file or a command-line override
├── DataError         images, labels, class lists
├── CheckpointError   weights that can't be read or don't fit
├── PruneError        what can't be pruned as asked
├── RunError          the results folder, the device, a run that can't go on
│   └── LostError     another process or machine is lost: the same command may go on
├── ReadError         what the system can't read now, whatever the file holds
└── LaunchError       containers and processes
"""

import importlib.util
import reprlib
from collections.abc import Iterable
from itertools import islice

USER_ERROR = 2
"""Exit code of the program for these."""

TRY_AGAIN = 75
"""That of LostError: by it Kubernetes, for one, tells a run that is to be begun again from one that is wrong."""

_MOST_LISTED = 20
_BRIEF = reprlib.Repr()
_BRIEF.maxstring = _BRIEF.maxother = 100


class TaoLiteError(Exception):
    """Something the user can put right: shown without a traceback."""

    exit_code = USER_ERROR


class SpecError(TaoLiteError):
    """The spec file is not readable or breaks a rule."""


class DataError(TaoLiteError):
    """The data set can't be used as the spec says."""


class CheckpointError(TaoLiteError):
    """A weights file is missing, damaged, foreign or does not fit the network."""


class PruneError(TaoLiteError):
    """The network, or a setting of the pruning, doesn't allow what was asked."""


class RunError(TaoLiteError):
    """The run can't start or go on: folder in use, disk full, non-finite loss."""


class LostError(RunError):
    """Another process, or its machine, has ended, does not answer or never came; this one may have no fault."""

    exit_code = TRY_AGAIN


class DivergedError(RunError):
    """The loss is no longer finite: another seed or other images may train well with the same settings."""


class InUseError(RunError):
    """Another process is at work in the results folder."""


class InaccurateError(RunError):
    """The INT8 file would lose more accuracy than is allowed: the network itself is as it was."""


class ReadError(TaoLiteError):
    """The system can't read a file now; the file itself may be whole."""


class StoreError(ReadError):
    """What is behind a URL fails for too long, refuses, or isn't what it was: no picture's own fault."""


class LaunchError(TaoLiteError):
    """The container can't be started: no engine, no image, no GPU in it, a path that can't be mounted."""


def refuse_missing(who: str, extra: str, *packages: str) -> None:
    """Raise where a package is not installed that comes with an extra of ours; `who` needs it.

    Raises:
        RunError: names those that are missing and how to get them.
    """
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    if missing:
        raise RunError(f"{who} needs {', '.join(missing)}; install it with pip install 'tao-lite[{extra}]'")


class Interrupted(Exception):  # noqa: N818 - not an error
    """The user or the system asked the run to stop, and it did so in order; carries the signal's number."""

    def __init__(self, signal_number: int, message: str) -> None:
        super().__init__(message)
        self.signal_number = signal_number


def printable(text: str) -> str:
    """The text for a message or a table: what would move a terminal's cursor is escaped.

    Names of classes, files and fields come from others and may hold anything.
    """
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


def shown(text: str) -> str:
    """As printable, of several lines."""
    return "\n".join(map(printable, text.split("\n")))


def brief(value: object) -> str:
    """The value for a message, as repr has it: of a few words, however much it holds."""
    return _BRIEF.repr(value)


def listed(words: Iterable[str]) -> str:
    """The words for a message, with commas; the first of them, where there are many."""
    found = list(islice(words, _MOST_LISTED + 1))
    return ", ".join([*found[:_MOST_LISTED], *(["..."] if len(found) > _MOST_LISTED else [])])
