"""What a check says about a spec, before it is given a place in the file."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum

from tao_lite.spec import classification_pb2 as pb


class Level(Enum):
    """How grave a finding is."""

    # The spec is wrong, wherever it runs.
    ERROR = "error"
    # The spec is right, but the stage can't run it on this machine or in this version.
    BLOCKER = "blocker"
    # The spec runs, and does not do what it seems to say.
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong with a field: `path` is such as train_config.n_epochs."""

    level: Level
    path: str
    text: str


# What layers above the spec know of it: (experiment, stage) -> findings.
Check = Callable[[pb.Experiment, str], Iterable[Finding]]
