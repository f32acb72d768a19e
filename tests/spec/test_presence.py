"""A field that is left out means what the schema says of it: to spec show, to spec diff, and to what is computed."""

import ast
import functools
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from google.protobuf.descriptor import Descriptor
from PIL import Image

from tao_lite import checkpoint as checkpoints
from tao_lite.checkpoint import Checkpoint
from tao_lite.data.pipeline import Pipeline
from tao_lite.data.preprocess import make_preprocess
from tao_lite.errors import TaoLiteError
from tao_lite.machine import distributed
from tao_lite.models import architectures
from tao_lite.run import Run
from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec import resolved, schema
from tao_lite.spec.bind import join
from tao_lite.spec.load import Spec, examine, load_text
from tao_lite.stages.prune import choice
from tao_lite.stages.prune.subject import load_subject
from tao_lite.stages.train import phases
from tao_lite.training import preparation
from tao_lite.training.interval import EpochStats, Interval
from tao_lite.training.loops import train_epoch
from tao_lite.training.precision import Precision

if TYPE_CHECKING:
    from google.protobuf.message import Message

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("a", "b")

# The least that trains; each field is then set to its default, beside what it is left out of.
PLAIN = """
model_config { arch: "resnet" n_layers: 10 use_batch_norm: true input_image_size: "3,16,16" }
train_config {
  train_dataset_path: "%s" batch_size_per_gpu: 4 n_epochs: 1 preprocess_mode: "torch" precision: FP32
  optimizer { sgd { } } lr_config { cosine { learning_rate: 0.1 } }
}
"""
# Everything is on; each field is then left out.
RICH = """
compat: CORRECTED
model_config {
  arch: "resnet" n_layers: 10 use_batch_norm: true input_image_size: "3,32,32" retain_head: true use_bias: true
  use_pooling: true freeze_bn: false freeze_blocks: 1 dropout: 0.3 resize_interpolation_method: BICUBIC
  batch_norm_config { momentum: 0.8 epsilon: 1e-4 }
}
train_config {
  train_dataset_path: "%s" batch_size_per_gpu: 4 n_epochs: 2 preprocess_mode: "caffe" precision: FP32 n_workers: 1
  optimizer { adamw { beta_1: 0.8 beta_2: 0.99 epsilon: 1e-7 weight_decay: 0.02 } } random_seed: 3
  lr_config { warmup: 0.1 soft_anneal { learning_rate: 0.01 soft_start: 0.2 annealing_divider: 2
    annealing_points: 0.6 } }
  reg_config { type: "L1" scope: "Conv2D" weight_decay: 0.001 } enable_random_crop: true label_smoothing: 0.1
  enable_center_crop: true enable_color_augmentation: true mixup_alpha: 0.2 disable_horizontal_flip: true
  image_mean { key: "r" value: 100 } image_mean { key: "g" value: 110 } image_mean { key: "b" value: 120 }
  visualizer { enabled: false num_images: 1 } loss_scale { init_scale: 8 } checkpoint { keep_last: 2 }
  gradient_accumulation_steps: 2 max_grad_norm: 0.5 early_stopping { patience: 1 min_delta: 0.1 } layer_decay: 0.9
  ema_decay: 0.5 class_weights { key: "a" value: 2 } class_weighting: BALANCED sampler: BALANCED cutmix_alpha: 0.5
  random_erasing: 0.5 rand_augment { num_operations: 1 magnitude: 5 } vflip_probability: 0.3
  random_blur { max_radius: 2 } random_rotate { rotate_probability: 0.9 angle_list: 180 } random_color { hue: 0.1 }
  random_crop { min_area: 0.5 } sync_batch_norm: true
}
dataset_config { val_split: 0.4 kitti { min_height_pixels: 3 square: true } sample { seed: 1 } cache: OFF }
eval_config { top_k: 2 enable_center_crop: false }
prune_config { normalizer: "L2" pruning_threshold: 0.2 }
"""
TRAINED = {
    "plain": PLAIN,
    "O3": PLAIN.replace("FP32", "O3"),
    # Its own dropout is 0.2 and its own momentum of batch norm 0.0003.
    "torchvision": PLAIN.replace('"resnet" n_layers: 10 use_batch_norm: true', '"torchvision/mnasnet0_5"'),
    "rich": RICH,
}
PRUNED = {
    f"prune by {how}": f"{PLAIN} prune_config {{ criterion: {how} min_num_filters: 1 }}"
    for how in ("MIN_WEIGHT", "TAYLOR target_ratio: 0.5", "TAYLOR")
}
# What is computed with, where it is not all of model_config and train_config, each field of which costs two steps.
COMPUTED = {
    "O3": ("train_config.precision", "train_config.loss_scale"),
    "torchvision": ("model_config",),
    **dict.fromkeys(PRUNED, ("prune_config",)),
}
Computed = Callable[[pb.Experiment], object]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 noisy pictures of two classes."""
    root, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for name in NAMES:
        (root / name).mkdir()
        for index in range(6):
            Image.fromarray(rng.integers(0, 256, (40, 36, 3), dtype=np.uint8)).save(root / name / f"{index}.png")
    return root


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Computed:
    """The weights after two batches of training, or the refusal; each spec is trained once."""
    run = Run(results=tmp_path_factory.mktemp("train"), world=distributed.start("cpu"))

    @functools.cache
    def compute(text: str) -> object:
        experiment = pb.Experiment.FromString(text.encode("latin-1"))
        torch.manual_seed(experiment.train_config.random_seed)
        batches, _ = preparation.loaders(experiment, run)
        network = architectures.build(experiment.model_config, len(NAMES))
        phases.apply(experiment, network, is_frozen=True)
        precision = Precision.of(experiment.train_config, run.device)
        recipe = preparation.recipe(experiment, network, batches, run, precision=precision)
        precision.store(network)
        interval = Interval(EpochStats(), precision)
        for _ in train_epoch(precision.cast(network), islice(batches.epoch(0), 2), recipe, interval, first_step=0):
            pass
        kept = recipe.average.network if recipe.average else network
        # The first and the last layer and all statistics: what changes anywhere comes through to them.
        weights = [tensor.tolist() for tensor in kept.state_dict().values() if tensor.numel() < 20_000]
        return weights, precision.numbers()["loss_scale"].item()

    return lambda experiment: compute(as_key(experiment))


@pytest.fixture(scope="module")
def pruned(tmp_path_factory: pytest.TempPathFactory) -> Computed:
    """What pruning leaves of each layer, or the refusal."""
    run = Run(results=tmp_path_factory.mktemp("prune"), world=distributed.start("cpu"))

    @functools.cache
    def compute(text: str) -> object:
        experiment = pb.Experiment.FromString(text.encode("latin-1"))
        if not run.best.exists():
            torch.manual_seed(0)
            network = architectures.build(experiment.model_config, len(NAMES))
            with torch.no_grad():
                for parameter in network.parameters():
                    parameter.add_(torch.rand_like(parameter) * parameter.abs().mean())
            found = Checkpoint(
                spec=str(experiment),
                class_names=NAMES,
                preprocess=Pipeline.of(experiment, make_preprocess(experiment), is_cropped=False).to_dict(),
                network=network.state_dict(),
                epoch=1,
            )
            checkpoints.save(run.best, found)
        try:
            return str(choice.choose(load_subject(Spec(experiment, Path("x.cfg")), run)).plan)
        except TaoLiteError as error:
            return str(error)

    return lambda experiment: compute(as_key(experiment))


@pytest.mark.slow
@pytest.mark.parametrize("name", [*TRAINED, *PRUNED])
def test_the_shown_spec_computes_the_same_whatever_field_is_left_out(
    name: str, images: Path, trained: Computed, pruned: Computed
) -> None:
    """FIELD.md A7."""
    compute, whole = (trained, TRAINED[name]) if name in TRAINED else (pruned, PRUNED[name])
    full = load_text(whole % images, Path("x.cfg"), stage=None).experiment
    for path in paths(schema.EXPERIMENT):
        spec = without(full, path)
        if not runs(spec) or (spec == full and path != "eval_config"):
            continue
        shown = load_text(resolved.text(spec, "train", str), Path("x.cfg"), stage=None).experiment
        assert resolved.differences(spec, shown) == [], path
        if is_computed_with(path, name):
            assert compute(shown) == compute(spec), path


@pytest.mark.parametrize(
    "name",
    [
        name if name == "prune by TAYLOR" else pytest.param(name, marks=pytest.mark.slow)
        for name in {**TRAINED, **PRUNED}
        if name != "rich"
    ],
)
def test_diff_sees_every_default_that_changes_results_by_standing_there(
    name: str, images: Path, trained: Computed, pruned: Computed
) -> None:
    """FIELD.md A7."""
    compute, whole = (trained, TRAINED[name]) if name in TRAINED else (pruned, PRUNED[name])
    spec = load_text(whole % images, Path("x.cfg"), stage=None).experiment
    before = compute(spec)
    for path in paths(schema.EXPERIMENT):
        changed = with_default(spec, path)
        if changed and runs(changed) and is_computed_with(path, name) and compute(changed) != before:
            assert resolved.differences(spec, changed), path


def test_who_asks_whether_a_field_is_there_asks_of_one_whose_rule_says_what_its_absence_means() -> None:
    """FIELD.md A7. Members of a oneof are so by nature; the files named ask to warn, convert or hide."""
    with_rule = {
        field.name
        for message in pb.DESCRIPTOR.message_types_by_name.values()
        for field in schema.fields(message).values()
        if schema.rule(field).unset or field.containing_oneof
    }
    asked = {
        (str(file.relative_to(ROOT / "tao_lite")), node.args[0].value)
        for file in sorted((ROOT / "tao_lite").rglob("*.py"))
        if "spec" not in file.relative_to(ROOT / "tao_lite").parts
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "HasField"
        if isinstance(node.args[0], ast.Constant)
    }
    assert {(file, name) for file, name in asked if name not in with_rule} == {
        ("compat.py", "epsilon"),
        ("compat.py", "momentum"),
        ("stages/export/card.py", "visualizer"),
        ("stages/preflight.py", "use_batch_norm"),
        ("stages/train/again.py", "checkpoint"),
    }
    assert ("data/augment/augment.py", "rand_augment") in asked


def as_key(experiment: pb.Experiment) -> str:
    return experiment.SerializeToString(deterministic=True).decode("latin-1")


def paths(message: Descriptor, prefix: str = "") -> Iterator[str]:
    """Every field of the schema, blocks and what they hold."""
    for name, field in schema.fields(message).items():
        path, block = join(prefix, name), schema.block_type(field)
        yield path
        if block and not field.is_repeated:
            yield from paths(block, path)


def without(full: pb.Experiment, path: str) -> pb.Experiment:
    spec = pb.Experiment()
    spec.CopyFrom(full)
    *blocks, name = path.split(".")
    block: Message = spec
    for one in blocks:
        if not block.HasField(one):
            return spec
        block = getattr(block, one)
    block.ClearField(name)
    return spec


def with_default(spec: pb.Experiment, path: str) -> pb.Experiment | None:
    """The spec with the field at its default, and the block around it; None where it is set, or there is none."""
    changed = pb.Experiment()
    changed.CopyFrom(spec)
    *blocks, name = path.split(".")
    block: Message = changed
    for one in blocks:
        block = getattr(block, one)
    field = schema.fields(block)[name]
    if field.is_repeated or schema.is_set(block, field) or field.containing_oneof:
        return None
    if field.message_type:
        getattr(block, name).SetInParent()
    else:
        setattr(block, name, getattr(block, name))
    return changed


def runs(spec: pb.Experiment) -> bool:
    return not examine(str(spec), Path("x.cfg"), stage="train").problems


def is_computed_with(path: str, name: str) -> bool:
    return path.startswith(COMPUTED.get(name, ("model_config", "train_config")))
