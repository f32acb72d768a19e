"""The whole flow by its command line, with real processes: train, evaluate, prune, retrain, and every way to stop."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tao_lite import checkpoint as checkpoints
from tests import commands
from tests.checkpoints import answering
from tests.conftest import process_of_rank

SPEC = """
model_config {
  arch: "resnet" n_layers: 10 use_batch_norm: true all_projections: true dropout: 0.1
  input_image_size: "3,32,32"
}
train_config {
  train_dataset_path: "%(data)s"
  optimizer { sgd { momentum: 0.9 } }
  batch_size_per_gpu: 8
  n_epochs: 4
  random_seed: 7
  preprocess_mode: "torch"
  enable_random_crop: true
  enable_color_augmentation: true
  mixup_alpha: 0.1
  label_smoothing: 0.05
  reg_config { type: "L2" scope: "Conv2D,Dense" weight_decay: 0.0001 }
  lr_config { cosine { learning_rate: 0.02 soft_start: 0.1 } }
  precision: FP32
}
dataset_config { val_split: 0.25 }
eval_config { top_k: 2 batch_size: 5 }
"""
TWO = ("--gpus", "0", "-np", "2")
AS_TAO = ("--set", "compat=TAO_EXACT")


@pytest.fixture(scope="session")
def spec(colours: Path) -> Path:
    path = colours.parent / f"{colours.name}.cfg"
    path.write_text(SPEC % {"data": colours})
    return path


@pytest.fixture(scope="session")
def trained(spec: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results folder of a run that nothing disturbed."""
    results = tmp_path_factory.mktemp("trained")
    finished = tao_lite("train", "-e", spec, "-r", results)
    assert finished.returncode == 0, finished.stderr
    return results


@pytest.fixture(scope="session")
def trained_by_two(spec: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same by two processes."""
    results = tmp_path_factory.mktemp("two")
    finished = tao_lite("train", "-e", spec, "-r", results, *TWO)
    assert finished.returncode == 0, finished.stderr
    return results


@pytest.fixture(scope="session")
def trained_as_tao(spec: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with the numbers of TAO's code."""
    results = tmp_path_factory.mktemp("tao")
    finished = tao_lite("train", "-e", spec, "-r", results, *AS_TAO)
    assert finished.returncode == 0, finished.stderr
    assert "compat is TAO_EXACT, which matters in 8 places" in finished.stderr
    assert "train_config.label_smoothing: CORRECTED smooths by 0.05; TAO_EXACT never smooths" in finished.stderr
    assert "not as in TAO: train_config.random_seed" in finished.stderr
    return results


def tao_lite(*arguments: object) -> subprocess.CompletedProcess[str]:
    return commands.run([str(argument) for argument in arguments], environment())


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "tao_lite.cli", *map(str, arguments)]


def environment() -> dict[str, str]:
    # One thread: a small network gains nothing from two, and the tests share the machine. No GPU: sums there come in
    # any order, so the same numbers twice are not to be had; test_gpu.py is for them.
    return {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def summary(results: Path, stage: str) -> dict[str, object]:
    content = json.loads((results / f"{stage}.json").read_text())
    assert isinstance(content, dict)
    return content


def final_weights(results: Path) -> dict[str, torch.Tensor]:
    return dict(checkpoints.load(results / "weights" / "resnet_004.pth").network)


def state(results: Path) -> dict[str, tuple[bytes, int]]:
    """Content and time of each file of a run; but the lock says who held the folder last."""
    files = (path for path in results.rglob("*") if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(results)): (path.read_bytes(), path.lstat().st_mtime_ns) for path in files}


def assert_same_weights(results: Path, others: Path) -> None:
    ours, theirs = final_weights(results), final_weights(others)
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name]), name


def test_what_is_saved_names_variables_and_not_their_values(
    spec: Path, colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FIELD.md C3: who is sent a checkpoint or curves doesn't learn what was in the environment."""
    hidden = tmp_path / "hidden-place"
    hidden.symlink_to(colours.parent)
    results, named = tmp_path / "results", tmp_path / "named.cfg"
    named.write_text(spec.read_text().replace(str(colours), f"${{SETS}}/{colours.name}"))
    monkeypatch.setenv("SETS", str(hidden))
    trained = tao_lite("train", "-e", named, "-r", results, "--set", "train_config.n_epochs=1")
    assert trained.returncode == 0, trained.stderr
    saved = [results / "spec.cfg", *results.glob("events/*"), *results.glob("weights/*.pth")]
    assert [path for path in saved if f"${{SETS}}/{colours.name}".encode() not in path.read_bytes()] == []
    assert [path for path in results.rglob("*") if path.is_file() and b"hidden-place" in path.read_bytes()] == []
    # The checkpoint's own spec still leads to the data.
    evaluated = tao_lite("evaluate", "-m", results / "weights" / "best.pth", "-r", results)
    assert evaluated.returncode == 0, evaluated.stderr


def test_training_leaves_the_files_it_promises(trained: Path) -> None:
    found = {str(path.relative_to(trained)) for path in trained.rglob("*") if path.is_file()}
    events = {name for name in found if name.startswith("events/")}
    best = (trained / "weights" / "best.pth").resolve().name
    assert len(events) == 1
    assert found - events == {
        *(".lock", "spec.cfg", "classmap.json", "training.csv", "status.json", "train.json"),
        *("weights/latest.pth", "weights/best.pth", "weights/resnet_004.pth", f"weights/{best}"),
    }
    assert json.loads((trained / "classmap.json").read_text()) == {"blue": 0, "green": 1, "red": 2}
    rows = list(csv.DictReader((trained / "training.csv").read_text().splitlines()))
    assert [row["epoch"] for row in rows] == ["1", "2", "3", "4"]
    result = summary(trained, "train")
    assert result["epochs"] == 4
    assert result["val_accuracy"] == max(float(row["val_acc"]) for row in rows)
    assert set(result) == {
        *(
            "epochs",
            "best_epoch",
            "best_metric",
            "val_accuracy",
            "val_loss",
            "train_loss",
            "images_per_second",
            "data_wait_fraction",
        ),
        *("peak_memory_bytes", "duration_seconds", "epoch_train_seconds", "energy_joules"),
        *("precision", "loss_scale", "overflows", "skipped_steps", "underflow_fraction", "threads"),
        *("num_parameters", "model_path", "left_out"),
    }
    assert result["precision"] == "FP32"


def test_colours_are_learnt(trained: Path) -> None:
    assert float(str(summary(trained, "train")["val_accuracy"])) >= 0.9


def test_the_same_command_after_the_end_trains_nothing_more(spec: Path, trained: Path) -> None:
    before = state(trained)
    finished = tao_lite("train", "-e", spec, "-r", trained)
    assert finished.returncode == 0, finished.stderr
    assert f"{trained} is trained already: 4 of 4 epochs are done" in finished.stdout
    assert f"validation top-1 {summary(trained, 'train')['val_accuracy']:.4f}" in finished.stdout
    assert state(trained) == before


def test_a_run_that_ended_before_its_summary_gets_it_from_the_same_command(
    spec: Path, trained: Path, tmp_path: Path
) -> None:
    """The one there is of the two epochs before, as after a kill between the last checkpoint and train.json."""
    results = tmp_path / "copy"
    shutil.copytree(trained, results, symlinks=True)
    whole = summary(results, "train")
    (results / "train.json").write_text(json.dumps({**whole, "epochs": 2, "duration_seconds": 1.0}))
    finished = tao_lite("train", "-e", spec, "-r", results)
    assert finished.returncode == 0, finished.stderr
    found = summary(results, "train")
    assert (found["epochs"], found["duration_seconds"]) == (4, whole["duration_seconds"])


@pytest.mark.slow
def test_a_run_that_went_back_ends_like_one_that_did_not(spec: Path, trained: Path, tmp_path: Path) -> None:
    keep = ("--set", "train_config.checkpoint.keep_last=4")
    assert tao_lite("train", "-e", spec, "-r", tmp_path, *keep).returncode == 0
    back = tao_lite("train", "-e", spec, "-r", tmp_path, *keep, "--init_epoch", "3")
    assert back.returncode == 0, back.stderr
    assert {path.name for path in (tmp_path / "weights" / "abandoned").iterdir()} == {
        "resnet_003.pth",
        "resnet_004.pth",
    }
    assert_same_weights(tmp_path, trained)
    assert (tmp_path / "training.csv").read_text() == (trained / "training.csv").read_text()


def wait_for(condition: str, path: Path, process: subprocess.Popen[str]) -> None:
    """Until the file holds the text, while the process lives."""
    while not (path.is_file() and condition in path.read_text()):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


@pytest.mark.slow
def test_a_run_goes_on_in_another_folder_from_a_checkpoint_of_its_own(
    spec: Path, trained: Path, tmp_path: Path
) -> None:
    kept, words = tmp_path / "kept", ("--set", "train_config.checkpoint.keep_last=4")
    assert tao_lite("train", "-e", spec, "-r", kept, *words).returncode == 0
    parent, there = kept / "weights" / "resnet_002.pth", tmp_path / "there"
    finished = tao_lite("train", "-e", spec, "-r", there, "--resume", parent, *words)
    assert finished.returncode == 0, finished.stderr
    assert f"Resumed from {parent}: 2 epochs" in finished.stderr
    for name, tensor in final_weights(trained).items():
        assert torch.equal(tensor, final_weights(there)[name]), name
    assert (there / "weights" / "resnet_002.pth").read_bytes() == parent.read_bytes()
    again = tao_lite("train", "-e", spec, "-r", there, "--resume", parent, *words, "--set", "train_config.n_epochs=5")
    assert f"Resumed from {there / 'weights' / 'resnet_004.pth'}" in again.stderr


def test_a_checkpoint_elsewhere_that_does_not_fit_is_refused_and_not_copied(
    spec: Path, trained: Path, tmp_path: Path
) -> None:
    bare = answering(tmp_path, 'arch: "resnet" n_layers: 10 use_batch_norm: true input_image_size: "3,32,32"', "torch")
    other = ("--set", "model_config.use_bias=true")
    for words, said in (
        (("--resume", bare), "is not what a training saved to go on from; give train_config.pretrained_model_path its"),
        (("--resume", trained / "weights" / "best.pth", *other), "holds a run with another network"),
        (("--resume", tmp_path / "none.pth"), "none.pth"),
        (("--resume", bare, "--fresh"), "--fresh begins anew: leave --init_epoch, --resume and --same_data out"),
    ):
        finished = tao_lite("train", "-e", spec, "-r", tmp_path / "results", *words)
        assert finished.returncode == 2
        assert said in finished.stderr
        assert not list((tmp_path / "results").glob("weights/*"))


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (signal.SIGKILL, -9),
        pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow),
        pytest.param(signal.SIGHUP, 143, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_a_run_that_was_stopped_ends_with_the_weights_of_one_that_was_not(
    spec: Path, trained: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    arguments = ("train", "-e", spec, "-r", tmp_path)
    with subprocess.Popen(
        command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    ) as process:
        wait_for('"epoch": 2', tmp_path / "status.json", process)
        time.sleep(0.15)
        process.send_signal(number)
        _, errors = process.communicate()
        assert process.returncode == code, errors
    if number != signal.SIGKILL:
        assert "the same command goes on there" in errors
        assert (tmp_path / "weights" / "interrupted.pth").is_file()
    resumed = tao_lite(*arguments)
    assert resumed.returncode == 0, resumed.stderr
    assert "Resumed from" in resumed.stderr
    assert_same_weights(tmp_path, trained)
    assert (tmp_path / "training.csv").read_text() == (trained / "training.csv").read_text()


@pytest.mark.slow
def test_a_damaged_newest_checkpoint_is_named_and_the_one_before_is_used(
    spec: Path, trained: Path, tmp_path: Path
) -> None:
    keep = "train_config.checkpoint.keep_last=4"
    assert tao_lite("train", "-e", spec, "-r", tmp_path, "--set", keep).returncode == 0
    newest = tmp_path / "weights" / "resnet_004.pth"
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    resumed = tao_lite("train", "-e", spec, "-r", tmp_path, "--set", keep)
    assert resumed.returncode == 0, resumed.stderr
    assert f"{newest}: is damaged" in resumed.stderr
    assert f"Resumed from {tmp_path / 'weights' / 'resnet_003.pth'}" in resumed.stderr
    assert_same_weights(tmp_path, trained)


def test_a_second_run_in_the_folder_is_refused_and_names_the_first(spec: Path, tmp_path: Path) -> None:
    # Long enough that the first still runs when the second has imported torch.
    arguments = ("train", "-e", spec, "-r", tmp_path, "--set", "train_config.n_epochs=400")
    with subprocess.Popen(command(*arguments), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as first:
        wait_for("process", tmp_path / ".lock", first)
        second = tao_lite(*arguments)
        first.kill()
    assert second.returncode == 2
    assert f"Error: {tmp_path}: in use by process {first.pid} on " in second.stderr
    assert "Traceback" not in second.stderr


def test_a_folder_of_another_experiment_is_refused(spec: Path, trained: Path) -> None:
    other = tao_lite("train", "-e", spec, "-r", trained, "--set", "model_config.n_layers=18")
    assert other.returncode == 2
    assert "holds a run with another network (model_config.n_layers: 10 -> 18)" in other.stderr


def test_a_run_on_other_classes_is_refused_before_it_writes(
    spec: Path, colours: Path, trained: Path, tmp_path: Path
) -> None:
    for name in ("green", "red"):
        (tmp_path / name).symlink_to(colours / name)
    before = state(trained)
    other = tao_lite("train", "-e", spec, "-r", trained, "--set", f"train_config.train_dataset_path={tmp_path}")
    assert other.returncode == 2
    assert "was trained on the classes blue, green, red; now they are green, red" in other.stderr
    assert state(trained) == before


def test_evaluation_counts_every_image_once(trained: Path) -> None:
    evaluated = tao_lite("evaluate", "-m", trained / "weights" / "best.pth")
    assert evaluated.returncode == 0, evaluated.stderr
    result = summary(trained, "evaluate")
    assert set(result) >= {"num_images", "top1", "top_k", "k", "loss", "per_class", "confusion_matrix", "class_names"}
    matrix = result["confusion_matrix"]
    assert isinstance(matrix, list)
    assert sum(map(sum, matrix)) == result["num_images"]
    assert result["top1"] == summary(trained, "train")["val_accuracy"]


@pytest.mark.slow
def test_a_package_is_evaluated_as_its_checkpoint_and_good_for_nothing_else(
    spec: Path, colours: Path, trained: Path, tmp_path: Path
) -> None:
    best, packed = trained / "weights" / "best.pth", tmp_path / "packed"
    exported = tao_lite("export", "-m", best, "-r", tmp_path, "--package", packed, "--for", "onnxruntime")
    assert exported.returncode == 0, exported.stderr
    found = {}
    for name, model in (("a", best), ("b", packed)):
        place = ("-m", model, "-r", tmp_path / name)
        evaluated = tao_lite("evaluate", "-e", spec, "-i", colours, *place)
        classified = tao_lite("inference", *place, "-d", colours, "--set", "train_config.precision=BF16")
        assert (evaluated.returncode, classified.returncode) == (0, 0), evaluated.stderr + classified.stderr
        # The checkpoint computes as the spec says, a package always in FP32.
        for one, precision in ((evaluated, "FP32"), (classified, "BF16" if model == best else "FP32")):
            by = "PyTorch" if model == best else "ONNX Runtime"
            assert f"Computed in {precision} by {by}" in one.stdout
            told = "An exported file, which computes in FP32, would answer 0 of 120 images otherwise" in one.stdout
            assert told == (precision == "BF16")
        rows = csv.reader((tmp_path / name / "result.csv").read_text().splitlines())
        found[name] = summary(tmp_path / name, "evaluate"), [row[:2] for row in rows]
    (ours, classes), (theirs, same_classes) = found.values()
    assert same_classes == classes
    assert len(classes) == 120
    for key in ("num_images", "top1", "top_k", "per_class", "confusion_matrix", "class_names", "left_out"):
        assert theirs[key] == ours[key], key
    assert theirs["loss"] == pytest.approx(ours["loss"], abs=1e-5)
    assert ours.keys() - theirs.keys() == {"model_sha256"}

    start = ("train", "-e", spec, "--set")
    only = "is a deployed network or a folder, which only evaluate and inference take; give the checkpoint (.pth)"
    for words, why in {
        ("evaluate", "-m", packed, "-e", spec, *TWO): "a deployed network runs in one process; leave -np out",
        ("prune", "-m", packed): only,
        ("export", "-m", packed): only,
        (*start, f"train_config.pretrained_model_path={packed}"): "is a folder",
        (*start, f"train_config.pretrained_model_path={packed / 'model.onnx'}"): "is an exported network, which can't",
    }.items():
        refused = tao_lite(*words, "-r", tmp_path / "c")
        assert refused.returncode == 2
        assert why in refused.stderr
        assert "Traceback" not in refused.stderr


def test_neighbours_among_the_training_images_tell_the_class(trained: Path, tmp_path: Path) -> None:
    model = trained / "weights" / "best.pth"
    finished = tao_lite("evaluate", "-m", model, "-r", tmp_path, "--knn", "3")
    assert finished.returncode == 0, finished.stderr
    found = summary(tmp_path, "evaluate")
    assert found["knn"] == 3
    assert float(str(found["knn_accuracy"])) > 0.9
    assert f"The 3 nearest of 92 training images are right in {found['knn_accuracy']:.2%}" in finished.stdout
    refused = tao_lite("evaluate", "-m", model, "-r", tmp_path, "--knn", "3", *TWO)
    assert refused.returncode == 2
    assert refused.stderr.count("--knn runs in one process") == 1


@pytest.mark.slow
def test_a_pruned_network_is_evaluated_pruned_again_and_retrained_on_other_classes(
    spec: Path, colours: Path, trained: Path, tmp_path: Path
) -> None:
    pruned, smaller = tmp_path / "pruned.pth", tmp_path / "smaller.pth"
    arguments = ("prune", "-m", trained / "weights" / "best.pth", "-r", tmp_path, "--target_ratio", "0.5")
    dry = tao_lite(*arguments, "--dry_run")
    assert dry.returncode == 0, dry.stderr
    assert list(tmp_path.iterdir()) == []
    assert tao_lite(*arguments, "-o", pruned).returncode == 0
    report = summary(tmp_path, "prune")
    assert 0.4 < float(str(report["pruning_ratio"])) <= 0.5
    assert pruned.stat().st_size < 0.3 * (trained / "weights" / "best.pth").stat().st_size  # no momentum either
    again = tao_lite("prune", "-m", pruned, "-r", tmp_path, "-o", smaller, "-pth", "0.5", "-pg", "4", "-nf", "4")
    assert again.returncode == 0, again.stderr
    assert int(str(summary(tmp_path, "prune")["num_parameters_before"])) == report["num_parameters"]
    assert tao_lite("evaluate", "-m", pruned, "-r", tmp_path / "not" / "there").returncode == 0

    two = tmp_path / "two"
    two.mkdir()
    for name in ("green", "red"):
        (two / name).symlink_to(colours / name)
    retrained = tao_lite(
        *("train", "-e", spec, "-r", tmp_path / "retrained"),
        *("--set", f"train_config.train_dataset_path={two}", "--set", f"train_config.pretrained_model_path={pruned}"),
    )
    assert retrained.returncode == 0, retrained.stderr
    assert "is a pruned network; its widths were kept" in retrained.stderr
    result = summary(tmp_path / "retrained", "train")
    assert float(str(result["val_accuracy"])) >= 0.9
    shapes = {name: tensor.shape for name, tensor in checkpoints.load(pruned).network.items()}
    for name, tensor in final_weights(tmp_path / "retrained").items():
        assert tensor.shape == (shapes[name] if not name.startswith("fc.") else (2, *shapes[name][1:])), name


def test_retraining_refuses_a_spec_with_another_structure(spec: Path, trained: Path, tmp_path: Path) -> None:
    pruned = tmp_path / "pruned.pth"
    assert (
        tao_lite("prune", "-m", trained / "weights" / "best.pth", "-o", pruned, "--target_ratio", "0.5").returncode == 0
    )
    other = tao_lite(
        *("train", "-e", spec, "-r", tmp_path / "r", "--set", f"train_config.pretrained_model_path={pruned}"),
        *("--set", "model_config.all_projections=false"),
    )
    assert other.returncode == 2
    assert f"model_config.all_projections is False, but the pruned network in {pruned} has True" in other.stderr


def test_an_exploding_run_stops_and_names_the_images_of_the_batch(spec: Path, colours: Path, tmp_path: Path) -> None:
    exploded = tao_lite(
        *("train", "-e", spec, "-r", tmp_path, "--set", "train_config.lr_config.cosine.learning_rate=1e30"),
    )
    assert exploded.returncode == 2
    assert "the loss is nan" in exploded.stderr or "the loss is inf" in exploded.stderr
    assert str(colours) in exploded.stderr
    assert not list(tmp_path.glob("weights/*"))


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["BF16", "FP16"])
def test_a_lower_precision_learns_as_much(spec: Path, trained: Path, tmp_path: Path, precision: str) -> None:
    finished = tao_lite("train", "-e", spec, "-r", tmp_path, "--set", f"train_config.precision={precision}")
    assert finished.returncode == 0, finished.stderr
    result, reference = (summary(results, "train") for results in (tmp_path, trained))
    assert result["precision"] == precision
    assert float(str(result["val_accuracy"])) >= float(str(reference["val_accuracy"])) - 0.05
    events = EventAccumulator(str(tmp_path / "events")).Reload()
    scales = [point.value for point in events.Scalars("amp/loss_scale")]
    assert len(scales) >= 4  # at least one for each epoch
    assert all(scale == 1 for scale in scales) if precision == "BF16" else max(scales) >= 1024
    assert {"amp/skipped_steps", "amp/overflows", "train/loss", "val/top1", "lr"} <= set(events.Tags()["scalars"])


@pytest.mark.slow
def test_two_processes_train_one_network(trained: Path, trained_by_two: Path) -> None:
    assert float(str(summary(trained_by_two, "train")["val_accuracy"])) >= 0.8
    assert len((trained_by_two / "training.csv").read_text().splitlines()) == 5
    done, alone = (
        checkpoints.load(results / "weights" / "latest.pth").training["progress"]["images"]
        for results in (trained_by_two, trained)
    )
    assert done == alone


PROGRAM = "import sys; from tao_lite.cli.main import main; words, sys.argv = sys.argv[1:], ['prog', 'a']; main(words)"
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "tao_lite.cli")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("start", "gpus"),
    [(("-c", PROGRAM), TWO), (TORCHRUN, TWO[:2])],
    ids=["main called by a program", "torchrun"],
)
def test_of_two_processes_one_says_what_it_does_and_both_what_is_wrong(
    trained: Path, colours: Path, tmp_path: Path, start: tuple[str, ...], gpus: tuple[str, ...]
) -> None:
    # An empty folder is worth a warning, needless options are worth a remark.
    data = tmp_path / "data"
    shutil.copytree(colours, data)
    (data / "empty").mkdir()
    given = ("-m", trained / "weights" / "best.pth", "-r", tmp_path, "-i", data, "-cm", "x.json", "-k", "key", "-v")
    words = [sys.executable, *start, "evaluate", *map(str, given), *gpus]
    finished = subprocess.run(words, capture_output=True, text=True, check=False, env=environment())
    assert finished.returncode == 0, finished.stderr
    assert summary(tmp_path, "evaluate")["num_images"] == 120
    remarks = re.findall(r"\[(?:INFO|DEBUG)\] (.+)|^(-cm .+)", finished.stderr, re.MULTILINE)
    assert len(set(remarks)) == len(remarks) >= 3, finished.stderr
    assert finished.stderr.count(f"[WARNING] {data}: took as no class, being without images: empty") == 2


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_signal_to_one_of_two_processes_stops_both_and_changes_no_number(
    spec: Path, trained_by_two: Path, tmp_path: Path, rank: int
) -> None:
    arguments = ("train", "-e", spec, "-r", tmp_path, *TWO)
    with subprocess.Popen(
        command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    ) as process:
        wait_for('"epoch": 1', tmp_path / "status.json", process)
        os.kill(process_of_rank(rank, tmp_path), signal.SIGTERM)
        _, errors = process.communicate()
    assert process.returncode != 0
    assert "Traceback" not in errors
    # Where they are agreed: at step 20, the second of six in epoch 4, or sooner on a busy machine.
    assert checkpoints.load(tmp_path / "weights" / "interrupted.pth").batch < 6
    resumed = tao_lite(*arguments)
    assert resumed.returncode == 0, resumed.stderr
    assert_same_weights(tmp_path, trained_by_two)
    assert (tmp_path / "training.csv").read_text() == (trained_by_two / "training.csv").read_text()


@pytest.mark.slow
def test_a_run_with_the_numbers_of_tao_goes_on_exactly_where_it_was_stopped(
    spec: Path, trained_as_tao: Path, tmp_path: Path
) -> None:
    arguments = ("train", "-e", spec, "-r", tmp_path, *AS_TAO)
    with subprocess.Popen(
        command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    ) as process:
        wait_for('"epoch": 2', tmp_path / "status.json", process)
        time.sleep(0.15)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate()
    assert process.returncode == 143, errors
    resumed = tao_lite(*arguments)
    assert resumed.returncode == 0, resumed.stderr
    assert_same_weights(tmp_path, trained_as_tao)
    assert (tmp_path / "training.csv").read_text() == (trained_as_tao / "training.csv").read_text()
    ours, theirs = (
        checkpoints.load(results / "weights" / "resnet_004.pth").training["optimizer"]["state"]
        for results in (tmp_path, trained_as_tao)
    )
    assert [set(memory) for memory in ours.values()] == [{"velocity"}] * len(theirs)
    assert all(torch.equal(ours[index]["velocity"], theirs[index]["velocity"]) for index in theirs)


@pytest.mark.slow
def test_the_loss_of_tao_holds_the_penalty_in_training_and_in_evaluation(
    spec: Path, trained_as_tao: Path, tmp_path: Path
) -> None:
    best = checkpoints.load(trained_as_tao / "weights" / "best.pth")
    arguments = ("evaluate", "-e", spec, "-m", trained_as_tao / "weights" / "best.pth", "-r", tmp_path)
    losses = []
    for options in (AS_TAO, ()):
        evaluated = tao_lite(*arguments, *options)
        assert evaluated.returncode == 0, evaluated.stderr
        losses.append(float(str(summary(tmp_path, "evaluate")["loss"])))
    kernels = [tensor for name, tensor in best.network.items() if tensor.ndim == 4 or name == "fc.weight"]
    penalty = 0.0001 * sum(kernel.double().square().sum().item() for kernel in kernels)
    assert losses[0] - losses[1] == pytest.approx(penalty, rel=1e-5)
    assert losses[0] == pytest.approx(best.metrics["val_loss"], rel=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "-e", "absent.cfg"), "Error: absent.cfg: no such file; check the path"),
        (("evaluate",), "Error: give a spec file with -e or a checkpoint with -m"),
        (("evaluate", "-m", "absent.pth"), "Error: absent.pth: no such file; give a checkpoint such as"),
        (("prune", "-m", "/dev/null"), "Error: /dev/null: is a device, not a regular file"),
        (("trian",), "No such command 'trian'"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_mistake_of_the_user_is_answered_with_exit_code_2(arguments: tuple[str, ...], message: str) -> None:
    answered = tao_lite(*arguments)
    assert answered.returncode == 2
    assert message in answered.stderr
    assert "Traceback" not in answered.stderr
