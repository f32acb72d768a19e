"""Clusters of images that nobody named: what features have in common."""

import torch
from torch import Tensor

_NUM_ROUNDS = 50
_NUM_AT_ONCE = 65536


def k_means(points: Tensor, k: int) -> Tensor:
    """The cluster of each point, int64 [N], from 0: the same for the same points. points: float32 [N, d], k at most N.

    Sources: S. Lloyd, IEEE Transactions on Information Theory 28 (1982); begun as in k-means++, Arthur and
    Vassilvitskii, SODA 2007.
    """
    centres = _begun(points, k, torch.Generator().manual_seed(0))
    found = _nearest(points, centres)
    for _ in range(_NUM_ROUNDS):
        counts = torch.bincount(found, minlength=k)
        sums = torch.zeros_like(centres).index_add_(0, found, points)
        # A cluster that nothing is nearest to stays where it is.
        centres = torch.where(counts[:, None] > 0, sums / counts.clamp(min=1)[:, None], centres)
        before, found = found, _nearest(points, centres)
        if torch.equal(before, found):
            break
    return found


def _begun(points: Tensor, k: int, generator: torch.Generator) -> Tensor:
    """Points far from one another: each is drawn by its squared distance from those before it."""
    chosen = [points[torch.randint(len(points), (), generator=generator)]]
    distances = torch.full((len(points),), torch.inf, dtype=torch.float64)
    for _ in range(k - 1):
        distances = torch.minimum(distances, (points - chosen[-1]).double().square().sum(dim=1))
        # Where all are equal, any will do. Not multinomial, which takes no more than 2 ** 24 points.
        ends = (distances if distances.any() else torch.ones_like(distances)).cumsum(dim=0)
        drawn = torch.rand((), generator=generator, dtype=torch.float64) * ends[-1]
        chosen.append(points[torch.searchsorted(ends, drawn, right=True).clamp(max=len(points) - 1)])
    return torch.stack(chosen)


def _nearest(points: Tensor, centres: Tensor) -> Tensor:
    return torch.cat([torch.cdist(part, centres).argmin(dim=1) for part in torch.split(points, _NUM_AT_ONCE)])
