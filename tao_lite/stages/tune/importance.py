"""How much each field mattered for the objective."""

from collections.abc import Sequence

from tao_lite.stages.tune import rungs
from tao_lite.stages.tune.objectives import Objective
from tao_lite.stages.tune.record import Record
from tao_lite.stages.tune.space import Parameter

_LEAST = 4
"""Trials from which something can be said."""


def of(parameters: Sequence[Parameter], objective: Objective, records: Sequence[Record]) -> dict[str, float]:
    """Shares that sum to 1, by field, the largest first; nothing where trials are too few or all the same.

    Judged by the first rung, which all trials have: values after more epochs are those of the promising alone.
    Source: Watanabe et al., arXiv:2304.10255 (PED-ANOVA).
    """
    from optuna import create_study
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
    from optuna.trial import create_trial

    epoch = rungs.common(records)
    costs = {one.number: -objective.merit(one.values[epoch][0]) for one in records if epoch in one.values}
    if len(costs) < _LEAST or len(set(costs.values())) < 2:
        return {}
    distributions = {one.field: one.distribution for one in parameters}
    study = create_study(direction="minimize")
    study.add_trials(
        create_trial(params=dict(one.parameters), distributions=distributions, value=costs[one.number])
        for one in records
        if one.number in costs
    )
    found = get_param_importances(study, evaluator=PedAnovaImportanceEvaluator())
    return {name: float(share) for name, share in found.items()}
