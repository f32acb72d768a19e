"""The smallest network that keeps the accuracy: what each step gives, in each runtime, and whether seeds agree.

python -m tests.bench.compress [--seeds 1 2 3] [--spec specs/compress_spec.cfg] [--dense specs/classification_spec.cfg]

For each seed the dense network is trained and compressed by the commands of tao-lite, in folders of their own that are
not done twice; then the dense, the pruned and the quantised network are timed in PyTorch, ONNX Runtime and OpenVINO: of
one image and of 32, on one thread, in 30 rounds in turn. Writes table.md to the folder of results, and prints it.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tao_lite import checkpoint as checkpoints
from tao_lite.errors import RunError
from tao_lite.models import architectures
from tao_lite.spec import classification_pb2 as pb
from tao_lite.stages.prune.latency import computed
from tao_lite.training import clock
from tests.bench import machine
from tests.bench.table import machine_line

BATCHES = (1, 32)
ROUNDS = 30
HEADS = (
    "seed",
    "network",
    "top-1",
    "MB",
    *(f"{name}, {batch}" for name in ("PyTorch", "ONNX", "OpenVINO") for batch in BATCHES),
)


@dataclass(frozen=True)
class Network:
    """A network of one seed: the checkpoint that PyTorch computes, nothing for INT8, and the ONNX file."""

    name: str
    top1: float
    checkpoint: Path | None
    file: Path


def tao_lite(*arguments: object) -> None:
    """Run the command line; its failure ends the bench."""
    subprocess.run([sys.executable, "-m", "tao_lite.cli", *map(str, arguments)], check=True)


def compressed(folder: Path, dense: Path, spec: Path, seed: int) -> tuple[dict[str, Any], float]:
    """compress.json of a seed, and the seconds that the commands took now."""
    own, started = ("--set", f"train_config.random_seed={seed}"), time.perf_counter()
    tao_lite("train", "-e", dense, "-r", folder / "dense", *own)
    model = folder / "dense" / "weights" / "best.pth"
    if not (folder / "compress" / "compress.json").is_file():
        tao_lite("compress", "-e", spec, "-m", model, "-r", folder / "compress", *own)
    found = json.loads((folder / "compress" / "compress.json").read_text())
    assert isinstance(found, dict)
    return found, time.perf_counter() - started


def networks(folder: Path, summary: dict[str, Any]) -> list[Network]:
    """The dense network and, of the size that was chosen, the pruned and the quantised one."""
    values = {(row["share"], row["is_int8"]): row["value"] for row in summary["sizes"]}
    share, sizes = summary["smallest"], folder / "compress" / "sizes"
    dense = Network("dense", values[1, False], folder / "dense/weights/best.pth", sizes / "1/weights/float.onnx")
    if share is None:
        return [dense]
    own = sizes / f"{share:g}"
    pruned = own / "retrained/weights/best.pth" if share < 1 else dense.checkpoint
    return [
        dense,
        Network(f"pruned to {share:g}", values[share, False], pruned, own / "weights/float.onnx"),
        Network("the same, INT8", values[share, True], None, own / "weights/int8.onnx"),
    ]


def times(found: Sequence[Network]) -> list[list[str]]:
    """A cell for each runtime and batch, by network: milliseconds of an image, and times as fast as the first."""
    cells: list[list[str]] = [[] for _ in found]
    for runtime in (None, pb.Runtime.ONNXRUNTIME, pb.Runtime.OPENVINO):
        for batch in BATCHES:
            places = [place for place, one in enumerate(found) if runtime is not None or one.checkpoint]
            try:
                passes = [one_pass(found[place], runtime, batch) for place in places]
            except RunError as error:
                print(error)
                passes, places = [], []
            measured = dict(zip(places, clock.in_turn(passes, rounds=ROUNDS) if passes else [], strict=True))
            for place, row in enumerate(cells):
                one = measured.get(place)
                row.append(f"{one.milliseconds / batch:.3f} ms, {1 / one.share:.2f} x" if one else "")
    return cells


def one_pass(network: Network, runtime: "pb.Runtime.Kind.ValueType | None", batch: int) -> clock.Pass:
    """Passes of the network over so many images."""
    if runtime is not None:
        return clock.of_file(computed(network.file, runtime), batch)
    assert network.checkpoint
    found = checkpoints.load(network.checkpoint)
    built: nn.Module = checkpoints.network(found).eval()
    shape = architectures.input_shape(found.experiment.model_config)
    images = torch.randn(batch, *shape).contiguous(memory_format=torch.channels_last)
    return clock.of_network(built.to(memory_format=torch.channels_last), images)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--spec", type=Path, default=Path("specs/compress_spec.cfg"))
    parser.add_argument("--dense", type=Path, default=Path("specs/classification_spec.cfg"))
    parser.add_argument("--results", type=Path, default=Path("results/bench_compress"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows, notes = list[Sequence[str]](), list[str]()
    for seed in options.seeds:
        folder = options.results / f"{options.spec.stem}_{seed}"
        summary, seconds = compressed(folder, options.dense, options.spec, seed)
        found = networks(folder, summary)
        for one, cells in zip(found, times(found), strict=True):
            rows.append((str(seed), one.name, f"{one.top1:.4f}", f"{one.file.stat().st_size / 1e6:.2f}", *cells))
        notes.append(f"seed {seed}: {seconds / 60:.1f} minutes now")
    lines = [HEADS, ("---",) * len(HEADS), *rows]
    text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    text += f"\n\n{'; '.join(notes)}. One thread; {machine_line(machine.facts())}.\n"
    (options.results / "table.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
