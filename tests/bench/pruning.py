"""What pruning costs and gives: one network trained, pruned to several sizes, retrained without and with its teacher.

python tests/bench/pruning.py FOLDER [--results results/bench_pruning] [--epochs 30] [--retrain_epochs 20]

FOLDER holds train/CLASS/* and val/CLASS/*. Everything is a stage of tao-lite, in folders of its own that are not done
twice, with fixed seeds; a second call goes on where the first one stopped. Prints the table and writes pruning.json.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tao_lite.monitor import console

SPEC = """
model_config {{
  arch: "resnet" n_layers: 18 use_batch_norm: true input_image_size: "3,{size},{size}"
}}
train_config {{
  train_dataset_path: "{folder}/train"
  val_dataset_path: "{folder}/val"
  optimizer {{ sgd {{ momentum: 0.9 nesterov: true }} }}
  batch_size_per_gpu: 32
  n_epochs: {epochs}
  random_seed: 1
  preprocess_mode: "torch"
  enable_random_crop: true
  reg_config {{ type: "L2" scope: "Conv2D,Dense" weight_decay: 0.0005 }}
  lr_config {{ cosine {{ learning_rate: 0.05 soft_start: 0.1 }} }}
}}
"""
Facts = Mapping[str, object]


@dataclass(frozen=True)
class Bench:
    """The spec and folder of the run, and how the retrainings go."""

    spec: Path
    results: Path
    removed: Sequence[float]
    retrain_epochs: int
    criterion: str
    ranking: str

    @property
    def teacher(self) -> Path:
        return self.results / "unpruned" / "weights" / "best.pth"


def tao_lite(*arguments: object) -> None:
    """Run the command line; its failure ends the bench."""
    subprocess.run([sys.executable, "-m", "tao_lite.cli", *map(str, arguments)], check=True)


def stage(folder: Path, name: str, *arguments: object) -> dict[str, object]:
    """The summary of a stage in a folder, that is run unless the summary is there."""
    path = folder / f"{name}.json"
    if not path.is_file():
        tao_lite(name, *arguments, "-r", folder)
    found = json.loads(path.read_text())
    assert isinstance(found, dict)
    return found


def one_size(bench: Bench, removed: float) -> dict[str, object]:
    """Prune to one size and retrain twice."""
    folder = bench.results / f"removed_{removed:g}"
    asked = ("--target_ratio", 1 - removed, "--criterion", bench.criterion, "--ranking", bench.ranking)
    pruned = stage(folder / "pruned", "prune", "-e", bench.spec, "-m", bench.teacher, *asked)
    latency = pruned["latency"]
    assert isinstance(latency, list)
    return {
        "removed": removed,
        **{name: pruned[name] for name in ("criterion", "ranking", "num_parameters", "macs", "latency")},
        "pruned": pruned["val_accuracy"],
        **retrained(bench, folder, pruned["model_path"]),
        "speedup": latency[0]["speedups"][1],
    }


def retrained(bench: Bench, folder: Path, start: object) -> dict[str, object]:
    """Validation top-1 after training on from a checkpoint, without and with the unpruned network as teacher."""
    own: tuple[object, ...] = ("-e", bench.spec, "--set", f"train_config.pretrained_model_path={start}")
    own += ("--set", f"train_config.n_epochs={bench.retrain_epochs}")
    teacher = ("--set", f"train_config.distillation.teacher_path={bench.teacher}")
    plain = stage(folder / "retrained", "train", *own)
    distilled = stage(folder / "distilled", "train", *own, *teacher)
    return {"retrained": plain["val_accuracy"], "distilled": distilled["val_accuracy"]}


def show(control: Facts, rows: Sequence[Facts]) -> None:
    sizes = ("parameters removed", "parameters", "MACs", "CPU, times as fast")
    columns = (*sizes, "top-1 pruned", "retrained", "retrained with teacher")
    names = ("num_parameters", "macs", "speedup", "pruned", "retrained", "distilled")
    table = [(f"{row['removed']:.0%}", *(row[name] for name in names)) for row in (control, *rows)]
    console.table("ResNet-18 pruned and retrained, validation top-1", columns, table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--results", type=Path, default=Path("results/bench_pruning"))
    parser.add_argument("--size", type=int, default=64, help="pixels of the network's input")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--retrain_epochs", type=int, default=20)
    parser.add_argument("--removed", type=float, nargs="+", default=[0.25, 0.5, 0.7], help="shares of the parameters")
    parser.add_argument("--criterion", default="TAYLOR")
    # With GLOBAL it is the late, small maps that lose most: accuracy falls less, and time too.
    parser.add_argument("--ranking", default="PER_LAYER")
    options = parser.parse_args()
    options.results.mkdir(parents=True, exist_ok=True)
    spec = options.results / "spec.cfg"
    spec.write_text(SPEC.format(folder=options.folder.absolute(), size=options.size, epochs=options.epochs))
    asked = (options.removed, options.retrain_epochs, options.criterion, options.ranking)
    bench = Bench(spec, options.results, *asked)
    unpruned = stage(options.results / "unpruned", "train", "-e", spec)
    rows = [one_size(bench, removed) for removed in bench.removed]
    before = json.loads((options.results / f"removed_{bench.removed[0]:g}" / "pruned" / "prune.json").read_text())
    # The control: what training on gives without pruning.
    control = {
        "removed": 0.0,
        "num_parameters": unpruned["num_parameters"],
        "macs": before["macs_before"],
        "speedup": 1.0,
        "pruned": unpruned["val_accuracy"],
        **retrained(bench, options.results / "removed_0", bench.teacher),
    }
    (options.results / "pruning.json").write_text(json.dumps({"rows": [control, *rows]}, indent=2) + "\n")
    show(control, rows)


if __name__ == "__main__":
    main()
