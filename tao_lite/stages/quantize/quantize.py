"""Quantise a checkpoint to an INT8 ONNX file, which is kept only if it is nearly as accurate as in FP32."""

import logging
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch

from tao_lite.data.from_spec import loader
from tao_lite.data.left_out import UNREADABLE
from tao_lite.errors import CheckpointError, RunError, listed, refuse_missing
from tao_lite.files import writing
from tao_lite.metrics.best import TOP1
from tao_lite.monitor import console
from tao_lite.run import Run, Summary
from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec import schema
from tao_lite.spec.load import Spec
from tao_lite.spec.paths import is_deployed
from tao_lite.stages.export import deepstream
from tao_lite.stages.export.export import PACKAGES, Form, Made, make, refuse_tasks, without_accepted, write_deepstream
from tao_lite.stages.quantize import calibrate, files, graph, images
from tao_lite.stages.quantize.calibrate import Method
from tao_lite.stages.quantize.fine_tune import fine_tune
from tao_lite.stages.quantize.graph import INT8
from tao_lite.stages.quantize.judge import Judge
from tao_lite.stages.quantize.placing import Layout
from tao_lite.stages.quantize.search import Found, Search
from tao_lite.stages.quantize.simulate import simulation
from tao_lite.training import runtimes
from tao_lite.training.trained import Trained

LEAST_OPSET = 13

_log = logging.getLogger(__name__)


def quantize(spec: Spec, run: Run, model: Path, form: Form) -> Summary:
    """Write the checkpoint as INT8, as quantize_config says; the summary is quantize.json in the results folder.

    Raises:
        CheckpointError: the model is no checkpoint of ours.
        DataError: images to calibrate or to compare on can't be read, or are too few.
        RunError: a runtime is missing, or the file would lose more than max_accuracy_drop: nothing is written.
        TaoLiteError, Interrupted: as `train`, where it is fine-tuned.
    """
    refuse_missing("quantize", "export", *PACKAGES)
    refuse_deployed(model)
    if form.opset is not None and form.opset < LEAST_OPSET:
        raise RunError(f"--target_opset {form.opset}: INT8 by channel needs at least {LEAST_OPSET}")
    world = replace(run.world, device=torch.device("cpu"))
    trained = Trained.of(model, world.device, spec.experiment)
    refuse_tasks(trained, "quantize")
    form = without_accepted(trained, form, "it was fitted in float, and INT8 changes scores")
    experiment, config = trained.experiment, trained.experiment.quantize_config
    _refuse_odd_form(form, config)
    labels = deepstream.labels(trained.class_names) if form.for_deepstream else ""
    with tempfile.TemporaryDirectory() as folder:
        judge = Judge.of(experiment, trained.class_names, world, Path(folder) / f"candidate{form.path.suffix}")
        made = make(trained, form)
        search, num_images = _calibrated(trained, made, form, judge)
        bytes_fp32, found, tuned = len(search.fp32), search.whole(), dict[str, object]()
        if not search.holds(found) and config.fine_tune_epochs:
            search, found, tuned = _fine_tuned(spec, run, trained=trained, form=form, search=search, found=found)
        if not search.holds(found):
            found = search.spare(found)
    facts = {**_facts(search, found), **_settings(config), "calibration_images": num_images, **tuned}
    summary = _write(run, form, found, bytes_fp32, facts)
    if form.for_deepstream:
        write_deepstream(form, labels, f"{deepstream.config(made.description)}network-mode=1\n")  # INT8
    return summary


def _refuse_odd_form(form: Form, config: pb.QuantizeConfig) -> None:
    is_ir, has_ending = config.target == pb.QuantizeTarget.OPENVINO, form.path.suffix == files.IR_ENDING
    if is_ir:
        refuse_missing("quantize_config.target OPENVINO", "openvino", "openvino")
    if is_ir != has_ending:
        raise RunError(f"{form.path}: a file for OPENVINO ends in {files.IR_ENDING}, and no other does; change -o")
    if is_ir and form.for_deepstream:
        raise RunError("--gen_ds_config: DeepStream reads no file for OPENVINO; set quantize_config.target=TENSORRT")


def _calibrated(trained: Trained, made: Made, form: Form, judge: Judge) -> tuple[Search, int]:
    """The search for the network's file, and how many images the ranges were found on."""
    experiment, config = trained.experiment, trained.experiment.quantize_config
    data_set = images.calibration(experiment, trained.class_names)
    network = graph.read(made.content)
    batch_size = calibrate.batch_size(network)
    data = loader(experiment, data_set, "eval", batch_size=batch_size, seed=0, world=judge.world)
    seen = made.description.pipeline.preprocess if form.kind == "tensor" else torch.nn.Identity()
    console.line(f"Calibrating on {data.num_examples} images")
    unread = data.report.number(UNREADABLE)
    ranges = calibrate.calibrate(network, lambda: images.arrays(data, seen, network.batch_size), _method(config))
    search = Search(
        graph=network,
        ranges=ranges,
        layout=Layout(for_tensorrt=config.target == pb.QuantizeTarget.TENSORRT, reduce_range=config.reduce_range),
        fp32=made.content,
        judge=judge,
        max_drop=schema.as_written(config.max_accuracy_drop),
        before=judge.evaluate(made.content, "Validation in FP32"),
    )
    return search, data.num_examples + unread - data.report.number(UNREADABLE)


def _fine_tuned(
    spec: Spec, run: Run, *, trained: Trained, form: Form, search: Search, found: Found
) -> tuple[Search, Found, dict[str, object]]:
    """The search for the network after its fine-tuning and its file, if that is better; and what came of it."""
    lost, epochs = search.drop(found), spec.experiment.quantize_config.fine_tune_epochs
    console.line(
        f"Calibration loses {lost:.4f} of {search.metric.words}, more than max_accuracy_drop, {search.max_drop:g}"
    )
    computed = simulation(trained, search.graph, search.ranges, search.layout)
    if computed.missing:
        _log.warning("not simulated, and so not learnt: the rounding of %s", listed(computed.missing))
    path = fine_tune(spec, run, trained, computed)
    content = make(Trained.of(path, trained.device, spec.experiment), form).content
    after = replace(search, graph=graph.read(content), fp32=content)
    better = after.whole()
    regained = lost - after.drop(better)
    console.line(f"Fine-tuning for {epochs} epochs regained {regained:.4f} of the {lost:.4f} that calibration lost")
    facts: dict[str, object] = {"fine_tune_epochs": epochs, "calibration_drop": lost, "regained": regained}
    return (after, better, facts) if regained > 0 else (search, found, facts)


def refuse_deployed(model: Path) -> None:
    """Return where the path is not that of a deployed network.

    Raises:
        CheckpointError: it is; says which kind, and what to give instead.
    """
    if not is_deployed(model):
        return
    remedy = "give the checkpoint, a .pth file of tao_lite"
    if model.suffix.lower() != ".onnx":
        raise CheckpointError(f"{model}: is a deployed network, and quantize takes a checkpoint; {remedy}")
    message = runtimes.read_onnx(model)
    if any(node.op_type in INT8 for node in message.graph.node):
        raise CheckpointError(f"{model}: is quantised already; {remedy}, to quantise it anew")
    if any(entry.key == "preprocess" for entry in message.metadata_props):
        raise CheckpointError(f"{model}: is an exported network, and quantize takes a checkpoint; {remedy}")
    raise CheckpointError(f"{model}: is not of tao_lite, so that nothing says how to feed it; {remedy}")


def _method(config: pb.QuantizeConfig) -> Method:
    match config.method:
        case pb.QuantizeMethod.ENTROPY:
            return Method(kind="ENTROPY")
        case pb.QuantizeMethod.PERCENTILE:
            return Method(kind="PERCENTILE", percentile=schema.as_written(config.percentile))
        case _:
            return Method()


def _facts(search: Search, found: Found) -> dict[str, object]:
    return {
        "top1": found.evaluation.top1,
        "top1_fp32": search.before.top1,
        **_by_metric(search, found),
        "accuracy_drop": search.drop(found),
        "validation_images": found.evaluation.num_images,
        "layers": len(search.graph.layers),
        "float_layers": search.layers_in_float(found),
        "float_operations": dict(search.graph.left()),
    }


def _by_metric(search: Search, found: Found) -> dict[str, object]:
    """What the drop is of, where that is not top-1."""
    if search.metric == TOP1:
        return {}
    key = search.metric.key
    values = {key: search.value(found.evaluation), f"{key}_fp32": search.value(search.before)}
    return {"best_metric": search.metric.name, **values}


def _settings(config: pb.QuantizeConfig) -> dict[str, object]:
    return {
        "method": pb.QuantizeMethod.Kind.Name(config.method),
        "target": pb.QuantizeTarget.Kind.Name(config.target),
        "max_accuracy_drop": schema.as_written(config.max_accuracy_drop),
    }


def _write(run: Run, form: Form, found: Found, bytes_fp32: int, facts: Mapping[str, object]) -> Summary:
    num_bytes = files.write(form.path, found.content)
    times_smaller = bytes_fp32 / num_bytes
    console.line(
        f"Wrote {form.path}, {num_bytes / 1e6:.1f} MB, {times_smaller:.2f} times smaller than in "
        f"FP32; top-1 {found.evaluation.top1:.4f}, in FP32 {facts['top1_fp32']:.4f}, on "
        f"{found.evaluation.num_images} validation images"
    )
    kept, left = facts["float_layers"], facts["float_operations"]
    assert isinstance(kept, dict)
    assert isinstance(left, dict)
    if kept:
        console.line(f"{len(kept)} of {facts['layers']} layers stay in float: {listed(kept)}")
    if left:
        console.line(f"In float for want of an INT8 form: {listed(f'{kind} ({n})' for kind, n in left.items())}")
    sizes = {"bytes": num_bytes, "bytes_fp32": bytes_fp32, "times_smaller": times_smaller}
    summary = {"onnx_path": str(form.path), **sizes, **facts}
    writing.write_json(run.summary("quantize"), summary)
    return summary
