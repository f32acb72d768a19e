"""Confident learning: as by hand, and as cleanlab has it."""

import numpy as np
import numpy.typing as npt
import pytest

from tao_lite.metrics import confident


def noisy(seed: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """400 images of 4 classes whose probabilities are good, a tenth of the labels wrong."""
    draws = np.random.default_rng(seed)
    true = draws.integers(0, 4, 400)
    logits = draws.normal(size=(400, 4)) + 3 * np.eye(4)[true]
    labels = np.where(draws.random(400) < 0.1, draws.integers(0, 4, 400), true)
    weights = np.exp(logits)
    return weights / weights.sum(axis=1, keepdims=True), labels


def test_the_joint_is_as_by_hand() -> None:
    """Thresholds are (0.8 + 0.6 + 0.1) / 3 = 0.5 and (0.7 + 0.5) / 2 = 0.6: of the second 1, nothing reaches one."""
    probabilities = np.array([[0.8, 0.2], [0.6, 0.4], [0.1, 0.9], [0.3, 0.7], [0.5 - 1e-3, 0.5 + 1e-3]])
    labels = np.array([0, 0, 0, 1, 1])
    assert confident.thresholds(probabilities, labels) == pytest.approx([0.5, 0.6005])
    assert confident.confident_joint(probabilities, labels).tolist() == [[2, 1], [0, 1]]
    assert confident.wrong_labels(probabilities, labels).tolist() == [False, False, True, False, False]
    assert confident.margins(probabilities, labels)[:3] == pytest.approx([0.6, 0.2, -0.8])


def test_labels_that_are_right_are_none() -> None:
    probabilities, _ = noisy(0)
    assert not confident.wrong_labels(probabilities, probabilities.argmax(axis=1)).any()


@pytest.mark.parametrize("seed", range(5))
def test_the_wrong_labels_are_cleanlabs(seed: int) -> None:
    """Rounding of the numbers to prune differs: cleanlab keeps each row's sum. One image in a cell is its right."""
    count, filters = pytest.importorskip("cleanlab.count"), pytest.importorskip("cleanlab.filter")
    probabilities, labels = noisy(seed)
    theirs = count.compute_confident_joint(labels, probabilities, calibrate=False)
    assert confident.confident_joint(probabilities, labels).tolist() == theirs.tolist()
    flagged = filters.find_label_issues(labels, probabilities, filter_by="prune_by_noise_rate", n_jobs=1)
    ours = confident.wrong_labels(probabilities, labels)
    assert ours.sum() > 20
    assert (ours != flagged).sum() <= 4
    order = filters.find_label_issues(labels, probabilities, return_indices_ranked_by="normalized_margin", n_jobs=1)
    margins = confident.margins(probabilities, labels)
    assert (np.diff(margins[order]) >= 0).all()
