"""What a stage would say about a spec's network and learning rate, said when the spec is loaded. Imports no torch."""

from collections.abc import Iterator

from tao_lite import schedule
from tao_lite.errors import SpecError
from tao_lite.models import architectures
from tao_lite.models.architectures import Architecture
from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec import dialects
from tao_lite.spec.findings import Finding, Level

# Fields of model_config that mean the same for every architecture, or have a rule of their own.
_NO_SWITCHES = ("arch", "input_image_size", "resize_interpolation_method", "freeze_blocks", "byom_model")


def check(experiment: pb.Experiment, stage: str) -> Iterator[Finding]:
    """Findings that need the table of architectures or the schedule; a `Check` for `spec.load`."""
    if stage == "train" and experiment.model_config.arch:
        yield from _network(experiment)
    if stage == "train" and experiment.train_config.lr_config.WhichOneof("lr_scheduler"):
        yield from _learning_rate(experiment)


def _network(experiment: pb.Experiment) -> Iterator[Finding]:
    model = experiment.model_config
    try:
        architecture = architectures.find(model)
    except SpecError as error:
        path, _, text = str(error).partition(" is ")
        is_planned = model.arch in dialects.ARCHITECTURES and model.arch not in architectures.ARCHITECTURES
        yield Finding(Level.BLOCKER if is_planned else Level.ERROR, path, f"found {text}")
        return
    known_blocks = architecture.blocks(model)
    unknown = sorted(set(model.freeze_blocks) - set(known_blocks))
    if unknown:
        ignored, known = (", ".join(map(str, numbers)) for numbers in (unknown, known_blocks))
        text = f"ignores {ignored}: the blocks of {model.arch} are {known}"
        yield Finding(Level.WARNING, "model_config.freeze_blocks", text)
    yield from _ineffective(architecture, model)


def _ineffective(architecture: Architecture, model: pb.ModelConfig) -> Iterator[Finding]:
    """Switches of other networks."""
    for field, value in model.ListFields():
        is_used = field.name in architecture.switches or field.name in _NO_SWITCHES
        needs_norm = field.name in ("batch_norm_config", "freeze_bn") and not model.use_batch_norm
        if value and (needs_norm or not is_used):
            why = "without use_batch_norm" if is_used else f"on {architecture.name}"
            yield Finding(Level.WARNING, f"model_config.{field.name}", f"has no effect {why}")


def _learning_rate(experiment: pb.Experiment) -> Iterator[Finding]:
    exact = experiment.compat == pb.Compat.TAO_EXACT
    try:
        warnings = schedule.warnings(schedule.make_schedule(experiment.train_config.lr_config, exact=exact))
    except (SpecError, ArithmeticError):
        return  # a wrong setting, which a rule refuses at its own place
    for warning in warnings:
        path, _, text = warning.partition(": ")
        yield Finding(Level.WARNING, path, text)
