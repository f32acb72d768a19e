"""What a stage would say about a spec's network and learning rate, said when the spec is loaded. Imports no torch."""

import contextlib
from collections.abc import Collection, Iterator

from tao_lite import schedule
from tao_lite.errors import SpecError
from tao_lite.models import architectures
from tao_lite.models.architectures import Architecture
from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec.findings import Finding, Level

# Fields of model_config that mean the same for every architecture, or have a rule of their own.
_NO_SWITCHES = (
    "arch",
    "input_image_size",
    "resize_interpolation_method",
    "freeze_blocks",
    "trained_blocks",
    "byom_model",
)


def check(experiment: pb.Experiment, stage: str) -> Iterator[Finding]:
    """Findings that need the table of architectures or the schedule; a `Check` for `spec.load`."""
    if stage == "train" and experiment.model_config.arch:
        yield from _network(experiment)
    if stage == "train" and experiment.train_config.lr_config.WhichOneof("lr_scheduler"):
        yield from _learning_rate(experiment)


def _network(experiment: pb.Experiment) -> Iterator[Finding]:
    model = experiment.model_config
    if wrong := architectures.finding(model):
        yield wrong
        return
    architecture = architectures.find(model)
    # The blocks of other libraries' networks are known only when these are built.
    if "/" not in model.arch:
        yield from _odd_blocks(model, architecture.blocks(model))
    if "use_batch_norm" in architecture.switches and not model.HasField("use_batch_norm"):
        text = "unset means no batch normalisation, as in TAO; most networks want use_batch_norm: true"
        yield Finding(Level.WARNING, "model_config.use_batch_norm", text)
    for field, value in model.ListFields():
        why = "" if field.name in _NO_SWITCHES else _why_ineffective(architecture, model, field.name, bool(value))
        if why:
            yield Finding(Level.WARNING, f"model_config.{field.name}", f"has no effect {why}")


def _odd_blocks(model: pb.ModelConfig, blocks: Collection[int]) -> Iterator[Finding]:
    unknown = sorted(set(model.freeze_blocks) - set(blocks))
    if unknown:
        ignored, known = (", ".join(map(str, numbers)) for numbers in (unknown, blocks))
        text = f"ignores {ignored}: the blocks of {model.arch} are {known}"
        yield Finding(Level.WARNING, "model_config.freeze_blocks", text)
    if model.trained_blocks >= len(blocks):
        text = f"has no effect: {model.arch} has {len(blocks)} blocks"
        yield Finding(Level.WARNING, "model_config.trained_blocks", text)


def _why_ineffective(architecture: Architecture, model: pb.ModelConfig, switch: str, is_on: bool) -> str:
    """Why a switch that is written changes nothing, or nothing where it does or says what is so anyway."""
    if switch in architecture.always:
        return "" if is_on else f"on {architecture.name}: it is always on"
    if switch not in architecture.switches:
        return f"on {architecture.name}" if is_on else ""
    can_be_off = "use_batch_norm" in architecture.switches and not model.use_batch_norm
    needs_norm = switch in ("batch_norm_config", "freeze_bn")
    return "without use_batch_norm" if is_on and needs_norm and can_be_off else ""


def _learning_rate(experiment: pb.Experiment) -> Iterator[Finding]:
    lr_config, exact = experiment.train_config.lr_config, experiment.compat == pb.Compat.TAO_EXACT
    yield from schedule.warm_up_findings(lr_config)
    # A wrong setting is refused by a rule, at its own place.
    with contextlib.suppress(SpecError, ArithmeticError):
        yield from schedule.findings(schedule.make_schedule(lr_config, exact=exact))
