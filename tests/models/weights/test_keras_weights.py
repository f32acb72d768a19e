"""Keras files of TAO: our networks compute what TAO's do, and files that are none end in one clear error."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tao_lite.errors import CheckpointError
from tao_lite.models import architectures, head
from tao_lite.models.weights import weight_files
from tao_lite.models.weights.assignment import Assignment, assign
from tao_lite.models.weights.weights import Weights, read
from tao_lite.spec import classification_pb2 as pb
from tao_lite.stages.train import pretrained
from tests.models import tao_networks
from tests.models.tao_networks import EPSILON, Tao

NUM_CLASSES = 4


def config(arch: str, n_layers: int = 0, activation: str = "", **switches: Any) -> pb.ModelConfig:
    model = pb.ModelConfig(arch=arch, n_layers=n_layers, input_image_size="3,65,65", use_batch_norm=True, **switches)
    model.batch_norm_config.epsilon = EPSILON
    if activation:
        model.activation.activation_type = activation
    return model


def loaded(path: Path, model: pb.ModelConfig) -> tuple[nn.Module, Assignment, Weights]:
    found = read(str(path), model)
    network = architectures.build(model, NUM_CLASSES)
    return network, assign(network, found.tensors, head=head.find(network), source="x.hdf5"), found


def logits_of(network: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        logits: Tensor = network.eval()(images)
    return logits


@pytest.mark.slow
@pytest.mark.parametrize(
    ("reference", "model", "slope"),
    [
        (tao_networks.resnet, config("resnet", 18, all_projections=True), 0.0),
        (tao_networks.vgg_16, config("vgg", 16), 0.0),
        (tao_networks.mobilenet_v1, config("mobilenet_v1"), 0.0),
        (tao_networks.mobilenet_v2, config("mobilenet_v2", all_projections=True), 0.0),
        (tao_networks.efficientnet_b0, config("efficientnet_b0"), 0.0),
        (tao_networks.darknet_19, config("darknet", 19), 0.1),
        (tao_networks.cspdarknet_53, config("cspdarknet", 53, "leaky_relu"), 0.1),
        (tao_networks.cspdarknet_tiny, config("cspdarknet_tiny"), 0.1),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_a_file_of_tao_gives_its_function(
    reference: Callable[[Tao, Tensor, int], Tensor], model: pb.ModelConfig, slope: float, tmp_path: Path
) -> None:
    # Of 61 pixels tiny's convolutions make odd sides and its poolings get even ones.
    side = 61 if model.arch == "cspdarknet_tiny" else 65
    tao, images = Tao(slope), torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    expected = reference(tao, images, NUM_CLASSES)
    network, report, found = loaded(tao.save(tmp_path / "x.hdf5"), model)
    assert report.missing == report.unused == report.new_head == ()
    assert (found.mode, found.full) == ("caffe", None)
    torch.testing.assert_close(logits_of(network, images), expected, rtol=1e-3, atol=1e-3)


def test_squeezenet_finds_its_layers(tmp_path: Path) -> None:
    tao = Tao()
    tao_networks.squeezenet(tao, torch.randn(1, 3, 65, 65), NUM_CLASSES)
    network, report, _ = loaded(tao.save(tmp_path / "x.h5", whole=False), config("squeezenet"))
    assert report.missing == report.unused == report.new_head == ()
    model = config("squeezenet", retain_head=True)
    tao.layers["conv10"] = {"kernel": tao.draw(1, 1, 512, NUM_CLASSES), "bias": tao.draw(NUM_CLASSES)}
    del tao.layers["predictions"]
    _, report, _ = loaded(tao.save(tmp_path / "head.h5"), model)
    assert report.missing == report.unused == report.new_head == ()
    # fire9 is the last block; torchvision counts poolings among its features.
    wide = torch.from_numpy(tao.layers["fire9_expand_conv3x3"]["kernel"]).permute(3, 2, 0, 1)
    assert torch.equal(network.get_parameter("features.12.expand3x3.weight"), wide)


def test_googlenet_takes_all_but_the_larger_kernels_that_ours_has_not(tmp_path: Path) -> None:
    tao, images = Tao(), torch.randn(1, 3, 9, 9)
    for name, filters, size in (("conv1", 64, 7), ("conv2_reduce", 64, 1), ("conv2", 192, 3)):
        images = tao.norm(f"bn_{name}", tao.conv(name, images, filters, size))
    for block, widths in INCEPTIONS.items():
        units = zip(("1x1", "3x3_reduce", "3x3", "5x5_reduce", "5x5", "pool_proj"), widths, strict=True)
        parts: dict[str, Tensor] = {}
        for kind, filters in units:
            inputs = parts.get(f"{kind}_reduce", images)
            name, size = f"inception_{block}_{kind}", int(kind[0]) if kind in ("3x3", "5x5") else 1
            parts[kind] = tao.norm(f"{name}_bn", tao.conv(name, inputs, filters, size))
        images = torch.cat([parts[kind] for kind in ("1x1", "3x3", "5x5", "pool_proj")], dim=1)
    tao.dense("output_fc", images.mean(dim=(2, 3)), NUM_CLASSES)
    network, report, found = loaded(tao.save(tmp_path / "x.hdf5"), config("googlenet"))
    assert set(report.mismatched) == {f"inception{block}.branch3.1.conv.weight" for block in INCEPTIONS}
    assert report.missing == report.unused == report.new_head == ()
    assert "it has 5x5 convolutions where ours are 3x3" in found.note
    pooled = torch.from_numpy(tao.layers["inception_5b_pool_proj"]["kernel"]).permute(3, 2, 0, 1)
    assert torch.equal(network.get_parameter("inception5b.branch4.1.conv.weight"), pooled)


# Channels of 1x1, 3x3 with its reduction, 5x5 with its reduction, and behind the pooling: arXiv:1409.4842, table 1.
INCEPTIONS = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}


def test_alexnet_takes_over_taos_widths(tmp_path: Path) -> None:
    tao, images = Tao(), torch.randn(1, 3, 33, 33)
    for number, (filters, size) in enumerate(((96, 11), (256, 5), (384, 3), (384, 3), (256, 3)), 1):
        images = tao.conv(f"conv{number}", images, filters, size, bias=True)
    path, model = tao.save(tmp_path / "x.hdf5"), config("alexnet")
    train = pb.TrainConfig(pretrained_model_path=str(path), preprocess_mode="caffe")
    network = pretrained.network(pb.Experiment(model_config=model, train_config=train), ("a", "b"))
    assert network.get_parameter("features.3.weight").shape == (256, 96, 5, 5)
    assert np.array_equal(network.get_parameter("features.10.bias").detach(), tao.layers["conv5"]["bias"])
    assert network.get_parameter("classifier.1.weight").isfinite().all()


@pytest.fixture(scope="module")
def resnet_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tao = Tao()
    tao_networks.resnet(tao, torch.randn(1, 3, 17, 17), NUM_CLASSES, repeats=(1, 1, 1, 1))
    return tao.save(tmp_path_factory.mktemp("keras") / "resnet10.hdf5")


def test_shortcuts_that_the_network_lacks_are_unused_and_those_that_the_file_lacks_are_neutral(
    resnet_file: Path, tmp_path: Path
) -> None:
    _, report, found = loaded(resnet_file, config("resnet", 10, use_pooling=True))
    assert {name.rpartition(".")[0] for name in report.unused} == {"layer1.0.downsample.0", "layer1.0.downsample.1"}
    assert report.missing == ()
    assert found.note == (
        "names were mapped from TAO's; the network computes nearly what TAO's does, not the same: "
        "TAO pads strided layers on two sides only; training adapts the weights"
    )
    path = tmp_path / "x.hdf5"
    path.write_bytes(resnet_file.read_bytes())
    with h5py.File(path, "r+") as file:
        del file["model_weights/block_1a_conv_shortcut"], file["model_weights/block_1a_bn_shortcut"]
    _, report, _ = loaded(path, config("resnet", 10, all_projections=True))
    assert {name.partition(".downsample")[0] for name in report.neutral if "weight" in name} == {"layer1.0"}


def test_other_classes_give_a_new_head(resnet_file: Path) -> None:
    found = read(str(resnet_file), config("resnet", 10))
    network = architectures.build(config("resnet", 10), 9)
    report = assign(network, found.tensors, head="fc")
    assert report.new_head == ("fc.weight", "fc.bias")


def test_a_bias_that_only_tao_has_goes_into_the_normalisation(resnet_file: Path, tmp_path: Path) -> None:
    path, images = tmp_path / "x.hdf5", torch.randn(2, 3, 65, 65)
    path.write_bytes(resnet_file.read_bytes())
    with h5py.File(path, "r+") as file:
        for layer in [name for name in file["model_weights"] if "conv" in name and "bn" not in name]:
            group = file[f"model_weights/{layer}/{layer}"]
            group["bias:0"] = np.random.default_rng(0).normal(size=group["kernel:0"].shape[3]).astype(np.float32)
    without, report, _ = loaded(path, config("resnet", 10))
    having, _, _ = loaded(path, config("resnet", 10, use_bias=True))
    assert report.unused == ()
    assert "; 13 biases that it lacks went into the batch normalisation behind them" in str(report)
    torch.testing.assert_close(logits_of(without, images), logits_of(having, images), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (config("mobilenet_v1"), 'holds a network of TAO\'s resnet family, and model_config.arch is "mobilenet_v1"; '),
        (
            config("timm/resnet18"),
            'holds a network of TAO\'s resnet family, and model_config.arch is "timm/resnet18"; ',
        ),
        (config("resnet", 18), "has 9 convolutions, 9 normalisations before its head, and the network 17 conv"),
    ],
)
def test_a_file_of_another_network_is_refused(model: pb.ModelConfig, expected: str, resnet_file: Path) -> None:
    with pytest.raises(CheckpointError) as error:
        read(str(resnet_file), model)
    assert str(error.value).startswith(f"{resnet_file}: {expected}")


def error_of(path: Path) -> str:
    with pytest.raises(CheckpointError) as error:
        weight_files.load_keras(path)
    text = str(error.value)
    assert text.startswith(f"{path}: ")
    return text.removeprefix(f"{path}: ")


def test_a_file_of_no_network_is_described(tmp_path: Path) -> None:
    tao = Tao()
    tao.dense("my_layer", torch.zeros(1, 3), 2)
    with pytest.raises(CheckpointError, match=r"holds no network of TAO's, but my_layer, and model_config.arch is "):
        read(str(tao.save(tmp_path / "x.hdf5")), config("resnet", 18))
    with h5py.File(tmp_path / "empty.h5", "w") as file:
        file["layers/conv2d/vars/0"] = np.zeros(3, np.float32)
    assert error_of(tmp_path / "empty.h5").startswith("holds no layers as Keras 2 writes them; give an .hdf5 file")


def test_without_h5py_the_remedy_is_named(resnet_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    needs = "Keras weights need h5py, which is not installed; pip install tao-lite[import]"
    assert error_of(resnet_file) == needs


@pytest.mark.parametrize("share", [0.001, 0.3, 0.9])
def test_a_file_that_is_cut_short_is_named(share: float, resnet_file: Path, tmp_path: Path) -> None:
    content = resnet_file.read_bytes()
    (tmp_path / "x.hdf5").write_bytes(content[: int(share * len(content))])
    assert error_of(tmp_path / "x.hdf5").startswith("is damaged, cut short or not a weights file (")


def test_files_that_are_no_hdf5_are_named(tmp_path: Path) -> None:
    (tmp_path / "x.hdf5").write_bytes(b"version https://git-lfs.github.com/spec/v1")
    assert error_of(tmp_path / "x.hdf5").startswith("is a Git LFS pointer")
    assert error_of(tmp_path / "x.h5") == "no such file; did you mean x.hdf5?"


def test_links_are_never_followed(tmp_path: Path, resnet_file: Path) -> None:
    links = [h5py.ExternalLink(resnet_file, "/model_weights/conv1"), h5py.SoftLink("/elsewhere")]
    for number, link in enumerate(links):
        for name in ("model_weights", "model_weights/conv1"):
            path = tmp_path / f"{number}{len(name)}.hdf5"
            with h5py.File(path, "w") as file:
                file[name] = link
            assert error_of(path).endswith(" is a link, which Keras never writes")


def test_data_in_other_files_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "outside.hdf5", "w") as file:
        outside = [(str(tmp_path / "secret"), 0, 400)]
        file.create_dataset("conv1/kernel:0", shape=(100,), dtype="f4", external=outside)
    assert error_of(tmp_path / "outside.hdf5").startswith("refused, because conv1/kernel:0 points to another file")
    layout = h5py.VirtualLayout((100,), "f4")
    layout[:] = h5py.VirtualSource(tmp_path / "secret", "x", (100,))
    with h5py.File(tmp_path / "virtual.hdf5", "w") as file:
        file.create_virtual_dataset("conv1/kernel:0", layout)
    assert error_of(tmp_path / "virtual.hdf5").startswith("refused, because conv1/kernel:0 points to another file")


@pytest.mark.parametrize("options", [{}, {"chunks": (1000,), "compression": "gzip"}])
def test_arrays_that_would_fill_the_memory_are_refused(options: dict[str, Any], tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.hdf5", "w") as file:
        file.create_dataset("conv1/kernel:0", shape=(10**12,), dtype="f4", **options)
    text = error_of(tmp_path / "x.hdf5")
    assert text.startswith("refused, because 1 arrays of together 4,000,000,000,000 bytes can't be in a file of ")


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((3, 3), np.int32), "int32 of 2 axes"),
        (np.zeros((2, 3, 4), np.float32), "float32 of 3 axes"),
        (np.array(["a" * 50] * 9, dtype="S50"), "|S50 of 1 axes"),
    ],
)
def test_arrays_that_are_no_weights_are_named(array: Any, words: str, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.hdf5", "w") as file:
        file["conv1/conv1/kernel:0"] = array
    text = f"/conv1/conv1/kernel:0 is {words}; must be float of 1, 2 or 4 axes"
    assert error_of(tmp_path / "x.hdf5") == text


def test_values_that_are_not_finite_are_refused(resnet_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.hdf5"
    path.write_bytes(resnet_file.read_bytes())
    with h5py.File(path, "r+") as file:
        file["model_weights/conv1/conv1/kernel:0"][0, 0, 0, 0] = np.nan
    with pytest.raises(CheckpointError, match=r"x.hdf5: conv1.weight holds values that are not finite"):
        loaded(path, config("resnet", 10))


def test_layers_of_a_network_within_a_network_are_found(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.hdf5", "w") as file:
        for name in ("conv1", "conv2"):
            file[f"model_weights/resnet/{name}/kernel:0"] = np.zeros((1, 1, 2, 3), np.float32)
        file["model_weights/predictions/predictions_1/kernel:0"] = np.zeros((3, 2), np.float32)
    layers = weight_files.load_keras(tmp_path / "x.hdf5")
    assert {name: tuple(layer["weight"].shape) for name, layer in layers.items()} == {
        "conv1": (3, 2, 1, 1),
        "conv2": (3, 2, 1, 1),
        "predictions": (2, 3),
    }
