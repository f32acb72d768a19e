"""Networks to prune: torchvision's with ten classes, and variants of its ResNet."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torchvision import models

SHAPE = (3, 64, 64)


def scrambled(network: nn.Module) -> nn.Module:
    """The network in evaluation mode, with channels of very different norms and batch norms that do something."""
    generator = torch.Generator().manual_seed(0)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.weight.data.uniform_(0.5, 1.5, generator=generator)
            for shift in (layer.bias.data, layer.running_mean):
                assert shift is not None
                shift.normal_(0, 0.1, generator=generator)
            assert layer.running_var is not None
            layer.running_var.uniform_(0.5, 1.5, generator=generator)
        elif isinstance(layer, (nn.Conv2d, nn.Linear)):
            scale = torch.empty(layer.weight.shape[0]).uniform_(0.05, 1, generator=generator)
            layer.weight.data.mul_(scale.view(-1, *[1] * (layer.weight.dim() - 1)))
            if layer.bias is not None:
                layer.bias.data.normal_(0, 0.1, generator=generator)
    return network.eval()


def lively(network: nn.Module, images: Tensor) -> nn.Module:
    """The scrambled network, scaled so that these images come through it: they differ at every layer's output."""
    generator = torch.Generator().manual_seed(2)

    def rescale(layer: nn.Module, _: object, out: Tensor) -> Tensor:
        assert isinstance(layer, (nn.Conv2d, nn.Linear))
        scale = out.std().clamp(min=1e-3)
        layer.weight.data /= scale
        if layer.bias is not None:
            layer.bias.data /= scale
        return out / scale

    def calibrate(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(layer, nn.BatchNorm2d)
        assert layer.running_mean is not None
        assert layer.running_var is not None
        mean, variance = inputs[0].mean((0, 2, 3)), inputs[0].var((0, 2, 3))
        noise = torch.randn(len(mean), generator=generator)
        layer.running_mean.copy_(mean + 0.1 * noise * variance.sqrt())
        layer.running_var.copy_(variance * (0.3 * noise).exp() + 1e-3)

    hooks = [m.register_forward_hook(rescale) for m in network.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    hooks += [m.register_forward_pre_hook(calibrate) for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    with torch.no_grad():
        scrambled(network)(images)
    for hook in hooks:
        hook.remove()
    return network


def plain(name: str) -> nn.Module:
    torch.manual_seed(0)
    googlenet = {"aux_logits": False, "init_weights": False} if name == "googlenet" else {}
    network: nn.Module = models.get_model(name, weights=None, num_classes=10, **googlenet)
    if name == "vgg16_bn":  # 512 hidden features in the place of 4096, which take half a gigabyte
        hidden = nn.Linear(512 * 7 * 7, 512), nn.ReLU(), nn.Dropout(), nn.Linear(512, 512), nn.ReLU()
        network.classifier = nn.Sequential(*hidden, nn.Linear(512, 10))
    return network


def grey(name: str, first: str) -> nn.Module:
    """With one input channel: `first` reads the sum of what it read."""
    network = plain(name)
    layer = network.get_submodule(first)
    assert isinstance(layer, nn.Conv2d)
    layer.in_channels, layer.weight = 1, nn.Parameter(layer.weight.detach().sum(dim=1, keepdim=True))
    return network


def all_projections() -> nn.Module:
    """ResNet-18 with a convolution in every shortcut (TAO's all_projections)."""
    network = plain("resnet18")
    for block in network.modules():
        if isinstance(block, models.resnet.BasicBlock) and block.downsample is None:
            width = block.conv2.out_channels
            block.downsample = nn.Sequential(nn.Conv2d(width, width, 1, bias=False), nn.BatchNorm2d(width))
    return network


def unpooled() -> nn.Module:
    """ResNet-18 as TAO builds it without pooling and with its own head: no max-pool, a flatten of the whole map."""
    network = plain("resnet18")
    network.maxpool = nn.Identity()
    network.avgpool = nn.Identity()
    network.fc = nn.Linear(512 * 4 * 4, 10)
    return network


def without_batch_norm() -> nn.Module:
    """ResNet-18 with biased convolutions and nothing in the place of its batch norms."""
    network = plain("resnet18")
    for name, layer in list(network.named_modules()):
        owner, _, own = name.rpartition(".")
        if isinstance(layer, nn.BatchNorm2d):
            setattr(network.get_submodule(owner), own, nn.Identity())
        elif isinstance(layer, nn.Conv2d):
            layer.bias = nn.Parameter(torch.zeros(layer.out_channels))
    return network


def short_resnext() -> nn.Module:
    """ResNeXt-50 (32x4d) with a third of its blocks: grouped convolutions, with and without a projection."""
    torch.manual_seed(0)
    network: nn.Module = models.ResNet(models.resnet.Bottleneck, [2, 1, 1, 1], 10, groups=32, width_per_group=4)
    return network


def short_densenet() -> nn.Module:
    """DenseNet-121 with a sixth of its layers: every layer reads all before it."""
    torch.manual_seed(0)
    network: nn.Module = models.DenseNet(growth_rate=32, block_config=(3, 2, 2, 2), num_classes=10)
    return network


def depthwise_multiplier() -> nn.Module:
    """A depthwise convolution that makes two channels of each."""
    depthwise = nn.Conv2d(16, 32, 3, groups=16)
    classify = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 10)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.ReLU(), depthwise, nn.BatchNorm2d(32), nn.ReLU(), nn.Conv2d(32, 24, 1), *classify
    )


TORCHVISION = (
    *("resnet18", "resnet50", "vgg16_bn", "alexnet", "mobilenet_v2", "squeezenet1_0", "googlenet"),
    "efficientnet_b0",
)
BUILDERS: Mapping[str, Callable[[], nn.Module]] = {
    **{name: lambda name=name: plain(name) for name in TORCHVISION},  # type: ignore[misc]
    "short resnext": short_resnext,
    "short densenet": short_densenet,
    "grey resnet18": lambda: grey("resnet18", "conv1"),
    "grey mobilenet_v2": lambda: grey("mobilenet_v2", "features.0.0"),
    "all projections": all_projections,
    "unpooled": unpooled,
    "without batch norm": without_batch_norm,
    "depthwise multiplier": depthwise_multiplier,
}

# Networks with the same layers are pruned in test_table.
IN_THE_TABLE = ("resnet50", "vgg16_bn", "alexnet", "mobilenet_v2", "squeezenet1_0", "googlenet", "efficientnet_b0")
BEYOND_THE_TABLE = [name for name in BUILDERS if name not in IN_THE_TABLE]


def build(name: str) -> nn.Module:
    torch.manual_seed(0)
    return BUILDERS[name]()


def shape(name: str) -> tuple[int, int, int]:
    return (1, 64, 64) if name.startswith("grey") else SHAPE
