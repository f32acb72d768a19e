"""One size: pruned in rounds, trained with the uncompressed network as teacher, exported, quantised; none made twice.

Each step is a stage in a folder of the size's own, which goes on where it was killed; size.json is written last.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tao_lite import checkpoint as checkpoints
from tao_lite.errors import DivergedError, InaccurateError, PruneError, RunError
from tao_lite.files import reading, writing
from tao_lite.metrics.best import TOP1
from tao_lite.monitor import console
from tao_lite.pruning import sizes as network_sizes
from tao_lite.run import Run
from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec.load import Spec
from tao_lite.stages.export.export import Form, export
from tao_lite.stages.prune import choice, retrain
from tao_lite.stages.prune.prune import prune
from tao_lite.stages.prune.rounds import rounds
from tao_lite.stages.prune.subject import Subject, load_subject
from tao_lite.stages.quantize.quantize import quantize
from tao_lite.stages.train import again

_SUMMARY = "size"


@dataclass(frozen=True, kw_only=True)
class Made:
    """What became of a size; without a failure all but the INT8 file's is there."""

    share: float
    metric: str = ""
    parameters: int = 0
    macs: int = 0
    value: float = 0.0  # of the metric, in FP32
    merit: float = 0.0  # the same, more being better
    value_int8: float | None = None
    merit_int8: float | None = None
    refused: str = ""  # why there is no INT8 file
    failure: str = ""


def is_made(run: Run, share: float) -> bool:
    """Whether the size is complete in the compression's folder."""
    return _summary(run, share).is_file()


def made(run: Run, share: float) -> Made:
    """What became of the size.

    Raises:
        RunError: its summary can't be read.
    """
    return Made(**reading.read_json(_summary(run, share), RunError))


def network_of(own: Run, model: Path, share: float) -> Path:
    """The size's checkpoint."""
    return model if share == 1 else replace(own, results=own.retrained).best


def make(spec: Spec, own: Run, model: Path, share: float) -> None:
    """Make the size in its folder, which is held; what can't be pruned or trained so is a failure of the size alone.

    Raises:
        TaoLiteError: a stage's.
        Interrupted: the same call goes on there.
    """
    try:
        found = _make(_spec_of(spec, model, share), own, model, share)
    except (PruneError, DivergedError) as error:
        console.line(f"Size {share:g} failed: {error}")
        found = Made(share=share, failure=str(error))
    writing.write_json(own.summary(_SUMMARY), vars(found))


def _make(spec: Spec, own: Run, model: Path, share: float) -> Made:
    subject = load_subject(spec, own)
    if share < 1:
        _train(spec, own, subject)
    source = network_of(own, model, share)
    if not own.summary("export").is_file():
        export(spec, own, source, Form(path=own.float_onnx, kind="pixels"))
    quantised = _quantised(spec, own, source)
    network = checkpoints.network(checkpoints.load(source)).eval()
    changes = network_sizes.compare(subject.network, network, subject.shape)
    name = "top1" if subject.metric == TOP1 else subject.metric.key
    refused = str(quantised.get("refused", ""))
    before = subject.metric.of(subject.evaluated(network)) if refused else float(quantised[f"{name}_fp32"])
    after = None if refused else float(quantised[name])
    return Made(
        share=share,
        metric=subject.metric.words,
        parameters=changes.parameters_after,
        macs=changes.macs_after,
        value=before,
        merit=subject.metric.merit(before),
        value_int8=after,
        merit_int8=None if after is None else subject.metric.merit(after),
        refused=refused,
    )


def _spec_of(spec: Spec, model: Path, share: float) -> Spec:
    """The spec, to prune the model to that share and to train it with the model as teacher, unless another is set."""
    experiment = pb.Experiment()
    experiment.CopyFrom(spec.experiment)
    experiment.ClearField("compress_config")  # what is wanted of the sizes may change between two calls
    source = str(model.absolute())
    experiment.prune_config.CopyFrom(choice.with_target(experiment.prune_config, "target_macs", share))
    experiment.prune_config.model_path = source
    experiment.prune_config.ClearField("output_path")
    if not experiment.train_config.HasField("distillation"):
        experiment.train_config.distillation.teacher_path = source
    return replace(spec, experiment=experiment)


def _train(spec: Spec, own: Run, subject: Subject) -> None:
    """Prune, and train the pruned network for the spec's epochs."""
    if not own.summary("prune").is_file():
        if spec.experiment.prune_config.rounds:
            rounds(spec, own, measure=False)
        else:
            prune(spec, own, measure=False)
    training = retrain.spec_of(spec, subject, spec.experiment.train_config.n_epochs)
    again.retrain(training, replace(own, results=own.retrained), own.pruned)


def _quantised(spec: Spec, own: Run, source: Path) -> Mapping[str, Any]:
    """The summary of the size's INT8 file; where there can be none, why."""
    run = replace(own, results=own.quantised)
    path = run.summary("quantize")
    if not path.is_file():
        try:
            quantize(spec, run, source, Form(path=own.int8_onnx, kind="pixels"))
        except InaccurateError as error:
            console.line(str(error))
            writing.write_json(path, {"refused": str(error)})
    found: Mapping[str, Any] = reading.read_json(path, RunError)
    return found


def _summary(run: Run, share: float) -> Path:
    return replace(run, results=run.size(share)).summary(_SUMMARY)
