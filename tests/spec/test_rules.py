"""Warnings: settings that are allowed and do nothing, do harm, or do something else than in TAO."""

from pathlib import Path

import pytest

from tao_lite.spec.load import examine
from tao_lite.stages import preflight

NETWORK = 'arch: "resnet" input_image_size: "3,64,64" use_batch_norm: true'
TRAIN = """\
train_dataset_path: "data" optimizer { sgd { momentum: 0.9 } } batch_size_per_gpu: 8 n_epochs: 20
  preprocess_mode: "caffe" lr_config { cosine { learning_rate: 0.1 } }"""


def warnings(network: str = NETWORK, train: str = TRAIN, more: str = "", stage: str = "train") -> list[str]:
    """What is said of a spec: `line:column: field: text`. The network is on line 1, training from there on."""
    text = f"model_config {{ {network} }} train_config {{ {train}\n }}\n{more}"
    report = examine(text, Path("a.cfg"), stage=stage, check=preflight.check)
    assert report.lines(report.problems) == ()
    return [line.removeprefix("a.cfg:") for line in report.lines(report.warnings)]


def test_a_plain_spec_has_no_warning() -> None:
    assert warnings() == []


CROP = "ignores it without enable_random_crop"
CHOOSE = "set compat: CORRECTED or TAO_EXACT to choose"
NETWORK_WARNINGS = [
    (
        NETWORK.replace("use_batch_norm: true", ""),
        ["1:1: use_batch_norm: unset means no batch normalisation, as in TAO; most networks want use_batch_norm: true"],
    ),
    ('arch: "squeezenet" input_image_size: "3,64,64"', []),
    (
        NETWORK.replace("64,64", "80,60"),
        ["1:49: input_image_size: is read as height 80 and width 60, as TAO does, whose documentation writes 3,X,Y"],
    ),
    (
        f"{NETWORK} freeze_blocks: [0, 1] freeze_bn: true",
        [
            "1:96: freeze_blocks: freezes random weights: train_config.pretrained_model_path is not set",
            "1:113: freeze_bn: freezes random weights: train_config.pretrained_model_path is not set",
        ],
    ),
    (
        f'{NETWORK} byom_model: "a.tltb"',
        ["1:92: byom_model: has no effect: NVIDIA encrypts own-model files, so only TAO can read them"],
    ),
]


@pytest.mark.parametrize(("network", "expected"), NETWORK_WARNINGS, ids=[network for network, _ in NETWORK_WARNINGS])
def test_a_setting_of_the_network_is_told_of(network: str, expected: list[str]) -> None:
    assert [line.replace("model_config.", "") for line in warnings(network)] == expected


TRAIN_WARNINGS = [
    ("enable_color_augmentation: true", [f"takes effect here, but TAO {CROP}; {CHOOSE}"]),
    ("enable_color_augmentation: true enable_random_crop: true", []),
    ("label_smoothing: 0.1", [f"takes effect here, but TAO never applies it; {CHOOSE}"]),
    ("label_smoothing: 0", []),
    (
        'reg_config { type: "L2" scope: "Conv2D, Dense" weight_decay: 1e-5 }',
        [f"takes effect here, but TAO reads no word that has a blank beside it; {CHOOSE}"],
    ),
    (
        "mixup_alpha: 0.1",
        ["makes training accuracy read low, for it is measured on mixed images; go by validation accuracy"],
    ),
    (
        "cutmix_alpha: 1 mixup_alpha: 0.1",
        ["makes training accuracy read low, for it is measured on mixed images; go by validation accuracy"] * 2,
    ),
    ('reg_config { type: "None" weight_decay: 1e-5 }', ["has no effect: reg_config.type is None"]),
    ("early_stopping { patience: 20 }", ["has no effect: the run ends after 20 epochs, before it runs out"]),
    ("early_stopping { patience: 19 }", []),
    ("precision: BF16 loss_scale { }", ["has no effect: only precision FP16, O1, O2 and O3 scale the loss"]),
    ("visualizer { enabled: true weight_histograms: true }", []),
    ("linear_probe: true", ["freezes random weights: train_config.pretrained_model_path is not set"]),
    (
        'linear_probe: true pretrained_model_path: "x.pth" enable_random_crop: true layer_decay: 0.9',
        ["has no effect: linear_probe trains the head alone, on features computed once"] * 2,
    ),
    (
        'linear_probe: true pretrained_model_path: "x.pth" random_erasing: 0.1 rand_augment { }',
        ["has no effect: linear_probe trains the head alone, on features computed once"] * 2,
    ),
    (
        'linear_probe: true pretrained_model_path: "x.pth" distillation { teacher_path: "x.pth" }',
        ["has no effect: linear_probe trains on features, which a teacher can't read"],
    ),
    ('linear_probe: true pretrained_model_path: "x.pth" enable_random_crop: true unfreeze_at_epoch: 9', []),
    (
        'linear_probe: true pretrained_model_path: "x.pth" unfreeze_at_epoch: 21',
        ["has no effect: the run ends after 20 epochs"],
    ),
    ("random_crop { }", ["has no effect: enable_random_crop is off"]),
    ("random_crop { } enable_random_crop: true", []),
    ("hflip_probability: 0.2 disable_horizontal_flip: true", ["has no effect: disable_horizontal_flip is set"]),
    ("random_color { } enable_color_augmentation: true", ["has no effect: random_color takes its place"]),
    (
        'linear_probe: true pretrained_model_path: "x.pth" vflip_probability: 0.1 random_blur { }',
        ["has no effect: linear_probe trains the head alone, on features computed once"] * 2,
    ),
    ("unfreeze_at_epoch: 5", ["has no effect: no freeze_blocks, trained_blocks or linear_probe freezes anything"]),
    ("visualizer { wandb_config { reinit: true } }", ["has no effect: each training has a process of its own for it"]),
    (
        "model_parallelism: 0.5",
        ["has no effect: networks of this size need no model parallelism; --gpus trains data-parallel"],
    ),
]


@pytest.mark.parametrize(("setting", "expected"), TRAIN_WARNINGS, ids=[setting for setting, _ in TRAIN_WARNINGS])
def test_a_setting_of_training_is_told_of_at_its_line(setting: str, expected: list[str]) -> None:
    found = warnings(train=f"{TRAIN}\n{setting}")
    assert [line.split(": ", 2)[2] for line in found] == expected
    assert all(line.startswith("3:") for line in found)


REPLACED = [
    (
        "optimizer { sgd { momentum: 0.9 } }",
        "optimizer { rmsprop { lr: 0.1 } }",
        "1:150: train_config.optimizer.rmsprop.lr: has no effect: lr_config sets the learning rate, as in TAO",
    ),
    (
        'preprocess_mode: "caffe"',
        "",
        "1:82: train_config.preprocess_mode: unset means caffe, as in TLT before the field existed",
    ),
    (
        'preprocess_mode: "caffe"',
        (
            'preprocess_mode: "tf" image_mean { key: "r" value: 1 } image_mean { key: "g" value: 1 } '
            'image_mean { key: "b" value: 1 }'
        ),
        "2:25: train_config.image_mean: has no effect: preprocess_mode is tf, only caffe reads it",
    ),
    (
        "cosine { learning_rate: 0.1 }",
        "soft_anneal { learning_rate: 1e-4 soft_start: 0.1 annealing_divider: 2 }",
        (
            "2:86: train_config.lr_config.soft_anneal.soft_start: warms up downwards: it starts at 0.0003, as in TAO, "
            "which is above learning_rate"
        ),
    ),
]


@pytest.mark.parametrize(("good", "other", "expected"), REPLACED, ids=[expected for _, _, expected in REPLACED])
def test_another_setting_of_training_is_told_of(good: str, other: str, expected: str) -> None:
    assert good in TRAIN
    assert warnings(train=TRAIN.replace(good, other)) == [expected]


def test_a_spec_that_says_compat_is_not_told_what_tao_does() -> None:
    train = f"{TRAIN}\nenable_color_augmentation: true label_smoothing: 0.1"
    assert warnings(train=train, more="compat: CORRECTED") == []
    assert [line.split(": ", 2)[1:] for line in warnings(train=train, more="compat: TAO_EXACT")] == [
        ["train_config.enable_color_augmentation", f"has no effect: compat is TAO_EXACT, and TAO {CROP}"],
        ["train_config.label_smoothing", "has no effect: compat is TAO_EXACT, and TAO never applies it"],
    ]


def test_grey_images_have_no_colours_to_change() -> None:
    (warning,) = warnings(NETWORK.replace("3,64,64", "1,64,64"), f"{TRAIN}\nenable_color_augmentation: true")
    assert warning.endswith("enable_color_augmentation: has no effect: the images have one channel")


def test_settings_of_the_data_are_told_of() -> None:
    found = warnings(
        train=f'{TRAIN} val_dataset_path: "other"',
        more="dataset_config { val_split: 0.3 format: IMAGE_FOLDER kitti { } }",
    )
    assert [line.split(": ", 1)[1] for line in found] == [
        "dataset_config.val_split: has no effect: val_dataset_path is set",
        "dataset_config.kitti: has no effect: format is IMAGE_FOLDER",
    ]


@pytest.mark.parametrize("stage", ["evaluate", "prune", "export"])
def test_other_stages_are_not_told_of_what_only_training_reads(stage: str) -> None:
    network = NETWORK.replace("use_batch_norm: true", 'freeze_blocks: 0 byom_model: "a"').replace("64,64", "64,80")
    train = TRAIN.replace('preprocess_mode: "caffe"', "label_smoothing: 0.1 mixup_alpha: 1 model_parallelism: 1")
    assert warnings(network, train, stage=stage) == []
