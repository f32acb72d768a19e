"""What networks are compared by: against scikit-learn, over several tasks, and which way is better."""

import pytest
import sklearn.metrics
import torch
from torch.nn import functional as F

from tao_lite.metrics.best import METRICS
from tao_lite.metrics.counts import Counts, Evaluation
from tao_lite.spec import classification_pb2 as pb
from tests.metrics.test_joint import evaluated

LABELS = torch.tensor([0, 0, 0, 0, 0, 1, 1, 3])  # of class 2 there is no image
LOGITS = torch.eye(4)[[0, 0, 0, 0, 1, 1, 0, 2]] * 3


def evaluation() -> Evaluation:
    counts = Counts(4, torch.device("cpu"))
    counts.add(LOGITS, LABELS, F.cross_entropy(LOGITS, LABELS, reduction="none"))
    return counts.result(("a", "b", "c", "d"), 1)


def test_the_choices_of_the_schema_are_the_rows() -> None:
    assert list(METRICS) == list(pb.BestMetric.Kind.keys())


def test_values_are_those_of_scikit_learn() -> None:
    """Of the classes that have images, which scikit-learn is given as labels: it takes those that are predicted too."""
    predicted, found = LOGITS.argmax(dim=1), evaluation()
    assert METRICS["TOP1"].of(found) == sklearn.metrics.accuracy_score(LABELS, predicted) == 5 / 8
    f1 = sklearn.metrics.f1_score(LABELS, predicted, labels=[0, 1, 3], average="macro")
    assert METRICS["MACRO_F1"].of(found) == pytest.approx(f1)
    recall = sklearn.metrics.recall_score(LABELS, predicted, labels=[0, 1, 3], average="macro")
    assert METRICS["BALANCED_ACCURACY"].of(found) == pytest.approx(recall) == pytest.approx((4 / 5 + 1 / 2 + 0) / 3)
    assert METRICS["LOSS"].of(found) == pytest.approx(F.cross_entropy(LOGITS, LABELS).item())


def test_of_several_tasks_it_is_the_mean_of_those_with_labels() -> None:
    """By hand, of test_joint's images. Color: F1 2/3 each. Tags at 0.5: dot 1 found and right, 1 found and wrong, 1 not
    found: 1/2; line 2 found and right: 1."""
    joint = evaluated(4)
    assert METRICS["TOP1"].of(joint) == joint.top1
    assert METRICS["MACRO_F1"].of(joint) == pytest.approx((2 / 3 + (1 / 2 + 1) / 2) / 2)
    assert METRICS["LOSS"].of(joint) == joint.loss


def test_a_merit_is_higher_where_the_network_is_better_and_turns_back() -> None:
    for name, worse, better in (("TOP1", 0.4, 0.5), ("LOSS", 0.5, 0.4)):
        metric = METRICS[name]
        assert metric.merit(better) > metric.merit(worse)
        assert metric.merit(metric.merit(better)) == better
