"""What a search knows of a trial."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tao_lite.stages.tune.space import Value


@dataclass(frozen=True, kw_only=True)
class Record:
    """A trial; `values` are those of the objectives by the epoch after which they were."""

    number: int
    parameters: Mapping[str, Value]
    results: Path
    is_baseline: bool = False
    until: int = 0  # the epoch that it is being trained to; 0 while nobody trains it
    values: Mapping[int, Sequence[float]] = field(default_factory=dict)
    is_complete: bool = False  # trained to the end
    is_given_up: bool = False  # by the pruner, at the search's end
    failure: str = ""  # why it has no network that counts
    is_diverged: bool = False

    @property
    def epochs(self) -> int:
        """How far its values go."""
        return max(self.values, default=0)

    @property
    def is_over(self) -> bool:
        return self.is_complete or self.is_given_up or bool(self.failure)

    @property
    def is_waiting(self) -> bool:
        """Whether it stands at a rung."""
        return not self.is_over and not self.until and bool(self.values)

    @property
    def state(self) -> str:
        """What became of it, in a word."""
        if self.failure:
            return "diverged" if self.is_diverged else "failed"
        if self.is_complete:
            return "complete"
        return "stopped" if self.is_given_up else "running" if self.until else "waiting"
