"""What an exported file computes: from normalised floats, from pixels, or from a whole picture on, to probabilities.

A picture is cut and resized as two products of matrices, whose weights are those of Pillow's antialiased resizing and
are computed in the graph from the picture's size. So every runtime gives the same answer, where their own resizing
operators differ, and a box is cut at fractions of a pixel, as `geometry` does.
"""

import torch
from torch import Tensor, nn

from tao_lite.data import geometry
from tao_lite.data.description import Kind
from tao_lite.data.pipeline import Pipeline


class Deployed(nn.Module):
    """The network from its input to probabilities."""

    factor: Tensor

    def __init__(self, network: nn.Module, pipeline: Pipeline, kind: Kind, scale: float | None = None) -> None:
        """scale: the one that the tensor was normalised by, where a runtime has but one for all channels."""
        super().__init__()
        self.network, self.pipeline, self.kind, self.scale = network, pipeline, kind, scale
        self.preprocess = pipeline.preprocess
        self.register_buffer("factor", self.preprocess.scale[:, None, None] / (scale or 1), persistent=False)

    def forward(self, images: Tensor, boxes: Tensor | None = None) -> Tensor:
        """[B, C, H, W] -> float32 [B, num_classes], rows that sum to 1.

        With boxes, float32 [N, 4], and one image: [N, num_classes], a row for what is in each box; see `resized`.
        """
        if self.kind == "image":
            images = resized(images, self.pipeline, boxes)
        if self.kind != "tensor":
            images = self.preprocess.exportable(images)
        elif self.scale:
            images = images * self.factor
        logits: Tensor = self.network(images)
        return logits.softmax(dim=1)


def resized(images: Tensor, pipeline: Pipeline, boxes: Tensor | None = None) -> Tensor:
    """The part of each picture that the network sees, in its size: [B, C, H, W] in 0 .. 255 -> float32 [B, C, h, w].

    Boxes are left, top, right and bottom in whole pixels, right and bottom exclusive: each is seen as a picture of its
    own. The values are whole numbers, those of `geometry.resize` to within a level.
    """
    height, width = images.shape[2:]
    whole = torch.tensor([[0.0, 0.0, 1.0, 1.0]]) * torch.tensor([width, height, width, height])
    left, top, right, bottom = (whole if boxes is None else boxes).unbind(1)
    vertical, horizontal = _seen(bottom - top, right - left, pipeline)
    cubic = pipeline.filter == "bicubic"
    columns = _weights(left, right, horizontal, width, pipeline.size[1], is_cubic=cubic)
    rows = _weights(top, bottom, vertical, height, pipeline.size[0], is_cubic=cubic)
    narrow = _levels(images.float() @ columns.transpose(2, 3))
    return _levels(rows @ narrow)


def _seen(height: Tensor, width: Tensor, pipeline: Pipeline) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Top and bottom, left and right of what is seen of pictures of these sizes [N]; see `geometry`."""
    if pipeline.geometry == "squeeze":
        return (torch.zeros_like(height), height), (torch.zeros_like(width), width)
    margin = geometry.CENTRE_MARGIN
    enlarge = torch.maximum((pipeline.size[0] + margin) / height, (pipeline.size[1] + margin) / width)
    insides = ((height, pipeline.size[0] / enlarge), (width, pipeline.size[1] / enlarge))
    (top, left) = ((outer - inner) / 2 for outer, inner in insides)
    return (top, top + insides[0][1]), (left, left + insides[1][1])


def _weights(
    first: Tensor, last: Tensor, seen: tuple[Tensor, Tensor], length: int, target: int, *, is_cubic: bool
) -> Tensor:
    """By how much each of `length` pixels counts in each of the target's: [N, 1, target, length].

    Pixels before `first` and after `last` do not count; `seen` is the part between them that becomes the target.
    """
    start, stop = (first + end for end in seen)
    pace = ((stop - start) / target)[:, None, None]
    centres = start[:, None, None] + (torch.arange(target)[:, None] + 0.5) * pace
    places = torch.arange(length) + 0.5
    distance = ((places - centres) / pace.clamp(min=1)).abs()
    weights = _cubic(distance) if is_cubic else (1 - distance).clamp(min=0)
    inside = (places > first[:, None, None]) & (places < last[:, None, None])
    weights = weights * inside
    return (weights / weights.sum(dim=2, keepdim=True))[:, None]


def _cubic(distance: Tensor) -> Tensor:
    """Keys' kernel with a = -0.5, as Pillow's."""
    near = (1.5 * distance - 2.5) * distance * distance + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    return torch.where(distance < 1, near, torch.where(distance < 2, far, torch.zeros_like(distance)))


def _levels(values: Tensor) -> Tensor:
    """Rounded as Pillow does, after each direction."""
    return (values + 0.5).floor().clamp(0, 255)
