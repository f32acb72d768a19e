"""How far a share that was counted may be from the true one."""

from collections.abc import Callable
from math import log, log1p, sqrt

import torch

_Z = 1.959963984540054  # The normal distribution leaves 2.5 % above it.


def wilson(share: float, count: int) -> tuple[float, float]:
    """Ends of the 95 % interval of a share in [0, 1] that was counted over so many images, at least one.

    Source: E. B. Wilson, Probable inference, the law of succession, and statistical inference, JASA 22 (1927).
    """
    weight = _Z**2 / count
    centre = share + weight / 2
    margin = _Z * sqrt(share * (1 - share) / count + weight / (4 * count))
    low, high = (centre - margin) / (1 + weight), (centre + margin) / (1 + weight)
    return (0.0 if share == 0 else low, 1.0 if share == 1 else high)


def at_most(count: int, trials: int, share: float) -> float:
    """Probability that of so many trials, each a hit with probability `share` in (0, 1), `count` or fewer are hits."""
    hits = torch.arange(count + 1, dtype=torch.float64)
    whole = torch.tensor(trials + 1.0, dtype=torch.float64)
    ways = torch.lgamma(whole) - torch.lgamma(hits + 1) - torch.lgamma(trials - hits + 1)
    return min(1.0, float((ways + hits * log(share) + (trials - hits) * log1p(-share)).logsumexp(0).exp()))


def clopper_pearson(count: int, trials: int) -> tuple[float, float]:
    """Ends of the exact 95 % interval of a share of which `count` of so many trials, at least one, were hits.

    Source: C. J. Clopper, E. S. Pearson, Biometrika 26 (1934).
    """
    low = _falling(lambda share: 1 - at_most(count - 1, trials, share) < 0.025) if count else 0.0
    high = _falling(lambda share: at_most(count, trials, share) > 0.025) if count < trials else 1.0
    return low, high


def _falling(holds: Callable[[float], bool]) -> float:
    """Where in (0, 1) the condition, which holds below, ends to hold."""
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return (low + high) / 2
