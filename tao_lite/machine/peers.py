"""Signs of life of the ranks that train together: which of them has ended or stands still."""

import logging
import os
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tao_lite.errors import TRY_AGAIN, LostError

if TYPE_CHECKING:
    from torch.distributed import Store  # type: ignore[attr-defined]

_log = logging.getLogger(__name__)

_BEAT_SECONDS = 1.0
# Of a rank that has ended; one that works misses a beat where a machine has more to do than cores.
_SILENT_SECONDS = 4.0
_LEFT = b"left"


class Peers:
    """Shows the others each second that this rank is there, and sees when each of them last did; a thread's work.

    Nothing else tells who has gone: gloo says that somebody has, and NCCL waits where no Python runs.
    """

    def __init__(
        self,
        store: "Store",
        rank: int,
        world_size: int,
        *,
        timeout_seconds: int,
        is_one_machine: bool,
        ends_process: bool,
    ) -> None:
        """is_one_machine: one torchrun started all ranks. ends_process: the thread does, where a rank is silent."""
        self.step = 0  # of the run, the last one that is done
        self._store, self._rank, self._timeout_seconds = store, rank, timeout_seconds
        self._is_one_machine, self._ends_process = is_one_machine, ends_process
        self._seen = {other: (b"", time.monotonic()) for other in range(world_size) if other != rank}
        self._is_left = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="peers", daemon=True)
        self._thread.start()

    def leave(self) -> None:
        """Tell the others that this rank has done its part."""
        self._is_left.set()
        self._thread.join(2 * _BEAT_SECONDS)
        # The rank that holds the store may have left before.
        with suppress(RuntimeError):
            self._store.set(_key(self._rank), _LEFT.decode())

    def explained(self, error: RuntimeError) -> LostError | None:
        """What the others have to do with the error; None where they have not. Takes some seconds.

        A rank that stands still on this machine is ended: torchrun would give it 30 seconds to end in order.
        """
        # torchrun ends all ranks as soon as it sees that one has ended, and this one is about to say why.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        lost, text = self._silent(), str(error).lower()
        # gloo's errors have no type of their own, so what this rank did wrong is told by all others being there.
        if lost is None and "gloo" not in text:
            return None
        return LostError(self._story(lost, is_late="timed out" in text or "timeout" in text))

    def _silent(self) -> int | None:
        """The rank that has shown nothing for longest; None if each was seen just now."""
        end = time.monotonic() + _SILENT_SECONDS + 2 * _BEAT_SECONDS
        # Where this process was itself held up, its thread has first to look around.
        time.sleep(_BEAT_SECONDS)
        while time.monotonic() < end:
            # No "left": such a rank took part to the end.
            times = {rank: when for rank, (beat, when) in self._seen.items() if beat != _LEFT}
            first = min(times, key=lambda rank: times[rank], default=None)
            if first is not None and time.monotonic() - times[first] > _SILENT_SECONDS:
                return first
            time.sleep(0.1)
        return None

    def _story(self, lost: int | None, *, is_late: bool) -> str:
        if lost is not None and is_late:
            self._end(lost)
        name = "another rank" if lost is None else f"rank {lost}"
        seconds = self._timeout_seconds
        what = f"did not answer for {seconds} s" if is_late else "has ended, or can't be reached any more"
        remedy = f"; if it may take so long, raise train_config.communication_timeout_seconds ({seconds})"
        return (
            f"{name} {what}, after step {self.step} of the run, and rank {self._rank} can't go on without it; see what "
            f"is said of {name} and its machine. The same command goes on from the last checkpoint"
            f"{remedy if is_late else ''}"
        )

    def _watch(self) -> None:
        number = 0
        # An error is that of the store, whose holder has ended or left. gloo then tells the main thread.
        with suppress(RuntimeError):
            while not self._is_left.wait(_BEAT_SECONDS):
                number += 1
                self._store.set(_key(self._rank), f"{os.getpid()} {number}")
                self._look()

    def _look(self) -> None:
        beats, now = self._store.multi_get([_key(rank) for rank in self._seen]), time.monotonic()
        for rank, beat in zip(self._seen, beats, strict=True):
            before, when = self._seen[rank]
            if beat != before:
                self._seen[rank] = beat, now
            elif self._ends_process and beat != _LEFT and now - when > self._timeout_seconds:
                _log.critical("%s", self._story(rank, is_late=True))
                os._exit(TRY_AGAIN)

    def _end(self, rank: int) -> None:
        """Kill the rank if it is a process of this machine, begun by the same torchrun."""
        beat, _ = self._seen[rank]
        if not (self._is_one_machine and beat):
            return
        process = int(beat.split()[0])
        with suppress(OSError):
            parent = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1]
            if int(parent) == os.getppid():
                os.kill(process, signal.SIGKILL)


def _key(rank: int) -> str:
    return f"tao_lite/{rank}"
