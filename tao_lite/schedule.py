"""The learning rate as a pure function of progress. Imports no torch, so that checking a spec can show the curve."""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from tao_lite.errors import SpecError
from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec.findings import Finding, Level
from tao_lite.spec.schema import as_written

# Progress is the share of all optimizer steps that are done, in [0, 1].
Schedule = Callable[[float], float]

# Where TAO starts soft_anneal's warm-up: fixed, and not multiplied by the number of processes.
SOFT_ANNEAL_START = 3e-4

_PATH = "train_config.lr_config"


def make_schedule(
    lr_config: pb.LRConfig, *, world_size: float = 1, exact: bool = False, num_steps: int | None = None
) -> Schedule:
    """Learning rate at a given progress.

    The spec's learning_rate is per process: it is multiplied by world_size, the number of processes, as in TAO, or how
    many times the images of one process a step takes.
    Formulas: as TAO documents them; exact takes those of its code, which differ for step and, after a warm-up, cosine.
    num_steps is the length of the run, by which TAO's code rounds a stair; None: not known, taken as very long.

    Raises:
        SpecError: no scheduler is set, or TAO's stair is shorter than a step.
    """
    match lr_config.WhichOneof("lr_scheduler"):
        case "step" if exact:
            schedule = _make_slope(lr_config.step, world_size, num_steps)
        case "step":
            schedule = _make_staircase(lr_config.step, world_size)
        case "soft_anneal":
            schedule = _make_soft_anneal(lr_config.soft_anneal, world_size)
        case "cosine":
            schedule = _make_cosine(lr_config.cosine, world_size, exact=exact)
        case "linear":
            rate = as_written(lr_config.linear.learning_rate) * world_size
            schedule = partial(_linear, rate=rate, stairs=lr_config.linear.stairs)
        case "exponential":
            schedule = _make_exponential(lr_config.exponential, world_size)
        case None:
            raise SpecError(
                f"{_PATH}: found no scheduler, must hold one of step, soft_anneal, cosine, linear, exponential"
            )
    if lr_config.warmup > 0:
        return partial(_warmed_up, schedule=schedule, warmup=as_written(lr_config.warmup))
    return schedule


def early_decay(schedule: Schedule) -> float | None:
    """Progress at which the rate first falls below 1e-3 of its maximum, if that is in the first half of the run.

    Found to 0.001 of the run. A run learns nothing worth having after that point.
    """
    rates = [schedule(k / 1000) for k in range(1001)]
    top = rates.index(max(rates))
    return next((k / 1000 for k in range(top, 500) if rates[k] < rates[top] * 1e-3), None)


def findings(schedule: Schedule) -> Iterator[Finding]:
    """What to tell the user about the schedule before a run is wasted on it."""
    early = early_decay(schedule)
    if early is not None:
        text = (
            f"after {early:.0%} of the run the learning rate is below a thousandth of its highest value; hardly "
            "anything is learnt from there on (step_size is a percentage of the run)"
        )
        yield Finding(Level.WARNING, _PATH, text)


def warm_up_findings(lr_config: pb.LRConfig) -> Iterator[Finding]:
    """What to tell the user about where soft_anneal's warm-up starts."""
    soft = lr_config.soft_anneal
    if lr_config.HasField("soft_anneal") and soft.soft_start > 0 and 0 < soft.learning_rate < 0.999 * SOFT_ANNEAL_START:
        text = f"warms up downwards: it starts at {SOFT_ANNEAL_START:g}, as in TAO, which is above learning_rate"
        yield Finding(Level.WARNING, f"{_PATH}.soft_anneal.soft_start", text)


def table(schedule: Schedule, n_epochs: int) -> list[tuple[int, float]]:
    """Epochs done and the learning rate there: the start, the end and up to nine points between, evenly spread."""
    epochs = sorted({round(k * n_epochs / 10) for k in range(11)})
    return [(epoch, schedule(epoch / n_epochs)) for epoch in epochs]


def _make_staircase(config: pb.StepLrConfig, world_size: float) -> Schedule:
    return partial(
        _staircase,
        rate=as_written(config.learning_rate) * world_size,
        step_percent=config.step_size,
        gamma=as_written(config.gamma),
    )


def _make_slope(config: pb.StepLrConfig, world_size: float, num_steps: int | None) -> Schedule:
    stair = config.step_size / 100
    if num_steps is not None:
        stair = num_steps * config.step_size // 100 / num_steps
    if not stair:
        raise SpecError(
            f"{_PATH}.step.step_size: found {config.step_size}, which is less than one of the run's {num_steps} steps, "
            "where TAO divides by zero; raise it, train for more epochs or set compat: CORRECTED"
        )
    rate = as_written(config.learning_rate) * world_size
    return partial(_slope, rate=rate, stair=stair, gamma=as_written(config.gamma))


def _make_soft_anneal(config: pb.SoftAnnealLrConfig, world_size: float) -> Schedule:
    return partial(
        _soft_anneal,
        rate=as_written(config.learning_rate) * world_size,
        soft_start=as_written(config.soft_start),
        divider=as_written(config.annealing_divider),
        points=[as_written(point) for point in config.annealing_points],
    )


def _make_cosine(config: pb.CosineLrConfig, world_size: float, *, exact: bool) -> Schedule:
    rate, soft_start = as_written(config.learning_rate) * world_size, as_written(config.soft_start)
    return partial(
        _cosine,
        rate=rate,
        minimum=rate * as_written(config.min_lr_ratio),
        soft_start=soft_start,
        half_wave=1.0 if exact else 1 - soft_start,
    )


def _make_exponential(config: pb.ExponentialLrConfig, world_size: float) -> Schedule:
    return partial(
        _exponential,
        rate=as_written(config.learning_rate) * world_size,
        ratio=as_written(config.min_lr_ratio),
        soft_start=as_written(config.soft_start),
        annealing=as_written(config.annealing),
    )


def _staircase(progress: float, *, rate: float, step_percent: int, gamma: float) -> float:
    # In floating point 0.29 * 100 is 28.999...96; the small term keeps such a step on its own stair.
    return float(rate * gamma ** math.floor(progress * 100 / step_percent + 1e-9))


def _slope(progress: float, *, rate: float, stair: float, gamma: float) -> float:
    """The exponential through the beginnings of the stairs: TAO's code lacks the rounding that makes stairs of it."""
    return float(rate * gamma ** (progress / stair))


def _soft_anneal(progress: float, *, rate: float, soft_start: float, divider: float, points: Sequence[float]) -> float:
    if progress < soft_start:
        share = progress / soft_start
        return share * rate + (1 - share) * SOFT_ANNEAL_START
    return float(rate / divider ** sum(point < progress for point in points))


def _cosine(progress: float, *, rate: float, minimum: float, soft_start: float, half_wave: float) -> float:
    """half_wave is the share of the run that half a cosine takes; at TAO's 1 a warm-up leaves no time for its end."""
    if progress < soft_start:
        return minimum + (rate - minimum) * progress / soft_start
    share = (progress - soft_start) / half_wave
    return minimum + (rate - minimum) * (1 + math.cos(math.pi * share)) / 2


def _linear(progress: float, *, rate: float, stairs: int) -> float:
    if not stairs:
        return rate * (1 - progress)
    # At the end of the run as on the last stair; the small term is as in _staircase.
    done = min(math.floor(progress * stairs + 1e-9), stairs - 1)
    return rate * (1 - done / (stairs + 1))


def _exponential(progress: float, *, rate: float, ratio: float, soft_start: float, annealing: float) -> float:
    if progress < soft_start:
        return float(rate * ratio ** (1 - progress / soft_start))
    if progress <= annealing:
        return rate
    return float(rate * ratio ** ((progress - annealing) / (1 - annealing)))


def _warmed_up(progress: float, *, schedule: Schedule, warmup: float) -> float:
    return schedule(progress) * min(1.0, progress / warmup)
