"""Scores of a task in which an image has any number of classes: by the order of probabilities, and at 0.5."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from tao_lite.machine.distributed import World


@dataclass(frozen=True, slots=True)
class LabelScores:
    """Scores of one class, in [0, 1]; support is the number of images of it.

    Average precision is scikit-learn's average_precision_score; NaN where no image is of the class.
    """

    average_precision: float
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True, kw_only=True)
class LabelsEvaluation:
    """How well a network did in one task of several labels."""

    num_images: int
    exact: float  # share of the images of which all classes are right
    loss: float
    per_class: Mapping[str, LabelScores]

    @property
    def mean_average_precision(self) -> float:
        """Over the classes that have images; NaN where none has."""
        return _mean([one.average_precision for one in self.per_class.values() if one.support])

    @property
    def score(self) -> float:
        """By which networks are compared."""
        return self.mean_average_precision

    @property
    def macro_f1(self) -> float:
        """Mean over the classes that have images, at 0.5; NaN where none has."""
        return _mean([one.f1 for one in self.per_class.values() if one.support])

    @property
    def balanced_accuracy(self) -> float:
        """NaN: recall alone is highest where every class is always found, so specs that ask for it are refused."""
        return math.nan

    def as_dict(self) -> dict[str, object]:
        """Plain values for evaluate.json; null is a number that there is none of."""
        per_class = {
            name: {**asdict(one), "average_precision": _finite(one.average_precision)}
            for name, one in self.per_class.items()
        }
        return {
            "num_images": self.num_images,
            "mean_average_precision": _finite(self.mean_average_precision),
            "exact": self.exact,
            "loss": _finite(self.loss),
            "per_class": per_class,
        }


class LabelCounts:
    """The logits and labels of all images; average precision needs their order."""

    def __init__(self, class_names: Sequence[str], device: torch.device) -> None:
        self._class_names = class_names
        self._rows = [torch.zeros(0, 2 * len(class_names) + 1, dtype=torch.float32, device=device)]

    @torch.no_grad()
    def add(self, logits: Tensor, labels: Tensor, is_known: Tensor) -> None:
        """Take in a batch: logits and labels (0 or 1) [B, classes], and which images count, bool [B]."""
        self._rows.append(torch.cat([logits, labels, is_known[:, None]], dim=1))

    def all_reduce(self, world: World) -> None:
        """Take in the images of all processes."""
        own = torch.cat(self._rows)
        counts = torch.zeros(world.world_size, dtype=torch.int64, device=own.device)
        counts[world.rank] = len(own)
        sizes = world.sum_(counts).tolist()
        start = sum(sizes[: world.rank])
        whole = own.new_zeros(sum(sizes), own.shape[1])
        whole[start : start + len(own)] = own
        self._rows = [world.sum_(whole)]

    def result(self, _: int) -> LabelsEvaluation:
        """The evaluation of all batches; waits for the device."""
        rows = torch.cat(self._rows).cpu()
        rows, num_classes = rows[rows[:, -1] > 0], len(self._class_names)
        logits, labels = rows[:, :num_classes], rows[:, num_classes:-1]
        is_right = (logits > 0) == (labels > 0)
        losses = F.binary_cross_entropy_with_logits(logits.double(), labels.double(), reduction="none")
        return LabelsEvaluation(
            num_images=len(rows),
            exact=int(is_right.all(dim=1).sum()) / max(len(rows), 1),
            loss=losses.mean(dim=1).mean().item(),
            per_class={
                name: _scores(logits[:, index], labels[:, index] > 0) for index, name in enumerate(self._class_names)
            },
        )


def average_precision(scores: Tensor, is_of_class: Tensor) -> float:
    """The precision at each image of the class, in falling order of the scores, averaged; equal scores come together.

    NaN where no image is of the class.
    """
    order = scores.argsort(descending=True)
    ranked = scores[order]
    hits = is_of_class[order].double().cumsum(dim=0)
    # The last of each run of equal scores is where a threshold can stand.
    is_end = torch.ones_like(is_of_class)
    is_end[:-1] = ranked[1:] != ranked[:-1]
    ends = is_end.nonzero()[:, 0]
    precision, found = hits[ends] / (ends + 1), hits[ends].diff(prepend=hits.new_zeros(1))
    return (precision * found).sum().item() / support if (support := int(is_of_class.sum())) else math.nan


def _scores(logits: Tensor, is_of_class: Tensor) -> LabelScores:
    is_found = logits > 0
    hits, found, support = (int(one.sum()) for one in (is_found & is_of_class, is_found, is_of_class))
    return LabelScores(
        average_precision=average_precision(logits, is_of_class),
        precision=hits / max(found, 1),
        recall=hits / max(support, 1),
        f1=2 * hits / max(found + support, 1),
        support=support,
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _mean(values: Sequence[float]) -> float:
    """NaN of none."""
    return sum(values) / len(values) if values else math.nan
