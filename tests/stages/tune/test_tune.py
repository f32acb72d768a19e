"""A search by its command line, with real processes: shared, killed and gone on with, and no epoch trained twice."""

import csv
import json
import subprocess
import time
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tao_lite import checkpoint as checkpoints
from tests.test_pipeline import command, environment, tao_lite

pytest.importorskip("optuna", reason="needs the extra tune")

SPEC = """
model_config { arch: "timm/test_resnet" input_image_size: "3,32,32" }
dataset_config { val_split: 0.25 }
train_config {
  train_dataset_path: "%(data)s"
  optimizer { sgd { momentum: 0.9 } }
  batch_size_per_gpu: 8
  n_epochs: 4
  random_seed: 7
  preprocess_mode: "torch"
  lr_config { cosine { learning_rate: 0.01 soft_start: 0.1 } }  # the rate
  precision: FP32
  visualizer { enabled: false }
}
tune_config {
  parameter { field: "train_config.lr_config.cosine.learning_rate" log_range { min: 1e-4 max: 0.03 } }
  parameter { field: "train_config.label_smoothing" }
  sampler: RANDOM
  min_epochs: 1
  reduction_factor: 2
  trials: 4
}
"""
WITHOUT_BASELINE = ("--set", "tune_config.baseline=false")


def spec_of(data: Path, folder: Path, more: str = "") -> Path:
    path = folder / "spec.cfg"
    path.write_text(SPEC % {"data": data} + more)
    return path


def of_json(results: Path) -> dict[str, object]:
    content = json.loads((results / "tune.json").read_text())
    assert isinstance(content, dict)
    return content


def epochs_trained(results: Path) -> dict[str, list[int]]:
    """Of each trial the epochs of its training.csv: a second training of one would be a second row."""
    found = {}
    for path in sorted(results.glob("trial_*/training.csv")):
        with path.open(newline="") as file:
            found[path.parent.name] = [int(float(row["epoch"])) for row in csv.DictReader(file)]
    return found


@pytest.fixture(scope="module")
def shared(colours: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a search by two commands, one of which was killed in the middle of a trial."""
    folder = tmp_path_factory.mktemp("search")
    spec, results = spec_of(colours, folder), folder / "results"
    arguments = ("tune", "-e", spec, "-r", results, "--gpus", 0)
    with subprocess.Popen(
        command(*arguments), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment()
    ) as killed:
        while not (results / "trial_000" / "weights" / "latest.pth").exists():
            assert killed.poll() is None, killed.communicate()
            time.sleep(0.005)
        with subprocess.Popen(
            command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment()
        ) as other:
            # It has joined, and has a trial of its own, or waits for one.
            while not (results / "trial_001").exists():
                assert other.poll() is None, other.communicate()
                time.sleep(0.005)
            killed.kill()
            said, _ = other.communicate()
            assert other.returncode == 0, said
    return results


@pytest.mark.slow
def test_a_search_that_lost_a_process_ends_whole_and_trains_no_epoch_twice(shared: Path) -> None:
    summary, epochs = of_json(shared), epochs_trained(shared)
    trials = summary["every_trial"]
    assert isinstance(trials, list)
    assert [one["trial"] for one in trials] == [0, 1, 2, 3, 4]
    assert {one["state"] for one in trials} == {"complete", "stopped"}
    assert trials[0]["is_baseline"]
    for one in trials:
        assert epochs[f"trial_{one['trial']:03d}"] == list(range(1, one["epochs"] + 1))
    assert summary["epochs"] == sum(one["epochs"] for one in trials[1:])
    assert summary["epochs"] < summary["epochs_if_all_were_whole"] == 16  # type: ignore[operator]
    best = max((one for one in trials if one["state"] == "complete"), key=lambda one: one["values"]["val_accuracy"])
    assert summary["best"]["values"] == best["values"]  # type: ignore[index]


@pytest.mark.slow
def test_what_is_left_is_the_best_networks_the_curves_and_a_report(shared: Path) -> None:
    summary = of_json(shared)
    kept = {path.parent.name for path in shared.glob("trial_*/weights")}
    best = summary["best"]
    assert isinstance(best, dict)
    assert kept == {"trial_000", f"trial_{best['trial']:03d}"}
    events = EventAccumulator(str(shared / "trial_001" / "events")).Reload()
    assert "_hparams_/session_start_info" in events.PluginTagToContent("hparams")
    page = (shared / "report.html").read_text()
    assert page.count("<title>History</title>") == page.count("<title>Values</title>") == 1
    assert "All trials" in page
    with (shared / "tune.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 5


@pytest.mark.slow
def test_a_trial_that_paused_has_the_weights_of_one_that_did_not(colours: Path, tmp_path: Path) -> None:
    """The schedule is that of the full length: a promoted trial is as if it had been trained at once."""
    spec, results = spec_of(colours, tmp_path), tmp_path / "results"
    kept = (*WITHOUT_BASELINE, "--set", "tune_config.keep_checkpoints=true", "--trials", 2)
    done = tao_lite("tune", "-e", spec, "-r", results, "--gpus", 0, *kept)
    assert done.returncode == 0, done.stderr
    best = of_json(results)["best"]
    assert isinstance(best, dict)
    assert epochs_trained(results)[f"trial_{best['trial']:03d}"] == [1, 2, 3, 4]

    whole = tao_lite("train", "-e", results / "tuned.cfg", "-r", tmp_path / "whole", "--gpus", 0)
    assert whole.returncode == 0, whole.stderr
    paused, at_once = (
        checkpoints.load(folder / "weights" / "timm_test_resnet_004.pth").network
        for folder in (Path(best["results"]), tmp_path / "whole")
    )
    assert all(bool((paused[name] == at_once[name]).all()) for name in at_once)
    assert "soft_start: 0.1 } }  # the rate" in (results / "tuned.cfg").read_text()

    other = tao_lite("tune", "-e", spec, "-r", results, *kept, "--set", "train_config.n_epochs=5")
    assert other.returncode == 2
    assert f"{results}: holds a run with other settings (train_config.n_epochs: 4 -> 5)" in other.stderr


@pytest.mark.slow
def test_one_that_diverges_is_counted_and_never_the_best(colours: Path, tmp_path: Path) -> None:
    """A grid of three rates, the largest of which is past all bounds, in two processes; two objectives."""
    text = SPEC.replace("log_range { min: 1e-4 max: 0.03 }", "choice: [0.001, 0.01, 1e30]").replace("RANDOM", "GRID")
    text = text.replace('  parameter { field: "train_config.label_smoothing" }\n', "").replace(
        "n_epochs: 4", "n_epochs: 1"
    )
    spec, results = tmp_path / "spec.cfg", tmp_path / "results"
    spec.write_text(text % {"data": colours})
    two = ("--processes", 2, "--set", "tune_config.objective=[LOSS, BYTES]")
    done = tao_lite("tune", "-e", spec, "-r", results, "--gpus", 0, *two, *WITHOUT_BASELINE)
    assert done.returncode == 0, done.stderr
    summary = of_json(results)
    trials = summary["every_trial"]
    assert isinstance(trials, list)
    assert [one["state"] for one in trials] == ["complete", "complete", "diverged"]
    assert "lower the learning rate" in trials[2]["failure"]
    losses = [one["values"]["val_loss"] for one in trials[:2]]
    assert summary["best"]["values"]["val_loss"] == min(losses)  # type: ignore[index]
    # Both have as many bytes: the front is one trial.
    assert len(summary["front"]) == 1  # type: ignore[arg-type]
    assert (results / "worker_1.log").exists()
    assert "best_metric: LOSS" in (results / "tuned.cfg").read_text()

    alone = text.replace("[0.001, 0.01, 1e30]", "[1e30, 1e31]")
    spec.write_text(alone % {"data": colours})
    nothing = tao_lite("tune", "-e", spec, "-r", tmp_path / "none", "--gpus", 0, *WITHOUT_BASELINE)
    assert nothing.returncode == 2
    assert f"{tmp_path / 'none'}: no trial came to its end; the first that failed said: " in nothing.stderr
