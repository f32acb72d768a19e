"""The network a training starts from, where that is a pruned checkpoint."""

import math
from pathlib import Path

import pytest
import torch
from google.protobuf import text_format
from torch import nn

from tao_lite import checkpoint as checkpoints
from tao_lite.checkpoint import Checkpoint
from tao_lite.models import architectures
from tao_lite.pruning import surgery
from tao_lite.pruning.criteria import Rule
from tao_lite.spec import classification_pb2 as pb
from tao_lite.stages import pretrained

MODEL = pb.ModelConfig(arch="resnet", n_layers=10, input_image_size="3,32,32", use_batch_norm=True)


@pytest.fixture
def pruned(tmp_path: Path) -> Path:
    """A network of three classes, pruned to about half."""
    torch.manual_seed(0)
    network = architectures.build(MODEL, 3)
    rule = Rule(threshold=surgery.threshold_for_ratio(network, (3, 32, 32), Rule(), 0.5))
    smaller = surgery.cut(network, surgery.plan(network, (3, 32, 32), rule))
    path = tmp_path / "pruned.pth"
    spec = text_format.MessageToString(pb.Experiment(model_config=MODEL))
    names = ("blue", "green", "red")
    checkpoints.save(
        path, Checkpoint(spec=spec, class_names=names, preprocess={}, network=smaller.state_dict(), epoch=1)
    )
    return path


def started(path: Path, class_names: tuple[str, ...]) -> nn.Module:
    experiment = pb.Experiment(model_config=MODEL, train_config=pb.TrainConfig(pretrained_model_path=str(path)))
    return pretrained.network(experiment, class_names)


def test_the_same_classes_give_the_pruned_network_itself(pruned: Path) -> None:
    found, network = checkpoints.load(pruned).network, started(pruned, ("blue", "green", "red")).state_dict()
    assert found.keys() == network.keys()
    for name, tensor in found.items():
        assert torch.equal(network[name], tensor), name


@pytest.mark.parametrize("class_names", [("blue", "red"), ("red", "green", "blue")])
def test_other_classes_or_another_order_give_a_new_head_on_the_pruned_body(
    pruned: Path, class_names: tuple[str, ...]
) -> None:
    found, network = checkpoints.load(pruned).network, started(pruned, class_names)
    for name, tensor in network.state_dict().items():
        if not name.startswith("fc."):
            assert torch.equal(found[name], tensor), name
    weight = network.get_submodule("fc").weight
    assert isinstance(weight, torch.Tensor)
    assert weight.shape == (len(class_names), found["fc.weight"].shape[1])
    # torch.nn.Linear starts uniform in +-1 / sqrt(inputs), whose deviation is that over sqrt(3).
    bound = 1 / math.sqrt(weight.shape[1])
    assert weight.abs().max().item() <= bound
    assert weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.1)
