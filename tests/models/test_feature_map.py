"""The layer of heat maps is found in every architecture, and all that the logits know passes through it."""

import pytest
import torch
from torch import Tensor, nn

from tao_lite.models import feature_map
from tao_lite.models.architectures import Architecture, Options, _named
from tao_lite.models.feature_map import FeatureMap
from tests.conftest import EVERYTHING
from tests.models.test_architectures import ROWS, SMALL

# What is cheap and differs: blocks of branches, a head that convolves, one of several layers, functional pooling.
FAST = {"googlenet": "inception5b", "squeezenet": "features", "mobilenet_v2": "features", "cspdarknet_tiny": "stages"}
TABLE = [
    pytest.param(*row.values, id=str(row.id), marks=() if row.id in FAST else pytest.mark.slow)
    for row in (ROWS if EVERYTHING else SMALL)
]
# Other libraries' networks, the size of their pictures, and the layer.
NAMED = [
    ("timm/convnext_atto", 64, ("norm_pre", False, True)),
    ("timm/swin_tiny_patch4_window7_224", 224, ("norm", True, True)),
    ("torchvision/swin_t", 64, ("permute", False, True)),
    ("torchvision/densenet121", 64, ("features", False, True)),
    ("timm/resnet50_clip", 224, ("final_conv", False, True)),
    ("timm/vit_tiny_patch16_224", 224, ("patch_embed.proj", False, False)),
]


def found(network: nn.Module, size: int) -> FeatureMap:
    place = feature_map.find(network.eval(), torch.zeros(1, 3, size, size))
    assert place is not None
    return place


@pytest.mark.parametrize("retain_head", [False, True])
@pytest.mark.parametrize(("row", "depth"), TABLE)
def test_every_architecture_has_one(row: Architecture, depth: int, retain_head: bool) -> None:
    size = 96
    network = row.build(Options(num_classes=3, n_layers=depth, height=size, width=size, retain_head=retain_head))
    place = found(network, size)
    assert place.is_deep
    assert not place.is_channels_last
    assert min(place.size) >= 2
    if not retain_head and row.name in FAST:
        assert place.module == FAST[row.name]
    # Nothing else of the picture comes to the logits: with the map held, another picture gives the same.
    first, second = torch.randn(2, 1, 3, size, size, generator=torch.Generator().manual_seed(0))
    kept = list[Tensor]()
    target = network.get_submodule(place.module)
    hook = target.register_forward_hook(lambda _, __, out: kept.append(out.clone()))
    with torch.no_grad():
        expected = network(first)
        hook.remove()
        target.register_forward_hook(lambda _, __, ___: kept[place.call].clone())
        assert torch.equal(network(second), expected)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "size", "expected"), NAMED)
def test_networks_of_other_libraries_have_one(name: str, size: int, expected: tuple[str, bool, bool]) -> None:
    network = _named(name).build(Options(num_classes=3, n_layers=0, arch=name, height=size, width=size))
    place = found(network, size)
    assert (place.module, place.is_channels_last, place.is_deep) == expected


class _Bypass(nn.Module):
    """The head reads the map, and the picture itself too."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.last = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 3, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        features = self.stem(images)
        logits: Tensor = (features[:, :3] + self.last(features)).mean(dim=(2, 3))
        return logits


def test_a_map_that_a_shortcut_goes_around_is_not_it() -> None:
    assert found(_Bypass(), 8).module == "stem"


def test_of_a_layer_that_is_called_again_the_call_is_counted() -> None:
    relu = nn.ReLU()
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3), relu, nn.Conv2d(4, 4, 3), relu, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    )
    assert (found(network, 8).module, found(network, 8).call) == ("1", 1)


def test_a_network_without_places_has_none() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 2))
    assert feature_map.find(network, torch.zeros(1, 3, 8, 8)) is None
