"""Compress by its command line: killed in each phase and gone on with, shared, and what is refused; and its figures."""

import csv
import json
import multiprocessing
import os
import time
from collections.abc import Sequence
from itertools import pairwise
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest

from tao_lite.cli.main import main
from tao_lite.spec import classification_pb2 as pb
from tao_lite.stages.compress import figures
from tao_lite.stages.compress.figures import Limits, Row
from tests.test_pipeline import tao_lite

SPEC = """
model_config { arch: "timm/test_resnet" input_image_size: "3,32,32" }
train_config {
  train_dataset_path: "%(data)s"
  optimizer { sgd { momentum: 0.9 } }
  batch_size_per_gpu: 40
  n_epochs: 2
  random_seed: 7
  preprocess_mode: "torch"
  lr_config { cosine { learning_rate: 0.01 } }
  precision: FP32
}
dataset_config { val_split: 0.3 }
prune_config { rounds: 1 retrain_epochs: 2 pruning_granularity: 4 min_num_filters: 4 }
"""
# Files that mark the phases, in order: what is killed when one appears has begun the next step, or is in it.
PHASES = (
    "sizes/1/quantised/quantize.json",
    "sizes/0.5/rounds/1/weights/latest.pth",
    "sizes/0.5/retrained/weights/latest.pth",
    "sizes/0.5/export.json",
    "sizes/0.5/size.json",
)


@pytest.fixture(scope="module")
def folder(colours: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A spec and the results of its training."""
    folder = tmp_path_factory.mktemp("compress")
    (folder / "spec.cfg").write_text(SPEC % {"data": colours})
    trained = tao_lite("train", "-e", folder / "spec.cfg", "-r", folder, "--gpus", 0)
    assert trained.returncode == 0, trained.stderr
    return folder


def words(folder: Path, results: Path) -> list[str]:
    model = folder / "weights" / "best.pth"
    given = ("-e", folder / "spec.cfg", "-m", model, "-r", results, "--sizes", "0.5", "--max_accuracy_drop", 0.9)
    return ["compress", *map(str, given), "--gpus", "0"]


def run(arguments: Sequence[str], log: Path) -> None:
    """The command, its output in a file, in a process that is forked."""
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    main(arguments)


def begun(arguments: Sequence[str], log: Path) -> ForkServerProcess:
    """The command in a process of its own; what it imports is imported once for all of them."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tao_lite.stages.compress.compress", __name__])
    process = context.Process(target=run, args=(arguments, log))
    process.start()
    return process


def kept(results: Path) -> dict[str, bytes]:
    """What has to be the same bytes whoever made it, and when.

    The card names the checkpoint by its sha256, and in a checkpoint stands how many seconds it took.
    """
    timed = ("model_card.md", "SHA256SUMS")
    names = ("sizes/*/weights/*.onnx", "sizes/*/size.json", "smallest/**/*")
    found = [path for name in names for path in results.glob(name) if path.is_file() and path.name not in timed]
    return {str(path.relative_to(results)): path.read_bytes() for path in found}


def rows(results: Path) -> list[dict[str, str]]:
    """The table less its times."""
    with (results / "compress.csv").open(newline="") as file:
        return [{name: value for name, value in row.items() if "seconds" not in name} for row in csv.DictReader(file)]


@pytest.mark.slow
def test_killed_in_every_phase_and_shared_it_gives_the_same_files(folder: Path, tmp_path: Path) -> None:
    log, killed, shared = tmp_path / "log.txt", tmp_path / "killed", tmp_path / "shared"
    for phase in PHASES:
        process = begun(words(folder, killed), log)
        while not (killed / phase).exists():
            assert process.is_alive(), log.read_text()
            time.sleep(0.002)
        process.kill()
        process.join()
        assert not (killed / "compress.json").exists(), f"it had ended before it was killed after {phase}"
    before = {path: path.stat().st_mtime_ns for path in killed.glob("sizes/**/*.pth")}
    several = [begun(words(folder, results), log) for results in (killed, shared, shared)]
    for process in several:
        process.join()
        assert process.exitcode == 0, log.read_text()
    assert {path: path.stat().st_mtime_ns for path in before} == before  # nothing was trained again

    assert kept(killed) == kept(shared)
    assert {"smallest/model.onnx", "smallest/check.py", "sizes/0.5/weights/int8.onnx"} <= kept(killed).keys()
    assert rows(killed) == rows(shared)
    assert [(float(row["size"]), row["int8"]) for row in rows(killed)] == [(1, "0"), (1, "1"), (0.5, "0"), (0.5, "1")]
    summary = json.loads((killed / "compress.json").read_text())
    assert summary["smallest"] == 0.5
    assert (killed / "smallest" / "model.onnx").read_bytes() == (killed / "sizes/0.5/weights/int8.onnx").read_bytes()
    assert "## " not in (text := (killed / "compress.md").read_text())
    assert "The smallest INT8 file with a loss of at most 0.9 of top-1 is 0.5" in text
    assert '<h2 id="together">Sizes</h2>' in (killed / "report.html").read_text()
    assert (killed / "compress.png").is_file()


@pytest.mark.slow
def test_other_settings_and_other_networks_are_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "spec.cfg").write_text("")
    other = tao_lite(*words(folder, tmp_path), "--set", "train_config.n_epochs=3")
    assert other.returncode == 2
    assert f"{tmp_path}: holds a run with other settings" in other.stderr
    torch = tao_lite(*words(folder, tmp_path / "new"), "--set", "compress_config.runtime=TORCH")
    assert torch.returncode == 2
    assert "compress_config.runtime is TORCH, which computes no INT8; set ONNXRUNTIME or OPENVINO" in torch.stderr


def row(share: float, num_bytes: int, drop: float, milliseconds: float, *, is_int8: bool = True) -> Row:
    return Row(
        share=share,
        is_int8=is_int8,
        parameters=1,
        macs=1,
        bytes=num_bytes,
        value=1 - drop,
        drop=drop,
        milliseconds={1: milliseconds},
        shares_of_time={},
    )


FOUND = [
    row(1, 400, 0.0, 10, is_int8=False),
    row(1, 100, 0.001, 3),
    row(0.5, 50, 0.004, 2),
    row(0.3, 30, 0.02, 2.5),
    row(0.2, 20, 0.006, 1),
]


def test_the_smallest_is_the_int8_file_of_fewest_bytes_within_the_limits() -> None:
    def share(drop: float, milliseconds: float = 99) -> float | None:
        found = figures.smallest(FOUND, Limits(drop=drop, milliseconds=milliseconds))
        return found.share if found else None

    assert [share(0.005), share(0.006), share(0.001), share(0.0)] == [0.5, 0.2, 1, None]
    assert [share(0.005, 2.0), share(0.005, 1.9)] == [0.5, None]


def test_a_share_of_time_is_of_the_uncompressed_network_in_fp32() -> None:
    def limit(text: str) -> float:
        return Limits.of(pb.CompressConfig(target_latency=text), FOUND[0]).milliseconds

    assert [limit("0.2"), limit("2.5ms"), limit("")] == [2.0, 2.5, float("inf")]


def test_nothing_on_the_front_is_beaten_by_another() -> None:
    best = figures.front(FOUND, lambda one: one.milliseconds[1])
    assert [one.share for one in best] == [0.2, 0.5, 1, 1]
    assert all(one.drop > other.drop and one.milliseconds[1] < other.milliseconds[1] for one, other in pairwise(best))
