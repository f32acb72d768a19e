"""Who is coupled: by the names of torchvision's layers, and on networks of a few lines."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision import models

from tao_lite.errors import PruneError
from tao_lite.pruning import groups
from tao_lite.pruning.groups import Group

from . import zoo


def found(network: nn.Module, shape: tuple[int, int, int] = zoo.SHAPE) -> dict[str, Group]:
    """The groups by the name of their first producer."""
    return {next(iter(group.producers)): group for group in groups.find(network, shape)}


def test_a_resnet_stage_with_identity_shortcuts_is_one_group() -> None:
    by_name = found(zoo.build("resnet18"))
    assert {name: list(group.producers) for name, group in by_name.items() if len(group.producers) > 1} == {
        "conv1": ["conv1", "layer1.0.conv2", "layer1.1.conv2"],
        **{
            f"{stage}.0.conv2": [f"{stage}.0.conv2", f"{stage}.0.downsample.0", f"{stage}.1.conv2"]
            for stage in ("layer2", "layer3", "layer4")
        },
    }
    assert list(by_name["conv1"].followers) == ["bn1", "layer1.0.bn2", "layer1.1.bn2"]
    consumers = ["layer1.0.conv1", "layer1.1.conv1", "layer2.0.conv1", "layer2.0.downsample.0"]
    assert list(by_name["conv1"].consumers) == consumers
    assert by_name["fc"].kept_because == "reaches the output"
    assert [name for name, group in by_name.items() if group.kept_because] == ["fc"]


def test_with_a_projection_in_every_shortcut_each_unit_is_its_own_group() -> None:
    producers = [list(group.producers) for group in found(zoo.build("all projections")).values()]
    assert [names for names in producers if len(names) > 1] == [
        [f"layer{stage}.{unit}.conv2", f"layer{stage}.{unit}.downsample.0"]
        for stage in range(1, 5)
        for unit in range(2)
    ]


def test_flatten_repeats_each_channel_by_the_size_of_the_map() -> None:
    last = found(zoo.build("unpooled"))["layer4.0.conv2"]
    assert last.consumers["fc"].tolist() == [channel for channel in range(512) for _ in range(4 * 4)]


def test_concatenated_channels_start_at_an_offset() -> None:
    by_name = found(zoo.build("googlenet"))
    # inception3a puts out 64, 128, 32 and 32 channels, all read by inception3b.
    branches = ("branch1", "branch2.1", "branch3.1", "branch4.1")
    reads = [by_name[f"inception3a.{branch}.conv"].consumers["inception3b.branch1.conv"] for branch in branches]
    assert [(read >= 0).nonzero().flatten().tolist() for read in reads] == [
        list(range(64)),
        list(range(64, 192)),
        list(range(192, 224)),
        list(range(224, 256)),
    ]
    assert reads[1][64:192].tolist() == list(range(128))


def test_a_batch_norm_after_a_concatenation_follows_several_groups() -> None:
    by_name = found(zoo.build("short densenet"))
    assert (by_name["features.conv0"].followers["features.denseblock1.denselayer2.norm1"] >= 0).sum() == 64
    assert (
        by_name["features.denseblock1.denselayer1.conv2"].followers["features.denseblock1.denselayer2.norm1"] >= 0
    ).nonzero().flatten().tolist() == list(range(64, 96))


def test_squeeze_excite_couples_expansion_depthwise_and_gate_but_not_its_reduction() -> None:
    by_name = found(zoo.build("efficientnet_b0"))
    expanded = by_name["features.2.0.block.0.0"]
    assert list(expanded.producers) == ["features.2.0.block.0.0", "features.2.0.block.2.fc2"]
    assert "features.2.0.block.1.0" in expanded.followers
    assert list(expanded.consumers) == ["features.2.0.block.2.fc1", "features.2.0.block.3.0"]
    assert list(by_name["features.2.0.block.2.fc1"].consumers) == ["features.2.0.block.2.fc2"]


def test_a_grouped_convolution_loses_the_same_positions_in_each_group() -> None:
    group = found(zoo.build("short resnext"))["layer1.0.conv1"]
    assert group.width == 4  # 128 channels in 32 groups
    assert group.producers["layer1.0.conv1"].tolist() == list(range(4)) * 32
    assert group.consumers["layer1.0.conv2"].tolist() == list(range(4)) * 32


@pytest.mark.parametrize("name", zoo.BUILDERS)
def test_only_the_output_layer_is_kept_whole(name: str) -> None:
    with torch.device("meta"):
        network = zoo.build(name)
    kept = [group for group in groups.find(network, zoo.shape(name)) if group.kept_because]
    assert [group.kept_because for group in kept] == ["reaches the output"]
    assert len(kept[0].producers) == 1


class Net(nn.Module):
    """A first convolution, an operation of a few lines, and a head that reads what comes out."""

    def __init__(self, width: int, **layers: nn.Module) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        for name, layer in layers.items():
            self.add_module(name, layer)
        self.head = nn.Conv2d(width, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.middle(self.first(x)))
        return out

    def middle(self, x: Tensor) -> Tensor:
        raise NotImplementedError


class Multiplied(Net):
    def middle(self, x: Tensor) -> Tensor:
        out: Tensor = self.get_submodule("depthwise")(x)
        return out


def test_a_depthwise_convolution_with_a_multiplier_follows_its_producer() -> None:
    network = Multiplied(16, depthwise=nn.Conv2d(8, 16, 3, padding=1, groups=8))
    group = found(network)["first"]
    assert group.followers["depthwise"].tolist() == [channel for channel in range(8) for _ in range(2)]
    assert group.consumers["head"].tolist() == group.followers["depthwise"].tolist()


class Halved(Net):
    def middle(self, x: Tensor) -> Tensor:
        one, other = x.chunk(2, dim=1)
        return one.relu() + other


def test_a_layer_whose_channels_are_split_is_kept() -> None:
    assert found(Halved(4))["first"].kept_because == "needed whole by chunk"


class Gated(Net):
    def middle(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.get_submodule("gate")(x))


def test_a_single_channel_spread_over_all_is_left_out() -> None:
    by_name = found(Gated(8, gate=nn.Conv2d(8, 1, 1)))
    assert by_name["gate"].kept_because == "spread over channels by mul"
    assert by_name["first"].kept_because == ""
    assert list(by_name["first"].producers) == ["first"]


class LinearGate(Net):
    def middle(self, x: Tensor) -> Tensor:
        gate = torch.sigmoid(self.get_submodule("gate")(x.mean((2, 3))))
        return x * gate[:, :, None, None]


class ViewedGate(Net):
    def middle(self, x: Tensor) -> Tensor:
        pooled = F.adaptive_avg_pool2d(x, 1).view(x.size(0), -1)
        gate: Tensor = self.get_submodule("gate")(pooled)
        return x * gate.view(x.shape[0], x.shape[1], 1, 1)


@pytest.mark.parametrize("network", [LinearGate, ViewedGate])
def test_a_linear_squeeze_excite_is_followed(network: type[Net]) -> None:
    group = found(network(8, gate=nn.Linear(8, 8)))["first"]
    assert list(group.producers) == ["first", "gate"]
    assert list(group.consumers) == ["gate", "head"]


class TouchesInput(Net):
    def middle(self, x: Tensor) -> Tensor:
        return x

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(x + self.get_submodule("second")(self.first(x)))
        return out


def test_a_group_that_touches_the_input_is_kept() -> None:
    by_name = found(TouchesInput(3, second=nn.Conv2d(8, 3, 1)))
    assert by_name["second"].kept_because == "touches the input"
    assert by_name["first"].kept_because == ""


class Scaled(Net):
    def __init__(self) -> None:
        super().__init__(8)
        self.scale = nn.Parameter(torch.ones(8, 1, 1))
        self.temperature = nn.Parameter(torch.ones(1))

    def middle(self, x: Tensor) -> Tensor:
        return x * self.scale * self.temperature


def test_channels_that_meet_a_bare_parameter_are_kept() -> None:
    assert found(Scaled())["first"].kept_because == "meets another rank in mul"


class Twice(Net):
    def middle(self, x: Tensor) -> Tensor:
        shared = self.get_submodule("shared")
        out: Tensor = shared(F.relu(shared(x)))
        return out


def test_a_layer_that_is_used_twice_has_one_set_of_channels() -> None:
    by_name = found(Twice(8, shared=nn.Conv2d(8, 8, 1)))
    assert list(by_name["first"].producers) == ["first", "shared"]
    assert list(by_name["first"].consumers) == ["shared", "head"]


class Permuted(Net):
    def middle(self, x: Tensor) -> Tensor:
        normed = self.get_submodule("norm")(x.permute(0, 2, 3, 1))
        out: Tensor = self.get_submodule("linear")(normed).permute(0, 3, 1, 2)
        return out


def permuted() -> Net:
    return Permuted(6, norm=nn.LayerNorm(8), linear=nn.Linear(8, 6))


def test_an_operation_that_cannot_be_followed_is_named_with_the_layers_to_exclude() -> None:
    with pytest.raises(PruneError) as caught:
        groups.find(permuted(), zoo.SHAPE)
    assert str(caught.value) == (
        "permute (permute): channels can't be followed through this operation; "
        "to prune the other layers, put first in excluded_layers"
    )


class Written(Net):
    def middle(self, x: Tensor) -> Tensor:
        return x.view(x.size(0), 8, 32, 128)


def test_a_number_of_channels_written_in_the_forward_function_is_refused() -> None:
    with pytest.raises(
        PruneError, match=r"^view \(view\): channels can't be followed .* put first in excluded_layers$"
    ):
        groups.find(Written(8), zoo.SHAPE)
    assert found_excluding(Written(8), "first")["first"].kept_because == "first is excluded"


def test_a_module_that_cannot_be_followed_is_named_with_its_class() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 1), nn.GroupNorm(2, 8), nn.Conv2d(8, 2, 1))
    with pytest.raises(
        PruneError, match=r"^_1 \(GroupNorm 1\): channels can't be followed .* put 0 in excluded_layers"
    ):
        groups.find(network, zoo.SHAPE)


def test_after_an_excluded_layer_any_operation_may_follow() -> None:
    kept = {name: group.kept_because for name, group in found_excluding(permuted(), "first").items()}
    assert kept == {"first": "first is excluded", "linear": "passes linear", "head": "reaches the output"}


def found_excluding(network: nn.Module, *excluded: str) -> dict[str, Group]:
    return {next(iter(group.producers)): group for group in groups.find(network, zoo.SHAPE, excluded)}


@pytest.mark.parametrize("member", ["layer1.1.conv2", "bn1"])
def test_an_excluded_member_keeps_its_whole_group(member: str) -> None:
    by_name = found_excluding(zoo.build("resnet18"), member)
    assert by_name["conv1"].kept_because == f"{member} is excluded"
    assert by_name["layer1.0.conv1"].kept_because == ""


def test_unknown_excluded_names_come_with_the_nearest_ones() -> None:
    with pytest.raises(PruneError) as caught:
        groups.find(zoo.build("resnet18"), zoo.SHAPE, ["layer1.0.conv9", "conv1", "layer1"])
    assert str(caught.value) == (
        "excluded_layers: 'layer1.0.conv9' is no convolution, linear or batch-norm layer of the network "
        "(did you mean 'layer1.0.conv1'?); "
        "'layer1' is no convolution, linear or batch-norm layer of the network (did you mean 'layer1.0.bn1'?)"
    )


def test_auxiliary_heads_that_evaluation_skips_are_refused() -> None:
    network = models.googlenet(num_classes=10, init_weights=False)
    with pytest.raises(PruneError) as caught:
        groups.find(network, zoo.SHAPE)
    assert str(caught.value) == (
        "GoogLeNet: aux1.conv.conv, aux1.conv.bn, aux1.fc1 and 5 more are not called in evaluation, so what they read "
        "can't be followed; build the network without them (auxiliary heads) before pruning"
    )


class Branching(Net):
    def middle(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


def test_a_computation_that_depends_on_data_is_refused() -> None:
    with pytest.raises(
        PruneError, match=r"^Branching: the computation can't be traced, so it can't be pruned: symbolic"
    ):
        groups.find(Branching(8), zoo.SHAPE)


def test_an_image_of_the_wrong_shape_is_named() -> None:
    with pytest.raises(PruneError, match=r"^ResNet can't take an image of 1x64x64 \(CxHxW\): "):
        groups.find(zoo.build("resnet18"), (1, 64, 64))


def test_the_network_and_its_mode_are_left_alone() -> None:
    network = zoo.build("resnet18").train()
    network.get_submodule("layer1").eval()
    groups.find(network, zoo.SHAPE)
    assert network.training
    assert not network.get_submodule("layer1").training
    assert network.get_submodule("layer2").training
    assert all(parameter.device.type == "cpu" for parameter in network.parameters())
