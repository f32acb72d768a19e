"""The threshold for a target: a share of the parameters or of the multiply-accumulates, a time, a loss of accuracy."""

import bisect
from collections.abc import Callable
from dataclasses import dataclass

from tao_lite.errors import PruneError
from tao_lite.pruning import layers, plans, sizes
from tao_lite.pruning.plans import Plan, Scored

STEP = 0.01
"""Accuracy is searched for until the sizes tried are this share of the parameters apart: seven evaluations or so."""
NEAR_ENOUGH = 0.04
"""A network whose time is this share below the limit is not measured against a larger one."""
MOST_MEASURED = 12


@dataclass(frozen=True)
class Search:
    """What a search tried: the share of the parameters, and the accuracy or the time, in order."""

    threshold: float
    tried: tuple[tuple[float, float], ...]


def for_parameters(scored: Scored, ratio: float) -> float:
    """The lowest threshold that leaves at most `ratio` of the parameters.

    Raises: PruneError with the least ratio that granularity, minimum and excluded layers allow, where more than asked.
    """
    total = _total(scored)
    return _lowest(scored, ratio, lambda plan: plans.num_parameters(scored.network, plan) / total, "parameters")


def for_macs(scored: Scored, ratio: float) -> float:
    """The lowest threshold that leaves at most `ratio` of the multiply-accumulates.

    Raises: PruneError as `for_parameters`.
    """
    return _lowest(scored, ratio, _share_of_macs(scored), "MACs")


def for_latency(scored: Scored, limit: float, measured: Callable[[Plan], float], unit: str) -> Search:
    """The threshold of the largest network found whose time, in the unit that `measured` has, is at most the limit.

    Whole networks are measured, a handful of them. A sum of layers measured alone, at all the widths that they may get,
    would leave out what the runtime merges, what stays in the processor's caches from one layer to the next, and the
    time between layers, and would have to be checked against whole networks after all. What is modelled is only the
    time between two networks that were measured: as a straight line over their multiply-accumulates, which says which
    one to measure next. Widths at which time steps (multiples of 8, 16, 32) bend the line, and cost a measurement more.

    Raises: PruneError with the time of the smallest network, where that is above the limit.
    """
    share, thresholds = _share_of_macs(scored), scored.thresholds()
    tried = list[tuple[float, float]]()

    def macs(place: int) -> float:
        return share(scored.plan(thresholds[place]))

    def time(place: int) -> float:
        plan = scored.plan(thresholds[place])
        tried.append((plans.num_parameters(scored.network, plan) / _total(scored), measured(plan)))
        return tried[-1][1]

    slow, fast = 0, len(thresholds) - 1  # places of a network that takes too long, and of one that does not
    slow_time = time(slow)
    if slow_time <= limit:
        return Search(thresholds[slow], tuple(tried))
    fast_time = time(fast)
    if fast_time > limit:
        least = f"a network that takes {fast_time:.3g}{unit}"
        raise PruneError(_out_of_reach(scored, f"a time of {limit:.3g}{unit}", least))
    most, fewest = macs(slow), macs(fast)
    while limit - fast_time > NEAR_ENOUGH * limit and len(tried) < MOST_MEASURED:
        part = (slow_time - (1 - NEAR_ENOUGH / 2) * limit) / (slow_time - fast_time)
        wanted = most - min(max(part, 0.05), 0.95) * (most - fewest)
        place = bisect.bisect_left(range(fast), True, lo=slow + 1, key=lambda one: macs(one) <= wanted)
        if (found := macs(place)) <= fewest:
            place = bisect.bisect_left(range(fast), True, lo=slow + 1, key=lambda one: macs(one) < most)
            if (found := macs(place)) <= fewest:
                break  # no other network lies between the two
        if (taken := time(place)) > limit:
            slow, slow_time, most = place, taken, found
        else:
            fast, fast_time, fewest = place, taken, found
    return Search(thresholds[fast], tuple(tried))


def for_accuracy(scored: Scored, least: float, accuracy: Callable[[Plan], float]) -> Search:
    """The threshold that removes most parameters and leaves at least that accuracy, found by bisection.

    That takes accuracy to fall with size; where it does not, the answer is still one that was measured.
    """
    tried, thresholds = list[tuple[float, float]](), scored.thresholds()
    low, high, larger, smaller = 0, len(thresholds), 1.0, 0.0  # places of the two sizes, and the sizes
    while high - low > 1 and larger - smaller > STEP:
        middle = (low + high) // 2
        plan = scored.plan(thresholds[middle])
        share, found = plans.num_parameters(scored.network, plan) / _total(scored), accuracy(plan)
        tried.append((share, found))
        if found >= least:
            low, larger = middle, share
        else:
            high, smaller = middle, share
    return Search(thresholds[low], tuple(tried))


def _lowest(scored: Scored, ratio: float, share: Callable[[Plan], float], unit: str) -> float:
    # Shares fall in steps at the scores, so only these are tried, by bisection.
    thresholds = scored.thresholds()
    first = bisect.bisect_left(thresholds, True, key=lambda threshold: share(scored.plan(threshold)) <= ratio)
    if first == len(thresholds):
        least = f"at least {share(scored.plan(thresholds[-1])):.4f} of the {unit}"
        raise PruneError(_out_of_reach(scored, f"a ratio of {ratio:g}", least))
    return thresholds[first]


def _share_of_macs(scored: Scored) -> Callable[[Plan], float]:
    """What a plan leaves of the network's multiply-accumulates."""
    network, macs = scored.network, sizes.macs(scored.network, scored.input_shape)
    positions = {name: count // layers.weight(network.get_submodule(name)).numel() for name, count in macs.items()}

    def share(plan: Plan) -> float:
        weights = {
            name: layers.num_weights(network.get_submodule(name), plan.outputs[name], plan.inputs.get(name))
            for name in positions
        }
        return sum(positions[name] * weights[name] for name in positions) / macs.total()

    return share


def _out_of_reach(scored: Scored, what: str, least: str) -> str:
    rule = scored.rule
    return (
        f"{what} is out of reach: granularity {rule.granularity}, min_num_filters {rule.min_num_filters} and "
        f"{len(rule.excluded_layers)} excluded layers leave {least}"
    )


def _total(scored: Scored) -> int:
    return sum(p.numel() for p in scored.network.parameters())
