"""Counts against scikit-learn, by definition, and for networks that have gone wrong."""

import json
import math
from typing import Any

import pytest
import sklearn.metrics
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tao_lite.machine.distributed import World
from tao_lite.metrics.counts import Counts, Evaluation

CPU = torch.device("cpu")


def evaluate(logits: Tensor, labels: Tensor, *, k: int = 5, batch_size: int = 1000) -> Evaluation:
    num_classes = logits.shape[1]
    counts = Counts(num_classes, CPU)
    losses = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
    for start in range(0, len(labels), batch_size):
        batch = slice(start, start + batch_size)
        counts.add(logits[batch], labels[batch], losses[batch])
    return counts.result([f"class {i}" for i in range(num_classes)], k)


def draw(seed: int, num_images: int, num_classes: int) -> tuple[Tensor, Tensor]:
    """Logits without ties and labels that leave out classes when there are more classes than images."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.rand(num_images, num_classes, generator=generator).argsort(dim=1).float()
    return logits, torch.randint(num_classes, (num_images,), generator=generator)


sizes = {"seed": st.integers(0, 2**31), "num_images": st.integers(1, 40), "num_classes": st.integers(2, 12)}


@given(**sizes)
@settings(max_examples=60)
def test_scores_equal_the_classification_report_of_scikit_learn(seed: int, num_images: int, num_classes: int) -> None:
    """FIELD.md E7: the plain mean is over the classes that are there."""
    logits, labels = draw(seed, num_images, num_classes)
    result = evaluate(logits, labels)
    report: dict[str, Any] = sklearn.metrics.classification_report(
        labels,
        logits.argmax(dim=1),
        labels=range(num_classes),
        target_names=result.class_names,
        output_dict=True,
        zero_division=0,
    )
    present = sorted(set(labels.tolist()))
    report["macro avg"] = sklearn.metrics.classification_report(
        labels, logits.argmax(dim=1), labels=present, output_dict=True, zero_division=0
    )["macro avg"]
    ours = {**result.as_dict()["per_class"], "macro avg": result.as_dict()["macro"]}  # type: ignore[dict-item]
    ours["weighted avg"] = result.as_dict()["weighted"]
    for name, scores in ours.items():
        expected = {key.replace("f1-score", "f1"): value for key, value in report[name].items()}
        assert scores == pytest.approx(expected, abs=1e-12), name


@given(**sizes)
@settings(max_examples=60)
def test_matrix_and_shares_equal_those_of_scikit_learn(seed: int, num_images: int, num_classes: int) -> None:
    logits, labels = draw(seed, num_images, num_classes)
    every = list(range(num_classes))
    k = 1 + seed % num_classes
    result = evaluate(logits, labels, k=k)
    matrix = sklearn.metrics.confusion_matrix(labels, logits.argmax(dim=1), labels=every)
    assert [list(row) for row in result.confusion_matrix] == matrix.tolist()
    assert result.top1 == pytest.approx(sklearn.metrics.accuracy_score(labels, logits.argmax(dim=1)))
    # scikit-learn reads two columns as a binary problem and warns that the top-K of K classes is 1.
    if num_classes > 2 and k < num_classes:
        top_k = sklearn.metrics.top_k_accuracy_score(labels, logits, k=k, labels=every)
        assert result.top_k == pytest.approx(top_k)
    assert result.loss == pytest.approx(sklearn.metrics.log_loss(labels, logits.double().softmax(1), labels=every))


@given(batch_size=st.integers(1, 23), **sizes)
@settings(max_examples=30)
def test_the_batch_size_changes_nothing(batch_size: int, seed: int, num_images: int, num_classes: int) -> None:
    logits, labels = draw(seed, num_images, num_classes)
    whole, parts = evaluate(logits, labels), evaluate(logits, labels, batch_size=batch_size)
    assert parts.loss == pytest.approx(whole.loss, rel=1e-12)
    assert {**parts.as_dict(), "loss": 0} == {**whole.as_dict(), "loss": 0}


def test_k_is_reduced_to_the_number_of_classes() -> None:
    result = evaluate(torch.eye(3), torch.tensor([1, 2, 0]), k=5)
    assert (result.k, result.top_k, result.top1) == (3, 1.0, 0.0)


def test_equal_logits_rank_by_class_index() -> None:
    # All logits are 0: argmax says class 0, so class 1 is second and class 2 third.
    result = evaluate(torch.zeros(3, 3), torch.tensor([0, 1, 2]), k=2)
    assert result.top1 == pytest.approx(1 / 3)
    assert result.top_k == pytest.approx(2 / 3)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_an_image_with_logits_that_are_not_finite_is_wrong_and_no_answer(value: float) -> None:
    logits = torch.tensor([[1.0, 0.0], [value, 0.0], [0.0, 1.0]])
    result = evaluate(logits, torch.tensor([0, 0, 1]), k=2)
    assert result.num_non_finite == 1
    assert result.top1 == result.top_k == pytest.approx(2 / 3)
    assert result.confusion_matrix == ((1, 0), (0, 1))
    assert [scores.support for scores in result.per_class] == [2, 1]
    # Of class 0 one of two was found, and what was called class 0 was class 0.
    assert (result.per_class[0].recall, result.per_class[0].precision) == (0.5, 1.0)


def test_a_network_of_nan_is_right_about_nothing() -> None:
    result = evaluate(torch.full((4, 3), math.nan), torch.zeros(4, dtype=torch.int64), k=3)
    assert (result.top1, result.top_k, result.num_non_finite) == (0.0, 0.0, 4)
    assert math.isnan(result.loss)
    assert json.loads(json.dumps(result.as_dict(), allow_nan=False))["loss"] is None


def test_nothing_counted_gives_zeros_and_no_loss() -> None:
    result = Counts(2, CPU).result(["a", "b"], 1)
    assert (result.num_images, result.top1, result.top_k, result.macro.f1) == (0, 0.0, 0.0, 0.0)
    assert math.isnan(result.loss)


def test_the_dictionary_is_evaluate_json() -> None:
    result = evaluate(torch.tensor([[2.0, 0.0], [2.0, 0.0]]), torch.tensor([0, 1]))
    values = result.as_dict()
    # Derived by hand: class 0 has precision 1/2 and recall 1, class 1 was never predicted;
    # the losses are log(1 + e^-2) and log(1 + e^2).
    assert values.pop("loss") == pytest.approx((math.log(1 + math.exp(-2)) + math.log(1 + math.exp(2))) / 2)
    half = {"precision": 0.25, "recall": 0.5, "f1": pytest.approx(1 / 3), "support": 2}
    assert values == {
        "num_images": 2,
        "top1": 0.5,
        "top_k": 1.0,
        "k": 2,
        "per_class": {
            "class 0": {"precision": 0.5, "recall": 1.0, "f1": pytest.approx(2 / 3), "support": 1},
            "class 1": {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 1},
        },
        "confusion_matrix": [[1, 0], [1, 0]],
        "class_names": ["class 0", "class 1"],
        "macro": half,
        "weighted": half,
    }


def test_the_most_confused_classes_come_worst_first() -> None:
    predicted = torch.tensor([1, 1, 2, 0, 2])
    result = evaluate(torch.nn.functional.one_hot(predicted, 3).float(), torch.tensor([0, 0, 0, 1, 2]))
    assert result.most_confused(2) == [("class 0", "class 1", 2), ("class 0", "class 2", 1)]


def test_half_precision_logits_are_counted_as_they_are() -> None:
    logits, labels = draw(3, 50, 8)
    counts = Counts(8, CPU)
    counts.add(logits.bfloat16(), labels, torch.zeros(50, dtype=torch.bfloat16))
    assert counts.result([str(i) for i in range(8)], 3).top_k == evaluate(logits, labels, k=3).top_k


def test_a_single_process_reduces_to_its_own_counts() -> None:
    counts = Counts(2, CPU)
    counts.add(torch.eye(2), torch.tensor([0, 1]), torch.ones(2))
    counts.all_reduce(World(rank=0, world_size=1, local_rank=0, device=CPU))
    assert counts.result(["a", "b"], 1).num_images == 2


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_adding_never_waits_for_the_device_and_counts_as_the_cpu_does() -> None:
    logits, labels = draw(1, 500, 10)
    logits[7] = math.nan
    losses = torch.nn.functional.cross_entropy(logits, labels, reduction="none").nan_to_num()
    on_cpu, on_gpu = Counts(10, CPU), Counts(10, torch.device("cuda"))
    on_cpu.add(logits, labels, losses)
    batch = [tensor.cuda() for tensor in (logits, labels, losses)]
    torch.cuda.set_sync_debug_mode("error")
    try:
        on_gpu.add(*batch)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    names = [str(i) for i in range(10)]
    ours, expected = on_gpu.result(names, 3).as_dict(), on_cpu.result(names, 3).as_dict()
    assert ours.pop("loss") == pytest.approx(expected.pop("loss"), rel=1e-6)
    assert ours == expected
