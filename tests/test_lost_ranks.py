"""Two processes train, and one of them is lost: what the other says, how the program ends, and what goes on after."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.conftest import ROOT, process_of_rank

SPEC = """
model_config { arch: "resnet" n_layers: 10 use_batch_norm: true input_image_size: "3,32,32" }
train_config {
  train_dataset_path: "%(data)s"
  optimizer { sgd { momentum: 0.9 } }
  batch_size_per_gpu: 4
  n_epochs: 1000
  preprocess_mode: "torch"
  lr_config { cosine { learning_rate: 0.01 } }
  communication_timeout_seconds: 12
}
"""

pytestmark = pytest.mark.slow


def started(colours: Path, folder: Path, *options: str, agent: Sequence[str] = ()) -> "subprocess.Popen[str]":
    """Two processes that train, as ranks of the agent where one is given."""
    spec = folder / "spec.cfg"
    spec.write_text(SPEC % {"data": colours})
    arguments = ("train", "-e", str(spec), "-r", str(folder / "results"), "--gpus", "0", *options)
    return subprocess.Popen(
        [sys.executable, *agent, "-m", "tao_lite.cli", *arguments, *(() if agent else ("-np", "2"))],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
    )


@pytest.fixture
def training(colours: Path, tmp_path: Path) -> "subprocess.Popen[str]":
    """Two processes that have an epoch behind them."""
    process = started(colours, tmp_path)
    wait_for_an_epoch(process, tmp_path)
    return process


def wait_for_an_epoch(process: "subprocess.Popen[str]", folder: Path) -> None:
    csv = folder / "results" / "training.csv"
    while not (csv.is_file() and len(csv.read_text().splitlines()) > 1):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_that_stands_still_ends_the_run_within_the_timeout_and_is_named(
    training: "subprocess.Popen[str]", tmp_path: Path, rank: int
) -> None:
    """FIELD.md B1."""
    os.kill(process_of_rank(rank, tmp_path / "results"), signal.SIGSTOP)
    began = time.monotonic()
    _, errors = training.communicate()
    assert training.returncode == 75, errors
    # Torch takes some seconds to end a process.
    assert time.monotonic() - began < 12 + 5
    assert re.search(
        rf"Error: rank {rank} did not answer for 12 s, after step \d+ of the run, and rank {1 - rank} can't", errors
    )
    assert "raise train_config.communication_timeout_seconds (12)" in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_the_one_left_names_the_rank_that_died(
    training: "subprocess.Popen[str]", tmp_path: Path, number: signal.Signals
) -> None:
    """FIELD.md B6, FAULTS.md 18."""
    os.kill(process_of_rank(1, tmp_path / "results"), number)
    _, errors = training.communicate()
    assert training.returncode == 75, errors
    assert re.search(r"Error: rank 1 has ended, or can't be reached any more, after step \d+ of the run", errors)
    assert f"rank 1 was killed by {number.name}\n" in errors
    assert "Traceback" not in errors
    assert "fault of tao_lite" not in errors


def test_an_error_of_one_rank_ends_both(colours: Path, tmp_path: Path) -> None:
    """FAULTS.md 18: only the rank that is dealt the picture meets it."""
    data = tmp_path / "data"
    shutil.copytree(colours, data)
    (data / "red" / "000.png").write_bytes(b"broken")
    process = started(data, tmp_path, "--set", "dataset_config.on_bad_example=FAIL")
    _, errors = process.communicate()
    assert process.returncode == 2, errors
    assert f"Error: {data}/red/000.png: " in errors
    assert re.search(r"Error: rank [01] has ended, or can't be reached any more, after step", errors)
    assert "Traceback" not in errors


def processes(results: Path) -> list[int]:
    """The launcher, the agent and the ranks of a training."""
    lines = {int(path.parent.name): path.read_text() for path in Path("/proc").glob("[0-9]*/cmdline")}
    return [number for number, line in lines.items() if str(results) in line]


@pytest.mark.parametrize(
    ("number", "is_for_all"),
    [
        (signal.SIGTERM, False),
        (signal.SIGHUP, False),
        pytest.param(signal.SIGTERM, True, id="to each, as by Slurm"),
    ],
)
def test_two_processes_save_when_they_are_asked_to_stop(
    training: "subprocess.Popen[str]", tmp_path: Path, number: signal.Signals, is_for_all: bool
) -> None:
    """FIELD.md B9."""
    asked = processes(tmp_path / "results") if is_for_all else [training.pid]
    assert len(asked) == (4 if is_for_all else 1)
    for process in asked:
        os.kill(process, number)
    _, errors = training.communicate()
    assert training.returncode == 128 + signal.SIGTERM, errors
    assert "the same command goes on there" in errors
    assert list((tmp_path / "results" / "weights").glob("*.pth"))


@pytest.mark.parametrize(("agent", "code"), [("tao_lite.machine.distributed", 143), ("torch.distributed.run", 1)])
def test_ranks_of_an_agent_save_when_it_is_asked_to_stop(colours: Path, tmp_path: Path, agent: str, code: int) -> None:
    """torchrun's traceback and exit code are its own."""
    process = started(colours, tmp_path, agent=("-m", agent, "--standalone", "--nproc_per_node", "2"))
    wait_for_an_epoch(process, tmp_path)
    process.terminate()
    _, errors = process.communicate()
    assert process.returncode == code, errors
    assert errors.count("the same command goes on there") == 1
    _, traceback, trace = errors.partition("Traceback")
    assert not traceback or (code == 1 and str(ROOT / "tao_lite") not in trace)
    assert (tmp_path / "results" / "weights" / "interrupted.pth").is_file()
