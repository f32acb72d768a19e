"""The table of architectures, and what a spec gets from it. Every row is tested by being in the table."""

import subprocess
import sys

import pytest
import torch
from google.protobuf import text_format

from tao_lite.errors import SpecError
from tao_lite.models import head
from tao_lite.models.architectures import ARCHITECTURES, Architecture, Options, build, find, input_shape
from tao_lite.spec import classification_pb2 as pb

ROWS = [pytest.param(row, depth, id=f"{row.name}{depth}") for row in ARCHITECTURES.values() for depth in row.n_layers]


def model_config(text: str) -> pb.ModelConfig:
    return text_format.Parse(f'input_image_size: "3,32,48" {text}', pb.ModelConfig())


@pytest.mark.parametrize(("row", "depth"), ROWS)
def test_frozen_blocks_and_head_are_the_whole_network(row: Architecture, depth: int) -> None:
    with torch.device("meta"):
        network = row.build(Options(num_classes=3, n_layers=depth))
    model = pb.ModelConfig(arch=row.name, n_layers=depth)
    modules = [name for block in row.blocks(model).values() for name in block] + [head.find(network)]
    owned = [f"{module}.{name}" for module in modules for name in network.get_submodule(module).state_dict()]
    assert sorted(owned) == sorted(network.state_dict())


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("row", "depth"), ROWS)
def test_every_parameter_gets_a_gradient(row: Architecture, depth: int, channels: int) -> None:
    with torch.device("meta"):
        network = row.build(Options(num_classes=3, n_layers=depth, channels=channels, height=32, width=48))
        logits = network(torch.zeros(2, channels, 32, 48))
    assert logits.shape == (2, 3)
    logits.sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_switches_of_every_row_are_fields_of_the_spec() -> None:
    fields = pb.ModelConfig.DESCRIPTOR.fields_by_name
    assert all(switch in fields for row in ARCHITECTURES.values() for switch in row.switches)


def test_build_passes_the_decimals_of_the_spec() -> None:
    # 0.9 and 1e-5 are float32 in the message; torchvision's defaults are 0.1 and 1e-5 in float64.
    network = build(model_config('arch: "resnet" use_batch_norm: true'), 3)
    norms = [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert {(norm.momentum, norm.eps) for norm in norms} == {(0.1, 1e-5)}


def test_build_passes_every_switch() -> None:
    switches = "use_batch_norm: true use_bias: true all_projections: true retain_head: true dropout: 0.25"
    own_norm = "batch_norm_config { momentum: 0.97 epsilon: 0.002 }"
    network = build(model_config(f'arch: "resnet" n_layers: 10 {switches} {own_norm}'), 7)
    # No pooling and the head of the paper: 512 channels of a 2 x 3 map (48 / 16 wide, 32 / 16 high).
    assert network.get_submodule("fc").weight.shape == (7, 512 * 2 * 3)
    assert network.get_submodule("avgpool.1").p == 0.25
    assert network.get_submodule("layer1.0.downsample.0").bias is not None
    norm = network.get_submodule("bn1")
    assert isinstance(norm, torch.nn.BatchNorm2d)
    assert (norm.momentum, norm.eps) == (0.03, 0.002)
    pooled = build(model_config('arch: "resnet" n_layers: 10 use_pooling: true'), 7)
    assert isinstance(pooled.get_submodule("maxpool"), torch.nn.MaxPool2d)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in pooled.modules())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('arch: "resent"', 'model_config.arch is "resent"; choose one of resnet; did you mean resnet?'),
        ('arch: "mobilnet_v2"', 'model_config.arch is "mobilnet_v2"; choose one of resnet; did you mean mobilenet_v2?'),
        ('arch: "zzz"', 'model_config.arch is "zzz"; choose one of resnet'),
        ("", 'model_config.arch is ""; choose one of resnet'),
        ('arch: "ResNet-50"', 'model_config.arch is "ResNet-50"; did you mean arch: "resnet" with n_layers: 50?'),
        (
            'arch: "byom"',
            (
                'model_config.arch is "byom"; own models of TAO are encrypted (.tltb) and can\'t be read; '
                "choose one of resnet, and start from unencrypted weights with train_config.pretrained_model_path"
            ),
        ),
        (
            'arch: "resnet" n_layers: 20',
            "model_config.n_layers is 20; resnet has one of 10, 18, 34, 50, 101, 152, 200",
        ),
    ],
)
def test_wrong_architectures_are_explained(text: str, message: str) -> None:
    with pytest.raises(SpecError) as error:
        find(model_config(text))
    assert str(error.value) == message


@pytest.mark.parametrize(
    "name",
    [
        *("vgg", "alexnet", "googlenet", "mobilenet_v1", "mobilenet_v2", "squeezenet", "darknet"),
        *("cspdarknet", "cspdarknet_tiny", *(f"efficientnet_b{size}" for size in range(8))),
    ],
)
def test_other_architectures_of_tao_are_announced_as_missing(name: str) -> None:
    with pytest.raises(SpecError) as error:
        find(model_config(f'arch: "{name}"'))
    remedy = "this version does not build it yet; choose one of resnet"
    assert str(error.value) == f'model_config.arch is "{name}"; {remedy}'


def test_input_shape_is_channels_height_width() -> None:
    assert input_shape(pb.ModelConfig(input_image_size="1, 64,96")) == (1, 64, 96)


@pytest.mark.parametrize("text", ["", "3,224", "4,224,224", "3,224,x", "224,224,3"])
def test_unreadable_input_sizes_are_explained(text: str) -> None:
    with pytest.raises(SpecError) as error:
        input_shape(pb.ModelConfig(input_image_size=text))
    assert str(error.value) == (
        f'model_config.input_image_size is "{text}"; '
        'must be "channels,height,width" with 1 or 3 channels, such as "3,224,224"'
    )


def test_table_is_read_without_torch() -> None:
    code = "import sys, tao_lite.models.architectures; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
