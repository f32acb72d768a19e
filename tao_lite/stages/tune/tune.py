"""Tune: trainings of one spec with other values, the promising of them to the end, and the best values as a spec."""

import time

from tao_lite.errors import refuse_missing
from tao_lite.monitor import console
from tao_lite.run import Run, Summary
from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec.load import Spec
from tao_lite.stages.train.claim import claim
from tao_lite.stages.tune import objectives, results, rungs, sampler, space, workers
from tao_lite.stages.tune.search import Search
from tao_lite.stages.tune.workers import Asked

_MAY_CHANGE = ("tune_config.trials", "tune_config.keep_checkpoints")


def tune(spec: Spec, run: Run, asked: Asked) -> Summary:
    """Search, alone or with others that work in the same folder; the summary is tune.json.

    Raises:
        TaoLiteError: a field can't move so, the folder is another search's, a training fails by no fault of its
            values, or no trial came to its end.
        Interrupted: SIGINT or SIGTERM came; the same command goes on.
    """
    refuse_missing("tune", "train,tune", "optuna")
    started = time.monotonic()
    search = Search(
        spec=spec,
        run=workers.of_worker(run, asked.worker),
        parameters=space.of(spec),
        objectives=objectives.of(spec),
        rungs=rungs.of(spec.experiment.tune_config, spec.experiment.train_config.n_epochs),
        deadline=started + asked.seconds,
    )
    run.results.mkdir(parents=True, exist_ok=True)
    claim(spec, run, _MAY_CHANGE)
    workers.share_cores(asked)
    _announce(search)
    with workers.joined(run, asked):
        search.work()
    return {} if asked.worker else results.conclude(search, asked.overrides)


def _announce(search: Search) -> None:
    config = search.spec.experiment.tune_config
    for one in search.parameters:
        console.line(f"{one.field} moves: {one.words}{' (proposed)' if one.is_proposed else ''}")
    count, judges = sampler.num_trials(config, search.parameters), ", ".join(one.name for one in search.objectives)
    console.line(
        f"{count} trials by {pb.TuneSampler.Kind.Name(config.sampler)}, judged by {judges}; they wait after epochs "
        f"{', '.join(map(str, search.rungs[:-1])) or 'none'} of {search.rungs[-1]} for the pruner "
        f"{pb.TunePruner.Kind.Name(config.pruner)}"
    )
