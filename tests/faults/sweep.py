"""Which commands are tried with which faults, and what has to hold after each of them."""

import errno
import itertools
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch

from tao_lite import checkpoint as checkpoints

ROOT = Path(__file__).resolve().parents[2]
FOR_EVER = 10**9

SPEC = """
model_config { arch: "%(arch)s" input_image_size: "3,32,32" }
train_config {
  train_dataset_path: "%(data)s"
  optimizer { sgd { momentum: 0.9 } }
  batch_size_per_gpu: 4
  n_epochs: 2
  precision: FP32
  lr_config { cosine { learning_rate: 0.00001 } }
}
dataset_config { val_split: 0.25 cache: MEMORY }
"""

# What a disk or a network says, by the kind of call.
ERRORS = {
    "open": (errno.EIO, errno.ESTALE),
    "read": (errno.EIO, errno.ESTALE),
    "write": (errno.ENOSPC, errno.EIO),
    "fsync": (errno.EIO,),
    "rename": (errno.EIO, errno.EROFS),
    "link": (errno.EIO,),
    "mkdir": (errno.ENOSPC,),
    "unlink": (errno.EIO,),
}


class Fault(NamedTuple):
    """Calls number `first` to `first + times - 1` of the kind, on paths that contain the words, fail so."""

    kind: str
    words: str
    number: int
    first: int
    times: int

    def __str__(self) -> str:
        until = " and all later ones" if self.times == FOR_EVER else ""
        return f"{self.kind} number {self.first}{until}: {errno.errorcode[self.number]}"


class Ended(NamedTuple):
    """How a command ended: its exit code, the number of calls of each kind on such paths, and what it said."""

    code: int
    seen: dict[str, int]
    said: str


class Forge:
    """Runs commands in forks of a process that has everything imported; see forge.py."""

    def __init__(self, folder: Path) -> None:
        library = folder / "fault.so"
        source = Path(__file__).with_name("fault.c")
        subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
        environment = {
            **os.environ,
            "LD_PRELOAD": str(library),
            "OMP_NUM_THREADS": "1",
            "CUDA_VISIBLE_DEVICES": "",
            "XDG_CACHE_HOME": str(folder / "cache"),
        }
        self._output = folder / "output.txt"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.forge", str(library)],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, arguments: Sequence[object], fault: Fault | None = None) -> Ended:
        assert self._process.stdin
        assert self._process.stdout
        request = {"arguments": [*map(str, arguments)], "fault": fault or (), "output": str(self._output)}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return Ended(**json.loads(self._process.stdout.readline()), said=self._output.read_text(errors="replace"))

    def close(self) -> None:
        self._process.communicate()


Outcome = dict[str, object]


@dataclass(frozen=True)
class Command:
    """A command that works on a folder: in which state it finds it, and what it has to make of it."""

    arguments: Callable[[Path], Sequence[object]]
    start: Path | None
    outcome: Callable[[Path], Outcome]

    def prepare(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        if self.start:
            shutil.copytree(self.start, folder, symlinks=True)


def faults(forge: Forge, command: Command, folder: Path) -> Iterator[Fault]:
    """All faults that the command can meet in its folder, each once and from then on."""
    command.prepare(folder)
    counted = forge.run(command.arguments(folder), Fault("none", str(folder), 0, 0, 0))
    assert counted.code == 0, counted.said
    for kind, numbers in ERRORS.items():
        for first, number, times in itertools.product(range(counted.seen[kind]), numbers, (1, FOR_EVER)):
            yield Fault(kind, str(folder), number, first, times)


def problems(forge: Forge, command: Command, folder: Path, fault: Fault, expected: Outcome) -> Iterator[str]:
    """What is wrong with how the command ends under the fault, or the same command given again without it."""
    command.prepare(folder)
    found = files(folder)
    struck = forge.run(command.arguments(folder), fault)
    if struck.code not in (0, 2) or "Traceback" in struck.said:
        yield f"{fault}: exit code {struck.code}\n{struck.said}"
    if struck.code == 2 and files(folder) == found:
        return  # The same command given again would be the undisturbed one.
    again = forge.run(command.arguments(folder))
    if again.code != 0:
        yield f"after {fault}: exit code {again.code}\n{struck.said}\n---\n{again.said}"
    elif not same(outcome := command.outcome(folder), expected):
        yield f"after {fault}: {differences(outcome, expected)}\n{struck.said}\n---\n{again.said}"
    left = [path.name for path in folder.rglob("*.part")]
    if left:
        yield f"after {fault}: left {left}"


def trained(folder: Path) -> Outcome:
    """Which epochs `latest` and `best` are, and their weights."""
    found: Outcome = {}
    for name in ("latest", "best"):
        path = folder / "weights" / f"{name}.pth"
        found[name] = path.resolve().name
        found |= {f"{name} {key}": tensor for key, tensor in checkpoints.load(path).network.items()}
    return found


def pruned(folder: Path) -> Outcome:
    return dict(checkpoints.load(folder / "weights" / "pruned.pth").network)


def files(folder: Path) -> Outcome:
    """Content of all files but those that tell of one run only."""
    paths = (path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def same(found: Outcome, expected: Outcome) -> bool:
    return not differences(found, expected)


def differences(found: Outcome, expected: Outcome) -> list[str]:
    names = found.keys() | expected.keys()
    return sorted(name for name in names if not _equal(found.get(name), expected.get(name)))


def _equal(one: object, other: object) -> bool:
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return torch.equal(one, other)
    return bool(one == other)


def sample(all_faults: Sequence[Fault], size: int, seed: int) -> list[Fault]:
    """That many of the faults, as many of each kind as of the others where there are."""
    rng = random.Random(seed)
    kinds = {kind: [fault for fault in all_faults if fault.kind == kind] for kind in ERRORS}
    for group in kinds.values():
        rng.shuffle(group)
    chosen: list[Fault] = []
    while len(chosen) < min(size, len(all_faults)):
        chosen += [group.pop() for group in kinds.values() if group]
    return chosen[:size]
