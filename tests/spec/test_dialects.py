"""Old spellings: what each becomes, what is said of it, and what stays to be refused.

The fixtures show the oddities of NVIDIA's user guides (TLT 2.0 to TAO 4.0) and of public spec files; expected values
are what the guide of the old version says, in the words of TAO 5's schema.
"""

import re
from pathlib import Path

import pytest

from tao_lite.errors import SpecError
from tao_lite.spec.dialects import convert
from tao_lite.spec.findings import Place
from tao_lite.spec.load import Spec, load, load_text
from tao_lite.spec.text.syntax import Field, Scalar, parse
from tests.conftest import ROOT

GOOD = """\
model_config { arch: "resnet" input_image_size: "3,64,64" use_batch_norm: true }
train_config {
  train_dataset_path: "data"
  preprocess_mode: "torch"
  batch_size_per_gpu: 8
  n_epochs: 2
  optimizer { sgd { momentum: 0.9 } }
  lr_config { step { learning_rate: 0.1 step_size: 30 gamma: 0.5 } }
}
"""
SGD = "optimizer { sgd { momentum: 0.9 } }"
STEP = "lr_config { step { learning_rate: 0.1 step_size: 30 gamma: 0.5 } }"
NETWORK = "use_batch_norm: true"
TRAIN = "n_epochs: 2"


def read(text: str) -> Spec:
    return load_text(text, Path("a.cfg"))


def refusal(text: str) -> list[str]:
    with pytest.raises(SpecError) as caught:
        read(text)
    return str(caught.value).replace("a.cfg:", "").splitlines()


# Where it stands in GOOD, the old spelling, the same in today's, and the notes.
OLD = [
    (SGD, 'optimizer: "sgd"', SGD, ['7:14: optimizer: optimizer: "sgd" -> optimizer { sgd { momentum: 0.9 } }']),
    (SGD, "optimizer: SGD", SGD, ["7:14: optimizer: optimizer: SGD -> optimizer { sgd { momentum: 0.9 } }"]),
    (
        SGD,
        "optimizer: 'Adam'",
        "optimizer { adam { beta_1: 0.9 beta_2: 0.999 epsilon: 1e-8 } }",
        ['7:14: optimizer: optimizer: "Adam" -> optimizer { adam { beta_1: 0.9 beta_2: 0.999 epsilon: 1e-8 } }'],
    ),
    (
        SGD,
        'optimizer: "rmsprop"',
        "optimizer { rmsprop { rho: 0.9 epsilon: 1e-7 } }",
        ['7:14: optimizer: optimizer: "rmsprop" -> optimizer { rmsprop { rho: 0.9 epsilon: 1e-7 } }'],
    ),
    (
        SGD,
        "optimizer { sgd { learning_rate: 1 momentum: 0.9 } }",
        "optimizer { sgd { lr: 1 momentum: 0.9 } }",
        ["7:21: optimizer.sgd.learning_rate: learning_rate -> lr"],
    ),
    (
        STEP,
        'lr_config { scheduler: "step" learning_rate: 0.1 step_size: 30 gamma: 0.5 }',
        STEP,
        ['8:26: lr_config.scheduler: scheduler: "step" -> step { learning_rate: ... step_size: ... gamma: ... }'],
    ),
    (
        STEP,
        "lr_config { learning_rate: 0.1 step_size: 30 gamma: 0.5 scheduler: Step }",
        STEP,
        ["8:70: lr_config.scheduler: scheduler: Step -> step { learning_rate: ... step_size: ... gamma: ... }"],
    ),
    (
        STEP,
        (
            'lr_config { scheduler: "soft_anneal" learning_rate: 0.1 soft_start: 0.1 annealing_points: '
            '"0.3, 0.6, 0.8"\nannealing_divider: 10 gamma: 0.1 }'
        ),
        (
            "lr_config { soft_anneal { learning_rate: 0.1 soft_start: 0.1 annealing_points: [0.3, 0.6, 0.8] "
            "annealing_divider: 10 } }"
        ),
        [
            (
                '8:26: lr_config.scheduler: scheduler: "soft_anneal" -> soft_anneal { learning_rate: ... '
                "soft_start: ... annealing_points: ... annealing_divider: ... }"
            ),
            '8:93: lr_config.soft_anneal.annealing_points: "0.3, 0.6, 0.8" -> [0.3, 0.6, 0.8]',
            "9:23: lr_config.gamma: gamma -> dropped; soft_anneal does not read it",
        ],
    ),
    (
        STEP,
        (
            'lr_config { scheduler: "soft anneal" learning_rate: 0.1 annealing_points: 0.3 annealing_points: 0.6 '
            "annealing_divider: 2 }"
        ),
        "lr_config { soft_anneal { learning_rate: 0.1 annealing_points: [0.3, 0.6] annealing_divider: 2 } }",
        [
            (
                '8:26: lr_config.scheduler: scheduler: "soft anneal" -> soft_anneal { learning_rate: ... '
                "annealing_points: ... annealing_divider: ... }"
            )
        ],
    ),
    (
        STEP,
        'lr_config { scheduler: "cosine" learning_rate: 0.1 soft_start: 0.05 min_lr_ratio: 0.001 }',
        "lr_config { cosine { learning_rate: 0.1 soft_start: 0.05 min_lr_ratio: 0.001 } }",
        [
            (
                '8:26: lr_config.scheduler: scheduler: "cosine" -> cosine { learning_rate: ... soft_start: ... '
                "min_lr_ratio: ... }"
            )
        ],
    ),
    (
        STEP,
        "lr_config { learning_rate: 0.1 step_size: 30 gamma: 0.5 }",
        STEP,
        ["8:15: lr_config: gamma, learning_rate, step_size -> step { ... }; only it has all of these"],
    ),
    (
        STEP,
        'lr_config { scheduler: "step" step { learning_rate: 0.1 step_size: 30 gamma: 0.5 } }',
        STEP,
        ["8:15: lr_config.scheduler: scheduler -> dropped; the block step says it"],
    ),
    (
        STEP,
        "lr_config { learning_rate: 7 step { learning_rate: 0.1 step_size: 30 } gamma: 0.5 }",
        STEP,
        [
            "8:15: lr_config.learning_rate: learning_rate -> dropped; lr_config.step.learning_rate counts, on line 8",
            "8:74: lr_config.gamma: gamma -> lr_config.step.gamma",
        ],
    ),
    (
        STEP,
        f"learning_rate: 7 {STEP}",
        STEP,
        ["8:3: learning_rate: learning_rate -> dropped; lr_config.step.learning_rate counts, on line 8"],
    ),
    (
        STEP,
        'learning_rate: 0.1 lr_config { scheduler: "step" step_size: 30 gamma: 0.5 }',
        STEP,
        [
            "8:3: learning_rate: learning_rate -> lr_config.step.learning_rate",
            '8:45: lr_config.scheduler: scheduler: "step" -> step { step_size: ... gamma: ... }',
        ],
    ),
    (
        TRAIN,
        'n_epochs: 2 reg_config { type: "none" weight_decay: 0 }',
        'n_epochs: 2 reg_config { type: "None" weight_decay: 0 }',
        ['6:34: reg_config.type: "none" -> "None"'],
    ),
    (
        TRAIN,
        'n_epochs: 2 reg_config { type: l2 scope: "Conv2D;Dense" weight_decay: 1e-5 }',
        'n_epochs: 2 reg_config { type: "L2" scope: "Conv2D,Dense" weight_decay: 1e-5 }',
        ['6:34: reg_config.type: l2 -> "L2"', '6:44: reg_config.scope: "Conv2D;Dense" -> "Conv2D,Dense"'],
    ),
    (
        TRAIN,
        'n_epochs: 2 reg_config { type: "L2" scope: "Conv2D, Dense ,SeparableConv2D" weight_decay: 1e-5 }',
        'n_epochs: 2 reg_config { type: "L2" scope: "Conv2D, Dense " weight_decay: 1e-5 }',
        [
            (
                '6:46: reg_config.scope: "Conv2D, Dense ,SeparableConv2D" -> "Conv2D, Dense "; SeparableConv2D is '
                "unknown, known are Conv2D and Dense"
            )
        ],
    ),
    (
        TRAIN,
        "n_epochs: 2 image_mean { key: 'B' value: 1 } image_mean { key: 'g' value: 2 } image_mean { key: R value: 3}",
        "n_epochs: 2 image_mean { key: 'b' value: 1 } image_mean { key: 'g' value: 2 } image_mean { key: 'r' value: 3}",
        ['6:33: image_mean: "B" -> "b"', '6:99: image_mean: R -> "r"'],
    ),
    (TRAIN, "n_epochs: 2 pretrained_model_path: None", TRAIN, ["6:38: pretrained_model_path: None -> unset"]),
    (TRAIN, 'n_epochs: 2 val_dataset_path: "null"', TRAIN, ['6:33: val_dataset_path: "null" -> unset']),
    (TRAIN, "n_epochs: 2\n  n_epochs: 2", TRAIN, ["7:3: n_epochs: the same again -> dropped; line 6 counts"]),
]


@pytest.mark.parametrize(("place", "old", "new", "notes"), OLD, ids=[old[:60] for _, old, _, _ in OLD])
def test_an_old_spelling_of_training_means_the_same_as_todays(place: str, old: str, new: str, notes: list[str]) -> None:
    assert place in GOOD
    spec = read(GOOD.replace(place, old))
    assert spec.experiment == read(GOOD.replace(place, new)).experiment
    assert [re.sub(r"(: )train_config\.", r"\1", note.removeprefix("a.cfg:")) for note in spec.notes] == notes


OLD_NETWORK = [
    ("use_imagenet_head: True", "retain_head: true", ["use_imagenet_head -> retain_head, its name since TAO 4"]),
    (
        "retain_head: false use_imagenet_head: True",
        "retain_head: false",
        ["use_imagenet_head -> dropped; retain_head, its name since TAO 4, counts"],
    ),
    ("freeze_blocks: '0 1'", "freeze_blocks: [0, 1]", ['"0 1" -> [0, 1]']),
    ('freeze_blocks: "[0, 1]"', "freeze_blocks: [0, 1]", ['"[0, 1]" -> [0, 1]']),
    ('resize_interpolation_method: "bicubic"', "resize_interpolation_method: BICUBIC", ['"bicubic" -> BICUBIC']),
    ("n_layers: 50.0", "n_layers: 50", ["50.0 -> 50"]),
    ('n_layers: "50"', "n_layers: 50", ['"50" -> 50']),
    ("n_layers: 5e1", "n_layers: 50", ["5e1 -> 50"]),
    ("dropout: '1e-3'", "dropout: 0.001", ['"1e-3" -> 1e-3']),
    ('use_bias: "True" use_pooling: NO', "use_bias: true use_pooling: false", ['"True" -> true', "NO -> false"]),
    ("}\nmodel_config { use_bias: true", "use_bias: true", ["second block -> added to the first, on line 1"]),
]


@pytest.mark.parametrize(("old", "new", "notes"), OLD_NETWORK, ids=[old for old, _, _ in OLD_NETWORK])
def test_an_old_spelling_of_the_network_means_the_same_as_todays(old: str, new: str, notes: list[str]) -> None:
    spec = read(GOOD.replace(NETWORK, f"{NETWORK} {old}"))
    assert spec.experiment == read(GOOD.replace(NETWORK, f"{NETWORK} {new}")).experiment
    assert [note.split(": ", 2)[2] for note in spec.notes] == notes


@pytest.mark.parametrize("size", ["[3, 64, 64]", '"[3,64,64]"', '"(3 64 64)"', '"3x64X64"', "'3;64;64,'"])
def test_an_input_size_is_read_with_any_separator(size: str) -> None:
    spec = read(GOOD.replace('"3,64,64"', size))
    assert spec.experiment.model_config.input_image_size == "3,64,64"
    assert len(spec.notes) == 1
    assert spec.notes[0].endswith(' -> "3,64,64"')


@pytest.mark.parametrize(
    ("old", "new"), [("ResNet", "resnet"), (" resnet", "resnet"), ("EfficientNet-B0", "efficientnet_b0")]
)
def test_an_architecture_is_read_in_any_case_and_with_hyphens(old: str, new: str) -> None:
    spec = read(GOOD.replace('"resnet"', f'"{old}"'))
    assert spec.experiment.model_config.arch == new
    assert spec.notes == (f'a.cfg:1:22: model_config.arch: "{old}" -> "{new}"',)


DROPPED = "conf_threshold -> dropped; TAO has no such field since 3.0, every image counts"


def test_blocks_are_read_by_the_names_of_other_tao_tasks() -> None:
    text = GOOD.replace("train_config", "training_config") + "evaluation_config { top_k: 1 conf_threshold: 0.5 }"
    spec = read(text)
    assert spec.experiment == read(GOOD + "eval_config { top_k: 1 }").experiment
    assert [note.removeprefix("a.cfg:") for note in spec.notes] == [
        "2:1: training_config: training_config -> train_config",
        "10:1: evaluation_config: evaluation_config -> eval_config",
        f"10:30: eval_config.conf_threshold: {DROPPED}",
    ]


def test_a_whole_file_of_tlt_2_is_read() -> None:
    """The classification example of TLT 2.0's user guide, in our own words."""
    text = """\
eval_config {
  eval_dataset_path: "data/test"
  top_k: 3; conf_threshold: 0.5
  batch_size: 256,
}
# the network\t
model_config {
\tarch: "resnet",
  n_layers: 18
  use_bias: True, use_batch_norm: True
  freeze_bn: False
  input_image_size: "3,224,224"
}
train_config {
  train_dataset_path: "data/train"
  val_dataset_path: "data/val"
  # adam or sgd

  optimizer: "sgd"
  batch_size_per_gpu: 256
  n_epochs: 80
  reg_config {
    type: "L2"
    scope: "Conv2D,Dense"
    weight_decay: 0.00005
  }
  lr_config {
    # the scheduler
    scheduler: "soft_anneal"
    learning_rate: 0.005
    soft_start: 0.056
    annealing_points: "0.3, 0.6, 0.8"
    annealing_divider: 10
  }
}"""
    spec = read(text.replace("\n", "\r\n"))
    train = spec.experiment.train_config
    assert train.optimizer.sgd.momentum == pytest.approx(0.9)
    assert list(train.lr_config.soft_anneal.annealing_points) == pytest.approx([0.3, 0.6, 0.8])
    assert train.preprocess_mode == "caffe"
    assert [(note.split(":")[1], note.split(": ")[1]) for note in spec.notes] == [
        ("3", "eval_config.conf_threshold"),
        ("19", "train_config.optimizer"),
        ("29", "train_config.lr_config.scheduler"),
        ("32", "train_config.lr_config.soft_anneal.annealing_points"),
    ]
    assert [warning.split(": ")[1] for warning in spec.warnings] == ["train_config.preprocess_mode"]


UNCERTAIN = [
    (SGD, 'optimizer: "lamb"', ["7:14: train_config.optimizer: found"]),
    (
        STEP,
        'lr_config { scheduler: "steps" }',
        [
            "8:3: train_config.lr_config: is empty",
            "8:15: train_config.lr_config.steps: unknown field; did you mean step?",
        ],
    ),
    (
        STEP,
        "lr_config { learning_rate: 0.1 soft_start: 0.1 }",
        [
            "8:3: train_config.lr_config: is empty",
            "8:15: train_config.lr_config.learning_rate: unknown here",
            "8:34: train_config.lr_config.soft_start: unknown here",
        ],
    ),
    (STEP, f'{STEP[:-1]} scheduler: "cosine" }}', ["8:69: train_config.lr_config.scheduler: unknown field"]),
    (
        STEP,
        f"{STEP} {STEP.replace('0.1', '0.2')}",
        ["8:104: train_config.lr_config.step.learning_rate: set a second time; the first is on line 8"],
    ),
    (TRAIN, "n_epochs: 2 n_epochs: 3", ["6:25: train_config.n_epochs: set a second time; the first is on line 6"]),
    (TRAIN, "n_epochs: 80.5", ["6:13: train_config.n_epochs: found 80.5, must be a whole number"]),
    (
        TRAIN,
        'n_epochs: 2 enable_random_crop: "maybe"',
        ['6:35: train_config.enable_random_crop: found "maybe", must be true or false'],
    ),
    (
        TRAIN,
        'n_epochs: 2 reg_config { type: "L3" }',
        ['6:34: train_config.reg_config.type: found "L3", must be one of "L1", "L2", "None"'],
    ),
    (
        TRAIN,
        'n_epochs: 2 reg_config { type: "L2" scope: "Convs" }',
        ['6:46: train_config.reg_config.scope: found "Convs", must be'],
    ),
    (
        NETWORK,
        f"{NETWORK} freeze_blocks: '0 all'",
        ['1:95: model_config.freeze_blocks: found "0 all", must be a whole number'],
    ),
    (
        '"3,64,64"',
        '"64,64,3"',
        ['1:49: model_config.input_image_size: found "64,64,3", must be "channels,height,width"'],
    ),
    (
        '"3,64,64"',
        "[3, 64]",
        [
            "1:50: model_config.input_image_size: found 3, must be a string",
            "1:53: model_config.input_image_size: set a second time",
        ],
    ),
]


@pytest.mark.parametrize(("place", "text", "expected"), UNCERTAIN, ids=[text[:60] for _, text, _ in UNCERTAIN])
def test_what_is_not_certain_is_refused_at_its_place(place: str, text: str, expected: list[str]) -> None:
    assert place in GOOD
    found = refusal(GOOD.replace(place, text))
    assert len(found) == len(expected), found
    for line, start in zip(found, expected, strict=True):
        assert line.startswith(start)


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        *(GOOD.replace(place, old) for place, old, _, _ in OLD),
        *(GOOD.replace(place, text) for place, text, _ in UNCERTAIN),
    ],
)
def test_a_converted_tree_has_nothing_more_to_convert(text: str) -> None:
    tree = parse(text)
    convert(tree)
    assert convert(tree) == []


@pytest.mark.parametrize("path", sorted((ROOT / "specs").glob("*.cfg")), ids=lambda path: path.name)
def test_todays_spelling_is_left_as_it_is(path: Path) -> None:
    tree, untouched = parse(path.read_text()), parse(path.read_text())
    assert convert(tree) == []
    assert tree == untouched
    assert load(path).notes == ()


def test_comments_and_places_go_with_what_is_moved() -> None:
    tree = parse(
        """\
train_config {
  lr_config {
    # how fast
    scheduler: "step"  # a staircase
    # at first
    learning_rate: 0.1
    step_size: 30 # percent
    # of no use
    soft_start: 0.1
    gamma: 0.5
  }
}
eval_config {
  # of no use either
  conf_threshold: 0.5
}
"""
    )
    convert(tree)
    (lr_config,) = tree[0].value if isinstance(tree[0].value, list) else []
    (step,) = lr_config.value if isinstance(lr_config.value, list) else []
    rate, size, gamma = step.value if isinstance(step.value, list) else []
    assert (step.name, step.place, step.comments, step.comment) == (
        "step",
        Place(4, 5),
        ["# how fast"],
        "# a staircase",
    )
    assert (rate, rate.place, rate.comments) == (
        field("learning_rate", "0.1", ["# at first"]),
        Place(6, 5),
        ["# at first"],
    )
    assert (size.name, size.comment, gamma.name) == ("step_size", "# percent", "gamma")
    assert step.closing == ["# of no use"]
    assert tree[1].closing == ["# of no use either"]


def field(name: str, number: str, comments: list[str]) -> Field:
    return Field(name, Scalar(number, "number"), Place(0, 0), Place(0, 0), comments)
