"""Graphs of networks whose operations are known."""

import warnings

import pytest
import torch
from torch import Tensor, nn

from tao_lite.models import architectures
from tao_lite.monitor import graph
from tao_lite.monitor.graph import Node
from tao_lite.spec import classification_pb2 as pb


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(2, 2, 3, padding=1), nn.ReLU(inplace=True))

    def forward(self, images: Tensor) -> Tensor:
        outputs: Tensor = self.body(images) + images
        return outputs


def test_each_operation_has_its_module_its_inputs_and_its_shape() -> None:
    shape = (1, 2, 4, 5)
    assert graph.record(Residual(), torch.zeros(shape)) == [
        Node(name="images", operation="Placeholder", inputs=(), shape=shape),
        Node(name="body/0/conv2d_1", operation="conv2d", inputs=("images",), shape=shape),
        Node(name="body/1/relu_2", operation="relu", inputs=("body/0/conv2d_1",), shape=shape),
        Node(name="add_3", operation="add", inputs=("body/1/relu_2", "images"), shape=shape),
    ]


class Forgetful(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        [images * 2 for _ in range(50)]  # gone at once, and in their places:
        constants = [torch.ones(1) for _ in range(50)]
        return [images + constant for constant in constants][-1]


def test_a_tensor_in_the_place_of_another_is_not_taken_for_it() -> None:
    nodes = graph.record(Forgetful(), torch.zeros(1))
    assert {node.inputs for node in nodes if node.operation == "add"} == {("images",)}


def test_recording_leaves_no_hooks_and_no_statistics_behind() -> None:
    network = nn.Sequential(nn.BatchNorm2d(2))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    generator = torch.get_rng_state()
    graph.record(network, torch.ones(1, 2, 3, 3))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())
    assert torch.equal(generator, torch.get_rng_state())


class Scripted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        with warnings.catch_warnings():
            # torch.jit is on its way out, but networks of other libraries use it.
            warnings.simplefilter("ignore", FutureWarning)
            self.function = torch.jit.script(double)

    def forward(self, images: Tensor) -> Tensor:
        outputs: Tensor = self.function(images)
        return outputs


def double(images: Tensor) -> Tensor:
    return 2 * images


def test_a_module_whose_functions_are_not_seen_is_an_operation() -> None:
    nodes = graph.record(nn.Sequential(nn.Conv2d(3, 2, 1), Scripted(), nn.Flatten()), torch.zeros(1, 3, 4, 4))
    assert [(node.name, node.inputs) for node in nodes[2:]] == [
        ("1/Scripted_2", ("0/conv2d_1",)),
        ("2/flatten_3", ("1/Scripted_2",)),
    ]


@pytest.mark.parametrize("arch", ["resnet", "squeezenet", "efficientnet_b0"])
def test_the_graph_of_an_architecture_goes_from_the_images_to_the_logits(arch: str) -> None:
    config = pb.ModelConfig(arch=arch, n_layers=18, input_image_size="3,32,32")
    nodes = graph.record(architectures.build(config, 7), torch.zeros(1, 3, 32, 32))
    known: set[str] = set()
    for node in nodes:
        assert set(node.inputs) <= known
        known.add(node.name)
    assert len(known) == len(nodes)
    assert nodes[-1].shape == (1, 7)
