"""Signals that ask a run to stop in order, and what each counts as."""

import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

# A terminal that goes away stops a run as SIGTERM does: it then saves.
STOPPING = {signal.SIGINT: signal.SIGINT, signal.SIGTERM: signal.SIGTERM, signal.SIGHUP: signal.SIGTERM}

# Slurm signals each process of a job, and each of ours passes it on besides: within so long it is one request.
_ECHO_SECONDS = 3.0


@contextmanager
def taken(handler: Callable[[signal.Signals], None]) -> Iterator[None]:
    """Give the signals to the handler, as what they count as, until the block ends; echoes of one are left out.

    SIGHUP stays ignored where nohup had it ignored.
    """
    heard = -math.inf
    previous = {number: signal.getsignal(number) for number in STOPPING}
    if previous[signal.SIGHUP] is signal.SIG_IGN:
        del previous[signal.SIGHUP]

    def take(number: int, _: FrameType | None) -> None:
        nonlocal heard
        if time.monotonic() - heard > _ECHO_SECONDS:
            heard = time.monotonic()
            handler(STOPPING[signal.Signals(number)])

    for number in previous:
        signal.signal(number, take)
    try:
        yield
    finally:
        for number, before in previous.items():
            signal.signal(number, before)


def end(number: signal.Signals) -> None:
    """End this process by the signal."""
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)
