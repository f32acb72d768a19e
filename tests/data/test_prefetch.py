"""Batches on their way to the device."""

import threading
from dataclasses import replace

import pytest
import torch

from tao_lite.data.dataset import DataSet
from tao_lite.data.loader import Cache
from tao_lite.training.loops import on_device
from tests.data.pictures import make, same

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def test_on_a_cpu_batches_pass_as_they_are(pictures: DataSet) -> None:
    batches = list(make(pictures).epoch(0))
    passed = list(on_device(batches, torch.device("cpu")))
    assert all(one is other for one, other in zip(passed, batches, strict=True))


@pytest.mark.parametrize("name", ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, needs_gpu])])
def test_leaving_the_loop_early_ends_the_loader(pictures: DataSet, name: str) -> None:
    batches = on_device(make(pictures).epoch(0), torch.device(name))
    next(batches)
    assert any(thread.name.startswith("decode") for thread in threading.enumerate())
    batches.close()
    assert not any(thread.name.startswith("decode") for thread in threading.enumerate())


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("kind", ["OFF", "DEVICE"])
@pytest.mark.parametrize("pin_memory", [False, True])
def test_on_a_gpu_the_batches_are_the_same(pictures: DataSet, kind: str, pin_memory: bool) -> None:
    device = torch.device("cuda", 0)
    cache = Cache(10**9, device if kind == "DEVICE" else None)
    weighted = replace(pictures, examples=tuple(replace(one, weight=len(one.group)) for one in pictures.examples))
    loader = make(weighted, geometry="squeeze", pin_memory=pin_memory, cache=cache)
    for epoch in range(3):
        batches = []
        for batch in on_device(loader.epoch(epoch), device):
            assert batch.weights is not None
            assert {tensor.device for tensor in (batch.images, batch.labels, batch.draws, batch.weights)} == {device}
            # Work of the computing stream that the copies must neither overtake nor overwrite.
            torch.randn(1000, 1000, device=device).matmul(torch.randn(1000, 1000, device=device))
            batches.append(batch)
        expected = [
            type(batch)(batch.images.to(device), batch.labels.to(device), batch.paths, batch.draws.to(device), n)
            for n, batch in enumerate(make(pictures, geometry="squeeze").epoch(epoch))
        ]
        assert same(batches, expected)
