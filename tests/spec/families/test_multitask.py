"""multitask_classification: what its specs mean here, and that comments and places stay."""

import re
from pathlib import Path

import pytest

from tao_lite.schedule import make_schedule
from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec.load import Examined, examine, load_text
from tao_lite.spec.upgrade import upgraded
from tao_lite.stages import preflight

# In the form of the specification in TAO's user guide.
SPEC = """\
random_seed: 42
model_config {
  arch: "resnet"  # a small one
  n_layers: 10
  use_batch_norm: true
  freeze_blocks: 0
  freeze_blocks: 1
  input_image_size: "3,80,60"
}
training_config {
  batch_size_per_gpu: 16
  checkpoint_interval: 10
  num_epochs: 80
  # the rate
  learning_rate {
    soft_start_cosine_annealing_schedule {
      min_learning_rate: 8e-5
      max_learning_rate: 1e-2
      soft_start: 0.1
    }
  }
  regularizer { type: L1 weight: 9e-5 }
  optimizer { adam { epsilon: 1e-7 beta1: 0.9 beta2: 0.99 amsgrad: false } }
  pretrain_model_path: "weights/start.pth"
  use_multiprocessing: true
}
dataset_config {
  train_csv_path: "${PLACE}/train.csv"
  val_csv_path: "val.csv"
  image_directory_path: "images"
}
"""
PATH = Path("a.txt")


@pytest.fixture(autouse=True)
def place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLACE", "data")


def read(text: str, *overrides: str) -> Examined:
    return examine(text, PATH, stage="train", overrides=overrides, check=preflight.check)


def changed(old: str, new: str) -> str:
    assert SPEC.count(old) == 1
    return SPEC.replace(old, new)


def test_every_field_has_its_place_here() -> None:
    found = read(SPEC)
    assert found.lines(found.problems) == ()
    train, model, data = found.experiment.train_config, found.experiment.model_config, found.experiment.dataset_config
    assert found.family == "multitask_classification"
    assert data.format == pb.DatasetFormat.MULTITASK
    assert (train.train_dataset_path, train.val_dataset_path) == ("data/train.csv", "val.csv")
    assert (data.multitask.image_dir, train.pretrained_model_path) == ("images", "weights/start.pth")
    assert (train.random_seed, train.batch_size_per_gpu, train.n_epochs) == (42, 16, 80)
    assert (train.checkpoint.every_n_epochs, train.preprocess_mode) == (10, "caffe")
    assert (train.reg_config.type, list(model.freeze_blocks)) == ("L1", [0, 1])
    adam = train.optimizer.adam
    assert [round(value, 9) for value in (adam.beta_1, adam.beta_2, adam.epsilon)] == pytest.approx([0.9, 0.99, 1e-7])
    assert train.lr_config.cosine.min_lr_ratio == pytest.approx(8e-3)


def test_the_exponential_schedule_is_a_straight_line_in_the_logarithm() -> None:
    schedule = "soft_start_cosine_annealing_schedule {"
    text = changed(schedule, "soft_start_annealing_schedule { annealing: 0.5")
    rate = make_schedule(read(text).experiment.train_config.lr_config)
    # Halfway between two rates it is their geometric mean.
    assert [rate(progress) for progress in (0, 0.05, 0.1, 0.5, 0.75, 1)] == pytest.approx(
        [8e-5, (8e-5 * 1e-2) ** 0.5, 1e-2, 1e-2, (8e-5 * 1e-2) ** 0.5, 8e-5]
    )


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("min_learning_rate: 8e-5", "min_learning_rate: 8", "17:26: .*: found 8, must be above 0 and below"),
        ("type: L1", "type: L3", "22:23: .*regularizer.type: multitask_classification: found L3, must be one of"),
        (
            "num_epochs: 80",
            "num_epoch: 80",
            "13:3: training_config.num_epoch: .* did you mean training_config.num_epochs",
        ),
        ("num_epochs: 80", "num_epochs: many", "13:15: train_config.n_epochs: .*: found many"),
        ('val_csv_path: "val.csv"', 'train_csv_path: "b.csv"', "28:19: dataset_config.train_csv_path: .*found a list"),
        ("num_epochs: 80", "num_epochs: 0", "13:15: train_config.n_epochs: .*training_config.num_epochs: found 0"),
    ],
)
def test_mistakes_are_told_at_their_own_place(old: str, new: str, expected: str) -> None:
    found = read(changed(old, new))
    lines = [line.removeprefix(f"{PATH}:") for line in found.lines(found.problems)]
    assert lines
    assert any(re.match(expected, line) for line in lines), lines


def test_what_the_task_never_reads_is_said_to_be_dropped() -> None:
    texts = {one.path: one.text for one in read(SPEC).notes}
    said = texts["training_config.use_multiprocessing"]
    assert said == "multitask_classification: -> dropped: multitask_classification never reads it"


def test_the_command_line_may_use_the_words_of_both() -> None:
    found = read(SPEC, "training_config.num_epochs=3", "dataset_config.multitask.multi_label=tags")
    assert found.experiment.train_config.n_epochs == 3
    assert list(found.experiment.dataset_config.multitask.multi_label) == ["tags"]


def test_upgrading_keeps_meaning_and_comments() -> None:
    text, _ = upgraded(SPEC, PATH)
    assert 'arch: "resnet"  # a small one' in text
    assert "# the rate\n  lr_config {" in text
    before, after = (load_text(one, PATH, stage="train").experiment for one in (SPEC, text))
    assert before == after
