"""A search as one process works on it: take what is next to train, train it, say what came of it, until all is done."""

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import BinaryIO

from tao_lite.errors import Interrupted
from tao_lite.files import locks
from tao_lite.monitor import console
from tao_lite.run import Run
from tao_lite.spec.load import Spec
from tao_lite.stages.tune import cleaning, rungs, sampler, space, study, trial
from tao_lite.stages.tune.objectives import Objective
from tao_lite.stages.tune.record import Record
from tao_lite.stages.tune.space import Parameter
from tao_lite.stages.tune.study import Study
from tao_lite.training.stop import stop_request

_POLL_SECONDS = 0.5


@dataclass(frozen=True, kw_only=True)
class Search:
    """What all processes of a search have alike, and when this one takes nothing more."""

    spec: Spec
    run: Run
    parameters: Sequence[Parameter]
    objectives: Sequence[Objective]
    rungs: Sequence[int]
    deadline: float  # of time.monotonic

    def work(self) -> None:
        """Train until nothing is left, here or elsewhere, or the time is over.

        Raises:
            TaoLiteError: as `train`, for what is no trial's own fault; the same command goes on.
            Interrupted: SIGINT or SIGTERM came; the same command goes on.
        """
        # Between two trainings a signal ends the search as it does within one.
        with stop_request() as request:
            while not request.signal_number:
                with study.opened(self.run, self.objectives) as known:
                    taken, is_over = self._next(known)
                if taken:
                    record, lock = taken
                    with closing(lock):
                        self._train(record)
                elif is_over:
                    return
                else:
                    time.sleep(_POLL_SECONDS)
            raise Interrupted(request.signal_number, f"stopped in {self.run.results}; the same command goes on there")

    def records(self) -> list[Record]:
        """All trials as they stand."""
        with study.opened(self.run, self.objectives) as known:
            return known.records()

    def _next(self, known: Study) -> tuple[tuple[Record, BinaryIO] | None, bool]:
        """The trial to train now, with its lock; without one, whether that is all."""
        records = known.records()
        if time.monotonic() >= self.deadline:
            return None, True
        running = [one for one in records if one.until and not one.is_over]
        for one in running:
            # Whoever trained it is gone.
            if lock := self._lock(one):
                return (one, lock), False
        record = self._begun(known, records, others_train=bool(running))
        if record:
            lock = self._lock(record)
            assert lock
            return (record, lock), False
        if not running:
            for one in records:
                if one.is_waiting:
                    known.give_up(one)
            self._clean(known)
        return None, not running

    def _begun(self, known: Study, records: Sequence[Record], *, others_train: bool) -> Record | None:
        """The trial that is trained on or begun, by what is known of all."""
        config, whole = self.spec.experiment.tune_config, self.rungs[-1]
        if config.baseline and not any(one.is_baseline for one in records):
            return known.begin((), {}, whole)
        if one := rungs.promoted(records, self.rungs, config, self.objectives):
            return known.claim(one, rungs.next_to(self.rungs, one.epochs))
        tried = [one for one in records if not one.is_baseline]
        if len(tried) < sampler.num_trials(config, self.parameters):
            seed = self.spec.experiment.train_config.random_seed
            values = sampler.suggestion(config, self.parameters, self.objectives, records, seed)
            return known.begin(self.parameters, values, self.rungs[0])
        one = None if others_train else rungs.last_resort(records, self.objectives)
        return known.claim(one, whole) if one else None

    def _lock(self, record: Record) -> BinaryIO | None:
        return locks.taken(trial.run_of(self.run, record).trial_lock)

    def _train(self, record: Record) -> None:
        """Train the trial as far as it is claimed, and write down what came of it."""
        values = ", ".join(f"{name}={space.as_text(value)}" for name, value in record.parameters.items())
        console.line(f"Trial {record.number} to epoch {record.until}: {values or 'the spec as it is'}")
        outcome = trial.train_on(self.spec, self.run, record, self.objectives)
        with study.opened(self.run, self.objectives) as known:
            if outcome.failure:
                known.failed(record, outcome.failure, is_diverged=outcome.is_diverged)
                console.line(
                    f"Trial {record.number} {'diverged' if outcome.is_diverged else 'failed'}: {outcome.failure}"
                )
            else:
                known.reached(record, outcome.epoch, outcome.values, is_end=outcome.is_end)
            self._clean(known)

    def _clean(self, known: Study) -> None:
        if not self.spec.experiment.tune_config.keep_checkpoints:
            cleaning.remove_losing(self.run, known.records(), self.objectives)
