"""Processes that train one network together: torchrun's contract, the process group and its sums; one is rank 0 of 1.

    launch (no torch) -> agent: this module as a program, torchrun inside -> ranks: tao_lite.cli, which call start

Each process dies with the one to its left, also by kill -9: torchrun alone leaves its ranks running.
"""

import ctypes
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING

from tao_lite.errors import USER_ERROR, RunError

if TYPE_CHECKING:
    import torch

_log = logging.getLogger(__name__)

INTERRUPTED = 130
_PARENT = "TAO_LITE_PARENT_PROCESS"


@dataclass(frozen=True, kw_only=True)
class World:
    """This process among those that train together. Every method but is_main must be called by all ranks alike."""

    rank: int
    world_size: int
    local_rank: int
    device: "torch.device"
    local_world_size: int = 0  # ranks on this machine, where the launcher says so

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    @property
    def num_neighbours(self) -> int:
        """Ranks that share this machine's cores and memory, this one among them."""
        return self.local_world_size or self.world_size

    def sum_(self, tensor: "torch.Tensor") -> "torch.Tensor":
        """The tensor, replaced in place by its sum over all ranks."""
        if self.world_size > 1:
            import torch.distributed

            torch.distributed.all_reduce(tensor)
        return tensor

    def share(self, tensors: Iterable["torch.Tensor"]) -> None:
        """Give all ranks the values of rank 0: each has its own running statistics of batch normalisation."""
        if self.world_size > 1:
            import torch.distributed

            for tensor in tensors:
                torch.distributed.broadcast(tensor, 0)

    def any(self, flag: bool) -> bool:
        """Whether any rank voted yes. On the host: waits for the other ranks, not for the devices' queues."""
        if self.world_size == 1:
            return flag
        import torch

        votes = torch.tensor(int(flag))
        torch.distributed.all_reduce(votes)
        return votes.item() > 0

    def barrier(self) -> None:
        """Return when all ranks have come here."""
        self.any(False)

    def stop(self) -> None:
        """Leave the process group."""
        if self.world_size > 1:
            import torch.distributed

            torch.distributed.destroy_process_group()


def launched() -> bool:
    """Whether this process is one of several ranks, or the only one, that a launcher started."""
    return "RANK" in os.environ


def is_main() -> bool:
    """Whether this process is alone or rank 0, known before it has joined the others.

    Raises:
        RunError: the environment is not torchrun's.
    """
    return _number("RANK", 0) == 0


def start(device_kind: str) -> World:
    """Join the other ranks that torchrun's environment names; alone without it. device_kind is "cpu" or "cuda".

    Raises:
        RunError: the environment is not torchrun's, there is no GPU for this rank, or the others can't be reached.
    """
    import torch

    rank, world_size, local_rank = (_number(*item) for item in (("RANK", 0), ("WORLD_SIZE", 1), ("LOCAL_RANK", 0)))
    # Only under torchrun: a rank started by hand may outlive its shell.
    if "TORCHELASTIC_RUN_ID" in os.environ:
        _die_with_parent()
    device = torch.device("cpu")
    if device_kind == "cuda":
        _check_gpu(local_rank)
        device = torch.device("cuda", local_rank)
        torch.cuda.set_device(device)
    if world_size > 1:
        _join(device, rank, world_size)
    return World(rank=rank, world_size=world_size, local_rank=local_rank, device=device)


def launch(num_processes: int, arguments: Sequence[str], *, module: str = "tao_lite.cli") -> int:
    """Run `python -m module arguments` as that many ranks on this machine; their exit code.

    SIGINT and SIGTERM are passed on; the ranks then have torchrun's 30 seconds to save, and the code is 130.
    """
    torchrun = ["--standalone", "--nproc_per_node", str(num_processes), "-m", module, *arguments]
    threads = max(1, len(os.sched_getaffinity(0)) // num_processes)
    environment = {"OMP_NUM_THREADS": str(threads), **os.environ, _PARENT: str(os.getpid())}
    # A session of its own: Ctrl-C at the terminal would reach the agent twice, and a second signal means "now".
    agent = subprocess.Popen(  # noqa: S603 - a list of arguments, no shell
        [sys.executable, "-m", "tao_lite.machine.distributed", *torchrun], env=environment, start_new_session=True
    )

    def pass_on(number: int, _: FrameType | None) -> None:
        agent.send_signal(number)

    previous = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        code = agent.wait()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    return _shell_code(code)


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, str(default))
    if not text.isdecimal():
        raise RunError(
            f"environment variable {name} is {text!r}, must be a whole number; unset it or start with --gpus"
        )
    return int(text)


def _check_gpu(local_rank: int) -> None:
    import torch

    num_gpus = torch.cuda.device_count()
    if num_gpus == 0:
        raise RunError("device: torch found no CUDA GPU; check the driver with nvidia-smi, or train on the CPU")
    if local_rank >= num_gpus:
        raise RunError(
            f"LOCAL_RANK is {local_rank} and needs GPU {local_rank}, but this machine shows {num_gpus}; "
            f"start with --gpus {num_gpus} or fewer, or check CUDA_VISIBLE_DEVICES"
        )


def _join(device: "torch.device", rank: int, world_size: int) -> None:
    import torch.distributed

    # gloo beside nccl: a vote is about the host and must not wait for the kernels queued on the device.
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    try:
        torch.distributed.init_process_group(backend, rank=rank, world_size=world_size)
    except (ValueError, RuntimeError) as error:
        where = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
        raise RunError(
            f"rank {rank} of {world_size}: can't join the others at {where} ({error}); "
            "start all ranks with --gpus or torchrun, and check that this address can be reached"
        ) from error


def _die_with_parent() -> None:
    """Have the kernel kill this process when its parent ends, however it ends."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
    # The parent may have gone before the call above; then nobody is left to hear an error.
    if os.environ.get(_PARENT, str(os.getppid())) != str(os.getppid()):
        os.kill(os.getpid(), signal.SIGKILL)


def _agent(arguments: list[str]) -> int:
    """Run torchrun; the exit code of the rank that explains the end, where torchrun itself returns 1."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # No traceback while torch is imported; torchrun sets its own later.
    _die_with_parent()
    os.environ[_PARENT] = str(os.getpid())
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    # torchrun reports what the ranks have already said or what is logged below.
    logging.disable(logging.ERROR)
    try:
        run.run(run.parse_args(arguments))  # type: ignore[no-untyped-call]
    except SignalException:
        return INTERRUPTED
    except ChildFailedError as error:
        codes = {rank: failure.exitcode for rank, failure in error.failures.items()}
        cause = max(codes, key=lambda rank: _weight(codes[rank]))
        if codes[cause] < 0:
            _log.critical("rank %d was killed by %s", cause, signal.Signals(-codes[cause]).name)
        return _shell_code(codes[cause])
    return 0


def _weight(code: int) -> int:
    """How well an exit code explains the end of all ranks. torchrun stops those that are left with SIGTERM."""
    if code == USER_ERROR:
        return 3
    if code in (INTERRUPTED, -signal.SIGTERM):
        return 0
    return 2 if code < 0 else 1


def _shell_code(code: int) -> int:
    """The exit code as a shell shows it, 128 + number for a process that a signal ended; SIGTERM counts as Ctrl-C."""
    if -code in (signal.SIGINT, signal.SIGTERM):
        return INTERRUPTED
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    raise SystemExit(_agent(sys.argv[1:]))
