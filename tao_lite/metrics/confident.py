"""Confident learning: which labels are probably wrong, by probabilities that were computed without them.

Source: Northcutt, Jiang and Chuang, Confident Learning, arXiv:1911.00068. Arguments of all functions: probabilities
float [N, K], labels int64 [N], of which each class has one.
"""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]
Labels = npt.NDArray[np.int64]


def thresholds(probabilities: Floats, labels: Labels) -> npt.NDArray[np.float64]:
    """Mean self-confidence of each class: how probable it is where it is the label, float64 [K]."""
    return np.array([probabilities[labels == name, name].mean() for name in range(probabilities.shape[1])], np.float64)


def confident_joint(probabilities: Floats, labels: Labels) -> npt.NDArray[np.int64]:
    """How many images of each label (row) are confidently of each class (column), int64 [K, K].

    An image counts for the most probable of the classes that reach their thresholds; for none if there is none.
    """
    size = probabilities.shape[1]
    reached = (
        probabilities >= thresholds(probabilities, labels) - 1e-6
    )  # a class of equal probabilities reaches its mean
    classes = np.where(reached, probabilities, -1).argmax(axis=1)
    counted = reached.any(axis=1)
    joint = np.zeros((size, size), np.int64)
    np.add.at(joint, (labels[counted], classes[counted]), 1)
    return joint


def wrong_labels(probabilities: Floats, labels: Labels) -> npt.NDArray[np.bool_]:
    """Which labels are probably wrong, by noise rate: bool [N].

    Of each label and other class as many images as the joint says, calibrated to the number of images of the label:
    those whose probability of the class exceeds most that of the label. An image whose label is its most probable
    class is none of them.
    """
    joint, size = confident_joint(probabilities, labels), probabilities.shape[1]
    counts = np.bincount(labels, minlength=size)
    rates = joint / np.maximum(joint.sum(axis=1, keepdims=True), 1)
    numbers = np.rint(rates * counts[:, None]).astype(np.int64)
    found = np.zeros(len(labels), np.bool_)
    for label, other in zip(*np.nonzero(numbers), strict=True):
        if label != other:
            own = np.flatnonzero(labels == label)
            margins = probabilities[own, other] - probabilities[own, label]
            found[own[np.argsort(-margins, kind="stable")[: numbers[label, other]]]] = True
    found &= probabilities.argmax(axis=1) != labels
    return found


def margins(probabilities: Floats, labels: Labels) -> Floats:
    """Probability of the label less that of the most probable other class, -1 to 1, [N]; a low one is doubtful."""
    places = np.arange(len(labels))
    others = probabilities.copy()
    others[places, labels] = -1
    found: Floats = probabilities[places, labels] - others.max(axis=1)
    return found
