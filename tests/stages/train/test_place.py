"""A run that goes on with another number of processes: each image of the epoch once, in the same order and steps."""

import signal
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tao_lite import checkpoint as checkpoints
from tao_lite.checkpoint import Checkpoint
from tao_lite.data.sampler import Sampler
from tao_lite.stages.train import place
from tao_lite.stages.train.progress import Progress
from tao_lite.training.interval import EpochStats
from tests.conftest import EVERYTHING
from tests.stages.train import team

SPEC = """
model_config { arch: "timm/test_efficientnet_ln" input_image_size: "3,16,16" }
train_config {
  train_dataset_path: "%(data)s/train"
  val_dataset_path: "%(data)s/val"
  optimizer { sgd { momentum: 0.9 } }
  batch_size_per_gpu: 4
  n_epochs: 2
  preprocess_mode: "torch"
  enable_color_augmentation: true
  lr_config { cosine { learning_rate: 0.01 } }
  precision: FP32
}
"""
NUM_IMAGES = 425

STEPS = {("early", 1): 115, ("late", 1): 205, ("early", 2): 55, ("late", 2): 85, ("early", 3): 35, ("late", 3): 49}
"""Of a run, where it is asked to stop; several processes do up to 20 later. Epochs have 106, 53 or 35 steps."""


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("place")
    rng = np.random.default_rng(0)
    for part, count in (("train", NUM_IMAGES), ("val", 6)):
        for index in range(count):
            path = folder / part / f"class_{index % 3}" / f"{index:03d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8)).save(path)
    path = folder / "spec.cfg"
    path.write_text(SPEC % {"data": folder})
    return path


def words(spec: Path, results: Path) -> list[str]:
    return ["-e", str(spec), "-r", str(results), "--gpus", "0"]


def undisturbed(spec: Path, num_processes: int) -> Path:
    """The folder of a run that nothing stopped."""
    results = spec.parent / f"undisturbed_{num_processes}"
    if not results.is_dir():
        log = spec.parent / f"undisturbed_{num_processes}_log"
        assert team.train(num_processes, words(spec, results), log) == [0] * num_processes
    return results


def weights(results: Path) -> dict[str, torch.Tensor]:
    return dict(checkpoints.load(results / "weights" / "latest.pth").network)


def said(log: Path) -> str:
    return (log / "errors_0").read_text()


def compare(spec: Path, results: Path, logs: list[Path], begun_with: int) -> None:
    """Order and weights with those of the run that was not disturbed."""
    whole = undisturbed(spec, begun_with)
    expected = team.trained_on(whole.with_name(f"{whole.name}_log"))
    found = team.trained_on(*logs)
    assert found == expected
    for names in found.values():
        assert len(set(names)) == len(names) > NUM_IMAGES - 6
    for name, tensor in weights(whole).items():
        torch.testing.assert_close(weights(results)[name], tensor, rtol=1e-3, atol=1e-5, msg=name)


def go_on(spec: Path, folder: Path, before: int, after: int, when: str) -> None:
    results, logs = folder / "results", [folder / "first", folder / "second"]
    codes = team.train(before, words(spec, results), logs[0], end=(STEPS[when, before], signal.SIGTERM))
    assert codes == [128 + signal.SIGTERM] * before, said(logs[0])
    assert team.train(after, words(spec, results), logs[1]) == [0] * after, said(logs[1])
    assert f"goes on in {after} instead of {before} processes: a step still takes {4 * before} images" in said(logs[1])
    compare(spec, results, logs, before)


def checkpoint(**training: object) -> Checkpoint:
    """What 2 processes with batches of 4 saved after 10 batches of an epoch, but for what is given."""
    stats = EpochStats(images=79, batches=10)
    return Checkpoint(
        spec="train_config { batch_size_per_gpu: 4 }",
        class_names=("cat",),
        preprocess={},
        network={},
        epoch=1,
        batch=10,
        training={"progress": asdict(Progress(epoch=1, stats=stats)), **training},
    )


def sampler(**changes: object) -> Sampler:
    fields = {"num_examples": NUM_IMAGES, "batch_size": 4, "seed": 1, "training": True, **changes}
    return Sampler(**fields)  # type: ignore[arg-type]


def test_of_an_older_checkpoint_images_and_batches_tell_how_many_processes_there_were() -> None:
    """One of the 80 images could not be read."""
    older = checkpoint()
    del older.training["progress"]["stats"]["done"]
    assert (place.num_processes(older), place.done(older)) == (2, 80)
    assert place.taken_up(sampler(), older).split == (4, 2)
    assert place.num_processes(replace(older, batch=0)) == 0
    assert place.taken_up(sampler(world_size=3), replace(older, batch=0)).split == (12, 1)


def test_another_batch_size_takes_up_the_same_rest() -> None:
    """The learning rate stays that of two processes."""
    kept = checkpoint(processes=2, begun_with=2)
    found = place.taken_up(sampler(batch_size=5), kept)
    assert found.split.step / 5 == 2
    assert next(found.batches(1, 80)).done == 85


def test_a_step_too_small_for_the_processes_is_larger_and_its_learning_rate_higher(
    caplog: pytest.LogCaptureFixture,
) -> None:
    found = place.taken_up(sampler(world_size=5), checkpoint(processes=1, begun_with=1))
    # Batch norm needs two images in each process.
    assert found.split == (10, 1)
    assert [record.getMessage() for record in caplog.records] == [
        "5 processes can't share a step of 4 images: it takes 10, and the learning rate is 2.5 times as high"
    ]
    # Whoever comes later has the steps again that the run was begun with.
    assert place.taken_up(sampler(), checkpoint(processes=5, begun_with=1)).split == (4, 1)


@pytest.mark.slow
def test_each_image_comes_once_where_one_process_goes_on_for_two(spec: Path, tmp_path: Path) -> None:
    arguments = [*words(spec, tmp_path / "run"), "--set", "train_config.n_epochs=1"]
    logs = [tmp_path / "a", tmp_path / "b"]
    assert team.train(2, arguments, logs[0], end=(30, signal.SIGTERM)) == [143, 143], said(logs[0])
    assert team.train(1, arguments, logs[1]) == [0], said(logs[1])
    # Two processes vote after at most 20 steps.
    assert 30 * 8 <= len(team.trained_on(logs[0])[0]) <= 53 * 8
    names = team.trained_on(*logs)[0]
    assert len(set(names)) == len(names) == NUM_IMAGES - 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("when", "before", "after"),
    [
        ("early", 1, 2),
        ("early", 2, 3),
        ("late", 2, 1),
        ("late", 3, 1),
        *(("late", 1, 2), ("late", 2, 3), ("early", 2, 1), ("early", 3, 1))[: 4 * EVERYTHING],
    ],
)
def test_another_number_of_processes_goes_on_where_a_run_was_stopped(
    spec: Path, tmp_path: Path, before: int, after: int, when: str
) -> None:
    go_on(spec, tmp_path, before, after, when)


@pytest.mark.slow
@pytest.mark.parametrize(("before", "after"), [(1, 2), (3, 1), *((2, 1), (2, 3))[: 2 * EVERYTHING]])
def test_another_number_of_processes_goes_on_after_kill_9(spec: Path, tmp_path: Path, before: int, after: int) -> None:
    """From the checkpoint after the first epoch: nothing else was saved."""
    results, logs = tmp_path / "results", [tmp_path / "first", tmp_path / "second"]
    codes = team.train(before, words(spec, results), logs[0], end=(STEPS["late", before], signal.SIGKILL))
    assert codes == [-signal.SIGKILL] * before
    assert team.train(after, words(spec, results), logs[1]) == [0] * after, said(logs[1])
    for path in logs[0].glob("rank_*"):
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join(line for line in lines if line.startswith("[0,")))
    compare(spec, results, logs, before)
