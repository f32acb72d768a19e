"""Two processes that were given different things: both end, and name which of them has what."""

import os
import platform
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tao_lite.machine import distributed
from tao_lite.run import Run
from tao_lite.spec.load import load
from tao_lite.stages.train.train import train
from tests.stages.train.test_field import SPEC


@dataclass(frozen=True)
class Rank:
    """What one of two is given."""

    spec: Path
    results: Path
    data: Path
    n_epochs: int = 1


def two(*ranks: Rank) -> list[tuple[int, str]]:
    """Exit code and what is said, of each."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    shared |= {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "GLOO_SOCKET_IFNAME": "lo"}
    processes = []
    for number, rank in enumerate(ranks):
        words = ["-e", rank.spec, "-r", rank.results, "--gpus", 0, "--set", f"train_config.n_epochs={rank.n_epochs}"]
        own = {"RANK": str(number), "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1", "THE_DATA": str(rank.data)}
        processes.append(
            subprocess.Popen(
                [sys.executable, "-m", "tao_lite.cli", "train", *map(str, words)],
                stderr=subprocess.PIPE,
                text=True,
                env={**os.environ, **shared, **own},
            )
        )
    said = [process.communicate()[1] for process in processes]
    return [(process.returncode, text) for process, text in zip(processes, said, strict=True)]


def refuse(first: Rank, second: Rank, what: str, rest: str) -> None:
    machine = platform.node()
    for code, said in two(first, second):
        assert code == 2, said
        assert f"Error: rank 1 on {machine} has another {what} than rank 0 on {machine}{rest}\n" in said
        assert "Traceback" not in said


@pytest.fixture
def rank(colours: Path, tmp_path: Path) -> Rank:
    """What both are given; the path of the data set is a variable in the spec, as machines may have theirs anywhere."""
    spec = tmp_path / "spec.cfg"
    spec.write_text(SPEC % {"data": "$THE_DATA", "n_epochs": 1, "batch_size": 8, "learning_rate": 0.01})
    return Rank(spec, tmp_path / "run", colours)


@pytest.mark.slow
def test_another_data_set_is_refused(rank: Rank, tmp_path: Path) -> None:
    other = shutil.copytree(rank.data, tmp_path / "other")
    (other / "red" / "000.png").rename(other / "red" / "again.png")
    found = " (85 and 35 examples, not 86 and 34 examples); give all the same data set"
    refuse(rank, replace(rank, data=other), "data set", found)
    assert not list(rank.results.rglob("*.pth"))


@pytest.mark.slow
def test_another_spec_is_refused(rank: Rank) -> None:
    refuse(rank, replace(rank, n_epochs=2), "spec", "; give all the same spec")


@pytest.mark.slow
def test_a_results_folder_that_is_not_shared_is_refused(
    rank: Rank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THE_DATA", str(rank.data))
    train(load(rank.spec), Run(results=rank.results, world=distributed.start("cpu")))
    longer = replace(rank, n_epochs=2)
    found = " (none, not after 1 epochs and 0 batches); share the results folder"
    refuse(longer, replace(longer, results=tmp_path / "elsewhere"), "checkpoint", found)


@pytest.mark.slow
def test_copies_of_a_data_set_at_different_places_are_the_same(rank: Rank, tmp_path: Path) -> None:
    ends = two(rank, replace(rank, data=shutil.copytree(rank.data, tmp_path / "copy")))
    assert [code for code, _ in ends] == [0, 0], ends
