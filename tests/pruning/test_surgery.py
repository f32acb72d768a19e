"""The cut network against the masked one, and everything that is derived from it."""

import copy
import re
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision import models

from tao_lite.errors import CheckpointError, PruneError
from tao_lite.pruning import plans, surgery, targets
from tao_lite.pruning import sizes as report_of
from tao_lite.pruning.criteria import Rule
from tao_lite.pruning.plans import Plan

from . import zoo

HALF = Rule(threshold=0.5, granularity=2, min_num_filters=2)
NOTHING = Rule(threshold=0, granularity=1, min_num_filters=1)


@dataclass(frozen=True)
class Case:
    name: str
    network: nn.Module
    plan: Plan
    smaller: nn.Module
    images: Tensor
    shape: tuple[int, int, int]


@pytest.fixture(scope="module", params=zoo.BEYOND_THE_TABLE)
def case(request: pytest.FixtureRequest) -> Case:
    """A network and its pruned form; pytest holds one at a time."""
    name, shape = request.param, zoo.shape(request.param)
    network = zoo.scrambled(zoo.build(name))
    plan = plans.score(network, shape, HALF).plan()
    images = torch.randn(2, *shape, generator=torch.Generator().manual_seed(1))
    return Case(name, network, plan, surgery.cut(network, plan), images, shape)


def logits(network: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        out: Tensor = network(images)
    return out


def num_parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_pruning_equals_masking(case: Case) -> None:
    expected = logits(surgery.mask(case.network, case.plan), case.images)
    actual = logits(case.smaller, case.images)
    scale = float(expected.abs().max())
    assert float((actual - expected).abs().max()) <= 1e-5 * scale
    # The rule took a good part: masking changed the function, and by far more than the bound above.
    assert float((logits(case.network, case.images) - expected).abs().max()) > 1e-3 * scale


def test_the_report_adds_up_to_the_parameters_and_names_every_layer(case: Case) -> None:
    report = report_of.compare(case.network, case.smaller, case.shape)
    assert report.parameters_before == sum(layer.parameters_before for layer in report.layers)
    assert report.parameters_before == num_parameters(case.network)
    assert report.parameters_after == sum(layer.parameters_after for layer in report.layers)
    assert report.parameters_after == num_parameters(case.smaller) < 0.97 * report.parameters_before
    assert report.macs_after == sum(layer.macs_after for layer in report.layers) < report.macs_before
    for layer in report.layers:
        assert layer.channels_after == len(case.plan.outputs[layer.name]) <= layer.channels_before


def test_the_attributes_of_a_pruned_network_are_those_of_its_tensors(case: Case) -> None:
    for layer in case.smaller.modules():
        if isinstance(layer, nn.Conv2d):
            assert layer.weight.shape[:2] == (layer.out_channels, layer.in_channels // layer.groups)
            assert layer.out_channels % layer.groups == 0
        elif isinstance(layer, nn.Linear):
            assert layer.weight.shape == (layer.out_features, layer.in_features)
        elif isinstance(layer, nn.BatchNorm2d):
            assert layer.weight.shape == layer.running_mean.shape == (layer.num_features,)  # type: ignore[union-attr]


def test_a_fresh_network_takes_the_widths_of_a_saved_one(case: Case, tmp_path: Path) -> None:
    torch.save(case.smaller.state_dict(), tmp_path / "pruned.pth")
    state_dict = torch.load(tmp_path / "pruned.pth", weights_only=True)
    with torch.device("meta"):
        fresh = zoo.build(case.name).eval()
    surgery.resize_like(fresh, state_dict)
    fresh.load_state_dict(state_dict, strict=True, assign=True)
    assert torch.equal(logits(fresh, case.images), logits(case.smaller, case.images))


def test_a_pruned_network_can_be_pruned_again(case: Case) -> None:
    rule = replace(HALF, threshold=0.7)
    plan = plans.score(case.smaller, case.shape, rule).plan()
    again = surgery.cut(case.smaller, plan)
    expected = logits(surgery.mask(case.smaller, plan), case.images)
    assert num_parameters(again) < num_parameters(case.smaller)
    assert float((logits(again, case.images) - expected).abs().max()) <= 1e-5 * float(expected.abs().max())


def test_pruning_nothing_changes_nothing(case: Case) -> None:
    same = surgery.cut(case.network, plans.score(case.network, case.shape, NOTHING).plan())
    assert torch.equal(logits(same, case.images), logits(case.network, case.images))


def resnet18() -> nn.Module:
    return zoo.scrambled(zoo.build("resnet18"))


def test_the_original_is_untouched() -> None:
    network = resnet18()
    before = copy.deepcopy(network.state_dict())
    plan = plans.score(network, zoo.SHAPE, HALF).plan()
    surgery.cut(network, plan)
    surgery.mask(network, plan)
    after = network.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_a_pruned_network_has_the_same_class_names_and_trainable_flags() -> None:
    network = resnet18()
    network.get_parameter("conv1.weight").requires_grad_(False)
    network.get_parameter("layer1.0.bn1.bias").requires_grad_(False)
    smaller = surgery.cut(network, plans.score(network, zoo.SHAPE, HALF).plan())
    assert type(smaller) is models.ResNet
    flags = {name: parameter.requires_grad for name, parameter in network.named_parameters()}
    assert {name: parameter.requires_grad for name, parameter in smaller.named_parameters()} == flags
    assert [name for name, trainable in flags.items() if not trainable] == ["conv1.weight", "layer1.0.bn1.bias"]
    assert smaller.state_dict().keys() == network.state_dict().keys()


def test_a_pruned_network_learns() -> None:
    network = resnet18()
    smaller = surgery.cut(network, plans.score(network, zoo.SHAPE, HALF).plan()).train()
    optimizer = torch.optim.SGD(smaller.parameters(), lr=0.01)
    images, labels = torch.randn(4, *zoo.SHAPE, generator=torch.Generator().manual_seed(1)), torch.arange(4)
    losses = []
    for _ in range(3):
        loss = nn.functional.cross_entropy(smaller(images), labels)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[2] < losses[1] < losses[0]


def test_the_kept_weights_are_those_of_the_original() -> None:
    network = resnet18()
    plan = plans.score(network, zoo.SHAPE, HALF).plan()
    smaller = surgery.cut(network, plan)
    outputs, inputs = plan.outputs["layer2.0.conv1"], plan.inputs["layer2.0.conv1"]
    assert 2 <= len(inputs) < 64
    weight = network.get_parameter("layer2.0.conv1.weight")
    assert torch.equal(smaller.get_parameter("layer2.0.conv1.weight"), weight[outputs][:, inputs])
    variance = network.get_buffer("layer2.0.bn1.running_var")
    assert torch.equal(smaller.get_buffer("layer2.0.bn1.running_var"), variance[outputs])


def test_excluded_layers_keep_their_groups_and_no_others() -> None:
    network = resnet18()
    plan = plans.score(network, zoo.SHAPE, replace(HALF, excluded_layers=("layer1.1.conv2",))).plan()
    for name in ("conv1", "bn1", "layer1.0.conv2", "layer1.1.conv2"):
        assert len(plan.outputs[name]) == 64
    assert len(plan.inputs["layer2.0.conv1"]) == 64
    assert len(plan.outputs["layer1.0.conv1"]) < 64


@pytest.mark.parametrize(
    ("granularity", "min_num_filters", "expected"),
    [
        (1, 1, [0, 4]),
        (4, 1, [0, 1, 4, 5]),
        (1, 5, [0, 1, 2, 4, 5, 6]),
        (8, 1, [0, 1, 2, 3, 4, 5, 6, 7]),
    ],
)
def test_a_grouped_convolution_is_rounded_in_filters(
    granularity: int, min_num_filters: int, expected: list[int]
) -> None:
    # 8 filters in 2 groups are positions 0 to 3, twice; their norms / 4 are 1 .5 .25 .25 and .5 .25 .5 .25.
    grouped = nn.Conv2d(4, 8, 1, groups=2)
    grouped.weight.data = torch.zeros(8, 2, 1, 1)
    grouped.weight.data[:, 0, 0, 0] = torch.tensor([4.0, 2, 1, 1, 2, 1, 2, 1])
    rule = Rule(threshold=0.6, granularity=granularity, min_num_filters=min_num_filters)
    plan = plans.score(nn.Sequential(grouped, nn.Conv2d(8, 1, 1)), (4, 1, 1), rule).plan()
    assert plan.outputs["0"].tolist() == plan.inputs["1"].tolist() == expected


def test_weights_that_are_not_finite_are_named() -> None:
    network = resnet18()
    network.get_parameter("layer3.0.conv1.weight").data[0, 0, 0, 0] = float("nan")
    with pytest.raises(PruneError) as caught:
        plans.score(network, zoo.SHAPE, HALF).plan()
    assert str(caught.value) == (
        "layer3.0.conv1.weight holds values that are not finite; prune a checkpoint from before the training diverged"
    )


@pytest.mark.parametrize("ratio", [0.9, 0.5, 0.25])
def test_the_threshold_for_a_ratio_is_the_lowest_that_reaches_it(ratio: float) -> None:
    network = resnet18()
    rule = Rule(granularity=8, min_num_filters=16)
    threshold = targets.for_parameters(plans.score(network, zoo.SHAPE, rule), ratio)

    def ratio_at(threshold: float) -> float:
        plan = plans.score(network, zoo.SHAPE, replace(rule, threshold=threshold)).plan()
        return num_parameters(surgery.cut(network, plan)) / num_parameters(network)

    assert ratio - 0.015 <= ratio_at(threshold) <= ratio < ratio_at(threshold - 1e-9)


def test_a_ratio_of_one_needs_no_pruning() -> None:
    assert targets.for_parameters(plans.score(resnet18(), zoo.SHAPE, Rule()), 1.0) == 0


def test_a_ratio_out_of_reach_is_answered_with_the_least_that_is() -> None:
    network = resnet18()
    rule = Rule(granularity=8, min_num_filters=200, excluded_layers=("layer4.0.conv1",))
    with pytest.raises(PruneError) as caught:
        targets.for_parameters(plans.score(network, zoo.SHAPE, rule), 0.1)
    least = num_parameters(surgery.cut(network, plans.score(network, zoo.SHAPE, replace(rule, threshold=1e9)).plan()))
    assert str(caught.value) == (
        "a ratio of 0.1 is out of reach: granularity 8, min_num_filters 200 and 1 excluded layers leave at least "
        f"{least / num_parameters(network):.4f} of the parameters"
    )


def test_macs_of_resnet18_are_the_published_number() -> None:
    network = models.resnet18()
    report = report_of.compare(network, network, (3, 224, 224))
    assert report.macs_before == report.macs_after == 1_814_073_344  # 1.814 G: torchvision's model card has 1.81
    assert report.parameters_before == 11_689_512
    first = report.layers[0]
    assert (first.name, first.macs_before) == ("conv1", 64 * 112 * 112 * 3 * 7 * 7)


@pytest.mark.parametrize("name", ["mobilenet_v2", "short resnext", "short densenet"])
def test_macs_are_half_of_the_flops_that_torch_counts(name: str) -> None:
    with torch.device("meta"):
        network = zoo.build(name).eval()
        counter = FlopCounterMode(display=False)
        with counter:
            network(torch.empty(1, *zoo.SHAPE))
    assert report_of.compare(network, network, zoo.SHAPE).macs_before * 2 == counter.get_total_flops()


def test_a_checkpoint_without_a_layer_is_refused_by_the_name_of_the_tensor() -> None:
    state_dict = resnet18().state_dict()
    del state_dict["layer2.0.bn1.running_mean"]
    with pytest.raises(CheckpointError) as caught:
        surgery.resize_like(resnet18(), state_dict)
    assert str(caught.value) == (
        "layer2.0.bn1.running_mean is not in the checkpoint, so it holds another architecture than the network"
    )


@pytest.mark.parametrize(
    ("shape", "found"), [((64, 3, 3, 3), "64x3x3x3"), ((64, 147), "64x147")], ids=["another kernel", "another rank"]
)
def test_a_checkpoint_of_another_architecture_is_refused_and_changes_nothing(
    shape: tuple[int, ...], found: str
) -> None:
    network = resnet18()
    state_dict = surgery.cut(network, plans.score(network, zoo.SHAPE, HALF).plan()).state_dict()
    state_dict["conv1.weight"] = torch.zeros(shape)
    message = (
        f"conv1.weight is {found} in the checkpoint and 64x3x7x7 in the network; only the numbers of channels may "
        "differ, so the checkpoint holds another architecture"
    )
    with pytest.raises(CheckpointError, match=re.escape(message)):
        surgery.resize_like(network, state_dict)
    assert num_parameters(network) == num_parameters(resnet18())


def test_an_output_layer_of_another_size_is_taken_over() -> None:
    network = resnet18()
    surgery.resize_like(network, models.resnet18(num_classes=3).state_dict())
    assert isinstance(network.fc, nn.Linear)
    assert network.fc.out_features == 3
