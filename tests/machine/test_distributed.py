"""Real processes on one machine: sums, votes, exit codes, signals, and nobody left behind."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tao_lite.errors import RunError
from tao_lite.machine import distributed
from tao_lite.metrics.counts import Counts

Launch = Callable[..., "subprocess.Popen[str]"]

SUMS = """
import json, os, sys
import torch
from tao_lite.machine import distributed
from tao_lite.metrics.counts import Counts

world = distributed.start("cpu")
logits, labels = torch.load(sys.argv[1], weights_only=True)
mine = slice(world.rank, None, world.world_size)
counts = Counts(logits.shape[1], world.device)
counts.add(logits[mine], labels[mine], labels[mine] / 8)
counts.all_reduce(world)
answer = {
    "arguments": sys.argv[2:],
    "world": [world.world_size, world.rank == world.local_rank, world.is_main == (world.rank == 0)],
    "votes": [world.any(False), world.any(world.rank == 1), world.any(True)],
    "sum": world.sum_(torch.tensor([world.rank + 1.0])).tolist(),
    "evaluation": counts.result(["a", "b", "c"], 2).as_dict(),
    "texts": world.gathered("é" * world.rank),
    "threads": os.environ["OMP_NUM_THREADS"],
}
world.barrier()
world.stop()
open(f"{sys.argv[1]}.{world.rank}", "w").write(json.dumps(answer))
"""

EXITS = """
import os, sys, time
codes = sys.argv[1].split(",")
code = int(codes[int(os.environ["RANK"])])
if code < 0:
    os.kill(os.getpid(), -code)
if code == 0:
    time.sleep(60)  # Ended by the agent when the other rank has failed.
print("rank", os.environ["RANK"], "said why", file=sys.stderr)
sys.exit(code)
"""

WAITS = """
import os, signal, sys, time
from pathlib import Path
from tao_lite.machine import distributed

signals = []
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, lambda number, frame: signals.append(number))
world = distributed.start("cpu")
world.barrier()
Path(sys.argv[1], f"ready.{world.rank}.{os.getpid()}").touch()
while not world.any(bool(signals)):
    time.sleep(0.05)
time.sleep(0.5)  # Time in which a second signal would come.
Path(sys.argv[1], f"saved.{world.rank}").write_text(str(signals))
world.stop()
"""


@pytest.fixture
def launch(tmp_path: Path) -> Launch:
    """Start launch(2, arguments) on a module of the given source, in a process of its own."""

    def start(source: str, *arguments: str) -> "subprocess.Popen[str]":
        (tmp_path / "probe.py").write_text(source)
        code = (
            "import sys; from tao_lite.machine.distributed import launch; "
            "sys.exit(launch(2, sys.argv[1:], module='probe'));"
        )
        environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{Path(__file__).parents[2]}"}
        environment.pop("OMP_NUM_THREADS", None)
        return subprocess.Popen(
            [sys.executable, "-c", code, *arguments], env=environment, stderr=subprocess.PIPE, text=True
        )

    return start


def wait_for(condition: Callable[[], bool], seconds: float = 60.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return False


def ready_processes(folder: Path) -> list[int]:
    """Process numbers of the two ranks, once both are up."""
    assert wait_for(lambda: len(list(folder.glob("ready.*"))) == 2)
    return [int(path.suffix[1:]) for path in folder.glob("ready.*")]


def is_alive(process: int) -> bool:
    stat = Path(f"/proc/{process}/stat")
    try:
        return stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.slow
def test_two_ranks_sum_vote_and_evaluate_as_one_process_does(launch: Launch, tmp_path: Path) -> None:
    # Seven images on two ranks: padding to equal shares, as DistributedSampler does, would count one twice.
    data = tmp_path / "data.pt"
    logits, labels = torch.rand(7, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 0, 1, 2, 0])
    torch.save((logits, labels), data)
    arguments = ["a b", "it's", '"$HOME"', "--set", "x=1"]
    process = launch(SUMS, str(data), *arguments)
    assert process.communicate()[1] == ""
    assert process.returncode == 0
    alone = Counts(3, torch.device("cpu"))
    alone.add(logits, labels, labels / 8)
    # Losses are eighths, so that their sum is exact in any order.
    expected = json.loads(json.dumps(alone.result(["a", "b", "c"], 2).as_dict()))
    for rank in (0, 1):
        answer = json.loads((tmp_path / f"data.pt.{rank}").read_text())
        assert answer == {
            "arguments": arguments,
            "world": [2, True, True],
            "votes": [False, True, True],
            "sum": [3.0],
            "evaluation": expected,
            "texts": ["", "é"],
            "threads": str(max(1, len(os.sched_getaffinity(0)) // 2)),
        }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("codes", "expected", "said"),
    [
        ("0,2", 2, "rank 1 said why\n"),
        ("1,2", 2, None),
        ("130,130", 130, None),
        ("-9,0", 137, "rank 0 was killed by SIGKILL\n"),
    ],
)
def test_the_exit_code_is_the_ranks_own(launch: Launch, codes: str, expected: int, said: str | None) -> None:
    process = launch(EXITS, codes)
    errors = process.communicate()[1]
    assert process.returncode == expected
    if said is not None:
        assert errors == said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sent", "number"),
    [(signal.SIGINT, signal.SIGINT), (signal.SIGTERM, signal.SIGTERM), (signal.SIGHUP, signal.SIGTERM)],
)
def test_a_signal_reaches_every_rank_once_and_they_may_save(
    launch: Launch, tmp_path: Path, sent: signal.Signals, number: signal.Signals
) -> None:
    """FIELD.md B9."""
    process = launch(WAITS, str(tmp_path))
    ready_processes(tmp_path)
    process.send_signal(sent)
    assert process.communicate()[1] == ""
    assert process.returncode == 128 + number
    assert [(tmp_path / f"saved.{rank}").read_text() for rank in (0, 1)] == [str([int(number)])] * 2


@pytest.mark.slow
def test_ranks_die_with_a_launcher_that_was_killed(launch: Launch, tmp_path: Path) -> None:
    process = launch(WAITS, str(tmp_path))
    ranks = ready_processes(tmp_path)
    process.kill()
    process.communicate()
    assert wait_for(lambda: not any(map(is_alive, ranks)), seconds=5.0)
    assert not list(tmp_path.glob("saved.*"))


@pytest.mark.slow
def test_ranks_die_with_an_agent_that_was_killed(launch: Launch, tmp_path: Path) -> None:
    process = launch(WAITS, str(tmp_path))
    ranks = ready_processes(tmp_path)
    agent = int(Path(f"/proc/{ranks[0]}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(agent, signal.SIGKILL)
    process.communicate()
    assert process.returncode == 128 + signal.SIGKILL
    assert wait_for(lambda: not any(map(is_alive, ranks)), seconds=5.0)


def test_a_single_process_needs_no_process_group() -> None:
    world = distributed.start("cpu")
    tensor = torch.ones(2)
    assert (world.rank, world.world_size, world.local_rank, world.is_main) == (0, 1, 0, True)
    assert world.device == torch.device("cpu")
    assert world.sum_(tensor) is tensor
    assert tensor.tolist() == [1.0, 1.0]
    assert (world.any(False), world.any(True)) == (False, True)
    world.barrier()
    world.stop()
    assert not torch.distributed.is_initialized()
    assert not distributed.launched()


def test_a_foreign_environment_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "two")
    with pytest.raises(RunError) as caught:
        distributed.start("cpu")
    assert str(caught.value) == (
        "environment variable WORLD_SIZE is 'two', must be a whole number; unset it or start with --gpus"
    )


@pytest.mark.parametrize(
    ("environment", "rule"),
    [
        ("RANK=5 WORLD_SIZE=2", "RANK must be below WORLD_SIZE"),
        ("RANK=1", "RANK must be below WORLD_SIZE"),
        ("RANK=0 WORLD_SIZE=0", "WORLD_SIZE must be at least 1"),
        ("RANK=0 LOCAL_WORLD_SIZE=4 WORLD_SIZE=2", "LOCAL_WORLD_SIZE must be 1 to WORLD_SIZE"),
        ("RANK=1 LOCAL_RANK=1 LOCAL_WORLD_SIZE=1 WORLD_SIZE=2", "LOCAL_RANK must be below LOCAL_WORLD_SIZE"),
        ("RANK=0 WORLD_SIZE=2 MASTER_PORT=65536", "MASTER_PORT must be 1 to 65535"),
    ],
)
def test_variables_that_contradict_each_other_are_refused_at_once(
    monkeypatch: pytest.MonkeyPatch, environment: str, rule: str
) -> None:
    """FIELD.md B9: such ranks waited for others that never come."""
    for name, value in (item.split("=") for item in environment.split()):
        monkeypatch.setenv(name, value)
    with pytest.raises(RunError) as caught:
        distributed.start("cpu")
    assert str(caught.value) == f"environment: {environment}, but {rule}; unset them or start with --gpus"
    with pytest.raises(RunError):
        distributed.is_main()


@pytest.mark.parametrize("missing", ["RANK", "MASTER_ADDR", "MASTER_PORT"])
def test_a_rank_without_all_of_the_variables_is_refused_at_once(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    """FIELD.md B9."""
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv(missing)
    with pytest.raises(RunError, match=rf"^rank 0 of 2: can't join the others at \S+ \({missing} not set\); start all"):
        distributed.start("cpu")


@pytest.mark.slow
def test_ranks_start_where_no_name_resolves(tmp_path: Path) -> None:
    """FIELD.md B2: neither the machine's own name nor that of the loopback."""
    names = ("unshare", "--user", "--map-root-user", "--uts", "--mount")
    if not shutil.which("unshare") or subprocess.run([*names, "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs unshare and namespaces of a user's own")
    (tmp_path / "hosts").touch()
    (tmp_path / "probe.py").write_text(WAITS.replace("while not world.any(bool(signals))", "if False"))
    launching = (
        "import sys; from tao_lite.machine.distributed import launch; sys.exit(launch(2, sys.argv[1:], module='probe'))"
    )
    script = 'hostname nowhere && mount --bind "$0/hosts" /etc/hosts && exec "$1" -c "$2" "$0"'
    finished = subprocess.run(
        [*names, "sh", "-c", script, str(tmp_path), sys.executable, launching],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{Path(__file__).parents[2]}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (finished.returncode, finished.stderr) == (0, "")
    assert {path.name for path in tmp_path.glob("saved.*")} == {"saved.0", "saved.1"}


def test_ranks_that_cannot_be_reached_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name in ("MASTER_ADDR", "MASTER_PORT", "RANK"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(RunError, match=r"^rank 0 of 2: can't join the others at None:None \(.*MASTER_ADDR.*\); start"):
        distributed.start("cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a CUDA device")
def test_a_missing_gpu_is_an_error_with_a_remedy() -> None:
    with pytest.raises(RunError, match=r"^device: torch found no CUDA GPU; check the driver with nvidia-smi, or"):
        distributed.start("cuda")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_more_ranks_than_gpus_is_an_error_with_both_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "64")
    with pytest.raises(RunError, match=r"^LOCAL_RANK is 64 and needs GPU 64, but this machine shows \d+; start with"):
        distributed.start("cuda")


def test_the_launcher_needs_no_torch() -> None:
    code = "import sys; from tao_lite.machine import distributed; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=True)
