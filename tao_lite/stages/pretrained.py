"""The network a training starts from: fresh, with foreign weights, or a checkpoint of tao_lite, pruned or not."""

import logging
from collections.abc import Sequence
from pathlib import Path

from torch import nn

from tao_lite import checkpoint as checkpoints
from tao_lite.errors import SpecError
from tao_lite.models import architectures, weights
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
    head = architectures.find(experiment.model_config).head
    if checkpoints.is_ours(Path(source)):
        found = checkpoints.load(Path(source))
        tensors = dict(found.network)
        if _take_widths(built, found, experiment.model_config, head, source):
            _log.info("%s is a pruned network; its shapes were kept", source)
    else:
        tensors = weights.read(source, experiment.model_config.arch, experiment.model_config.n_layers)
    _log.info("%s", weights.assign(built, tensors, head=head, source=source))
    return built


def _take_widths(
    built: nn.Module, found: checkpoints.Checkpoint, model_config: pb.ModelConfig, head: str, source: str
) -> bool:
    """Give the network the widths of the checkpoint's where that was pruned; whether it was."""
    plain = architectures.build(found.experiment.model_config, len(found.class_names)).state_dict()
    if all(plain[name].shape == tensor.shape for name, tensor in found.network.items()):
        return False
    theirs = found.experiment.model_config
    differing = [name for name in _STRUCTURE if getattr(theirs, name) != getattr(model_config, name)]
    if differing:
        name = differing[0]
        raise SpecError(
            f"model_config.{name} is {getattr(model_config, name)!r}, but the pruned network in {source} has "
            f"{getattr(theirs, name)!r}; set it to that"
        )
    num_classes = built.get_submodule(head).state_dict()["bias"].shape[0]
    body = {name: tensor for name, tensor in found.network.items()}
    for name in (f"{head}.weight", f"{head}.bias"):
        body[name] = body[name][:1].expand(num_classes, *body[name].shape[1:])
    surgery.resize_like(built, body)
    return True
