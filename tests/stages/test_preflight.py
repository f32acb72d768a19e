"""What a stage would say of a spec's network and learning rate, said when the spec is loaded."""

import subprocess
import sys
from pathlib import Path

import pytest

from tao_lite.models.architectures import ARCHITECTURES
from tao_lite.spec.load import Examined, examine
from tao_lite.stages import preflight


def report(
    network: str,
    rate: str = "cosine { learning_rate: 0.1 }",
    *,
    stage: str = "train",
    more: str = "",
    off: bool = False,
) -> Examined:
    size = "" if "input_image_size" in network else 'input_image_size: "3,64,64"'
    text = f"""\
model_config {{ {network} {size} use_batch_norm: {str(not off).lower()} }}
train_config {{
  train_dataset_path: "data" pretrained_model_path: "a.pth" preprocess_mode: "torch"
  optimizer {{ sgd {{ }} }} batch_size_per_gpu: 8 n_epochs: 20
  lr_config {{ {rate} }}
}}
eval_config {{ eval_dataset_path: "data" }}
{more}
"""
    return examine(text, Path("a.cfg"), stage=stage, check=preflight.check)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_every_architecture_that_is_built_is_accepted_in_each_of_its_depths(arch: str) -> None:
    for depth in ARCHITECTURES[arch].n_layers or (18,):
        assert report(f'arch: "{arch}" n_layers: {depth}').problems == []


@pytest.mark.parametrize("arch", ["timm/resnet50.a1_in1k", "timm/no_such", "torchvision/vit_b_16"])
def test_names_of_other_libraries_are_not_looked_up(arch: str) -> None:
    found = report(f'arch: "{arch}" freeze_blocks: [0, 99]')
    assert found.problems == []
    assert [warning.text for warning in found.warnings] == [f"has no effect on {arch}"]  # use_batch_norm


WRONG = [
    ('arch: "reznet"', "1:22: model_config.arch: ", "; did you mean resnet?"),
    ('arch: "resnet18"', "1:22: model_config.arch: ", 'did you mean arch: "resnet" with n_layers: 18?'),
    (
        'arch: "byom"',
        "1:22: model_config.arch: ",
        "start from unencrypted weights with train_config.pretrained_model_path",
    ),
    (
        'arch: "resnet" n_layers: 20',
        "1:41: model_config.n_layers: ",
        "found 20; resnet has one of 10, 18, 34, 50, 101, 152, 200",
    ),
    (
        'arch: "cspdarknet_tiny" activation { activation_type: "mush" }',
        "1:70: model_config.activation.activation_type: ",
        'found "mush"; choose one of relu, relu6, leaky_relu, elu, mish, swish, silu; did you mean mish?',
    ),
    (
        'arch: "squeezenet" input_image_size: "3,16,32"',
        "1:53: model_config.input_image_size: ",
        'found "3,16,32"; squeezenet needs sides of at least 21 pixels',
    ),
]


@pytest.mark.parametrize(("network", "place", "remedy"), WRONG, ids=[network for network, _, _ in WRONG])
def test_a_network_that_does_not_exist_is_an_error_with_its_remedy(network: str, place: str, remedy: str) -> None:
    found = report(network)
    (line,) = found.lines(found.problems)
    assert line.startswith(f"a.cfg:{place}")
    assert line.endswith(remedy)
    assert report(network, stage="evaluate").problems == []


def test_blocks_that_the_network_does_not_have_are_named_with_those_it_has() -> None:
    found = report('arch: "resnet" freeze_blocks: [0, 7, 5]')
    assert found.lines(found.warnings) == (
        "a.cfg:1:47: model_config.freeze_blocks: ignores 5, 7: the blocks of resnet are 0, 1, 2, 3, 4",
    )


def test_that_more_blocks_are_to_train_than_there_are_is_named() -> None:
    found = report('arch: "resnet" trained_blocks: 5 freeze_blocks: 1')
    assert [line.partition("trained_blocks: ")[2] for line in found.lines(found.warnings)] == [
        "has no effect: freeze_blocks says which blocks are frozen",
        "has no effect: resnet has 5 blocks",
    ]


def test_switches_of_other_networks_are_named() -> None:
    found = report('arch: "resnet" activation { activation_type: "mish" }')
    assert found.lines(found.warnings) == ("a.cfg:1:31: model_config.activation: has no effect on resnet",)


@pytest.mark.parametrize(
    ("network", "warnings"),
    [
        ('arch: "efficientnet_b0"', ()),
        ('arch: "efficientnet_b0" batch_norm_config { epsilon: 0.001 } freeze_bn: true', ()),
        ('arch: "alexnet" use_bias: true use_pooling: true', ("use_batch_norm: has no effect on alexnet",)),
        (
            'arch: "alexnet" use_bias: false freeze_bn: true',
            (
                "use_bias: has no effect on alexnet: it is always on",
                "freeze_bn: has no effect on alexnet",
                "use_batch_norm: has no effect on alexnet",
            ),
        ),
        ('arch: "googlenet" use_pooling: false', ("use_pooling: has no effect on googlenet: it is always on",)),
        ('arch: "mobilenet_v2" all_projections: true n_layers: 18', ("n_layers: has no effect on mobilenet_v2",)),
    ],
)
def test_what_an_architecture_always_or_never_has_is_named_where_the_spec_differs(
    network: str, warnings: tuple[str, ...]
) -> None:
    lines = report(network).lines(report(network).warnings)
    assert tuple(line.partition("model_config.")[2] for line in lines) == warnings


def test_switches_of_normalisation_need_it() -> None:
    found = report('arch: "darknet" n_layers: 19 freeze_bn: true', off=True)
    assert [warning.text for warning in found.warnings] == ["has no effect without use_batch_norm"]


def test_a_rate_that_stops_learning_early_is_named() -> None:
    """TAO's tutorial: 10 percent and gamma 0.1 leave a thousandth after 40 percent of the run, where the documentation
    has stairs; its code's slope is there below a thousandth after 30.
    """
    rate = "step { learning_rate: 0.006 step_size: 10 gamma: 0.1 }"
    (warning,) = report('arch: "resnet"', rate).warnings
    assert warning.path == "train_config.lr_config"
    assert warning.place.line == 5
    assert warning.text.startswith("after 40% of the run the learning rate is below a thousandth of its highest value")
    (exact,) = report('arch: "resnet"', rate, more="compat: TAO_EXACT").warnings
    assert exact.text.startswith("after 30% of the run ")
    assert report('arch: "resnet"', rate.replace("0.1 }", "0.5 }")).warnings == []
    assert report('arch: "resnet"', rate, stage="evaluate").warnings == []


@pytest.mark.parametrize(
    "rate",
    [
        "step { learning_rate: 0.1 step_size: 0 gamma: 0.5 }",
        "step { learning_rate: nan step_size: 1 gamma: nan }",
        "soft_anneal { learning_rate: inf annealing_divider: 0 annealing_points: nan }",
        "soft_anneal { learning_rate: 1 annealing_divider: 1e-45 annealing_points: [0.1, 0.2, 0.3, 0.4, 0.5, 0.6] }",
        "cosine { learning_rate: 0.1 soft_start: 1 }",
        "cosine { learning_rate: 1e38 min_lr_ratio: inf }",
        "",
    ],
)
@pytest.mark.parametrize("compat", ["CORRECTED", "TAO_EXACT"])
def test_a_rate_that_makes_no_sense_ends_in_no_other_error(rate: str, compat: str) -> None:
    report('arch: "resnet"', rate, more=f"compat: {compat}")


def test_checking_imports_no_torch() -> None:
    code = "import sys, tao_lite.stages.preflight; sys.exit('torch' in sys.modules or 'timm' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
