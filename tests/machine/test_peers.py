"""Real processes that show each other signs of life, and what is seen of one that stands still."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

RANK = """
import sys, time
from torch.distributed import TCPStore
from tao_lite.machine.peers import Peers

port, rank, way = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
store = TCPStore("127.0.0.1", port, is_master=rank == 0, wait_for_workers=False)
peers = Peers(store, rank, 3, timeout_seconds=5, is_one_machine=False, ends_process=True)
peers.step = 37
print(store.port, flush=True)
if rank == 2:
    time.sleep(2)
    peers.leave()
if way == "stays":
    time.sleep(60)
"""


def started(rank: int, way: str, port: int = 0) -> tuple["subprocess.Popen[str]", int]:
    """The process of that rank, and the port of rank 0's store."""
    process = subprocess.Popen(
        [sys.executable, "-c", RANK, str(port), str(rank), way],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert process.stdout
    return process, int(process.stdout.readline())


@pytest.mark.slow
@pytest.mark.parametrize("is_stopped", [True, False])
def test_a_process_that_waits_for_its_device_is_ended_where_a_rank_is_silent(is_stopped: bool) -> None:
    """FIELD.md B1: NCCL waits where no Python runs. A rank that has left is not waited for."""
    (first, port) = started(0, "stays")
    second, _ = started(1, "stays", port)
    third, _ = started(2, "leaves", port)
    try:
        assert third.wait(timeout=30) == 0
        if not is_stopped:
            time.sleep(8)
            assert (first.poll(), second.poll()) == (None, None)
            return
        second.send_signal(signal.SIGSTOP)
        began = time.monotonic()
        _, errors = first.communicate(timeout=60)
        assert first.returncode == 75
        assert time.monotonic() - began < 5 + 2
        assert errors.startswith(
            "rank 1 did not answer for 5 s, after step 37 of the run, and rank 0 can't go on without"
        )
    finally:
        for process in (first, second, third):
            process.kill()
            process.communicate()
