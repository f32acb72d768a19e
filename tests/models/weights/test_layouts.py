"""Weights under other names find their layers, and the network then computes what the file's network did."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import safetensors.torch
import timm
import torch
import torchvision
from torch import Tensor, nn
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from tao_lite.models import architectures, head
from tao_lite.models.families import adapt
from tao_lite.models.weights import layouts
from tao_lite.models.weights.assignment import assign
from tao_lite.models.weights.weights import read
from tao_lite.spec import classification_pb2 as pb
from tao_lite.stages.train import pretrained

POSITIONS = (0, 217, 482, 491, 497, 566, 569, 571, 574, 701)
"""Of imagenette's ten classes among ImageNet's thousand."""
NUM_CLASSES = 7


def config(arch: str, n_layers: int = 0, *, retain_head: bool = False, use_bias: bool = False) -> pb.ModelConfig:
    return pb.ModelConfig(
        arch=arch,
        n_layers=n_layers,
        input_image_size="3,64,64",
        use_batch_norm=True,
        use_pooling=True,
        retain_head=retain_head,
        use_bias=use_bias,
    )


def logits_of(network: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        logits: Tensor = network.eval()(images)
    return logits


def trained(library: str, name: str) -> nn.Module:
    """A library's network with statistics and biases as after training."""
    torch.manual_seed(1)
    network: nn.Module = (
        timm.create_model(name, num_classes=NUM_CLASSES)
        if library == "timm"
        else torchvision.models.get_model(name, num_classes=NUM_CLASSES)
    )
    with torch.no_grad():
        for key, tensor in network.state_dict().items():
            if key.endswith(("running_mean", "bias")):
                tensor.normal_(std=0.1)
    return network.eval()


def loaded(path: Path, model: pb.ModelConfig) -> nn.Module:
    found = read(str(path), model)
    network = architectures.build(model, NUM_CLASSES)
    assert assign(network, found.tensors, head=head.find(network)).missing == ()
    return network


@pytest.mark.parametrize(
    ("library", "name", "arch", "suffix"),
    [
        ("timm", "mobilenetv2_100", "mobilenet_v2", ".safetensors"),
        ("timm", "efficientnet_b0", "efficientnet_b0", ".pth"),
        ("torchvision", "mobilenet_v2", "timm/mobilenetv2_100", ".pth"),
        ("torchvision", "efficientnet_b0", "timm/efficientnet_b0", ".safetensors"),
        ("timm", "resnet18", "resnet", ".safetensors"),
        ("timm", "mobilenetv1_100", "mobilenet_v1", ".pth"),
    ],
)
def test_a_file_of_either_library_gives_its_function(
    library: str, name: str, arch: str, suffix: str, tmp_path: Path
) -> None:
    reference, path = trained(library, name), tmp_path / f"x{suffix}"
    if suffix == ".pth":
        torch.save(reference.state_dict(), path)
    else:
        safetensors.torch.save_file(reference.state_dict(), path)
    images = torch.randn(2, 3, 64, 64)
    network = loaded(path, config(arch, 18))
    torch.testing.assert_close(logits_of(network, images), logits_of(reference, images), rtol=1e-4, atol=1e-5)


def test_the_mapping_is_named() -> None:
    state = timm.create_model("mobilenetv2_100", num_classes=2).state_dict()
    named = layouts.own_names(state, config("mobilenet_v2"), is_ordered=False)
    assert named.note == "names were mapped from timm's mobilenetv2_100, by the order and shapes of its layers"
    own = layouts.own_names(trained("torchvision", "resnet18").state_dict(), config("resnet", 18), is_ordered=True)
    assert own.note == ""


def test_vggs_hidden_layers_are_convolutions_in_timm_and_linear_in_torchvision() -> None:
    with torch.device("meta"):
        theirs = timm.create_model("vgg16_bn").state_dict()
    model = config("vgg", 16, retain_head=True, use_bias=True)
    model.input_image_size = "3,224,224"
    named = layouts.own_names(theirs, model, is_ordered=False)
    shapes = {name: tensor.shape for name, tensor in layouts.plain(model).state_dict().items()}
    assert {name: tensor.shape for name, tensor in named.tensors.items()} == shapes


@pytest.mark.parametrize(
    ("model", "arch"),
    [
        ("tf_efficientnet_b1", "efficientnet_b1"),
        ("tf_efficientnet_lite0", "timm/tf_efficientnet_lite0"),
        pytest.param("tf_efficientnet_b4", "timm/tf_efficientnet_b4", marks=pytest.mark.slow),
    ],
)
def test_efficientnet_pytorch_s_layers_are_known_by_name_in_whatever_order(model: str, arch: str) -> None:
    with torch.device("meta"):
        reference = timm.create_model(model).state_dict()
    theirs = as_efficientnet_pytorch(reference)
    shuffled = {name: theirs[name] for name in sorted(theirs)}
    named = layouts.own_names(shuffled, config(arch), is_ordered=False)
    assert named.note == "names were mapped from efficientnet_pytorch's, by the order that they tell"
    wanted = layouts.own_names(reference, config(arch), is_ordered=False).tensors
    own = [name for name in wanted if "num_batches" not in name]
    assert len(own) > 100
    assert all(named.tensors[name] is wanted[name] for name in own)
    odd = {**shuffled, "_blocks.3._mystery.weight": torch.zeros(1)}
    assert layouts.own_names(odd, config(arch), is_ordered=False).tensors is odd


def as_efficientnet_pytorch(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """timm's tensors by the other library's names, block by block."""
    blocks = sorted({tuple(name.split(".")[1:3]) for name in state if name.startswith("blocks.")})
    around = {"conv_stem": "_conv_stem", "bn1": "_bn0", "conv_head": "_conv_head", "bn2": "_bn1", "classifier": "_fc"}
    first = {"conv_dw": "_depthwise_conv", "bn1": "_bn1", "conv_pw": "_project_conv", "bn2": "_bn2"}
    later = {"conv_pw": "_expand_conv", "bn1": "_bn0", "conv_dw": "_depthwise_conv", "bn2": "_bn1"}
    later |= {"conv_pwl": "_project_conv", "bn3": "_bn2"}
    squeezing = {"se.conv_reduce": "_se_reduce", "se.conv_expand": "_se_expand"}
    found = {}
    for name, tensor in state.items():
        layer, _, last = name.rpartition(".")
        if last == "num_batches_tracked":
            continue
        if layer.startswith("blocks."):
            _, stage, block, inner = layer.split(".", 3)
            names = (first if stage == "0" else later) | squeezing
            layer = f"_blocks.{blocks.index((stage, block))}.{names[inner]}"
        else:
            layer = around[layer]
        found[f"{layer}.{last}"] = tensor
    return found


def test_names_that_nobody_knows_are_mapped_by_order() -> None:
    reference = trained("timm", "mobilenetv1_100")
    numbered = enumerate(layouts.layers(reference.state_dict()).values())
    state = {f"part{number}.{name}": tensor for number, layer in numbered for name, tensor in layer.items()}
    named = layouts.own_names(state, config("mobilenet_v1"), is_ordered=True)
    assert named.note.startswith("names were mapped by the order and shapes of the file's layers; its strides")
    assert named.tensors.keys() == {name for name in reference.state_dict() if "num_batches" not in name}
    assert layouts.own_names(state, config("mobilenet_v1"), is_ordered=False).tensors is state


def test_one_other_shape_in_the_body_ends_the_mapping() -> None:
    state = dict(timm.create_model("mobilenetv2_100").state_dict())
    state["blocks.3.0.conv_dw.weight"] = torch.zeros(192, 1, 5, 5)
    assert layouts.own_names(state, config("mobilenet_v2"), is_ordered=True).tensors is state


def test_no_network_is_made_as_wide_as_a_small_file_claims() -> None:
    state = dict(timm.create_model("mobilenetv2_050").state_dict())
    named = layouts.own_names(state, config("mobilenet_v2"), is_ordered=True)
    assert named.note.endswith("; its layers have other widths than the architecture's, which were kept")
    assert named.full
    state["conv_head.weight"] = torch.zeros(1).expand(10**6, 160, 1, 1)
    assert not layouts.own_names(state, config("mobilenet_v2"), is_ordered=True).full


def test_the_sample_mobilenet_of_a_quarter_of_the_width_knows_what_is_in_pictures(shared: Path) -> None:
    # It was trained with LeakyReLU of slope 0.1, which its file does not tell; its top-1 accuracy is 52 % there.
    model = config("mobilenet_v1")
    model.input_image_size = "3,224,224"
    source = str(shared / "data" / "weights" / "mobilenetV1X0.25_pretrain.tar")
    train = pb.TrainConfig(pretrained_model_path=source, preprocess_mode="torch")
    network = pretrained.network(pb.Experiment(model_config=model, train_config=train), tuple(map(str, range(1000))))
    adapt.set_activation(network, nn.ReLU6, "leaky_relu")
    crop = [v2.Resize(256), v2.CenterCrop(224), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]
    normalise = v2.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    pictures = ImageFolder(shared / "data" / "folders" / "imagenette_tiny" / "val", v2.Compose([*crop, normalise]))
    images, labels = (torch.stack([torch.as_tensor(pair[side]) for pair in pictures]) for side in (0, 1))
    hits = logits_of(network, images).argmax(dim=1) == torch.tensor(POSITIONS)[labels]
    assert hits.float().mean().item() > 0.4


def test_a_narrower_network_keeps_its_widths_with_other_classes_and_channels(tmp_path: Path) -> None:
    reference: nn.Module = trained("timm", "mobilenetv2_050")
    path = tmp_path / "x.pth"
    torch.save(reference.state_dict(), path)
    model = config("mobilenet_v2", use_bias=True)
    model.input_image_size = "1,64,64"
    train = pb.TrainConfig(pretrained_model_path=str(path), preprocess_mode="torch")
    network = pretrained.network(pb.Experiment(model_config=model, train_config=train), ("a", "b"))
    assert network.get_parameter("features.0.0.weight").shape == (16, 1, 3, 3)
    assert network.get_parameter("classifier.1.weight").shape == (2, 1280)
    assert all(tensor.isfinite().all() for tensor in network.state_dict().values())
    # All but the head is the reference's: it gives the same features of a grey image.
    grey = torch.randn(2, 1, 64, 64)
    for one in (network, reference):
        one.set_submodule("classifier", nn.Identity())
    expected = logits_of(reference, grey.expand(-1, 3, -1, -1))
    torch.testing.assert_close(logits_of(network, grey), expected, rtol=1e-4, atol=1e-5)
