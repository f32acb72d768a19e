"""Ranges: what each method makes of values whose distribution is known."""

from collections.abc import Generator
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest

from tao_lite.errors import RunError
from tao_lite.stages.quantize.calibrate import Images, Method, batch_size, calibrate
from tests.stages.quantize.test_placing import IMAGES, computed, network

Array = npt.NDArray[Any]
Kind = Literal["MINMAX", "ENTROPY", "PERCENTILE"]

SHAPE = (50, 3, 8, 8)
NUMBER = int(np.prod(SHAPE))


def batches(*arrays: Array) -> Images:
    def read() -> Generator[Array]:
        yield from arrays

    return read


def of_input(values: Array, kind: Kind, percentile: float = 99.0) -> tuple[float, float]:
    """The range of the network's input, which the values are."""
    images = np.random.default_rng(0).permutation(values).reshape(SHAPE).astype(np.float32)
    return calibrate(network(), batches(*np.split(images, 5)), Method(kind=kind, percentile=percentile))["input_1"]


def test_minmax_is_the_least_and_the_largest_value_of_all_batches() -> None:
    graph = network()
    found = calibrate(graph, batches(IMAGES[:2], IMAGES[2:]), Method())
    names = [name for name in graph.tensors() if name != "input_1"]
    assert set(found) == {*names, "input_1"}
    for name, values in zip(names, computed(graph.message, names), strict=True):
        assert found[name] == pytest.approx((values.min(), values.max()), rel=1e-5, abs=1e-5)


def test_percentile_cuts_evenly_at_both_ends() -> None:
    # Of evenly spread values from -1 to 3 half a percent goes at each end, to within bins of the histogram.
    low, high = of_input(np.linspace(-1, 3, NUMBER), "PERCENTILE")
    assert (low, high) == pytest.approx((-0.98, 2.98), abs=3 * 4 / 2048)


def test_percentile_100_is_minmax() -> None:
    values = np.random.default_rng(1).normal(size=NUMBER)
    assert of_input(values, "PERCENTILE", 100.0) == pytest.approx(of_input(values, "MINMAX"), abs=1e-6)


def test_entropy_leaves_out_a_lonely_outlier_and_nothing_of_what_is_even() -> None:
    values = np.random.default_rng(1).normal(size=NUMBER)
    values[0] = 60
    low, high = of_input(values, "ENTROPY")
    assert high < 20
    assert high > 3
    assert low == pytest.approx(values.min())
    assert of_input(np.linspace(0, 5, NUMBER), "ENTROPY") == pytest.approx((0, 5), abs=0.05)


@pytest.mark.parametrize("kind", ["ENTROPY", "PERCENTILE"])
@pytest.mark.parametrize("value", [0.0, 7.0, 1e-30])
def test_values_that_are_all_the_same_have_a_range(kind: Kind, value: float) -> None:
    low, high = of_input(np.full(NUMBER, value), kind)
    assert low <= np.float32(value) <= high + 1e-6


def test_a_network_that_computes_no_numbers_is_refused() -> None:
    images = IMAGES.copy()
    images[0, 0, 0, 0] = np.nan
    with pytest.raises(RunError, match=r"values that are not finite \(\w+\); train it again"):
        calibrate(network(), batches(images), Method())


def test_a_batch_has_room_for_all_tensors() -> None:
    assert batch_size(network()) == 32
