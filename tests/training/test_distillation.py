"""What a teacher adds to the loss, against the formulas written out."""

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from tao_lite.data.preprocess import Preprocess
from tao_lite.training.distillation import Teacher, similarity_distance


class Fixed(nn.Module):
    """A network that has made up its mind."""

    def __init__(self, logits: Sequence[Sequence[float]]) -> None:
        super().__init__()
        self.register_buffer("values", torch.tensor(logits))

    def forward(self, images: Tensor) -> Tensor:
        values: Tensor = self.get_buffer("values")
        return values[: len(images)]


def teacher(network: nn.Module, heads: Sequence[nn.Module] = (), **changes: float) -> Teacher:
    settings = {"temperature": 2.0, "weight": 0.25, "feature_weight": 0.0, **changes}
    return Teacher(
        network=network,
        preprocess=Preprocess.of_mode("torch", 3),
        order=torch.tensor([1, 0, 2]),
        size=(8, 8),
        heads=heads,
        **settings,
    )


def softened(logits: Sequence[float], temperature: float) -> list[float]:
    powers = [math.exp(logit / temperature) for logit in logits]
    return [power / sum(powers) for power in powers]


def test_the_loss_is_that_of_the_paper() -> None:
    student, opinion = [0.5, -1.0, 2.0], [1.5, 0.25, -0.5]
    p, q = softened(opinion, 2.0), softened(student, 2.0)
    divergence = sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    expected = 0.75 * 3.0 + 0.25 * 4.0 * divergence
    blended = teacher(nn.Identity()).blend(torch.tensor([3.0]), torch.tensor([student]), torch.tensor([opinion]))
    assert blended.item() == pytest.approx(expected, rel=1e-6)


def test_of_the_teacher_itself_only_the_labels_remain() -> None:
    logits = torch.randn(4, 3)
    blended = teacher(nn.Identity()).blend(torch.ones(4), logits, logits)
    assert torch.allclose(blended, torch.full((4,), 0.75))


def test_the_teachers_classes_come_in_the_students_order() -> None:
    logits = teacher(Fixed([[1.0, 2.0, 3.0]])).logits(torch.zeros(1, 3, 8, 8))
    assert logits.tolist() == [[2.0, 1.0, 3.0]]


def test_images_of_another_size_are_resized_for_the_teacher() -> None:
    pixels = torch.full((2, 3, 16, 12), 255, dtype=torch.uint8)
    images = teacher(nn.Identity()).images(pixels)
    assert images.shape == (2, 3, 8, 8)
    assert torch.allclose(images, Preprocess.of_mode("torch", 3)(torch.full((2, 3, 8, 8), 255, dtype=torch.uint8)))


def test_similarity_distance_is_that_of_the_formula() -> None:
    # Rows of F F^T, each of length 1: (1, 0), (0, 1) against (1, 1) / sqrt 2 twice.
    apart, alike = torch.eye(2), torch.ones(2, 5)
    expected = (1 - 1 / math.sqrt(2)) ** 2 + 0.5
    assert similarity_distance(apart, alike).tolist() == pytest.approx([expected, expected])
    assert similarity_distance(alike, torch.ones(2, 3, 4, 4)).tolist() == pytest.approx([0.0, 0.0])


def test_features_are_what_the_heads_read() -> None:
    heads = nn.Linear(4, 3), nn.Linear(6, 3)
    made = teacher(heads[0], heads, weight=0.5, feature_weight=2.0)
    mine, theirs = torch.randn(5, 6), torch.randn(5, 4)
    student_logits, opinion = heads[1](mine), made.logits(theirs)
    plain = teacher(heads[0], weight=0.5).blend(torch.ones(5), student_logits, opinion)
    assert torch.allclose(
        made.blend(torch.ones(5), student_logits, opinion), plain + 2.0 * similarity_distance(theirs, mine)
    )


def test_gradients_reach_the_student_alone() -> None:
    heads = nn.Linear(4, 3), nn.Linear(6, 3)
    made = teacher(heads[0], heads, feature_weight=1.0)
    mine = torch.randn(5, 6, requires_grad=True)
    opinion = made.logits(torch.randn(5, 4))
    made.blend(torch.ones(5), heads[1](mine), opinion).sum().backward()  # type: ignore[no-untyped-call]
    assert mine.grad is not None
    assert mine.grad.abs().sum() > 0
    assert heads[0].weight.grad is None
