"""What a recipe is made of, beside what its parts' own tests say."""

from dataclasses import replace
from pathlib import Path

import torch

from tao_lite.machine import distributed
from tao_lite.run import Run
from tao_lite.spec.load import load_text
from tao_lite.stages.train import pretrained
from tao_lite.stages.train.train import train
from tao_lite.training import preparation
from tao_lite.training.loops import Recipe
from tao_lite.training.precision import Precision

SPEC = """
model_config { arch: "resnet" n_layers: 10 input_image_size: "3,16,16" }
train_config {
  train_dataset_path: "%s" preprocess_mode: "torch" batch_size_per_gpu: 16 n_epochs: 1 precision: FP32
  optimizer { sgd { momentum: 0.9 } } lr_config { cosine { learning_rate: 0.02 soft_start: 0.1 } } %s
}
"""


def made(colours: Path, run: Run, more: str) -> tuple[Recipe, torch.nn.Module]:
    """The recipe of the spec and its network."""
    experiment = load_text(SPEC % (colours, more), run.results / "more.cfg").experiment
    data, _ = preparation.loaders(experiment, run)
    network = pretrained.network(experiment, data.class_names)
    precision = Precision.of(experiment.train_config, run.device)
    return preparation.recipe(experiment, network, data, run, precision=precision), network


def test_a_teacher_that_compares_features_listens_to_the_network_and_not_to_its_average(
    colours: Path, tmp_path: Path
) -> None:
    taught = Run(results=tmp_path / "taught", world=distributed.start("cpu"))
    train(load_text(SPEC % (colours, ""), tmp_path / "s.cfg"), taught)
    distillation = f'distillation {{ teacher_path: "{taught.best}" feature_weight: 1 }}'
    recipe, network = made(colours, replace(taught, results=tmp_path), f"ema_decay: 0.9 {distillation}")
    assert recipe.average
    listened = [
        sum(len(layer._forward_pre_hooks) for layer in one.modules()) for one in (network, recipe.average.network)
    ]
    assert listened == [1, 0]


def test_without_augmentation_a_recipe_has_none(colours: Path, run: Run) -> None:
    flipped, plain = (made(colours, run, more)[0] for more in ("", "disable_horizontal_flip: true"))
    assert flipped.augment
    assert plain.augment is None
