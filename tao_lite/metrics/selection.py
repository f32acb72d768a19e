"""Which of many unlabelled images are worth a person's time: those that are unsure, unlike the others, or typical.

All of it is deterministic; what is drawn is drawn by a fixed seed. Features are float32 [N, d]. Rows that agree in
everything that is asked come in the order of their indices.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from tao_lite.metrics.neighbours import nearest

NUM_NEIGHBOURS = 20
"""How many say how typical an image is of its cluster. Source: Hacohen et al., arXiv:2202.02794."""
MAX_CLUSTERS = 500
"""More would have too few images each. Source: as above."""
_NUM_STEPS = 20  # of k-means; the clusters of features hardly move after ten


class Picked(NamedTuple):
    """The place of an image among all, and the score by which it was chosen."""

    place: int
    score: float


def doubts(probabilities: Tensor, *, is_multi_label: bool = False) -> Tensor:
    """1 - margin of each row [N, classes], 0 to 1: of the two most probable classes, or of a label and its opposite.

    What is no number counts as full doubt. Source: Scheffer et al., Active Hidden Markov Models for Information
    Extraction, IDA 2001.
    """
    if is_multi_label:
        margins = (2 * probabilities - 1).abs().min(dim=1).values
    else:
        highest = probabilities.topk(min(2, probabilities.shape[1])).values
        margins = highest[:, 0] - highest[:, 1:].sum(dim=1)
    return (1 - margins).nan_to_num(nan=1)


def most_unsure(doubt: Tensor, number: int) -> list[Picked]:
    """Those of the most doubt [N], the most first."""
    order = doubt.argsort(descending=True, stable=True)[:number]
    return [Picked(index, doubt[index].item()) for index in order.tolist()]


def k_centres(features: Tensor, number: int, known: Tensor | None = None) -> list[Picked]:
    """Each time the image farthest from all that were picked or are known [M, d]; the first is the one in the middle.

    Features count by direction alone; the score is the distance to the nearest, 0 to 2. Source: the greedy algorithm
    of Sener and Savarese, arXiv:1708.00489.
    """
    directions = _directions(features)
    if known is not None and len(known):
        distances = (2 - 2 * nearest(directions, _directions(known), 1).cosines[:, 0]).clamp(min=0).sqrt()
        picked = list[Picked]()
    else:
        middle = int((directions @ directions.mean(dim=0)).argmax())
        distances = _apart(directions, directions[middle])
        distances[middle] = -1
        picked = [Picked(middle, 0.0)]
    while len(picked) < min(number, len(features)):
        index = int(distances.argmax())
        picked.append(Picked(index, distances[index].item()))
        distances = distances.minimum(_apart(directions, directions[index]))
        distances[index] = -1
    return picked[:number]


def unsure_and_unlike(residuals: Tensor, features: Tensor, number: int) -> list[int]:
    """Images by BADGE: the gradients of the head, were its own answer true, are long where it is unsure.

    They are drawn as the centres of k-means++ are, in proportion to the squared distance to the nearest that was
    drawn; the first is the longest. residuals [N, outputs]: probabilities less the answer. The gradient is their outer
    product with the features, which is not made. Source: Ash et al., arXiv:1906.03671; unlike there, the origin counts
    as drawn, for an image without a gradient teaches nothing.
    """
    residuals, features = residuals.double().nan_to_num(), features.double().nan_to_num()
    squares = (residuals**2).sum(dim=1) * (features**2).sum(dim=1)
    generator = torch.Generator().manual_seed(0)
    picked, distances = [int(squares.argmax())], squares
    while len(picked) < min(number, len(features)):
        last = picked[-1]
        products = (residuals @ residuals[last]) * (features @ features[last])
        distances = distances.minimum((squares + squares[last] - 2 * products).clamp(min=0))
        distances[picked] = 0
        picked.append(_drawn(distances, picked, generator))
    return picked[:number]


def typical(features: Tensor, number: int, known: Tensor | None = None) -> list[Picked]:
    """The most typical image of each of as many clusters as are to be picked, the largest first.

    A cluster that holds known ones [M, d] waits until those that hold none have given one. The score is typicality, 1
    over the mean distance to the nearest in the cluster. Source: TypiClust, Hacohen et al., arXiv:2202.02794.
    """
    directions, others = _directions(features), _directions(features[:0] if known is None else known)
    both = torch.cat([directions, others])
    labels = k_means(both, min(len(others) + number, MAX_CLUSTERS))
    given = labels[len(directions) :].bincount(minlength=int(labels.max()) + 1).tolist()
    queues = {
        label: _most_typical(directions, torch.nonzero(labels[: len(directions)] == label)[:, 0])
        for label in sorted(set(labels[: len(directions)].tolist()))
    }
    sizes = {label: len(queue) for label, queue in queues.items()}
    picked = list[Picked]()
    while len(picked) < min(number, len(features)):
        label = min((one for one, queue in queues.items() if queue), key=lambda one: (given[one], -sizes[one], one))
        picked.append(queues[label].pop(0))
        given[label] += 1
    return picked


def k_means(features: Tensor, k: int) -> Tensor:
    """The cluster of each row, int64 [N], of rows of length 1 [N, d]; a cluster may stay empty.

    Source: Lloyd's steps from the start of k-means++, Arthur and Vassilvitskii, SODA 2007.
    """
    generator = torch.Generator().manual_seed(0)
    distances, seeds = _apart(features, features[0]) ** 2, [0]
    while len(seeds) < min(k, len(features)):
        seeds.append(_drawn(distances, seeds, generator))
        distances = distances.minimum(_apart(features, features[seeds[-1]]) ** 2)
    centres = features[seeds].clone()
    labels = torch.full((len(features),), -1)
    for _ in range(_NUM_STEPS):
        found = torch.cat([torch.cdist(part, centres).argmin(dim=1) for part in torch.split(features, 1024)])
        if torch.equal(found, labels):
            break
        labels = found
        counts = labels.bincount(minlength=len(centres))
        sums = torch.zeros_like(centres).index_add_(0, labels, features)
        centres = torch.where(counts[:, None] > 0, sums / counts.clamp(min=1)[:, None], centres)
    return labels


def _most_typical(directions: Tensor, members: Tensor) -> list[Picked]:
    """The members of a cluster with their typicality, the most typical first."""
    k = min(NUM_NEIGHBOURS, len(members) - 1)
    own = directions[members]
    # Itself is the nearest.
    cosines = nearest(own, own, k + 1).cosines[:, 1:]
    mean = (2 - 2 * cosines.clamp(max=1)).sqrt().mean(dim=1) if k else torch.ones(1)
    typicality = 1 / (mean + 1e-5)  # as the source has it, for images that are the same
    order = typicality.argsort(descending=True, stable=True).tolist()
    return [Picked(int(members[place]), typicality[place].item()) for place in order]


def _drawn(weights: Tensor, taken: list[int], generator: torch.Generator) -> int:
    """An index, drawn in proportion to the weights; the first that is free where none has a weight."""
    if weights.sum() > 0:
        return int(torch.multinomial(weights.clamp(max=torch.finfo(torch.float32).max), 1, generator=generator))
    used = set(taken)
    return next(index for index in range(len(weights)) if index not in used)


def _directions(features: Tensor) -> Tensor:
    return F.normalize(features.float().nan_to_num())


def _apart(directions: Tensor, direction: Tensor) -> Tensor:
    """Distance of each from one, [N]."""
    return (2 - 2 * (directions @ direction)).clamp(min=0).sqrt()
