"""The threshold for a target: a share of the parameters or of the multiply-accumulates, or a loss of accuracy."""

import bisect
from collections.abc import Callable
from dataclasses import dataclass

from tao_lite.errors import PruneError
from tao_lite.pruning import layers, plans, sizes
from tao_lite.pruning.plans import Plan, Scored

STEP = 0.01
"""Accuracy is searched for until the sizes tried are this share of the parameters apart: seven evaluations or so."""


@dataclass(frozen=True)
class Search:
    """What a search for an accuracy tried: the share of the parameters and the accuracy, in order."""

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
    network, macs = scored.network, sizes.macs(scored.network, scored.input_shape)
    positions = {name: count // layers.weight(network.get_submodule(name)).numel() for name, count in macs.items()}

    def share(plan: Plan) -> float:
        weights = {
            name: layers.num_weights(network.get_submodule(name), plan.outputs[name], plan.inputs.get(name))
            for name in positions
        }
        return sum(positions[name] * weights[name] for name in positions) / macs.total()

    return _lowest(scored, ratio, share, "MACs")


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
        rule = scored.rule
        raise PruneError(
            f"a ratio of {ratio:g} is out of reach: granularity {rule.granularity}, min_num_filters "
            f"{rule.min_num_filters} and {len(rule.excluded_layers)} excluded layers leave at least "
            f"{share(scored.plan(thresholds[-1])):.4f} of the {unit}"
        )
    return thresholds[first]


def _total(scored: Scored) -> int:
    return sum(p.numel() for p in scored.network.parameters())
