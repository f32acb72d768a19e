"""Batch norm over processes: two real ones are as one with the batches of both."""

import copy
import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from timm.layers.norm_act import BatchNormAct2d
from torch import Tensor, nn

from tao_lite.machine import distributed
from tao_lite.models.fold import folded
from tao_lite.run import Run
from tao_lite.spec import classification_pb2 as pb
from tao_lite.training import batch_norm, preparation
from tests.conftest import ROOT
from tests.data.batches import noise

STEPS, SHARES = 2, (3, 5)
"""Steps, and how many of each step's images a process has."""


def network() -> nn.Sequential:
    """With affine, other momenta, one that is frozen, and timm's with an activation inside."""
    torch.manual_seed(0)
    made = nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6, momentum=0.3), nn.ReLU(),
        nn.Conv2d(6, 5, 3), BatchNormAct2d(5), nn.Conv2d(5, 4, 1), nn.BatchNorm2d(4, affine=False, momentum=None),
        nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 5 * 3, 3), nn.BatchNorm1d(3),
    )  # fmt: skip
    made[8].eval()
    return made


def images(step: int) -> Tensor:
    return noise(sum(SHARES)).float() / 50 + step


def train(made: nn.Module, part: slice, scale: int) -> None:
    """Steps on this part of each batch; the loss is times `scale`, by which gradients are later divided."""
    optimizer = torch.optim.SGD(made.parameters(), 0.05, momentum=0.9)
    for step in range(STEPS):
        optimizer.zero_grad()
        outputs = made(images(step)[part])
        (scale * (outputs[:, 0] * outputs[:, 1].sin()).sum()).backward()
        optimizer.step()


def as_numbers(made: nn.Module) -> dict[str, object]:
    return {name: tensor.tolist() for name, tensor in made.state_dict().items()}


def train_as_two(file: str, port: int) -> None:
    """In this process and a fork, which has all imports done: train each on its part."""
    rank = 0 if os.fork() else 1
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in place.items()})
    run = Run(results=Path(file), world=distributed.start("cpu"))
    made, first = network(), sum(SHARES[:rank])
    wrapped = preparation.wrapped(made, pb.TrainConfig(sync_batch_norm=True), run, batch_size=SHARES[rank])
    train(wrapped, slice(first, first + SHARES[rank]), 2)
    Path(f"{file}.{rank}").write_text(json.dumps(as_numbers(made)), encoding="utf-8")
    run.world.barrier()
    run.world.stop()
    if rank == 0:
        os.wait()


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Sequence[dict[str, Tensor]]:
    """The states of both after training."""
    file = tmp_path_factory.mktemp("two") / "state"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = f"from tests.training.test_batch_norm import train_as_two; train_as_two({str(file)!r}, {port})"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "GLOO_SOCKET_IFNAME": "lo"}
    words = [sys.executable, "-c", program]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    texts = [Path(f"{file}.{rank}").read_text(encoding="utf-8") for rank in range(2)]
    return [{name: torch.tensor(values) for name, values in json.loads(text).items()} for text in texts]


@pytest.mark.slow
def test_two_processes_train_as_one_with_the_joint_batch(two: Sequence[dict[str, Tensor]]) -> None:
    alone = network()
    before = copy.deepcopy(alone.state_dict())
    train(alone, slice(None), 1)
    assert two[0].keys() == alone.state_dict().keys()
    for name, expected in alone.state_dict().items():
        torch.testing.assert_close(two[0][name], expected, rtol=1e-4, atol=1e-5, check_dtype=False)
        assert torch.equal(two[0][name], two[1][name]), name
    frozen = {"8.running_mean", "8.running_var", "8.num_batches_tracked"}
    same = {name for name, tensor in before.items() if torch.equal(tensor, alone.state_dict()[name])}
    assert same == frozen


def test_evaluation_copies_and_folding_are_as_before() -> None:
    plain, synced = network().eval(), network()
    batch_norm.synchronise(synced)
    copied = copy.deepcopy(synced).eval()
    assert torch.equal(copied(images(0)), plain(images(0)))
    torch.testing.assert_close(folded(copied)(images(0)), plain(images(0)))
