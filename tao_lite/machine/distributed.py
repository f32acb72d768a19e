"""Processes that train one network together: torchrun's contract, the process group and its sums; one is rank 0 of 1.

    launch (no torch) -> agent: this module as a program, torchrun inside -> ranks: tao_lite.cli, which call start

Each process dies with the one to its left, also by kill -9: torchrun alone leaves its ranks running. The agent may be
started in torchrun's place, with torchrun's arguments.
"""

import ctypes
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from tao_lite.errors import TRY_AGAIN, USER_ERROR, Interrupted, LostError, RunError
from tao_lite.machine import signals
from tao_lite.machine.nodes import ALONE, Nodes

if TYPE_CHECKING:
    import torch

    from tao_lite.machine.peers import Peers

_log = logging.getLogger(__name__)

TIMEOUT_SECONDS = 300
"""How long ranks wait for one that does not answer, where no spec says it."""

_PARENT = "TAO_LITE_PARENT_PROCESS"
# Seconds after which it is said what is waited for.
_PATIENCE = 10


class _Place(NamedTuple):
    """What torchrun's environment says of this rank; a local_world_size of 0 is unknown."""

    rank: int
    world_size: int
    local_rank: int
    local_world_size: int


@dataclass(frozen=True, kw_only=True)
class World:
    """This process among those that train together. Its methods must be called by all ranks alike, but for reached."""

    rank: int
    world_size: int
    local_rank: int
    device: "torch.device"
    local_world_size: int = 0  # ranks on this machine, where the launcher says so
    peers: "Peers | None" = None

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
        (votes,) = self.largest(flag)
        return votes > 0

    def largest(self, *values: float) -> list[float]:
        """Of each value the largest that a rank has; on the host, as any."""
        if self.world_size == 1:
            return list(values)
        import torch

        found = torch.tensor(values, dtype=torch.float64)
        torch.distributed.all_reduce(found, torch.distributed.ReduceOp.MAX)
        return list(found.tolist())

    def gathered(self, text: str) -> list[str]:
        """The texts of all ranks."""
        if self.world_size == 1:
            return [text]
        import torch

        own = text.encode()
        length = torch.tensor(len(own))
        torch.distributed.all_reduce(length, torch.distributed.ReduceOp.MAX)
        # Spaces at the end are no part of a text.
        rows = torch.frombuffer(bytearray(own.ljust(int(length) + 1)), dtype=torch.uint8)
        found = [torch.empty_like(rows) for _ in range(self.world_size)]
        torch.distributed.all_gather(found, rows)
        return [bytes(row.tolist()).decode().rstrip() for row in found]

    def barrier(self) -> None:
        """Return when all ranks have come here."""
        self.any(False)

    def reached(self, step: int) -> None:
        """Note how many steps of the run are done, for what is said where another rank is lost."""
        if self.peers:
            self.peers.step = step

    @contextmanager
    def together(self) -> Iterator[None]:
        """What the ranks do together; they part in order, unless an error ends one of them.

        Raises:
            LostError: another rank has ended or does not answer.
        """
        try:
            yield
        except Interrupted:
            self.stop()
            raise
        except RuntimeError as error:
            lost = self.peers and self.peers.explained(error)
            if lost:
                raise lost from error
            raise
        self.stop()

    def stop(self) -> None:
        """Leave the process group."""
        if self.peers:
            self.peers.leave()
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
    return _place().rank == 0


def start(device_kind: str, timeout_seconds: int = TIMEOUT_SECONDS) -> World:
    """Join the other ranks that torchrun's environment names; alone without it. device_kind is "cpu" or "cuda".

    A rank that does not answer for timeout_seconds ends the others.

    Raises:
        RunError: the environment is not torchrun's, or there is no GPU for this rank.
        LostError: the others can't be reached.
    """
    import torch

    place = _place()
    # Only under torchrun: a rank started by hand may outlive its shell.
    if "TORCHELASTIC_RUN_ID" in os.environ:
        _die_with_parent()
    device = torch.device("cpu")
    if device_kind == "cuda":
        _check_gpu(place.local_rank)
        device = torch.device("cuda", place.local_rank)
        torch.cuda.set_device(device)
    peers = _join(device, place, timeout_seconds) if place.world_size > 1 else None
    return World(**place._asdict(), device=device, peers=peers)


def launch(
    num_processes: int,
    arguments: Sequence[str],
    *,
    module: str = "tao_lite.cli",
    nodes: Nodes = ALONE,
    timeout_seconds: int = TIMEOUT_SECONDS,
) -> int:
    """Run `python -m module arguments` as that many ranks on this machine, beside those of other nodes; its exit code.

    SIGINT, SIGTERM and SIGHUP are passed on; the ranks then have 100 seconds to save, or 30 in an older torch.

    Raises:
        LostError: the machine where the nodes meet can't be reached.
    """
    here = ["--nproc_per_node", str(num_processes), *nodes.words(timeout_seconds)]
    torchrun = [*here, "-m", module, *arguments]
    threads = max(1, len(os.sched_getaffinity(0)) // num_processes)
    own = {"OMP_NUM_THREADS": str(threads), **nodes.environment()}
    environment = {**own, **os.environ, _PARENT: str(os.getpid())}
    # A session of its own: Ctrl-C at the terminal would reach the agent twice, and a second signal means "now".
    agent = subprocess.Popen(  # noqa: S603 - a list of arguments, no shell
        [sys.executable, "-m", "tao_lite.machine.distributed", *torchrun], env=environment, start_new_session=True
    )
    with signals.taken(agent.send_signal):
        return _shell_code(agent.wait())


def _place() -> _Place:
    """Raises RunError where the environment is not torchrun's."""
    numbers = {name: _number(name, 0) for name in ("RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE")}
    numbers["WORLD_SIZE"] = _number("WORLD_SIZE", 1)
    place = _Place(**{field: numbers[field.upper()] for field in _Place._fields})
    here = place.local_world_size or place.world_size
    wrong = {
        "WORLD_SIZE must be at least 1": place.world_size < 1,
        "RANK must be below WORLD_SIZE": place.rank >= place.world_size,
        "LOCAL_WORLD_SIZE must be 1 to WORLD_SIZE": not 1 <= here <= place.world_size,
        # Without the other ranks' variables it only names a GPU.
        "LOCAL_RANK must be below LOCAL_WORLD_SIZE": launched() and place.local_rank >= here,
        "MASTER_PORT must be 1 to 65535": not 1 <= _number("MASTER_PORT", 1) <= 65535,
    }
    rule = next((rule for rule, is_broken in wrong.items() if is_broken), None)
    if rule:
        given = (f"{name}={os.environ[name]}" for name in (*numbers, "MASTER_PORT") if name in os.environ)
        raise RunError(f"environment: {' '.join(given)}, but {rule}; unset them or start with --gpus")
    return place


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


def _join(device: "torch.device", place: _Place, timeout_seconds: int) -> "Peers":
    import torch.distributed

    from tao_lite.machine.peers import Peers

    # gloo beside nccl: a vote is about the host and must not wait for the kernels queued on the device.
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    # gloo raises in the main thread, which then says who was lost. NCCL would abort the process; the peers' thread has
    # to end it before, for a wait for a device can't be broken off.
    timeout = timedelta(seconds=timeout_seconds + 30 if device.type == "cuda" else timeout_seconds * 0.9)
    rank, world_size = place.rank, place.world_size
    host, port = (os.environ.get(name) for name in ("MASTER_ADDR", "MASTER_PORT"))
    waiting = threading.Timer(_PATIENCE, _log.warning, ("rank %d of %d waits for the others at %s", *place[:2], host))
    waiting.start()
    try:
        if missing := [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]:
            raise ValueError(f"{', '.join(missing)} not set")
        torch.distributed.init_process_group(backend, rank=rank, world_size=world_size, timeout=timeout)
        # A connection of its own: those of the process group are held while it waits.
        store = torch.distributed.TCPStore(  # type: ignore[attr-defined]
            str(host), int(str(port)), is_master=False, timeout=timeout
        )
    except (ValueError, RuntimeError) as error:
        raise LostError(
            f"rank {rank} of {world_size}: can't join the others at {host}:{port} ({error}); "
            "start all ranks with --gpus or torchrun, and check that this address can be reached"
        ) from error
    finally:
        waiting.cancel()
    return Peers(
        store,
        rank,
        world_size,
        timeout_seconds=timeout_seconds,
        is_one_machine="TORCHELASTIC_RUN_ID" in os.environ and place.local_world_size == world_size,
        ends_process=device.type == "cuda",
    )


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
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # No traceback while torch is imported.
    # Only where we launched it: who starts it in torchrun's place may leave.
    if _PARENT in os.environ:
        _die_with_parent()
    os.environ[_PARENT] = str(os.getpid())
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", "100")
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.elastic.rendezvous.api import RendezvousError

    # torchrun reports what the ranks have already said or what is logged below.
    logging.disable(logging.ERROR)
    # The thread that beats for a machine may be the last to know its timer, which then can't wait for the thread's end.
    sys.unraisablehook = lambda lost: _log.debug("%r in %r", lost.exc_value, lost.object)
    # torchrun's own handlers would take the echo of a signal for a second one, and no longer wait for the ranks.
    given = run.parse_args(["--signals_to_handle", "SIGQUIT", *arguments])  # type: ignore[no-untyped-call]

    def stop(number: signal.Signals) -> None:
        raise SignalException(f"got {number.name}", sigval=number)

    try:
        with signals.taken(stop):
            run.run(given)  # type: ignore[no-untyped-call]
    except SignalException as error:
        return 128 + error.sigval
    except ChildFailedError as error:
        codes = {rank: failure.exitcode for rank, failure in error.failures.items()}
        for rank, code in codes.items():
            if code < 0 and -code not in signals.STOPPING:
                _log.critical("rank %d was killed by %s", rank, signal.Signals(-code).name)
        return _shell_code(max(codes.values(), key=_weight))
    except RendezvousError as error:
        patience = dict(one.split("=") for one in given.rdzv_conf.split(",") if one).get("join_timeout", "600")
        _log.critical(
            "%s machines have not met at %s within %s s, or the one there is lost (%s); start the same command on each "
            "of them, and check that all can reach this address and port",
            *(given.nnodes, given.rdzv_endpoint, patience, str(error) or type(error).__name__),
        )
        return TRY_AGAIN
    return 0


def _weight(code: int) -> int:
    """How well an exit code explains the end of all ranks. torchrun stops those that are left with SIGTERM."""
    if code in (USER_ERROR, TRY_AGAIN):
        return 4 if code == USER_ERROR else 3
    if _shell_code(code) - 128 in signals.STOPPING:
        return 0
    return 2 if code < 0 else 1


def _shell_code(code: int) -> int:
    """The exit code as a shell shows it, 128 + number for a process that a signal ended."""
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    raise SystemExit(_agent(sys.argv[1:]))
