"""Export a checkpoint to ONNX: checked against PyTorch before it is kept, with all that is needed to use it inside."""

import logging
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from tao_lite.data.description import ACCEPTED, BOXES, EMBEDDING, INPUT, Description, Kind
from tao_lite.data.pipeline import Pipeline
from tao_lite.errors import RunError, refuse_missing
from tao_lite.files import writing
from tao_lite.monitor import console
from tao_lite.run import Run, Summary
from tao_lite.spec.load import Spec
from tao_lite.stages.export import card, deepstream, opset, tao_deploy
from tao_lite.stages.export.graph import Deployed, WithMore
from tao_lite.training import runtimes
from tao_lite.training.trained import Trained

TOLERANCES: Mapping[Kind, float] = {"tensor": 1e-3, "pixels": 1e-3, "image": 1e-2}
"""Of a probability. Where the graph resizes, a value may be rounded to another level."""
PACKAGES = ("onnx", "onnxscript", "onnxruntime")

Inputs = tuple[Tensor, ...]
"""Images and, where the file takes them, boxes."""


@dataclass(frozen=True, kw_only=True)
class Form:
    """What the file is to be like."""

    path: Path = Path("model.onnx")
    batch_size: int = -1  # images, or boxes in one; 0 or less: any number
    kind: Kind = "tensor"
    has_boxes: bool = False
    has_embedding: bool = False
    has_accepted: bool = True  # where the network has a rule for that
    for_deepstream: bool = False
    for_tao_deploy: bool = False
    opset: int | None = None  # None: PyTorch's choice

    @property
    def is_open(self) -> bool:
        """Whether an input's size is left to who uses the file."""
        return self.batch_size <= 0 or self.kind == "image"


class Made(NamedTuple):
    """A file's content, what it says of itself, and by how much its probabilities differ from PyTorch's."""

    content: bytes
    description: Description
    difference: float


def export(spec: Spec, run: Run, model: Path, form: Form) -> Summary:
    """Write the model as ONNX, as the spec evaluates it; the summary is export.json in the results folder.

    Raises:
        CheckpointError: the model can't be read.
        RunError: onnx is not installed, the file would not compute what the network computes, or the form can't be had.
    """
    refuse_missing("export", "export", *PACKAGES)
    trained = Trained.of(model, torch.device("cpu"), spec.experiment)
    if form.for_deepstream:
        refuse_tasks(trained, "--gen_ds_config")
        form = without_accepted(trained, form, "nvinfer reads probabilities alone")
    labels = deepstream.labels(trained.class_names) if form.for_deepstream else ""
    made = make(trained, form)
    writing.write(form.path, made.content)
    size = f"{len(made.content) / 1e6:.1f} MB"
    console.line(f"Wrote {form.path}, {size}; differs from PyTorch by at most {made.difference:.1e}")
    if form.for_deepstream:
        write_deepstream(form, labels, deepstream.config(made.description))
    summary = {"onnx_path": str(form.path), "bytes": len(made.content), "largest_difference": made.difference}
    writing.write_json(run.summary("export"), summary)
    return summary


def refuse_tasks(trained: Trained, what: str) -> None:
    """Refuse networks of several tasks for what reads one output.

    Raises:
        RunError: it is one.
    """
    if trained.tasks:
        raise RunError(
            f"{what}: {trained.path} has several tasks, which only a plain ONNX file can hold; use export without it"
        )


def without_accepted(trained: Trained, form: Form, why: str) -> Form:
    """The form without the output `accepted`; the user is told if the network has a rule for it."""
    if trained.rule:
        console.line(f"Without the rule for rejecting, which has no output {ACCEPTED} there: {why}")
    return replace(form, has_accepted=False)


def make(trained: Trained, form: Form) -> Made:
    """The network as ONNX, compared with PyTorch.

    Raises:
        RunError: the file would not compute what the network computes, or the form can't be had.
    """
    if form.kind == "image" and trained.pipeline.geometry == "tao_crop":
        raise RunError(
            "--input image: no graph cuts a picture's middle as TAO does (compat: TAO_EXACT), at whole pixels; leave "
            "it out, or export with --set compat=CORRECTED, which cuts at fractions of them"
        )
    fed = _fed(trained.pipeline, form)
    plain = Deployed(trained.network, trained.pipeline, form.kind, fed, trained.tasks).eval()
    rule = trained.rule if form.has_accepted else None
    more = WithMore(plain, rule, has_embedding=form.has_embedding).eval()
    deployed = more if rule or form.has_embedding else plain
    description = describe(trained, form)
    outputs = [*description.outputs, *([ACCEPTED] if rule else []), *([EMBEDDING] if form.has_embedding else [])]
    inputs = samples(form, trained.pipeline)
    file = _without_notes(exported(deployed, inputs[0], form, outputs).model_proto)
    if form.opset is not None:
        opset.refuse_other(file, form.opset, lambda other: _works(other.SerializeToString(), deployed, inputs))
    for key, value in {"preprocess": description.to_text(), "spec": card.public_spec(trained.found)}.items():
        entry = file.metadata_props.add()
        entry.key, entry.value = key, value
    content: bytes = file.SerializeToString()
    return Made(content, description, _difference(content, deployed, inputs))


def describe(trained: Trained, form: Form) -> Description:
    """How the network in that form is fed and read."""
    return Description(
        pipeline=_fed(trained.pipeline, form),
        class_names=trained.class_names,
        kind=form.kind,
        has_boxes=form.has_boxes,
        tasks=trained.tasks,
        reject=trained.rule.numbers() if trained.rule and form.has_accepted else {},
    )


def _fed(pipeline: Pipeline, form: Form) -> Pipeline:
    """How the program that it is for normalises a tensor, which the graph corrects."""
    if form.kind == "tensor" and form.for_tao_deploy:
        return tao_deploy.fed(pipeline)
    if form.kind == "tensor" and form.for_deepstream and (scale := deepstream.scale(pipeline)):
        return replace(pipeline, scale=(scale,) * pipeline.channels)
    return pipeline


def samples(form: Form, pipeline: Pipeline) -> list[Inputs]:
    """Inputs of noise: to trace with, and then to compare with; of other sizes where the form leaves them open."""
    return [_noise(form, pipeline, number) for number in range(2 if form.is_open else 1)]


def _noise(form: Form, pipeline: Pipeline, number: int) -> Inputs:
    batch = form.batch_size if form.batch_size > 0 else 2 + number
    channels, height, width = pipeline.shape
    generator = torch.Generator().manual_seed(number)
    if form.kind == "tensor" and form.for_tao_deploy:
        return (2 * torch.rand((batch, channels, height, width), generator=generator) - 1,)
    if form.kind == "tensor":
        return (torch.randn((batch, channels, height, width), generator=generator),)
    if form.kind == "image":
        height, width = 2 * height + 5 + number, width + 37
    size = (1 if form.has_boxes else batch, channels, height, width)
    images = torch.randint(0, 256, size, dtype=torch.uint8, generator=generator)
    if not form.has_boxes:
        return (images,)
    return images, torch.tensor([[number, 2, width - 3, height - 1 - index] for index in range(batch)]).float()


def shapes(form: Form, inputs: Inputs) -> tuple[dict[int, Any], ...]:
    """Which sizes of each input are left open, as torch.export takes it."""
    found: list[dict[int, Any]] = [{} for _ in inputs]
    if form.batch_size <= 0:
        found[-1][0] = torch.export.Dim("batch")
    if form.kind == "image":
        found[0] |= {2: torch.export.Dim("height"), 3: torch.export.Dim("width")}
    return tuple(found)


def exported(deployed: nn.Module, inputs: Inputs, form: Form, outputs: Sequence[str]) -> torch.onnx.ONNXProgram:
    """The network as ONNX and as PyTorch's program; of another opset than the form's where PyTorch can't convert it."""
    # The exporter reports its progress as log lines and warnings of its own libraries.
    for library in ("torch.onnx", "onnxscript"):
        logging.getLogger(library).setLevel(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            deployed,
            inputs,
            dynamo=True,
            dynamic_shapes=shapes(form, inputs),
            input_names=[INPUT, BOXES][: len(inputs)],
            output_names=outputs,
            external_data=False,
            verbose=False,
            opset_version=form.opset,
        )
    assert program is not None
    return program


def _without_notes(file: Any) -> Any:
    """onnx's message without which line of which file on this machine a node comes from."""
    for part in (file.graph, *file.graph.node, *file.graph.value_info, *file.graph.input, *file.graph.output):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    return file


def _difference(content: bytes, deployed: Deployed | WithMore, samples: Sequence[Inputs]) -> float:
    """The largest difference of a probability between the file and the network; of a feature, by the largest of all.

    Raises:
        RunError: it is above the tolerance.
    """
    session = runtimes.import_onnxruntime().InferenceSession(content, providers=["CPUExecutionProvider"])
    difference = 0.0
    for inputs in samples:
        feed = {name: values.numpy() for name, values in zip((INPUT, BOXES), inputs, strict=False)}
        outputs = map(torch.from_numpy, session.run(None, feed))
        with torch.inference_mode():
            expected = deployed(*inputs)
        parts = expected if isinstance(expected, tuple) else (expected,)
        for found, right in ((found.float(), right.float()) for found, right in zip(outputs, parts, strict=True)):
            difference = max(difference, float((found - right).abs().max() / right.abs().max().clamp(min=1)))
    if not difference <= (tolerance := TOLERANCES[deployed.kind]):
        raise RunError(
            f"the exported network differs from PyTorch's by {difference:.1e} of a probability, more than "
            f"{tolerance:.0e}; nothing was written; please report the architecture and the versions of torch and onnx"
        )
    return difference


def _works(content: bytes, deployed: Deployed | WithMore, samples: Sequence[Inputs]) -> bool:
    """Whether ONNX Runtime takes the file and computes what the network computes."""
    errors = runtimes.import_onnxruntime().capi.onnxruntime_pybind11_state

    try:
        _difference(content, deployed, samples)
    except (RunError, errors.Fail, errors.InvalidArgument, errors.InvalidGraph, errors.NotImplemented):
        return False
    return True


def write_deepstream(form: Form, labels: str, config: str) -> None:
    """Write DeepStream's two files beside the network."""
    names, settings = form.path.with_name("labels.txt"), form.path.with_name("nvinfer_config.txt")
    writing.write(names, labels)
    writing.write(settings, config)
    console.line(f"Wrote {names} and {settings}")
