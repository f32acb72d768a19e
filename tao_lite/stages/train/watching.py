"""What a training shows in TensorBoard besides its epochs' rows: how it starts, steps, validates and ends."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Self

import torch
from torch import Tensor

from tao_lite.data.batch import Batch
from tao_lite.machine import usage
from tao_lite.metrics.joint import JointEvaluation, Result
from tao_lite.models import architectures
from tao_lite.monitor import diagrams, graph
from tao_lite.monitor.events import Events
from tao_lite.monitor.monitor import EpochRow, Monitor
from tao_lite.monitor.trackers import NONE, Wish
from tao_lite.spec import resolved
from tao_lite.spec.load import Spec
from tao_lite.spec.trackers import asked
from tao_lite.stages.train.answers import (
    MAX_CLASSES,
    NUM_WORST,
    Answers,
    class_curves,
    show_confusion,
    task_curves,
)
from tao_lite.stages.train.phases import Phases
from tao_lite.stages.train.profiling import Tracer
from tao_lite.training.loops import network_input
from tao_lite.training.validation import best_metric

METRICS = ("val/top1", "val/top_k", "val/loss", "val/f1", "train/top1", "train/loss", "best/top1", "best/loss")
"""By which TensorBoard compares runs; best_metric besides."""

_TAGS = {
    "loss": "batch/loss",
    "top1": "batch/top1",
    "loss_scale": "amp/loss_scale",
    "skipped_steps": "amp/skipped_steps",
    "overflows": "amp/overflows",
    "underflow_fraction": "amp/underflow_fraction",
    "gradient_norm": "norm/gradient",
    "data_wait_fraction": "system/data_wait_fraction",
}

_log = logging.getLogger(__name__)


class Watch:
    """Shows one training. The processes call it alike; only the main one writes."""

    def __init__(self, spec: Spec, phases: Phases, monitor: Monitor, *, step: int, num_steps: int) -> None:
        """step: optimizer steps that are done, of num_steps."""
        self._spec, self._phases, self._monitor = spec, phases, monitor
        self._first_step, self._num_steps = step, num_steps
        self._config = spec.experiment.train_config.visualizer
        self._num_images = self._config.num_images if self._config.enabled else 0
        self._has_shown_images = not self._num_images
        self._tracer = Tracer(phases.run, monitor, self._config.profile_steps, num_steps - step)
        self._answers: Answers | None = None
        self._started = time.perf_counter()

    def __enter__(self) -> Self:
        step, spec = self._first_step, self._spec
        self._monitor.show(lambda events: events.text(step, "spec", f"```\n{spec.text()}```"))
        self._monitor.show(lambda events: events.settings(step, _settings(spec), _metrics(spec)))
        if self._config.enabled:
            self._monitor.show(self._show_graph)
        if len(self._phases.train.class_names) > MAX_CLASSES:
            _log.info("TensorBoard has curves of the %d worst classes of each epoch only", NUM_WORST)
        self._tracer.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._tracer.__exit__(*error)

    def first_images(self, batch: Batch) -> None:
        """Show a training batch on its device as the network sees it, once. A linear probe's features are no images."""
        if not self._has_shown_images and batch.images.dtype == torch.uint8:
            self._has_shown_images = True
            self._monitor.show(lambda events: self._show_images(events, batch))

    def step(self) -> None:
        """An optimizer step is done."""
        self._tracer.step()

    def interval(self, step: int, values: Mapping[str, float]) -> None:
        """The numbers that the engine reports from time to time; `step` steps are done."""
        self._monitor.show(lambda events: events.scalars(step, self._numbers(step, values)))

    def validation(self) -> Callable[[Batch, Tensor, Tensor], None] | None:
        """What is to see the batches of the coming validation, with their labels and logits."""
        if not self._config.enabled or self._phases.val.tasks:
            return None
        self._answers = Answers(len(self._phases.val.class_names), self._num_images, self._phases.run.device)
        return self._answers.add

    def epoch(self, row: EpochRow, result: Result) -> None:
        """An epoch and its validation are done."""
        step, answers = row.step, self._answers
        self._monitor.epoch(row)
        if size := self._phases.grown(row.epoch - 1):
            self._monitor.log(step, dict(zip(("train/image_height", "train/image_width"), size, strict=True)))
        if isinstance(result, JointEvaluation):
            self._monitor.log(step, task_curves(result))
            if self._config.enabled:
                self._monitor.show(lambda events: show_confusion(events, step, result))
        else:
            self._monitor.log(step, {"val/top_k": result.top_k, **class_curves(result)})
            if answers:
                answers.all_reduce(self._phases.run.world)
                self._monitor.show(lambda events: answers.show(events, step, result))
        if self._config.weight_histograms:
            self._monitor.show(lambda events: self._show_histograms(events, step))

    def end(self, step: int, best: Mapping[str, float]) -> None:
        """All epochs are done; the numbers of the best one, by name."""
        tags = {"accuracy": "top1"}
        self._monitor.log(step, {f"best/{tags.get(name, name)}": value for name, value in best.items()})
        self._monitor.show(lambda events: events.success(step))

    def _numbers(self, step: int, values: Mapping[str, float]) -> dict[str, float]:
        run = self._phases.run
        seconds_per_step = (time.perf_counter() - self._started) / (step - self._first_step)
        weights = torch._foreach_norm(
            [parameter.detach() for parameter in self._phases.network.parameters()], dtype=torch.float32
        )
        return {
            **{_TAGS[name]: value for name, value in values.items() if name in _TAGS},
            "norm/weights": torch.stack(weights).norm().item(),
            # The other processes train on as many images.
            "system/images_per_second": values["images_per_second"] * run.world.world_size,
            "system/memory_bytes": usage.held_bytes(run.device),
            "system/eta_seconds": seconds_per_step * (self._num_steps - step),
        }

    def _show_graph(self, events: Events) -> None:
        network, run = self._phases.network, self._phases.run
        images = torch.zeros(
            1,
            *architectures.input_shape(self._spec.experiment.model_config),
            dtype=next(network.parameters()).dtype,
            device=run.device,
        )
        events.graph(graph.record(network, images))

    def _show_images(self, events: Events, batch: Batch) -> None:
        images = self._phases.preprocess.inverse(network_input(batch, self._phases.recipe)[: self._num_images])
        captions = [self._caption(label) for label in batch.labels[: self._num_images]]
        picture = diagrams.gallery(list(images.cpu()), captions)
        events.image(self._first_step, "train/images", picture)

    def _caption(self, label: Tensor) -> list[str]:
        """The class of an image or, of several tasks, one in each line."""
        numbers = (label > 0).nonzero().flatten() if self._phases.train.tasks else label[None]
        return [diagrams.short(self._phases.train.class_names[number]) for number in numbers.tolist()]

    def _show_histograms(self, events: Events, step: int) -> None:
        parameters = dict(self._phases.network.named_parameters())
        gradients = {name: parameter.grad for name, parameter in parameters.items() if parameter.grad is not None}
        events.histograms(step, ((f"weights/{name}", parameter) for name, parameter in parameters.items()))
        events.histograms(step, ((f"gradients/{name}", gradient) for name, gradient in gradients.items()))


def _metrics(spec: Spec) -> Sequence[str]:
    metric = best_metric(spec.experiment.train_config)
    return (*METRICS, *((f"val/{metric.key}", f"best/{metric.key}") if metric.extra else ()))


def wish(spec: Spec) -> Wish:
    """The trackers that the spec turns on, and what they have to know."""
    trackers = asked(spec.experiment.train_config.visualizer)
    return Wish(trackers=trackers, settings=_settings(spec), key=spec.wandb_key) if trackers else NONE


def _settings(spec: Spec) -> dict[str, float | str]:
    """What network and training were made with, defaults included, by the fields' paths."""
    values = resolved.values(spec.written).items()
    return {path: _number(text) for path, text in values if path.startswith(("model_config.", "train_config."))}


def _number(text: str) -> float | str:
    """The number that the text is, else the text without quotes."""
    try:
        return float(text)
    except ValueError:
        return text.strip('"')
