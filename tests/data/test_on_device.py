"""All that happens to a training batch on the device, one after the other: same bits everywhere, and no wait."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tao_lite.data.augment.augment import Augment, Colour
from tao_lite.data.augment.blur import Blur
from tao_lite.data.augment.erasing import erase
from tao_lite.data.augment.mixes import Cutmix, Mixup, MixupOrCutmix
from tao_lite.data.augment.rand_augment import RandAugment
from tao_lite.data.augment.turning import Flip, Rotate
from tao_lite.data.preprocess import Preprocess
from tests.data.batches import noise, some_draws

BATCH = 40  # each operation comes a few times


def inputs(channels: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    """Images, labels and draws."""
    return noise(BATCH, channels, 18, 26), torch.arange(BATCH) % 7, some_draws(BATCH)


def unmixed(channels: int = 3, *, device: str = "cpu", has_colour: bool = True) -> Callable[[Tensor, Tensor], Tensor]:
    """All that an image goes through alone."""
    preprocess = Preprocess.of_mode("torch", channels)
    rand_augment = RandAugment(2, 9, preprocess.mean_pixel)
    placed = Flip(0.5, 0.5), Rotate(0.5, [180]), rand_augment, Blur(0.5, 2)
    augment = Augment(*placed, *([Colour()] if has_colour and channels == 3 else []))
    augment.to(device)
    preprocess.to(device)
    return lambda images, draws: erase(preprocess(augment(images, draws)), draws, probability=0.5)


def mixed(
    *, device: str = "cpu", has_colour: bool = True
) -> Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]:
    change, mix = unmixed(device=device, has_colour=has_colour), MixupOrCutmix(Mixup(0.4), Cutmix(1.0)).to(device)
    return lambda images, labels, draws: mix(change(images, draws), labels, draws)


@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_gets_the_same_bits_in_any_batch(channels: int) -> None:
    (images, _, draws), change = inputs(channels), unmixed(channels)
    together = change(images, draws)
    assert together.is_contiguous(memory_format=torch.channels_last)
    for size in (1, 3, 16):
        parts = [slice(first, first + size) for first in range(0, BATCH, size)]
        assert torch.equal(torch.cat([change(images[part], draws[part]) for part in parts]), together)


def test_a_device_that_must_not_be_waited_for_computes_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = mixed()(*inputs())
    monkeypatch.setattr("tao_lite.data.augment.per_image.WAIT_FREE", ())
    found = mixed()(*inputs())
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(found, expected, strict=True))
    assert found[0].is_contiguous(memory_format=torch.channels_last)


def test_autocast_takes_no_precision_away() -> None:
    expected = mixed()(*inputs())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = mixed()(*inputs())
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(found, expected, strict=True))


def test_nothing_asks_a_device_for_a_value() -> None:
    """A meta device has none to give: what asks raises."""
    images, partners, weights = mixed(device="meta")(*(tensor.to("meta") for tensor in inputs()))
    assert (images.shape, partners.shape, weights.shape) == ((BATCH, 3, 18, 26), (BATCH,), (BATCH,))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_computes_the_same_without_waiting_for_it() -> None:
    """A level apart, 1 / 255 / 0.224, where float32 rounds to another side; without colours, which would spread it."""
    expected = mixed(has_colour=False)(*inputs())
    on_device, change = [tensor.cuda() for tensor in inputs()], mixed(device="cuda", has_colour=False)
    torch.cuda.set_sync_debug_mode("error")
    try:
        found = change(*on_device)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all((ours.cpu() - theirs).abs().max() < 1 / 50 for ours, theirs in zip(found, expected, strict=True))
