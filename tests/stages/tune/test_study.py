"""The journal of a search: what several processes know, and what a full disk leaves of it."""

from pathlib import Path

import pytest

from tao_lite.errors import RunError
from tao_lite.run import Run
from tao_lite.spec import classification_pb2 as pb
from tao_lite.stages.tune import importance, sampler, study
from tao_lite.stages.tune.objectives import Objective
from tao_lite.stages.tune.record import Record
from tao_lite.stages.tune.space import Parameter

pytest.importorskip("optuna", reason="needs the extra tune")

TOP1 = Objective(name="TOP1", key="val_accuracy", train_key="val_accuracy")
RATE = Parameter(field="rate", low=1e-4, high=1, is_log=True)
KIND = Parameter(field="kind", choices=("a", "b"), weights=(1, 9))


def test_what_one_process_writes_another_reads(run: Run) -> None:
    with study.opened(run, [TOP1]) as known:
        baseline = known.begin((), {}, 9)
        one = known.begin([RATE, KIND], {"rate": 0.01, "kind": "b"}, 1)
        known.reached(one, 1, [0.5], is_end=False)
        two = known.begin([RATE, KIND], {"rate": 0.5, "kind": "a"}, 1)
        known.failed(two, "the loss is nan", is_diverged=True)
    with study.opened(run, [TOP1]) as known:
        first, second, third = known.records()
        assert (first.is_baseline, first.until, first.state) == (True, 9, "running")
        assert (second.parameters, second.values, second.is_waiting) == ({"rate": 0.01, "kind": "b"}, {1: [0.5]}, True)
        assert (third.state, third.failure) == ("diverged", "the loss is nan")
        known.reached(known.claim(second, 3), 3, [0.7], is_end=True)
        known.reached(baseline, 9, [0.6], is_end=True)
    with study.opened(run, [TOP1]) as known:
        assert [one.state for one in known.records()] == ["complete", "complete", "diverged"]
        assert known.records()[1].values == {1: [0.5], 3: [0.7]}


def test_half_a_line_at_the_end_is_cut_off_and_a_damaged_journal_is_refused(run: Run) -> None:
    with study.opened(run, [TOP1]) as known:
        known.begin([RATE], {"rate": 0.01}, 1)
    whole = run.journal.read_bytes()
    run.journal.write_bytes(whole + b'{"op_code":8,"worker_')
    with study.opened(run, [TOP1]) as known:
        known.begin([RATE], {"rate": 0.02}, 1)
    with study.opened(run, [TOP1]) as known:
        assert [one.parameters["rate"] for one in known.records()] == [0.01, 0.02]
    run.journal.write_bytes(b"nonsense\n" + whole)
    with pytest.raises(RunError, match=r"study\.journal: is damaged"), study.opened(run, [TOP1]):
        pass


def records(number: int) -> list[Record]:
    """Trials whose value is best near a rate of 0.01, whatever their kind."""
    return [
        Record(
            number=index,
            parameters={"rate": 10 ** -(index % 5), "kind": "ab"[index % 2]},
            results=Path(),
            values={1: [1 - abs(index % 5 - 2) / 2]},
        )
        for index in range(number)
    ]


def test_chance_is_the_same_for_the_same_seed_and_keeps_weights() -> None:
    config = pb.TuneConfig(sampler=pb.TuneSampler.RANDOM)
    drawn = [dict(sampler.suggestion(config, [RATE, KIND], [TOP1], records(count), 7)) for count in range(60)]
    again = sampler.suggestion(config, [RATE, KIND], [TOP1], records(3), 7)
    assert again == drawn[3]
    assert len({one["rate"] for one in drawn}) == 60
    # 54 are expected; fewer than 45 come by chance once in 10,000 times.
    assert sum(one["kind"] == "b" for one in drawn) >= 45


def test_tpe_draws_near_what_did_well_and_learns_from_trials_that_wait() -> None:
    drawn = [sampler.suggestion(pb.TuneConfig(), [RATE], [TOP1], _only_rate(40), seed)["rate"] for seed in range(20)]
    near = [one for one in drawn if isinstance(one, float) and 1e-3 < one < 1e-1]
    # Evenly by factors it would be half.
    assert len(near) >= 15


def _only_rate(number: int) -> list[Record]:
    return [
        Record(number=one.number, parameters={"rate": one.parameters["rate"]}, results=Path(), values=one.values)
        for one in records(number)
    ]


def test_a_grid_is_walked_once() -> None:
    config = pb.TuneConfig(sampler=pb.TuneSampler.GRID, trials=100)
    parameters = [Parameter(field="rate", low=0, high=1, step=0.5), KIND]
    assert sampler.num_trials(config, parameters) == 6
    walked = [tuple(sampler.suggestion(config, parameters, [TOP1], records(n), 0).values()) for n in range(6)]
    assert walked == [(rate, kind) for rate in (0, 0.5, 1) for kind in "ab"]


def test_what_mattered_is_found() -> None:
    shares = importance.of([RATE, KIND], TOP1, records(40))
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["rate"] > 0.9
