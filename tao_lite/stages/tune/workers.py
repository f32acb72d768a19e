"""Further processes on this machine, which join a search by the command that began it."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch

from tao_lite.files import writing
from tao_lite.machine import host
from tao_lite.monitor import console
from tao_lite.run import Run


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the command line says of a search: its words, and what it makes of them."""

    arguments: Sequence[str]
    overrides: Sequence[str]
    processes: int
    seconds: float  # after which no training begins or goes on
    worker: int = 0  # which of the processes that one command started


@contextlib.contextmanager
def joined(run: Run, asked: Asked) -> Iterator[None]:
    """Have the other processes of the command work beside the block, and wait for them after it.

    Where the block ends with an error they are asked to stop, and save.
    """
    others = [_start(run, asked, worker) for worker in range(1, 1 if asked.worker else asked.processes)]
    try:
        yield
    except BaseException:
        for process in others:
            process.terminate()
        raise
    finally:
        for number, process in enumerate(others, start=1):
            if code := process.wait():
                console.line(
                    f"Process {number} of the search ended with code {code}; {run.worker_log(number)} says why"
                )


def of_worker(run: Run, worker: int) -> Run:
    """The run on the GPU of this process: each has one of its own, as long as there are enough."""
    if run.device.type != "cuda":
        return run
    device = torch.device("cuda", worker % torch.cuda.device_count())
    torch.cuda.set_device(device)
    return replace(run, world=replace(run.world, device=device))


def share_cores(asked: Asked) -> None:
    """Give this process its share of the cores, for the others are as busy."""
    if asked.processes > 1 and "OMP_NUM_THREADS" not in os.environ:
        threads = max(1, host.usable_cores() // asked.processes)
        os.environ["OMP_NUM_THREADS"] = str(threads)
        torch.set_num_threads(threads)


def _start(run: Run, asked: Asked, worker: int) -> "subprocess.Popen[bytes]":
    with writing.open_to_append(run.worker_log(worker)) as output:
        # A session of its own: Ctrl-C at the terminal would reach it twice, and a second signal means "now".
        return subprocess.Popen(  # noqa: S603 - a list of arguments, no shell
            [sys.executable, "-m", "tao_lite.cli", *asked.arguments, "--worker", str(worker)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
