"""Who goes: from a statistic of the channels of a layer, or of a group of coupled layers, to those that are kept."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tao_lite.errors import PruneError

NORMALIZERS = ("max", "L2", "off")
EQUALIZATION_CRITERIA = ("union", "intersection", "arithmetic_mean", "geometric_mean")
RANKINGS = ("GLOBAL", "PER_LAYER")


@dataclass(frozen=True, kw_only=True)
class Rule:
    """The settings of a pruning; the defaults are TAO's. With PER_LAYER the threshold is the share of channels to cut.

    Raises: PruneError naming each setting that is out of its range.
    """

    normalizer: str = "max"
    equalization_criterion: str = "union"
    granularity: int = 8
    threshold: float = 0.1
    min_num_filters: int = 16
    excluded_layers: tuple[str, ...] = ()
    ranking: str = "GLOBAL"

    def __post_init__(self) -> None:
        bounds = {
            "normalizer": (self.normalizer in NORMALIZERS, f"one of {', '.join(NORMALIZERS)}"),
            "equalization_criterion": (
                self.equalization_criterion in EQUALIZATION_CRITERIA,
                f"one of {', '.join(EQUALIZATION_CRITERIA)}",
            ),
            "granularity": (self.granularity >= 1, "at least 1"),
            "threshold": (math.isfinite(self.threshold) and self.threshold >= 0, "a number, at least 0"),
            "ranking": (self.ranking in RANKINGS, f"one of {', '.join(RANKINGS)}"),
            "min_num_filters": (self.min_num_filters >= 1, "at least 1: a layer without channels can't compute"),
        }
        problems = [
            f"{name} is {getattr(self, name)!r}, must be {must}" for name, (good, must) in bounds.items() if not good
        ]
        if problems:
            raise PruneError("; ".join(problems))


def channel_norms(weight: Tensor) -> Tensor:
    """L2 norm of the weights of each output channel: float64 [out_channels].

    The weight is [out_channels, ...], also for depthwise convolutions. Bias and batch norm don't count.
    Source: TAO core/pruning, method "min_weight"; Molchanov et al., arXiv:1611.06440.
    """
    norms: Tensor = torch.linalg.vector_norm(weight.detach().flatten(1).double(), dim=1)
    return norms


def normalise(norms: Tensor, normalizer: str) -> Tensor:
    """Norms of one layer made comparable with other layers', same shape.

    "max" gives 0 to 1; "L2" gives n * norms / ||norms||, sqrt(n) each for n equal channels. A layer of zeros stays so.
    "off" changes nothing: for statistics that are in one unit in all layers.
    """
    if normalizer == "off":
        return norms
    scale = norms.max() if normalizer == "max" else torch.linalg.vector_norm(norms) / len(norms)
    return norms / scale if scale > 0 else norms


def equalise(norms: Sequence[Tensor], criterion: str) -> Tensor:
    """The norms of coupled layers, each [width], merged into one [width]."""
    stacked = torch.stack(tuple(norms))
    match criterion:
        case "union":
            return stacked.amax(dim=0)
        case "intersection":
            return stacked.amin(dim=0)
        case "arithmetic_mean":
            return stacked.mean(dim=0)
        case _:
            return stacked.log().mean(dim=0).exp()


def ranks(scores: Tensor) -> Tensor:
    """Each channel's place among its own, 1 / width for the least to 1 for the greatest: the same for every layer.

    A threshold t on it cuts the share t of every layer, whatever the scores are.
    """
    order = scores.argsort(descending=True, stable=True)
    places = torch.empty_like(scores)
    places[order] = torch.arange(len(scores), 0, -1, dtype=scores.dtype) / len(scores)
    return places


def kept(norms: Tensor, threshold: float, granularity: int, min_num_filters: int) -> Tensor:
    """Indices of the channels that stay: int64, ascending.

    The threshold decides how many (those strictly above it, at least `min_num_filters`, rounded up to the granularity),
    the ranking decides which; of equal norms the first stay.
    """
    count = max(int((norms > threshold).sum()), min(min_num_filters, len(norms)))
    count = min(math.ceil(count / granularity) * granularity, len(norms))
    return norms.argsort(descending=True, stable=True)[:count].sort().values
