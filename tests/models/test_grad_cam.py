"""Grad-CAM by mathematics: known networks, whose maps can be worked out by other means."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tao_lite.models import feature_map
from tao_lite.models.grad_cam import grad_cam
from tao_lite.models.rollout import rollout
from tests.models.test_architectures import real

OUTPUTS = torch.tensor([[0, 1], [0, 1]])


def maps(network: nn.Module, images: Tensor, outputs: Tensor) -> Tensor:
    place = feature_map.find(network.eval(), images[:1])
    assert place is not None
    return grad_cam(network, place, images, outputs)


def colour_network() -> nn.Module:
    """Its classes are how much red and how much blue there is; another convolution would be no easier to predict."""
    convolution = nn.Conv2d(3, 2, 1)
    with torch.no_grad():
        convolution.weight.copy_(torch.tensor([[1.0, 0, -1], [-1, 0, 1]])[:, :, None, None])
        convolution.bias.zero_()  # type: ignore[union-attr]
    head = nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        head.weight.copy_(torch.eye(2))
    return nn.Sequential(convolution, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)


def test_a_planted_spot_is_all_of_the_map_of_its_class() -> None:
    images = torch.zeros(2, 3, 12, 10)
    images[0, 0, 2:4, 1:5] = 1  # red
    images[0, 2, 8:9, 6:9] = 2  # blue
    images[1, 0, 5, 5] = 1
    found = maps(colour_network(), images, OUTPUTS)
    # The gradient of a mean over 120 places is 1 / 120 at each.
    assert found[:, 0] == pytest.approx(images[:, 0] / 120)
    assert found[:, 1] == pytest.approx(images[:, 2] / 120)
    assert found[1, 1].max() == 0, "no blue at all"
    # The classes in another order for one image: its maps change places, and the other's stay.
    turned = maps(colour_network(), images, torch.tensor([[1, 0], [0, 1]]))
    assert torch.equal(turned[0], found[0].flip(0))
    assert torch.equal(turned[1], found[1])


@pytest.mark.parametrize("was_enabled", [True, False])
def test_where_one_layer_reads_the_mean_it_is_class_activation_mapping(was_enabled: bool) -> None:
    """Selvaraju et al., section 3.1; the map of Zhou et al., arXiv:1512.04150, is weights times features."""
    network = real("resnet", 10).eval()
    network.zero_grad()  # tests share it
    images = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    features = list[Tensor]()
    hook = network.get_submodule("layer4").register_forward_hook(lambda _, __, out: features.append(out.detach()))
    with torch.no_grad():
        expected_logits = network(images)
    hook.remove()
    weights = network.get_submodule("fc").get_parameter("weight").detach()
    expected = torch.einsum("bchw,oc->bohw", features[0], weights[:2]).relu() / features[0].shape[2:].numel()
    with torch.set_grad_enabled(was_enabled):
        found = maps(network, images, OUTPUTS)
        assert torch.is_grad_enabled() == was_enabled
        assert torch.equal(network(images), expected_logits), "no hook is left"
    assert found.shape == (2, 2, 2, 3)
    assert torch.allclose(found, expected, atol=1e-6)
    assert all(parameter.grad is None for parameter in network.parameters())


class _Transformer(nn.Module):
    """Two layers of one head that attend by what the patches hold, and a class token; no value changes a token."""

    def __init__(self, batch_first: bool = True) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.MultiheadAttention(4, 1, batch_first=batch_first) for _ in range(2))
        self.token = nn.Parameter(torch.ones(1, 1, 4))

    def forward(self, images: Tensor) -> Tensor:
        tokens = torch.cat([self.token.expand(len(images), -1, -1), images.flatten(2).transpose(1, 2)], dim=1)
        for layer in self.layers:
            tokens = tokens + layer(tokens, tokens, tokens, need_weights=False)[0]
        return tokens[:, 0]


def test_rollout_is_the_product_of_what_layers_pass_on() -> None:
    torch.manual_seed(0)
    network, images = _Transformer().eval(), torch.randn(3, 4, 2, 3)
    with torch.no_grad():
        tokens = torch.cat([network.token.expand(3, -1, -1), images.flatten(2).transpose(1, 2)], dim=1)
        passed = []
        for layer in network.layers:
            assert isinstance(layer, nn.MultiheadAttention)
            query, key, value = F.linear(tokens, layer.in_proj_weight, layer.in_proj_bias).chunk(3, dim=2)
            attention = (query @ key.transpose(1, 2) / 2).softmax(dim=2)  # the square root of 4 numbers a token
            passed.append((attention + torch.eye(7)) / 2)
            tokens = tokens + layer.out_proj(attention @ value)
    found = rollout(network, images, (2, 3))
    assert found is not None
    assert torch.allclose(found.flatten(1), (passed[1] @ passed[0])[:, 0, 1:], atol=1e-6)
    assert rollout(network, images, (5, 5)) is None, "there are no so many patches"
    assert rollout(nn.Flatten(), images, (2, 3)) is None


@pytest.mark.slow
def test_rollout_of_timm_asks_for_the_matrix_that_the_fused_kernel_hides() -> None:
    timm = pytest.importorskip("timm")
    network = timm.create_model("vit_tiny_patch16_224", num_classes=3, img_size=64, pretrained=False).eval()
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before = network(images)
        found = rollout(network, images, (4, 4))
        assert torch.equal(network(images), before), "the kernels are as before"
    assert found is not None
    assert found.shape == (2, 4, 4)
    # Rows of attention sum to 1, so the shares of all tokens do; the rest is the class token's own.
    assert ((found.sum(dim=(1, 2)) > 0.5) & (found.sum(dim=(1, 2)) < 1)).all()
