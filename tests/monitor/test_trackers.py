"""Trackers: that they have what TensorBoard's file has, and that nothing that becomes of them touches a training."""

import json
import logging
import os
import struct
import subprocess
import sys
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tao_lite import checkpoint as checkpoints
from tao_lite.monitor import trackers
from tao_lite.monitor.monitor import Monitor
from tao_lite.monitor.trackers import Wish
from tao_lite.run import Run
from tests import commands
from tests.test_pipeline import environment

PACKAGES = ("wandb==0.31.0", "clearml==2.1.12", "mlflow-skinny==3.17.2")
SECRET = "0123456789abcdef" * 3
SPEC = """
model_config { arch: "resnet" n_layers: 10 use_batch_norm: true input_image_size: "3,16,16" }
train_config {
  train_dataset_path: "%s" batch_size_per_gpu: 4 n_epochs: 2 random_seed: 3 preprocess_mode: "torch" precision: FP32
  optimizer { sgd { } } lr_config { cosine { learning_rate: 0.1 } }
  %s
}
"""
ALL = (
    f'visualizer {{ wandb_config {{ enabled: true mode: OFFLINE key: "{SECRET}" }} '
    'clearml_config { project: "p" } mlflow_config { experiment_name: "e" } }'
)
Curves = dict[str, list[tuple[int, float]]]


def train(results: Path, colours: Path, more: str = "", **variables: str) -> str:
    """What a training says that ends well."""
    spec = results.with_suffix(".cfg")
    spec.write_text(SPEC % (colours, more))
    ran = commands.run(["train", "-e", str(spec), "-r", str(results)], {**environment(), **variables})
    assert ran.returncode == 0, ran.stderr
    assert "Traceback" not in ran.stderr
    return ran.stderr


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the trackers' libraries, without what is installed here anyway."""
    folder = tmp_path_factory.mktemp("libraries")
    pip = (sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check")
    report = folder / "report.json"
    found = subprocess.run(
        [*pip, "--dry-run", "--report", report, *PACKAGES], capture_output=True, text=True, check=False
    )
    if found.returncode:
        pytest.skip(f"the trackers' libraries can't be had: {found.stderr[-200:]}")
    metadata = [one["metadata"] for one in json.loads(report.read_text())["install"]]
    pinned = [f"{one['name']}=={one['version']}" for one in metadata]
    subprocess.run([*pip, "--no-deps", "--target", folder, *pinned], check=True, capture_output=True)
    return folder


def shown(results: Path) -> Curves:
    accumulator = EventAccumulator(str(results / "events"))
    accumulator.Reload()
    return {tag: [(one.step, one.value) for one in accumulator.Scalars(tag)] for tag in accumulator.Tags()["scalars"]}


def in_wandb(results: Path, libraries: Path) -> Curves:
    """Of W&B's own file: records of Protocol Buffers in LevelDB's log format."""
    program = (
        "import json, sys; from wandb.proto.wandb_internal_pb2 import Record\n"
        "for line in sys.stdin:\n"
        "    items = Record.FromString(bytes.fromhex(line)).history.item\n"
        "    print(json.dumps({one.key or '/'.join(one.nested_key): json.loads(one.value_json) for one in items}))"
    )
    (path,) = results.glob("wandb/offline*/*.wandb")
    hexadecimal = "\n".join(record.hex() for record in records(path.read_bytes()))
    ran = subprocess.run(
        [sys.executable, "-c", program],
        input=hexadecimal,
        env={**os.environ, "PYTHONPATH": str(libraries)},
        capture_output=True,
        text=True,
        check=True,
    )
    curves: Curves = defaultdict(list)
    for row in map(json.loads, ran.stdout.splitlines()):
        for tag, value in row.items():
            if isinstance(value, int | float) and tag != "step" and not tag.startswith("_") and "/_" not in tag:
                curves[tag].append((row["step"], value))
    return {tag: points for tag, points in curves.items() if tag.rpartition("/")[2] not in ("size", "width", "height")}


def records(data: bytes) -> Iterator[bytes]:
    at, whole = 7, b""
    while at + 7 <= len(data):
        left = 32768 - at % 32768
        if left < 7:
            at += left
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        part = data[at + 7 : at + 7 + length]
        whole, at = part if kind in (1, 2) else whole + part, at + 7 + length
        if kind in (1, 4):
            yield whole


def in_clearml(results: Path) -> Curves:
    (path,) = (results / "clearml" / "offline").glob("*.zip")
    curves: Curves = defaultdict(list)
    with zipfile.ZipFile(path) as archive:
        for one in (one for line in archive.read("metrics.jsonl").splitlines() for one in json.loads(line)):
            if one["type"] == "training_stats_scalar":
                tag = one["metric"] if one["metric"] == one["variant"] else f"{one['metric']}/{one['variant']}"
                curves[tag].append((one["iter"], one["value"]))
    return dict(curves)


def in_mlflow(results: Path) -> Curves:
    (folder,) = results.glob("mlruns/*/*/metrics")
    curves: Curves = {}
    for path in (path for path in folder.rglob("*") if path.is_file()):
        rows = [line.split() for line in path.read_text().splitlines()]
        curves[path.relative_to(folder).as_posix()] = [(int(step), float(value)) for _, value, step in rows]
    return curves


@pytest.mark.slow
def test_each_has_what_tensorboard_has_and_goes_on_in_its_run(colours: Path, libraries: Path, tmp_path: Path) -> None:
    results, own = tmp_path / "run", {"PYTHONPATH": str(libraries), "HOME": str(tmp_path), "CLEARML_OFFLINE_MODE": "1"}
    said = train(results, colours, ALL, **own)
    assert "given up" not in said
    expected = shown(results)
    assert len(expected) > 15
    found = {"wandb": in_wandb(results, libraries), "clearml": in_clearml(results), "mlflow": in_mlflow(results)}
    for name, curves in found.items():
        assert curves.keys() == expected.keys(), name
        for tag, points in expected.items():
            (steps, values), (expected_steps, expected_values) = (
                zip(*curves[tag], strict=True),
                zip(*points, strict=True),
            )
            assert steps == expected_steps, (name, tag)
            assert values == pytest.approx(expected_values, rel=1e-6), (name, tag)
    assert list(results.glob("wandb/offline*/files/media/images/val/confusion_matrix_*.png"))
    assert list(results.glob("mlruns/*/*/artifacts/val/confusion_matrix/*.png"))
    assert [path for path in tmp_path.rglob("*") if path.is_file() and SECRET in path.read_text(errors="replace")] == [
        tmp_path / "run.cfg"
    ]
    number = json.loads((results / "trackers.json").read_text())["mlflow"]
    train(results, colours, f"{ALL} checkpoint {{ init_epoch: 2 }}", **own)
    assert json.loads((results / "trackers.json").read_text())["mlflow"] == number
    assert len(list(results.glob("mlruns/*/*/metrics"))) == 1


@pytest.mark.slow
def test_a_tracker_that_is_not_installed_is_named_once_and_changes_nothing(colours: Path, tmp_path: Path) -> None:
    said = train(tmp_path / "told", colours, "visualizer { mlflow_config { } }")
    missing = (
        "mlflow was given up: No module named 'mlflow'; pip install 'tao-lite[mlflow]'; the training goes on without"
    )
    assert said.count(missing) == 1
    train(tmp_path / "plain", colours)
    one, other = (checkpoints.load(tmp_path / name / "weights" / "best.pth").network for name in ("told", "plain"))
    assert all(other[name].equal(tensor) for name, tensor in one.items())
    assert not (tmp_path / "plain" / "trackers.log").exists()


CLIENT = """
import time
class MlflowClient:
    def __init__(self, tracking_uri): self.uri = tracking_uri
    def get_experiment_by_name(self, name): return None
    def create_experiment(self, name): return "1"
    def create_run(self, *_, **__): return type("R", (), {"info": type("I", (), {"run_id": "7"})})
    def get_run(self, _): return type("R", (), {"data": type("D", (), {"params": {}})})
    def log_batch(self, *_, **__): %s
    def set_terminated(self, _): pass
"""


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a process finds MLflow; little patience."""
    package = tmp_path / "fake" / "mlflow"
    package.mkdir(parents=True)
    (package / "entities.py").write_text("Metric = Param = lambda *_: None\n")
    monkeypatch.setenv("PYTHONPATH", str(package.parent))
    monkeypatch.setattr(trackers, "PATIENCE", 2.0)
    return package / "__init__.py"


@pytest.mark.parametrize(
    ("does", "expected"),
    [
        ("time.sleep(600)", "trackers: not all was sent in 2 s, and the rest is given up; see "),
        ("raise ConnectionError('refused\\nmore')", "mlflow was given up: refused; the training goes on without it"),
        ("raise SystemExit(3)", "mlflow was given up: 3; the training goes on without it"),
        ("__import__('os').kill(__import__('os').getpid(), 9)", "trackers: ended by SIGKILL; see "),
    ],
)
def test_a_tracker_that_is_slow_or_dead_holds_nothing_up(
    run: Run, client: Path, caplog: pytest.LogCaptureFixture, does: str, expected: str
) -> None:
    client.write_text(CLIENT % does)
    caplog.set_level(logging.INFO)
    with run.hold(), Monitor(run, max_epochs=1, wish=Wish(trackers={"mlflow": {"tracking_uri": "x"}})) as monitor:
        for step in range(3):
            monitor.log(step, {"a/b": 1.0})
    warnings = [one.getMessage() for one in caplog.records if one.levelname == "WARNING"]
    assert [text[: len(expected)] for text in warnings] == [expected]
