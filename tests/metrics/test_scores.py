"""Scores say what their papers say, and stay apart where a probability is rounded to 1."""

import numpy as np
import torch

from tao_lite.metrics import scores
from tao_lite.metrics.scores import Scorer


def test_log_odds_order_as_the_highest_probability_and_beyond_its_rounding() -> None:
    logits = torch.randn(50, 7, dtype=torch.float64) * 3
    best = logits.softmax(1).amax(1)
    torch.testing.assert_close(scores.log_odds(logits), (best / (1 - best)).log())
    sure = scores.log_odds(torch.tensor([[40.0, 0, 0], [60.0, 0, 0], [1.0, 1.0, -50]]))
    assert sure[1] > sure[0] > 30
    assert abs(float(sure[2])) < 1e-6  # two equal ones: even odds


def test_energy_is_the_logarithm_of_the_sum() -> None:
    assert float(scores.energy(torch.tensor([[0.0, 0.0]]))) == np.float32(np.log(2))


def test_distances_are_mahalanobis_by_numpy() -> None:
    """With many more images than numbers nothing is shrunk to speak of."""
    rng = np.random.default_rng(0)
    mixing, centres = rng.normal(size=(4, 4)), rng.normal(size=(3, 4)) * 5
    labels = rng.integers(0, 3, 20000)
    features = centres[labels] + rng.normal(size=(20000, 4)) @ mixing
    fitted = scores.fit_distance(torch.from_numpy(features).float(), torch.from_numpy(labels), 3)
    assert fitted
    directions = features / np.linalg.norm(features, axis=1, keepdims=True)
    means = np.stack([directions[labels == label].mean(0) for label in range(3)])
    precision = np.linalg.inv(np.cov((directions - means[labels]).T, bias=True))
    gaps = directions[:10, None] - means
    expected = np.einsum("bci,ij,bcj->bc", gaps, precision, gaps)
    found = scores.distances(torch.from_numpy(features[:10]).float(), fitted["means"], fitted["whitening"])
    np.testing.assert_allclose(found.numpy(), expected, rtol=0.02)
    score = Scorer("DISTANCE", 1.0, fitted)(torch.zeros(10, 3), torch.from_numpy(features[:10]).float())
    np.testing.assert_allclose(score.numpy(), -expected.min(1), rtol=0.02)


def test_fewer_images_than_numbers_still_give_a_distance() -> None:
    generator = torch.Generator().manual_seed(0)
    features, labels = torch.randn(30, 200, generator=generator), torch.arange(30) % 2
    fitted = scores.fit_distance(features + 3 * labels[:, None], labels, 3)
    assert fitted
    same = torch.randn(50, 200, generator=generator)
    near = scores.distances(same, fitted["means"], fitted["whitening"])
    assert (near[:, 0] < near[:, 1]).all()
    assert (near[:, 2] > 1e6).all()  # no image of that class was seen


def test_features_that_are_all_the_same_give_none() -> None:
    labels = torch.arange(10) % 2
    assert scores.fit_distance(torch.ones(10, 5) * labels[:, None], labels, 2) is None
