"""How much faster the epochs of a linear probe are than epochs that run the frozen network each time.

    python tests/bench/probe.py [--size 224] [--frames 200] [--arch resnet --layers 18]

Both train the head of the same network on the same images through `tao-lite train`. An epoch's time is the difference
of two whole commands with few and many epochs, divided by the epochs between: validation and checkpoints included, the
first epoch (which computes the features) and start-up not.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from torchvision.models import get_model

SPEC = """
model_config {{
  arch: "resnet" n_layers: {layers} use_batch_norm: true use_pooling: true input_image_size: "3,{size},{size}"
}}
train_config {{
  train_dataset_path: "{folder}/data" pretrained_model_path: "{folder}/start.pth"
  optimizer {{ sgd {{ momentum: 0.9 }} }}
  batch_size_per_gpu: 64 n_epochs: 1 preprocess_mode: "torch" random_seed: 1
  lr_config {{ cosine {{ learning_rate: 0.05 }} }}
}}
dataset_config {{ sample {{ num_frames: {frames} }} }}
"""
MODES = {
    "every epoch in full": ("model_config.freeze_blocks=[0, 1, 2, 3, 4]", (1, 3)),
    "linear probe": ("train_config.linear_probe=true", (1, 41)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--layers", type=int, default=18)
    parser.add_argument("--frames", type=int, default=200)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        spec = folder / "spec.cfg"
        spec.write_text(SPEC.format(folder=folder, **vars(arguments)))
        torch.save(get_model(f"resnet{arguments.layers}", weights=None).state_dict(), folder / "start.pth")
        seconds = {mode: epoch_seconds(spec, setting, epochs) for mode, (setting, epochs) in MODES.items()}
    for mode, value in seconds.items():
        print(f"{mode:22} {value:8.3f} s per epoch")
    full, probe = seconds.values()
    print(f"an epoch of the linear probe is {full / probe:.0f} times as fast")


def epoch_seconds(spec: Path, setting: str, epochs: tuple[int, int]) -> float:
    few, many = (command_seconds(spec, setting, number) for number in epochs)
    return (many - few) / (epochs[1] - epochs[0])


def command_seconds(spec: Path, setting: str, epochs: int) -> float:
    with tempfile.TemporaryDirectory() as results:
        settings = ("--set", setting, "--set", f"train_config.n_epochs={epochs}")
        started = time.perf_counter()
        command = [sys.executable, "-m", "tao_lite.cli", "train", "-e", str(spec), "-r", results, *settings]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        seconds = time.perf_counter() - started
        assert json.loads((Path(results) / "train.json").read_text())["epochs"] == epochs
    return seconds


if __name__ == "__main__":
    main()
