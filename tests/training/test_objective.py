"""The loss of several tasks against a computation by hand, labels missing."""

import math
from itertools import pairwise

import pytest
import torch
from torch.nn import functional as F

from tao_lite.spec.tasks import Task
from tao_lite.training import objective

COLOR = Task(name="color", class_names=("blue", "red"), first=0)
SIZE = Task(name="size", class_names=("s", "m", "l"), first=2, weight=2.0)
TAGS = Task(name="tags", class_names=("dot", "line"), first=5, is_multi_label=True, weight=0.5)
TASKS = (COLOR, SIZE, TAGS)
LOGITS = [
    [math.log(3), 0.0, 0.0, math.log(2), 0.0, 0.0, math.log(4)],
    [0.0, 0.0, 9.0, 9.0, 9.0, -math.log(3), 0.0],
]
# Red and line; tags that are known to be none, and nothing else.
LABELS = [[0, 1, -1, -1, -1, 0, 1], [-1, -1, -1, -1, -1, 0, 0]]


def test_the_loss_is_that_of_a_hand_computation() -> None:
    losses = objective.make(TASKS).losses(torch.tensor(LOGITS), torch.tensor(LABELS))
    # Color: red has 1 of 4. Tags: dot 1/2 and is not there, line 4/5 and is; then dot 1/4 and line 1/2, neither there.
    first = math.log(4) + 0.5 * (math.log(2) + math.log(5 / 4)) / 2
    second = 0.5 * (math.log(4 / 3) + math.log(2)) / 2
    assert losses.tolist() == pytest.approx([first, second])


def test_a_label_that_is_not_known_has_no_gradient() -> None:
    logits = torch.tensor(LOGITS, requires_grad=True)
    torch.autograd.backward(objective.make(TASKS).losses(logits, torch.tensor(LABELS)).sum())
    assert logits.grad is not None
    assert logits.grad.ne(0).tolist() == [
        [True, True, False, False, False, True, True],
        [False, False, False, False, False, True, True],
    ]


def test_a_network_is_right_by_its_share_of_the_known_labels() -> None:
    labels = torch.tensor([[1, 0, 0, 0, 1, 0, 1], [0, 1, -1, -1, -1, 0, 0], LABELS[1]])
    hits = objective.make(TASKS).hits(torch.tensor([*LOGITS, LOGITS[0]]), labels)
    # Of the first color and, above a half, tags; of the second tags; of the third nothing.
    assert hits.tolist() == pytest.approx([2 / 3, 0.5, 0])


def test_one_task_alone_has_the_loss_of_a_network_of_one_task() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, index = torch.randn(6, 3, generator=generator), torch.tensor([0, 2, 1, 1, 0, 2])
    weights = torch.tensor([0.5, 1.0, 2.0])
    task = Task(name="size", class_names=("s", "m", "l"), first=0)
    joint = objective.make((task,), label_smoothing=0.1, class_weights=weights)
    alone = objective.make((), label_smoothing=0.1, class_weights=weights)
    assert joint.losses(logits, F.one_hot(index, 3)).equal(alone.losses(logits, index))
    assert joint.hits(logits, F.one_hot(index, 3)).equal(alone.hits(logits, index).float())


def test_smoothing_moves_half_of_its_mass_to_the_other_answer_of_a_label() -> None:
    logits, labels = torch.tensor([[math.log(3)]]), torch.tensor([[1]])
    task = Task(name="tags", class_names=("dot",), first=0, is_multi_label=True)
    losses = objective.make((task,), label_smoothing=0.2).losses(logits, labels)
    assert losses.item() == pytest.approx(0.9 * math.log(4 / 3) + 0.1 * math.log(4))


def test_tasks_lie_beside_each_other() -> None:
    assert all(one.outputs.stop == other.outputs.start for one, other in pairwise(TASKS))
