"""How far a share that was counted may be from the true one."""

from math import sqrt

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
