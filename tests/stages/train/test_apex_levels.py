"""O2 and O3 through the whole product: saved, resumed, averaged, clipped, evaluated."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tao_lite import checkpoint as checkpoints
from tao_lite.checkpoint import Checkpoint
from tao_lite.machine import distributed
from tao_lite.run import Run
from tao_lite.spec.load import load
from tao_lite.stages.evaluate import evaluate
from tao_lite.stages.train.train import train

# A network of a few thousand weights, for float16 is slow on a CPU.
SPEC = """
model_config { arch: "timm/test_resnet" input_image_size: "3,32,32" }
train_config {
  train_dataset_path: "%(data)s"
  optimizer { sgd { momentum: 0.9 } }
  batch_size_per_gpu: 8
  n_epochs: 2
  random_seed: 7
  preprocess_mode: "torch"
  max_grad_norm: 1
  %(more)s
  checkpoint { keep_last: 2 }
  lr_config { cosine { learning_rate: 0.05 soft_start: 0.1 } }
}
dataset_config { val_split: 0.25 }
"""


@pytest.fixture(scope="module")
def few(colours: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """10 of the pictures of each colour."""
    root = tmp_path_factory.mktemp("few")
    for path in sorted(colours.glob("*/00?.png")):
        (root / path.parent.name).mkdir(exist_ok=True)
        shutil.copy(path, root / path.parent.name)
    return root


def run_in(results: Path) -> Run:
    return Run(results=results, world=distributed.start("cpu"))


def saved(results: Path, epoch: int) -> Checkpoint:
    return checkpoints.load(results / "weights" / f"timm_test_resnet_{epoch:03d}.pth")


def dtypes(values: Mapping[str, Tensor]) -> set[torch.dtype]:
    return {value.dtype for value in values.values() if value.is_floating_point()}


@pytest.mark.parametrize(
    ("level", "kept", "more"),
    [
        pytest.param("O2", torch.float32, "", marks=pytest.mark.slow),
        ("O2", torch.float32, "ema_decay: 0.9"),
        ("O3", torch.float16, "loss_scale { }"),
        pytest.param("O3", torch.float16, "ema_decay: 0.9", marks=pytest.mark.slow),
    ],
)
def test_a_training_goes_on_exactly_where_it_was(
    few: Path, tmp_path: Path, level: str, kept: torch.dtype, more: str
) -> None:
    path, averaged = tmp_path / "spec.cfg", "ema" in more
    path.write_text(SPEC % {"data": few, "more": f"precision: {level} {more}"})
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    summary = train(load(path), run_in(whole))
    assert summary["precision"] == level
    shutil.copytree(whole, resumed)
    (resumed / "weights" / "timm_test_resnet_002.pth").unlink()
    train(load(path), run_in(resumed))
    first, last, again = saved(whole, 1), saved(whole, 2), saved(resumed, 2)
    assert all(torch.equal(value, again.network[name]) for name, value in last.network.items())
    assert not all(torch.equal(value, first.network[name]) for name, value in last.network.items())
    # An average is float32 even of float16 weights, which are then kept beside it.
    assert dtypes(last.training["network"] if averaged else last.network) == {kept}
    assert dtypes(last.network) == {torch.float32 if averaged else kept}
    memory = {name: value["momentum_buffer"] for name, value in last.training["optimizer"]["state"].items()}
    assert dtypes(memory) == {kept}
    if not averaged:
        assert evaluate(load(path), run_in(whole))["top1"] == summary["val_accuracy"]
