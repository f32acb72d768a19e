"""What a validation adds to the curves in TensorBoard: collected batch by batch, shown when it is done."""

import math
from collections.abc import Sequence

import torch
from PIL.Image import Image
from torch import Tensor

from tao_lite.data.batch import Batch
from tao_lite.machine.distributed import World
from tao_lite.metrics.calibration import Reliability
from tao_lite.metrics.counts import Evaluation
from tao_lite.metrics.joint import JointEvaluation
from tao_lite.metrics.mistakes import Mistake, Mistakes
from tao_lite.metrics.precision_recall import PrecisionRecall
from tao_lite.monitor import diagrams
from tao_lite.monitor.events import Events

MAX_CLASSES = 100
"""Above it, only the worst classes have curves of their own."""
NUM_WORST = 10


class Answers:
    """The answers of one validation, over all processes; pictures are of the main one's images only."""

    def __init__(self, num_classes: int, num_images: int, device: torch.device) -> None:
        """num_images: how many wrong answers of each kind are shown."""
        self._reliability = Reliability(device)
        self._precision_recall = PrecisionRecall(num_classes, device)
        self._mistakes = Mistakes(num_images) if num_images else None

    def add(self, batch: Batch, labels: Tensor, logits: Tensor) -> None:
        """Take in a batch as `evaluate_network` gives it. A linear probe's features are no pictures."""
        self._reliability.add(logits, labels)
        self._precision_recall.add(logits, labels)
        if self._mistakes and batch.images.dtype == torch.uint8:
            self._mistakes.add(batch.images, labels, logits, batch.paths)

    def all_reduce(self, world: World) -> None:
        """Replace the counts by their sums over all processes."""
        self._reliability.all_reduce(world)
        self._precision_recall.all_reduce(world)

    def show(self, events: Events, step: int, result: Evaluation) -> None:
        """Write them; result is the evaluation of the same images."""
        calibration, shown = self._reliability.result(), shown_classes(result)
        curves = zip(shown, self._precision_recall.curves(shown), strict=True)
        events.scalars(step, {"val/calibration_error": calibration.ece})
        events.pr_curves(step, {f"val_pr/{result.class_names[index]}": curve for index, curve in curves})
        events.image(step, "val/confusion_matrix", diagrams.confusion_matrix(result))
        events.image(step, "val/reliability", diagrams.reliability(calibration))
        if self._mistakes:
            kinds = {"worst": self._mistakes.worst(), "most_confident_wrong": self._mistakes.most_confident()}
            for kind, found in kinds.items():
                if found:
                    events.image(step, f"val/{kind}", _picture(found, result.class_names))


def class_curves(result: Evaluation) -> dict[str, float]:
    """Recall and F1: their means over all classes and those of each class, by tag."""
    values = {"val/recall": result.macro.recall, "val/f1": result.macro.f1}
    for index in shown_classes(result):
        name, scores = result.class_names[index], result.per_class[index]
        values |= {f"val_recall/{name}": scores.recall, f"val_f1/{name}": scores.f1}
    return values


def task_curves(result: JointEvaluation) -> dict[str, float]:
    """Score and loss of each task that has labels, by tag."""
    known = {name: one for name, one in result.tasks.items() if one.num_images}
    scores = {f"val_score/{name}": one.score for name, one in known.items() if math.isfinite(one.score)}
    return {**scores, **{f"val_loss/{name}": one.loss for name, one in known.items()}}


def show_confusion(events: Events, step: int, result: JointEvaluation) -> None:
    """Write the confusion matrix of each task that has one."""
    for name, one in result.tasks.items():
        if isinstance(one, Evaluation):
            events.image(step, f"val/confusion_matrix/{name}", diagrams.confusion_matrix(one))


def shown_classes(result: Evaluation) -> Sequence[int]:
    """The indices of all classes or, of more than MAX_CLASSES, of those with images that have the lowest F1."""
    indices = range(len(result.class_names))
    if len(indices) <= MAX_CLASSES:
        return indices
    found = [index for index in indices if result.per_class[index].support]
    return sorted(found, key=lambda index: result.per_class[index].f1)[:NUM_WORST]


def _picture(found: Sequence[Mistake], class_names: Sequence[str]) -> Image:
    captions = [
        (
            f"{diagrams.short(class_names[one.predicted])} {one.probability:.2f}",
            f"is {diagrams.short(class_names[one.label])} {one.true_probability:.2f}",
            diagrams.short(one.path.name),
        )
        for one in found
    ]
    return diagrams.gallery([one.image for one in found], captions)
