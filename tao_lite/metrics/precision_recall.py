"""Precision and recall of each class by threshold, from counts on the device: no image's probabilities are kept."""

from collections.abc import Sequence

import torch
from torch import Tensor

from tao_lite.machine.distributed import World

NUM_THRESHOLDS = 127
"""The most that TensorBoard shows: 0 to 1, evenly spaced."""


class PrecisionRecall:
    """Of each class the images by probability, those that are of the class and those that are not.

    Images whose logits are not finite are left out.
    """

    def __init__(self, num_classes: int, device: torch.device) -> None:
        self._counts = torch.zeros(2 * num_classes * NUM_THRESHOLDS, dtype=torch.int64, device=device)
        self._first = torch.arange(num_classes, device=device) * NUM_THRESHOLDS

    @torch.no_grad()
    def add(self, logits: Tensor, labels: Tensor) -> None:
        """Count a batch without waiting for the device: logits [B, num_classes], labels int64 [B]."""
        finite = logits.isfinite().all(dim=1, keepdim=True)
        probabilities = logits.where(finite, 0.0).softmax(dim=1)
        place = self._first + (probabilities * (NUM_THRESHOLDS - 1)).long()
        is_other = torch.ones_like(place).scatter_(1, labels[:, None], 0)
        place += is_other * (len(self._counts) // 2)
        self._counts.index_add_(0, place.flatten(), finite.expand_as(place).flatten().long())

    def all_reduce(self, world: World) -> None:
        """Replace the counts by their sums over all processes."""
        world.sum_(self._counts)

    def curves(self, classes: Sequence[int]) -> Tensor:
        """float64 [len(classes), 6, NUM_THRESHOLDS]; waits for the device.

        Rows: images at or above the threshold that are of the class and that are not, images below it that are not and
        that are, precision, recall. A quotient of nothing is 0, as in TensorBoard.
        """
        counts = self._counts.view(2, -1, NUM_THRESHOLDS)[:, list(classes)].cpu().double()
        true_positives, false_positives = counts.flip(2).cumsum(dim=2).flip(2)
        false_negatives = true_positives[:, :1] - true_positives
        true_negatives = false_positives[:, :1] - false_positives
        precision = true_positives / (true_positives + false_positives).clamp(min=1)
        recall = true_positives / true_positives[:, :1].clamp(min=1)
        rows = (true_positives, false_positives, true_negatives, false_negatives, precision, recall)
        return torch.stack(rows, dim=1)
