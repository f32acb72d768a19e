"""The network a training starts from: fresh, with foreign weights, or a checkpoint of tao_lite, pruned or not."""

import logging
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from tao_lite import checkpoint as checkpoints
from tao_lite.checkpoint import Checkpoint
from tao_lite.errors import SpecError
from tao_lite.models import architectures, head, weights
from tao_lite.pruning import surgery
from tao_lite.spec import classification_pb2 as pb

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
        tensors = _ours(built, checkpoints.load(Path(source)), experiment.model_config, class_names, source)
    else:
        tensors = weights.read(source, experiment.model_config)
        if experiment.train_config.preprocess_mode != "torch":
            _log.warning(
                'train_config.preprocess_mode is "%s", but weights of torchvision and timm expect "torch"',
                experiment.train_config.preprocess_mode,
            )
    _log.info("%s", weights.assign(built, tensors, head=head.find(built), source=source))
    return built


def _ours(
    built: nn.Module, found: Checkpoint, model_config: pb.ModelConfig, class_names: Sequence[str], source: str
) -> dict[str, Tensor]:
    """The tensors of a checkpoint of tao_lite; the network gets its widths where it is pruned.

    Outputs mean classes, so the head is left out where the classes or their order are not the same.
    """
    head_name = head.find(built)
    tensors = dict(found.network)
    if found.class_names != tuple(class_names):
        tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith(f"{head_name}.")}
    plain = architectures.build(found.experiment.model_config, len(found.class_names)).state_dict()
    if all(plain[name].shape == tensor.shape for name, tensor in found.network.items()):
        return tensors
    _refuse_other_structure(found.experiment.model_config, model_config, source)
    width = found.network[f"{head_name}.weight"].shape[1]
    surgery.resize_like(
        built,
        {
            **found.network,
            f"{head_name}.weight": torch.empty(len(class_names), width),
            f"{head_name}.bias": torch.empty(len(class_names)),
        },
    )
    # Resized tensors hold no values; all but a new head's come from the checkpoint.
    head_layer = built.get_submodule(head_name)
    assert isinstance(head_layer, nn.Linear)
    head_layer.reset_parameters()
    _log.info("%s is a pruned network; its widths were kept", source)
    return tensors


def _refuse_other_structure(theirs: pb.ModelConfig, ours: pb.ModelConfig, source: str) -> None:
    for name in _STRUCTURE:
        if getattr(theirs, name) != getattr(ours, name):
            raise SpecError(
                f"model_config.{name} is {getattr(ours, name)!r}, but the pruned network in {source} has "
                f"{getattr(theirs, name)!r}; set it to that"
            )
