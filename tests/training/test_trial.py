"""The number of threads: chosen by a trial that leaves no trace, kept by a training, and left to who sets it."""

import logging
from pathlib import Path

import pytest
import torch
from google.protobuf import text_format

from tao_lite import checkpoint as checkpoints
from tao_lite.machine import distributed
from tao_lite.machine.host import usable_cores
from tao_lite.models.architectures import build
from tao_lite.run import Run
from tao_lite.spec import classification_pb2 as pb
from tao_lite.training import trial
from tao_lite.training.precision import Precision
from tests.test_pipeline import spec, tao_lite

__all__ = ["spec"]  # a fixture

EXPERIMENT = text_format.Parse(
    'model_config { arch: "resnet" n_layers: 10 use_batch_norm: true input_image_size: "3,32,32" } '
    "train_config { batch_size_per_gpu: 4 precision: FP32 }",
    pb.Experiment(),
)
PRECISION = Precision.of(EXPERIMENT.train_config, torch.device("cpu"))
needs_cores = pytest.mark.skipif(usable_cores() == 1, reason="needs two cores to choose from")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run on the CPU that chooses for itself."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    return Run(results=tmp_path, world=distributed.start("cpu"))


@needs_cores
def test_a_trial_leaves_the_network_as_it_was(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    before = torch.get_num_threads()
    network = build(EXPERIMENT.model_config, 3)
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with caplog.at_level(logging.INFO):
        trial.set_threads(network, EXPERIMENT, PRECISION, run)
    chosen = torch.get_num_threads()
    torch.set_num_threads(before)
    assert caplog.messages[-1].startswith(f"torch got {chosen} threads: a trial step took ")
    assert all(torch.equal(tensor, state[name]) for name, tensor in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


@needs_cores
def test_a_known_number_is_taken_without_a_trial(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    before = torch.get_num_threads()
    with caplog.at_level(logging.INFO):
        trial.set_threads(torch.nn.Identity(), EXPERIMENT, PRECISION, run, known=1)
    torch.set_num_threads(before)
    assert caplog.messages == ["torch got 1 threads, as before in this run"]


def test_who_sets_the_number_has_the_last_word(
    run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    with caplog.at_level(logging.INFO):
        trial.set_threads(torch.nn.Identity(), EXPERIMENT, PRECISION, run)
    assert caplog.messages == []


@needs_cores
@pytest.mark.slow
def test_a_resumed_training_keeps_its_number(spec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.test_pipeline.environment", lambda: {"PATH": "/usr/bin:/bin"})
    command = ("train", "-e", spec, "-r", tmp_path, "--set")
    first = tao_lite(*command, "train_config.n_epochs=1")
    assert first.returncode == 0, first.stderr
    chosen = checkpoints.load(tmp_path / "weights" / "latest.pth").training["threads"]
    second = tao_lite(*command, "train_config.n_epochs=2")
    assert second.returncode == 0, second.stderr
    assert f"torch got {chosen} threads, as before in this run" in second.stderr
