"""What a training minimises: the loss of each image, and whether the network was right about it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor
from torch.nn import functional as F

from tao_lite.spec.tasks import Task, Tasks


class Objective(Protocol):
    """Of a batch: logits float32 [B, outputs] and labels as `Batch` has them."""

    def losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        """float32 [B], with a gradient."""

    def hits(self, logits: Tensor, labels: Tensor) -> Tensor:
        """[B], from 0 to 1: the share of an image's labels that the network gives too."""


@dataclass(frozen=True, kw_only=True)
class Classes:
    """One label for each image: cross-entropy. class_weights: float32 [classes], how much one counts by its class."""

    label_smoothing: float = 0.0
    class_weights: Tensor | None = None

    def losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        """As of an Objective; labels int64 [B]."""
        losses = F.cross_entropy(logits, labels, reduction="none", label_smoothing=self.label_smoothing)
        # Not by cross_entropy itself, which would weigh the smoothed part of an image by the other classes.
        return losses if self.class_weights is None else losses * self.class_weights[labels]

    def hits(self, logits: Tensor, labels: Tensor) -> Tensor:
        """As of an Objective; labels int64 [B]."""
        return logits.argmax(dim=1) == labels


@dataclass(frozen=True, kw_only=True)
class MultiLabel:
    """Any number of classes for each image: the mean of their binary cross-entropies. Labels: 0 or 1, [B, classes]."""

    label_smoothing: float = 0.0

    def losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        """As of an Objective."""
        smoothed = labels * (1 - self.label_smoothing) + self.label_smoothing / 2
        return F.binary_cross_entropy_with_logits(logits, smoothed, reduction="none").mean(dim=1)

    def hits(self, logits: Tensor, labels: Tensor) -> Tensor:
        """As of an Objective; right where all classes are."""
        return ((logits > 0) == (labels > 0)).all(dim=1)


@dataclass(frozen=True)
class Joint:
    """Several tasks: the sum of their losses times their weights. A label that is not known adds nothing."""

    parts: Sequence[tuple[Task, Objective]]

    def losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        """As of an Objective; labels as `spec.tasks.mark` has them."""
        total = logits.new_zeros(len(logits))
        for task, objective in self.parts:
            own, targets, is_known = task.part(logits, labels)
            total = total + task.weight * objective.losses(own, targets).where(is_known, 0)
        return total

    def hits(self, logits: Tensor, labels: Tensor) -> Tensor:
        """As of an Objective."""
        right, known = logits.new_zeros(len(logits)), logits.new_zeros(len(logits))
        for task, objective in self.parts:
            own, targets, is_known = task.part(logits, labels)
            right += objective.hits(own, targets) & is_known
            known += is_known
        return right / known.clamp(min=1)


def make(tasks: Tasks, *, label_smoothing: float = 0.0, class_weights: Tensor | None = None) -> Objective:
    """The objective of these tasks, or of a network of one. class_weights: float32 [outputs]."""
    if not tasks:
        return Classes(label_smoothing=label_smoothing, class_weights=class_weights)

    def part(task: Task) -> Objective:
        if task.is_multi_label:
            return MultiLabel(label_smoothing=label_smoothing)
        weights = None if class_weights is None else class_weights[task.outputs]
        return Classes(label_smoothing=label_smoothing, class_weights=weights)

    return Joint([(task, part(task)) for task in tasks])
