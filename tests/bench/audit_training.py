"""What wrong labels cost a network, and what training without those that `dataset audit` lists gives back.

    python -m tests.bench.audit_training TRAIN VAL [--size 96] [--epochs 5] [--seeds 5] [--folds 0]

TRAIN and VAL are folders of classes. 5 % of the training labels are flipped as in audit.py. EfficientNet-lite0 with
ImageNet's weights learns all of them; its run is audited (with --folds, a cross-validation of the same spec), and the
same training goes without what the list calls wrong_label. The score is the last epoch's top-1 on VAL, whose labels are
right.
"""

import argparse
import csv
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tao_lite.machine import distributed
from tao_lite.monitor import console
from tao_lite.run import Run
from tao_lite.stages.audit.rows import WRONG_LABEL
from tests.bench.accuracy import last_top1, tao_lite
from tests.bench.audit import KINDS, SPEC, evidence, flipped
from tests.bench.experiment import image_size, options

TRAINING = """
train_config {
  val_dataset_path: "%s" optimizer { sgd { momentum: 0.9 } } batch_size_per_gpu: 16 n_epochs: 1
  lr_config { cosine { learning_rate: 0.01 soft_start: 0.1 } } checkpoint { keep_last: 1 }
}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train", type=Path)
    parser.add_argument("val", type=Path)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--folds", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        spec = folder / "spec.cfg"
        spec.write_text(SPEC % arguments.train.resolve() + TRAINING % arguments.val.resolve())
        clean = evidence(arguments.train.resolve(), Run(results=folder / "probe", world=distributed.start("cpu")))
        scores: dict[str, list[tuple[float, float, float]]] = {kind: [] for kind in KINDS}
        for seed in range(arguments.seeds):
            settings: dict[str, object] = {
                "model_config.input_image_size": image_size(arguments.size),
                "train_config.n_epochs": arguments.epochs,
                "train_config.random_seed": seed,
            }
            right = last_top1(spec, folder / f"right_{seed}", settings)
            for kind in KINDS:
                chosen, noisy = flipped(clean, kind, seed)
                results = folder / f"{kind}_{seed}"
                results.mkdir()
                flips = [(noisy.examples[place].path, noisy.examples[place].label) for place in chosen]
                wrong = settings | {"dataset_config.relabel": written(results / "flips.csv", ("path", "likely"), flips)}
                of_all = last_top1(spec, results / "all", wrong)
                listed = audited(spec, results, wrong, arguments.folds)
                inside = [(path,) for path in listed if path.is_relative_to(arguments.train.resolve())]
                without = wrong | {"dataset_config.exclude": written(results / "wrong.csv", ("path",), inside)}
                found = np.mean([(path,) in inside for path, _ in flips])
                precision = np.mean([path in dict(flips) for (path,) in inside])
                scores[kind].append((right, of_all, last_top1(spec, results / "without", without)))
                said = f"found {found:.0%}, {precision:.0%} right, {scores[kind][-1]}"
                print(f"  {kind}, seed {seed}: {said}", file=sys.stderr)
    columns = ("flipped", "right labels", "5 % wrong", "without wrong_label", "regained")
    console.table("Validation top-1", columns, [row(kind, found) for kind, found in scores.items()])


def audited(spec: Path, results: Path, settings: dict[str, object], folds: int) -> list[Path]:
    """What is listed as a wrong label."""
    run = results / "all"
    if folds:
        run = results / "folds"
        tao_lite("cross-validate", "-e", spec, "-r", run, "--folds", folds, *options(settings))
    tao_lite("dataset", "audit", "-e", spec, "-r", run, *options(settings))
    with (run / "audit.csv").open() as file:
        return [Path(row["path"]) for row in csv.DictReader(file) if WRONG_LABEL in row["reason"].split()]


def written(path: Path, columns: tuple[str, ...], rows: Sequence[tuple[Path | str, ...]]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])
    return path


def row(kind: str, found: list[tuple[float, float, float]]) -> tuple[str, ...]:
    right, wrong, without = (statistics.mean(values) for values in zip(*found, strict=True))
    return kind, f"{right:.2%}", f"{wrong:.2%}", f"{without:.2%}", f"{(without - wrong) / (right - wrong):.0%}"


if __name__ == "__main__":
    main()
