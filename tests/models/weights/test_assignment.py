"""Switches of the spec that a network can have added to or taken from its weights without another function."""

import pytest
import torch
from torch import Tensor, nn

from tao_lite.models import architectures, head
from tao_lite.models.weights.assignment import assign
from tao_lite.spec import classification_pb2 as pb

NUM_CLASSES = 3
# Of the larger EfficientNets one stands for all.
DEPTHS = {"resnet": (10, 50), "vgg": (16,), "darknet": (19, 53), "cspdarknet": (19, 53)}
LEFT_OUT = {f"efficientnet_b{size}" for size in range(2, 8)}
NETWORKS = [(arch, depth) for arch in architectures.ARCHITECTURES.keys() - LEFT_OUT for depth in DEPTHS.get(arch, (0,))]
NETWORKS = [*sorted(NETWORKS), ("timm/mobilenetv3_small_050", 0), ("torchvision/shufflenet_v2_x0_5", 0)]


def built(arch: str, depth: int, *, channels: int = 3, **switches: bool) -> nn.Module:
    torch.manual_seed(0)
    size = f"{channels},64,64"
    switches = {"use_batch_norm": True, "use_pooling": True, **switches}
    model = pb.ModelConfig(arch=arch, n_layers=depth, input_image_size=size)
    for name, value in switches.items():
        setattr(model, name, value)
    return architectures.build(model, NUM_CLASSES)


def trained(network: nn.Module) -> nn.Module:
    """The network with statistics and biases as after training."""
    torch.manual_seed(1)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if name.endswith(("running_mean", "bias")):
                tensor.normal_(std=0.1)
    return network


def logits_of(network: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        logits: Tensor = network.eval()(images)
    return logits


def assert_same(network: nn.Module, images: Tensor, reference: nn.Module, theirs: Tensor) -> None:
    expected = logits_of(reference, theirs)
    scale = expected.abs().max().item()
    torch.testing.assert_close(logits_of(network, images), expected, rtol=0, atol=1e-5 * max(scale, 1))


@pytest.mark.slow
@pytest.mark.parametrize(("arch", "depth"), NETWORKS)
def test_added_biases_and_projections_and_grey_images_keep_the_function(arch: str, depth: int) -> None:
    reference = trained(built(arch, depth))
    network = built(arch, depth, channels=1, use_bias=True, all_projections=True)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1)
    report = assign(network, reference.state_dict(), head=head.find(network))
    assert report.missing == report.unused == ()
    assert not report.mismatched
    assert len(report.converted) == 1
    grey = torch.randn(2, 1, 64, 64)
    assert_same(network, grey, reference, grey.expand(-1, 3, -1, -1))


@pytest.mark.parametrize(("arch", "depth"), [("resnet", 10), ("squeezenet", 0), ("timm/mobilenetv3_small_050", 0)])
def test_colour_images_of_a_grey_network_give_the_same_where_they_are_grey(arch: str, depth: int) -> None:
    reference, network = trained(built(arch, depth, channels=1)), built(arch, depth)
    assert len(assign(network, reference.state_dict(), head=head.find(network)).converted) == 1
    grey = torch.randn(2, 1, 64, 64)
    assert_same(network, grey.expand(-1, 3, -1, -1), reference, grey)


@pytest.mark.parametrize(("arch", "depth"), [("resnet", 10), ("mobilenet_v1", 0), ("cspdarknet_tiny", 0)])
def test_biases_before_batch_normalisations_can_be_taken_away(arch: str, depth: int) -> None:
    reference, network = trained(built(arch, depth, use_bias=True)), built(arch, depth)
    report = assign(network, reference.state_dict(), head=head.find(network))
    assert report.unused == report.missing == ()
    assert len(report.folded) == len([layer for layer in network.modules() if isinstance(layer, nn.Conv2d)])
    images = torch.randn(2, 3, 64, 64)
    assert_same(network, images, reference, images)


def test_biases_that_nothing_takes_up_are_reported() -> None:
    reference = built("resnet", 10, use_batch_norm=False, use_bias=True)
    report = assign(built("resnet", 10, use_batch_norm=False), reference.state_dict(), head="fc")
    # The first convolution, two in each of four blocks, and three in shortcuts.
    assert len(report.unused) == 1 + 4 * 2 + 3


def test_a_convolution_as_head_is_left_with_its_bias() -> None:
    network, other = built("squeezenet", 0, retain_head=True), built("squeezenet", 0, retain_head=True)
    state = {name: tensor for name, tensor in other.state_dict().items() if not name.startswith("classifier")}
    before = network.get_parameter("classifier.1.bias").clone()
    report = assign(network, state, head=head.find(network))
    assert report.missing == report.new_head == ("classifier.1.weight", "classifier.1.bias")
    assert torch.equal(network.get_parameter("classifier.1.bias"), before)
