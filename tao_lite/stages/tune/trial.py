"""A trial is an ordinary training in a folder of its own, which pauses in its schedule and goes on exactly."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import torch

from tao_lite.errors import DivergedError, SpecError
from tao_lite.models import architectures
from tao_lite.run import Run, Summary
from tao_lite.spec.load import Spec
from tao_lite.stages.train.claim import ELSEWHERE
from tao_lite.stages.train.train import Demands, train
from tao_lite.stages.tune import space
from tao_lite.stages.tune.objectives import Objective
from tao_lite.stages.tune.record import Record
from tao_lite.training import clock
from tao_lite.training.trained import Trained
from tao_lite.training.validation import best_metric

_PASSES = 30
"""Of one image, whose median time is the latency."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How far a trial came and with which values, or why it has none."""

    epoch: int = 0
    values: Sequence[float] = ()
    is_end: bool = False
    failure: str = ""
    is_diverged: bool = False


def run_of(run: Run, record: Record) -> Run:
    """The run of a trial."""
    return replace(run, results=run.trial(record.number))


def settings(spec: Spec, record: Record, objectives: Sequence[Objective]) -> list[str]:
    """What the trial's spec sets, as `field=value`: its values, and that its best epoch is so by the objective."""
    values = [f"{field}={space.as_text(value)}" for field, value in record.parameters.items()]
    is_usual = best_metric(spec.experiment.train_config).name == objectives[0].name
    return [*values, *([] if is_usual else [f"train_config.checkpoint.best_metric={objectives[0].name}"])]


def train_on(spec: Spec, run: Run, record: Record, objectives: Sequence[Objective]) -> Outcome:
    """Train the trial to the epoch for which it is claimed.

    Raises:
        TaoLiteError: what is no fault of its values, such as a full disk.
        Interrupted: as `train`.
    """
    own = run_of(run, record)
    try:
        demands = Demands(same_data=True, otherwise=ELSEWHERE, pause_after=record.until)
        found = train(space.with_settings(spec, settings(spec, record, objectives)), own, demands)
    except DivergedError as error:
        return Outcome(failure=str(error), is_diverged=True)
    except (SpecError, torch.OutOfMemoryError) as error:
        # Values that don't go together, or a batch that is too large for the device.
        return Outcome(failure=str(error))
    epoch = found["epochs"]
    assert isinstance(epoch, int)
    is_end = epoch < record.until or record.until == spec.experiment.train_config.n_epochs
    return Outcome(epoch=epoch, values=_values(own, record, found, objectives), is_end=is_end)


def _values(own: Run, record: Record, found: Summary, objectives: Sequence[Objective]) -> list[float]:
    """What the objectives say; what is measured is so once, for training does not change it."""
    measured = {one.name: value for one, value in zip(objectives, record.values.get(record.epochs, ()), strict=False)}
    if not measured and any(not one.train_key for one in objectives):
        measured = _measured(own)
    return [cast("float", found[one.train_key]) if one.train_key else measured[one.name] for one in objectives]


def _measured(own: Run) -> dict[str, float]:
    trained = Trained.of(own.best, own.device, None)
    network, model = trained.network.eval(), trained.experiment.model_config
    image = torch.zeros(1, *architectures.input_shape(model), device=own.device)
    image = image.contiguous(memory_format=torch.channels_last)
    (times,) = clock.in_turn([clock.of_network(network, image)], rounds=_PASSES)
    size = sum(one.numel() * one.element_size() for one in network.parameters())
    return {"LATENCY": times.milliseconds, "BYTES": float(size)}
