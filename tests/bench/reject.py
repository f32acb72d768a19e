"""Which score tells images of classes that a network never saw from those it knows: eval_config.reject.score compared.

    python -m tests.bench.reject [DATA] [--pairs 5] [--epochs 0]

DATA is a folder with train and val, each with a folder for each class; without it, imagenette_tiny beside the project.
Two classes at a time are held out: the network is trained on the others through `tao-lite train`, and `tao-lite
evaluate --outliers` gives the AUROC of each score, with all pictures of the two as outliers. The weights are those of
`package:efficientnet_lite0`: with a linear probe alone, or with --epochs N the whole network trained so long.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.conftest import ROOT

SCORES = ("PROBABILITY", "ENERGY", "DISTANCE")
SPEC = """
model_config {{
  arch: "timm/tf_efficientnet_lite0" use_batch_norm: true input_image_size: "3,224,224" resize_mode: CENTRE_CROP
}}
train_config {{
  train_dataset_path: "{folder}/known/train" val_dataset_path: "{folder}/known/val"
  pretrained_model_path: "package:efficientnet_lite0" linear_probe: {is_probe}
  optimizer {{ sgd {{ momentum: 0.9 }} }}
  batch_size_per_gpu: 16 n_epochs: {epochs} preprocess_mode: "tf" random_seed: 1
  lr_config {{ cosine {{ learning_rate: {rate} }} }}
}}
eval_config {{ reject {{ coverage: 0.9 }} }}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?", default=ROOT.parent / "shared/data/folders/imagenette_tiny")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=0)
    arguments = parser.parse_args()
    names = sorted(path.name for path in (arguments.data / "train").iterdir())
    print(f"| held out | top-1 of the others | {' | '.join(SCORES)} |\n|---|---|{'---|' * len(SCORES)}")
    rows = []
    for first in range(0, 2 * arguments.pairs, 2):
        unknown = names[first : first + 2]
        with tempfile.TemporaryDirectory() as folder:
            rows.append(measured(arguments.data.resolve(), Path(folder), unknown, arguments.epochs))
        print(row(" ".join(unknown), rows[-1]), flush=True)
    print(row("mean", [statistics.mean(column) for column in zip(*rows, strict=True)]))


def measured(data: Path, folder: Path, unknown: list[str], epochs: int) -> list[float]:
    """Top-1 of the classes that were trained on, and the AUROC of each score."""
    for part in ("train", "val"):
        for path in (data / part).iterdir():
            place = folder / ("strange" if path.name in unknown else "known") / part
            place.mkdir(parents=True, exist_ok=True)
            shutil.copytree(path, place / path.name)
    settings = {"epochs": epochs or 20, "rate": 0.005 if epochs else 0.05, "is_probe": str(not epochs).lower()}
    (folder / "spec.cfg").write_text(SPEC.format(folder=folder, **settings))
    tao_lite("train", folder)
    found = []
    for score in SCORES:
        tao_lite(
            "evaluate", folder, "--set", f"eval_config.reject.score={score}", "--outliers", str(folder / "strange")
        )
        summary = json.loads((folder / "results" / "evaluate.json").read_text())
        found.append(summary["reject"]["outliers"]["auroc"])
    return [summary["top1"], *found]


def tao_lite(command: str, folder: Path, *words: str) -> None:
    started = [sys.executable, "-m", "tao_lite.cli", command, "-e", str(folder / "spec.cfg")]
    subprocess.run([*started, "-r", str(folder / "results"), *words], check=True, stdout=subprocess.DEVNULL)


def row(name: str, numbers: list[float]) -> str:
    return f"| {name} | {' | '.join(f'{100 * number:.1f}' for number in numbers)} |"


if __name__ == "__main__":
    main()
