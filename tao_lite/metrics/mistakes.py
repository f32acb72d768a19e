"""The images that a network got most wrong, found while it runs and kept in bounded memory."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class Mistake:
    """An image that was classified wrongly; probabilities in [0, 1]. image: uint8 [C, H, W], the network's input."""

    path: Path
    label: int
    predicted: int
    probability: float  # of the predicted class
    true_probability: float
    image: Tensor


class Mistakes:
    """The wrong images with the least probability of the true class, and those with the highest of another one.

    Images whose logits are not finite are left out: nothing was predicted for them.
    """

    def __init__(self, limit: int) -> None:
        self._worst = _Highest(limit)
        self._most_confident = _Highest(limit)
        self._paths: list[Path] = []

    @torch.no_grad()
    def add(self, images: Tensor, labels: Tensor, logits: Tensor, paths: Sequence[Path]) -> None:
        """Look at a batch without waiting for the device.

        images: uint8 [B, C, H, W]. labels: int64 [B]. logits: [B, num_classes].
        """
        log_probabilities = logits.float().log_softmax(dim=1)
        highest, predicted = log_probabilities.max(dim=1)
        own = log_probabilities.gather(1, labels[:, None])[:, 0]
        place = torch.arange(len(self._paths), len(self._paths) + len(labels), device=labels.device)
        self._paths += paths
        is_wrong = (predicted != labels) & logits.isfinite().all(dim=1)
        columns = (torch.stack([labels, predicted, place], dim=1), torch.stack([highest, own], dim=1), images)
        self._worst.add((-own).where(is_wrong, -torch.inf), columns)
        self._most_confident.add(highest.where(is_wrong, -torch.inf), columns)

    def worst(self) -> list[Mistake]:
        """Least probability of the true class first; waits for the device."""
        return self._found(self._worst)

    def most_confident(self) -> list[Mistake]:
        """Highest probability of the predicted class first; waits for the device."""
        return self._found(self._most_confident)

    def _found(self, kept: "_Highest") -> list[Mistake]:
        return [
            Mistake(
                path=self._paths[place],
                label=label,
                predicted=predicted,
                probability=probability,
                true_probability=true_probability,
                image=image,
            )
            for (label, predicted, place), (probability, true_probability), image in kept.rows()
        ]


class _Highest:
    """The rows with the highest scores: at most `limit`."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._scores = torch.empty(0)
        self._columns: Sequence[Tensor] = ()

    def add(self, scores: Tensor, columns: Sequence[Tensor]) -> None:
        """Keep the best of what is there and of these; a score of minus infinity is none."""
        scores, order = scores.topk(min(self._limit, len(scores)))
        columns = [column[order] for column in columns]
        if self._columns:
            scores = torch.cat([self._scores, scores])
            columns = [torch.cat(pair) for pair in zip(self._columns, columns, strict=True)]
            scores, order = scores.topk(min(self._limit, len(scores)))
            columns = [column[order] for column in columns]
        self._scores, self._columns = scores, columns

    def rows(self) -> list[tuple[list[int], list[float], Tensor]]:
        if not self._columns:
            return []
        integers, logarithms, images = (column[self._scores > -torch.inf].cpu() for column in self._columns)
        return list(zip(integers.tolist(), logarithms.exp().tolist(), images, strict=True))
