"""What INT8 loses by calibration alone, and what is lost after fine-tuning: top-1 on validation images.

    python -m tests.bench.fine_tune RESULTS [DATA] [--seeds 2]

EfficientNet-lite0 with ImageNet's weights on DATA, a folder with train and val (without it, imagenette_tiny beside the
project), and MobileNetV2 on the drawn sample are trained through `tao-lite train` and quantised through `tao-lite
quantize`. Weights have 7 bits: no sum overflows, on whatever CPU. What is done in RESULTS is not done again.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT

SPEC = """
model_config {{ {model} }}
dataset_config {{ {data} }}
train_config {{
  {training} random_seed: {seed}
  optimizer {{ sgd {{ momentum: 0.9 nesterov: true }} }}
  batch_size_per_gpu: 32
  reg_config {{ type: "L2" scope: "Conv2D,Dense" weight_decay: 0.0001 }}
  lr_config {{ cosine {{ learning_rate: {rate} soft_start: 0.1 }} }}
}}
eval_config {{ batch_size: 100 }}
quantize_config {{ {calibration} reduce_range: true fine_tune_epochs: 3 }}
"""


COLUMNS = ("network", "seed", "FP32", "calibration", "fine-tuned", "layers in float", "times smaller")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("data", type=Path, nargs="?", default=ROOT.parent / "shared/data/folders/imagenette_tiny")
    parser.add_argument("--seeds", type=int, default=2)
    arguments = parser.parse_args()
    cases = {
        "EfficientNet-lite0": {
            "model": 'arch: "timm/tf_efficientnet_lite0" input_image_size: "3,96,96"',
            "data": "",
            "training": f'train_dataset_path: "{arguments.data}/train" val_dataset_path: "{arguments.data}/val" '
            'pretrained_model_path: "package:efficientnet_lite0" preprocess_mode: "tf" n_epochs: 5',
            "rate": "0.01",
            "calibration": "num_images: 64",
        },
        "MobileNetV2": {
            "model": 'arch: "mobilenet_v2" use_batch_norm: true input_image_size: "3,64,64"',
            "data": "val_split: 0.4 sample { num_frames: 100 seed: 42 }",
            "training": f'train_dataset_path: "{arguments.results}/sample" preprocess_mode: "torch" n_epochs: 8',
            "rate": "0.03",
            "calibration": "",
        },
    }
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    for name, case in cases.items():
        for seed in range(1, arguments.seeds + 1):
            folder = arguments.results / f"{name}.{seed}"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "asked.cfg").write_text(SPEC.format(**case, seed=seed))
            print(f"| {name} | {seed} | {' | '.join(numbers(folder))} |", flush=True)


def numbers(folder: Path) -> list[str]:
    """The other columns, of the network that the folder's spec asks for."""
    for command in ("train", "quantize"):
        words = [sys.executable, "-m", "tao_lite.cli", command, "-e", str(folder / "asked.cfg"), "-r", str(folder)]
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    found = json.loads((folder / "quantize.json").read_text())
    calibrated = found["top1_fp32"] - found.get("calibration_drop", found["accuracy_drop"])
    tuned = f"{found['top1']:.3f}" if "regained" in found else "not needed"
    kept = str(len(found["float_layers"]))
    return [f"{found['top1_fp32']:.3f}", f"{calibrated:.3f}", tuned, kept, f"{found['times_smaller']:.2f}"]


if __name__ == "__main__":
    main()
