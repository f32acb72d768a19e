"""Changes to finished networks: grey input and the scale of networks without normalisation."""

import math

import pytest
import torch
from torch import nn

from tao_lite.models.architectures import ARCHITECTURES, Options
from tao_lite.models.families import adapt

# Not vgg and resnet, which start as their own files say.
WITHOUT_NORM = [
    *[("googlenet", 0), ("mobilenet_v1", 0), ("mobilenet_v2", 0), ("darknet", 19), ("cspdarknet", 19)],
    ("cspdarknet_tiny", 0),
]


def make(name: str, n_layers: int, **switches: bool | int) -> nn.Module:
    torch.manual_seed(0)
    return ARCHITECTURES[name].build(Options(num_classes=2, n_layers=n_layers, height=64, width=64, **switches))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["resnet", "alexnet", "googlenet", "mobilenet_v2", "squeezenet", "efficientnet_b0"])
def test_grey_images_give_what_three_equal_channels_gave(name: str) -> None:
    depth = min(ARCHITECTURES[name].n_layers, default=0)
    colour, grey = make(name, depth).eval(), make(name, depth, channels=1).eval()
    images = torch.randn(2, 1, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(grey(images), colour(images.expand(-1, 3, -1, -1)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("name", "n_layers"), [*WITHOUT_NORM, ("darknet", 53), ("cspdarknet", 53)])
def test_every_map_starts_at_the_same_scale_without_normalisation(name: str, n_layers: int) -> None:
    network = make(name, n_layers, use_batch_norm=False).eval()
    scales: list[float] = []
    for layer in adapt.convolutions(network):
        layer.register_forward_hook(
            lambda _module, _inputs, output: scales.append(output.square().mean().sqrt().item())
        )
    with torch.no_grad():
        network(torch.randn(8, 3, 64, 64))
    # 23 residual branches, together as large as their shortcut.
    low = 0.5 if n_layers != 53 else 0.5 / math.sqrt(23)
    assert low < min(scales) < max(scales) < 2


@pytest.mark.slow
@pytest.mark.parametrize(("name", "n_layers"), [kind for kind in WITHOUT_NORM if kind != ("cspdarknet", 19)])
def test_network_without_normalisation_learns(name: str, n_layers: int) -> None:
    network = make(name, n_layers, use_batch_norm=False)
    images, labels = torch.randn(8, 3, 64, 64), torch.arange(8) % 2
    images += labels[:, None, None, None] - 0.5
    optimizer = torch.optim.SGD(network.parameters(), lr=0.003, momentum=0.9)
    losses = []
    for _ in range(10):
        loss = nn.functional.cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    # Two balanced classes start at log 2.
    assert losses[0] == pytest.approx(math.log(2), abs=0.2)
    assert losses[-1] < 0.9 * losses[0]
