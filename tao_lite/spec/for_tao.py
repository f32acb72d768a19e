"""A spec as TAO's own programs read it: without what they don't know, and with what they would take for 0."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from tao_lite.errors import SpecError
from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec import recipes, schema, tasks
from tao_lite.spec.bind import bind, join
from tao_lite.spec.findings import Finding, Place, note
from tao_lite.spec.load import as_line
from tao_lite.spec.starting import HEADER
from tao_lite.spec.text import write
from tao_lite.spec.text.syntax import Document, Field, Scalar
from tao_lite.spec.unbind import scalar, unbind
from tao_lite.spec.upgrade import converted

OURS = 100
"""Numbers of fields from here on are tao_lite's."""

_INSTEAD = {
    "Experiment.dataset_config": "TAO reads folders with a folder for each class, by sorted names",
    "Experiment.prune_config": "TAO's prune takes it as -pth, -eq, -pg, -nf and -el, and --normalizer",
    "Experiment.compat": "TAO computes as TAO_EXACT does",
    "Experiment.quantize_config": "TAO's export takes it as --data_type int8",
    "ModelConfig.resize_mode": "TAO squeezes pictures, or crops them by enable_center_crop",
    "OptimizerConfig.adamw": "TAO has none; name sgd, adam or rmsprop",
    "LRConfig.linear": "TAO has none; name step, soft_anneal or cosine",
    "LRConfig.warmup": "TAO warms up by soft_start of soft_anneal and cosine only",
    "TrainConfig.precision": "TAO trains in FP32, or in FP16 with --use_amp",
    "TrainConfig.checkpoint": "TAO keeps the weights of every epoch",
    "TrainConfig.early_stopping": "TAO trains all n_epochs",
    "TrainConfig.recipe": "what it says was written",
    # The two are TAO's own; only its training reads them.
    "VisualizerConfig.wandb_config": "tao-deploy refuses it; add it again for TAO's training",
    "VisualizerConfig.clearml_config": "tao-deploy refuses it; add it again for TAO's training",
}
"""What TAO does in the place of a field that it doesn't know."""
_WITHOUT = "TAO goes without it"

_WEIGHTS = (".hdf5", ".tlt")
_TOP = Place(1, 1)

_SAME_UNSET = {"ModelConfig.n_layers", "VisualizerConfig.enabled", "VisualizerConfig.num_images"}
"""Fields that TAO's code does not take for 0 where they are unset, or never reads."""
_ZERO_IF_EXACT = {
    "BatchNormConfig.momentum",
    *(f"AdamOptimizerConfig.{name}" for name in ("beta_1", "beta_2", "epsilon")),
    *(f"RmspropOptimizerConfig.{name}" for name in ("rho", "epsilon")),
}
"""Fields that TAO_EXACT takes for 0 too where they are unset."""

_ASKED = {
    "Experiment": ("model_config", "train_config"),
    "TrainConfig": ("val_dataset_path", "n_workers", "optimizer", "reg_config", "lr_config"),
    "EvalConfig": ("eval_dataset_path", "n_workers"),
    "SgdOptimizerConfig": ("lr",),
    "AdamOptimizerConfig": ("lr",),
    "RmspropOptimizerConfig": ("lr",),
}
"""What TAO's training refuses to do without."""


def upgraded(text: str, path: Path) -> tuple[str, list[Finding]]:
    """The text of a file, in any form and of any family, as text format for TAO; and what was changed, and why.

    The comments of what is left out go with it.

    Raises:
        SpecError: the text can't be parsed, is of another task or several, or holds what no version of TAO or we know.
    """
    document, notes = converted(text, path)
    recipes.complete(document.fields)
    bound = bind(document.fields)
    if bound.problems:
        raise SpecError("\n".join(as_line(path, problem) for problem in bound.problems))
    if tasks.is_used(bound.experiment):
        raise SpecError(f"{path}: dataset_config.format is MULTITASK, and TAO's classification_tf1 has one task only")
    found = _Change(bound.experiment).whole(document)
    return write.text(document), [*notes, *found]


def text_of(experiment: pb.Experiment) -> str:
    """The experiment as text format for TAO."""
    document = Document(unbind(experiment, lambda *_: None))
    _Change(experiment).whole(document)
    return write.text(document)


class _Change:
    """What of an experiment's tree is left out or added for TAO."""

    def __init__(self, experiment: pb.Experiment) -> None:
        is_exact = experiment.compat == pb.Compat.TAO_EXACT
        self._unwritten = _SAME_UNSET | (_ZERO_IF_EXACT if is_exact else set())
        self._found: dict[str, Finding] = {}

    def whole(self, document: Document) -> list[Finding]:
        """Change the tree; what was changed."""
        head = _head(document.fields)
        document.fields = self._block(document.fields, schema.EXPERIMENT, "", _TOP)
        rest = document.fields[0].comments if document.fields else document.closing
        rest[:1] = [*head, *(text for text in rest[:1] if text or not head)]
        return list(self._found.values())

    def _block(self, fields: Sequence[Field], message: Descriptor, path: str, place: Place) -> list[Field]:
        kept = [one for one in fields if self._is_kept(one, schema.fields(message)[one.name], join(path, one.name))]
        return [*kept, *self._added(kept, message, path, place)] if kept or not fields else []

    def _is_kept(self, one: Field, field: FieldDescriptor, path: str) -> bool:
        """Whether TAO gets the field, less what is left out of it."""
        if why := _why_not(field, one):
            self._found.setdefault(path, note(one.place, path, f"left out: {why}"))
            return False
        block = schema.block_type(field)
        if block and isinstance(one.value, list):
            was_empty, one.value = not one.value, self._block(one.value, block, path, one.place)
            return was_empty or bool(one.value)
        return True

    def _added(self, kept: Sequence[Field], message: Descriptor, path: str, place: Place) -> Iterator[Field]:
        """The fields that are unset and not 0 here."""
        names = {one.name for one in kept}
        for name, field in schema.fields(message).items():
            if name in names or not _is_theirs(field):
                continue
            if field.has_default_value and f"{message.name}.{name}" not in self._unwritten:
                value = scalar(field, field.default_value)
                self._tell(place, join(path, name), f"{write.scalar(value)} was written: TAO has no such default")
                yield Field(name, value, place, place)
            elif name in _ASKED.get(message.name, ()):
                self._tell(place, join(path, name), "TAO's training asks for it; tao-deploy does not")

    def _tell(self, place: Place, path: str, text: str) -> None:
        self._found[path] = note(place, path, text)


def _head(fields: Sequence[Field]) -> list[str]:
    """The comments that are of the whole file, up to an empty line, but for those that name our schema; now claimed."""
    comments = fields[0].comments if fields else []
    length = max((number for number, text in enumerate(comments, start=1) if not text), default=0)
    head, comments[:length] = comments[:length], []
    return head[len(HEADER) :] if tuple(head[: len(HEADER)]) == HEADER else head


def _why_not(field: FieldDescriptor, one: Field) -> str:
    """Why TAO can't be given the field, and what it does instead; nothing if it can."""
    message = field.containing_type
    name = f"{message.name}.{field.name}" if message else field.name
    if not _is_theirs(field):
        return _INSTEAD.get(name, _WITHOUT)
    value = one.value.text if isinstance(one.value, Scalar) else ""
    if name == "ModelConfig.arch" and "/" in value:
        return "TAO has no such network; tao-deploy doesn't ask, as the ONNX file is the network"
    if name in ("TrainConfig.pretrained_model_path", "EvalConfig.model_path") and not value.endswith(_WEIGHTS):
        return "TAO reads weights from .hdf5 and .tlt only"
    return ""


def _is_theirs(field: FieldDescriptor) -> bool:
    message = field.containing_type
    return field.number < OURS and f"{message.name if message else ''}.{field.name}" not in _INSTEAD
