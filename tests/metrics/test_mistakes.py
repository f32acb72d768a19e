"""The worst images are found whatever the batches, and no more of them are kept than asked for."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tao_lite.metrics.mistakes import Mistake, Mistakes

NUM_IMAGES, NUM_CLASSES = 50, 3


@pytest.fixture
def shown() -> tuple[Tensor, Tensor, Tensor, list[Path]]:
    """Images, labels, logits and paths; the first pixel of an image is its number."""
    generator = torch.Generator().manual_seed(0)
    images = torch.zeros(NUM_IMAGES, 3, 4, 5, dtype=torch.uint8)
    images[:, 0, 0, 0] = torch.arange(NUM_IMAGES)
    labels = torch.randint(NUM_CLASSES, (NUM_IMAGES,), generator=generator)
    logits = 3 * torch.randn(NUM_IMAGES, NUM_CLASSES, generator=generator)
    logits[7] = math.nan
    return images, labels, logits, [Path(f"{number}.png") for number in range(NUM_IMAGES)]


def found(mistakes: list[Mistake]) -> list[int]:
    return [int(one.image[0, 0, 0]) for one in mistakes]


@pytest.mark.parametrize("batch_size", [1, 4, 50])
def test_the_worst_and_the_most_confident_are_those_of_a_full_sort(
    shown: tuple[Tensor, Tensor, Tensor, list[Path]], batch_size: int
) -> None:
    images, labels, logits, paths = shown
    mistakes = Mistakes(6)
    for start in range(0, NUM_IMAGES, batch_size):
        part = slice(start, start + batch_size)
        mistakes.add(images[part], labels[part], logits[part], paths[part])
    probabilities = logits.softmax(dim=1)
    wrong = [i for i in range(NUM_IMAGES) if i != 7 and probabilities[i].argmax() != labels[i]]
    assert len(wrong) > 12
    assert found(mistakes.worst()) == sorted(wrong, key=lambda i: probabilities[i, labels[i]].item())[:6]
    assert found(mistakes.most_confident()) == sorted(wrong, key=lambda i: -probabilities[i].max().item())[:6]
    for one in mistakes.worst():
        i = int(one.image[0, 0, 0])
        assert (one.path, one.label, one.predicted) == (paths[i], int(labels[i]), int(probabilities[i].argmax()))
        assert one.probability == pytest.approx(probabilities[i].max().item())
        assert one.true_probability == pytest.approx(probabilities[i, labels[i]].item())


def test_right_answers_are_no_mistakes(shown: tuple[Tensor, Tensor, Tensor, list[Path]]) -> None:
    images, _, logits, paths = shown
    mistakes = Mistakes(6)
    assert mistakes.worst() == []
    mistakes.add(images, logits.nan_to_num().argmax(dim=1), logits, paths)
    assert (mistakes.worst(), mistakes.most_confident()) == ([], [])
