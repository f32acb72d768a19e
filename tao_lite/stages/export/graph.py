"""What an exported file computes: from normalised floats, from pixels, or from a whole picture on, to probabilities.

A picture is cut and resized as two products of matrices, whose weights are those of Pillow's antialiased resizing and
are computed in the graph from the picture's size. So every runtime gives the same answer, where their own resizing
operators differ, and a box is cut at fractions of a pixel, as `geometry` does.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from tao_lite.data import geometry
from tao_lite.data.description import Kind
from tao_lite.data.pipeline import Pipeline
from tao_lite.metrics.scores import Rule, Scorer
from tao_lite.models import head
from tao_lite.spec.tasks import Tasks
from tao_lite.training.trained import probabilities


class Deployed(nn.Module):
    """The network from its input to probabilities."""

    def __init__(
        self, network: nn.Module, pipeline: Pipeline, kind: Kind, fed: Pipeline | None = None, tasks: Tasks = ()
    ) -> None:
        """fed: how a tensor was normalised, where the program that feeds it can't do it in the network's way."""
        super().__init__()
        self.network, self.pipeline, self.kind, self.tasks = network, pipeline, kind, tasks
        self.preprocess = pipeline.preprocess
        self.corrected = _Corrected(pipeline, fed) if fed and fed != pipeline else nn.Identity()

    def forward(self, images: Tensor, boxes: Tensor | None = None) -> Tensor | tuple[Tensor, ...]:
        """[B, C, H, W] -> float32 [B, num_classes], rows that sum to 1; of several tasks one for each.

        With boxes, float32 [N, 4], and one image: [N, num_classes], a row for what is in each box; see `resized`.
        """
        found, _ = self.answers(images, boxes)
        return tuple(found) if self.tasks else found[0]

    def answers(self, images: Tensor, boxes: Tensor | None = None) -> tuple[list[Tensor], Tensor]:
        """The probabilities of each task, and the logits."""
        if self.kind == "image":
            images = resized(images, self.pipeline, boxes)
        images = self.corrected(images) if self.kind == "tensor" else self.preprocess.exportable(images)
        logits: Tensor = self.network(images)
        return probabilities(self.tasks, logits), logits


class _Corrected(nn.Module):
    """From the normalisation of one pipeline to that of the network's."""

    turned: Tensor
    factor: Tensor
    shift: Tensor

    def __init__(self, pipeline: Pipeline, fed: Pipeline) -> None:
        super().__init__()
        self.is_turned = fed.order != pipeline.order
        self.register_buffer("turned", torch.tensor([2, 1, 0]), persistent=False)
        mean, scale = (numbers[::-1] if self.is_turned else numbers for numbers in (fed.mean, fed.scale))
        rows = zip(mean, scale, pipeline.mean, pipeline.scale, strict=True)
        numbers = torch.tensor([(own / its, (offset - middle) * own) for offset, its, middle, own in rows])
        self.register_buffer("factor", numbers[:, 0, None, None], persistent=False)
        self.register_buffer("shift", numbers[:, 1, None, None], persistent=False)
        self.is_shifted = bool(self.shift.any())

    def forward(self, images: Tensor) -> Tensor:
        """Float32 [B, C, H, W]."""
        if self.is_turned:
            images = images.index_select(1, self.turned)
        images = images * self.factor
        return images + self.shift if self.is_shifted else images


class WithMore(nn.Module):
    """A deployed network and, beside its probabilities, whether its rule accepts them, what its head reads, or both."""

    def __init__(self, deployed: Deployed, rule: Rule | None, *, has_embedding: bool) -> None:
        super().__init__()
        self.deployed, self.kind, self.has_embedding = deployed, deployed.kind, has_embedding
        self.head = deployed.network.get_submodule(head.find(deployed.network))
        self.threshold = rule.threshold if rule else 0.0
        self.scorer = Scorer.of(rule) if rule else None

    def forward(self, images: Tensor, boxes: Tensor | None = None) -> tuple[Tensor, ...]:
        """As `Deployed`, and bool [B, 1], and float32 [B, d]."""
        with head.reading(self.head) as inputs:
            found, logits = self.deployed.answers(images, boxes)
        features = head.pooled(inputs[0], self.head)
        if self.scorer:
            found.append((self.scorer(logits, features) >= self.threshold)[:, None])
        return *found, *([features] if self.has_embedding else [])


def resized(images: Tensor, pipeline: Pipeline, boxes: Tensor | None = None) -> Tensor:
    """The part of each picture that the network sees, in its size: [B, C, H, W] in 0 .. 255 -> float32 [B, C, h, w].

    Boxes are left, top, right and bottom in whole pixels, right and bottom exclusive: each is seen as a picture of its
    own. The values are whole numbers, those of `geometry.resize` to within a level.
    """
    height, width = images.shape[2:]
    whole = torch.tensor([[0.0, 0.0, 1.0, 1.0]]) * torch.tensor([width, height, width, height])
    left, top, right, bottom = (whole if boxes is None else boxes).unbind(1)
    high, wide, kind, cubic = *pipeline.size, pipeline.geometry, pipeline.filter == "bicubic"
    down = _seen(bottom - top, right - left, high, wide, kind)
    across = _seen(right - left, bottom - top, wide, high, kind)
    columns = _weights(left, right, across, width, wide, is_cubic=cubic)
    rows = _weights(top, bottom, down, height, high, is_cubic=cubic)
    narrow = _levels(images.float() @ columns.transpose(2, 3))
    values = _levels(rows @ narrow)
    if not pipeline.fill:
        return values
    # Those of a pixel are 1 together, of one in a bar 0.
    covered = rows.sum(dim=3, keepdim=True) * columns.sum(dim=3).unsqueeze(2)
    return torch.where(covered > 0.5, values, float(pipeline.fill))


class _Axis(NamedTuple):
    """Where what is seen of pictures begins and ends, and which of the target's pixels it becomes; each [N]."""

    start: Tensor
    stop: Tensor
    offset: Tensor
    length: Tensor


def _seen(length: Tensor, other: Tensor, side: int, other_side: int, kind: str) -> _Axis:
    """Of pictures of this length [N] and target's side, by a geometry; `other` are those of the direction across."""
    nothing = torch.zeros_like(length)
    if kind == "centre_crop":
        margin = geometry.CENTRE_MARGIN
        part = side / torch.maximum((side + margin) / length, (other_side + margin) / other)
        start = (length - part) / 2
        return _Axis(start, start + part, nothing, nothing + side)
    covered = nothing + side
    if kind == "letterbox":
        covered = _quotient(other_side * length, other).clamp(1, side)
    return _Axis(nothing, length, ((side - covered) / 2).floor(), covered)


def _quotient(dividend: Tensor, divisor: Tensor) -> Tensor:
    """Rounded down, exactly: a runtime may divide by multiplying with the reciprocal."""
    near = (dividend / divisor).round()
    return near - (near * divisor > dividend).float()


def _weights(first: Tensor, last: Tensor, seen: _Axis, length: int, target: int, *, is_cubic: bool) -> Tensor:
    """By how much each of `length` pixels counts in each of the target's: [N, 1, target, length].

    Pixels before `first` and after `last` do not count; `seen` is the part between them that becomes the target.
    """
    start = (first + seen.start)[:, None, None]
    pace = ((seen.stop - seen.start) / seen.length)[:, None, None]
    steps = torch.arange(target)[:, None] - seen.offset[:, None, None]
    centres = start + (steps + 0.5) * pace
    places = torch.arange(length) + 0.5
    distance = ((places - centres) / pace.clamp(min=1)).abs()
    weights = _cubic(distance) if is_cubic else (1 - distance).clamp(min=0)
    is_inside = (places > first[:, None, None]) & (places < last[:, None, None])
    is_covered = (steps >= 0) & (steps < seen.length[:, None, None])  # what is not lies in a bar
    weights = weights * is_inside * is_covered
    return (weights / weights.sum(dim=2, keepdim=True).clamp(min=0.01))[:, None]


def _cubic(distance: Tensor) -> Tensor:
    """Keys' kernel with a = -0.5, as Pillow's."""
    near = (1.5 * distance - 2.5) * distance * distance + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    return torch.where(distance < 1, near, torch.where(distance < 2, far, torch.zeros_like(distance)))


def _levels(values: Tensor) -> Tensor:
    """Rounded as Pillow does, after each direction."""
    return (values + 0.5).floor().clamp(0, 255)
