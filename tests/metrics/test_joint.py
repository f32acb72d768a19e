"""Scores of several tasks: by hand, against scikit-learn, and over whatever batches."""

import math

import pytest
import sklearn.metrics
import torch

from tao_lite.metrics.counts import Evaluation
from tao_lite.metrics.joint import JointCounts, JointEvaluation
from tao_lite.metrics.labels import LabelsEvaluation, average_precision
from tao_lite.spec.tasks import Task

CPU = torch.device("cpu")
COLOR = Task(name="color", class_names=("blue", "red"), first=0, weight=2.0)
TAGS = Task(name="tags", class_names=("dot", "line"), first=2, is_multi_label=True)
LOGITS = torch.tensor([[2.0, 0.0, 3.0, -1.0], [2.0, 0.0, 1.0, 2.0], [0.0, 1.0, -1.0, 1.0], [9.0, 0.0, -2.0, 0.5]])
LABELS = torch.tensor([[1, 0, 1, 0], [0, 1, 0, 1], [0, 1, 1, 1], [-1, -1, -1, -1]])


def evaluated(*sizes: int) -> JointEvaluation:
    counts = JointCounts((COLOR, TAGS), CPU)
    for logits, labels in zip(torch.split(LOGITS, list(sizes)), torch.split(LABELS, list(sizes)), strict=True):
        counts.add(logits, labels)
    return counts.result(2)


def test_each_task_has_its_own_images_and_scores() -> None:
    result = evaluated(4)
    color, tags = result.tasks["color"], result.tasks["tags"]
    assert isinstance(color, Evaluation)
    assert isinstance(tags, LabelsEvaluation)
    assert (result.num_images, color.num_images, tags.num_images) == (4, 3, 3)
    assert color.confusion_matrix == ((1, 0), (1, 1))
    assert color.top1 == pytest.approx(2 / 3)
    # Dot: of the class, not, of it. Line: of it, of it, not.
    assert [one.average_precision for one in tags.per_class.values()] == pytest.approx([(1 + 2 / 3) / 2, 1])
    assert tags.exact == pytest.approx(1 / 3)  # the second has a dot too many, the third lacks one
    assert result.top1 == pytest.approx((2 / 3 + (5 / 6 + 1) / 2) / 2)


def test_the_loss_is_the_mean_over_all_images_of_what_their_labels_cost() -> None:
    result = evaluated(4)
    color = math.log1p(math.exp(-2)) + math.log1p(math.exp(2)) + math.log1p(math.exp(-1))
    signed = LOGITS[:3, 2:] * (2 * LABELS[:3, 2:] - 1)
    tags = sum(math.log1p(math.exp(-value)) for value in signed.flatten().tolist()) / 2
    assert result.loss == pytest.approx((2 * color + tags) / 4)


def test_batches_do_not_matter() -> None:
    assert evaluated(1, 2, 1).as_dict() == evaluated(4).as_dict()


def test_a_task_without_labels_counts_nowhere() -> None:
    counts = JointCounts((COLOR, TAGS), CPU)
    counts.add(LOGITS[:1], torch.tensor([[-1, -1, 1, 0]]))
    result = counts.result(2)
    # Of the two classes only one has an image.
    assert (result.top1, result.tasks["color"].num_images) == (1.0, 0)
    assert result.as_dict()["tasks"]["color"]["loss"] is None  # type: ignore[index]


def test_the_confusion_matrices_are_one_table() -> None:
    assert evaluated(4).confusion() == [
        ("color", "blue", "blue", 1),
        ("color", "blue", "red", 0),
        ("color", "red", "blue", 1),
        ("color", "red", "red", 1),
    ]


@pytest.mark.parametrize(
    ("scores", "labels", "expected"),
    [
        ([0.9, 0.8, 0.7, 0.6], [1, 0, 1, 0], (1 / 1 + 2 / 3) / 2),
        ([0.1, 0.2, 0.3], [1, 0, 0], 1 / 3),
        ([0.5, 0.5, 0.5, 0.5], [1, 0, 0, 1], 1 / 2),  # one threshold takes all
        ([0.9, 0.5, 0.5], [0, 1, 1], 2 / 3),
    ],
)
def test_average_precision_is_that_of_a_hand_computation(
    scores: list[float], labels: list[int], expected: float
) -> None:
    assert average_precision(torch.tensor(scores), torch.tensor(labels) > 0) == pytest.approx(expected)


def test_average_precision_is_that_of_scikit_learn() -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        scores = torch.randint(0, 12, (50,), generator=generator).float()
        labels = torch.randint(0, 2, (50,), generator=generator) > 0
        expected = sklearn.metrics.average_precision_score(labels.numpy(), scores.numpy())
        assert average_precision(scores, labels) == pytest.approx(expected)


def test_a_class_without_images_has_none() -> None:
    assert math.isnan(average_precision(torch.tensor([0.1]), torch.tensor([False])))
    assert math.isnan(average_precision(torch.zeros(0), torch.zeros(0) > 0))
