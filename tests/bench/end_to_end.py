"""A whole training as a program - start, imports, epoch, validation, checkpoint - beside the same one of the peers.

    python -m tests.bench.end_to_end [--cases "64 px" "224 px" "busy core"] [--rounds 3] [--gpu] [--results FOLDER]

ResNet-18 on JPEGs of 256 pixels drawn here, random crop and flip, SGD, as processes one after the other, in turn, on
all cores: `tao-lite train`, once from the files and once with decoded images on disk from a run before, and the
programs of peers.py with two workers. Each sample holds the seconds from start to end, the CPU-seconds of the process
and its children, and the largest memory of all of them together, looked at four times a second (with --gpu, the GPU
memory that torch allocated). "busy core": the training's own speed while half of the cores are kept busy by others,
with the threads that tao_lite chooses and with one per core.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tao_lite.machine import host
from tests.bench import experiment, machine, pictures, samples

FILES, CACHED, ALL_CORES = "tao_lite, files", "tao_lite, cache DISK", "tao_lite, a thread per core"
SIDE = 256


@dataclass(frozen=True, kw_only=True)
class Case:
    """A training, and who does it."""

    size: int
    num_train: int
    num_val: int
    contenders: Sequence[str]
    epochs: int = 1
    batch_size: int = 32
    has_busy_cores: bool = False


CASES = {
    "64 px": Case(size=64, num_train=2000, num_val=400, contenders=(FILES, CACHED, *experiment.PEERS)),
    "224 px": Case(size=224, num_train=256, num_val=64, contenders=(FILES, *experiment.DEFAULTS)),
    "busy core": Case(size=64, num_train=500, num_val=50, contenders=(FILES, ALL_CORES), has_busy_cores=True),
}
GPU_CASES = {
    # Enough epochs that the start doesn't decide.
    "224 px": Case(
        size=224,
        num_train=10_000,
        num_val=1000,
        contenders=(FILES, CACHED, *experiment.PEERS),
        epochs=10,
        batch_size=256,
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=CASES)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2, help="of the peers")
    parser.add_argument("--gpu", action="store_true")
    parser.add_argument("--results", type=Path, default=samples.RESULTS)
    arguments = parser.parse_args()
    cases, device = (GPU_CASES, "cuda") if arguments.gpu else (CASES, "cpu")
    names = arguments.cases or list(cases)
    if not set(names) <= set(cases):
        parser.error(f"--cases: on this device there are only {', '.join(cases)}")
    compare({name: cases[name] for name in names}, device, arguments)


def compare(cases: Mapping[str, Case], device: str, arguments: argparse.Namespace) -> None:
    facts, found = machine.facts(), {}
    missing: dict[str, str] = {}
    for title, case in cases.items():
        with tempfile.TemporaryDirectory() as name:
            found[title], missing = hold(case, Path(name), arguments.rounds, arguments.workers, device)
        samples.show(title, found[title], missing)
    sizes = {"cases": {title: vars(case) for title, case in cases.items()}, "workers": arguments.workers}
    whole = {"machine": facts, "arguments": sizes, "missing": missing, "rounds": found}
    samples.write(arguments.results / f"end_to_end{'_gpu' if device == 'cuda' else ''}.json", whole)


def hold(case: Case, folder: Path, rounds: int, num_workers: int, device: str) -> tuple[samples.Rounds, dict[str, str]]:
    """What each contender took in each round; who is missing, and why."""
    pictures.draw(folder / "train", case.num_train, SIDE)
    pictures.draw(folder / "val", case.num_val, SIDE)
    lightning = (experiment.LIGHTNING, experiment.LIGHTNING_BF16)
    is_absent = machine.version("lightning") == machine.NOT_INSTALLED
    absent = dict.fromkeys(lightning, "lightning is not installed") if is_absent else {}
    works: dict[str, Callable[[], samples.Sample]] = {}
    for name in (one for one in case.contenders if one not in absent):
        if name.startswith(samples.OURS):
            works[name] = partial(ours, case, folder, name, device)
        else:
            works[name] = partial(peer, case, folder, name, num_workers, device)
    if CACHED in works:
        works[CACHED]()  # fills the cache
    with busy_cores(max(1, host.usable_cores() // 2) if case.has_busy_cores else 0):
        return samples.in_turn(works, rounds), absent


def ours(case: Case, folder: Path, name: str, device: str) -> samples.Sample:
    spec, threads = folder / "spec.cfg", host.usable_cores() if name == ALL_CORES else None
    spec.write_text(experiment.SPEC)
    settings = {
        "model_config.input_image_size": experiment.image_size(case.size),
        "train_config.train_dataset_path": folder / "train",
        "train_config.val_dataset_path": folder / "val",
        "train_config.batch_size_per_gpu": case.batch_size,
        "train_config.n_epochs": case.epochs,
        "train_config.enable_random_crop": "true",
        "dataset_config.cache": "DISK" if name == CACHED else "AUTO",
        "dataset_config.cache_dir": folder / "cache",
    }
    with tempfile.TemporaryDirectory() as results:
        command = [sys.executable, "-m", "tao_lite.cli", "train", "-e", str(spec), "-r", results]
        command += [*experiment.options(settings), "--gpus", "1" if device == "cuda" else "0"]
        sample, _ = measured(command, machine.environment(threads, is_peer=False))
        summary = json.loads((Path(results) / "train.json").read_text())
    sample |= {field: summary[field] for field in ("images_per_second", "data_wait_fraction")}
    if device == "cuda":
        sample["peak_bytes"] = summary["peak_memory_bytes"]
    return sample | {"images": case.num_train * case.epochs}


def peer(case: Case, folder: Path, name: str, num_workers: int, device: str) -> samples.Sample:
    with tempfile.TemporaryDirectory() as results:
        options = {
            "train": folder / "train",
            "val": folder / "val",
            "size": case.size,
            "batch_size": case.batch_size,
            "epochs": case.epochs,
            "device": device,
            "workers": num_workers,
            "output": Path(results) / "network.pth",
        }
        command = [sys.executable, "-m", "tests.bench.peers", name]
        command += [text for option, value in options.items() for text in (f"--{option}", str(value))]
        sample, output = measured(command, machine.environment(None, is_peer=True))
    if device == "cuda":
        sample["peak_bytes"] = json.loads(output.splitlines()[-1])["gpu_bytes"]
    return sample | {"images": case.num_train * case.epochs}


def measured(command: Sequence[str], environment: Mapping[str, str]) -> tuple[samples.Sample, str]:
    """What the process took, and what it printed.

    Raises:
        RuntimeError: it failed.
    """
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as log, ThreadPoolExecutor(1) as pool:
        began = time.perf_counter()
        process = subprocess.Popen(command, cwd=machine.ROOT, env=environment, stdout=output, stderr=log)
        peak = pool.submit(peak_memory, process.pid)
        _, status, usage = os.wait4(process.pid, 0)
        wall, process.returncode = time.perf_counter() - began, os.waitstatus_to_exitcode(status)
        output.seek(0)
        if process.returncode:
            log.seek(0)
            raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}:\n{log.read()}")
        cpu = usage.ru_utime + usage.ru_stime
        return {"wall_seconds": wall, "cpu_seconds": cpu, "peak_bytes": peak.result()}, output.read()


def peak_memory(pid: int) -> int:
    """The most that the process and its descendants had at once, until it ends."""
    peak = 0
    while found := machine.memory_bytes(pid):
        peak = max(peak, found)
        time.sleep(0.25)
    return peak


@contextmanager
def busy_cores(count: int) -> Iterator[None]:
    """So many processes that never wait run until the block ends."""
    with ExitStack() as stack:
        for _ in range(count):
            process = stack.enter_context(subprocess.Popen([sys.executable, "-c", "while True: pass"]))
            stack.callback(process.kill)
        yield


if __name__ == "__main__":
    main()
