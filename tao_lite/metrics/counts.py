"""Counts on the device from which top-k, precision, recall, F1 and the confusion matrix follow."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from tao_lite.machine.distributed import World


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores of one class, or their mean over the classes, in [0, 1]; support is the number of images behind them."""

    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How well a network did on a data set; shares are in [0, 1].

    Scores are those of scikit-learn's classification_report(labels=range(num_classes), zero_division=0): a class that
    was never predicted has precision 0, one without images has recall 0, and both count in the macro mean.
    """

    num_images: int
    num_non_finite: int  # Images whose logits held NaN or infinity: wrong for every k, and in no predicted column.
    top1: float
    top_k: float
    k: int
    loss: float  # NaN where a loss was NaN or nothing was counted.
    per_class: tuple[Scores, ...]
    macro: Scores
    weighted: Scores
    confusion_matrix: tuple[tuple[int, ...], ...]  # [true class][predicted class]
    class_names: tuple[str, ...]

    @property
    def score(self) -> float:
        """By which networks are compared."""
        return self.top1

    @property
    def macro_f1(self) -> float:
        """Mean over the classes that have images."""
        return self.macro.f1

    @property
    def balanced_accuracy(self) -> float:
        """Mean recall of the classes that have images."""
        return self.macro.recall

    def as_dict(self) -> dict[str, object]:
        """The content of evaluate.json; a loss that is not finite is null, since JSON has no NaN."""
        return {
            "num_images": self.num_images,
            "top1": self.top1,
            "top_k": self.top_k,
            "k": self.k,
            "loss": self.loss if math.isfinite(self.loss) else None,
            "per_class": {name: asdict(scores) for name, scores in zip(self.class_names, self.per_class, strict=True)},
            "confusion_matrix": [list(row) for row in self.confusion_matrix],
            "class_names": list(self.class_names),
            "macro": asdict(self.macro),
            "weighted": asdict(self.weighted),
        }

    def most_confused(self, count: int) -> list[tuple[str, str, int]]:
        """The (true class, predicted class, number of images) that went wrong most often, worst first."""
        return most_confused(self.confusion_matrix, self.class_names, count)


def most_confused(
    confusion_matrix: Sequence[Sequence[int]], class_names: Sequence[str], count: int
) -> list[tuple[str, str, int]]:
    """As Evaluation.most_confused, of a matrix [true class][predicted class]."""
    pairs = [
        (class_names[true], class_names[predicted], number)
        for true, row in enumerate(confusion_matrix)
        for predicted, number in enumerate(row)
        if number and true != predicted
    ]
    return sorted(pairs, key=lambda pair: -pair[2])[:count]


class Counts:
    """Sums over the batches seen: exact for any batch size, order and number of processes.

    Of every image two integers are kept: the pair (true, predicted), and how many classes came before the true one.
    The second gives top-k for any k. Equal logits rank by class index, as argmax does.
    """

    def __init__(self, num_classes: int, device: torch.device) -> None:
        self.num_classes = num_classes
        # One buffer, so that summing over processes is one message. Column num_classes holds images without a valid
        # prediction: argmax of NaN is class 0, which would pass for an answer.
        num_pairs = num_classes * (num_classes + 1)
        self._integers = torch.zeros(num_pairs + num_classes + 1, dtype=torch.int64, device=device)
        self._pairs = self._integers[:num_pairs]
        self._places = self._integers[num_pairs:]
        self._loss = torch.zeros((), dtype=torch.float64, device=device)

    @torch.no_grad()
    def add(self, logits: Tensor, labels: Tensor, losses: Tensor, is_counted: Tensor | None = None) -> None:
        """Count a batch without waiting for the device: logits [B, num_classes], labels int64 [B], losses [B].

        is_counted: bool [B], which images count; None is all.
        """
        finite = logits.isfinite().all(dim=1)
        true_logits = logits.gather(1, labels[:, None])
        lower_index = torch.arange(self.num_classes, device=logits.device) < labels[:, None]
        before = ((logits > true_logits) | ((logits == true_logits) & lower_index)).sum(dim=1)
        place = before.where(finite, self.num_classes)
        predicted = logits.argmax(dim=1).where(finite, self.num_classes)
        ones = torch.ones_like(labels) if is_counted is None else is_counted.long()
        # index_add_, because bincount waits for the device to learn the size of its result.
        self._pairs.index_add_(0, labels * (self.num_classes + 1) + predicted, ones)
        self._places.index_add_(0, place, ones)
        self._loss += (losses if is_counted is None else losses.where(is_counted, 0)).sum(dtype=torch.float64)

    def all_reduce(self, world: World) -> None:
        """Replace the counts by their sums over all processes."""
        world.sum_(self._integers)
        world.sum_(self._loss)

    def result(self, class_names: Sequence[str], k: int) -> Evaluation:
        """The evaluation of all batches; waits for the device. k above the number of classes becomes that number."""
        k = min(k, self.num_classes)
        pairs = self._pairs.cpu().view(self.num_classes, self.num_classes + 1)
        num_images, confusion = int(pairs.sum()), pairs[:, :-1]
        per_class, macro, weighted = _scores(confusion.double(), pairs.sum(dim=1).double())
        return Evaluation(
            num_images=num_images,
            num_non_finite=int(pairs[:, -1].sum()),
            top1=int(confusion.trace()) / max(num_images, 1),
            top_k=int(self._places[:k].sum()) / max(num_images, 1),
            k=k,
            loss=self._loss.item() / num_images if num_images else math.nan,
            per_class=per_class,
            macro=macro,
            weighted=weighted,
            confusion_matrix=tuple(map(tuple, confusion.tolist())),
            class_names=tuple(class_names),
        )


def _scores(confusion: Tensor, support: Tensor) -> tuple[tuple[Scores, ...], Scores, Scores]:
    """Scores of each class, their plain mean and their mean weighted by support; float64 [K, K] and [K].

    Classes without an image have no part in the means, unless there is no image at all.
    """
    hits, predicted, total = confusion.diagonal(), confusion.sum(dim=0), support.sum()
    table = torch.stack(
        [_ratio(hits, predicted), _ratio(hits, support), _ratio(2 * hits, predicted + support), support], dim=1
    )
    present = support > 0 if total else torch.ones_like(support, dtype=torch.bool)
    macro = torch.cat([table[present, :3].mean(dim=0), total[None]])
    weighted = torch.cat([_ratio(support, total) @ table[:, :3], total[None]])
    return tuple(map(_row, table)), _row(macro), _row(weighted)


def _row(values: Tensor) -> Scores:
    precision, recall, f1, support = values.tolist()
    return Scores(precision, recall, f1, int(support))


def _ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """The quotient, 0 where the denominator is 0."""
    return torch.where(denominator > 0, numerator / denominator, 0.0)
