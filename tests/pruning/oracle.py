"""TAO's rule written a second time, from its description alone: plain lists and loops, nothing of tao_lite.

Per filter s = sqrt(sum of squares). Normaliser "max": s / max(s); "L2": s / ||s|| * N. Coupled layers are merged
element by element: max, min, mean or exp(mean(log)). Of N filters, count = how many are strictly above the threshold;
at least min(minimum, N); rounded up to the granularity; at most N; the count largest stay, in ascending order.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

Kernel = npt.NDArray[np.float32]  # [filters, ...]

MERGE: Mapping[str, Callable[[tuple[float, ...]], float]] = {
    "union": max,
    "intersection": min,
    "arithmetic_mean": lambda values: sum(values) / len(values),
    "geometric_mean": lambda values: math.exp(sum(math.log(value) for value in values) / len(values)),
}


def kept(
    kernels: Sequence[Kernel], *, normalizer: str, criterion: str, threshold: float, granularity: int, minimum: int
) -> list[int]:
    """The filters that stay in each of these coupled layers."""
    layers = [normalised([norm(filter_) for filter_ in kernel], normalizer) for kernel in kernels]
    merged = [MERGE[criterion](values) for values in zip(*layers, strict=True)]
    count = sum(value > threshold for value in merged)
    count = max(count, min(minimum, len(merged)))
    while count % granularity:
        count += 1
    best_first = sorted(range(len(merged)), key=lambda index: -merged[index])
    return sorted(best_first[:count])


def norm(filter_: Kernel) -> float:
    return math.sqrt(float(np.sum(filter_.astype(np.float64) ** 2)))


def normalised(norms: Sequence[float], normalizer: str) -> list[float]:
    if normalizer == "max":
        return [value / max(norms) for value in norms]
    length = math.sqrt(sum(value**2 for value in norms))
    return [value / length * len(norms) for value in norms]


def coupled_layers_of_tao_resnet18() -> list[list[str]]:
    """Without pooling and with a convolution in every shortcut: each unit's sum ties its second and its shortcut."""
    units = [f"layer{stage}.{unit}" for stage in (1, 2, 3, 4) for unit in (0, 1)]
    alone = [["conv1"], *([f"{unit}.conv1"] for unit in units)]
    return [*alone, *([f"{unit}.conv2", f"{unit}.downsample.0"] for unit in units)]
