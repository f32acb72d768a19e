"""What a training shows in TensorBoard: read back from the files, and from a real TensorBoard by HTTP."""

import gzip
import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tao_lite.machine import distributed
from tao_lite.run import Run
from tao_lite.spec.load import load_text
from tao_lite.stages.train.train import train

SPEC = """
model_config { arch: "squeezenet" input_image_size: "3,32,32" }
train_config {
  train_dataset_path: "%(data)s"
  optimizer { sgd { momentum: 0.9 } }
  batch_size_per_gpu: 8
  n_epochs: 2
  random_seed: 7
  preprocess_mode: "torch"
  lr_config { cosine { learning_rate: 0.001 } }
  precision: FP32
  checkpoint { keep_last: 2 }
  visualizer { weight_histograms: true profile_steps: 2 num_images: 5 }
}
dataset_config { val_split: 0.25 }
eval_config { top_k: 2 }
"""
CLASSES = ("blue", "green", "red")
STEPS_PER_EPOCH = 12  # 92 images in batches of 8

EPOCH_TAGS = {
    *("train/loss", "train/top1", "val/loss", "val/top1", "val/top_k", "lr", "val/recall", "val/f1"),
    "val/calibration_error",
    *(f"{scores}/{name}" for scores in ("val_recall", "val_f1") for name in CLASSES),
}
STEP_TAGS = {
    *("batch/loss", "batch/top1", "amp/loss_scale", "amp/skipped_steps", "amp/overflows", "amp/underflow_fraction"),
    *("norm/gradient", "norm/weights", "system/images_per_second", "system/data_wait_fraction"),
    *("system/memory_bytes", "system/eta_seconds"),
}
SCALARS = EPOCH_TAGS | STEP_TAGS | {"best/top1", "best/loss"}
PICTURES = {"train/images", "val/confusion_matrix", "val/reliability", "val/worst", "val/most_confident_wrong"}
CURVES = {f"val_pr/{name}" for name in CLASSES}


def run_in(results: Path, data: Path, *overrides: str) -> Run:
    """A training on the CPU."""
    run = Run(results=results, world=distributed.start("cpu"))
    train(load_text(SPEC % {"data": data}, results / "spec.cfg", overrides=overrides), run)
    return run


@pytest.fixture(scope="module")
def trained(colours: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_in(tmp_path_factory.mktemp("trained"), colours)


def read(run: Run) -> EventAccumulator:
    return EventAccumulator(str(run.events)).Reload()


def test_every_curve_has_its_tag_and_its_steps_are_those_of_the_optimizer(trained: Run) -> None:
    events = read(trained)
    assert set(events.Tags()["scalars"]) == SCALARS
    for tag in EPOCH_TAGS:
        assert [point.step for point in events.Scalars(tag)] == [STEPS_PER_EPOCH, 2 * STEPS_PER_EPOCH], tag
    for tag in STEP_TAGS:
        assert events.Scalars(tag)[-1].step == 2 * STEPS_PER_EPOCH, tag
    best = json.loads(trained.summary("train").read_text())
    assert events.Scalars("best/top1")[0].value == pytest.approx(best["val_accuracy"])


def test_the_numbers_of_the_last_step_are_those_of_the_run(trained: Run) -> None:
    events = read(trained)
    last = {tag: events.Scalars(tag)[-1].value for tag in STEP_TAGS}
    network = torch.load(trained.checkpoint("squeezenet", 2), weights_only=True)["network"]
    # SqueezeNet has no batch norm, so that all it keeps are weights.
    norm = sum(weights.double().square().sum().item() for weights in network.values()) ** 0.5
    assert last["norm/weights"] == pytest.approx(norm, rel=1e-5)
    assert last["system/eta_seconds"] == 0
    assert 0 <= last["system/data_wait_fraction"] <= 1
    assert 1e8 < last["system/memory_bytes"] < 1e11


def test_pictures_curves_graph_text_and_histograms_are_there(trained: Run) -> None:
    tags = read(trained).Tags()
    assert set(tags["images"]) == PICTURES
    assert set(tags["tensors"]) == CURVES | {"spec/text_summary"}
    assert tags["graph"]
    kinds = {tag.partition("/")[0] for tag in tags["histograms"]}
    assert kinds == {"weights", "gradients"}
    names = [{tag.partition("/")[2] for tag in tags["histograms"] if tag.startswith(kind)} for kind in kinds]
    assert names[0] == names[1]


def test_the_trace_holds_as_many_steps_as_the_spec_says(trained: Run) -> None:
    (trace,) = trained.traces.glob("*/*.pt.trace.json.gz")
    names = [event.get("name", "") for event in json.loads(gzip.decompress(trace.read_bytes()))["traceEvents"]]
    assert len({name for name in names if name.startswith("ProfilerStep#")}) == 2
    assert "aten::conv2d" in names


def test_a_resumed_run_shows_the_same_curves_and_traces_no_second_time(
    trained: Run, colours: Path, tmp_path: Path
) -> None:
    shutil.copytree(trained.results, tmp_path / "resumed", symlinks=True)
    resumed = Run(results=tmp_path / "resumed", world=trained.world)
    for path in (resumed.latest, resumed.best, resumed.checkpoint("squeezenet", 2)):
        path.unlink(missing_ok=True)
    run_in(resumed.results, colours)
    ours, theirs = read(resumed), read(trained)
    for tag in EPOCH_TAGS:
        points = [[(point.step, point.value) for point in events.Scalars(tag)] for events in (ours, theirs)]
        assert points[0] == points[1], tag
    assert len(list(resumed.events.glob("events.*"))) == 2
    assert len(list(resumed.traces.iterdir())) == 1


def test_without_the_visualizer_there_are_curves_only(colours: Path, tmp_path: Path) -> None:
    off = [f"train_config.visualizer.{setting}" for setting in ("enabled=false", "weight_histograms=false")]
    tags = read(run_in(tmp_path, colours, *off, "train_config.n_epochs=1")).Tags()
    assert set(tags["scalars"]) == SCALARS - {"val/calibration_error"}
    assert (tags["images"], tags["histograms"], tags["graph"]) == ([], [], False)
    assert tags["tensors"] == ["spec/text_summary"]


@pytest.fixture
def address(trained: Run) -> Iterator[str]:
    """Of a TensorBoard that shows the run."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(trained.events), "--port", str(port)]
    with subprocess.Popen([*command, "--host", "127.0.0.1"], stderr=subprocess.DEVNULL) as server:
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


def answer(address: str, path: str, **query: str) -> Any:
    """What TensorBoard answers, read as JSON; waits until it has read the run."""
    url = f"{address}/data/{path}?{urllib.parse.urlencode(query)}"
    deadline = time.monotonic() + 30
    while True:
        try:
            with urllib.request.urlopen(url, timeout=30) as reply:  # noqa: S310 - our own server
                if found := json.loads(reply.read()):
                    return found
        except urllib.error.HTTPError:
            raise
        except OSError:
            pass
        assert time.monotonic() < deadline, url
        time.sleep(0.2)


def test_tensorboard_serves_everything_by_http(address: str, trained: Run) -> None:
    def of(plugin: str, what: str, **query: str) -> Any:
        return answer(address, f"plugin/{plugin}/{what}", **query)

    assert answer(address, "runs") == ["."]
    assert set(of("scalars", "tags")["."]) == SCALARS
    points = of("scalars", "scalars", run=".", tag="val/top1")
    assert [step for _, step, _ in points] == [STEPS_PER_EPOCH, 2 * STEPS_PER_EPOCH]
    assert set(of("images", "tags")["."]) == PICTURES
    assert set(of("pr_curves", "tags")["."]) == CURVES
    curves = of("pr_curves", "pr_curves", run=".", tag="val_pr/red")["."]
    assert [curve["step"] for curve in curves] == [STEPS_PER_EPOCH, 2 * STEPS_PER_EPOCH]
    assert 0 < max(curves[-1]["precision"]) <= 1
    assert of("text", "tags") == {".": ["spec/text_summary"]}
    assert "squeezenet" in of("text", "text", run=".", tag="spec/text_summary")[0]["text"]
    assert {tag.partition("/")[0] for tag in of("histograms", "tags")["."]} == {"weights", "gradients"}
    assert of("graphs", "info")["."]["run_graph"]
    request = json.dumps({"allowedStatuses": ["STATUS_SUCCESS"], "sliceSize": 9})
    (group,) = of("hparams", "session_groups", request=request)["sessionGroups"]
    assert group["hparams"]["train_config.n_epochs"] == 2
    assert group["hparams"]["model_config.arch"] == "squeezenet"
    metrics = {metric["name"]["tag"]: metric["value"] for metric in group["metricValues"]}
    assert metrics["best/top1"] == pytest.approx(json.loads(trained.summary("train").read_text())["val_accuracy"])
