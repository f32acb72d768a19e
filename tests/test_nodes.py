"""Two machines train together by one command on each: two launchers that know nothing of each other, on this one."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tao_lite import checkpoint as checkpoints
from tao_lite.errors import LostError, RunError
from tao_lite.machine import nodes
from tests.test_lost_ranks import SPEC, wait_for_an_epoch


@pytest.fixture
def endpoint() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


def node(spec: Path, results: Path, *options: str) -> "subprocess.Popen[str]":
    words = ("train", "-e", str(spec), "-r", str(results), "--gpus", "0", *options)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.Popen(
        [sys.executable, "-m", "tao_lite.cli", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


@pytest.fixture
def spec(colours: Path, tmp_path: Path) -> Path:
    path = tmp_path / "a.cfg"
    path.write_text(SPEC % {"data": colours})
    return path


def finished(*processes: "subprocess.Popen[str]", code: int = 0) -> str:
    """What was said by processes that all end with the code."""
    said = "".join(process.communicate()[1] for process in processes)
    assert {process.returncode for process in processes} == {code}, said
    assert "Traceback" not in said, said
    return said


def same_weights(results: Path, others: Path) -> bool:
    one, other = (checkpoints.load(folder / "weights" / "latest.pth").network for folder in (results, others))
    return all(other[name].equal(tensor) for name, tensor in one.items())


@pytest.mark.slow
def test_two_nodes_train_as_two_processes_of_one(spec: Path, endpoint: str, tmp_path: Path) -> None:
    short = ("--set", "train_config.n_epochs=2", "--set", "train_config.communication_timeout_seconds=120")
    meeting = ("--nnodes", "2", "--rdzv_endpoint", endpoint)
    finished(*(node(spec, tmp_path / "nodes", *meeting, *short) for _ in range(2)))
    finished(node(spec, tmp_path / "one", "-np", "2", *short))
    assert same_weights(tmp_path / "nodes", tmp_path / "one")


@pytest.mark.slow
def test_one_that_is_told_to_stop_stops_both_and_both_say_so_by_their_code(
    spec: Path, endpoint: str, tmp_path: Path
) -> None:
    meeting = ("--nnodes", "2", "--rdzv_endpoint", endpoint)
    together = [node(spec, tmp_path / "results", *meeting) for _ in range(2)]
    wait_for_an_epoch(together[0], tmp_path)
    together[1].send_signal(signal.SIGTERM)
    assert "the same command goes on there" in finished(*together, code=143)


@pytest.mark.slow
def test_a_node_that_never_comes_is_waited_for_and_named(spec: Path, endpoint: str, tmp_path: Path) -> None:
    short = ("--set", "train_config.communication_timeout_seconds=3")
    alone = node(spec, tmp_path / "results", "--nnodes", "2", "--rdzv_endpoint", endpoint, *short)
    assert f"2:2 machines have not met at {endpoint} within 3 s" in finished(alone, code=75)
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("number", "endpoint", "expected"),
    [
        ("two", "a:1", "--nnodes is 'two'; give the number of machines, or the least and the most, such as 2:4"),
        ("4:2", "a:1", "--nnodes is '4:2'; give"),
        ("0", "a:1", "--nnodes is '0'; give"),
        ("2", None, "--nnodes is 2: they need --rdzv_endpoint HOST:PORT"),
        ("2", "a", "--rdzv_endpoint is 'a'; give HOST:PORT"),
        ("2", "a:0", "--rdzv_endpoint is 'a:0'; give HOST:PORT"),
        ("2", "a:99999", "--rdzv_endpoint is 'a:99999'; give HOST:PORT"),
    ],
)
def test_what_names_no_meeting_is_refused(number: str, endpoint: str | None, expected: str) -> None:
    with pytest.raises(RunError) as refused:
        nodes.parse(number, endpoint)
    assert str(refused.value).startswith(expected)


def test_a_host_that_is_not_there_is_waited_for_and_named() -> None:
    with pytest.raises(LostError, match=r"--rdzv_endpoint: nowhere.invalid can't be reached \(.*\); give the name"):
        nodes.parse("2", "nowhere.invalid:29400").words(1)
