"""Mixup and cutmix, against the distributions they are defined by and plain loops."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tao_lite.data.augment.mixes import Cutmix, Mixup, MixupOrCutmix, make_mix
from tao_lite.data.draws import CUTMIX, CUTMIX_LEFT, CUTMIX_TOP, MIX_CHOICE, MIXUP, NUM_DRAWS
from tests.data.batches import experiment, noise, some_draws


def test_mixup_mixes_first_with_last() -> None:
    images, labels, draws = noise(batch=5).float(), torch.tensor([3, 1, 4, 1, 5]), some_draws(5)
    mixed, partners, weights = Mixup(1.0)(images, labels, draws)
    assert partners.tolist() == [5, 1, 4, 1, 3]
    share = weights.view(-1, 1, 1, 1)
    expected = share * images + (1 - share) * torch.stack([images[index] for index in (4, 3, 2, 1, 0)])
    assert (mixed - expected).abs().max() < 1e-4
    assert torch.equal(mixed[2], images[2])
    assert mixed.is_contiguous(memory_format=torch.channels_last)


def own_weights(alpha: float, quantiles: Tensor) -> Tensor:
    draws = torch.zeros(len(quantiles), NUM_DRAWS)
    draws[:, MIXUP] = quantiles
    weights: Tensor = Mixup(alpha)(torch.zeros(len(quantiles), 1, 1, 1), torch.zeros(len(quantiles)).long(), draws)[2]
    return weights


EVEN = (torch.arange(20_000) + 0.5) / 20_000


@pytest.mark.parametrize(
    ("alpha", "quantile_of"),
    [
        # The distribution function of min(x, 1 - x) is twice that of x below 1/2. Beta(1, 1) is uniform, Beta(1/2, 1/2)
        # is the arcsine distribution, Beta(2, 2) has 3 t^2 - 2 t^3.
        (1.0, lambda t: 2 * t),
        (0.5, lambda t: 4 / torch.pi * torch.asin(t.sqrt())),
        (2.0, lambda t: 2 * (3 * t**2 - 2 * t**3)),
    ],
)
def test_mixup_weights_follow_the_beta_distribution(alpha: float, quantile_of: Callable[[Tensor], Tensor]) -> None:
    other = 1 - own_weights(alpha, EVEN).double()
    assert (quantile_of(other) - EVEN).abs().max() < 1e-3


@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.2, 0.4, 1.0, 3.0, 20.0])
def test_mixup_weights_have_the_variance_of_the_beta_distribution(alpha: float) -> None:
    # Var of Beta(a, a) is 1 / (4 (2a + 1)), about its mean 1/2, on which side of it is all the same. Between two of its
    # 4097 entries the table is a straight line, which costs some of the tail.
    variance = ((own_weights(alpha, EVEN).double() - 0.5) ** 2).mean().item()
    assert variance == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=5e-3)


@pytest.mark.parametrize("alpha", [1e-6, 1e-3, 0.2, 1.0, 30.0, 1e5])
def test_mixup_weights_lie_between_a_half_and_one_for_any_alpha(alpha: float) -> None:
    weights = own_weights(alpha, torch.tensor([0.0, 2.0**-24, 0.25, 0.5, 0.75, 1 - 2.0**-24]))
    assert bool(((weights >= 0.5) & (weights <= 1)).all())
    assert bool((weights.diff() <= 0).all())


def with_box(share: float, top: float, left: float, size: tuple[int, int]) -> tuple[Tensor, float]:
    """Of two images, 0 and 1 throughout, the first after cutmix, and its own weight."""
    images = torch.stack([torch.zeros(1, *size), torch.ones(1, *size)])
    draws = torch.zeros(2, NUM_DRAWS)
    # Beta(1, 1) is even: a smaller share of s / 2 stands at s.
    draws[:, CUTMIX], draws[:, CUTMIX_TOP], draws[:, CUTMIX_LEFT] = share, top, left
    mixed, _, weights = Cutmix(1.0)(images, torch.zeros(2).long(), draws)
    return mixed[0, 0], weights[0].item()


@pytest.mark.parametrize(
    ("share", "top", "left", "rows", "columns"),
    [
        (0.25, 0.5, 0.5, range(5, 15), range(10, 30)),  # sides halved, in the middle of 20 x 40
        (0.75, 0.5, 0.5, range(1, 19), range(3, 37)),  # 0.866 of them: 17.3 and 34.6 pixels
        (0.25, 0.0, 0.5, range(5), range(10, 30)),  # the upper half is over the border
        (0.25, 0.25, 0.75, range(10), range(20, 40)),
        (0.0, 0.5, 0.5, range(0), range(0)),
    ],
)
def test_cutmix_puts_a_box_of_the_partner_into_the_image(
    share: float, top: float, left: float, rows: range, columns: range
) -> None:
    expected = torch.zeros(20, 40)
    expected[rows.start : rows.stop, columns.start : columns.stop] = 1
    mixed, weight = with_box(share, top, left, (20, 40))
    assert torch.equal(mixed, expected)
    assert weight == pytest.approx(1 - len(rows) * len(columns) / 800, abs=1e-6)


def test_cutmix_takes_whole_pixels_of_either_image_and_says_how_many() -> None:
    images, labels, draws = noise(batch=5).float(), torch.tensor([3, 1, 4, 1, 5]), some_draws(5)
    mixed, partners, weights = Cutmix(1.0)(images, labels, draws)
    assert partners.tolist() == [5, 1, 4, 1, 3]
    assert mixed.is_contiguous(memory_format=torch.channels_last)
    for index, (image, weight) in enumerate(zip(mixed, weights.tolist(), strict=True)):
        is_own = (image == images[index]).all(0)
        assert bool((is_own | (image == images[4 - index]).all(0)).all())
        if index != 2:  # the one in the middle is its own partner
            assert is_own.float().mean().item() == pytest.approx(weight, abs=1e-6)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 3.0])
def test_the_boxes_of_cutmix_follow_the_beta_distribution(alpha: float) -> None:
    # Beta(a, a) has mean 1/2 and variance 1 / (4 (2a + 1)). In the middle of the image a box loses nothing but a pixel
    # a side, one way or the other.
    draws = torch.full((300, NUM_DRAWS), 0.5)
    draws[:, CUTMIX] = (torch.arange(300) + 0.5) / 300
    shares = 1 - Cutmix(alpha)(torch.zeros(300, 1, 200, 200), torch.zeros(300).long(), draws)[2]
    assert shares.mean().item() == pytest.approx(0.5, abs=2 / 200)
    assert shares.var().item() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=2e-2)


def test_each_image_takes_one_of_the_two() -> None:
    images, labels, draws = noise(batch=5).float(), torch.tensor([3, 1, 4, 1, 5]), some_draws(5)
    draws[:, MIX_CHOICE] = torch.tensor([0.0, 0.5, 0.4999, 0.9999, 0.2])
    mixup, cutmix = Mixup(0.4), Cutmix(1.0)
    mixed, cut = mixup(images, labels, draws), cutmix(images, labels, draws)
    found = MixupOrCutmix(mixup, cutmix)(images, labels, draws)
    assert found[0].is_contiguous(memory_format=torch.channels_last)
    for index, expected in enumerate([cut, mixed, cut, mixed, cut]):
        assert all(torch.equal(ours[index], theirs[index]) for ours, theirs in zip(found, expected, strict=True))


@pytest.mark.parametrize(
    ("train", "kind"),
    [
        ("mixup_alpha: 0.2", Mixup),
        ("cutmix_alpha: 1", Cutmix),
        ("mixup_alpha: 0.2 cutmix_alpha: 1", MixupOrCutmix),
        ("mixup_alpha: 0", type(None)),
    ],
)
def test_the_spec_sets_the_mix(train: str, kind: type) -> None:
    mix = make_mix(experiment(f"train_config {{ {train} }}"))
    assert isinstance(mix, kind)
    assert mix is None or mix.state_dict() == {}
