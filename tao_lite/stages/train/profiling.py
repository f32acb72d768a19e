"""A trace of a few training steps, for the trace viewers of TensorBoard and Perfetto."""

import logging
import os
import socket
import time
from typing import Self

from torch import profiler

from tao_lite.monitor.monitor import Monitor
from tao_lite.run import Run

WAIT, WARM_UP = 10, 2
"""Steps before it: the first ones choose kernels and fill caches, and the tracer's own first ones are slow."""


_log = logging.getLogger(__name__)


class Tracer:
    """Traces num_steps training steps, once in a run, on the main process; 0 is none. Call `step` after each step."""

    def __init__(self, run: Run, monitor: Monitor, num_steps: int, num_left: int) -> None:
        """num_left: steps until the training's end; where they are few, the trace begins sooner and is shorter."""
        self._run, self._monitor = run, monitor
        self._profile: profiler.profile | None = None
        if not num_steps or not run.is_main or any(run.traces.glob("*")):
            return
        if num_left <= WARM_UP:
            _log.warning("nothing is traced: %d steps are left, and profile_steps needs %d", num_left, WARM_UP + 1)
            return
        active = min(num_steps, num_left - WARM_UP)
        wait = min(WAIT, num_left - WARM_UP - active)
        schedule = profiler.schedule(wait=wait, warmup=WARM_UP, active=active, repeat=1)
        self._profile = profiler.profile(schedule=schedule, on_trace_ready=self._write)

    def __enter__(self) -> Self:
        if self._profile:
            self._profile.start()
        return self

    def __exit__(self, *_: object) -> None:
        """What was traced until then is written."""
        if self._profile:
            self._profile.stop()

    def step(self) -> None:
        """A training step is done."""
        if self._profile:
            self._profile.step()

    def _write(self, trace: profiler.profile) -> None:
        now = time.time()
        # TensorBoard's viewers find a trace by these names: a folder per trace, in it a file per host.
        folder = self._run.traces / time.strftime("%Y_%m_%d_%H_%M_%S", time.localtime(now))
        path = folder / f"{socket.gethostname()}_{os.getpid()}.{round(now * 1000)}.pt.trace.json.gz"

        def write() -> None:
            folder.mkdir(parents=True)
            trace.export_chrome_trace(str(path))

        self._monitor.attempt(self._run.traces, write)
