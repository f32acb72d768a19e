"""Learning rates and losses of the other families, at 1,000 points each, against their formulas written down anew."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tao_lite import compat
from tao_lite.schedule import make_schedule
from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec.load import examine
from tao_lite.spec.tasks import Task
from tao_lite.training import objective, optim

STEPS = 1000
Formula = Callable[[float], float]
TF2 = "model: {backbone: resnet_18}\ntrain: {num_epochs: 10, lr_config: {learning_rate: 0.2, %s}}"
PYT = "dataset: {root_dir: /d}\nmodel: {backbone: {type: resnet_18}}\ntrain: {num_epochs: 50, optim: {lr: 0.2, %s}}"
MULTITASK = """
training_config { num_epochs: 10 learning_rate { %s { min_learning_rate: 0.002 max_learning_rate: 0.2 %s } } }
dataset_config { train_csv_path: "a.csv" val_csv_path: "b.csv" image_directory_path: "images" }
"""


def half_cosine(p: float, minimum: float, warm_up: float, wave: float) -> float:
    if p < warm_up:
        return minimum + (0.2 - minimum) * p / warm_up
    return minimum + (0.2 - minimum) * (1 + math.cos(math.pi * (p - warm_up) / wave)) / 2


def annealing(p: float) -> float:
    """Straight lines between the logarithms of the rates: up, level, down."""
    return math.exp(np.interp(p, [0, 0.1, 0.4, 1], np.log([0.002, 0.2, 0.2, 0.002])))


def in_epochs(factor: Callable[[int], float]) -> Formula:
    """PyTorch's own LambdaLR, asked for each step's rate where it changes once an epoch."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.2)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    rates = []
    for _ in range(50):
        rates.append(float(scheduler.get_last_lr()[0]))
        optimizer.step()
        scheduler.step()
    return lambda p: rates[int(p * STEPS + 0.5) * 50 // STEPS]


@pytest.mark.parametrize("mode", ["CORRECTED", "TAO_EXACT"])
@pytest.mark.parametrize(
    ("text", "documented", "executed"),
    [
        # A stair is a tenth of the run; their code lacks the rounding.
        (
            TF2 % "scheduler: step, step_size: 10, gamma: 0.5",
            lambda p: 0.2 * 0.5 ** int(p * 10 + 1e-9),
            lambda p: 0.2 * 0.5 ** (p * 10),
        ),
        (
            TF2 % "scheduler: soft_anneal, soft_start: 0.05, annealing_divider: 4, annealing_points: [0.3, 0.8]",
            *[lambda p: 0.2 / 4 ** ((p > 0.3) + (p > 0.8)) if p >= 0.05 else 3e-4 + (0.2 - 3e-4) * p / 0.05] * 2,
        ),
        (
            TF2 % "scheduler: cosine, min_lr_ratio: 0.01, soft_start: 0.1",
            lambda p: half_cosine(p, 0.002, 0.1, 0.9),
            lambda p: half_cosine(p, 0.002, 0.1, 1.0),
        ),
        (
            MULTITASK % ("soft_start_cosine_annealing_schedule", "soft_start: 0.1"),
            lambda p: half_cosine(p, 0.002, 0.1, 0.9),
            lambda p: half_cosine(p, 0.002, 0.1, 1.0),
        ),
        (MULTITASK % ("soft_start_annealing_schedule", "soft_start: 0.1 annealing: 0.4"), annealing, annealing),
    ],
)
def test_a_schedule_of_the_first_families_is_the_documented_or_the_executed_one(
    text: str, documented: Formula, executed: Formula, mode: str
) -> None:
    found = experiment(text, f"compat={mode}")
    check(found, executed if compat.is_exact(found) else documented)


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("policy: linear", in_epochs(lambda epoch: 1 - epoch / 51)),
        ("policy: step, policy_params: {step_size: 7, gamma: 0.5}", in_epochs(lambda epoch: 0.5 ** (epoch // 7))),
        (
            "policy: multistep, policy_params: {milestones: [5, 31], gamma: 0.3}",
            in_epochs(lambda epoch: 0.3 ** ((epoch >= 5) + (epoch >= 31))),
        ),
        ("policy: cosine, warmup_epochs: 5", lambda p: half_cosine(p, 0, 0.1, 0.9)),
    ],
)
def test_a_policy_of_pyt_is_that_of_torch(policy: str, expected: Formula) -> None:
    check(experiment(PYT % policy), expected)


def check(found: pb.Experiment, expected: Formula) -> None:
    schedule = make_schedule(found.train_config.lr_config, exact=compat.is_exact(found), num_steps=STEPS)
    rates = [schedule(step / STEPS) for step in range(STEPS)]
    assert rates == pytest.approx([expected(step / STEPS) for step in range(STEPS)], rel=1e-5, abs=1e-9)


def test_the_loss_of_multitask_is_the_sum_of_its_tasks_and_the_penalty_on_kernels() -> None:
    found = experiment(MULTITASK % ("soft_start_annealing_schedule", "soft_start: 0.1 annealing: 0.4"))
    assert not found.dataset_config.multitask.task_weights
    random = np.random.default_rng(0)
    logits = random.normal(size=(STEPS, 5)).astype(np.float32)
    labels = np.stack([random.integers(0, 2, STEPS), random.integers(0, 3, STEPS)], axis=1)
    marks = np.concatenate([np.eye(2)[labels[:, 0]], np.eye(3)[labels[:, 1]]], axis=1)
    tasks = (Task(name="a", class_names=("0", "1"), first=0), Task(name="b", class_names=("0", "1", "2"), first=2))
    expected = surprise(logits[:, :2], np.eye(2)[labels[:, 0]]) + surprise(logits[:, 2:], np.eye(3)[labels[:, 1]])
    losses = objective.make(tasks).losses(torch.from_numpy(logits), torch.from_numpy(marks).long())
    np.testing.assert_allclose(losses.numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize("kind", ["L1", "L2"])
def test_the_penalty_of_multitask_is_on_kernels_alone(kind: str) -> None:
    text = MULTITASK.replace("num_epochs", f"regularizer {{ type: {kind} weight: 0.01 }} num_epochs")
    config = experiment(
        text % ("soft_start_annealing_schedule", "soft_start: 0.1 annealing: 0.4")
    ).train_config.reg_config
    network = nn.Sequential(nn.Conv2d(3, 10, 5), nn.BatchNorm2d(10), nn.Flatten(), nn.Linear(10, 25))
    penalty = optim.make_penalty(config, network)
    assert penalty is not None
    tensors = [network.get_parameter(f"{at}.weight").detach() for at in (0, 3)]
    kernels = np.concatenate([tensor.numpy().ravel() for tensor in tensors]).astype(np.float64)
    assert len(kernels) == STEPS
    assert penalty().item() == pytest.approx(0.01 * (abs(kernels) if kind == "L1" else kernels**2).sum(), rel=1e-5)


def test_the_loss_of_pyt_smooths_over_all_classes() -> None:
    text = PYT.replace("{type: resnet_18}", "{type: resnet_18}, head: {loss: {label_smooth_val: 0.1}}")
    found = experiment(text % "policy: linear")
    random = np.random.default_rng(1)
    logits, labels = random.normal(size=(STEPS, 7)).astype(np.float32), random.integers(0, 7, STEPS)
    smoothing = float(f"{found.train_config.label_smoothing:.6g}")
    losses = objective.make((), label_smoothing=smoothing).losses(torch.from_numpy(logits), torch.from_numpy(labels))
    np.testing.assert_allclose(losses.numpy(), surprise(logits, 0.9 * np.eye(7)[labels] + 0.1 / 7), rtol=1e-5)


def experiment(text: str, *overrides: str) -> pb.Experiment:
    found = examine(text, Path("a.txt" if text.startswith("\ntraining") else "a.yaml"), stage=None, overrides=overrides)
    assert found.lines(found.problems) == ()
    return found.experiment


def surprise(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Cross-entropy in float64, of each row."""
    exact = logits.astype(np.float64)
    return np.asarray((targets * (np.log(np.exp(exact).sum(axis=1, keepdims=True)) - exact)).sum(axis=1))
