"""Which family a file is said to be of, and what is refused."""

import pytest

from tests.spec.families.yamls import OPENMMLAB, PYT, TF2, errors, read

OURS = "model_config: {arch: resnet}\ntrain_config: {n_epochs: 3}\n"


@pytest.mark.parametrize(
    ("text", "family"),
    [
        (TF2, "classification_tf2"),
        (PYT, "classification_pyt"),
        (OPENMMLAB, "classification_pyt (OpenMMLab)"),
        (OURS, ""),
        ("", ""),
        ("model_confg: {arch: resnet}", ""),
        ("key: none\n" + OURS, "classification_tf2"),
        ("export: {checkpoint: a.pth, onnx_file: a.onnx}\nencryption_key: k", "classification_tf2"),
        ("prune: {checkpoint: a.pth}", "classification_tf2"),
        ("model: {backbone: {type: convnext_tiny}, head: {type: TAOLinearClsHead}}", "classification_pyt"),
        (
            "model: {backbone: {type: convnext_tiny}}\ndataset: {data: {train: {data_prefix: a}}}",
            "classification_pyt (OpenMMLab)",
        ),
    ],
)
def test_the_family_is_told_by_the_keys(text: str, family: str) -> None:
    assert read(text).family == family


def test_json_is_of_a_family_too() -> None:
    text = '{"model": {"backbone": "efficientnet-b1"}, "train": {"num_epochs": 4}}'
    found = read(text, name="a.json")
    assert found.family == "classification_tf2"
    assert found.experiment.model_config.arch == "efficientnet_b1"
    assert found.experiment.train_config.n_epochs == 4


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "dataset:\n  train_data_sources: [{image_dir: a}]\nmodel: {backbone: resnet_50}",
            "2:3: dataset.train_data_sources makes this a spec of an object detection task",
        ),
        (
            "model:\n  backbone: {type: fan}\n  decode_head: {a: 1}",
            "3:3: model.decode_head makes this a spec of segformer; only image",
        ),
        ("dataset: {train_tfrecords: [a]}", "1:11: dataset.train_tfrecords makes this a spec of efficientdet_tf2"),
        (
            "version: 3\nservices: {a: b}",
            "1:1: is no spec that can be read here: found version, services; known are ours",
        ),
        (
            "train:\n  optim: {lr: 1}\n  optim_config: {lr: 1}",
            "3:3: train.optim_config is classification_tf2's, but train.optim on line 2 is classification_pyt's; a",
        ),
        (
            OURS + "train:\n  qat: false",
            "4:3: train.qat is classification_tf2's, but model_config on line 1 is of our own form; a file",
        ),
        (
            "dataset:\n  root_dir: a\n  data: {train: {data_prefix: b}}",
            "3:3: dataset.data is classification_pyt (OpenMMLab)'s, but dataset.root_dir",
        ),
    ],
)
def test_what_is_not_read_here_is_named_with_its_place(text: str, expected: str) -> None:
    (error,) = errors(text)
    assert error.startswith(expected)


def test_text_format_of_another_task_is_named() -> None:
    found = read("bbox_rasterizer_config { }", name="a.cfg")
    (error,) = found.lines(found.problems)
    assert error.startswith("a.cfg:1:1: bbox_rasterizer_config makes this a spec of detectnet_v2; only image")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.cfg", "training_config { num_epochs: 3\n checkpoint_interval: 1 }"),
        ("a.cfg", 'dataset_config { train_csv_path: "a" }'),
        ("a.yaml", "training_config: {checkpoint_interval: 3}"),
        ("a.yaml", "dataset_config: {train_csv_path: a.csv}\nmodel_config: {arch: resnet}"),
    ],
)
def test_multitask_is_known_in_each_form(name: str, text: str) -> None:
    assert read(text, name=name).family == "multitask_classification"
