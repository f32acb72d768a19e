"""Weights are read from where they lie and assigned with an account of every tensor."""

from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import torchvision
from torch import Tensor, nn

from tao_lite.errors import CheckpointError
from tao_lite.models.architectures import Options
from tao_lite.models.families.resnet import build
from tao_lite.models.weights.assignment import Assignment, assign
from tao_lite.models.weights.recognise import looks_like
from tao_lite.models.weights.weights import read
from tao_lite.spec import classification_pb2 as pb

NUM_CLASSES = 5


def resnet(n_layers: int) -> pb.ModelConfig:
    return pb.ModelConfig(arch="resnet", n_layers=n_layers, use_batch_norm=True, input_image_size="3,64,64")


def network_of(n_layers: int = 18, num_classes: int = NUM_CLASSES, **switches: Any) -> nn.Module:
    torch.manual_seed(0)
    return build(Options(num_classes=num_classes, n_layers=n_layers, **switches))


@pytest.fixture(scope="module")
def reference() -> nn.Module:
    """torchvision's ResNet-18 in evaluation mode, with statistics as after training."""
    torch.manual_seed(1)
    network: nn.Module = torchvision.models.resnet18(num_classes=NUM_CLASSES)
    network(torch.randn(8, 3, 64, 64))
    return network.eval()


def logits_of(network: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        logits: Tensor = network.eval()(images)
    return logits


@pytest.mark.parametrize("container", [None, "state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_containers_and_prefixes_are_taken_off(container: str | None, prefix: str, tmp_path: Path) -> None:
    state: dict[str, object] = {f"{prefix}fc.bias": torch.ones(3)}
    torch.save({container: state, "epoch": 3} if container else state, tmp_path / "x.pth")
    tensors = read(str(tmp_path / "x.pth"), resnet(18)).tensors
    assert list(tensors) == ["fc.bias"]
    assert torch.equal(tensors["fc.bias"], torch.ones(3))


def test_safetensors_are_read(tmp_path: Path) -> None:
    safetensors.torch.save_file({"fc.bias": torch.ones(3)}, tmp_path / "x.safetensors")
    assert torch.equal(read(str(tmp_path / "x.safetensors"), resnet(18)).tensors["fc.bias"], torch.ones(3))


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ({"epoch": 1, "lr": 0.1}, "a dict of epoch, lr"),
        ([torch.ones(1)], "list"),
        (torch.ones(1), "Tensor"),
    ],
)
def test_file_without_named_tensors_is_refused(content: object, found: str, tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    torch.save(content, path)
    with pytest.raises(CheckpointError) as error:
        read(str(path), resnet(18))
    remedy = 'give a state dict, alone or under "state_dict" or "model"'
    assert str(error.value) == f"{path}: holds no tensors by name but {found}; {remedy}"


@pytest.mark.filterwarnings("ignore:Validating sparse tensor invariants")
def test_sparse_tensors_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    torch.save({"fc.weight": torch.ones(2, 2).to_sparse()}, path)
    with pytest.raises(CheckpointError) as error:
        read(str(path), resnet(18))
    assert str(error.value) == f"{path}: fc.weight is not a plain dense tensor; save the network's float weights"


def test_torchvision_weights_come_through_torchvision(torch_home: Path, reference: nn.Module) -> None:
    torch.save(reference.state_dict(), torch_home / "resnet18-f37072fd.pth")
    tensors = read("torchvision://IMAGENET1K_V1", resnet(18)).tensors
    network = network_of()
    network.load_state_dict(tensors, strict=True)
    images = torch.randn(2, 3, 64, 64)
    assert torch.equal(logits_of(network, images), logits_of(reference, images))


def test_damaged_download_is_named(torch_home: Path) -> None:
    path = torch_home / "resnet18-f37072fd.pth"
    path.touch()
    with pytest.raises(CheckpointError) as error:
        read("torchvision://IMAGENET1K_V1", resnet(18))
    assert str(error.value) == f"{path}: is empty; download or copy it again"


def test_failed_download_says_where_to_put_the_file(
    torch_home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    # Port 9 of this machine refuses at once.
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.setattr("urllib.request._opener", None)
    with pytest.raises(CheckpointError) as error:
        read("torchvision://IMAGENET1K_V1", resnet(18))
    text = str(error.value)
    assert text.startswith("torchvision://IMAGENET1K_V1: https://")
    assert "/resnet18-f37072fd.pth can't be downloaded (" in text
    assert text.endswith(f"put that file into {torch_home}, or give its path as train_config.pretrained_model_path")
    assert capsys.readouterr().out == ""


def test_unknown_torchvision_weights_are_listed() -> None:
    with pytest.raises(CheckpointError) as error:
        read("torchvision://IMAGENET1K_V3", resnet(50))
    assert str(error.value) == (
        "torchvision://IMAGENET1K_V3: resnet50 has IMAGENET1K_V1, IMAGENET1K_V2, DEFAULT; did you mean IMAGENET1K_V2?"
    )


@pytest.mark.parametrize("n_layers", [10, 200])
def test_depths_without_torchvision_weights_are_explained(n_layers: int) -> None:
    with pytest.raises(CheckpointError) as error:
        read("torchvision://IMAGENET1K_V1", resnet(n_layers))
    assert str(error.value) == (
        f"torchvision://IMAGENET1K_V1: torchvision has no resnet{n_layers}, only resnet101, resnet152, resnet18, "
        "resnet34, resnet50; change model_config.n_layers, or leave train_config.pretrained_model_path out"
    )


def test_everything_matches_between_equal_networks(reference: nn.Module) -> None:
    network = network_of()
    report = assign(network, reference.state_dict(), head="fc")
    assert report.matched == tuple(network.state_dict())
    assert str(report) == "weights: took 122 of the network's 122 tensors"
    images = torch.randn(2, 3, 64, 64)
    assert torch.equal(logits_of(network, images), logits_of(reference, images))


def test_head_of_another_class_count_is_left_and_announced(reference: nn.Module) -> None:
    network = network_of(num_classes=3)
    before = network.get_parameter("fc.weight").clone()
    report = assign(network, reference.state_dict(), head="fc", source="x.pth")
    assert torch.equal(network.get_parameter("fc.weight"), before)
    assert report.mismatched == {"fc.weight": ((5, 512), (3, 512)), "fc.bias": ((5,), (3,))}
    assert str(report).splitlines() == [
        "x.pth: took 120 of the network's 122 tensors",
        (
            "New head, left at its initialisation: fc.weight ([5, 512] in the file, [3, 512] here), "
            "fc.bias ([5] in the file, [3] here)"
        ),
    ]


def test_file_without_head_starts_a_new_head(reference: nn.Module) -> None:
    state = {name: tensor for name, tensor in reference.state_dict().items() if not name.startswith("fc.")}
    report = assign(network_of(), state, head="fc")
    assert report.missing == report.new_head == ("fc.weight", "fc.bias")


@pytest.mark.parametrize("switches", [{"all_projections": True}, {"all_projections": True, "use_bias": True}])
def test_added_projections_and_biases_keep_the_function(switches: dict[str, bool], reference: nn.Module) -> None:
    network = network_of(**switches)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1)
    report = assign(network, reference.state_dict(), head="fc")
    assert report.missing == report.unused == ()
    assert not report.mismatched
    images = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(logits_of(network, images), logits_of(reference, images), rtol=1e-5, atol=1e-5)


def test_added_projections_of_bottlenecks_keep_the_function() -> None:
    torch.manual_seed(1)
    reference = torchvision.models.resnet50(num_classes=NUM_CLASSES).eval()
    network = network_of(50, all_projections=True)
    # 16 blocks, 4 of them projected by torchvision; 1 + 5 tensors each.
    assert len(assign(network, reference.state_dict(), head="fc").neutral) == (16 - 4) * 6
    images = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(logits_of(network, images), logits_of(reference, images), rtol=1e-4, atol=1e-4)


def test_projections_without_pooling_start_as_identity(reference: nn.Module) -> None:
    network = network_of(use_pooling=False)
    report = assign(network, reference.state_dict(), head="fc")
    assert {name.rpartition(".downsample.")[0] for name in report.neutral} == {"layer1.0"}
    assert torch.equal(network.get_parameter("layer1.0.downsample.0.weight")[:, :, 0, 0], torch.eye(64))
    assert str(report) == (
        "weights: took 122 of the network's 128 tensors; 6 that the file lacks start neutral (identity or zero)"
    )


def test_one_channel_network_sums_the_first_convolution(reference: nn.Module) -> None:
    network = network_of(channels=1)
    report = assign(network, reference.state_dict(), head="fc")
    assert report.converted == ("conv1.weight",)
    grey = torch.randn(2, 1, 64, 64)
    expected = logits_of(reference, grey.expand(-1, 3, -1, -1))
    torch.testing.assert_close(logits_of(network, grey), expected, rtol=1e-5, atol=1e-5)
    assert str(report) == (
        "weights: took 122 of the network's 122 tensors, conv1.weight with its input channels converted"
    )


def test_three_channel_network_spreads_the_first_convolution() -> None:
    grey_network, network = network_of(channels=1), network_of()
    report = assign(network, grey_network.state_dict(), head="fc")
    assert report.converted == ("conv1.weight",)
    grey = torch.randn(2, 1, 64, 64)
    expected = logits_of(grey_network, grey)
    torch.testing.assert_close(logits_of(network, grey.expand(-1, 3, -1, -1)), expected, rtol=1e-5, atol=1e-5)


def test_files_of_old_torch_without_batch_counters_match(reference: nn.Module) -> None:
    state = {name: t for name, t in reference.state_dict().items() if not name.endswith("num_batches_tracked")}
    report = assign(network_of(), state, head="fc")
    assert report.missing == ()
    assert len(report.neutral) == 20


def test_half_precision_files_are_taken(reference: nn.Module) -> None:
    network = network_of()
    halves = {name: tensor.half() for name, tensor in reference.state_dict().items()}
    assign(network, halves, head="fc")
    assert network.get_parameter("conv1.weight").dtype == torch.float32
    assert torch.equal(network.get_parameter("conv1.weight"), halves["conv1.weight"].float())


def test_other_shapes_and_unused_tensors_are_reported(reference: nn.Module) -> None:
    state = dict(reference.state_dict())
    state["layer1.0.conv1.weight"] = torch.zeros(32, 64, 3, 3)
    del state["layer1.0.bn1.weight"]
    state |= {f"extra.{number}": torch.zeros(1) for number in range(5)}
    report = assign(network_of(), state, head="fc")
    assert str(report).splitlines() == [
        "weights: took 120 of the network's 122 tensors",
        (
            "Left at their initialisation: 2 tensors, layer1.0.bn1.weight (not in the file), "
            "layer1.0.conv1.weight ([32, 64, 3, 3] in the file, [64, 64, 3, 3] here)"
        ),
        "Unused tensors of the file: 5, extra.0, extra.1, extra.2 and 2 more; the file looks like ResNet-18",
    ]


def test_deeper_file_is_recognised_in_the_report() -> None:
    state = torchvision.models.resnet34(num_classes=NUM_CLASSES).state_dict()
    lines = str(assign(network_of(), state, head="fc")).splitlines()
    assert lines[-1].startswith("Unused tensors of the file: 96, ")
    assert lines[-1].endswith("; the file looks like ResNet-34")


def test_every_tensor_of_the_network_is_reported_once(reference: nn.Module) -> None:
    network = network_of(num_classes=3, channels=1, all_projections=True, use_bias=True)
    report = assign(network, reference.state_dict(), head="fc")
    names = [*report.matched, *report.converted, *report.neutral, *report.missing, *report.mismatched]
    assert sorted(names) == sorted(network.state_dict())


@pytest.mark.parametrize(
    ("name", "taken", "kind"),
    [
        ("resnet20-12fca82f.th", 0, "ResNet-20 of 3 stages, as made for small images"),
        ("mobilenetV1X0.25_pretrain.tar", 0, "MobileNet v1 of width 0.25"),
    ],
)
def test_real_weights_of_other_networks_are_recognised(name: str, taken: int, kind: str, shared: Path) -> None:
    source = str(shared / "data" / "weights" / name)
    with pytest.raises(CheckpointError) as error:
        assign(network_of(), read(source, resnet(18)).tensors, head="fc", source=source)
    text = str(error.value)
    assert text.startswith(f"{source}: only {taken} of ")
    assert f"it looks like {kind}, the network is ResNet-18; change" in text


def test_unrecognised_file_is_described_by_its_tensors() -> None:
    with pytest.raises(CheckpointError) as error:
        assign(network_of(), {"a": torch.zeros(1), "b": torch.zeros(1)}, head="fc", source="x.pth")
    assert str(error.value) == (
        "x.pth: only 0 of 102 tensors of the network are in it with the same shape; it looks like "
        "no architecture known here, with a, b, the network is ResNet-18; "
        "change model_config or train_config.pretrained_model_path"
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused_and_nothing_is_written(value: float, reference: nn.Module) -> None:
    network = network_of()
    before = network.get_parameter("conv1.weight").clone()
    state = dict(reference.state_dict()) | {"layer4.1.bn2.bias": torch.full((512,), value)}
    with pytest.raises(CheckpointError) as error:
        assign(network, state, head="fc", source="x.pth")
    assert str(error.value) == ("x.pth: layer4.1.bn2.bias holds values that are not finite; take an earlier checkpoint")
    assert torch.equal(network.get_parameter("conv1.weight"), before)


def test_tensor_that_expands_to_terabytes_is_a_mismatch(tmp_path: Path, reference: nn.Module) -> None:
    state = dict(reference.state_dict()) | {"fc.weight": torch.zeros(1).expand(10**6, 10**6)}
    torch.save(state, tmp_path / "x.pth")
    report = assign(network_of(), read(str(tmp_path / "x.pth"), resnet(18)).tensors, head="fc")
    assert report.mismatched == {"fc.weight": ((10**6, 10**6), (5, 512))}


@pytest.mark.parametrize(
    ("model", "family"),
    [
        *((f"resnet{depth}", f"ResNet-{depth}") for depth in (18, 34, 50, 101, 152)),
        ("efficientnet_b0", "EfficientNet"),
        ("densenet121", "DenseNet"),
        ("squeezenet1_0", "SqueezeNet"),
        ("googlenet", "GoogLeNet"),
        ("vit_b_16", "a vision transformer"),
        ("vgg16", "VGG or AlexNet"),
        ("alexnet", "VGG or AlexNet"),
        ("mobilenet_v2", "MobileNet v2 of width 1"),
        ("shufflenet_v2_x1_0", "a network with depthwise convolutions, such as MobileNet"),
    ],
)
def test_families_of_torchvision_are_recognised(model: str, family: str) -> None:
    options: dict[str, Any] = {"init_weights": False} if model == "googlenet" else {}
    with torch.device("meta"):
        state = torchvision.models.get_model(model, **options).state_dict()
    assert looks_like(state) == family


def test_report_has_at_most_four_lines() -> None:
    report = Assignment(
        source="x.pth",
        matched=("a",),
        converted=("b",),
        neutral=("c",),
        missing=("d", "fc.bias"),
        mismatched={"fc.weight": ((1,), (2,))},
        unused=("e",),
        new_head=("fc.weight", "fc.bias"),
        looks_like="ResNet-18",
    )
    assert str(report).splitlines() == [
        (
            "x.pth: took 2 of the network's 6 tensors, b with its input channels converted; "
            "1 that the file lacks start neutral (identity or zero)"
        ),
        "New head, left at its initialisation: fc.weight ([1] in the file, [2] here), fc.bias (not in the file)",
        "Left at their initialisation: 1 tensors, d (not in the file)",
        "Unused tensors of the file: 1, e; the file looks like ResNet-18",
    ]
