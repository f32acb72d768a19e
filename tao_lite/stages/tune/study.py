"""What a search knows, in Optuna's journal: shared by all processes that work on it, one of which reads and writes."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tao_lite.errors import RunError
from tao_lite.files import locks, writing
from tao_lite.run import Run
from tao_lite.stages.tune.objectives import Objective
from tao_lite.stages.tune.record import Record
from tao_lite.stages.tune.space import Parameter, Value

if TYPE_CHECKING:
    from optuna import Study as OptunaStudy
    from optuna.storages import JournalStorage

NAME = "tune"
"""Of the study in its journal."""


class Study:
    """The trials. An Optuna trial is one of ours; what else we know of it are its user attributes."""

    def __init__(self, run: Run, study: "OptunaStudy", storage: "JournalStorage") -> None:
        self._run, self._study, self._storage = run, study, storage

    def records(self) -> list[Record]:
        """All trials, in the order of their numbers."""
        return [self._record(one) for one in self._study.get_trials(deepcopy=False)]

    def begin(self, parameters: Sequence[Parameter], values: Mapping[str, Value], until: int) -> Record:
        """A new trial that this process trains to the epoch; without parameters it is the baseline."""
        from optuna.trial import TrialState, create_trial

        one = create_trial(
            state=TrialState.RUNNING,
            params=dict(values),
            distributions={parameter.field: parameter.distribution for parameter in parameters},
            user_attrs={"until": until, "is_baseline": not parameters},
        )
        self._study.add_trial(one)
        return self.records()[-1]

    def claim(self, record: Record, until: int) -> Record:
        """The trial, which this process trains to the epoch."""
        self._set(record, until=until)
        return replace(record, until=until)

    def reached(self, record: Record, epoch: int, values: Sequence[float], *, is_end: bool) -> None:
        """The trial got so far, with these values; nobody trains it now."""
        from optuna.trial import TrialState

        known = {str(done): list(found) for done, found in record.values.items()}
        self._set(record, values={**known, str(epoch): list(values)})
        if len(values) == 1:
            self._storage.set_trial_intermediate_value(self._id(record), epoch, values[0])
        self._set(record, until=0)
        if is_end:
            self._study.tell(record.number, list(values), state=TrialState.COMPLETE)

    def failed(self, record: Record, why: str, *, is_diverged: bool) -> None:
        """The trial has no network that counts. The sampler learns from one that diverged."""
        from optuna.trial import TrialState

        self._set(record, until=0, failure=why, is_diverged=is_diverged)
        self._study.tell(record.number, state=TrialState.PRUNED if is_diverged else TrialState.FAIL)

    def give_up(self, record: Record) -> None:
        """The trial is not trained on."""
        from optuna.trial import TrialState

        self._study.tell(record.number, state=TrialState.PRUNED)

    def _record(self, one: Any) -> Record:
        from optuna.trial import TrialState

        known = one.user_attrs
        failure = known.get("failure", "")
        return Record(
            number=one.number,
            parameters=one.params,
            results=self._run.trial(one.number),
            is_baseline=known["is_baseline"],
            until=known["until"],
            values={int(epoch): values for epoch, values in known.get("values", {}).items()},
            is_complete=one.state == TrialState.COMPLETE,
            is_given_up=one.state == TrialState.PRUNED and not failure,
            failure=failure,
            is_diverged=known.get("is_diverged", False),
        )

    def _set(self, record: Record, **values: object) -> None:
        for name, value in values.items():
            self._storage.set_trial_user_attr(self._id(record), name, value)

    def _id(self, record: Record) -> int:
        study = self._storage.get_study_id_from_name(NAME)
        return int(self._storage.get_trial_id_from_study_id_trial_number(study, record.number))


@contextlib.contextmanager
def opened(run: Run, objectives: Sequence[Objective]) -> Iterator[Study]:
    """The study, made where there is none; other processes wait until the block ends.

    Raises:
        RunError: the folder can't be written, or its journal can't be read.
    """
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with locks.held(run.study_lock):
        _mend(run)
        try:
            storage = JournalStorage(JournalFileBackend(str(run.journal)))
            study = optuna.create_study(
                storage=storage,
                study_name=NAME,
                load_if_exists=True,
                directions=["minimize" if one.is_lower_better else "maximize" for one in objectives],
            )
        except ValueError as error:
            raise RunError(
                f"{run.journal}: is damaged ({error}); bring a copy back, or choose another folder with -r"
            ) from error
        yield Study(run, study, storage)


def _mend(run: Run) -> None:
    """Cut off half a line that a full disk, or a machine that stopped, has left at the journal's end."""
    with writing.open_to_append(run.journal) as file:
        file.seek(0)
        content = file.read()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            file.truncate(whole)
