"""Stopping in order: SIGINT, SIGTERM and SIGHUP become a request that the loop meets between two steps."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tao_lite.machine import signals
from tao_lite.machine.distributed import World

# Several processes must stop after the same step, and voting costs them a message; who stops them may not wait long.
_VOTE_STEPS, _VOTE_SECONDS = 20, 1.0


class StopRequest:
    """Whether the run was asked to stop, by which signal."""

    def __init__(self) -> None:
        self.signal_number = 0
        self._steps_to_vote, self._steps, self._began = 1, 0, time.monotonic()

    def agreed(self, world: World, step: int) -> bool:
        """Whether the processes stop after so many steps of the run. All of them must ask, for they may vote on it."""
        world.reached(step)
        if world.world_size == 1:
            return bool(self.signal_number)
        self._steps += 1
        return self._steps >= self._steps_to_vote and self._vote(world)

    def _vote(self, world: World) -> bool:
        """Whether any process was asked to stop; the next vote is after a second of the slowest, or sooner."""
        now = time.monotonic()
        is_asked, seconds = world.largest(bool(self.signal_number), (now - self._began) / self._steps)
        self._steps_to_vote = max(1, int(min(_VOTE_STEPS, _VOTE_SECONDS / max(seconds, 1e-9))))
        self._steps, self._began = 0, now
        return is_asked > 0


@contextmanager
def stop_request() -> Iterator[StopRequest]:
    """Take the signals as a request to stop; a second one ends the process at once."""
    request = StopRequest()

    def ask(number: signal.Signals) -> None:
        if request.signal_number:
            signals.end(number)
        request.signal_number = number

    with signals.taken(ask):
        yield request
