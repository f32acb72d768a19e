"""What is said about a spec: how grave it is, of which field, and where that stands."""

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple


class Place(NamedTuple):
    """Line and column, from 1; line 0 is the command line."""

    line: int
    column: int


COMMAND_LINE = Place(0, 0)


class Level(Enum):
    """What a finding means, in the order in which those of one place are told."""

    # The spec is wrong, wherever it runs.
    ERROR = "error"
    # The spec runs, and does not do what it seems to say.
    WARNING = "warning"
    # What was written was converted or replaced.
    NOTE = "note"
    # The spec is right, but the stage can't run it on this machine or in this version.
    BLOCKER = "blocker"


@dataclass(frozen=True, slots=True)
class Finding:
    """What is said of a field: `path` is such as train_config.n_epochs.

    Who knows no places leaves that to `spec.load`, which takes the field's, else that of the nearest block around it.
    """

    level: Level
    path: str
    text: str
    place: Place = COMMAND_LINE


def warning(path: str, text: str) -> Finding:
    """What a field does not do as it seems to say."""
    return Finding(Level.WARNING, path, text)


def error(place: Place, path: str, text: str) -> Finding:
    """What is wrong with what stands at the place."""
    return Finding(Level.ERROR, path, text, place)


def note(place: Place, path: str, text: str) -> Finding:
    """What became of what stands at the place."""
    return Finding(Level.NOTE, path, text, place)
