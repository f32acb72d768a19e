"""How sure a network is of an answer: three scores of its logits or features, and the rule that accepts by one."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

PROBABILITY, ENERGY, DISTANCE = "PROBABILITY", "ENERGY", "DISTANCE"

_LEAST_VARIANCE = 1e-4  # of a direction, by the mean of all: rounding decides what is less


@dataclass(frozen=True, kw_only=True, eq=False)
class Rule:
    """An answer is accepted whose score is not below the threshold; what was promised, and what it did when fitted.

    `means` and `whitening` are those of `fit_distance`, for DISTANCE alone.
    """

    score: str
    temperature: float = 1.0
    threshold: float
    promise: str  # max_error or coverage
    promised: float
    num_images: int
    num_accepted: int
    num_wrong: int
    tensors: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def words(self) -> str:
        """What is accepted."""
        wish = "at most {:g} of which are wrong" if self.promise == "max_error" else "which {:g} of images give"
        return f"answers {wish.format(self.promised)}, by {self.score}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values from which `Rule(**values)` makes the same again."""
        return {**self.numbers(), "tensors": dict(self.tensors)}

    def numbers(self) -> dict[str, Any]:
        """All but the tensors, for JSON."""
        values = asdict(self)
        del values["tensors"]
        return values


class Scorer(nn.Module):
    """The score of a rule, and whether it accepts: float32 [B] and bool [B] of logits [B, C] and features [B, d]."""

    def __init__(self, score: str, temperature: float = 1.0, tensors: Mapping[str, Tensor] | None = None) -> None:
        super().__init__()
        self.kind, self.temperature = score, temperature
        for name, values in (tensors or {}).items():
            self.register_buffer(name, values, persistent=False)

    @classmethod
    def of(cls, rule: Rule) -> "Scorer":
        return cls(rule.score, rule.temperature, rule.tensors)

    def forward(self, logits: Tensor, features: Tensor) -> Tensor:
        """The higher, the surer."""
        if self.kind == DISTANCE:
            return -distances(features, self.get_buffer("means"), self.get_buffer("whitening")).amin(dim=1)
        return energy(logits) if self.kind == ENERGY else log_odds(logits / self.temperature)


def log_odds(logits: Tensor) -> Tensor:
    """Logarithm of p / (1 - p) of the most probable class, which tells apart what as p would be rounded to 1: [B].

    Source of the score: Hendrycks and Gimpel, arXiv:1610.02136.
    """
    is_best = torch.arange(logits.shape[1], device=logits.device) == logits.argmax(dim=1, keepdim=True)
    others = logits.masked_fill(is_best, torch.finfo(logits.dtype).min)
    return logits.amax(dim=1) - others.logsumexp(dim=1)


def energy(logits: Tensor) -> Tensor:
    """Logarithm of the sum of exp(logits), the negative free energy: [B]. Source: Liu et al., arXiv:2010.03759."""
    return logits.logsumexp(dim=1)


def distances(features: Tensor, means: Tensor, whitening: Tensor) -> Tensor:
    """Mahalanobis distance of the direction of each feature vector to each class, squared: [B, C].

    Sources: Lee et al., arXiv:1807.03888; of vectors of length one, Mueller and Hein, arXiv:2505.18032: in
    `tests/bench/reject.py` that tells classes held out from others far better.
    """
    return ((normalize(features) @ whitening).unsqueeze(1) - means).square().sum(dim=2)


def fit_distance(features: Tensor, labels: Tensor, num_classes: int) -> dict[str, Tensor] | None:
    """Means of the classes [C, d] and the matrix [d, d] that makes their shared covariance one; means made so too.

    Features are made one long first. None where those of each class are all the same. A class without an image is as
    far as any can be.
    The covariance is shrunk to a multiple of the identity, for there may be fewer images than numbers of a feature:
    O. Ledoit, M. Wolf, Journal of Multivariate Analysis 88 (2004).
    """
    values = normalize(features.double())
    counts = labels.bincount(minlength=num_classes).double()
    means = values.new_zeros(num_classes, values.shape[1]).index_add_(0, labels, values) / counts.clamp(min=1)[:, None]
    centred = values - means[labels]
    covariance = centred.T @ centred / len(values)
    mean = covariance.diagonal().mean()
    if not mean > torch.finfo(torch.float32).eps * values.square().mean():
        return None
    identity = torch.eye(len(covariance), dtype=torch.float64)
    spread = (covariance - mean * identity).square().sum()
    noise = (centred.square().sum(dim=1).square().mean() - covariance.square().sum()) / len(values)
    share = (noise / spread).clamp(0, 1) if spread else torch.tensor(1.0)
    variances, directions = torch.linalg.eigh(share * mean * identity + (1 - share) * covariance)
    whitening = directions / variances.clamp(min=_LEAST_VARIANCE * mean).sqrt()
    white = means @ whitening
    white[counts == 0] = 1e6
    return {"means": white.float(), "whitening": whitening.float()}
