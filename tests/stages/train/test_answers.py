"""What a validation shows: which classes have curves of their own, and answers that can't be shown."""

import math
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor
from torch.nn import functional as F

from tao_lite.data.batch import Batch
from tao_lite.machine.distributed import World
from tao_lite.metrics.counts import Counts, Evaluation
from tao_lite.monitor.events import Events
from tao_lite.stages.train import answers
from tao_lite.stages.train.answers import Answers

CPU = torch.device("cpu")


def evaluation(logits: Tensor, labels: Tensor) -> Evaluation:
    counts = Counts(logits.shape[1], CPU)
    counts.add(logits, labels, F.cross_entropy(logits, labels, reduction="none"))
    return counts.result([f"class {index}" for index in range(logits.shape[1])], 1)


def batch(labels: Tensor, images: Tensor) -> Batch:
    paths = tuple(Path(f"{number}.png") for number in range(len(labels)))
    return Batch(images=images, labels=labels, paths=paths, draws=torch.zeros(len(labels), 1), number=0)


def shown(folder: Path, logits: Tensor, labels: Tensor, images: Tensor) -> dict[str, list[str]]:
    """The tags of a validation of one batch."""
    seen = Answers(logits.shape[1], 2, CPU)
    seen.add(batch(labels, images), labels, logits)
    seen.all_reduce(World(rank=0, world_size=1, local_rank=0, device=CPU))
    with closing(Events(folder)) as events:
        seen.show(events, 5, evaluation(logits, labels))
    tags: dict[str, list[str]] = EventAccumulator(str(folder)).Reload().Tags()
    return tags


def pixels(count: int) -> Tensor:
    return torch.zeros(count, 3, 8, 8, dtype=torch.uint8)


def test_up_to_a_hundred_classes_each_has_its_curves() -> None:
    labels = torch.arange(100)
    found = answers.class_curves(evaluation(torch.eye(100), labels))
    assert len(found) == 2 + 2 * 100
    assert found["val/recall"] == found["val_f1/class 99"] == pytest.approx(1)


def test_of_more_classes_the_worst_ten_with_images_have_curves(tmp_path: Path) -> None:
    # 120 classes with an image each but for the last two; of the others those below 12 are taken for their neighbour.
    labels = torch.arange(118)
    logits = F.one_hot(torch.where(labels < 12, labels + 1, labels), 120).float()
    result = evaluation(logits, labels)
    # 0 to 11 were never right: F1 is 0. Of equals the first ten.
    assert list(answers.shown_classes(result)) == list(range(10))
    assert set(answers.class_curves(result)) == {
        *("val/recall", "val/f1"),
        *(f"{scores}/class {index}" for scores in ("val_recall", "val_f1") for index in range(10)),
    }
    tags = shown(tmp_path, logits, labels, pixels(118))
    assert set(tags["tensors"]) == {f"val_pr/class {index}" for index in range(10)}


def test_where_nothing_is_wrong_no_wrong_images_are_shown(tmp_path: Path) -> None:
    tags = shown(tmp_path, 5 * torch.eye(3), torch.arange(3), pixels(3))
    assert tags["images"] == ["val/confusion_matrix", "val/reliability"]


def test_features_of_a_linear_probe_are_no_pictures(tmp_path: Path) -> None:
    tags = shown(tmp_path, -5 * torch.eye(3), torch.arange(3), torch.zeros(3, 512))
    assert tags["images"] == ["val/confusion_matrix", "val/reliability"]


def test_a_network_that_answers_with_nothing_finite_is_shown_all_the_same(tmp_path: Path) -> None:
    tags = shown(tmp_path, torch.full((3, 3), math.nan), torch.arange(3), pixels(3))
    assert tags["images"] == ["val/confusion_matrix", "val/reliability"]


def test_without_images_counts_are_shown_alone(tmp_path: Path) -> None:
    seen, labels, logits = Answers(3, 0, CPU), torch.arange(3), -5 * torch.eye(3)
    seen.add(replace(batch(labels, pixels(3)), number=1), labels, logits)
    with closing(Events(tmp_path)) as events:
        seen.show(events, 5, evaluation(logits, labels))
    assert EventAccumulator(str(tmp_path)).Reload().Tags()["images"] == ["val/confusion_matrix", "val/reliability"]
