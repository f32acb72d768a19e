"""Counts by threshold against TensorBoard's own curve and scikit-learn."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import precision_score, recall_score
from torch import Tensor
from torch.utils.tensorboard.summary import compute_curve

from tao_lite.metrics.precision_recall import NUM_THRESHOLDS, PrecisionRecall

NUM_CLASSES = 4


@pytest.fixture
def answers() -> tuple[Tensor, Tensor]:
    """Logits and labels of 200 images; class 3 is never right."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(NUM_CLASSES - 1, (200,), generator=generator)
    return 2 * torch.randn(200, NUM_CLASSES, generator=generator), labels


def curves(*batches: tuple[Tensor, Tensor]) -> Tensor:
    counted = PrecisionRecall(NUM_CLASSES, torch.device("cpu"))
    for logits, labels in batches:
        counted.add(logits, labels)
    return counted.curves(range(NUM_CLASSES))


def test_curves_are_those_that_tensorboard_makes_of_all_probabilities(answers: tuple[Tensor, Tensor]) -> None:
    logits, labels = answers
    found, probabilities = curves(answers), logits.softmax(dim=1).numpy()
    for index in range(NUM_CLASSES):
        is_own = (labels == index).numpy()
        expected = compute_curve(is_own, probabilities[:, index], NUM_THRESHOLDS)  # type: ignore[no-untyped-call]
        np.testing.assert_allclose(found[index], expected, rtol=1e-6)


@pytest.mark.parametrize("place", [0, 42, 63, 100])
def test_a_point_is_what_scikit_learn_says_of_its_threshold(answers: tuple[Tensor, Tensor], place: int) -> None:
    logits, labels = answers
    is_named = logits.softmax(dim=1)[:, 1] >= place / (NUM_THRESHOLDS - 1)
    precision, recall = curves(answers)[1, 4:, place].tolist()
    assert precision == pytest.approx(precision_score(labels == 1, is_named))
    assert recall == pytest.approx(recall_score(labels == 1, is_named))


def test_batches_add_up_and_images_without_finite_logits_are_left_out(answers: tuple[Tensor, Tensor]) -> None:
    logits, labels = answers
    broken = torch.full((2, NUM_CLASSES), math.nan), torch.tensor([0, 3])
    infinite = torch.tensor([[math.inf, 0, 0, 0]]), torch.tensor([1])
    parts = curves((logits[:70], labels[:70]), broken, (logits[70:], labels[70:]), infinite)
    assert torch.equal(parts, curves(answers))


def test_only_the_classes_asked_for_are_given_in_their_order(answers: tuple[Tensor, Tensor]) -> None:
    counted = PrecisionRecall(NUM_CLASSES, torch.device("cpu"))
    counted.add(*answers)
    assert torch.equal(counted.curves([2, 0]), curves(answers)[[2, 0]])
