"""The two loops, on networks small enough to check by hand or against plain PyTorch."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tao_lite.data.augment.augment import Augment, Colour
from tao_lite.data.augment.erasing import erase
from tao_lite.data.augment.mixes import Cutmix, Mix, Mixup, MixupOrCutmix
from tao_lite.data.augment.turning import Flip
from tao_lite.data.batch import Batch
from tao_lite.data.draws import NUM_DRAWS
from tao_lite.data.preprocess import Preprocess
from tao_lite.errors import RunError
from tao_lite.spec import classification_pb2 as pb
from tao_lite.training import interval as intervals
from tao_lite.training import optim
from tao_lite.training.distillation import Teacher
from tao_lite.training.interval import EpochStats, Interval
from tao_lite.training.loops import Recipe, network_input, predict, train_epoch
from tao_lite.training.objective import Classes
from tao_lite.training.precision import Precision

NUM_CLASSES = 3
SGD = pb.OptimizerConfig(sgd=pb.SgdOptimizerConfig(momentum=0.9))


def network(device: str = "cpu") -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, NUM_CLASSES)
    )
    return layers.to(device)


def batches(count: int, size: int) -> list[Batch]:
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (count * size, 3, 8, 8), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, NUM_CLASSES, (count * size,), generator=generator)
    return [
        Batch(
            images=images[part],
            labels=labels[part],
            paths=tuple(Path(f"{index}.png") for index in range(part.start, part.stop)),
            draws=torch.rand(size, NUM_DRAWS, generator=generator),
            number=number,
        )
        for number, part in enumerate(slice(n * size, (n + 1) * size) for n in range(count))
    ]


def recipe(
    trained: nn.Module, *, accumulation: int = 1, rate: float = 0.1, mix: Mix | None = None, mode: str = "FP32"
) -> Recipe:
    device = next(trained.parameters()).device
    optimizer = optim.make_optimizer(SGD, pb.RegConfig(), trained, device=device)
    precision = Precision.of(pb.TrainConfig(precision=pb.Precision.Mode.Value(mode)), device)
    return Recipe(
        optimizer=optimizer,
        precision=precision,
        preprocess=Preprocess.of_mode("torch", 3).to(device),
        augment=Augment(),
        mix=mix,
        set_learning_rate=lambda step: optim.set_learning_rate(optimizer, rate, step),
        objective=Classes(),
        accumulation=accumulation,
        max_grad_norm=0.0,
        seed=0,
    )


def as_tao(how: Recipe, trained: nn.Module) -> Recipe:
    """The recipe with everything that compat: TAO_EXACT computes otherwise in a step."""
    penalty = pb.RegConfig(type="L2", weight_decay=1e-3)
    device = next(trained.parameters()).device
    optimizer = optim.make_optimizer(SGD, penalty, trained, device=device, exact=True)
    return replace(
        how,
        optimizer=optimizer,
        augment=Augment(Flip(0.5, 0), Colour(exact=True)),
        set_learning_rate=lambda step: optim.set_learning_rate(optimizer, 0.1, step),
        penalty=optim.make_penalty(penalty, trained),
    )


def run(trained: nn.Module, data: list[Batch], how: Recipe, *, stop: Callable[[], bool] = lambda: False) -> EpochStats:
    interval = Interval(EpochStats(), how.precision)
    for _ in train_epoch(trained, data, how, interval, first_step=0):
        if stop():
            break
    interval.fetch()
    return interval.stats


def weights(trained: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in trained.parameters()])


def test_an_epoch_does_what_a_plain_loop_does() -> None:
    """Reference: torch's own SGD in its textbook loop, on the same batches."""
    ours, plain, data = network(), network(), batches(4, 8)
    stats = run(ours, data, recipe(ours))
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.1, momentum=0.9)
    losses, correct = [], 0
    for batch in data:
        logits = plain(Preprocess.of_mode("torch", 3)(batch.images))
        loss = F.cross_entropy(logits, batch.labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
        correct += int((logits.argmax(1) == batch.labels).sum())
    assert torch.allclose(weights(ours), weights(plain), atol=1e-6)
    assert stats.loss == pytest.approx(sum(losses) / 4, abs=1e-6)
    assert (stats.accuracy, stats.images, stats.batches) == (correct / 32, 32, 4)


def test_a_loss_counts_by_its_class() -> None:
    ours, plain, (batch,) = network(), network(), batches(1, 8)
    by_class = torch.tensor([0.5, 1.0, 4.0])
    stats = run(ours, [batch], replace(recipe(ours), objective=Classes(class_weights=by_class)))
    own = [F.cross_entropy(logits[None], label[None]) * by_class[label] for logits, label in _pairs(plain, batch)]
    loss = torch.stack(own).mean()
    loss.backward()  # type: ignore[no-untyped-call]
    torch.optim.SGD(plain.parameters(), lr=0.1, momentum=0.9).step()
    assert torch.allclose(weights(ours), weights(plain), atol=1e-6)
    assert stats.loss == pytest.approx(loss.item(), abs=1e-6)


def test_a_loss_counts_by_the_weight_of_its_image() -> None:
    """Also where images are mixed: the loss of a partner's label counts by the partner's weight."""
    (batch,), mix = batches(1, 6), Cutmix(1.0)
    batch = replace(batch, weights=torch.tensor([0.25, 0.5, 1.0, 2.0, 1.5, 0.75]))
    by_class = torch.tensor([0.5, 1.0, 4.0])
    plain, trained = network(), network()
    images, partners, shares = mix(Preprocess.of_mode("torch", 3)(batch.images), batch.labels, batch.draws)

    def losses(labels: Tensor, weights: Tensor) -> Tensor:
        return F.cross_entropy(plain(images), labels, reduction="none") * by_class[labels] * weights

    assert batch.weights is not None
    own, other = losses(batch.labels, batch.weights), losses(partners, batch.weights.flip(0))
    loss = (shares * own + (1 - shares) * other).mean()
    loss.backward()
    torch.optim.SGD(plain.parameters(), lr=0.1, momentum=0.9).step()
    stats = run(trained, [batch], replace(recipe(trained, mix=mix), objective=Classes(class_weights=by_class)))
    assert stats.loss == pytest.approx(loss.item(), abs=1e-6)
    assert torch.allclose(weights(trained), weights(plain), atol=1e-6)


def _pairs(network: nn.Module, batch: Batch) -> list[tuple[Tensor, Tensor]]:
    return list(zip(network(Preprocess.of_mode("torch", 3)(batch.images)), batch.labels, strict=True))


def test_two_accumulated_batches_weigh_as_one_of_twice_the_size() -> None:
    halves, whole = network(), network()
    run(halves, batches(6, 4), recipe(halves, accumulation=2))
    joined = [
        Batch(
            images=torch.cat([one.images, other.images]),
            labels=torch.cat([one.labels, other.labels]),
            paths=one.paths + other.paths,
            draws=torch.cat([one.draws, other.draws]),
            number=number,
        )
        for number, (one, other) in enumerate(zip(batches(6, 4)[::2], batches(6, 4)[1::2], strict=True))
    ]
    run(whole, joined, recipe(whole))
    assert torch.allclose(weights(halves), weights(whole), atol=1e-6)


def test_a_last_short_group_counts_by_its_images() -> None:
    """Three batches in groups of two: the last step is that of one batch alone."""
    grouped, single = network(), network()
    data = batches(3, 4)
    run(grouped, data, recipe(grouped, accumulation=2))
    how = recipe(single, accumulation=2)
    run(single, data[:2], how)
    run(single, data[2:], how)
    assert torch.equal(weights(grouped), weights(single))


@pytest.mark.parametrize("accumulation", [1, 2])
def test_a_penalty_is_added_to_the_reported_loss_and_to_no_gradient(accumulation: int) -> None:
    """As Keras reports it: each image's loss with the penalty of the weights that it was computed with."""
    plain, penalised, data = network(), network(), batches(4, 8)
    cross_entropy = run(plain, data, recipe(plain, accumulation=accumulation))
    penalties: list[Tensor] = []

    def penalty() -> Tensor:
        penalties.append(weights(penalised).square().sum())
        return penalties[-1]

    how = replace(recipe(penalised, accumulation=accumulation), penalty=penalty)
    stats = run(penalised, data, how)
    assert torch.equal(weights(plain), weights(penalised))
    assert len(penalties) == 4 / accumulation
    assert penalties[0] == weights(network()).square().sum()
    assert stats.loss == pytest.approx(cross_entropy.loss + torch.stack(penalties).mean().item(), abs=1e-5)
    assert (stats.correct, stats.images) == (cross_entropy.correct, cross_entropy.images)
    assert isinstance(stats.correct, int)


def test_a_batch_that_is_missing_moves_no_other_to_another_step() -> None:
    trained, data = network(), batches(7, 4)
    how, steps = recipe(trained, accumulation=2), []

    def set_learning_rate(step: int) -> float:
        steps.append(step)
        return how.set_learning_rate(step)

    stats = run(trained, [*data[:3], *data[6:]], replace(how, set_learning_rate=set_learning_rate))
    assert steps == [0, 1, 3]  # of the batches 0 and 1, 2 without 3, and 6; none of 4 and 5
    assert (stats.batches, stats.images) == (7, 16)


def test_mixup_trains_on_both_labels() -> None:
    """With alpha huge every share is 1/2, so the loss is the mean of the two cross-entropies of the mean image."""
    trained, data = network(), batches(1, 6)
    expected_network = network()
    stats = run(trained, data, recipe(trained, mix=Mixup(1e6)))
    images = Preprocess.of_mode("torch", 3)(data[0].images)
    logits = expected_network((images + images.flip(0)) / 2)
    expected = (F.cross_entropy(logits, data[0].labels) + F.cross_entropy(logits, data[0].labels.flip(0))) / 2
    assert stats.loss == pytest.approx(expected.item(), abs=2e-3)


def test_cutmix_trains_on_both_labels_by_their_pixels() -> None:
    (batch,), trained, plain = batches(1, 6), network(), network()
    mix = Cutmix(1.0)
    stats = run(trained, [batch], recipe(trained, mix=mix))
    images, partners, shares = mix(Preprocess.of_mode("torch", 3)(batch.images), batch.labels, batch.draws)
    own, other = (F.cross_entropy(plain(images), labels, reduction="none") for labels in (batch.labels, partners))
    assert stats.loss == pytest.approx((shares * own + (1 - shares) * other).mean().item(), abs=1e-6)
    assert bool((shares < 1).any())


def test_a_teacher_sees_what_the_student_sees() -> None:
    (batch,), seen = batches(1, 6), []
    trained, taught = network(), network()
    for layer in (trained, taught):
        layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    preprocess = Preprocess.of_mode("torch", 3)
    opinion = Teacher(
        network=taught,
        preprocess=preprocess,
        order=torch.arange(NUM_CLASSES),
        size=(8, 8),
        temperature=1.0,
        weight=0.5,
        feature_weight=0.0,
        heads=(),
    )
    erased = partial(erase, probability=0.999)
    mix = MixupOrCutmix(Mixup(1.0), Cutmix(1.0))
    run(trained, [batch], replace(recipe(trained, mix=mix), erase=erased, teacher=opinion))
    expected = mix(erased(preprocess(batch.images), batch.draws), batch.labels, batch.draws)[0]
    assert [torch.equal(images, expected) for images in seen] == [True, True]
    assert not torch.equal(expected, mix(preprocess(batch.images), batch.labels, batch.draws)[0])


def test_a_stop_between_two_steps_leaves_whole_steps() -> None:
    trained, shorter, data = network(), network(), batches(6, 4)
    asked = iter([False, True])
    stats = run(trained, data, recipe(trained, accumulation=2), stop=lambda: next(asked))
    assert (stats.batches, stats.images) == (4, 16)
    run(shorter, data[:4], recipe(shorter, accumulation=2))
    assert torch.equal(weights(trained), weights(shorter))


def test_a_loss_that_is_not_finite_stops_and_names_the_images_of_its_batch() -> None:
    trained, data = network(), batches(3, 10)
    with torch.no_grad():
        next(trained.parameters()).fill_(float("nan"))
    with pytest.raises(RunError) as caught:
        run(trained, data, recipe(trained))
    assert str(caught.value) == (
        "the loss is nan; lower the learning rate, set train_config.max_grad_norm or look at the images of that "
        "batch:\n" + "\n".join(f"  {index}.png" for index in range(8)) + "\n  and 2 more"
    )


def test_numbers_are_reported_at_the_latest_when_the_epoch_ends() -> None:
    trained = network()
    how = replace(recipe(trained, mode="FP16"), set_learning_rate=float)
    interval = Interval(EpochStats(), how.precision)
    numbers = [batch.number for batch in train_epoch(trained, batches(3, 4), how, interval, first_step=10)]
    assert numbers == [0, 1, 2]
    values = interval.fetch()
    assert values["lr"] == 12  # the last step's
    assert {"loss", "top1", "lr", "images_per_second", "loss_scale", "overflows", "skipped_steps"} <= set(values)
    assert values["loss_scale"] == 65536  # the default, and three steps are too few to grow


def test_the_share_of_waiting_is_that_since_the_last_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches take 0.1 s to come, far more than the step."""
    monkeypatch.setattr(intervals, "FETCH_SECONDS", 0.0)
    values: list[float] = []

    def slow() -> Iterator[Batch]:
        for batch in batches(3, 4):
            time.sleep(0.1)
            yield batch

    trained = network()
    how = recipe(trained)
    interval = Interval(EpochStats(wait_seconds=100.0), how.precision)
    for _ in train_epoch(trained, slow(), how, interval, first_step=0):
        assert interval.is_due
        values.append(interval.fetch()["data_wait_fraction"])
    assert len(values) == 3
    assert all(0.5 < value <= 1 for value in values)


def test_the_network_input_that_is_shown_is_what_the_network_reads() -> None:
    trained, (batch,) = network(), batches(1, 6)
    how = replace(
        recipe(trained, mix=Mixup(1.0)),
        augment=Augment(Flip(0.5, 0), Colour()),
        erase=partial(erase, probability=0.9),
    )
    read: list[Tensor] = []
    trained.register_forward_pre_hook(lambda _, given: read.append(given[0]))
    run(trained, [batch], how)
    assert torch.equal(network_input(batch, how), read[0])
    assert not torch.equal(how.preprocess(batch.images), read[0])


def test_prediction_is_the_network_in_evaluation_mode() -> None:
    trained, data = nn.Sequential(network(), nn.Dropout(0.5)), batches(2, 5)
    how = recipe(trained)
    results = list(predict(trained, data, preprocess=how.preprocess, precision=how.precision))
    assert [batch.number for batch, _, _ in results] == [0, 1]
    for batch, labels, logits in results:
        assert torch.equal(labels, batch.labels)
        assert torch.allclose(logits, trained[0](how.preprocess(batch.images)), atol=1e-6)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(("mode", "exact"), [("FP32", False), ("FP16", False), ("BF16", False), ("BF16", True)])
def test_no_step_waits_for_the_device(mode: str, exact: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tao_lite.training.interval.FETCH_SECONDS", 1e9)
    trained = network("cuda")
    how = recipe(trained, mode=mode)
    if exact:
        how = as_tao(how, trained)
    pinned = [
        Batch(
            images=batch.images.pin_memory(),
            labels=batch.labels.pin_memory(),
            paths=batch.paths,
            draws=batch.draws.pin_memory(),
            number=batch.number,
        )
        for batch in batches(5, 8)
    ]
    run(trained, pinned, how)  # workspaces are allocated in the first steps
    torch.cuda.set_sync_debug_mode("error")

    def last() -> bool:
        torch.cuda.set_sync_debug_mode("default")  # what follows the last step may wait
        return True

    try:
        run(trained, pinned[:1], how, stop=last)
    finally:
        torch.cuda.set_sync_debug_mode("default")
