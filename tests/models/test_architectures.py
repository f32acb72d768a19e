"""The table of architectures, and what a spec gets from it. Every row is tested by being in the table."""

import functools
import itertools
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from google.protobuf import text_format
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from tao_lite import checkpoint
from tao_lite.checkpoint import Checkpoint
from tao_lite.errors import SpecError
from tao_lite.models import head
from tao_lite.models.architectures import ACTIVATIONS, ARCHITECTURES, Architecture, Options, build, find, input_shape
from tao_lite.models.families import adapt
from tao_lite.models.fold import folded
from tao_lite.models.freeze import freeze
from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec import dialects
from tao_lite.training.precision import Precision

TABLE = ARCHITECTURES.values()
ROWS = [pytest.param(row, depth, id=f"{row.name}{depth or ''}") for row in TABLE for depth in row.n_layers or (0,)]
# The cheapest of each family.
SMALL = [
    pytest.param(row, min(row.n_layers, default=0), id=row.name)
    for row in TABLE
    if not row.name.startswith("efficientnet") or row.name == "efficientnet_b0"
]
SWITCHES = ("retain_head", "use_batch_norm", "use_bias", "use_pooling", "all_projections")


def model_config(text: str) -> pb.ModelConfig:
    return text_format.Parse(f'input_image_size: "3,32,48" {text}', pb.ModelConfig())


def on_meta(row: Architecture, depth: int, **switches: bool | float | int | str) -> nn.Module:
    with torch.device("meta"):
        return row.build(replace(Options(num_classes=3, n_layers=depth, height=32, width=48), **switches))  # type: ignore[arg-type]


@functools.cache
def real(name: str, depth: int) -> nn.Module:
    torch.manual_seed(0)
    return ARCHITECTURES[name].build(Options(num_classes=3, n_layers=depth, height=32, width=48))


def shapes(network: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}


def structure(network: nn.Module) -> tuple[str, dict[str, tuple[int, ...]], float]:
    """All that a switch can change; timm's dropout is in no layer of some networks."""
    return repr(network), shapes(network), getattr(network, "drop_rate", 0.0)


def test_table_has_the_architectures_of_tao_and_no_others() -> None:
    assert sorted(ARCHITECTURES) == sorted(dialects.ARCHITECTURES)


@pytest.mark.parametrize("on", [True, False])
@pytest.mark.parametrize(("row", "depth"), ROWS)
def test_frozen_blocks_and_head_are_the_whole_network(row: Architecture, depth: int, on: bool) -> None:
    switches = {"retain_head": not on, "use_batch_norm": on, "use_bias": on, "use_pooling": on, "all_projections": on}
    network = on_meta(row, depth, **switches)
    model = pb.ModelConfig(arch=row.name, n_layers=depth, retain_head=not on, use_batch_norm=on)
    modules = [name for block in row.blocks(model).values() for name in block] + [head.find(network)]
    owned = [f"{module}.{name}" for module in modules for name in network.get_submodule(module).state_dict()]
    assert sorted(owned) == sorted(network.state_dict())


# TAO's numbers: its documentation of freeze_blocks, and its code where that has more.
NUMBERS = {
    "resnet": range(5),
    "vgg": range(1, 6),
    "alexnet": range(1, 6),
    "googlenet": range(10),
    "mobilenet_v1": range(14),
    "mobilenet_v2": range(19),
    "squeezenet": range(9),
    "darknet": range(6),
    "cspdarknet": range(6),
    "cspdarknet_tiny": range(6),
    **{f"efficientnet_b{size}": range(9) for size in range(8)},
}


@pytest.mark.parametrize(("row", "depth"), ROWS)
def test_blocks_have_taos_numbers_in_the_order_of_computation(row: Architecture, depth: int) -> None:
    network = on_meta(row, depth)
    blocks = row.blocks(pb.ModelConfig(arch=row.name, n_layers=depth, use_batch_norm=True))
    assert list(blocks) == list(NUMBERS[row.name])
    seen: list[int] = []
    for number, names in blocks.items():
        for name in names:
            network.get_submodule(name).register_forward_hook(lambda *_, number=number: seen.append(number))
    network(torch.zeros(2, 3, 32, 48, device="meta"))
    assert seen == sorted(seen)
    assert set(seen) == set(blocks)


@pytest.mark.parametrize(("row", "depth"), SMALL)
def test_freezing_a_block_leaves_the_others_trainable(row: Architecture, depth: int) -> None:
    network = on_meta(row, depth)
    blocks = row.blocks(pb.ModelConfig(arch=row.name, n_layers=depth, use_batch_norm=True))
    last = max(blocks)
    freeze(network, blocks, [last], freeze_bn=False)
    prefixes = tuple(f"{name}." for name in blocks[last])
    kept = {name for name, parameter in network.named_parameters() if not parameter.requires_grad}
    assert kept == {name for name, _ in network.named_parameters() if name.startswith(prefixes)}
    freeze(network, blocks, blocks, freeze_bn=False)
    trained = {name.rpartition(".")[0] for name, parameter in network.named_parameters() if parameter.requires_grad}
    assert trained == {head.find(network)}


@pytest.mark.slow
@pytest.mark.parametrize(("row", "depth"), ROWS)
def test_every_parameter_gets_a_gradient_from_grey_images(row: Architecture, depth: int) -> None:
    network = on_meta(row, depth, channels=1)
    logits = network(torch.zeros(2, 1, 32, 48, device="meta"))
    assert logits.shape == (2, 3)
    logits.sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize("retain_head", [True, False])
@pytest.mark.parametrize(("row", "depth"), SMALL)
def test_every_network_takes_its_smallest_image(row: Architecture, depth: int, retain_head: bool) -> None:
    side = max(16, row.least_size(pb.ModelConfig(retain_head=retain_head)))
    network = on_meta(row, depth, retain_head=retain_head, height=side, width=side)
    assert network(torch.zeros(2, 3, side, side, device="meta")).shape == (2, 3)
    if side > 16:
        with pytest.raises(RuntimeError):
            network(torch.zeros(2, 3, side - 1, side - 1, device="meta"))


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["FP32", "BF16", "FP16"])
@pytest.mark.parametrize(("row", "depth"), SMALL)
def test_every_precision_gives_finite_gradients(row: Architecture, depth: int, mode: str) -> None:
    network = real(row.name, depth).train()
    precision = Precision.of(pb.TrainConfig(precision=pb.Precision.Mode.Value(mode)), torch.device("cpu"))
    with precision.autocast():
        logits: Tensor = network(torch.randn(2, 3, 48, 64))
    network.zero_grad()
    nn.functional.cross_entropy(logits.float(), torch.arange(2)).backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize(("row", "depth"), SMALL)
def test_logits_start_near_zero(row: Architecture, depth: int) -> None:
    # With few classes, a head initialised for a thousand of them would start far off; then the loss is log(classes).
    with torch.no_grad():
        logits = real(row.name, depth).train()(torch.randn(8, 3, 32, 48, generator=torch.Generator().manual_seed(0)))
    assert logits.std() < 0.7


@pytest.mark.parametrize(("row", "depth"), SMALL)
def test_saved_network_is_rebuilt_from_its_spec(row: Architecture, depth: int, tmp_path: Path) -> None:
    network = real(row.name, depth).eval()
    model = f'arch: "{row.name}" n_layers: {depth} use_batch_norm: true use_pooling: true input_image_size: "3,32,48"'
    saved = Checkpoint(
        spec=f"model_config {{ {model} }}",
        class_names=("a", "b", "c"),
        preprocess={},
        network=network.state_dict(),
        epoch=1,
    )
    checkpoint.save(tmp_path / "network.pth", saved)
    loaded = checkpoint.network(checkpoint.load(tmp_path / "network.pth")).eval()
    images = torch.randn(2, 3, 32, 48)
    with torch.no_grad():
        assert torch.equal(loaded(images), network(images))


@pytest.mark.parametrize(("row", "depth"), SMALL)
def test_network_is_traced_whole(row: Architecture, depth: int) -> None:
    network = real(row.name, depth).eval()
    images = torch.randn(2, 3, 32, 48)
    with torch.no_grad():
        assert torch.equal(fx.symbolic_trace(network)(images), network(images))


def published(row: Architecture, depth: int) -> tuple[str, str]:
    """Library and name of the published network, or two empty strings."""
    if row.name == "mobilenet_v1":
        return "timm", "mobilenetv1_100"
    if row.name in ("darknet", "cspdarknet"):
        return ("timm", f"{row.name}53") if depth == 53 else ("", "")
    name = row.torchvision(pb.ModelConfig(arch=row.name, n_layers=depth, use_batch_norm=True, use_bias=True))
    return ("torchvision", name) if name in torchvision.models.list_models() else ("", "")


@pytest.mark.parametrize(("row", "depth"), ROWS)
def test_published_weights_fit_tensor_by_tensor(row: Architecture, depth: int) -> None:
    library, name = published(row, depth)
    if not library:
        assert (row.name, depth) in {
            *(("resnet", 10), ("resnet", 200), ("darknet", 19), ("cspdarknet", 19)),
            ("cspdarknet_tiny", 0),
        }
        return
    network = on_meta(row, depth, num_classes=1000, retain_head=True, use_bias=row.name == "vgg")
    googlenet = {"aux_logits": False, "init_weights": False} if name == "googlenet" else {}
    with torch.device("meta"):
        theirs = timm.create_model(name) if library == "timm" else torchvision.models.get_model(name, **googlenet)
    assert shapes(network) == shapes(theirs)
    assert list(shapes(network)) == list(shapes(theirs))


# Of the papers' networks with 1000 classes: torchvision's documentation, timm's table of results in millions.
COUNTS = {
    ("vgg", 16): 138_365_992,
    ("alexnet", 0): 61_100_840,
    ("googlenet", 0): 6_624_904,
    ("mobilenet_v2", 0): 3_504_872,
    ("squeezenet", 0): 1_248_424,
    ("efficientnet_b0", 0): 5_288_548,
    ("efficientnet_b7", 0): 66_347_960,
    ("mobilenet_v1", 0): 4.23e6,
    ("darknet", 53): 41.61e6,
    ("cspdarknet", 53): 27.64e6,
}


@pytest.mark.parametrize(("name", "depth"), COUNTS)
def test_number_of_parameters_is_the_published_one(name: str, depth: int) -> None:
    network = on_meta(ARCHITECTURES[name], depth, num_classes=1000, retain_head=True, use_bias=name == "vgg")
    count, expected = sum(parameter.numel() for parameter in network.parameters()), COUNTS[name, depth]
    assert count == expected if isinstance(expected, int) else round(count / 1e4) == round(expected / 1e4)


def test_switches_of_every_row_are_fields_of_the_spec() -> None:
    fields = pb.ModelConfig.DESCRIPTOR.fields_by_name
    assert all(switch in fields for row in TABLE for switch in row.switches | row.always)
    assert not any(row.switches & row.always for row in TABLE)


@pytest.mark.parametrize("switch", SWITCHES)
@pytest.mark.parametrize(("row", "depth"), SMALL)
def test_switches_change_the_network_where_the_table_says_so(row: Architecture, depth: int, switch: str) -> None:
    # With pooling the paper's head of a residual network is the plain one.
    pooling = {"use_pooling": False} if switch == "retain_head" and row.name == "resnet" else {}
    off, on = (structure(on_meta(row, depth, **{switch: value}, **pooling)) for value in (False, True))
    assert (on != off) == (switch in row.switches)


@pytest.mark.parametrize(("row", "depth"), SMALL)
def test_every_row_has_dropout(row: Architecture, depth: int) -> None:
    network = on_meta(row, depth, dropout=0.25)
    assert "dropout" in row.switches
    dropouts = [layer.p for layer in network.modules() if isinstance(layer, nn.Dropout)]
    assert dropouts[-1:] == [0.25] or network.drop_rate == 0.25


@pytest.mark.parametrize(("row", "depth"), SMALL)
def test_without_the_papers_head_nothing_drops_unless_asked(row: Architecture, depth: int) -> None:
    network = on_meta(row, depth)
    assert not any(layer.p for layer in network.modules() if isinstance(layer, nn.Dropout))
    assert not getattr(network, "drop_rate", 0.0)


@pytest.mark.parametrize(("row", "depth"), SMALL)
def test_batch_norm_config_holds_for_every_layer(row: Architecture, depth: int) -> None:
    network = on_meta(row, depth, batch_norm_momentum=0.03, batch_norm_epsilon=0.002)
    norms = [layer for layer in network.modules() if isinstance(layer, _BatchNorm)]
    assert {(layer.momentum, layer.eps) for layer in norms} <= {(0.03, 0.002)}
    assert bool(norms) == ("batch_norm_config" in row.switches)


@pytest.mark.parametrize(("row", "depth"), SMALL)
def test_without_normalisation_no_layer_is_left(row: Architecture, depth: int) -> None:
    network = on_meta(row, depth, use_batch_norm=False)
    has_norm = any(isinstance(layer, _BatchNorm) for layer in network.modules())
    assert has_norm == ("use_batch_norm" in row.always)


@pytest.mark.parametrize(("row", "depth"), SMALL)
def test_bias_is_given_to_every_convolution_or_none(row: Architecture, depth: int) -> None:
    for use_bias in (False, True):
        biases = {layer.bias is not None for layer in adapt.convolutions(on_meta(row, depth, use_bias=use_bias))}
        squeeze = {True} if row.name.startswith("efficientnet") else set()  # squeeze and excitation has its own
        assert biases == {use_bias or "use_bias" in row.always} | squeeze


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        pytest.param(row, kind, id=f"{row.name}-{kind}")
        for row, kind in itertools.product(TABLE, ACTIVATIONS)
        if "activation" in row.switches and row.name not in [f"efficientnet_b{size}" for size in range(2, 8)]
    ],
)
def test_activation_is_in_the_place_of_the_networks_own(row: Architecture, kind: str) -> None:
    depth = max(row.n_layers, default=0)
    plain, other = on_meta(row, depth), on_meta(row, depth, activation=kind)
    own = nn.SiLU if row.name.startswith("efficientnet") else nn.LeakyReLU
    new = type(adapt.ACTIVATIONS[kind]())
    places = [name for name, layer in plain.named_modules() if isinstance(layer, own)]
    assert places
    assert [name for name, layer in other.named_modules() if isinstance(layer, new)] == places
    assert shapes(plain) == shapes(other)


def test_activations_of_the_table_are_those_that_can_be_made() -> None:
    assert tuple(adapt.ACTIVATIONS) == ACTIVATIONS
    # darknet's slope, which TAO has too
    assert adapt.ACTIVATIONS["leaky_relu"]().negative_slope == 0.1


def test_build_passes_the_decimals_of_the_spec() -> None:
    # 0.9 and 1e-5 are float32 in the message; torchvision's defaults are 0.1 and 1e-5 in float64.
    network = build(model_config('arch: "resnet" use_batch_norm: true'), 3)
    norms = [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert {(norm.momentum, norm.eps) for norm in norms} == {(0.1, 1e-5)}


@pytest.mark.parametrize("arch", ["mobilenet_v1", "efficientnet_b5", "googlenet"])
def test_normalisation_is_taos_where_the_spec_has_none(arch: str) -> None:
    with torch.device("meta"):
        network = build(model_config(f'arch: "{arch}" use_batch_norm: true'), 3)
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
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


def test_build_passes_activation() -> None:
    with torch.device("meta"):
        network = build(model_config('arch: "cspdarknet_tiny" activation { activation_type: "mish" }'), 3)
    assert any(isinstance(layer, nn.Mish) for layer in network.modules())


ALL = ", ".join([*ARCHITECTURES, "timm/NAME", "torchvision/NAME"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('arch: "resent"', f'model_config.arch is "resent"; choose one of {ALL}; did you mean resnet?'),
        ('arch: "mobilnet_v2"', f'model_config.arch is "mobilnet_v2"; choose one of {ALL}; did you mean mobilenet_v2?'),
        ('arch: "zzz"', f'model_config.arch is "zzz"; choose one of {ALL}'),
        ('arch: "keras/zzz"', f'model_config.arch is "keras/zzz"; choose one of {ALL}'),
        ('arch: "timm/"', f'model_config.arch is "timm/"; choose one of {ALL}'),
        ("", f'model_config.arch is ""; choose one of {ALL}'),
        ('arch: "ResNet-50"', 'model_config.arch is "ResNet-50"; did you mean arch: "resnet" with n_layers: 50?'),
        ('arch: "vgg16"', 'model_config.arch is "vgg16"; did you mean arch: "vgg" with n_layers: 16?'),
        (
            'arch: "byom"',
            (
                'model_config.arch is "byom"; own models of TAO are encrypted (.tltb) and can\'t be read; '
                f"choose one of {ALL}, and start from unencrypted weights with train_config.pretrained_model_path"
            ),
        ),
        (
            'arch: "resnet" n_layers: 20',
            "model_config.n_layers is 20; resnet has one of 10, 18, 34, 50, 101, 152, 200",
        ),
        ('arch: "vgg"', "model_config.n_layers is 18; vgg has one of 16, 19"),
        (
            'arch: "efficientnet_b1" activation { activation_type: "swisch" }',
            (
                'model_config.activation.activation_type is "swisch"; '
                "choose one of relu, relu6, leaky_relu, elu, mish, swish, silu; did you mean swish?"
            ),
        ),
        (
            'arch: "alexnet" retain_head: true',
            'model_config.input_image_size is "3,32,48"; alexnet needs sides of at least 63 pixels',
        ),
    ],
)
def test_wrong_architectures_are_explained(text: str, message: str) -> None:
    with pytest.raises(SpecError) as error:
        find(model_config(text))
    assert str(error.value) == message


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
    code = "import sys, tao_lite.models.architectures; sys.exit('torch' in sys.modules or 'timm' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(("row", "depth"), SMALL)
def test_what_the_head_reads_is_a_vector_for_each_image(row: Architecture, depth: int) -> None:
    network = real(row.name, depth).eval()
    name = head.find(network)
    images = torch.rand(2, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    found = []
    for one in (network, folded(network)):
        layer = one.get_submodule(name)
        assert isinstance(layer, nn.Conv2d | nn.Linear)
        with head.reading(layer) as inputs, torch.inference_mode():
            logits = one(images)
        found.append(head.pooled(inputs.pop(), layer))
        assert not inputs
        assert found[-1].shape == (2, layer.in_channels if isinstance(layer, nn.Conv2d) else layer.in_features)
        assert logits.shape == (2, 3)
    size = found[0].abs().max()  # a network that was not trained may shrink them to 1e-11
    torch.testing.assert_close(*(one / size for one in found), rtol=0, atol=1e-3)
    assert not torch.equal(found[0][0], found[0][1])


def test_what_a_head_reads_at_many_places_is_averaged() -> None:
    values = torch.arange(24.0).view(1, 2, 3, 4)
    assert torch.equal(head.pooled(values, nn.Conv2d(2, 3, 1)), values.mean((2, 3)))
    assert torch.equal(head.pooled(values, nn.Linear(4, 3)), values.mean((1, 2)))
