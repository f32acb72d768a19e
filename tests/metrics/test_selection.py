"""What is chosen for labelling, on features whose clusters and doubts were planted."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from tao_lite.metrics.selection import doubts, k_centres, k_means, most_unsure, typical, unsure_and_unlike

SIZES = (60, 30, 15, 6)
WIDTH = 12


def clusters(*sizes: int, spread: float = 0.05, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Features around axes of their own, so many around each, shuffled; and whose each is."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    labels = labels[torch.randperm(len(labels), generator=generator)]
    return torch.eye(WIDTH)[labels] + spread * torch.randn(len(labels), WIDTH, generator=generator), labels


def test_doubt_is_one_less_the_margin() -> None:
    rows = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8], [1 / 3, 1 / 3, 1 / 3], [1.0, 0.0, 0.0], [math.nan] * 3])
    assert doubts(rows).tolist() == pytest.approx([0.8, 0.3, 1.0, 0.0, 1.0])
    assert [one.place for one in most_unsure(doubts(rows), 3)] == [2, 4, 0]
    labels = torch.tensor([[0.9, 0.4], [0.99, 0.01]])
    assert doubts(labels, is_multi_label=True).tolist() == pytest.approx([0.8, 0.02], abs=1e-6)
    assert doubts(torch.ones(2, 1)).tolist() == [0, 0]


def test_each_centre_is_the_farthest_from_those_before_it() -> None:
    """Against the definition, computed plainly in float64."""
    features, _ = clusters(*SIZES, spread=0.3)
    picked = k_centres(features, 20)
    plain = features.double().numpy()
    plain /= np.linalg.norm(plain, axis=1, keepdims=True)
    places = [one.place for one in picked]
    assert len(set(places)) == 20
    assert places[0] == np.linalg.norm(plain - plain.mean(axis=0), axis=1).argmin()
    for number, one in enumerate(picked[1:], 1):
        nearest = np.linalg.norm(plain[:, None] - plain[places[:number]], axis=2).min(axis=1)
        assert one.score == pytest.approx(nearest.max(), abs=1e-3)
        assert nearest[one.place] == pytest.approx(nearest.max(), abs=1e-3)


def test_centres_cover_all_clusters_first_and_not_those_that_are_known() -> None:
    features, labels = clusters(*SIZES)
    assert sorted(labels[one.place].item() for one in k_centres(features, 4)) == [0, 1, 2, 3]
    known = torch.eye(WIDTH)[[0, 2]]
    assert sorted(labels[one.place].item() for one in k_centres(features, 2, known)) == [1, 3]


def test_badge_takes_what_is_unsure_and_of_all_kinds() -> None:
    """A tenth of each of four kinds is in doubt; the others, sure of their answer, have no gradient to speak of."""
    features, kinds = clusters(50, 50, 50, 50, spread=0.01)
    sure = torch.tensor([0.999, 0.001])
    probabilities = sure.repeat(200, 1)
    doubtful = torch.cat([torch.nonzero(kinds == kind)[:5, 0] for kind in range(4)])
    probabilities[doubtful] = torch.tensor([0.55, 0.45])
    residuals = probabilities - torch.tensor([1.0, 0.0])
    picked = unsure_and_unlike(residuals, features, 4)
    assert set(picked) <= set(doubtful.tolist())
    assert sorted(kinds[picked].tolist()) == [0, 1, 2, 3]
    assert picked == unsure_and_unlike(residuals, features, 4)


def test_badge_measures_the_gradients_that_it_does_not_make() -> None:
    """The first is the longest outer product; where one is left, all have been taken once."""
    generator = torch.Generator().manual_seed(1)
    residuals, features = torch.randn(9, 3, generator=generator), torch.randn(9, 5, generator=generator)
    gradients = torch.einsum("nc,nd->ncd", residuals, features).flatten(1)
    picked = unsure_and_unlike(residuals, features, 9)
    assert picked[0] == gradients.norm(dim=1).argmax().item()
    assert sorted(picked) == list(range(9))


def test_typical_ones_are_the_middles_of_the_largest_clusters() -> None:
    features, labels = clusters(*SIZES)
    picked = typical(features, 4)
    assert [labels[one.place].item() for one in picked] == [0, 1, 2, 3]
    outlier = torch.cat([features, 10 * torch.eye(WIDTH)[[7]]])
    assert [labels[one.place].item() for one in typical(outlier, 3)] == [0, 1, 2]
    distances = (features / features.norm(dim=1, keepdim=True) - torch.eye(WIDTH)[0]).norm(dim=1)
    assert distances[picked[0].place] < distances[labels == 0].median()


def test_typical_ones_are_not_of_clusters_that_are_known() -> None:
    features, labels = clusters(*SIZES)
    known = torch.eye(WIDTH)[[0, 1]] + 0.01
    assert [labels[one.place].item() for one in typical(features, 2, known)] == [2, 3]


def test_k_means_finds_planted_clusters() -> None:
    features, labels = clusters(*SIZES)
    found = k_means(torch.nn.functional.normalize(features), 4)
    pairs = set(zip(found.tolist(), labels.tolist(), strict=True))
    assert len(pairs) == len(SIZES)


@pytest.mark.parametrize("features", [torch.ones(5, 3), torch.zeros(5, 3), torch.full((5, 3), math.nan)])
def test_features_that_are_all_the_same_give_all_images_once(features: Tensor) -> None:
    assert sorted(one.place for one in k_centres(features, 5)) == [0, 1, 2, 3, 4]
    assert sorted(one.place for one in typical(features, 5)) == [0, 1, 2, 3, 4]
    assert sorted(unsure_and_unlike(features, features, 5)) == [0, 1, 2, 3, 4]


def test_no_more_are_picked_than_there_are() -> None:
    features, _ = clusters(3, 2)
    one = torch.ones(5, 2)
    assert len(k_centres(features, 9)) == len(typical(features, 9)) == len(unsure_and_unlike(one, features, 9)) == 5
    assert len(k_centres(features[:1], 3)) == len(typical(features[:1], 3)) == 1
    assert len(k_centres(features, 9, features)) == 5
