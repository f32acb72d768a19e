"""Nearest neighbours by the cosine between features, and the classes that they vote for."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

TEMPERATURE = 0.07
"""How much a closer neighbour counts: exp(cosine / 0.07). Source: Wu et al., arXiv:1805.01978."""
_NUM_AT_ONCE = 1024


class Neighbours(NamedTuple):
    """Of each feature its nearest ones, nearest first: which they are, int64 [N, k], and cosines, float32 [N, k]."""

    indices: Tensor
    cosines: Tensor


def nearest(features: Tensor, among: Tensor, k: int) -> Neighbours:
    """The k nearest of `among` [M, d], or all if there are fewer, to each of the features [N, d]."""
    directions, k = F.normalize(among), min(k, len(among))
    found = [(F.normalize(part) @ directions.T).topk(k) for part in torch.split(features, _NUM_AT_ONCE)]
    return Neighbours(torch.cat([one.indices for one in found]), torch.cat([one.values for one in found]))


def vote(neighbours: Neighbours, labels: Tensor, num_classes: int) -> Tensor:
    """The class that each feature's neighbours vote for, int64 [N]; labels are theirs, int64 [M]."""
    weights = torch.exp(neighbours.cosines / TEMPERATURE)
    votes = torch.zeros(len(weights), num_classes).scatter_add_(1, labels[neighbours.indices], weights)
    return votes.argmax(dim=1)
