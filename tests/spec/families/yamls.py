"""Specs of other families, written for these tests, and how they are read."""

from collections.abc import Sequence
from pathlib import Path

from google.protobuf.message import Message

from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec.findings import Level
from tao_lite.spec.load import Examined, as_line, examine

TF2 = """\
results_dir: /out
# What is seen.
dataset:
  train_dataset_path: /data/birds/train
  val_dataset_path: ${dataset.train_dataset_path}/../val   # beside it
  preprocess_mode: tf
  num_classes: 5
  augmentation:
    enable_random_crop: False
    mixup_alpha: "0.2"
model:
  backbone: resnet_34
  input_width: 96
  input_height: 64
train:
  batch_size_per_gpu: 4
  num_epochs: 30
  optim_config: {optimizer: adam, beta_1: 0.8, decay: 0}
  lr_config:
    scheduler: soft_anneal
    learning_rate: 1e-3
    annealing_points: [0.5, 0.75]
  # The penalty.
  reg_config: {type: none, scope: [dense]}
evaluate:
  dataset_path: /data/birds/test
  checkpoint: best.pth
prune:
  checkpoint: best.pth
  threshold: 0.4
  granularity: 4
export:
  checkpoint: best.pth
  data_type: fp16
"""
PYT = """\
results_dir: ???
dataset:
  root_dir: /data/leaves
  batch_size: 16
  img_size: 64
  num_classes: 3
  augmentation:
    random_flip: {enable: true, hflip_probability: 0.5, vflip_probability: 0}
    random_rotate: {enable: false}
    random_color: {enable: false}
    random_erase: {enable: false}
    random_aug: {enable: false}
    with_scale_random_crop: {enable: false}
    with_random_crop: false
    with_random_blur: false
  train_dataset: {images_dir: "${dataset.root_dir}/train"}
  val_dataset: {images_dir: "${dataset.root_dir}/val"}
model:
  backbone: {type: convnextv2_atto}
  head: {topk: [1, 3], loss: {label_smooth_val: 0.1}}
train:
  num_epochs: 20
  seed: 7
  optim: {optim: sgd, lr: 0.01, momentum: 0.8, weight_decay: 0.001, policy: cosine, warmup_epochs: 2}
evaluate:
  checkpoint: ${results_dir}/train/best.pth
"""
OPENMMLAB = """\
dataset:
  data:
    samples_per_gpu: 12
    train:
      data_prefix: /data/shells/train
      classes: /data/shells/classes.txt
      pipeline:
        - {type: RandomResizedCrop, scale: 96}
        - {type: RandomFlip, prob: 0.5, direction: horizontal}
    val: {data_prefix: /data/shells/val}
    test: {data_prefix: /data/shells/test}
model:
  backbone: {type: edgenext_small}
  head: {topk: [1, 2]}
train:
  exp_config: {manual_seed: 11}
  train_config:
    runner: {max_epochs: 8}
    optimizer: {type: SGD, lr: 0.02, momentum: 0.9, weight_decay: 0.0001}
    lr_config: {policy: step, step: [4, 6], gamma: 0.5}
    optimizer_config: {grad_clip: {max_norm: 1.5}}
    custom_hooks:
      - {type: EMAHook, momentum: 0.01}
"""


def read(text: str, *overrides: str, stage: str | None = None, name: str = "a.yaml") -> Examined:
    """What is said of the text, and what it means."""
    return examine(text, Path(name), stage=stage, overrides=overrides)


def experiment(text: str, *overrides: str) -> pb.Experiment:
    """What a text means that has nothing wrong."""
    found = read(text, *overrides)
    assert found.lines(found.problems) == ()
    return found.experiment


def lines(found: Examined, *levels: Level) -> Sequence[str]:
    """What is said at these levels, without the file's name."""
    return [as_line(Path("a.yaml"), one).removeprefix("a.yaml:") for one in found.findings if one.level in levels]


def errors(text: str, *overrides: str, stage: str | None = None) -> Sequence[str]:
    """The errors of a text."""
    return lines(read(text, *overrides, stage=stage), Level.ERROR)


def numbers(message: Message, *names: str) -> list[float]:
    """Values of fields as they were written."""
    return [float(f"{getattr(message, name):.6g}") for name in names]
