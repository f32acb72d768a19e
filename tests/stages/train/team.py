"""Trainings of several processes that start at once: forks of one that has imported everything.

Each rank notes the pictures of its batches, and one of them can be told to end the run by a signal after so many.
"""

import functools
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parents[3]


def train(
    num_processes: int, arguments: Sequence[str], log: Path, *, end: tuple[int, signal.Signals] | None = None
) -> list[int]:
    """The exit codes of as many ranks of `tao-lite train ARGUMENTS`, each below 0 for a signal.

    log: the folder in which each notes its batches, and errors. end: the last rank gets the signal at that batch.
    """
    log.mkdir()
    server = _server()
    assert server.stdin
    assert server.stdout
    place = {"arguments": list(arguments), "log": str(log.absolute()), "environment": dict(os.environ)}
    place |= {"folder": str(Path.cwd())}
    request = {"num_processes": num_processes, "end": end, **place}
    server.stdin.write(json.dumps(request) + "\n")
    server.stdin.flush()
    codes = json.loads(server.stdout.readline())
    assert isinstance(codes, list)
    return codes


def trained_on(*logs: Path) -> dict[int, list[str]]:
    """For each epoch its pictures' names in its order, as the runs noted them one after the other."""
    found: dict[int, list[str]] = {}
    for log in logs:
        batches: dict[tuple[int, int], list[list[str]]] = {}
        for path in sorted(log.glob("rank_*")):
            for line in path.read_text().splitlines():
                epoch, done, names = json.loads(line)
                batches.setdefault((epoch, done), []).append(names)
        for (epoch, _), parts in sorted(batches.items()):
            by_turns = (part[turn] for turn in range(len(parts[0])) for part in parts if turn < len(part))
            found.setdefault(epoch, []).extend(by_turns)
    return found


@functools.cache
def _server() -> "subprocess.Popen[str]":
    """The process of which ranks are forks; it ends with the tests, when its input does."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.stages.train.team"],
        cwd=_ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "GLOO_SOCKET_IFNAME": "lo"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _codes(request: Mapping[str, Any]) -> list[int]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ranks = [_begin(rank, port, request) for rank in range(request["num_processes"])]
    codes = dict[int, int]()
    while len(codes) < len(ranks):
        process, status = os.wait()
        codes[process] = os.waitstatus_to_exitcode(status)
        if codes[process] == -signal.SIGKILL:
            # As when a machine goes: nobody is left to save.
            for other in set(ranks) - codes.keys():
                os.kill(other, signal.SIGKILL)
    return [codes[process] for process in ranks]


def _begin(rank: int, port: int, request: Mapping[str, Any]) -> int:
    if process := os.fork():
        return process
    code = 1
    try:
        num_processes, log = request["num_processes"], Path(request["log"])
        with (log / f"errors_{rank}").open("wb") as errors:
            os.dup2(errors.fileno(), sys.stdout.fileno())
            os.dup2(errors.fileno(), sys.stderr.fileno())
        place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": num_processes, "LOCAL_WORLD_SIZE": num_processes}
        place |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        os.chdir(request["folder"])
        os.environ.update({**request["environment"], **{name: str(value) for name, value in place.items()}})
        _note_batches(log / f"rank_{rank}", request["end"] if rank == num_processes - 1 else None)
        main(["train", *request["arguments"]])
    except SystemExit as ended:
        code = int(ended.code or 0)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _note_batches(path: Path, end: tuple[int, int] | None) -> None:
    dealt = Loader.epoch

    def noted(loader: Loader, epoch: int, done: int = 0) -> Generator[Batch]:
        for number, batch in enumerate(dealt(loader, epoch, done), epoch * len(loader)):
            if loader.sampler.training:
                with path.open("a") as file:
                    file.write(json.dumps([epoch, batch.done, [picture.name for picture in batch.paths]]) + "\n")
                if end and number == end[0]:
                    os.kill(os.getpid(), end[1])
            yield batch

    Loader.epoch = noted  # type: ignore[assignment]


if __name__ == "__main__":
    import timm  # noqa: F401 - the network is one of its

    import tao_lite.stages.train.train  # noqa: F401
    from tao_lite.cli.main import main
    from tao_lite.data.batch import Batch
    from tao_lite.data.loader import Loader

    for line in sys.stdin:
        sys.stdout.write(json.dumps(_codes(json.loads(line))) + "\n")
        sys.stdout.flush()
