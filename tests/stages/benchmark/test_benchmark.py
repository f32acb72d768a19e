"""Benchmark: which settings are compared, what their trainings come to, and that none is done twice."""

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest
from PIL import Image

from tao_lite.errors import RunError, SpecError
from tao_lite.machine import distributed
from tao_lite.run import Run
from tao_lite.spec.load import load
from tao_lite.stages.benchmark import table
from tao_lite.stages.benchmark.benchmark import benchmark
from tao_lite.stages.benchmark.runs import Training
from tao_lite.stages.benchmark.settings import Setting, settings
from tao_lite.training.arithmetic import Hardware
from tests.test_pipeline import command, environment

OLD_CPU = Hardware("this CPU", "cpu")
CPU = Hardware("this CPU", "cpu", features=frozenset({"avx512_bf16"}))
GPU = Hardware("a GPU", "cuda", major=9)

SPEC = """
model_config { arch: "timm/test_resnet" input_image_size: "3,32,32" }
train_config {
  train_dataset_path: "%(data)s"
  optimizer { sgd { momentum: 0.9 } }
  batch_size_per_gpu: 8
  n_epochs: 3
  random_seed: 7
  preprocess_mode: "torch"
  lr_config { cosine { learning_rate: 0.05 soft_start: 0.1 } }
}
dataset_config { val_split: 0.25 }
"""


@pytest.mark.parametrize(
    ("precisions", "loss_scales", "hardware", "names"),
    [
        ([], [], OLD_CPU, ["FP32"]),
        ([], [], CPU, ["FP32", "BF16"]),
        ([], [], GPU, ["FP32", "TF32", "FP16", "BF16"]),
        (["bf16", "O2", "BF16"], [], GPU, ["BF16", "O2"]),
        (
            ["FP32", "FP16", "O1"],
            ["dynamic", "static:128", "NONE"],
            CPU,
            ["FP32", "FP16-dynamic", "FP16-static-128", "FP16-none", "O1-dynamic", "O1-static-128", "O1-none"],
        ),
    ],
)
def test_settings_are_precisions_with_the_loss_scalings_that_apply(
    precisions: list[str], loss_scales: list[str], hardware: Hardware, names: list[str]
) -> None:
    found, missing = settings(precisions, loss_scales, hardware)
    assert ([one.name for one in found], missing) == (names, {})


def test_a_setting_is_fields_of_the_spec() -> None:
    (one,), _ = settings(["FP16"], ["static:128"], CPU)
    assert one.overrides == (
        "train_config.precision=FP16",
        "train_config.loss_scale.mode=STATIC",
        "train_config.loss_scale.init_scale=128",
    )
    assert one.note == "emulated: this CPU has no FP16 of its own"


def test_what_the_hardware_lacks_is_named_with_the_reason() -> None:
    found, missing = settings(["FP32", "TF32"], [], CPU)
    assert [one.name for one in found] == ["FP32"]
    assert missing == {"TF32": "TF32 was asked for, but this CPU has none"}


@pytest.mark.parametrize(
    ("precisions", "loss_scales", "text"),
    [
        (
            ["FP8"],
            [],
            "--precisions: found 'FP8', must be of FP32, TF32, FP16, BF16, O0, O1, O2, O3, with commas between",
        ),
        (["AUTO"], [], "--precisions: found 'AUTO', must be"),
        (["TF32"], [], "--precisions: nothing can be run here: TF32 was asked for, but this CPU has none"),
        (["FP16"], ["fixed"], "--loss_scales: found 'fixed', must be of dynamic, dynamic:SCALE, static:SCALE and none"),
        (["FP16"], ["static:x"], "--loss_scales: found 'static:x', must be"),
        (["FP16"], ["none:8"], "--loss_scales: found 'none:8', must be"),
    ],
)
def test_what_cannot_be_compared_is_refused(precisions: list[str], loss_scales: list[str], text: str) -> None:
    with pytest.raises(SpecError) as caught:
        settings(precisions, loss_scales, CPU)
    assert str(caught.value).startswith(text)


def training(setting: str, repeat: int, seconds: list[float], top1: float, underflow: float = 0.25) -> Training:
    """A training of 100 images per epoch."""
    summary = {
        "val_accuracy": top1,
        "val_loss": 1 - top1,
        "epoch_train_seconds": seconds,
        "images_per_second": 100 * len(seconds) / sum(seconds),
        "peak_memory_bytes": 2_000_000,
        "energy_joules": None,
        "overflows": 3,
        "skipped_steps": 2,
        "underflow_fraction": underflow,
    }
    return Training(setting=setting, repeat=repeat, seed=41 + repeat, summary=summary)


TRAININGS = [
    training("FP32", 1, [9, 4, 2, 6], 0.5),
    training("FP32", 2, [9, 8, 8, 8], 0.7),
    training("FP32", 3, [1], 0.6),
    training("BF16", 1, [9, 2, 2, 2], 0.25),
    training("BF16", 2, [9, 1, 1, 1], 0.75),
    Training(setting="BF16", repeat=3, seed=44, failure="the loss is nan"),
]
SETTINGS = [Setting("FP32", ()), Setting("BF16", (), "emulated")]


def test_a_row_is_the_median_over_seeds_and_a_speed_up_that_of_pairs() -> None:
    """By hand: usual epochs, without the first, take 4, 8 and (there is no other) 1 s; then 2 and 1 s."""
    first, second = table.rows(SETTINGS, TRAININGS)
    assert (first["epoch_seconds"], first["images_per_second"]) == (4, pytest.approx(25))
    assert (first["top1"], first["top1_least"], first["top1_greatest"], first["speed_up"]) == (0.6, 0.5, 0.7, 1)
    assert (second["finished"], second["failed"]) == (2, 1)
    assert (second["epoch_seconds"], second["images_per_second"]) == (1.5, pytest.approx(75))
    assert second["speed_up"] == 5  # of 4 / 2 and 8 / 1
    assert (second["overflows"], second["skipped_steps"], second["underflow_fraction"]) == (3, 2, 0.25)


def test_without_fp32_there_is_no_speed_up_and_without_nvml_no_energy() -> None:
    rows = table.rows(SETTINGS[1:], TRAININGS)
    heads, cells = table.shown(rows)
    assert heads == [
        *("setting", "top-1", "loss", "s per epoch", "images/s"),
        *("memory MB", "overflows", "skipped steps", "underflow"),
    ]
    assert cells == [["BF16", "50.0 % (25.0 to 75.0), 1 failed", "0.5000", "1.50", "75.0", "2", "3", "2", "25.0 %"]]


def test_a_setting_that_never_ends_is_a_row_too() -> None:
    _, cells = table.shown(table.rows(SETTINGS[1:], TRAININGS[5:]))
    assert cells == [["BF16", "failed"]]


@pytest.fixture(scope="module")
def spec(colours: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("benchmark") / "spec.cfg"
    path.write_text(SPEC % {"data": colours})
    return path


def run_in(results: Path) -> Run:
    return Run(results=results, world=distributed.start("cpu"))


@pytest.mark.slow
def test_a_benchmark_that_was_stopped_goes_on_and_repeats_nothing(spec: Path, tmp_path: Path) -> None:
    results, first = tmp_path / "results", tmp_path / "results" / "benchmark" / "FP32" / "1"
    arguments = ("benchmark", "-e", spec, "-r", results, "--precisions", "FP32,TF32,BF16", "--gpus", "0")
    with subprocess.Popen(
        command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    ) as process:
        while not ((first / "status.json").is_file() and '"epoch": 1' in (first / "status.json").read_text()):
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate()
        assert process.returncode == 130, errors
    assert f"stopped in {first}; the same command goes on there" in errors
    assert not (first / "train.json").exists()

    summary = benchmark(load(spec), run_in(results), ["FP32", "TF32", "BF16"], [], 1)
    assert "Resumed from" in (first / "log.txt").read_text()
    assert summary == json.loads((results / "benchmark.json").read_text())
    trainings = summary["trainings"]
    assert isinstance(trainings, list)
    assert [(one["setting"], one["seed"], len(one["curve"])) for one in trainings] == [("FP32", 7, 3), ("BF16", 7, 3)]
    assert [one["summary"]["precision"] for one in trainings] == ["FP32", "BF16"]
    text = (results / "benchmark.md").read_text()
    assert "| FP32 | " in text
    assert "* TF32 is not available: TF32 was asked for" in text
    assert (results / "benchmark.csv").read_text().count("\n") == 3
    for name in ("benchmark_curves", "benchmark_bars"):
        assert f"({name}.svg)" in text
        assert "</svg>" in (results / f"{name}.svg").read_text()
        with Image.open(results / f"{name}.png") as picture:
            assert picture.width > 2 * picture.height > 0

    logs = {path: path.stat().st_mtime_ns for path in results.glob("benchmark/*/*/log.txt")}
    assert len(logs) == 2
    assert benchmark(load(spec), run_in(results), ["BF16", "FP32"], [], 1)["repeats"] == 1
    assert {path: path.stat().st_mtime_ns for path in logs} == logs


@pytest.mark.slow
def test_a_benchmark_whose_trainings_all_fail_says_why(spec: Path, tmp_path: Path) -> None:
    failing = load(spec, overrides=["train_config.lr_config.cosine.learning_rate=1e30"])
    with pytest.raises(RunError, match=r"no training came to its end; the first said: the loss is (nan|inf)"):
        benchmark(failing, run_in(tmp_path), ["FP32"], [], 1)


def test_a_folder_with_a_benchmark_of_another_spec_is_refused(spec: Path, tmp_path: Path) -> None:
    run = run_in(tmp_path)
    run.benchmark_spec.parent.mkdir()
    run.benchmark_spec.write_text("# From spec.cfg\ncompat: TAO_EXACT\n")
    with pytest.raises(RunError, match="holds a benchmark of another spec; choose another folder with -r"):
        benchmark(load(spec), run, ["FP32"], [], 1)
