"""Weights that torchvision and timm publish, from their caches, which the tests fill."""

from pathlib import Path

import pytest
import safetensors.torch
import timm
import torch
import torchvision
from torch import Tensor, nn

from tao_lite.errors import CheckpointError
from tao_lite.models import architectures, head
from tao_lite.models.weights import published
from tao_lite.models.weights.assignment import assign
from tao_lite.models.weights.weights import read
from tao_lite.spec import classification_pb2 as pb


def config(arch: str, n_layers: int = 0, size: str = "3,64,64") -> pb.ModelConfig:
    return pb.ModelConfig(
        arch=arch, n_layers=n_layers, input_image_size=size, use_batch_norm=True, use_pooling=True, use_bias=False
    )


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """timm's cache of downloaded files, empty and without a network; the library reads the variables only once."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def put(hub: Path, name: str, tensors: dict[str, Tensor]) -> Path:
    """Lay timm's weights of that name into the cache."""
    folder = hub / f"models--timm--{name}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("0" * 40)
    file = folder / "snapshots" / ("0" * 40) / "model.safetensors"
    file.parent.mkdir(parents=True)
    safetensors.torch.save_file(tensors, file)
    return file


def logits_of(network: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        logits: Tensor = network.eval()(images)
    return logits


def started(source: str, model: pb.ModelConfig) -> nn.Module:
    network = architectures.build(model, 1000)
    assert assign(network, read(source, model).tensors, head=head.find(network)).missing == ()
    return network


@pytest.mark.parametrize(
    ("arch", "n_layers", "name"),
    [
        ("resnet", 18, "resnet18.a1_in1k"),
        ("timm/resnet18", 0, "resnet18.a1_in1k"),
        ("timm/resnet18.a2_in1k", 0, "resnet18.a1_in1k"),
        ("torchvision/resnet18", 0, "resnet18.a1_in1k"),
        ("mobilenet_v1", 0, "mobilenetv1_100.ra4_e3600_r224_in1k"),
        ("mobilenet_v2", 0, "mobilenetv2_100.ra_in1k"),
        ("efficientnet_b0", 0, "efficientnet_b0.ra_in1k"),
    ],
)
def test_timms_weights_come_through_timm(arch: str, n_layers: int, name: str, hub: Path) -> None:
    model, _, tag = name.partition(".")
    torch.manual_seed(1)
    reference: nn.Module = timm.create_model(model)
    put(hub, name, reference.state_dict())
    images = torch.randn(2, 3, 64, 64)
    expected = logits_of(reference, images)
    torch.testing.assert_close(logits_of(started(f"timm://{tag}", config(arch, n_layers)), images), expected)


def test_the_tag_may_stand_behind_the_networks_name(hub: Path) -> None:
    put(hub, "resnet18.a1_in1k", timm.create_model("resnet18").state_dict())
    assert read("timm://resnet18.a1_in1k", config("resnet", 18)).mode == "torch"


def test_what_timm_normalises_with_is_told(hub: Path) -> None:
    put(hub, "mobilenetv1_100.ra4_e3600_r224_in1k", timm.create_model("mobilenetv1_100").state_dict())
    found = read("timm://ra4_e3600_r224_in1k", config("mobilenet_v1"))
    assert (found.mode, found.normalisation) == ("tf", "mean 0.5, 0.5, 0.5 and standard deviation 0.5, 0.5, 0.5")


@pytest.mark.parametrize(
    ("arch", "n_layers", "source", "text"),
    [
        ("resnet", 18, "timm://a1_in1", "timm's resnet18 has a1_in1k, a2_in1k, "),
        ("resnet", 10, "timm://a1_in1k", "timm has no resnet10, only resnet18, resnet26, resnet34, "),
        ("alexnet", 0, "timm://a1_in1k", "timm has no alexnet, only other architectures; change model_config.arch, or"),
        ("darknet", 19, "timm://c2ns_in1k", "timm has no darknet"),
        ("mobilenet_v1", 0, "torchvision://DEFAULT", "torchvision has no mobilenet_v1, only "),
        ("timm/vgg16", 0, "torchvision://IMAGENET1K_V9", "vgg16 has IMAGENET1K_V1, IMAGENET1K_FEATURES, DEFAULT"),
    ],
)
def test_unknown_weights_are_named(arch: str, n_layers: int, source: str, text: str) -> None:
    with pytest.raises(CheckpointError) as error:
        read(source, config(arch, n_layers))
    assert str(error.value).startswith(f"{source}: {text}")


def test_a_mistyped_tag_is_recognised() -> None:
    with pytest.raises(CheckpointError, match=r"did you mean a1_in1k\?$"):
        read("timm://a1_in1", config("resnet", 18))


@pytest.mark.usefixtures("hub")
def test_failed_download_from_the_hub_names_the_file() -> None:
    with pytest.raises(CheckpointError) as error:
        read("timm://a1_in1k", config("resnet", 18))
    text = str(error.value)
    assert text.startswith("timm://a1_in1k: https://")
    assert "/timm/resnet18.a1_in1k/resolve/main/model.safetensors can't be downloaded (" in text
    assert text.endswith("; fetch that file elsewhere and give its path as train_config.pretrained_model_path")


def test_damaged_file_in_the_hubs_cache_is_named(hub: Path) -> None:
    put(hub, "resnet18.a1_in1k", {"fc.bias": torch.ones(1)}).write_bytes(b"hello")
    with pytest.raises(CheckpointError) as error:
        read("timm://a1_in1k", config("resnet", 18))
    assert str(error.value).startswith("timm://a1_in1k: the weights that timm holds for it can't be used (Safetensor")


def put_torchvisions(torch_home: Path, model: str) -> nn.Module:
    """torchvision's network with biases as after training; its file lies in the cache, but for the largest layers."""
    torch.manual_seed(1)
    reference: nn.Module = torchvision.models.get_model(model)
    with torch.no_grad():
        for name, tensor in reference.state_dict().items():
            if name.endswith("bias"):
                tensor.normal_(std=0.1)
    weights = torchvision.models.get_model_weights(model)["IMAGENET1K_V1"]
    tensors = {name: tensor for name, tensor in reference.state_dict().items() if tensor.numel() < 10_000_000}
    torch.save(tensors, torch_home / weights.url.rpartition("/")[2])
    return reference


@pytest.mark.parametrize(
    ("arch", "model"),
    [
        ("mobilenet_v2", "mobilenet_v2"),
        ("efficientnet_b0", "efficientnet_b0"),
        ("torchvision/shufflenet_v2_x0_5", "shufflenet_v2_x0_5"),
        ("timm/mobilenetv2_100", "mobilenet_v2"),
    ],
)
def test_torchvisions_weights_come_through_torchvision(arch: str, model: str, torch_home: Path) -> None:
    reference, images = put_torchvisions(torch_home, model), torch.randn(2, 3, 64, 64)
    network = started("torchvision://IMAGENET1K_V1", config(arch))
    torch.testing.assert_close(logits_of(network, images), logits_of(reference, images), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("arch", "n_layers", "model"),
    [pytest.param("vgg", 16, "vgg16_bn", marks=pytest.mark.slow), ("squeezenet", 0, "squeezenet1_0")],
)
def test_features_are_torchvisions_where_the_head_is_not(
    arch: str, n_layers: int, model: str, torch_home: Path
) -> None:
    # Without use_bias vgg's biases go into its batch normalisations.
    reference, images = put_torchvisions(torch_home, model), torch.randn(2, 3, 64, 64)
    network = architectures.build(config(arch, n_layers), 5)
    found = read("torchvision://IMAGENET1K_V1", config(arch, n_layers))
    report = assign(network, found.tensors, head="classifier.1" if arch == "vgg" else "classifier.3")
    assert {name.partition(".")[0] for name in (*report.missing, *report.unused, *report.mismatched)} == {"classifier"}
    if arch == "vgg":
        reference.set_submodule("features.43", nn.Identity())
    own, theirs = (one.eval().get_submodule("features") for one in (network, reference))
    torch.testing.assert_close(logits_of(own, images), logits_of(theirs, images), rtol=1e-4, atol=1e-4)


def test_each_library_has_its_own_name_of_a_network() -> None:
    names = {
        "resnet": "resnet200",
        "mobilenet_v2": "mobilenetv2_100",
        "darknet": "",
        "efficientnet_b3": "efficientnet_b3",
    }
    assert {arch: published.models(config(arch, 200 if arch == "resnet" else 19))["timm"] for arch in names} == names
    assert published.models(config("timm/mobilenetv3_large_100.ra_in1k")) == {
        "torchvision": "mobilenet_v3_large",
        "timm": "mobilenetv3_large_100",
    }


@pytest.mark.parametrize("arch", ["googlenet", "torchvision/googlenet"])
def test_googlenets_weights_expect_other_images(arch: str) -> None:
    assert published.normalisation(config(arch)) == published.HALVES
    assert published.normalisation(config("resnet", 18)) == published.IMAGENET
