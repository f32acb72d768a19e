"""Stopping in order: SIGINT and SIGTERM become a request that the loop meets between two steps."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from tao_lite.machine.distributed import World

VOTE_EVERY = 20  # steps; several processes must stop after the same step, and voting costs them a message


class StopRequest:
    """Whether the run was asked to stop, by which signal."""

    def __init__(self) -> None:
        self.signal_number = 0

    def agreed(self, world: World, step: int) -> bool:
        """Whether the processes stop after so many steps of the run. All of them must ask, for they may vote on it."""
        if world.world_size == 1:
            return bool(self.signal_number)
        return step % VOTE_EVERY == 0 and world.any(bool(self.signal_number))


@contextmanager
def stop_request() -> Iterator[StopRequest]:
    """Take SIGINT and SIGTERM as a request to stop; a second signal ends the process at once."""
    request = StopRequest()
    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def ask(number: int, _: FrameType | None) -> None:
        request.signal_number = number
        for each in previous:
            signal.signal(each, signal.SIG_DFL)

    for number in previous:
        signal.signal(number, ask)
    try:
        yield request
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
