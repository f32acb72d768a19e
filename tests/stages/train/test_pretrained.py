"""The network a training starts from: a checkpoint, pruned or not, of these or other classes, or a foreign file."""

import math
from pathlib import Path

import pytest
import torch
from google.protobuf import text_format
from torch import nn

from tao_lite import checkpoint as checkpoints
from tao_lite.checkpoint import Checkpoint
from tao_lite.errors import CheckpointError, SpecError
from tao_lite.models import architectures, head
from tao_lite.pruning import plans, surgery, targets
from tao_lite.pruning.criteria import Rule
from tao_lite.spec import classification_pb2 as pb
from tao_lite.stages.train import pretrained

MODEL = pb.ModelConfig(arch="resnet", n_layers=10, input_image_size="3,32,32", use_batch_norm=True)


@pytest.fixture
def pruned(tmp_path: Path) -> Path:
    """A network of three classes, pruned to about half."""
    torch.manual_seed(0)
    network = architectures.build(MODEL, 3)
    rule = Rule(threshold=targets.for_parameters(plans.score(network, (3, 32, 32), Rule()), 0.5))
    smaller = surgery.cut(network, plans.score(network, (3, 32, 32), rule).plan())
    path = tmp_path / "pruned.pth"
    spec = text_format.MessageToString(pb.Experiment(model_config=MODEL))
    names = ("blue", "green", "red")
    checkpoints.save(
        path, Checkpoint(spec=spec, class_names=names, preprocess={}, network=smaller.state_dict(), epoch=1)
    )
    return path


def started(path: Path, class_names: tuple[str, ...]) -> nn.Module:
    experiment = pb.Experiment(model_config=MODEL, train_config=pb.TrainConfig(pretrained_model_path=str(path)))
    return pretrained.network(experiment, class_names)


def test_the_same_classes_give_the_pruned_network_itself(pruned: Path) -> None:
    found, network = checkpoints.load(pruned).network, started(pruned, ("blue", "green", "red")).state_dict()
    assert found.keys() == network.keys()
    for name, tensor in found.items():
        assert torch.equal(network[name], tensor), name


def test_a_head_for_other_classes_is_said_to_be_in_the_file(pruned: Path, caplog: pytest.LogCaptureFixture) -> None:
    """FIELD.md D8."""
    with caplog.at_level("INFO"):
        started(pruned, ("blue", "red"))
    words = (
        "New head, left at its initialisation: fc.weight, fc.bias; the file's is for other classes: blue, green, red"
    )
    assert words in caplog.text
    assert "not in the file" not in caplog.text


@pytest.mark.parametrize("class_names", [("blue", "red"), ("red", "green", "blue")])
def test_other_classes_or_another_order_give_a_new_head_on_the_pruned_body(
    pruned: Path, class_names: tuple[str, ...]
) -> None:
    found, network = checkpoints.load(pruned).network, started(pruned, class_names)
    for name, tensor in network.state_dict().items():
        if not name.startswith("fc."):
            assert torch.equal(found[name], tensor), name
    weight = network.get_submodule("fc").weight
    assert isinstance(weight, torch.Tensor)
    assert weight.shape == (len(class_names), found["fc.weight"].shape[1])
    # torch.nn.Linear starts uniform in +-1 / sqrt(inputs), whose deviation is that over sqrt(3).
    bound = 1 / math.sqrt(weight.shape[1])
    assert weight.abs().max().item() <= bound
    assert weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.1)


def saved(folder: Path, network: nn.Module, model: pb.ModelConfig, mode: str = "torch") -> Path:
    spec = pb.Experiment(model_config=model, train_config=pb.TrainConfig(preprocess_mode=mode))
    names = ("blue", "green", "red")
    state = network.state_dict()
    found = Checkpoint(spec=text_format.MessageToString(spec), class_names=names, preprocess={}, network=state, epoch=1)
    checkpoints.save(folder / "x.pth", found)
    return folder / "x.pth"


def changed(model: pb.ModelConfig, **fields: bool | int | str) -> pb.ModelConfig:
    copy = pb.ModelConfig()
    copy.CopyFrom(model)
    for name, value in fields.items():
        setattr(copy, name, value)
    return copy


def from_file(path: Path, model: pb.ModelConfig, class_names: tuple[str, ...], mode: str = "torch") -> nn.Module:
    train = pb.TrainConfig(pretrained_model_path=str(path), preprocess_mode=mode)
    return pretrained.network(pb.Experiment(model_config=model, train_config=train), class_names)


@pytest.mark.parametrize("retain_head", [True, False])
@pytest.mark.parametrize("arch", ["squeezenet", "mobilenet_v1", "cspdarknet_tiny", "googlenet", "timm/resnet10t"])
def test_any_architecture_gets_a_new_head_for_other_classes(arch: str, retain_head: bool, tmp_path: Path) -> None:
    model = changed(MODEL, arch=arch, retain_head=retain_head, input_image_size="3,64,64")
    torch.manual_seed(0)
    theirs = architectures.build(model, 3)
    network = from_file(saved(tmp_path, theirs, model), changed(model, input_image_size="1,96,96"), ("a", "b"))
    name = head.find(network)
    own, first = network.state_dict(), next(iter(theirs.state_dict()))
    for key, tensor in theirs.state_dict().items():
        if not key.startswith(f"{name}.") and key != first:
            assert torch.equal(own[key], tensor), key
    assert own[f"{name}.weight"].shape[0] == 2
    assert torch.equal(own[first], theirs.state_dict()[first].sum(dim=1, keepdim=True))


def test_a_head_on_the_whole_map_is_new_for_another_size(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = changed(MODEL, retain_head=True, input_image_size="3,64,64")
    path = saved(tmp_path, architectures.build(model, 3), model)
    with caplog.at_level("INFO"):
        network = from_file(path, changed(model, input_image_size="3,96,96"), ("blue", "green", "red"))
    assert network.get_parameter("fc.weight").shape == (3, 512 * 6 * 6)
    words = "New head, left at its initialisation: fc.weight ([3, 8192] in the file, [3, 18432] here)"
    assert words in caplog.text


@pytest.mark.parametrize("size", ["3,96,96", "1,64,64"])
@pytest.mark.parametrize("class_names", [("blue", "green", "red"), ("a", "b")])
def test_a_pruned_network_takes_images_of_another_kind(size: str, class_names: tuple[str, ...], tmp_path: Path) -> None:
    model = changed(MODEL, retain_head=True, input_image_size="3,64,64")
    torch.manual_seed(0)
    full = architectures.build(model, 3)
    rule = Rule(threshold=targets.for_parameters(plans.score(full, (3, 64, 64), Rule()), 0.5))
    pruned = surgery.cut(full, plans.score(full, (3, 64, 64), rule).plan())
    network = from_file(saved(tmp_path, pruned, model), changed(model, input_image_size=size), class_names)
    width = pruned.get_parameter("layer4.0.bn2.weight").numel()
    assert network.get_parameter("fc.weight").shape == (len(class_names), width * (36 if size == "3,96,96" else 16))
    assert torch.equal(network.get_parameter("layer3.0.conv1.weight"), pruned.get_parameter("layer3.0.conv1.weight"))
    assert network.get_parameter("conv1.weight").shape[1] == int(size[0])
    assert all(tensor.isfinite().all() and tensor.abs().max() < 1e3 for tensor in network.state_dict().values())


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"n_layers": 18}, "model_config.n_layers is 18, but the pruned network in "),
        ({"use_bias": True}, "model_config.use_bias is True, but the pruned network in "),
        ({"arch": "mobilenet_v1"}, "model_config.arch is 'mobilenet_v1', but the pruned network in "),
    ],
)
def test_a_pruned_network_of_another_structure_is_refused(
    fields: dict[str, bool | int | str], words: str, pruned: Path
) -> None:
    with pytest.raises(SpecError) as error:
        from_file(pruned, changed(MODEL, **fields), ("blue", "green", "red"))
    assert str(error.value).startswith(words)


def test_another_preprocessing_than_the_weights_expect_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    network = architectures.build(MODEL, 3)
    torch.save(network.state_dict(), tmp_path / "plain.pth")
    ours = saved(tmp_path, network, MODEL, mode="tf")
    from_file(tmp_path / "plain.pth", MODEL, ("a", "b", "c"), mode="caffe")
    from_file(ours, MODEL, ("a", "b", "c"), mode="caffe")
    from_file(ours, MODEL, ("a", "b", "c"), mode="tf")
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        (
            f'train_config.preprocess_mode is "caffe", but {tmp_path}/plain.pth expects mean 0.485, 0.456, 0.406 and '
            'standard deviation 0.229, 0.224, 0.225; set it to "torch"'
        ),
        f'train_config.preprocess_mode is "caffe", but {ours} expects "tf", with which it was trained; set it to "tf"',
    ]


def test_layers_of_widths_that_do_not_fit_together_are_refused(tmp_path: Path) -> None:
    state = architectures.build(changed(MODEL, n_layers=18), 3).state_dict()
    # Half as wide, but for one block that the shortcut can't add to.
    narrow = {name: tensor[: -(-len(tensor) // 2)] if tensor.dim() else tensor for name, tensor in state.items()}
    narrow = {
        name: tensor[:, : tensor.shape[1] // 2] if tensor.dim() > 1 and name != "conv1.weight" else tensor
        for name, tensor in narrow.items()
    }
    for name in ("layer2.1.conv2.weight", *(f"layer2.1.bn2.{key}" for key in NORM)):
        narrow[name] = narrow[name][:40]
    torch.save(narrow, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match="has layers of other widths than the spec's network, and as widths of"):
        from_file(tmp_path / "x.pth", changed(MODEL, n_layers=18), ("a", "b"))


NORM = ("weight", "bias", "running_mean", "running_var")
