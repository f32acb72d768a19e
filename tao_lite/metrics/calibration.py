"""How far a network's probabilities can be believed: calibration error, reliability by bin, temperature.

Source of all three: Guo et al., arXiv:1706.04599.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from tao_lite.machine.distributed import World

NUM_BINS = 15
MAX_TEMPERATURE = 20.0
"""The search is between its inverse and this; the first is the answer where every image is classified rightly."""
MAX_NUMBERS = 2**23
"""Logits that Sample keeps, 32 MiB: one number is fitted to them, and thousands of images are plenty for that."""

_ROUNDS = 30  # of bisection, each of which halves log(MAX_TEMPERATURE**2): to 1e-8


@dataclass(frozen=True, slots=True)
class Bin:
    """The images whose highest probability is in (lower, upper]; its mean and the share of right ones, 0 if none."""

    lower: float
    upper: float
    count: int
    confidence: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """Expected calibration error in [0, 1], mean negative log-likelihood in nats; NaN where no image was counted."""

    num_images: int
    ece: float
    nll: float
    bins: tuple[Bin, ...]


class Reliability:
    """Sums by bin over the batches seen. Images whose logits are not finite are left out."""

    def __init__(self, device: torch.device) -> None:
        self._edges = torch.linspace(0, 1, NUM_BINS + 1, dtype=torch.float64, device=device)
        # Rows: images, highest probabilities, right answers, negative log-likelihoods.
        self._sums = torch.zeros(4, NUM_BINS, dtype=torch.float64, device=device)

    @torch.no_grad()
    def add(self, logits: Tensor, labels: Tensor, temperature: float = 1.0) -> None:
        """Count a batch without waiting for the device: logits [B, num_classes], labels int64 [B]."""
        scaled = logits.double() / temperature
        confidence, predicted = scaled.softmax(dim=1).max(dim=1)
        nll = F.cross_entropy(scaled, labels, reduction="none")
        values = torch.stack([torch.ones_like(nll), confidence, (predicted == labels).double(), nll])
        place = torch.bucketize(confidence, self._edges[1:-1])
        self._sums.index_add_(1, place, values.where(logits.isfinite().all(dim=1), 0.0))

    def all_reduce(self, world: World) -> None:
        """Replace the sums by those over all processes."""
        world.sum_(self._sums)

    def result(self) -> Calibration:
        """The calibration over all batches; waits for the device."""
        sums, edges = self._sums.cpu(), self._edges.tolist()
        counts, confidences, hits, nll = sums
        means = torch.stack([confidences, hits]) / counts.clamp(min=1)
        num_images = int(counts.sum())
        gaps = (confidences - hits).abs().sum().item()
        return Calibration(
            num_images=num_images,
            ece=gaps / num_images if num_images else math.nan,
            nll=nll.sum().item() / num_images if num_images else math.nan,
            bins=tuple(map(Bin, edges, edges[1:], counts.int().tolist(), *means.tolist())),
        )


class Sample:
    """Logits and labels to fit a temperature to: all images while they are few, then every second, fourth, ...

    Evenly spaced, because data sets come ordered by class. Images whose logits are not finite are left out.
    """

    def __init__(self, max_numbers: int = MAX_NUMBERS) -> None:
        self._max_numbers = max_numbers
        self._parts: list[tuple[Tensor, Tensor]] = []
        self._seen, self._step = 0, 1

    def add(self, logits: Tensor, labels: Tensor) -> None:
        """Take what is due of a batch: logits [B, num_classes], labels int64 [B]."""
        chosen = slice(-self._seen % self._step, None, self._step)
        self._parts.append((logits[chosen].float().cpu(), labels[chosen].cpu()))
        self._seen += len(labels)
        while sum(part.numel() for part, _ in self._parts) > self._max_numbers:
            kept_logits, kept_labels = map(torch.cat, zip(*self._parts, strict=True))
            self._parts = [(kept_logits[::2], kept_labels[::2])]
            self._step *= 2

    def result(self) -> tuple[Tensor, Tensor]:
        """float32 [N, num_classes] and int64 [N] on the CPU."""
        logits, labels = map(torch.cat, zip(*self._parts, strict=True))
        finite = logits.isfinite().all(dim=1)
        return logits[finite], labels[finite]


def measure(logits: Tensor, labels: Tensor, temperature: float = 1.0) -> Calibration:
    """The calibration of softmax(logits / temperature): logits [N, num_classes], labels int64 [N]."""
    reliability = Reliability(logits.device)
    reliability.add(logits, labels, temperature)
    return reliability.result()


@torch.no_grad()
def best_temperature(logits: Tensor, labels: Tensor) -> float:
    """The temperature that makes the negative log-likelihood of softmax(logits / temperature) least.

    In the inverse of the temperature the likelihood has one valley (log-sum-exp is convex), so halving by the sign of
    its slope can't miss it. 1 where every temperature is as good. Logits finite [N, num_classes], labels int64 [N].
    """
    logits = logits.double()
    true_logits = logits.gather(1, labels[:, None])[:, 0]
    low, high = -math.log(MAX_TEMPERATURE), math.log(MAX_TEMPERATURE)
    for _ in range(_ROUNDS):
        middle = (low + high) / 2
        probabilities = (logits / math.exp(middle)).softmax(dim=1)
        slope = ((probabilities * logits).sum(dim=1) - true_logits).sum().item()
        if slope == 0:
            return math.exp(middle)
        low, high = (middle, high) if slope > 0 else (low, middle)
    return math.exp((low + high) / 2)
