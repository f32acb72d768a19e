"""The range of each tensor on calibration images, which its 256 levels share."""

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from tao_lite.data.description import INPUT
from tao_lite.errors import RunError
from tao_lite.stages.quantize.graph import Graph
from tao_lite.stages.quantize.placing import Ranges
from tao_lite.training import runtimes

Array = npt.NDArray[Any]
Images = Callable[[], Generator[Array]]
"""The calibration images in batches, as the network takes them; the same at each call."""

_NUM_BINS = 2048
_NUM_LEVELS = 128
_STEP = 8
_MAX_BYTES = 256e6
_MAX_BATCH = 32


@dataclass(frozen=True, kw_only=True)
class Method:
    """How a range is found; see QuantizeMethod and QuantizeConfig.percentile of the schema."""

    kind: Literal["MINMAX", "ENTROPY", "PERCENTILE"] = "MINMAX"
    percentile: float = 99.99


def batch_size(graph: Graph) -> int:
    """As many images as the network takes or, where it takes any number, as have room for all their tensors at once."""
    if graph.batch_size:
        return graph.batch_size
    num_bytes = sum(4 * np.prod(graph.shapes[name]) for name in graph.tensors())
    return int(np.clip(_MAX_BYTES / num_bytes, 1, _MAX_BATCH))


def calibrate(graph: Graph, images: Images, method: Method) -> Ranges:
    """The range of each of the graph's tensors on the images, which are read twice unless the method is MINMAX.

    Raises:
        RunError: the network computes what is no number.
    """
    values = _Values(graph)
    ranges = _extremes(values, images)
    if method.kind == "MINMAX":
        return ranges
    counts = _histograms(values, images, ranges, of_magnitudes=method.kind == "ENTROPY")
    if method.kind == "ENTROPY":
        return {name: _by_entropy(counts[name], *ranges[name]) for name in ranges}
    return {name: _by_percentile(counts[name], *ranges[name], method.percentile) for name in ranges}


class _Values:
    """The network with all its tensors as outputs."""

    def __init__(self, graph: Graph) -> None:
        import onnx

        self._names = [name for name in graph.tensors() if name != INPUT]
        self._has_input = INPUT in graph.tensors()
        message = onnx.ModelProto()
        message.CopyFrom(graph.message)
        known = {one.name: one for one in (*message.graph.value_info, *message.graph.output)}
        there = {one.name for one in message.graph.output}
        message.graph.output.extend(known[name] for name in self._names if name not in there)
        onnxruntime = runtimes.import_onnxruntime()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 4
        providers = ["CPUExecutionProvider"]
        self._session = onnxruntime.InferenceSession(message.SerializeToString(), options, providers=providers)

    def of(self, images: Images) -> Iterator[tuple[str, Array]]:
        """Each tensor of each batch, with its name."""
        with closing(images()) as batches:
            for batch in batches:
                yield from ([(INPUT, batch)] if self._has_input else [])
                yield from zip(self._names, self._session.run(self._names, {INPUT: batch}), strict=True)


def _extremes(values: _Values, images: Images) -> dict[str, tuple[float, float]]:
    found: dict[str, tuple[float, float]] = {}
    for name, array in values.of(images):
        low, high = float(array.min()), float(array.max())
        if not np.isfinite([low, high]).all():
            raise RunError(f"quantize: the network computes values that are not finite ({name}); train it again")
        old = found.get(name, (low, high))
        found[name] = min(old[0], low), max(old[1], high)
    return found


def _histograms(values: _Values, images: Images, ranges: Ranges, *, of_magnitudes: bool) -> dict[str, Array]:
    """Counts in bins of equal width over the range or, of magnitudes other than 0, from 0 to the largest."""
    found = {name: np.zeros(_NUM_BINS, np.int64) for name in ranges}
    for name, array in values.of(images):
        low, high = ranges[name]
        if of_magnitudes:
            low, high = 0.0, max(-low, high)
        counted = np.abs(array[array != 0]) if of_magnitudes else array.ravel()
        places = (counted - low) * (_NUM_BINS / (high - low) if high > low else 0)
        found[name] += np.bincount(np.minimum(places.astype(np.int64), _NUM_BINS - 1), minlength=_NUM_BINS)
    return found


def _by_percentile(counts: Array, low: float, high: float, percentile: float) -> tuple[float, float]:
    """The range without the outermost values, evenly from both ends."""
    shares = np.cumsum(counts) / counts.sum()
    cut = (1 - percentile / 100) / 2
    edges = np.linspace(low, high, len(counts) + 1)
    first, last = int(np.searchsorted(shares, cut, side="right")), int(np.searchsorted(shares, 1 - cut))
    return float(edges[first]), float(edges[min(last + 1, len(counts))])


def _by_entropy(counts: Array, low: float, high: float) -> tuple[float, float]:
    """The range up to the limit whose levels tell most of the distribution of magnitudes.

    Source: Migacz, "8-bit inference with TensorRT", GTC 2017.
    """
    if not counts.any():
        return low, high
    stops = range(_NUM_LEVELS, len(counts) + 1, _STEP)
    best = min(stops, key=lambda stop: _divergence(counts, stop))
    limit = max(-low, high) * best / len(counts)
    return max(low, -limit), min(high, limit)


def _divergence(counts: Array, stop: int) -> float:
    """Kullback and Leibler's: from what is within the limit, the rest at its end, to the same in but a few levels."""
    inside = counts[:stop].astype(np.float64)
    clipped = inside.copy()
    clipped[-1] += counts[stop:].sum()
    starts = np.arange(_NUM_LEVELS) * stop // _NUM_LEVELS
    is_there = inside > 0
    sums, numbers = np.add.reduceat(inside, starts), np.add.reduceat(is_there, starts, dtype=np.float64)
    means = np.divide(sums, numbers, out=np.zeros_like(sums), where=numbers > 0)
    levels = np.repeat(means, np.diff(np.append(starts, stop))) * is_there
    smallest = 1e-9 * counts.sum()
    clipped, levels = clipped + smallest, levels + smallest
    clipped, levels = clipped / clipped.sum(), levels / levels.sum()
    return float((clipped * np.log(clipped / levels)).sum())
