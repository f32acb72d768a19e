"""The values of the next trial: by chance, in turn, or by those that did well."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from random import Random
from typing import TYPE_CHECKING

from tao_lite.spec import classification_pb2 as pb
from tao_lite.stages.tune.objectives import Objective
from tao_lite.stages.tune.record import Record
from tao_lite.stages.tune.space import Parameter, Value

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

STARTUP_TRIALS = 10
"""Drawn by chance before TPE has its say."""


def num_trials(config: pb.TuneConfig, parameters: Sequence[Parameter]) -> int:
    """Trials that the search has at most: a grid ends with its last combination."""
    if config.sampler == pb.TuneSampler.GRID:
        return min(config.trials, math.prod(len(one.grid) for one in parameters))
    return config.trials


def suggestion(
    config: pb.TuneConfig,
    parameters: Sequence[Parameter],
    objectives: Sequence[Objective],
    records: Sequence[Record],
    seed: int,
) -> Mapping[str, Value]:
    """Values for the next trial, by field. Chance is the same for the same seed and number of trials."""
    from optuna import create_study
    from optuna.samplers import BaseSampler, RandomSampler, TPESampler

    tried = [one for one in records if not one.is_baseline]
    if config.sampler == pb.TuneSampler.GRID:
        combinations = itertools.product(*(one.grid for one in parameters))
        chosen = next(itertools.islice(combinations, len(tried), None))
        return dict(zip((one.field for one in parameters), chosen, strict=True))
    own_seed = seed * 1_000_003 + len(tried)
    is_random = config.sampler == pb.TuneSampler.RANDOM or len(tried) < STARTUP_TRIALS
    sampler: BaseSampler = RandomSampler(seed=own_seed % 2**32)
    if not is_random:
        sampler = TPESampler(seed=own_seed % 2**32, n_startup_trials=0, constant_liar=len(objectives) == 1)
    study = create_study(
        sampler=sampler, directions=["minimize" if one.is_lower_better else "maximize" for one in objectives]
    )
    if is_random:
        study.enqueue_trial(_weighted(parameters, Random(own_seed)))  # noqa: S311 - no secret
    else:
        study.add_trials(_told(tried, parameters, len(objectives)))
    return dict(study.ask({one.field: one.distribution for one in parameters}).params)


def _weighted(parameters: Sequence[Parameter], chance: Random) -> dict[str, Value]:
    """Choices of those that have weights."""
    return {one.field: chance.choices(one.choices, one.weights)[0] for one in parameters if one.weights}


def _told(records: Sequence[Record], parameters: Sequence[Parameter], num_objectives: int) -> "Iterator[FrozenTrial]":
    """The trials as the sampler is to see them: one that waits is as one that was stopped there."""
    from optuna.trial import TrialState, create_trial

    distributions = {one.field: one.distribution for one in parameters}
    for one in records:
        if one.parameters.keys() != distributions.keys() or (one.failure and not one.is_diverged):
            continue
        state, values = TrialState.RUNNING, None
        if one.is_complete or (num_objectives > 1 and one.values and not one.failure):
            state, values = TrialState.COMPLETE, list(one.values[one.epochs])
        elif one.values or one.failure:
            state = TrialState.PRUNED
        yield create_trial(
            state=state,
            values=values,
            params=dict(one.parameters),
            distributions=distributions,
            intermediate_values={} if one.failure else {epoch: found[0] for epoch, found in one.values.items()},
        )
