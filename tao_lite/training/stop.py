"""Stopping in order: SIGINT, SIGTERM and SIGHUP become a request that the loop meets between two steps."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from tao_lite.machine import signals
from tao_lite.machine.distributed import World

VOTE_EVERY = 20  # steps; several processes must stop after the same step, and voting costs them a message


class StopRequest:
    """Whether the run was asked to stop, by which signal."""

    def __init__(self) -> None:
        self.signal_number = 0

    def agreed(self, world: World, step: int) -> bool:
        """Whether the processes stop after so many steps of the run. All of them must ask, for they may vote on it."""
        world.reached(step)
        if world.world_size == 1:
            return bool(self.signal_number)
        return step % VOTE_EVERY == 0 and world.any(bool(self.signal_number))


@contextmanager
def stop_request() -> Iterator[StopRequest]:
    """Take the signals as a request to stop; a second one ends the process at once."""
    request = StopRequest()

    def ask(number: signal.Signals) -> None:
        request.signal_number = number
        signals.end_at_once()

    with signals.taken(ask):
        yield request
