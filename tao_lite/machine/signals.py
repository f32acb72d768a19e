"""Signals that ask a run to stop in order, and what each counts as."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

# A terminal that goes away stops a run as SIGTERM does: it then saves.
STOPPING = {signal.SIGINT: signal.SIGINT, signal.SIGTERM: signal.SIGTERM, signal.SIGHUP: signal.SIGTERM}


@contextmanager
def taken(handler: Callable[[signal.Signals], None]) -> Iterator[None]:
    """Give the signals to the handler, as what they count as, until the block ends.

    SIGHUP stays ignored where nohup had it ignored.
    """
    previous = {number: signal.getsignal(number) for number in STOPPING}
    if previous[signal.SIGHUP] is signal.SIG_IGN:
        del previous[signal.SIGHUP]

    def take(number: int, _: FrameType | None) -> None:
        handler(STOPPING[signal.Signals(number)])

    for number in previous:
        signal.signal(number, take)
    try:
        yield
    finally:
        for number, before in previous.items():
            signal.signal(number, before)


def end_at_once() -> None:
    """Have the next of the signals end the process, but for those that are ignored."""
    for number in STOPPING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
