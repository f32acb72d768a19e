"""A deployed network, opened for use in a checkpoint's place: an ONNX file, an OpenVINO IR or a package of either."""

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from google.protobuf import text_format
from torch import Tensor, nn

from tao_lite import compat
from tao_lite.data.batch import Batch
from tao_lite.data.description import ACCEPTED, BOXES, INPUT, Description
from tao_lite.data.pipeline import Pipeline
from tao_lite.errors import CheckpointError, RunError, brief
from tao_lite.files import reading
from tao_lite.run import Run
from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec.paths import is_deployed
from tao_lite.spec.tasks import Tasks
from tao_lite.training import runtimes
from tao_lite.training.loops import predict
from tao_lite.training.precision import Precision
from tao_lite.training.runtimes import Array, Computed
from tao_lite.training.trained import Trained, learn_tasks, probabilities

DESCRIPTION = "preprocess.json"
_FILES = ("model.onnx", "model.xml", "models/*/1/model.onnx")  # the last in a package for Triton
_KEY = "preprocess"  # of the description in the metadata of an ONNX file
_AGAIN = "export the network again"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, eq=False)
class Deployment:
    """A deployed network in the place of a `Trained` one. It computes in FP32 on the CPU, whatever the spec says."""

    experiment: pb.Experiment  # as it takes effect, pictures seen as the description says
    description: Description
    runtime: str
    network: "_Network"

    @classmethod
    def of(cls, path: Path, device: torch.device, experiment: pb.Experiment) -> "Deployment":
        """The network in the file or package, for use as the spec says; its numbers come and go by the device.

        Raises:
            CheckpointError: it can't be read or does not fit its description.
            RunError: it has no description, one that was changed, or its runtime is not installed.
        """
        description, computed = _opened(path)
        for problem in _misfits(description, computed):
            raise CheckpointError(f"{path}: does not fit its own description: {problem}; {_AGAIN}")
        merged = pb.Experiment()
        merged.CopyFrom(compat.effective(experiment))
        _warn_of_crop(merged, description, path)
        description.pipeline.configure(merged)
        learn_tasks(merged, description.tasks)
        merged.train_config.precision = pb.Precision.FP32
        network = _Network(description, computed).to(device)
        return cls(experiment=merged, description=description, runtime=computed.runtime, network=network)

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.description.class_names

    @property
    def tasks(self) -> Tasks:
        return self.description.tasks

    @property
    def pipeline(self) -> Pipeline:
        """How it sees pictures."""
        return self.description.pipeline

    @property
    def device(self) -> torch.device:
        """Where its numbers come from and go to."""
        return next(self.network.parameters()).device

    def in_fp32(self) -> "Deployment":
        """Itself, as what it holds in FP32 is computed in that."""
        return self

    @property
    def takes_whole(self) -> bool:
        """Whether the network itself cuts and resizes pictures."""
        return self.description.kind == "image"

    @property
    def preprocess(self) -> nn.Module:
        """What is still to be done to pixels."""
        own = self.description.pipeline.preprocess if self.description.kind == "tensor" else nn.Identity()
        return own.to(self.device)

    @cached_property
    def precision(self) -> Precision:
        return Precision.of(self.experiment.train_config, self.device)

    def set_threads(self, run: Run) -> None:
        """Nothing: the runtime has as many threads as torch had when the file was opened."""

    @property
    def has_rule(self) -> bool:
        """Whether it says which answers are accepted."""
        return bool(self.description.reject)

    def probabilities(
        self, batches: Iterable[Batch], accepted: list[bool] | None = None
    ) -> Iterator[tuple[Batch, list[list[float]]]]:
        """As of `Trained`."""
        for batch, _, logits in predict(self.network, batches, preprocess=self.preprocess, precision=self.precision):
            if accepted is not None:
                accepted += self.network.accepted
            yield batch, torch.cat(probabilities(self.tasks, logits), dim=1).tolist()


def opened(path: Path, device: torch.device, experiment: pb.Experiment) -> Trained | Deployment:
    """The network of a checkpoint, or a deployed one, for use as the spec says.

    Raises:
        TaoLiteError: it can't be used.
    """
    return (Deployment if is_deployed(path) else Trained).of(path, device, experiment)


def spec(path: Path) -> str:
    """The spec that a deployed network carries, else one that says how it sees pictures.

    Raises:
        CheckpointError, RunError: as Deployment.of.
    """
    file = _file(path)
    found = _metadata(runtimes.read_onnx(file)).get("spec") if file.suffix.lower() == ".onnx" else None
    if found is None:
        # A spec must name an architecture; here nothing reads it.
        experiment = pb.Experiment(model_config=pb.ModelConfig(arch="deployed"))
        _description(path, file, {}).pipeline.configure(experiment)
        found = text_format.MessageToString(experiment)
    return found


class _Network(nn.Module):
    """What a runtime computes, as a network of torch's: pictures or normalised floats to logits."""

    def __init__(self, description: Description, computed: Computed) -> None:
        super().__init__()
        self._description, self._computed = description, computed
        self._device = nn.Parameter(torch.zeros(0), requires_grad=False)  # what holds parameters has a device
        self._batch_size = computed.ports[INPUT].shape[0]
        self._outputs = (*description.outputs, *([ACCEPTED] if description.reject else []))
        self.accepted: list[bool] = []
        """Of the last images, whether their answers are, where the file says so."""

    def forward(self, images: Tensor) -> Tensor:
        """[B, C, H, W], by what the description's kind takes -> logits of the same probabilities [B, num_classes]."""
        size = self._batch_size or len(images)
        pixels = images.cpu().numpy()
        parts = [pixels[first : first + size] for first in range(0, len(images), size)]
        found = np.concatenate([self._run(part, size)[: len(part)] for part in parts])
        if self._description.reject:
            self.accepted, found = (found[:, -1] > 0).tolist(), found[:, :-1]
        values = torch.from_numpy(found)
        # 0 would become infinite, which counts as a fault of the network.
        logits = values.clamp(min=torch.finfo(torch.float32).tiny).log()
        for task in self._description.tasks:
            if task.is_multi_label:
                logits[:, task.outputs] = values[:, task.outputs].logit(eps=torch.finfo(torch.float32).eps)
        return logits.to(images.device)

    def _run(self, images: Array, size: int) -> Array:
        """The probabilities of the images and, up to the size of a batch, of the last one again."""
        filled = np.pad(images, ((0, size - len(images)), (0, 0), (0, 0), (0, 0)), mode="edge")
        inputs = {INPUT: np.ascontiguousarray(filled)}
        if self._description.has_boxes:
            height, width = images.shape[2:]
            num_boxes = self._computed.ports[BOXES].shape[0] or 1
            inputs[BOXES] = np.tile(np.array([0, 0, width, height], np.float32), (num_boxes, 1))
        return self._computed.run(self._outputs, inputs)


def _file(path: Path) -> Path:
    """The network's file: the path itself or, where that is a package, the one in it."""
    if not path.is_dir():
        return path
    for pattern in _FILES:
        for found in path.glob(pattern):
            return found
    if (path / "model.pt2").exists():
        raise CheckpointError(f"{path}: is for torch, which would unpickle it; give another package or the checkpoint")
    raise CheckpointError(f"{path}: holds neither {' nor '.join(_FILES)}; give a package or a checkpoint")


def _opened(path: Path) -> tuple[Description, Computed]:
    file = _file(path)
    if file.suffix.lower() != ".onnx":
        return _description(path, file, {}), runtimes.by_openvino(file)
    message = runtimes.read_onnx(file)
    return _description(path, file, _metadata(message)), runtimes.by_onnxruntime(file, message)


def _metadata(message: Any) -> dict[str, str]:
    return {entry.key: entry.value for entry in message.metadata_props}


def _description(path: Path, file: Path, metadata: Mapping[str, str]) -> Description:
    """How to feed the file: by its metadata or, of a package and an IR, what lies beside it.

    Raises:
        RunError: there is no description, none of ours, or the two differ.
    """
    inside = Description.from_text(metadata[_KEY], file) if _KEY in metadata else None
    beside = (path if path.is_dir() else file.parent) / DESCRIPTION
    if path == file and file.suffix.lower() == ".onnx":
        if not inside:
            raise RunError(
                f"{file}: has no metadata {_KEY!r}, so that nothing says how to feed it; give a file that tao-lite "
                f"export made, or a folder that holds it as {_FILES[0]} beside {DESCRIPTION}"
            )
        return inside
    found = Description.from_text(reading.read_text(beside, RunError), beside)
    if inside and (changed := next(_differences(inside.to_dict(), found.to_dict()), None)):
        raise RunError(f"{beside}: was changed: {changed} is not what {file.name} holds; {_AGAIN}")
    return found


def _differences(one: Any, other: Any, name: str = "") -> Iterator[str]:
    """The names of the fields in which two descriptions differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in one.keys() | other.keys():
            yield from _differences(one.get(key), other.get(key), f"{name}.{key}" if name else key)
    elif one != other:
        yield name


def _misfits(description: Description, computed: Computed) -> Iterator[str]:
    """What the description says otherwise than the file."""
    ports, pipeline = computed.ports, description.pipeline
    for name in (INPUT, *description.outputs, *([ACCEPTED] if description.reject else [])):
        if name not in ports:
            yield f"there is no {name}, but {', '.join(map(brief, ports))}"
            return
    _, channels, *size = ports[INPUT].shape
    own = description.to_dict()["input"]["type"]
    rows = [
        ("input.boxes", description.has_boxes, BOXES in ports),
        ("input.type", own, ports[INPUT].type),
        ("normalise.order", pipeline.channels, channels),
        ("normalise.mean", len(pipeline.mean), channels),
        ("normalise.scale", len(pipeline.scale), channels),
    ]
    widths = [len(task.class_names) for task in description.tasks] or [len(description.class_names)]
    rows += [
        ("class_names", width, ports[name].shape[-1]) for name, width in zip(description.outputs, widths, strict=True)
    ]
    if description.kind != "image":
        rows += [(f"resize.size[{index}]", pipeline.size[index], size[index]) for index in (0, 1)]
    for field, said, found in rows:
        if found is not None and said != found:
            yield f"{field} is for {said}, the network for {found}"


def _warn_of_crop(experiment: pb.Experiment, description: Description, path: Path) -> None:
    config, is_cropped = experiment.eval_config, description.pipeline.is_cropped
    if config.HasField("enable_center_crop") and config.enable_center_crop != is_cropped:
        _log.warning(
            "eval_config.enable_center_crop is %s, but %s was exported with %s, which holds",
            *(str(config.enable_center_crop).lower(), path, str(is_cropped).lower()),
        )
