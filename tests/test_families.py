"""Specs of TAO's newer tasks by the command line: trained, evaluated and pruned as they are, with TAO's overrides."""

import json
from pathlib import Path

import pytest

from tao_lite import checkpoint as checkpoints
from tests import commands
from tests.test_pipeline import environment

TF2 = """\
results_dir: ???
dataset:
  train_dataset_path: DATA
  preprocess_mode: torch
  augmentation: {enable_random_crop: True}
model: {backbone: resnet_10, input_width: 32, input_height: 32}
train:
  batch_size_per_gpu: 8
  num_epochs: 40
  optim_config: {optimizer: sgd, momentum: 0.9}
  lr_config: {scheduler: cosine, learning_rate: 0.02, soft_start: 0.1}
evaluate: {dataset_path: DATA, checkpoint: "${results_dir}/weights/best.pth", batch_size: 16}
prune: {checkpoint: "${results_dir}/weights/best.pth", threshold: 0.3}
"""
PYT = """\
dataset:
  root_dir: ROOT
  batch_size: 16
  img_size: 32
  train_dataset: {images_dir: "${dataset.root_dir}/colours"}
model: {backbone: {type: resnet_18}}
train:
  num_epochs: 1
  optim: {optim: adamw, lr: 0.001, policy: multistep, policy_params: {milestones: [20, 30]}}
"""


def tao_lite(*arguments: object) -> str:
    """What a command says that succeeds."""
    finished = commands.run([str(argument) for argument in arguments], environment())
    assert finished.returncode == 0, finished.stderr
    return finished.stdout + finished.stderr


@pytest.mark.slow
def test_a_tf2_file_of_several_stages_trains_evaluates_and_prunes(tmp_path: Path, colours: Path) -> None:
    spec, results = tmp_path / "a.yaml", tmp_path / "results"
    spec.write_text(TF2.replace("DATA", str(colours)))
    said = tao_lite("train", "-e", spec, "train.num_epochs=1", f"results_dir={results}")
    assert "a.yaml:1:1: classification_tf2 is the family of this file" in said
    assert "-r FOLDER" not in said
    assert len((results / "training.csv").read_text().splitlines()) == 2
    tao_lite("evaluate", "-e", spec, f"results_dir={results}", "evaluate.top_k=2")
    assert json.loads((results / "evaluate.json").read_text())["num_images"] > 0
    tao_lite("prune", "-e", spec, "-r", results, "--no_measure")
    assert (results / "weights" / "pruned.pth").is_file()


@pytest.mark.slow
def test_a_pyt_file_trains_with_the_classes_in_the_order_of_its_list(tmp_path: Path, colours: Path) -> None:
    (tmp_path / "colours").symlink_to(colours)
    (tmp_path / "classes.txt").write_text("red\nblue\ngreen\n")
    spec, upgraded = tmp_path / "a.yaml", tmp_path / "a.cfg"
    spec.write_text(PYT.replace("ROOT", str(tmp_path)))
    tao_lite("train", "-e", spec, "-r", tmp_path / "a", "dataset.batch_size=20")
    assert json.loads((tmp_path / "a" / "classmap.json").read_text()) == {"red": 0, "blue": 1, "green": 2}
    tao_lite("spec", "upgrade", spec, "-o", upgraded)
    assert "random_rotate" in upgraded.read_text()  # it is on there by default
    tao_lite("train", "-e", upgraded, "-r", tmp_path / "b", "train_config.batch_size_per_gpu=20")
    ours, theirs = (checkpoints.load(tmp_path / name / "weights" / "best.pth").network for name in "ab")
    assert all(ours[name].equal(tensor) for name, tensor in theirs.items())
