"""Two nodes of a real Slurm, stopped in every way that Slurm has, train as two processes do that nobody stops."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import process_of_rank
from tests.test_nodes import same_weights

ROOT = Path(__file__).resolve().parents[2]
SPEC = """
model_config { arch: "resnet" n_layers: 10 use_batch_norm: true input_image_size: "3,32,32" }
train_config {
  train_dataset_path: "%s"
  optimizer { sgd { momentum: 0.9 } }
  batch_size_per_gpu: 4
  n_epochs: 3
  preprocess_mode: "torch"
  lr_config { cosine { learning_rate: 0.01 } }
}
"""
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}

pytestmark = pytest.mark.skipif("SLURM_CONF" not in os.environ, reason="needs a Slurm of two nodes: make test-slurm")


class Job:
    """A training that was submitted as the page says it."""

    def __init__(self, spec: Path, results: Path) -> None:
        self.results = results
        where = ("NODES=2", "GPUS=0", "SLURM_ARGS=--time 20 --job-name two")
        command = ("make", "train", "RUNNER=slurm", f"SPEC={spec}", f"RESULTS={results}", *where)
        submitted = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=True)
        said = re.search(r"Job (\d+) of Slurm trains on 2 machines: .*/train.sbatch", submitted.stderr)
        assert said, submitted.stderr
        self.number = said[1]
        assert f"stop:   scancel {self.number} " in submitted.stderr

    @property
    def log(self) -> str:
        path = self.results / f"slurm-{self.number}.log"
        return path.read_text() if path.exists() else ""

    def shown(self, name: str) -> str:
        """What Slurm says of the job: JobState, Restarts, ExitCode."""
        text = slurm("scontrol", "show", "job", self.number)
        return text.partition(f"{name}=")[2].split()[0]

    def wait(self, is_so: Callable[[], bool]) -> None:
        """Return within five minutes."""
        for _ in range(1500):
            if is_so():
                return
            time.sleep(0.2)
        raise AssertionError(f"{self.shown('JobState')}\n{self.log}")

    def wait_for(self, words: str, times: int) -> None:
        """Return when the log has the words so many times."""
        self.wait(lambda: self.log.count(words) == times)


def slurm(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.fixture(autouse=True)
def no_job_is_left() -> Iterator[None]:
    yield
    subprocess.run(["scancel", "--user", "root"], check=True)


@pytest.fixture
def spec(colours: Path, tmp_path: Path) -> Path:
    """Of 48 steps an epoch: processes agree to stop within 20."""
    for picture in colours.glob("*/*.png"):
        for copy in range(4):
            target = tmp_path / "data" / picture.parent.name / f"{copy}_{picture.name}"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(picture)
    path = tmp_path / "two.cfg"
    path.write_text(SPEC % (tmp_path / "data"))
    return path


@pytest.mark.timeout(1500)
def test_requeued_out_of_time_and_cancelled_a_job_goes_on_to_the_weights_of_one_that_nobody_stopped(
    spec: Path, tmp_path: Path
) -> None:
    results = tmp_path / "with blank"
    job = Job(spec, results)

    job.wait_for("Learning rate", 1)
    slurm("scontrol", "requeue", job.number)
    job.wait_for("stopped in epoch 1, saved in", 1)

    job.wait_for("Resuming", 1)
    # Slurm looks for jobs whose time is up twice a minute, and so long the training is held; its signal frees it.
    for rank in range(2):
        os.kill(process_of_rank(rank, results), signal.SIGSTOP)
    slurm("scontrol", "update", f"JobId={job.number}", "EndTime=now+2minutes")
    job.wait_for("stopped in epoch", 2)

    job.wait_for("Resuming", 2)
    slurm("scancel", job.number)
    job.wait_for("stopped in epoch", 3)
    job.wait(lambda: job.shown("JobState") == "CANCELLED")
    assert job.shown("Restarts") == "2"

    again = Job(spec, results)
    again.wait(lambda: again.shown("JobState") not in ("PENDING", "RUNNING", "COMPLETING"))
    assert (again.shown("JobState"), again.shown("ExitCode")) == ("COMPLETED", "0:0"), again.log
    assert "Resuming" in again.log
    assert "Traceback" not in job.log + again.log

    command = [sys.executable, "-m", "tao_lite.cli", "train", "-e", str(spec), "-r", str(tmp_path / "one"), "-np", "2"]
    subprocess.run([*command, "--gpus", "0"], env=ENVIRONMENT, check=True, capture_output=True)
    assert same_weights(results, tmp_path / "one")


def test_a_job_with_a_wrong_spec_ends_and_is_not_requeued(spec: Path, tmp_path: Path) -> None:
    spec.write_text(spec.read_text().replace("n_epochs", "n_epoch"))
    job = Job(spec, tmp_path / "wrong")
    job.wait(lambda: job.shown("JobState") == "FAILED")
    assert (job.shown("ExitCode"), job.shown("Restarts")) == ("2:0", "0")
    assert "n_epochs" in job.log


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("train", "NODES=two"), "NODES=two: must be how many machines train together"),
        (("train", "GPUS=all"), "GPUS=all: must be how many GPUs of each machine train, 0 for its CPU"),
        (("evaluate",), "RUNNER=slurm is for make train; RUNNER=local make evaluate runs here, also inside srun"),
    ],
)
def test_what_no_job_can_be_made_of_is_refused(words: tuple[str, ...], expected: str, tmp_path: Path) -> None:
    refused = subprocess.run(
        ["make", *words, "RUNNER=slurm", f"RESULTS={tmp_path / 'none'}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert expected in refused.stderr
    assert not (tmp_path / "none").exists()
