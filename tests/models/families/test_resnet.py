"""ResNet against torchvision's networks, TAO's published numbers and the papers."""

import copy
import itertools
import math
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn

from tao_lite.models.architectures import ARCHITECTURES, Options
from tao_lite.models.families import resnet

IN_TORCHVISION = [18, 34, 50, 101, 152]


def make(n_layers: int = 18, num_classes: int = 10, **switches: Any) -> nn.Module:
    torch.manual_seed(0)
    return resnet.build(Options(num_classes=num_classes, n_layers=n_layers, **switches))


def on_meta(n_layers: int = 18, **switches: Any) -> nn.Module:
    with torch.device("meta"):
        return make(n_layers, **switches)


def shapes(network: nn.Module) -> list[tuple[str, tuple[int, ...]]]:
    return [(name, tuple(tensor.shape)) for name, tensor in network.state_dict().items()]


def map_of(network: nn.Module, name: str, images: Tensor) -> Tensor:
    """Output of a module for the images."""
    maps: list[Tensor] = []
    network.get_submodule(name).register_forward_hook(lambda _module, _inputs, output: maps.append(output))
    network(images)
    return maps[0]


@pytest.mark.parametrize("n_layers", IN_TORCHVISION)
def test_plain_switches_give_torchvisions_names_shapes_and_counts(n_layers: int) -> None:
    network = on_meta(n_layers, num_classes=1000)
    with torch.device("meta"):
        reference = torchvision.models.get_model(f"resnet{n_layers}")
    assert shapes(network) == shapes(reference)
    published = torchvision.models.get_model_weights(f"resnet{n_layers}").DEFAULT.meta["num_params"]
    assert sum(parameter.numel() for parameter in network.parameters()) == published
    assert n_layers != 18 or published == 11_689_512


@pytest.mark.parametrize("n_layers", [18, 50])
def test_torchvisions_state_loads_strictly_and_gives_the_same_logits(n_layers: int) -> None:
    torch.manual_seed(1)
    reference = torchvision.models.get_model(f"resnet{n_layers}", num_classes=10)
    network = make(n_layers)
    network.load_state_dict(reference.state_dict(), strict=True)
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(network.eval()(images), reference.eval()(images))


def test_plain_switches_start_as_torchvision_does() -> None:
    network = make(18)
    torch.manual_seed(0)
    reference = torchvision.models.resnet18(num_classes=10)
    assert all(torch.equal(tensor, reference.state_dict()[name]) for name, tensor in network.state_dict().items())


def test_parameter_count_is_that_of_taos_tutorial_network() -> None:
    # NVIDIA's printed summary of ResNet-18 with 20 classes; Keras counts 4 parameters per normalised channel.
    network = on_meta(18, num_classes=20, all_projections=True, use_pooling=False)
    statistics = [buffer for name, buffer in network.named_buffers() if name.endswith(("running_mean", "running_var"))]
    assert sum(tensor.numel() for tensor in [*network.parameters(), *statistics]) == 11_552_724


def test_table_offers_the_depths_that_can_be_built() -> None:
    assert ARCHITECTURES["resnet"].n_layers == tuple(resnet.REPEATS)


@pytest.mark.parametrize("n_layers", [10, 18, 34, 50, 101, 152, 200])
def test_number_of_layers_is_the_name(n_layers: int) -> None:
    # Convolutions outside of shortcuts, and the classifier (He et al., table 1).
    network = on_meta(n_layers)
    convolutions = [
        name for name, m in network.named_modules() if isinstance(m, nn.Conv2d) and "downsample" not in name
    ]
    assert len(convolutions) + 1 == n_layers


@pytest.mark.parametrize(
    ("n_layers", "switches"),
    [
        (n_layers, dict(zip(("use_pooling", "all_projections", "use_batch_norm", "use_bias"), values, strict=True)))
        for n_layers, values in itertools.product((10, 50), itertools.product((False, True), repeat=4))
    ],
)
def test_every_switch_setting_trains(n_layers: int, switches: dict[str, bool]) -> None:
    network = on_meta(n_layers, **switches)
    logits = network(torch.zeros(2, 3, 64, 64, device="meta"))
    logits.sum().backward()
    assert logits.shape == (2, 10)
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize("n_layers", [10, 18, 50])
@pytest.mark.parametrize(("use_pooling", "sides"), [(True, (2, 3)), (False, (4, 6))])
def test_total_stride_is_32_with_pooling_and_16_without(
    n_layers: int, use_pooling: bool, sides: tuple[int, int]
) -> None:
    network = on_meta(n_layers, use_pooling=use_pooling)
    images = torch.zeros(1, 3, 64, 96, device="meta")
    assert map_of(network, "layer4", images).shape[2:] == sides


@pytest.mark.parametrize("n_layers", [18, 50])
def test_strides_without_pooling_are_those_of_tao(n_layers: int) -> None:
    network = on_meta(n_layers, use_pooling=False)
    images = torch.zeros(1, 3, 64, 64, device="meta")
    sides = [map_of(network, f"layer{stage}", images).shape[2] for stage in (1, 2, 3, 4)]
    assert sides == [16, 8, 4, 4]


@pytest.mark.parametrize(("height", "width"), [(33, 50), (64, 16), (17, 31)])
def test_papers_head_without_pooling_fits_any_input_size(height: int, width: int) -> None:
    network = on_meta(10, retain_head=True, use_pooling=False, height=height, width=width)
    assert network(torch.zeros(2, 3, height, width, device="meta")).shape == (2, 10)


def test_papers_head_with_pooling_is_torchvisions() -> None:
    assert shapes(on_meta(18, retain_head=True)) == shapes(on_meta(18))


def test_all_projections_adds_only_projections() -> None:
    plain, projected = dict(shapes(on_meta(34))), dict(shapes(on_meta(34, all_projections=True)))
    added = projected.keys() - plain.keys()
    # 16 blocks, of which torchvision projects the first of stages 2 to 4; a projection has 1 + 5 tensors.
    assert len(added) == (16 - 3) * 6
    assert all(".downsample." in name for name in added)
    assert plain.items() <= projected.items()


def test_bias_and_normalisation_leave_the_other_names_alone() -> None:
    plain = {name for name, _ in shapes(on_meta(50))}
    biased = {name for name, _ in shapes(on_meta(50, use_bias=True))}
    bare = {name for name, _ in shapes(on_meta(50, use_batch_norm=False))}
    convolutions = {name for name, m in on_meta(50).named_modules() if isinstance(m, nn.Conv2d)}
    assert biased - plain == {f"{name}.bias" for name in convolutions}
    assert plain <= biased
    assert bare == {f"{name}.weight" for name in convolutions} | {"fc.weight", "fc.bias"}


def test_dropout_changes_training_only_and_no_name() -> None:
    plain, dropping = make(10), make(10, dropout=0.5)
    assert shapes(plain) == shapes(dropping)
    images = torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(plain.eval()(images), dropping.eval()(images))
        first, second = dropping.train()(images), dropping(images)
    assert not torch.equal(first, second)


def test_projections_that_change_the_size_start_as_torchvision_starts_convolutions() -> None:
    # He et al., arXiv:1502.01852, fan-out: a 1x1 convolution with 64 outputs has deviation sqrt(2 / 64).
    weight = make(18, use_pooling=False).get_submodule("layer1.0.downsample.0").weight
    assert isinstance(weight, Tensor)
    assert weight.std().item() == pytest.approx(math.sqrt(2 / 64), rel=0.05)


def test_added_projections_start_as_the_shortcuts_they_replace() -> None:
    weight = make(18, all_projections=True).get_submodule("layer4.1.downsample.0").weight
    assert isinstance(weight, Tensor)
    assert torch.equal(weight[:, :, 0, 0], torch.eye(512))


@pytest.mark.parametrize("n_layers", [18, 50])
def test_blocks_without_normalisation_start_as_their_shortcut(n_layers: int) -> None:
    network = make(n_layers, use_batch_norm=False)
    block = network.get_submodule("layer3.1")
    images = torch.rand(2, block.conv1.in_channels, 4, 4)  # type: ignore[arg-type, union-attr]
    with torch.no_grad():
        assert torch.equal(block(images), images)


def test_branches_without_normalisation_are_scaled_as_in_fixup() -> None:
    # arXiv:1901.09321: L^(-1 / (2m - 2)) with L = 16 blocks of m = 3 convolutions is 1/2.
    plain, scaled = make(50), make(50, use_batch_norm=False)
    for name in ("layer1.0.conv1", "layer4.2.conv2"):
        ours, he = scaled.get_submodule(name).weight, plain.get_submodule(name).weight
        assert isinstance(ours, Tensor)
        assert isinstance(he, Tensor)
        assert ours.std().item() == pytest.approx(he.std().item() / 2, rel=0.05)


@pytest.mark.parametrize("all_projections", [False, True])
def test_deep_network_without_normalisation_does_not_explode(all_projections: bool) -> None:
    # He initialisation alone multiplies the variance by about 2 in each of the 33 blocks.
    network = make(101, use_batch_norm=False, all_projections=all_projections)
    with torch.no_grad():
        deviation = network(torch.randn(2, 3, 32, 32)).std().item()
    assert 1e-3 < deviation < 1


def test_network_without_normalisation_learns() -> None:
    network = make(10, use_batch_norm=False, num_classes=2)
    images, labels = torch.randn(8, 3, 32, 32), torch.arange(8) % 2
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
    losses = []
    for _ in range(12):
        loss = nn.functional.cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    # Two balanced classes start at log 2.
    assert losses[0] == pytest.approx(math.log(2), abs=0.1)
    assert losses[-1] < losses[0] / 2


@pytest.mark.parametrize(
    "switches",
    [
        {},
        {"use_pooling": False, "all_projections": True},
        {"use_batch_norm": False, "use_bias": True, "dropout": 0.1},
        {"use_pooling": False, "retain_head": True, "height": 32, "width": 32, "channels": 1},
    ],
)
def test_network_is_traced_and_captured_whole(switches: dict[str, Any]) -> None:
    network = make(10, **switches).eval()
    images = torch.randn(2, switches.get("channels", 3), 32, 32)
    traced = torch.fx.symbolic_trace(network)
    captured = torch.compile(copy.deepcopy(network), backend="eager", fullgraph=True)
    with torch.no_grad():
        assert torch.equal(traced(images), network(images))
        assert torch.equal(captured(images), network(images))


def test_channels_last_images_stay_channels_last() -> None:
    network = make(18, all_projections=True, use_pooling=False).to(memory_format=torch.channels_last)
    images = torch.randn(2, 3, 64, 64).contiguous(memory_format=torch.channels_last)
    assert map_of(network, "layer3", images).is_contiguous(memory_format=torch.channels_last)
