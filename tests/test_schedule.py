"""Schedules against lists worked out by hand from TAO's documented formulas."""

import subprocess
import sys

import pytest

from tao_lite.errors import SpecError
from tao_lite.schedule import early_decay, findings, make_schedule, table
from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec.findings import Finding, Level


def step(learning_rate: float = 0.5, step_size: int = 10, gamma: float = 0.1, warmup: float = 0.0) -> pb.LRConfig:
    return pb.LRConfig(
        step=pb.StepLrConfig(learning_rate=learning_rate, step_size=step_size, gamma=gamma), warmup=warmup
    )


def soft_anneal(*points: float, soft_start: float = 0.1, divider: float = 10) -> pb.LRConfig:
    return pb.LRConfig(
        soft_anneal=pb.SoftAnnealLrConfig(
            learning_rate=0.02, soft_start=soft_start, annealing_divider=divider, annealing_points=points
        )
    )


def cosine(min_lr_ratio: float = 0.01, soft_start: float = 0.2) -> pb.LRConfig:
    return pb.LRConfig(cosine=pb.CosineLrConfig(learning_rate=0.1, min_lr_ratio=min_lr_ratio, soft_start=soft_start))


# Each list holds (progress, rate). The arithmetic behind every rate is in the comment beside it.
STEP = [
    (0.0, 0.5),
    (0.05, 0.5),  # inside the first stair
    (0.0999, 0.5),
    (0.1, 0.05),  # 0.5 * 0.1 ** 1
    (0.15, 0.05),
    (0.2, 0.005),
    (0.29, 0.005),
    (0.3, 0.0005),  # 3 / 10 is below 0.3 in 32 bits
    (0.7, 0.5e-7),
    (0.9999, 0.5e-9),
    (1.0, 0.5e-10),
]
SOFT_ANNEAL = [
    (0.0, 0.0003),  # TAO's fixed start
    (0.025, 0.005225),  # 0.25 * 0.02 + 0.75 * 0.0003
    (0.05, 0.01015),  # 0.5 * 0.02 + 0.5 * 0.0003
    (0.1, 0.02),
    (0.3, 0.02),  # a point is strictly less than the progress that it lowers
    (0.3001, 0.002),
    (0.6, 0.002),
    (0.7, 0.0002),
    (0.8, 0.0002),
    (0.81, 0.00002),
    (1.0, 0.00002),
]
COSINE = [
    (0.0, 0.001),  # 0.1 * 0.01
    (0.1, 0.0505),  # half way from 0.001 to 0.1
    (0.2, 0.1),
    (0.4, 0.001 + 0.099 * 0.8535533905932737),  # (1 + cos(pi / 4)) / 2
    (0.6, 0.0505),  # cos(pi / 2) = 0
    (0.8, 0.001 + 0.099 * 0.14644660940672627),  # (1 + cos(3 pi / 4)) / 2
    (1.0, 0.001),  # ends at the minimum, warm-up or not
]


# What TAO's code computes for the same settings.
EXACT_STEP = [
    (0.0, 0.5),
    (0.05, 0.15811388300841897),  # 0.5 * 0.1 ** 0.5
    (0.1, 0.05),
    (0.15, 0.015811388300841897),  # 0.5 * 0.1 ** 1.5
    (0.2, 0.005),
    (0.25, 0.0015811388300841897),
    (0.3, 0.0005),
    (0.55, 1.5811388300841897e-06),  # 0.5 * 0.1 ** 5.5
    (0.7, 0.5e-7),
    (0.98, 7.924465962305567e-11),  # 0.5 * 0.1 ** 9.8
    (1.0, 0.5e-10),
]
EXACT_COSINE = [
    (0.0, 0.001),
    (0.1, 0.0505),
    (0.2, 0.1),  # up to here as in COSINE
    (0.4, 0.001 + 0.099 * 0.9045084971874737),  # (1 + cos(0.2 pi)) / 2
    (0.6, 0.001 + 0.099 * 0.6545084971874737),  # (1 + cos(0.4 pi)) / 2
    (0.8, 0.001 + 0.099 * 0.3454915028125263),  # (1 + cos(0.6 pi)) / 2
    (1.0, 0.001 + 0.099 * 0.09549150281252627),  # (1 + cos(0.8 pi)) / 2
]


@pytest.mark.parametrize(("progress", "rate"), STEP)
def test_step_goes_down_a_staircase_of_percents(progress: float, rate: float) -> None:
    assert make_schedule(step())(progress) == pytest.approx(rate, rel=1e-12)


@pytest.mark.parametrize(("progress", "rate"), SOFT_ANNEAL)
def test_soft_anneal_warms_up_and_divides_at_its_points(progress: float, rate: float) -> None:
    assert make_schedule(soft_anneal(0.3, 0.6, 0.8))(progress) == pytest.approx(rate, rel=1e-12)


@pytest.mark.parametrize(("progress", "rate"), COSINE)
def test_cosine_warms_up_and_ends_at_its_minimum(progress: float, rate: float) -> None:
    assert make_schedule(cosine())(progress) == pytest.approx(rate, rel=1e-12)


@pytest.mark.parametrize("world_size", [1, 4])
@pytest.mark.parametrize("num_steps", [None, 100, 14_640])  # 10 percent of 100 and of 14640 steps are whole numbers
def test_tao_lowers_the_rate_of_step_continuously(world_size: int, num_steps: int | None) -> None:
    schedule = make_schedule(step(), world_size=world_size, exact=True, num_steps=num_steps)
    assert [schedule(progress) for progress, _ in EXACT_STEP] == pytest.approx(
        [world_size * rate for _, rate in EXACT_STEP], rel=1e-12
    )


@pytest.mark.parametrize("world_size", [1, 4])
def test_tao_stretches_the_cosine_over_a_whole_run_after_the_warm_up(world_size: int) -> None:
    schedule = make_schedule(cosine(), world_size=world_size, exact=True, num_steps=1000)
    assert [schedule(progress) for progress, _ in EXACT_COSINE] == pytest.approx(
        [world_size * rate for _, rate in EXACT_COSINE], rel=1e-12
    )


@pytest.mark.parametrize("world_size", [1, 4])
def test_tao_computes_soft_anneal_as_documented(world_size: int) -> None:
    config = soft_anneal(0.3, 0.6, 0.8)
    exact = make_schedule(config, world_size=world_size, exact=True, num_steps=1000)
    documented = make_schedule(config, world_size=world_size)
    assert [exact(k / 1000) for k in range(1001)] == [documented(k / 1000) for k in range(1001)]


def test_a_cosine_without_warm_up_is_the_same_in_tao() -> None:
    config = cosine(soft_start=0.0)
    exact, documented = make_schedule(config, exact=True), make_schedule(config)
    assert [exact(k / 100) for k in range(101)] == [documented(k / 100) for k in range(101)]


def test_tao_rounds_a_stair_down_to_whole_steps() -> None:
    # 10 percent of 25 steps are 2: 0.5 * 0.1 ** (t / 2).
    schedule = make_schedule(step(), exact=True, num_steps=25)
    rates = [schedule(t / 25) for t in (0, 1, 2, 5, 24)]
    assert rates == pytest.approx([0.5, 0.15811388300841897, 0.05, 0.0015811388300841897, 0.5e-12], rel=1e-12)


def test_both_steps_meet_where_a_stair_begins() -> None:
    exact, documented = (make_schedule(step(), exact=choice) for choice in (True, False))
    assert [exact(k / 10) for k in range(11)] == pytest.approx([documented(k / 10) for k in range(11)], rel=1e-12)
    assert all(exact(k / 10 + 0.05) < documented(k / 10 + 0.05) for k in range(10))


def test_warmup_scales_the_schedules_of_tao_too() -> None:
    schedule = make_schedule(step(warmup=0.2), exact=True)
    assert [schedule(progress) for progress in (0.0, 0.1, 0.2)] == pytest.approx([0.0, 0.025, 0.005])


def test_a_stair_of_less_than_a_step_is_refused_where_tao_fails() -> None:
    make_schedule(step(), exact=True, num_steps=10)
    with pytest.raises(SpecError) as caught:
        make_schedule(step(), exact=True, num_steps=9)
    assert str(caught.value) == (
        "train_config.lr_config.step.step_size: found 10, which is less than one of the run's 9 steps, where TAO "
        "divides by zero; raise it, train for more epochs or set compat: CORRECTED"
    )


def test_every_step_of_a_run_is_on_its_own_stair() -> None:
    # Progress as the training loop computes it; 0.29 * 100 is less than 29 in floating point.
    schedule = make_schedule(step(learning_rate=1.0, step_size=1, gamma=0.5))
    assert [schedule(done / 100) for done in range(101)] == [0.5**done for done in range(101)]


def test_an_annealing_point_is_the_decimal_in_the_spec_not_its_32_bit_neighbour() -> None:
    # In 32 bits 0.7 is 0.69999999, which is strictly less than 7 / 10.
    schedule = make_schedule(soft_anneal(0.7))
    assert [schedule(7 / 10), schedule(71 / 100)] == [0.02, 0.002]


def test_soft_anneal_without_warm_up_or_points_is_constant() -> None:
    schedule = make_schedule(soft_anneal(soft_start=0.0))
    assert [schedule(progress) for progress in (0.0, 0.5, 1.0)] == [0.02, 0.02, 0.02]


@pytest.mark.parametrize(
    ("stairs", "progress", "rate"),
    [
        (0, 0.0, 0.4),
        (0, 0.25, 0.3),
        (0, 1.0, 0.0),
        (4, 0.0, 0.4),
        (4, 0.24, 0.4),
        (4, 0.25, 0.32),  # one of five equal steps down to 0
        (4, 0.99, 0.16),
        (4, 1.0, 0.16),  # the run ends on its last stair
        (100, 0.29, 0.4 * (1 - 29 / 101)),  # 0.29 * 100 is less than 29 in floating point
    ],
)
def test_linear_falls_to_0_or_in_equal_stairs(stairs: int, progress: float, rate: float) -> None:
    config = pb.LRConfig(linear=pb.LinearLrConfig(learning_rate=0.4, stairs=stairs))
    assert make_schedule(config)(progress) == pytest.approx(rate, abs=1e-12)
    assert make_schedule(config, world_size=2)(progress) == pytest.approx(2 * rate, abs=1e-12)


def test_cosine_without_warm_up_starts_at_the_top() -> None:
    schedule = make_schedule(cosine(min_lr_ratio=0.0, soft_start=0.0))
    assert [schedule(progress) for progress in (0.0, 0.5, 1.0)] == pytest.approx([0.1, 0.05, 0.0], abs=1e-17)


def test_warmup_scales_any_schedule_linearly_from_zero() -> None:
    schedule = make_schedule(step(warmup=0.2))
    assert [schedule(progress) for progress in (0.0, 0.05, 0.1, 0.2, 0.25)] == pytest.approx(
        [0.0, 0.125, 0.025, 0.005, 0.005]  # 0.5 * 1/4, 0.05 * 1/2, then the schedule itself
    )


@pytest.mark.parametrize(
    ("config", "progress", "rate"),
    [
        (step(), 0.1, 0.2),  # 4 * 0.05
        (cosine(), 0.0, 0.004),  # the minimum is a share of the multiplied rate
        (cosine(), 0.2, 0.4),
        (soft_anneal(0.3), 0.2, 0.08),
        (soft_anneal(0.3), 0.05, 0.04015),  # 0.5 * 0.08 + 0.5 * 0.0003: the start is not multiplied
    ],
)
def test_four_processes_learn_at_four_times_the_rate(config: pb.LRConfig, progress: float, rate: float) -> None:
    assert make_schedule(config, world_size=4)(progress) == pytest.approx(rate, rel=1e-12)


def test_a_schedule_that_can_not_be_built_names_its_field() -> None:
    with pytest.raises(SpecError) as caught:
        make_schedule(pb.LRConfig())
    names = "step, soft_anneal, cosine, linear, exponential"
    assert str(caught.value) == f"train_config.lr_config: found no scheduler, must hold one of {names}"


@pytest.mark.parametrize(
    ("config", "progress"),
    [
        (step(), 0.4),  # 1e-3 of the start from 0.3 on, below it from 0.4 on
        (step(step_size=20), None),  # 1e-2 at 0.5
        (step(step_size=12), 0.48),  # 1e-4 from 48 percent on
        (step(step_size=13), None),  # 1e-4 only from 52 percent on
        (step(gamma=0.5), None),
        (step(warmup=0.05), 0.4),
        (soft_anneal(0.2, 0.3, 0.4, 0.45), 0.451),  # 1e-4 of the maximum after the last point
        (soft_anneal(0.3, 0.6, 0.8), None),
        (cosine(min_lr_ratio=0.0), None),  # low at both ends, but the first end is warm-up
    ],
)
def test_early_decay_finds_where_a_schedule_stops_learning(config: pb.LRConfig, progress: float | None) -> None:
    assert early_decay(make_schedule(config)) == progress


def test_a_schedule_that_stops_learning_early_is_warned_about() -> None:
    text = (
        "after 40% of the run the learning rate is below a thousandth of its highest value; "
        "hardly anything is learnt from there on (step_size is a percentage of the run)"
    )
    assert list(findings(make_schedule(step()))) == [Finding(Level.WARNING, "train_config.lr_config", text)]
    assert list(findings(make_schedule(cosine()))) == []


def test_table_runs_from_start_to_end_in_about_ten_rows() -> None:
    rows = table(make_schedule(step()), 80)
    assert [epoch for epoch, _ in rows] == [0, 8, 16, 24, 32, 40, 48, 56, 64, 72, 80]
    assert [rate for _, rate in rows] == pytest.approx([0.5 * 0.1**k for k in range(11)], rel=1e-12)


def test_table_of_a_short_run_has_one_row_per_epoch() -> None:
    assert [epoch for epoch, _ in table(make_schedule(step()), 3)] == [0, 1, 2, 3]


def test_schedules_need_neither_torch_nor_numpy() -> None:
    code = "import sys, tao_lite.schedule; print({'torch', 'numpy'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
