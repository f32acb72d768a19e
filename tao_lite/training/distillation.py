"""Learning from a teacher: how far a network's outputs, and what it makes them from, are from a trained network's."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tao_lite.data.preprocess import Preprocess


class _Inputs:
    """Keeps what a layer read last."""

    def __init__(self, layer: nn.Module) -> None:
        self.last = torch.empty(0)
        layer.register_forward_pre_hook(self._keep)

    def _keep(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self.last = inputs[0]


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """A trained network, and how much its opinion counts.

    order: int64 [num_classes], the teacher's class for each of the student's. size: height and width of its images.
    heads: the layers that make the logits of teacher and student, compared by their inputs where feature_weight > 0.
    """

    network: nn.Module
    preprocess: Preprocess
    order: Tensor
    size: tuple[int, int]
    temperature: float
    weight: float
    feature_weight: float
    heads: Sequence[nn.Module]
    _inputs: Sequence[_Inputs] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        inputs = [_Inputs(layer) for layer in self.heads] if self.feature_weight else []
        object.__setattr__(self, "_inputs", inputs)

    def images(self, pixels: Tensor) -> Tensor:
        """The student's augmented pixels, 0 to 255, as the teacher wants them: float32 [B, C, H, W]."""
        if pixels.shape[2:] != self.size:
            pixels = F.interpolate(pixels.float(), self.size, mode="bilinear", antialias=True).clamp_(0, 255)
        return self.preprocess(pixels)  # type: ignore[no-any-return]

    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        """What the teacher thinks of its images: float32 [B, num_classes], in the student's order of classes."""
        logits: Tensor = self.network(images)
        return logits.float()[:, self.order]

    def blend(self, losses: Tensor, logits: Tensor, teacher_logits: Tensor) -> Tensor:
        """The losses of labels, float32 [B], with the divergence from the teacher's probabilities mixed in.

        (1 - weight) * loss + weight * T^2 * KL(teacher || student), both softened by the temperature T, whose square
        keeps the gradient's scale. Source: Hinton et al., arXiv:1503.02531.
        """
        soft = F.log_softmax(logits / self.temperature, dim=1)
        target = F.log_softmax(teacher_logits / self.temperature, dim=1)
        divergence = F.kl_div(soft, target, reduction="none", log_target=True).sum(dim=1) * self.temperature**2
        losses = (1 - self.weight) * losses + self.weight * divergence
        if self.feature_weight:
            losses = losses + self.feature_weight * similarity_distance(*(inputs.last for inputs in self._inputs))
        return losses


def similarity_distance(first: Tensor, second: Tensor) -> Tensor:
    """How differently two networks see which images of a batch are alike, per image: float32 [B], 0 to 4.

    Features are [B, ...] of any width, so a pruned network can be compared with the whole one.
    Source: Tung & Mori, arXiv:1907.09682, but divided by B once, not twice, so that B does not weigh in.
    """
    return (_similarities(first) - _similarities(second)).square().sum(dim=1)


def _similarities(features: Tensor) -> Tensor:
    """float32 [B, B]; each row has length 1."""
    flat = features.flatten(1).float()
    with torch.autocast(flat.device.type, enabled=False):
        return F.normalize(flat @ flat.T, dim=1)
