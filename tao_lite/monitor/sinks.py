"""Trackers of experiments: Weights & Biases, ClearML and MLflow, by their own libraries."""

import os
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from PIL.Image import Image

Settings = Mapping[str, float | str]
Config = Mapping[str, Any]


class Sink(Protocol):
    """Where the numbers and pictures of a run go. Any method may raise anything."""

    number: str
    """By which a later process goes on in the same run."""
    place: str
    """Where it can be seen."""

    def settings(self, settings: Settings) -> None:
        """What the network and its training were made with."""

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """A point of the curve of each tag."""

    def image(self, step: int, tag: str, image: "Image") -> None:
        """A picture."""

    def close(self) -> None:
        """Send the rest."""


class _WandB:
    """Weights & Biases. WANDB_MODE=offline and its other variables are its library's."""

    def __init__(self, config: Config, results: Path, number: str | None) -> None:
        import wandb

        self._picture = wandb.Image
        self._run = wandb.init(
            project=config.get("project") or "tao_lite",
            entity=config.get("entity"),
            name=config.get("name") or results.name,
            tags=config.get("tags"),
            notes=config.get("notes"),
            dir=str(results),
            mode="offline" if config.get("mode") == "OFFLINE" else None,
            id=number,
            resume="allow",
            # What is sent is the run's; nothing of the machine's folders, code or screen.
            settings=wandb.Settings(console="off", disable_git=True, disable_code=True, save_code=False),
        )
        # Pictures come late: by itself W&B drops what has a lower step than the last.
        self._run.define_metric("*", step_metric="step")
        self.number, self.place = self._run.id, self._run.url or self._run.dir

    def settings(self, settings: Settings) -> None:
        self._run.config.update(dict(settings), allow_val_change=True)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log({**values, "step": step})

    def image(self, step: int, tag: str, image: "Image") -> None:
        self._run.log({tag: self._picture(image), "step": step})

    def close(self) -> None:
        self._run.finish()


class _ClearML:
    """ClearML. CLEARML_OFFLINE_MODE=1 and its other variables are its library's."""

    def __init__(self, config: Config, results: Path, number: str | None) -> None:
        os.environ.setdefault("CLEARML_CACHE_DIR", str(results / "clearml"))
        from clearml import Task

        self._task = Task.init(
            project_name=config.get("project") or "tao_lite",
            task_name=config.get("task") or results.name,
            tags=config.get("tags"),
            reuse_last_task_id=config.get("reuse_last_task_id", False),
            continue_last_task=number or config.get("continue_last_task", False),
            deferred_init=config.get("deferred_init", False),
            auto_connect_frameworks=False,
            auto_connect_arg_parser=False,
            auto_connect_streams=False,
            auto_resource_monitoring=False,
        )
        self._logger = self._task.get_logger()
        self.number, self.place = self._task.id, self._task.get_output_log_web_page()

    def settings(self, settings: Settings) -> None:
        self._task.connect(dict(settings), name="spec")

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        for tag, value in values.items():
            self._logger.report_scalar(*_parts(tag), value, step)

    def image(self, step: int, tag: str, image: "Image") -> None:
        self._logger.report_image(*_parts(tag), iteration=step, image=image)

    def close(self) -> None:
        self._task.close()


class _MLflow:
    """MLflow. Without tracking_uri, MLFLOW_TRACKING_URI says where; else the results folder has it."""

    def __init__(self, config: Config, results: Path, number: str | None) -> None:
        # Folders are what needs no server and no database; MLflow wants to be told that this is meant.
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        from mlflow import MlflowClient

        own = (results / "mlruns").absolute().as_uri()
        uri = config.get("tracking_uri") or os.environ.get("MLFLOW_TRACKING_URI") or own
        self._client = MlflowClient(tracking_uri=uri)
        name = config.get("experiment_name") or "tao_lite"
        experiment = self._client.get_experiment_by_name(name)
        place = experiment.experiment_id if experiment else self._client.create_experiment(name)
        if number:
            self._client.update_run(number, status="RUNNING")
        else:
            title = config.get("run_name") or results.name
            number = self._client.create_run(place, run_name=title, tags=config.get("tags")).info.run_id
        self.number, self.place = str(number), uri

    def settings(self, settings: Settings) -> None:
        from mlflow.entities import Param

        # What is there stays: its parameters can't change.
        known = self._client.get_run(self.number).data.params
        params = [Param(name, str(value)) for name, value in settings.items() if name not in known]
        for first in range(0, len(params), 100):
            self._client.log_batch(self.number, params=params[first : first + 100])

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._client.log_batch(self.number, [Metric(_key(tag), value, now, step) for tag, value in values.items()])

    def image(self, step: int, tag: str, image: "Image") -> None:
        self._client.log_image(self.number, image, f"{_key(tag)}/{step}.png")

    def close(self) -> None:
        self._client.set_terminated(self.number)


SINKS: Mapping[str, Callable[[Config, Path, str | None], Sink]] = {
    "wandb": _WandB,
    "clearml": _ClearML,
    "mlflow": _MLflow,
}
"""By the names of the fields of VisualizerConfig."""


def _parts(tag: str) -> tuple[str, str]:
    """Title and series: val/top1 is the curve top1 of the diagram val."""
    title, _, series = tag.partition("/")
    return title, series or title


def _key(tag: str) -> str:
    """The tag with the characters that MLflow takes."""
    return re.sub(r"[^\w\-. /]", "_", tag, flags=re.ASCII)
