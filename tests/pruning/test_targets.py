"""The search for a time: networks whose time is known by a formula, so that what is found can be told beforehand."""

from collections.abc import Callable

import pytest
from torch import nn

from tao_lite.errors import PruneError
from tao_lite.pruning import plans, targets
from tao_lite.pruning.criteria import Rule
from tao_lite.pruning.plans import Plan, Scored


def scored(granularity: int = 1) -> Scored:
    layers = [nn.Conv2d(3, 256, 3, padding=1), nn.ReLU(), nn.Conv2d(256, 64, 3, padding=1), nn.Flatten()]
    network = nn.Sequential(*layers, nn.Linear(64 * 8 * 8, 4))
    rule = Rule(granularity=granularity, min_num_filters=16, ranking="PER_LAYER")
    return plans.score(network, (3, 8, 8), rule)


def width(plan: Plan) -> int:
    return len(plan.outputs["0"])


def smooth(plan: Plan) -> float:
    return 0.1 + 0.9 * width(plan) / 256


def in_steps(plan: Plan) -> float:
    """As where 32 channels take as long as 17."""
    return 0.1 + 0.9 * -(-width(plan) // 32) * 32 / 256


@pytest.mark.parametrize("limit", [0.9, 0.5, 0.31])
@pytest.mark.parametrize(("time", "steps"), [(smooth, 0.04), (in_steps, 0.04 + 0.9 / 8 / 0.31)])
def test_the_network_found_takes_at_most_the_limit_and_hardly_less(
    time: Callable[[Plan], float], steps: float, limit: float
) -> None:
    network = scored()
    found = targets.for_latency(network, limit, time, "")
    taken = time(network.plan(found.threshold))
    assert (1 - steps) * limit <= taken <= limit
    assert len(found.tried) <= targets.MOST_MEASURED
    assert taken in [one for _, one in found.tried]


def test_where_time_is_a_line_over_macs_the_first_guess_is_right() -> None:
    """Two of the three that are measured are the ends."""
    network = scored()
    share = targets._share_of_macs(network)
    found = targets.for_latency(network, 0.5, share, "")
    assert len(found.tried) == 3


def test_a_limit_that_nothing_has_to_be_cut_for_leaves_all() -> None:
    found = targets.for_latency(scored(), 1.0, smooth, "")
    assert width(scored().plan(found.threshold)) == 256


def test_a_limit_below_the_smallest_network_is_answered_with_that() -> None:
    said = r"0.1 ms is out of reach: granularity 1, min_num_filters 16 and 0 excluded layers leave .* takes 0.156 ms"
    with pytest.raises(PruneError, match=said):
        targets.for_latency(scored(), 0.1, smooth, " ms")


def test_with_coarse_widths_the_search_ends_at_the_last_that_is_fast_enough() -> None:
    network = scored(granularity=128)
    found = targets.for_latency(network, 0.9, smooth, "")
    assert width(network.plan(found.threshold)) == 128
    assert len(found.tried) <= 5
