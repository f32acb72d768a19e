"""Export a checkpoint to ONNX: checked against PyTorch before it is kept, with all that is needed to use it inside."""

import importlib.util
import json
import logging
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tao_lite import checkpoint as checkpoints
from tao_lite.checkpoint import Checkpoint
from tao_lite.data.preprocess import Preprocess
from tao_lite.errors import RunError
from tao_lite.files import writing
from tao_lite.models import architectures
from tao_lite.monitor import console
from tao_lite.pruning.trace import Shape
from tao_lite.run import Run, Summary
from tao_lite.stages.export import deepstream, opset

# TAO's names, so that what was made for its files fits.
INPUT, OUTPUT = "input_1", "predictions/Softmax"
TOLERANCE = 1e-4  # of a probability
_PACKAGES = ("onnx", "onnxscript", "onnxruntime")


@dataclass(frozen=True, kw_only=True)
class Form:
    """What the file is to be like."""

    path: Path
    batch_size: int = -1  # 0 or less: any
    raw_input: bool = False
    for_deepstream: bool = False
    opset: int | None = None  # None: PyTorch's choice


class _Deployed(nn.Module):
    """The network from its input to probabilities; with a preprocess, from RGB or grey pixels, 0 to 255, on."""

    def __init__(self, network: nn.Module, preprocess: Preprocess | None) -> None:
        super().__init__()
        self.network, self.preprocess = network, preprocess

    def forward(self, images: Tensor) -> Tensor:
        """[B, C, H, W] -> float32 [B, num_classes], rows that sum to 1."""
        if self.preprocess:
            images = self.preprocess.exportable(images)
        logits: Tensor = self.network(images)
        return logits.softmax(dim=1)


def export(run: Run, model: Path, form: Form) -> Summary:
    """Write the model as ONNX; the summary is export.json in the results folder.

    Raises:
        CheckpointError: the model can't be read.
        RunError: onnx is not installed, the file would not compute what the network computes, or the form can't be had.
    """
    refuse_missing(*_PACKAGES)
    found = checkpoints.load(model)
    labels = deepstream.labels(found.class_names) if form.for_deepstream else ""
    preprocess = checkpoints.pipeline(found).preprocess
    shape = architectures.input_shape(found.experiment.model_config)
    deployed = _Deployed(checkpoints.network(found), preprocess if form.raw_input else None).eval()
    images = _images(form, shape)
    file = _exported(deployed, images, form)
    if form.opset is not None:
        opset.refuse_other(file, form.opset, lambda other: _works(other.SerializeToString(), deployed, images))
    for key, value in _facts(found, form).items():
        entry = file.metadata_props.add()
        entry.key, entry.value = key, value
    content: bytes = file.SerializeToString()
    difference = _difference(content, deployed, images)
    writing.write(form.path, content)
    console.line(f"Wrote {form.path}, {len(content) / 1e6:.1f} MB; differs from PyTorch by at most {difference:.1e}")
    if form.for_deepstream:
        config = deepstream.config(preprocess, shape, len(found.class_names), raw_input=form.raw_input)
        _write_deepstream(form, labels, config)
    summary = {"onnx_path": str(form.path), "bytes": len(content), "largest_difference": difference}
    writing.write_json(run.summary("export"), summary)
    return summary


def refuse_missing(*packages: str) -> None:
    """Raise where a package is not installed.

    Raises:
        RunError: naming those that are missing and how to get them.
    """
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    if missing:
        raise RunError(f"export needs {', '.join(missing)}; install it with pip install 'tao-lite[export]'")


def _images(form: Form, shape: Shape) -> Tensor:
    """Noise to trace and to compare with."""
    size = (form.batch_size if form.batch_size > 0 else 2, *shape)
    generator = torch.Generator().manual_seed(0)
    if form.raw_input:
        return torch.randint(0, 256, size, dtype=torch.uint8, generator=generator)
    return torch.randn(size, generator=generator)


def _exported(deployed: nn.Module, images: Tensor, form: Form) -> Any:
    """The ONNX file, as onnx's own message; of another opset than the form's where PyTorch can't convert it."""
    shapes = ({0: torch.export.Dim("batch")},) if form.batch_size <= 0 else None
    # The exporter reports its progress as log lines and warnings of its own libraries.
    for library in ("torch.onnx", "onnxscript"):
        logging.getLogger(library).setLevel(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            deployed,
            (images,),
            dynamo=True,
            dynamic_shapes=shapes,
            input_names=[INPUT],
            output_names=[OUTPUT],
            external_data=False,
            verbose=False,
            opset_version=form.opset,
        )
    assert program is not None
    return program.model_proto


def _facts(found: Checkpoint, form: Form) -> dict[str, str]:
    """What a user of the file must know."""
    facts: dict[str, object] = {
        "class_names": found.class_names,
        "preprocess": "in the graph: give uint8 RGB or grey" if form.raw_input else found.preprocess,
        "input_image_size": found.experiment.model_config.input_image_size,
        "spec": found.spec,
    }
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in facts.items()}


def _difference(content: bytes, deployed: nn.Module, images: Tensor) -> float:
    """The largest difference of a probability between the file and the network.

    Raises:
        RunError: it is above the tolerance.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (outputs,) = session.run([OUTPUT], {INPUT: images.numpy()})
    with torch.inference_mode():
        difference = float((torch.from_numpy(outputs) - deployed(images)).abs().max())
    if not difference <= TOLERANCE:
        raise RunError(
            f"the exported network differs from PyTorch's by {difference:.1e} of a probability, more than "
            f"{TOLERANCE:.0e}; nothing was written; please report the architecture and the versions of torch and onnx"
        )
    return difference


def _works(content: bytes, deployed: nn.Module, images: Tensor) -> bool:
    """Whether ONNX Runtime takes the file and computes what the network computes."""
    from onnxruntime.capi import onnxruntime_pybind11_state as errors

    try:
        _difference(content, deployed, images)
    except (RunError, errors.Fail, errors.InvalidGraph, errors.NotImplemented):
        return False
    return True


def _write_deepstream(form: Form, labels: str, config: str) -> None:
    names, settings = form.path.with_name("labels.txt"), form.path.with_name("nvinfer_config.txt")
    writing.write(names, labels)
    writing.write(settings, config)
    console.line(f"Wrote {names} and {settings}")
