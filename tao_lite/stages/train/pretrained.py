"""The network a training starts from: fresh, with foreign weights, or a checkpoint of tao_lite, pruned or not."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from tao_lite import checkpoint as checkpoints
from tao_lite.checkpoint import Checkpoint
from tao_lite.errors import CheckpointError, SpecError
from tao_lite.models import architectures, head
from tao_lite.models.weights import assignment
from tao_lite.pruning import blocks, surgery, trace
from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec import tasks
from tao_lite.spec.tasks import Tasks

if TYPE_CHECKING:
    from tao_lite.models.weights.weights import Weights

# Fields of model_config that decide which layers there are; a pruned network has those of its own spec.
_STRUCTURE = ("arch", "n_layers", "retain_head", "use_batch_norm", "use_bias", "use_pooling", "all_projections")

_log = logging.getLogger(__name__)


def network(experiment: pb.Experiment, class_names: Sequence[str]) -> nn.Module:
    """The spec's network for these classes, with the weights of pretrained_model_path where that is set.

    Raises:
        CheckpointError: the weights can't be read or do not fit.
        SpecError: the spec's network is not the one that was pruned.
    """
    built = architectures.build(experiment.model_config, len(class_names))
    source = experiment.train_config.pretrained_model_path
    if not source:
        return built
    if checkpoints.is_ours(Path(source)):
        checkpoint = checkpoints.load(Path(source))
        # Outputs mean classes, so the head is new where the classes or their order are not the same.
        other_classes = checkpoint.class_names if checkpoint.class_names != tuple(class_names) else ()
        found = _ours(checkpoint, experiment.model_config, source)
    else:
        # Only here: it loads timm, which takes half a second.
        from tao_lite.models.weights import weights

        other_classes = ()
        found = weights.read(source, experiment.model_config)
    if found.note:
        _log.info("%s: %s", source, found.note)
    head_name = head.find(built)
    tensors = {name: found.tensors[name] for name in found.tensors if not (other_classes and _is_of(head_name, name))}
    if found.full:
        blocks.remove_absent(built, found.tensors)
        shapes = _widths(built, found.tensors, found.full)
        surgery.resize_like(built, {name: torch.empty(shape, device="meta") for name, shape in shapes.items()})
        _start_afresh(built, {name for name, tensor in tensors.items() if list(tensor.shape) == shapes.get(name)})
        _refuse_odd_widths(built, architectures.input_shape(experiment.model_config), source)
    account = assignment.assign(built, tensors, head=head_name, source=source)
    _log.info("%s", replace(account, other_classes=other_classes))
    if other_classes and (now := tasks.of(experiment, class_names)):
        before = tasks.of(checkpoint.experiment, other_classes)
        kept = _keep_tasks(built.get_submodule(head_name), head_name, found.tensors, before, now)
        _log.info("%s: took the outputs of %s", source, ", ".join(kept) or "no task")
    _warn_of_other_input(found, experiment.train_config.preprocess_mode, source)
    return built


def _keep_tasks(layer: nn.Module, name: str, tensors: Mapping[str, Tensor], before: Tasks, now: Tasks) -> Iterator[str]:
    """Give the layer that makes the logits the outputs of tasks that the tensors have with the same classes; these."""
    known = {(task.name, task.class_names): task for task in before}
    for task in now:
        theirs = known.get((task.name, task.class_names))
        pairs = [(own, tensors.get(f"{name}.{key}")) for key, own in layer.named_parameters()]
        if theirs and all(other is not None and other.shape[1:] == own.shape[1:] for own, other in pairs):
            for own, other in pairs:
                assert other is not None
                own.data[task.outputs] = other[theirs.outputs]
            yield task.name


def _ours(found: Checkpoint, model_config: pb.ModelConfig, source: str) -> "Weights":
    """The tensors of a checkpoint of tao_lite."""
    from tao_lite.models.weights.weights import Weights

    theirs = found.experiment
    with torch.device("meta"):
        plain = architectures.build(theirs.model_config, len(found.class_names)).state_dict()
    full = {name: tensor.shape for name, tensor in plain.items()}
    is_pruned = full != {name: tensor.shape for name, tensor in found.network.items()}
    if is_pruned:
        _refuse_other_structure(theirs.model_config, model_config, source)
    mode = theirs.train_config.preprocess_mode
    return Weights(
        tensors=found.network,
        mode=mode,
        normalisation=f'"{mode}", with which it was trained',
        note="is a pruned network; its widths were kept" if is_pruned else "",
        full=full if is_pruned else None,
    )


def _refuse_other_structure(theirs: pb.ModelConfig, ours: pb.ModelConfig, source: str) -> None:
    switches = architectures.find(theirs).switches
    for name in _STRUCTURE:
        if getattr(theirs, name) != getattr(ours, name) and (name == "arch" or name in switches):
            raise SpecError(
                f"model_config.{name} is {getattr(ours, name)!r}, but the pruned network in {source} has "
                f"{getattr(theirs, name)!r}; set it to that"
            )


def _widths(built: nn.Module, tensors: Mapping[str, Tensor], full: Mapping[str, torch.Size]) -> dict[str, list[int]]:
    """Shapes of the spec's network with the widths of the tensors.

    `full` has the shapes before the file's network was narrowed. An axis that is longer or shorter in ours than there
    counts channels at each position of a map, as the linear layer behind a flattened map does.
    """
    own = built.state_dict()
    shapes = {name: list(tensor.shape) for name, tensor in own.items()}
    for name, shape in shapes.items():
        if name in tensors and name in full and tensors[name].dim() == len(shape) == len(full[name]):
            axes = zip(tensors[name].shape, shape, full[name], strict=True)
            shapes[name] = [width * ours // theirs for width, ours, theirs in axes]
    first = next(name for name, layer in built.named_modules() if isinstance(layer, nn.Conv2d))
    last = head.find(built)
    # Channels of the image and classes are the spec's.
    shapes[f"{first}.weight"][1] = own[f"{first}.weight"].shape[1]
    for name, tensor in own.items():
        if _is_of(last, name):
            shapes[name][0] = tensor.shape[0]
        elif name.endswith(".bias") and name not in tensors:
            shapes[name] = shapes[f"{name.removesuffix('.bias')}.weight"][:1]
    return shapes


def _start_afresh(network: nn.Module, filled: set[str]) -> None:
    """Initialise the layers with tensors that are not filled: resized ones hold whatever was in memory."""
    for name, layer in network.named_modules():
        own = [f"{name}.{key}" for key, _ in layer.named_parameters(recurse=False)]
        if isinstance(layer, nn.Conv2d | nn.Linear | nn.BatchNorm2d) and not filled.issuperset(own):
            layer.reset_parameters()


def _refuse_odd_widths(network: nn.Module, input_shape: trace.Shape, source: str) -> None:
    try:
        ghost = trace.abstract(network)
        ghost(trace.images(ghost, input_shape, batch_size=1))
    except (RuntimeError, ValueError) as error:
        raise CheckpointError(
            f"{source}: has layers of other widths than the spec's network, and as widths of that network they do not "
            f"fit together; change model_config or train_config.pretrained_model_path ({error})"
        ) from error


def _warn_of_other_input(found: "Weights", mode: str, source: str) -> None:
    if mode != found.mode:
        remedy = f'set it to "{found.mode}"' if found.mode else "no mode gives that, so training has to adapt them"
        _log.warning(
            'train_config.preprocess_mode is "%s", but %s expects %s; %s', mode, source, found.normalisation, remedy
        )


def _is_of(layer: str, name: str) -> bool:
    return name.startswith(f"{layer}.")
