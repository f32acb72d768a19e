"""Who is trained on: the rules of the pruners, on trials whose values are given."""

from pathlib import Path

import pytest

from tao_lite.spec import classification_pb2 as pb
from tao_lite.stages.tune import objectives, rungs
from tao_lite.stages.tune.objectives import Objective
from tao_lite.stages.tune.record import Record

TOP1 = Objective(name="TOP1", key="val_accuracy", train_key="val_accuracy")
LATENCY = Objective(name="LATENCY", key="latency_ms", is_lower_better=True)
HYPERBAND = pb.TuneConfig()
MEDIAN, NONE = (pb.TuneConfig(pruner=kind) for kind in (pb.TunePruner.MEDIAN, pb.TunePruner.NONE))


def trial(number: int, *values: tuple[int, float], until: int = 0, is_complete: bool = False) -> Record:
    return Record(
        number=number,
        parameters={},
        results=Path(),
        until=until,
        values={epoch: [value] for epoch, value in values},
        is_complete=is_complete,
    )


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (HYPERBAND, (1, 3, 9)),
        (pb.TuneConfig(min_epochs=2, reduction_factor=4), (2, 8, 9)),
        (pb.TuneConfig(pruner=pb.TunePruner.MEDIAN, min_epochs=3), (3, 6, 9)),
        (NONE, (9,)),
    ],
)
def test_trials_wait_after_growing_numbers_of_epochs(config: pb.TuneConfig, expected: tuple[int, ...]) -> None:
    assert rungs.of(config, 9) == expected


def test_the_best_third_goes_on_and_nobody_twice() -> None:
    waiting = [trial(number, (1, value)) for number, value in enumerate((0.5, 0.9, 0.1, 0.7, 0.2))]
    chosen = rungs.promoted(waiting, (1, 3, 9), HYPERBAND, [TOP1])
    assert chosen
    assert chosen.number == 1
    going = [*waiting[:1], trial(1, (1, 0.9), until=3), *waiting[2:]]
    assert rungs.promoted(going, (1, 3, 9), HYPERBAND, [TOP1]) is None
    # A sixth trial, and the second of six may go on.
    later = rungs.promoted([*going, trial(5, (1, 0.0))], (1, 3, 9), HYPERBAND, [TOP1])
    assert later
    assert later.number == 3


def test_the_median_lets_the_better_half_go_on() -> None:
    waiting = [trial(number, (3, value)) for number, value in enumerate((0.5, 0.9, 0.1, 0.7, 0.2))]
    left, order = list(waiting), list[int]()
    while chosen := rungs.promoted(left, (3, 6, 9), MEDIAN, [TOP1]):
        order.append(chosen.number)
        left = [trial(one.number, (3, one.values[3][0]), until=6) if one is chosen else one for one in left]
    assert order == [1, 3, 0]


def test_with_few_trials_the_best_is_trained_to_the_end_all_the_same() -> None:
    waiting = [trial(0, (1, 0.3)), trial(1, (1, 0.5))]
    assert rungs.promoted(waiting, (1, 3, 9), HYPERBAND, [TOP1]) is None
    last = rungs.last_resort(waiting, [TOP1])
    assert last
    assert last.number == 1
    assert rungs.last_resort([*waiting, trial(2, (9, 0.4), is_complete=True)], [TOP1]) is None


def test_of_two_objectives_those_are_best_that_none_beats_in_both() -> None:
    values = ((0.9, 5.0), (0.8, 2.0), (0.8, 3.0), (0.5, 1.0), (0.4, 9.0))
    records = [
        Record(number=number, parameters={}, results=Path(), values={9: pair}, is_complete=True)
        for number, pair in enumerate(values)
    ]
    assert [one.number for one in objectives.front(records, [TOP1, LATENCY])] == [0, 1, 3]
    assert [one.number for one in objectives.ranked(records, 9, [TOP1, LATENCY])] == [0, 1, 3, 2, 4]
