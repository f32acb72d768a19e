"""The whole flow on a GPU, by its command line."""

import os
import subprocess
from pathlib import Path

import pytest
import torch

from tests.test_pipeline import command, spec, summary

__all__ = ["spec"]  # a fixture

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]


def tao_lite(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), capture_output=True, text=True, check=False, env=os.environ)


@pytest.fixture(scope="module")
def trained(spec: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = tmp_path_factory.mktemp("gpu")
    settings = {"precision": "FP16", "ema_decay": 0.9, "layer_decay": 0.7, "n_epochs": 8}
    given = [word for name, value in settings.items() for word in ("--set", f"train_config.{name}={value}")]
    finished = tao_lite("train", "-e", spec, "-r", results, *given)
    assert finished.returncode == 0, finished.stderr
    return results


def test_colours_are_learnt(trained: Path, spec: Path) -> None:
    assert float(str(summary(trained, "train")["val_accuracy"])) >= 0.9
    evaluated = tao_lite("evaluate", "-e", spec, "-r", trained)
    assert evaluated.returncode == 0, evaluated.stderr
    accuracy = float(str(summary(trained, "train")["val_accuracy"]))
    assert float(str(summary(trained, "evaluate")["top1"])) == pytest.approx(accuracy, abs=0.05)


def test_a_pruned_network_is_timed_on_the_gpu_and_learns_from_the_whole_one(
    trained: Path, spec: Path, tmp_path: Path
) -> None:
    pruned = tao_lite("prune", "-r", trained, "-e", spec, "--criterion", "TAYLOR", "--target_ratio", 0.5)
    assert pruned.returncode == 0, pruned.stderr
    latency = summary(trained, "prune")["latency"]
    assert isinstance(latency, list)
    assert [one["device"] for one in latency] == ["cpu", torch.cuda.get_device_name()]
    start = f"train_config.pretrained_model_path={trained / 'weights' / 'pruned.pth'}"
    teacher = f"train_config.distillation.teacher_path={trained / 'weights' / 'best.pth'}"
    retrained = tao_lite("train", "-e", spec, "-r", tmp_path, "--set", start, "--set", teacher)
    assert retrained.returncode == 0, retrained.stderr
    assert float(str(summary(tmp_path, "train")["val_accuracy"])) >= 0.9


def test_a_probe_and_what_follows_it_train(trained: Path, spec: Path, tmp_path: Path) -> None:
    start = f"train_config.pretrained_model_path={trained / 'weights' / 'best.pth'}"
    probe = ("--set", "train_config.linear_probe=true", "--set", "train_config.unfreeze_at_epoch=3")
    finished = tao_lite("train", "-e", spec, "-r", tmp_path, "--set", start, *probe)
    assert finished.returncode == 0, finished.stderr
    assert float(str(summary(tmp_path, "train")["val_accuracy"])) >= 0.9
