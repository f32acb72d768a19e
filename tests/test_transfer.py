"""Transfer learning by its command line: probes, unfreezing, averages, teachers, and stopping among them."""

import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tao_lite import checkpoint as checkpoints
from tests.test_pipeline import TWO, command, environment, spec, summary, tao_lite, trained, wait_for

__all__ = ["spec", "trained"]  # fixtures


def settings(trained: Path, **values: object) -> list[object]:
    start = {"pretrained_model_path": trained / "weights" / "best.pth", **values}
    return [word for name, value in start.items() for word in ("--set", f"train_config.{name}={value}")]


@pytest.fixture(scope="session")
def whole(spec: Path, trained: Path) -> tuple[object, ...]:
    """Two epochs of a linear probe, then two of the whole network; a teacher, layer decay and an average all along."""
    teacher = f"{{ teacher_path: '{trained / 'weights' / 'best.pth'}' feature_weight: 1 }}"
    changes = {"linear_probe": "true", "unfreeze_at_epoch": 3, "ema_decay": 0.9, "layer_decay": 0.5}
    return "-e", spec, *settings(trained, **changes, distillation=teacher)


@pytest.fixture(scope="session")
def transferred(whole: tuple[object, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = tmp_path_factory.mktemp("transferred")
    finished = tao_lite("train", "-r", results, *whole)
    assert finished.returncode == 0, finished.stderr
    return results


def load(results: Path, epoch: int) -> checkpoints.Checkpoint:
    return checkpoints.load(results / "weights" / f"resnet_{epoch:03d}.pth")


def moved(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> set[str]:
    return {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "after"),
    [
        (signal.SIGKILL, 1),
        (signal.SIGTERM, 1),
        (signal.SIGKILL, 3),
    ],
    ids=str,
)
def test_a_stopped_run_ends_with_the_weights_of_one_that_was_not(
    transferred: Path, tmp_path: Path, whole: tuple[object, ...], number: signal.Signals, after: int
) -> None:
    arguments = ("train", "-r", tmp_path, *whole)
    with subprocess.Popen(
        command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    ) as process:
        wait_for(f'"epoch": {after}', tmp_path / "status.json", process)
        time.sleep(0.05)
        process.send_signal(number)
        process.communicate()
    resumed = tao_lite(*arguments)
    assert resumed.returncode == 0, resumed.stderr
    ours, theirs = load(tmp_path, 4), load(transferred, 4)
    assert moved(ours.network, theirs.network) == set()
    assert moved(ours.training["network"], theirs.training["network"]) == set()


@pytest.mark.slow
def test_a_run_stopped_while_it_computes_features_goes_on(
    transferred: Path, tmp_path: Path, whole: tuple[object, ...]
) -> None:
    arguments = ("train", "-r", tmp_path, *whole)
    with subprocess.Popen(command(*arguments), stderr=subprocess.PIPE, text=True, env=environment()) as process:
        assert process.stderr is not None
        while "Froze" not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        errors = process.stderr.read()
    assert process.returncode == 143, errors
    resumed = tao_lite(*arguments)
    assert resumed.returncode == 0, resumed.stderr
    assert moved(load(tmp_path, 4).network, load(transferred, 4).network) == set()


@pytest.mark.slow
def test_a_linear_probe_moves_the_head_and_nothing_else(spec: Path, trained: Path, tmp_path: Path) -> None:
    finished = tao_lite("train", "-e", spec, "-r", tmp_path, *settings(trained, linear_probe="true"))
    assert finished.returncode == 0, finished.stderr
    before = checkpoints.load(trained / "weights" / "best.pth").network
    assert moved(before, load(tmp_path, 4).network) == {"fc.weight", "fc.bias"}
    evaluated = tao_lite("evaluate", "-e", spec, "-r", tmp_path)
    assert evaluated.returncode == 0, evaluated.stderr
    # What the head read from the cache is what the whole network makes of the images.
    assert summary(tmp_path, "evaluate")["top1"] == summary(tmp_path, "train")["val_accuracy"]
    assert summary(tmp_path, "evaluate")["loss"] == pytest.approx(summary(tmp_path, "train")["val_loss"], rel=1e-5)


@pytest.mark.slow
def test_blocks_train_from_the_epoch_that_unfreezes_them(spec: Path, trained: Path, tmp_path: Path) -> None:
    freezing = ("--set", "model_config.freeze_blocks=[0, 1]", "--set", "train_config.checkpoint.keep_last=4")
    finished = tao_lite("train", "-e", spec, "-r", tmp_path, *settings(trained, unfreeze_at_epoch=3), *freezing)
    assert finished.returncode == 0, finished.stderr
    start = checkpoints.load(trained / "weights" / "best.pth").network
    frozen = {name for name in start if name.startswith(("conv1.", "bn1.", "layer1."))}
    assert moved(start, load(tmp_path, 2).network).isdisjoint(frozen)
    assert moved(start, load(tmp_path, 3).network) >= frozen


@pytest.mark.slow
def test_of_the_last_blocks_and_the_head_all_trains_and_of_the_others_nothing(
    spec: Path, trained: Path, tmp_path: Path
) -> None:
    words = settings(trained, recipe="LAST_BLOCK")
    finished = tao_lite("train", "-e", spec, "-r", tmp_path, *words, "--set", "model_config.trained_blocks=2")
    assert finished.returncode == 0, finished.stderr
    start = checkpoints.load(trained / "weights" / "best.pth").network
    assert {name.partition(".")[0] for name in moved(start, load(tmp_path, 4).network)} == {"layer3", "layer4", "fc"}


@pytest.mark.slow
def test_the_saved_network_is_the_average(transferred: Path) -> None:
    found = load(transferred, 4)
    difference = moved(found.network, found.training["network"])
    assert "layer4.0.conv1.weight" in difference
    assert not any(name.endswith("num_batches_tracked") for name in difference)


@pytest.mark.slow
def test_two_processes_probe_and_unfreeze_too(whole: tuple[object, ...], trained: Path, tmp_path: Path) -> None:
    finished = tao_lite("train", "-r", tmp_path, *whole, *TWO)
    assert finished.returncode == 0, finished.stderr
    start = checkpoints.load(trained / "weights" / "best.pth").network
    assert "conv1.weight" in moved(start, load(tmp_path, 4).training["network"])


@pytest.mark.slow
def test_a_teacher_of_other_classes_is_refused(spec: Path, trained: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.pth"
    found = checkpoints.load(trained / "weights" / "best.pth")
    checkpoints.save(other, checkpoints.Checkpoint(**{**vars(found), "class_names": ("blue", "green", "yellow")}))
    teaching = ("--set", f"train_config.distillation.teacher_path={other}")
    finished = tao_lite("train", "-e", spec, "-r", tmp_path / "run", *teaching)
    assert finished.returncode == 2
    assert finished.stderr.splitlines()[-1] == (
        f"Error: train_config.distillation.teacher_path: {other} knows the classes blue, green, yellow; "
        "the data has blue, green, red; a teacher must know the same classes"
    )
    absent = ("--set", f"train_config.distillation.teacher_path={tmp_path / 'none.pth'}")
    finished = tao_lite("train", "-e", spec, "-r", tmp_path / "run", *absent)
    assert finished.returncode == 2
    assert f"{tmp_path / 'none.pth'}: no such file" in finished.stderr
