"""Networks of timm and torchvision by their own names."""

import subprocess
import sys

import pytest
import timm
import torch
import torchvision
from google.protobuf import text_format
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from tao_lite.errors import SpecError
from tao_lite.models import head
from tao_lite.models.architectures import blocks, build, find
from tao_lite.models.families import named
from tao_lite.models.freeze import freeze
from tao_lite.spec import classification_pb2 as pb

# With the tensors that are in no layer. One of each kind of head, of grouping and of input.
NETWORKS = {
    "timm/resnet18.a1_in1k": set(),
    "timm/dla34": set(),  # its head is a convolution
    "timm/poolformer_s12": set(),  # timm has no groups of it
    "timm/convnext_atto": set(),
    "timm/vit_tiny_patch16_224": {"cls_token", "pos_embed"},
    "timm/deit_tiny_distilled_patch16_224": {"cls_token", "dist_token", "pos_embed"},  # it has two heads
    "timm/swin_tiny_patch4_window7_224": set(),
    "timm/cs3darknet_s": set(),
    "torchvision/mnasnet0_5": set(),
    "torchvision/shufflenet_v2_x0_5": set(),
    "torchvision/squeezenet1_1": set(),
    "torchvision/mobilenet_v3_small": set(),
    "torchvision/regnet_y_400mf": set(),
    "torchvision/inception_v3": set(),
    "torchvision/vgg11_bn": set(),
    "torchvision/vit_b_32": {"class_token", "encoder.pos_embedding"},
}


def model_config(arch: str, text: str = "", *, size: str = "3,224,224") -> pb.ModelConfig:
    return text_format.Parse(f'arch: "{arch}" input_image_size: "{size}" {text}', pb.ModelConfig())


def on_meta(model: pb.ModelConfig) -> nn.Module:
    with torch.device("meta"):
        return build(model, 5)


@pytest.mark.parametrize("arch", NETWORKS)
def test_blocks_and_head_are_the_whole_network_but_tensors_in_no_layer(arch: str) -> None:
    model = model_config(arch)
    network = on_meta(model)
    modules = [name for block in blocks(model).values() for name in block] + [head.find(network)]
    owned = [f"{module}.{name}" for module in modules for name in network.get_submodule(module).state_dict()]
    assert sorted([*owned, *NETWORKS[arch]]) == sorted(network.state_dict())


@pytest.mark.parametrize("arch", NETWORKS)
def test_head_makes_the_logits(arch: str) -> None:
    network = on_meta(model_config(arch))
    layer = network.get_submodule(head.find(network))
    assert isinstance(layer, nn.Linear | nn.Conv2d)
    assert layer.weight.shape[0] == 5


def test_blocks_of_a_residual_network_are_those_of_tao() -> None:
    expected = {0: ("conv1", "bn1"), 1: ("layer1",), 2: ("layer2",), 3: ("layer3",), 4: ("layer4",)}
    assert blocks(model_config("torchvision/resnet18")) == expected
    assert blocks(model_config("timm/resnet18")) == expected


def test_frozen_blocks_are_found_in_the_network() -> None:
    model = model_config("timm/resnet18", size="3,32,32")
    network = build(model, 5)
    freeze(network, blocks(model), range(4), freeze_bn=False)
    trained = {name.partition(".")[0] for name, p in network.named_parameters() if p.requires_grad}
    assert trained == {"layer4", "fc"}


@pytest.mark.parametrize("size", ["1,64,48", "3,48,64"])
@pytest.mark.parametrize("arch", ["timm/resnet10t", "timm/vit_tiny_patch16_224", "torchvision/mobilenet_v3_small"])
def test_network_learns_from_images_of_the_spec(arch: str, size: str) -> None:
    channels, height, width = map(int, size.split(","))
    torch.manual_seed(0)
    network = build(model_config(arch, size=size), 5)
    logits: Tensor = network(torch.randn(2, channels, height, width))
    assert logits.shape == (2, 5)
    logits.sum().backward()  # type: ignore[no-untyped-call]
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_settings_are_the_librarys_own_unless_the_spec_has_them() -> None:
    arch = "torchvision/efficientnet_b5"
    own = {
        (layer.momentum, layer.eps) for layer in on_meta(model_config(arch)).modules() if isinstance(layer, _BatchNorm)
    }
    assert own == {(0.01, 1e-3)}
    given = on_meta(model_config(arch, "batch_norm_config { momentum: 0.8 }"))
    assert {(layer.momentum, layer.eps) for layer in given.modules() if isinstance(layer, _BatchNorm)} == {(0.2, 1e-5)}
    assert on_meta(model_config("timm/resnet10t", "dropout: 0.25")).drop_rate == 0.25
    assert on_meta(model_config("timm/rexnet_100")).drop_rate == timm.create_model("rexnet_100").drop_rate


def test_head_starts_near_zero_with_few_classes() -> None:
    # torchvision: uniform up to 1 / sqrt(classes). By the size of the input, 1280: up to 1 / sqrt(1280).
    layer = build(model_config("torchvision/efficientnet_b0", size="3,32,32"), 4).get_submodule("classifier.1")
    assert isinstance(layer, nn.Linear)
    assert 0.9 / 1280**0.5 < layer.weight.abs().max() <= 1 / 1280**0.5


@pytest.mark.parametrize("name", ["resnet18", "inception_v3"])
def test_state_of_torchvision_fits(name: str) -> None:
    aux = {"aux_logits": False, "init_weights": False} if name == "inception_v3" else {}
    with torch.device("meta"):
        theirs = torchvision.models.get_model(name, num_classes=5, **aux)
    ours = on_meta(model_config(f"torchvision/{name}"))
    assert list(ours.state_dict()) == list(theirs.state_dict())


@pytest.mark.parametrize(
    ("arch", "message"),
    [
        ("timm/resnet5o", "timm has no such network; did you mean timm/resnet50?"),
        ("timm/resnet50.a1_in2k", "timm has no such network; did you mean timm/resnet50.a1_in1k?"),
        ("torchvision/resnet5o", "torchvision has no such network; did you mean torchvision/resnet50?"),
        ("torchvision/fcn_resnet50", "torchvision has no such network; did you mean torchvision/resnet50?"),
        ("timm/hf-hub:owner/model", "timm has no such network"),
    ],
)
def test_unknown_names_are_explained_when_the_network_is_built(arch: str, message: str) -> None:
    model = model_config(arch)
    assert find(model).name == arch
    for action in (lambda: build(model, 5), lambda: blocks(model)):
        with pytest.raises(SpecError) as error:
            action()
        assert str(error.value) == f'model_config.arch is "{arch}"; {message}'


@pytest.mark.parametrize(
    ("arch", "size", "reason"),
    [
        ("torchvision/vit_b_32", "3,64,96", "torchvision/vit_b_32 takes square images only"),
        ("torchvision/alexnet", "3,48,48", "torchvision/alexnet can't take images of that size: "),
        ("torchvision/inception_v3", "3,64,64", "torchvision/inception_v3 can't take images of that size: "),
        ("torchvision/maxvit_t", "3,64,64", "torchvision/maxvit_t can't take images of that size: "),
        ("timm/vit_tiny_patch16_224", "3,8,8", "timm/vit_tiny_patch16_224 can't take images of that size: "),
    ],
)
def test_images_that_the_network_cant_take_are_explained(arch: str, size: str, reason: str) -> None:
    with pytest.raises(SpecError) as error:
        build(model_config(arch, size=size), 5)
    assert str(error.value).startswith(f'model_config.input_image_size is "{size}"; {reason}')


def test_building_touches_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr("socket.socket.connect", refuse)
    for arch in ("timm/resnet10t.c3_in1k", "torchvision/mobilenet_v3_small"):
        build(model_config(arch, size="3,32,32"), 5)


def test_names_are_found_without_the_libraries() -> None:
    code = """
import sys
from tao_lite.models.architectures import find
from tao_lite.spec import classification_pb2 as pb
find(pb.ModelConfig(arch="timm/resnet50")), find(pb.ModelConfig(arch="torchvision/resnet50"))
sys.exit(any(name in sys.modules for name in ("torch", "timm", "torchvision")))
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_library_of_the_table_can_be_built() -> None:
    from tao_lite.models import architectures

    assert tuple(named.LIBRARIES) == architectures.LIBRARIES
