"""Counts of several tasks, and the evaluation that follows: each task by itself, and their mean."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from tao_lite.machine.distributed import World
from tao_lite.metrics.counts import Counts, Evaluation
from tao_lite.metrics.labels import LabelCounts, LabelsEvaluation
from tao_lite.spec.tasks import Tasks


@dataclass(frozen=True, kw_only=True)
class JointEvaluation:
    """How well a network did in each of its tasks, by their names.

    `loss` is the mean over all images of the sum of their losses times the tasks' weights.
    """

    num_images: int
    loss: float
    tasks: Mapping[str, Evaluation | LabelsEvaluation]

    @property
    def top1(self) -> float:
        """The mean score of the tasks that have labels: top-1 or, with several labels, mean average precision."""
        return self.mean(lambda one: one.score)

    def mean(self, score: Callable[[Evaluation | LabelsEvaluation], float]) -> float:
        """The mean of a score over the tasks that have labels."""
        scores = [score(one) for one in self.tasks.values() if one.num_images]
        found = [one for one in scores if math.isfinite(one)]
        return sum(found) / len(found) if found else 0.0

    def as_dict(self) -> dict[str, object]:
        """The content of evaluate.json."""
        return {
            "num_images": self.num_images,
            "mean_score": self.top1,
            "loss": self.loss if math.isfinite(self.loss) else None,
            "tasks": {name: one.as_dict() for name, one in self.tasks.items()},
        }

    def confusion(self) -> list[tuple[str, str, str, int]]:
        """Task, true class, predicted class and number of images: the confusion matrices in one table."""
        return [
            (task, true, predicted, number)
            for task, one in self.tasks.items()
            if isinstance(one, Evaluation)
            for true, row in zip(one.class_names, one.confusion_matrix, strict=True)
            for predicted, number in zip(one.class_names, row, strict=True)
        ]


Result = Evaluation | JointEvaluation


class ClassCounts:
    """Counts of one task of one label, and its loss."""

    def __init__(self, class_names: Sequence[str], device: torch.device) -> None:
        self._class_names, self._counts = class_names, Counts(len(class_names), device)

    def add(self, logits: Tensor, labels: Tensor, is_known: Tensor | None = None) -> None:
        """Count a batch as `Counts` does."""
        self._counts.add(logits, labels, F.cross_entropy(logits, labels, reduction="none"), is_known)

    def all_reduce(self, world: World) -> None:
        """Replace the counts by their sums over all processes."""
        self._counts.all_reduce(world)

    def result(self, k: int) -> Evaluation:
        """The evaluation of all batches; waits for the device."""
        return self._counts.result(self._class_names, k)


class JointCounts:
    """Counts of several tasks; an image counts where its label is known."""

    def __init__(self, tasks: Tasks, device: torch.device) -> None:
        self._counts = [
            (task, (LabelCounts if task.is_multi_label else ClassCounts)(task.class_names, device)) for task in tasks
        ]
        self._images = torch.zeros((), dtype=torch.int64, device=device)

    def add(self, logits: Tensor, labels: Tensor) -> None:
        """Count a batch without waiting for the device; labels as `spec.tasks.mark` has them."""
        self._images += len(logits)
        for task, counts in self._counts:
            counts.add(*task.part(logits, labels))

    def all_reduce(self, world: World) -> None:
        """Replace the counts by those of all processes."""
        world.sum_(self._images)
        for _, counts in self._counts:
            counts.all_reduce(world)

    def result(self, k: int) -> JointEvaluation:
        """The evaluation of all batches; waits for the device."""
        found = {task.name: counts.result(k) for task, counts in self._counts}
        num_images = int(self._images)
        known = [
            (task.weight, one) for (task, _), one in zip(self._counts, found.values(), strict=True) if one.num_images
        ]
        total = sum(weight * one.loss * one.num_images for weight, one in known)
        return JointEvaluation(num_images=num_images, loss=total / num_images if num_images else math.nan, tasks=found)
