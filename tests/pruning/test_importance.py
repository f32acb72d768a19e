"""What channels are judged by, against finite differences and numbers made by hand; and the thresholds for targets."""

import copy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tao_lite.errors import PruneError
from tao_lite.pruning import criteria, importance, layers, plans, surgery, targets, taylor
from tao_lite.pruning import sizes as report
from tao_lite.pruning.criteria import Rule
from tao_lite.pruning.plans import Plan, Scored

from . import zoo

SHAPE = (3, 8, 8)
FINE = Rule(granularity=1, min_num_filters=1)


class Mixed(nn.Module):
    """A sum, a concatenation, a depthwise convolution and a gate: every way a channel may be read more than once."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.norm, self.depthwise = nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3, padding=1, groups=4)
        self.gate, self.head = nn.Linear(4, 4), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        first = F.relu(self.first(x))
        total = F.relu(self.norm(self.second(first))) + first
        gated = self.depthwise(total) * torch.sigmoid(self.gate(total.mean((2, 3))))[:, :, None, None]
        out: Tensor = self.head(torch.cat((gated, total), dim=1).mean((2, 3)))
        return out


def mixed() -> nn.Module:
    torch.manual_seed(4)
    return zoo.scrambled(Mixed()).double()


def batches() -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(5)
    sizes = (3, 2)
    return [
        (torch.randn(n, *SHAPE, generator=generator).double(), torch.randint(5, (n,), generator=generator))
        for n in sizes
    ]


def losses(network: nn.Module) -> Tensor:
    with torch.no_grad():
        return torch.cat([F.cross_entropy(network(images), labels, reduction="none") for images, labels in batches()])


def test_taylor_is_the_slope_of_the_loss_as_the_readers_lose_a_channel() -> None:
    network, step = mixed(), 1e-5
    scored = plans.score(network, SHAPE, replace(FINE, normalizer="off"), taylor.by_loss(network, batches()))
    assert [group.name for group, _ in scored.groups] == ["first"]
    (group, scores) = scored.groups[0]
    assert set(group.consumers) == {"second", "gate", "head"}
    for channel in range(group.width):
        dimmed = copy.deepcopy(network)
        for name, channels in group.consumers.items():
            layers.weight(dimmed.get_submodule(name)).data[:, channels == channel] *= 1 - step
        slopes = (losses(dimmed) - losses(network)) / step
        assert float(scores[channel]) == pytest.approx(float(slopes.square().mean().sqrt()), rel=1e-3)


def test_taylor_leaves_the_network_and_its_gradients_alone() -> None:
    network = mixed().train()
    before = copy.deepcopy(network.state_dict())
    plans.score(network, SHAPE, FINE, taylor.by_loss(network, batches()))
    assert network.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in network.parameters())
    assert not any(module._forward_pre_hooks for module in network.modules())


class Chain(nn.Sequential):
    """Two convolutions, the first with batch norm, and a head."""

    def __init__(self) -> None:
        norm, head = nn.BatchNorm2d(4), nn.Conv2d(3, 2, 1)
        super().__init__(nn.Conv2d(1, 4, 1), norm, nn.ReLU(), nn.Conv2d(4, 3, 1), head)
        norm.weight.data = torch.tensor([0.5, -2.0, 0.0, 1.0])


def test_batch_norms_judge_by_their_absolute_scale_and_weights_stand_in() -> None:
    network = Chain()
    weight = network[3].weight
    assert isinstance(weight, Tensor)
    weight.data = torch.tensor([[3.0, 4, 0, 0], [0, 0, 6, 8], [1, 0, 0, 0]])[:, :, None, None]
    scored = plans.score(network, (1, 4, 4), replace(FINE, normalizer="off"), importance.by_batch_norms(network))
    scores = {group.name: found.tolist() for group, found in scored.groups}
    assert scores == {"0": [0.5, 2, 0, 1], "3": [0.5, 1, 0.1]}
    assert importance.without_batch_norm(network, [group for group, _ in scored.groups]) == ["3"]


def test_chance_depends_on_the_seed_alone() -> None:
    first, same, other = (
        plans.score(Chain(), (1, 4, 4), FINE, importance.by_chance(seed)).groups for seed in (1, 1, 2)
    )
    assert [scores.tolist() for _, scores in first] == [scores.tolist() for _, scores in same]
    assert [scores.tolist() for _, scores in first] != [scores.tolist() for _, scores in other]


def test_ranks_cut_the_same_share_of_every_layer() -> None:
    ranks = criteria.ranks(torch.tensor([0.3, 0.9, 0.3, 0.1], dtype=torch.float64))
    assert ranks.tolist() == [0.75, 1.0, 0.5, 0.25]  # of equal ones the first is the better
    network = zoo.scrambled(zoo.build("resnet18"))
    scored = plans.score(network, zoo.SHAPE, replace(FINE, ranking="PER_LAYER"))
    plan = scored.plan(0.25)
    assert {name: len(kept) for name, kept in plan.outputs.items()} == {
        name: layers.width(layer) * 3 // 4 if name != "fc" else 10 for name, layer in layers.named(network).items()
    }


@pytest.fixture(scope="module")
def scored() -> Scored:
    network = zoo.scrambled(zoo.build("mobilenet_v2"))
    return plans.score(network, zoo.SHAPE, Rule(granularity=2, min_num_filters=2))


@pytest.mark.parametrize("ratio", [0.8, 0.4])
def test_a_threshold_for_macs_is_the_lowest_that_leaves_so_many(scored: Scored, ratio: float) -> None:
    def share(threshold: float) -> float:
        smaller = surgery.cut(scored.network, scored.plan(threshold))
        changes = report.compare(scored.network, smaller, scored.input_shape)
        return changes.macs_after / changes.macs_before

    threshold = targets.for_macs(scored, ratio)
    assert ratio - 0.02 < share(threshold) <= ratio < share(threshold - 1e-9)


def test_the_number_of_parameters_of_a_plan_is_that_of_its_cut(scored: Scored) -> None:
    plan = scored.plan(0.5)
    there = sum(parameter.numel() for parameter in surgery.cut(scored.network, plan).parameters())
    assert plans.num_parameters(scored.network, plan) == there


def share_of(scored: Scored, plan: Plan) -> float:
    return plans.num_parameters(scored.network, plan) / sum(p.numel() for p in scored.network.parameters())


@pytest.mark.parametrize("edge", [0.9, 0.55, 0.3])
def test_a_search_for_accuracy_ends_within_a_hundredth_of_the_edge(scored: Scored, edge: float) -> None:
    # A network that is right about everything down to a size, and then about nothing.
    found = targets.for_accuracy(scored, 0.99, lambda plan: float(share_of(scored, plan) >= edge))
    assert edge <= share_of(scored, scored.plan(found.threshold)) <= edge + 2 * targets.STEP
    assert len(found.tried) <= 14
    assert [accuracy for share, accuracy in found.tried] == [float(share >= edge) for share, _ in found.tried]


def test_a_network_that_loses_accuracy_at_once_is_left_whole(scored: Scored) -> None:
    found = targets.for_accuracy(scored, 0.5, lambda _: 0.0)
    assert share_of(scored, scored.plan(found.threshold)) > 0.98


def test_a_cut_that_computes_something_else_is_refused() -> None:
    network = zoo.scrambled(zoo.build("resnet18"))
    plan = plans.score(network, zoo.SHAPE, Rule(threshold=0.5)).plan()
    smaller = surgery.cut(network, plan)
    surgery.check(network, plan, smaller, zoo.SHAPE)
    smaller.get_parameter("layer4.1.conv2.weight").data *= 2
    with pytest.raises(
        PruneError, match=r"^ResNet: the cut network does not compute what is left of the original \(off"
    ):
        surgery.check(network, plan, smaller, zoo.SHAPE)


def test_a_forward_function_that_wrote_its_widths_down_is_refused() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Conv2d(8, 2, 1))
    plan = plans.score(network, SHAPE, replace(FINE, threshold=0.9)).plan()
    smaller = surgery.cut(network, plan)
    smaller.register_module("1", nn.Unflatten(1, (2, 4)))
    with pytest.raises(PruneError, match=r"^Sequential can't compute once it is cut: "):
        surgery.check(network, plan, smaller, SHAPE)


def test_a_network_of_more_operations_than_any_is_not_traced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tao_lite.pruning.trace.MAX_OPERATIONS", 10)
    with pytest.raises(PruneError, match=r"^ResNet: has \d+ operations; more than 10 are not traced$"):
        plans.score(zoo.build("resnet18"), zoo.SHAPE, FINE).plan()
