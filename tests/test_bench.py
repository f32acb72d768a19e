"""The benches at tiny sizes, and that the page has the table that their results give. Nothing here judges a time."""

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torchvision.models import resnet18

from tao_lite.models import architectures
from tao_lite.spec.load import load_text
from tests.bench import (
    contest,
    end_to_end,
    experiment,
    loaders,
    machine,
    monitor,
    peers,
    pictures,
    samples,
    step,
    table,
    targets,
)
from tests.bench.samples import Rounds

ROUNDS: Rounds = [
    {
        "tao_lite": {"images": 8, "wall_seconds": wall, "cpu_seconds": 1.0},
        "other": {"images": 8, "wall_seconds": 4.0, "cpu_seconds": 2.0},
    }
    for wall in (1.0, 2.0, 8.0)
]


def test_the_page_has_the_table_that_the_results_give() -> None:
    text = table.README.read_text()
    assert text.count(table.BEGIN) == text.count(table.END) == 1
    assert table.replaced(text, table.section(table.read(samples.RESULTS))) == text


def test_a_ratio_is_the_median_of_the_rounds_ratios() -> None:
    """By hand: 4/1, 4/2 and 4/8 seconds, so 2; twice the CPU time in each round."""
    assert samples.ratio(ROUNDS, "tao_lite", "other", samples.per_second) == 2
    assert samples.ratio(ROUNDS, "tao_lite", "other", samples.per_cpu_second) == 2
    assert samples.median(ROUNDS, "tao_lite", samples.per_second) == 4


@pytest.mark.parametrize(
    ("limit", "is_at_most", "verdict"), [(2, False, "reached"), (2.1, False, "missed"), (1.9, True, "missed")]
)
def test_a_target_is_reached_or_missed(limit: float, is_at_most: bool, verdict: str) -> None:
    target = targets.Target(
        question="step",
        other="other",
        limit=limit,
        file="step",
        case="tiny",
        name="tao_lite",
        of=samples.per_second,
        is_at_most=is_at_most,
    )
    assert target.row({"step": {"rounds": {"tiny": ROUNDS}}})[-2:] == ("2.00 x", verdict)
    assert target.row({})[-2:] == ("not measured", "")


def test_every_round_begins_with_another() -> None:
    called: list[str] = []

    def work(name: str) -> samples.Sample:
        called.append(name)
        return {}

    samples.in_turn({name: lambda name=name: work(name) for name in "abc"}, 3)  # type: ignore[misc]
    assert "".join(called) == "abcbcacab"


def test_every_target_is_of_contenders_that_the_benches_have() -> None:
    """FFCV aside, which has no wheel: its rows stay unmeasured."""
    cases = {f"{size} px": {*step.OURS, *experiment.PEERS, step.CONVOLUTIONS} for size in (64, 224)}
    gpu = {case: set(of_case.contenders) for case, of_case in end_to_end.GPU_CASES.items()}
    held = {
        "loaders": {view: set(loaders.CONTENDERS) for view in loaders.VIEWS},
        "step": cases,
        "step_gpu": cases,
        "end_to_end": {case: set(of_case.contenders) for case, of_case in end_to_end.CASES.items()},
        "end_to_end_gpu": gpu,
    }
    for target in targets.TARGETS:
        wanted = {target.name, target.other or target.name}
        assert {name for name in wanted if not name.startswith("FFCV")} <= held[target.file][target.case], target
    assert set(experiment.PEERS) == set(peers.PEERS)


def test_ours_is_the_network_of_the_peers() -> None:
    """Reference: torchvision's names and shapes."""
    model = load_text(experiment.SPEC, Path("bench.cfg"), stage=None).experiment.model_config
    shapes = {name: tensor.shape for name, tensor in architectures.build(model, 10).state_dict().items()}
    assert shapes == {name: tensor.shape for name, tensor in resnet18(num_classes=10).state_dict().items()}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tao_lite", "plain FP32 loop", "AMP recipe loop", "timm", "timm BF16 channels_last"])
def test_each_loop_trains_as_often_as_it_is_asked(name: str, tmp_path: Path) -> None:
    pictures.draw(tmp_path / "images", 40, 32)
    answered = []

    def amounts() -> Iterator[int]:
        for amount in (1, 2):
            yield amount
            answered.append(amount)

    task = step.Task(name, size=32, batch_size=2, device="cpu", folder=str(tmp_path))
    (step.ours if name in step.OURS else step.peer)(task, amounts())
    assert answered == [1, 2]


@pytest.mark.parametrize("view", loaders.VIEWS)
@pytest.mark.parametrize("name", ["tao_lite, files", "tao_lite, cache MEMORY", "tao_lite, cache DISK"])
def test_each_of_our_loaders_gives_every_image(name: str, view: str, tmp_path: Path) -> None:
    pictures.draw(tmp_path / "images", 20, 32)
    arguments = argparse.Namespace(folder=str(tmp_path), view=view, size=16, device="cpu", images=20)
    epochs = loaders.CONTENDERS[name](arguments)
    assert [sum(epochs(number)) for number in range(2)] == [20, 20]


@pytest.mark.slow
def test_a_peer_learns_three_colours(colours: Path, tmp_path: Path) -> None:
    job = peers.Job(
        size=32,
        num_classes=3,
        batch_size=12,
        epochs=4,
        learning_rate=0.02,
        device="cpu",
        output=tmp_path / "network.pth",
        random_crop=False,
    )
    torch.manual_seed(0)
    assert peers.plain(job, *peers.torchvision_loaders(job, colours, colours, 0)) > 0.9
    assert "fc.weight" in torch.load(tmp_path / "network.pth", weights_only=True)


@pytest.mark.slow
def test_contenders_answer_from_processes_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "PEERS", tmp_path)  # where no peer is installed
    rounds, missing = contest.Contest(
        module="tests.bench.step",
        names=(step.CONVOLUTIONS, "Lightning"),
        options={"size": 32, "batch_size": 1, "device": "cpu", "folder": tmp_path},
        amount=2,
        rounds=1,
        threads=1,
    ).hold()
    assert set(rounds[0]) == {step.CONVOLUTIONS}
    # Twice four convolutions of 64 * 64 * 56 * 56 * 9 multiply-adds.
    assert rounds[0][step.CONVOLUTIONS]["images"] == pytest.approx(8 * 2 * 64**2 * 56**2 * 9 / 10.65e9)
    assert missing == {"Lightning": "No module named 'lightning'"}


def test_a_process_is_measured_with_its_children() -> None:
    """50 MB in the process itself, 60 MB in its child."""
    child = "import time; held = b'x' * 60_000_000; time.sleep(2)"
    parent = f"import subprocess, sys; held = b'x' * 50_000_000; subprocess.run([sys.executable, '-c', {child!r}])"
    sample, _ = end_to_end.measured([sys.executable, "-c", parent], dict(os.environ))
    assert 110e6 < sample["peak_bytes"] < 220e6
    assert sample["wall_seconds"] > 2
    assert 0 < sample["cpu_seconds"] < 2
    with pytest.raises(RuntimeError, match=r"(?s)ended with 3.*too bad"):
        end_to_end.measured([sys.executable, "-c", "import sys; print('too bad', file=sys.stderr); sys.exit(3)"], {})


@pytest.mark.slow
def test_a_training_is_measured_with_tensorboard_and_without() -> None:
    sizes = {"images": 40, "size": 32, "batch_size": 8, "epochs": 1, "rounds": 1, "threads": 1, "gpu": False}
    rounds = monitor.compare(argparse.Namespace(**sizes))
    assert [list(one) for one in rounds] == [[monitor.NAME]]
    assert all(0 < one["shown_seconds"] < one["wall_seconds"] for of_all in rounds for one in of_all.values())
    # By hand: 1 of 4 seconds for every 3 of training, 1 of 11, and 2 of 5, of which the first is the median.
    pairs = ((1.0, 4.0), (1.0, 11.0), (2.0, 5.0))
    shares: Rounds = [{monitor.NAME: {"shown_seconds": shown, "wall_seconds": wall}} for shown, wall in pairs]
    assert monitor.overhead(shares) == 1 / 3


@pytest.mark.slow
@pytest.mark.parametrize("name", ["accuracy", "audit", "end_to_end", "loaders", "monitor", "peers", "step", "table"])
def test_each_bench_explains_itself(name: str) -> None:
    command = [sys.executable, "-m", f"tests.bench.{name}", "--help"]
    said = subprocess.run(command, cwd=machine.ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout
    assert f"python -m tests.bench.{name}" in said
