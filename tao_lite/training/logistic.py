"""Logistic regression on features: a head that is trained to its optimum, in seconds."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

PENALTY = 0.01
"""Of the squared weights, features being of mean 0 and all together of variance 1: so strong that a wrong label is not
learnt by heart. Measured on features of imagenette_tiny and cifar10_small with 5 % of wrong labels."""
_MAX_STEPS = 200


def fitted(features: Tensor, labels: Tensor, num_classes: int, penalty: float = PENALTY) -> Callable[[Tensor], Tensor]:
    """From features float32 [N, d] to probabilities float32 [N, K], fitted to these; labels int64 [N]."""
    mean, deviation = features.mean(dim=0), features.std(dim=0, correction=0)
    scale = torch.where(deviation > 0, deviation, 1) * features.shape[1] ** 0.5

    def widened(values: Tensor) -> Tensor:
        return F.pad((values - mean) / scale, (0, 1), value=1)

    inputs, weights = widened(features), torch.zeros(features.shape[1] + 1, num_classes, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=_MAX_STEPS, line_search_fn="strong_wolfe", tolerance_change=1e-7)

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(inputs @ weights, labels) + penalty / 2 * weights[:-1].square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    found = weights.detach()
    return lambda values: (widened(values) @ found).softmax(dim=1)


def out_of_sample(features: Tensor, labels: Tensor, folds: Tensor, num_classes: int) -> Tensor:
    """Probabilities of each image by a regression that was fitted to the other folds, float32 [N, K]; folds int [N]."""
    found = torch.zeros(len(features), num_classes)
    for fold in sorted(set(folds.tolist())):
        held = folds == fold
        found[held] = fitted(features[~held], labels[~held], num_classes)(features[held])
    return found
