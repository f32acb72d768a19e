"""TAO's rule against numbers worked by hand from its description."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from tao_lite.errors import PruneError
from tao_lite.pruning import criteria, plans
from tao_lite.pruning.criteria import Rule


def vector(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_a_norm_is_taken_over_all_but_the_output_axis() -> None:
    conv = torch.tensor([[[[3.0]], [[4.0]]], [[[5.0]], [[12.0]]]])  # [2, 2, 1, 1]
    depthwise = torch.tensor([[[[6.0, 8.0]]], [[[0.0, 1.0]]]])  # [2, 1, 1, 2]
    linear = torch.tensor([[8.0, 15.0], [0.0, 0.0]])
    assert criteria.channel_norms(conv).tolist() == [5, 13]
    assert criteria.channel_norms(depthwise).tolist() == [10, 1]
    assert criteria.channel_norms(linear).tolist() == [17, 0]


def test_max_divides_by_the_largest_norm() -> None:
    assert criteria.normalise(vector(4, 3, 2, 1), "max").tolist() == [1, 0.75, 0.5, 0.25]


def test_l2_divides_by_the_norm_of_norms_and_multiplies_by_their_number() -> None:
    assert criteria.normalise(vector(3, 4), "L2").tolist() == pytest.approx([3 / 5 * 2, 4 / 5 * 2])
    assert criteria.normalise(vector(7, 7, 7, 7), "L2").tolist() == pytest.approx([2, 2, 2, 2])  # sqrt(4)


@pytest.mark.parametrize("normalizer", criteria.NORMALIZERS)
def test_a_layer_of_zeros_stays_zeros(normalizer: str) -> None:
    assert criteria.normalise(vector(0, 0), normalizer).tolist() == [0, 0]


@pytest.mark.parametrize(
    ("criterion", "expected"),
    [
        ("union", [1, 0.75, 1, 0.5]),
        ("intersection", [0, 0.5, 0.5, 0.25]),
        ("arithmetic_mean", [0.5, 0.625, 0.75, 0.375]),
        ("geometric_mean", [0, 0.375**0.5, 0.5**0.5, 0.125**0.5]),
    ],
)
def test_coupled_norms_are_merged_channel_by_channel(criterion: str, expected: list[float]) -> None:
    merged = criteria.equalise([vector(1, 0.75, 0.5, 0.25), vector(0, 0.5, 1, 0.5)], criterion)
    assert merged.tolist() == pytest.approx(expected)


FORTIETHS = torch.arange(1, 41, dtype=torch.float64) / 40  # channel k has norm (k + 1) / 40; ten are above 0.75


@pytest.mark.parametrize(
    ("threshold", "granularity", "min_num_filters", "expected"),
    [
        (0.75, 1, 1, range(30, 40)),  # 0.75 itself is not above
        (0.75, 8, 1, range(24, 40)),  # 10 -> 16
        (0.75, 32, 1, range(8, 40)),  # 10 -> 32
        (0.75, 1, 16, range(24, 40)),
        (0.75, 8, 20, range(16, 40)),  # 20 -> 24
        (0.75, 1, 100, range(40)),
        (0.15, 32, 1, range(40)),  # 34 -> 64 -> all
        (0.0, 1, 1, range(40)),
        (5.0, 1, 1, range(39, 40)),
        (5.0, 8, 16, range(24, 40)),
    ],
)
def test_the_threshold_decides_how_many_and_the_ranking_which(
    threshold: float, granularity: int, min_num_filters: int, expected: range
) -> None:
    assert criteria.kept(FORTIETHS, threshold, granularity, min_num_filters).tolist() == list(expected)
    backwards = criteria.kept(FORTIETHS.flip(0), threshold, granularity, min_num_filters)
    assert backwards.tolist() == sorted(39 - index for index in expected)


def test_of_equal_norms_the_first_stay() -> None:
    assert criteria.kept(vector(1, 2, 1, 2, 1), 3, 1, 3).tolist() == [0, 1, 3]


@given(
    norms=st.lists(st.floats(0, 1), min_size=1, max_size=50),
    thresholds=st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted),
    granularity=st.integers(1, 40),
    min_num_filters=st.integers(1, 40),
)
def test_a_higher_threshold_keeps_a_part_of_what_a_lower_one_keeps(
    norms: list[float], thresholds: list[float], granularity: int, min_num_filters: int
) -> None:
    more, fewer = (set(criteria.kept(vector(*norms), t, granularity, min_num_filters).tolist()) for t in thresholds)
    assert fewer <= more
    assert len(fewer) >= min(min_num_filters, len(norms))
    assert len(fewer) % granularity == 0 or len(fewer) == len(norms)


class Sum(nn.Module):
    """a(x) + b(x): two coupled layers, and a head."""

    def __init__(self, a: Tensor, b: Tensor) -> None:
        super().__init__()
        self.a, self.b = (nn.Conv2d(1, len(norms), 1) for norms in (a, b))
        self.head = nn.Conv2d(len(a), 2, 1)
        for layer, norms in ((self.a, a), (self.b, b)):
            layer.weight.data = norms.float().view(-1, 1, 1, 1)  # of one number each, so this is the norm

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.a(x) + self.b(x))
        return out


A, B = vector(4, 3, 2, 1), vector(0, 5, 10, 5)


# max: A 1 .75 .5 .25 and B 0 .5 1 .5, merged as above. L2: A / sqrt(30) * 4 = 2.921 2.191 1.461 0.730 and
# B / sqrt(150) * 4 = 0 1.633 3.266 1.633: union 2.921 2.191 3.266 1.633, intersection 0 1.633 1.461 0.730,
# arithmetic 1.461 1.912 2.363 1.182, geometric 0 1.892 2.184 1.092.
@pytest.mark.parametrize(
    ("normalizer", "threshold", "criterion", "expected"),
    [
        ("max", 0.62, "union", [0, 1, 2]),
        ("max", 0.62, "intersection", [1]),  # none is above: the minimum of one, the first of the two largest
        ("max", 0.62, "arithmetic_mean", [1, 2]),
        ("max", 0.62, "geometric_mean", [2]),
        ("L2", 1.9, "union", [0, 1, 2]),
        ("L2", 1.9, "intersection", [1]),
        ("L2", 1.9, "arithmetic_mean", [1, 2]),
        ("L2", 1.9, "geometric_mean", [2]),
    ],
)
def test_coupled_layers_keep_the_channels_of_their_merged_norms(
    normalizer: str, threshold: float, criterion: str, expected: list[int]
) -> None:
    rule = Rule(
        normalizer=normalizer,
        equalization_criterion=criterion,
        threshold=threshold,
        granularity=1,
        min_num_filters=1,
    )
    plan = plans.score(Sum(A, B), (1, 1, 1), rule).plan()
    assert plan.outputs["a"].tolist() == plan.outputs["b"].tolist() == plan.inputs["head"].tolist() == expected
    assert plan.outputs["head"].tolist() == [0, 1]
    assert plan.inputs["a"].tolist() == [0]


# Ten copies of the four channels. Union: 1 .75 1 .5, so 30 are above 0.62. Intersection: 0 .5 .5 .25, none is.
@pytest.mark.parametrize(
    ("criterion", "granularity", "expected"),
    [
        ("union", 1, {k for k in range(40) if k % 4 != 3}),
        ("union", 8, {k for k in range(40) if k % 4 != 3} | {3, 7}),
        ("union", 32, {k for k in range(40) if k % 4 != 3} | {3, 7}),
        ("intersection", 1, {1}),
        ("intersection", 8, {1, 2, 5, 6, 9, 10, 13, 14}),
        ("intersection", 32, {k for k in range(40) if k % 4 != 0} | {0, 4}),
    ],
)
def test_granularity_rounds_up_a_group_as_one(criterion: str, granularity: int, expected: set[int]) -> None:
    rule = Rule(equalization_criterion=criterion, threshold=0.62, granularity=granularity, min_num_filters=1)
    plan = plans.score(Sum(A.repeat(10), B.repeat(10)), (1, 1, 1), rule).plan()
    assert plan.outputs["a"].tolist() == plan.outputs["b"].tolist() == sorted(expected)


@pytest.mark.parametrize(
    ("criterion", "expected"),
    [("union", [0, 1, 2]), ("intersection", [1]), ("arithmetic_mean", [1, 2]), ("geometric_mean", [2])],
)
def test_a_depthwise_convolution_counts_like_its_producer(criterion: str, expected: list[int]) -> None:
    network = nn.Sequential(nn.Conv2d(1, 4, 1), nn.Conv2d(4, 4, 1, groups=4), nn.Conv2d(4, 2, 1))
    for layer, norms in zip(network, (A, B), strict=False):
        layer.weight.data = norms.float().view(4, 1, 1, 1)
    rule = Rule(equalization_criterion=criterion, threshold=0.62, granularity=1, min_num_filters=1)
    plan = plans.score(network, (1, 1, 1), rule).plan()
    assert plan.outputs["0"].tolist() == plan.outputs["1"].tolist() == plan.inputs["2"].tolist() == expected


def test_a_rule_names_every_setting_out_of_range() -> None:
    with pytest.raises(PruneError) as caught:
        Rule(
            normalizer="l2",
            equalization_criterion="mean",
            granularity=0,
            threshold=float("nan"),
            min_num_filters=0,
        )
    assert str(caught.value) == (
        "normalizer is 'l2', must be one of max, L2, off; "
        "equalization_criterion is 'mean', must be one of union, intersection, arithmetic_mean, geometric_mean; "
        "granularity is 0, must be at least 1; "
        "threshold is nan, must be a number, at least 0; "
        "min_num_filters is 0, must be at least 1: a layer without channels can't compute"
    )
