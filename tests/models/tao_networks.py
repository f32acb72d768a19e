"""TAO's Keras networks by hand: a call draws the weights of a layer in Keras's layout, and computes it as Keras does.

Written from the descriptions of Keras's layers and of TAO's networks, apart from what is tested. Images of odd sides
make TensorFlow's padding symmetric, so that our networks compute the same.
"""

from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

Array = npt.NDArray[np.float32]
EPSILON = 1e-3


class Tao:
    """The layers of one network, by name, and what they compute."""

    def __init__(self, slope: float = 0.0, seed: int = 0) -> None:
        self.layers: dict[str, dict[str, Array]] = {}
        self.slope = slope
        self.rng = np.random.default_rng(seed)

    def draw(self, *shape: int, mean: float = 0.0, deviation: float = 0.1) -> Array:
        return self.rng.normal(mean, deviation, shape).astype(np.float32)

    def weights(self, name: str, **arrays: Array) -> dict[str, Tensor]:
        self.layers.setdefault(name, arrays)
        return {key: torch.from_numpy(array) for key, array in self.layers[name].items()}

    def conv(
        self, name: str, images: Tensor, filters: int, size: int = 1, *, stride: int = 1, bias: bool = False
    ) -> Tensor:
        inputs = images.shape[1]
        drawn = {"kernel": self.draw(size, size, inputs, filters, deviation=(size * size * inputs) ** -0.5)}
        found = self.weights(name, **drawn, **({"bias": self.draw(filters)} if bias else {}))
        kernel = torch.einsum("hwio->oihw", found["kernel"])
        return F.conv2d(padded(images, size, stride), kernel, found.get("bias"), stride)

    def depthwise(self, name: str, images: Tensor, size: int, stride: int = 1) -> Tensor:
        inputs = images.shape[1]
        kernel = self.weights(name, depthwise_kernel=self.draw(size, size, inputs, 1, deviation=1 / size))
        weight = torch.einsum("hwim->imhw", kernel["depthwise_kernel"])
        return F.conv2d(padded(images, size, stride), weight, stride=stride, groups=inputs)

    def norm(self, name: str, images: Tensor) -> Tensor:
        width = images.shape[1]
        found = self.weights(
            name,
            gamma=self.draw(width, mean=1.0),
            beta=self.draw(width),
            moving_mean=self.draw(width),
            moving_variance=np.abs(self.draw(width, mean=1.0)),
        )
        by_channel = {key: value[:, None, None] for key, value in found.items()}
        scaled = (images - by_channel["moving_mean"]) / (by_channel["moving_variance"] + EPSILON).sqrt()
        return scaled * by_channel["gamma"] + by_channel["beta"]

    def unit(self, name: str, images: Tensor, filters: int, size: int = 1, stride: int = 1) -> Tensor:
        """Convolution, normalisation and activation, named as in darknet."""
        return F.leaky_relu(self.norm(f"{name}_bn", self.conv(name, images, filters, size, stride=stride)), self.slope)

    def dense(self, name: str, features: Tensor, outputs: int) -> Tensor:
        drawn = {"kernel": self.draw(features.shape[1], outputs), "bias": self.draw(outputs)}
        found = self.weights(name, **drawn)
        return features @ found["kernel"] + found["bias"]

    def head(self, images: Tensor, num_classes: int) -> Tensor:
        return self.dense("predictions", images.mean(dim=(2, 3)), num_classes)

    def save(self, path: Path, *, whole: bool = True) -> Path:
        """As Keras 2 saves a model, or its weights only."""
        with h5py.File(path, "w") as file:
            root = file.create_group("model_weights") if whole else file
            root.attrs["layer_names"] = [name.encode() for name in self.layers]
            root.attrs["backend"] = b"tensorflow"
            for layer, arrays in self.layers.items():
                group = root.create_group(layer)
                group.attrs["weight_names"] = [f"{layer}/{name}:0".encode() for name in arrays]
                for name, array in arrays.items():
                    group[f"{layer}/{name}:0"] = array
            if whole:
                file.attrs["model_config"] = b'{"class_name": "Lambda"}'
                file["optimizer_weights/SGD/iterations:0"] = np.int64(3)
        return path


def padded(images: Tensor, size: int, stride: int) -> Tensor:
    """TensorFlow's padding "same"."""
    sides = [max((-(-side // stride) - 1) * stride + size - side, 0) for side in images.shape[:1:-1]]
    return F.pad(images, [part for side in sides for part in (side // 2, side - side // 2)])


def resnet(tao: Tao, images: Tensor, num_classes: int, repeats: tuple[int, ...] = (2, 2, 2, 2)) -> Tensor:
    """ResNet of basic blocks with all projections and without pooling."""
    images = F.relu(tao.norm("bn_conv1", tao.conv("conv1", images, 64, 7, stride=2)))
    for stage, (width, stride, repeat) in enumerate(zip((64, 128, 256, 512), (2, 2, 2, 1), repeats, strict=True), 1):
        for number in range(repeat):
            name, step = f"block_{stage}{'abcdef'[number]}_", stride if number == 0 else 1
            branch = F.relu(tao.norm(f"{name}bn_1", tao.conv(f"{name}conv_1", images, width, 3, stride=step)))
            branch = tao.norm(f"{name}bn_2", tao.conv(f"{name}conv_2", branch, width, 3))
            shortcut = tao.norm(f"{name}bn_shortcut", tao.conv(f"{name}conv_shortcut", images, width, 1, stride=step))
            images = F.relu(branch + shortcut)
    return tao.head(images, num_classes)


def cspdarknet_53(tao: Tao, images: Tensor, num_classes: int) -> Tensor:
    images = tao.unit("conv1", images, 32, 3)
    for stage, (width, repeat) in enumerate(zip((64, 128, 256, 512, 1024), (1, 2, 8, 8, 4), strict=True), 1):
        half = 64 if stage == 1 else width // 2
        opened = tao.unit(f"conv{stage + 1}", images, width, 3, 2)
        past = tao.unit(f"conv{stage + 1}_1", opened, half)
        through = tao.unit(f"conv{stage + 1}_2", opened, half)
        for number in range(1, repeat + 1):
            inner = tao.unit(f"b{stage}_conv{number}_1", through, 32 if stage == 1 else half)
            through = through + tao.unit(f"b{stage}_conv{number}_2", inner, half, 3)
        joined = torch.cat((tao.unit(f"b{stage}_partial_trans", through, half), past), dim=1)
        images = tao.unit(f"b{stage}_final_trans", joined, width)
    return tao.head(images, num_classes)


def cspdarknet_tiny(tao: Tao, images: Tensor, num_classes: int) -> Tensor:
    images = tao.unit("conv_1", tao.unit("conv_0", images, 32, 3, 2), 64, 3, 2)
    for number, width in ((2, 64), (3, 128), (4, 256)):
        route = tao.unit(f"conv_{number}_conv_0", images, width, 3)
        first = tao.unit(f"conv_{number}_conv_1", route[:, width // 2 :], width // 2, 3)
        second = tao.unit(f"conv_{number}_conv_2", first, width // 2, 3)
        joined = tao.unit(f"conv_{number}_conv_3", torch.cat((second, first), dim=1), width)
        images = F.max_pool2d(torch.cat((route, joined), dim=1), 2)
    return tao.head(tao.unit("conv_5", images, 512, 3), num_classes)


def darknet_19(tao: Tao, images: Tensor, num_classes: int) -> Tensor:
    images = tao.unit("conv1", images, 32, 3)
    for stage, (width, depth) in enumerate(zip((64, 128, 256, 512, 1024), (1, 3, 3, 5, 5), strict=True), 1):
        images = F.max_pool2d(images, 2, ceil_mode=True)
        for number in range(1, depth + 1):
            inner = number % 2 == 0
            images = tao.unit(f"b{stage}_conv{number}", images, width // 2 if inner else width, 1 if inner else 3)
    return tao.head(images, num_classes)


def mobilenet_v1(tao: Tao, images: Tensor, num_classes: int) -> Tensor:
    images = F.relu6(tao.norm("conv1_bn", tao.conv("conv1", images, 32, 3, stride=2)))
    widths = (64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
    for number, width in enumerate(widths, 1):
        stride = 2 if number in (2, 4, 6, 12) else 1
        images = F.relu6(tao.norm(f"conv_dw_{number}_bn", tao.depthwise(f"conv_dw_{number}", images, 3, stride)))
        images = F.relu6(tao.norm(f"conv_pw_{number}_bn", tao.conv(f"conv_pw_{number}", images, width)))
    return tao.head(images, num_classes)


def mobilenet_v2(tao: Tao, images: Tensor, num_classes: int) -> Tensor:
    images = F.relu6(tao.norm("bn_conv1", tao.conv("conv1", images, 32, 3, stride=2)))
    widths = (16, *[24] * 2, *[32] * 3, *[64] * 4, *[96] * 3, *[160] * 3, 320)
    for number, width in enumerate(widths):
        name, inner, inputs = f"block_{number}_" if number else "expanded_conv_", images, images.shape[1]
        stride = 2 if number in (1, 3, 6, 13) else 1
        if number:
            inner = F.relu6(tao.norm(f"{name}expand_bn", tao.conv(f"{name}expand", inner, 6 * inputs)))
        inner = F.relu6(tao.norm(f"{name}depthwise_bn", tao.depthwise(f"{name}depthwise", inner, 3, stride)))
        inner = tao.norm(f"{name}project_bn", tao.conv(f"{name}project", inner, width))
        if stride == 1 and inputs == width:
            inner = inner + tao.conv(f"{name}projected_inputs", images, width)
        images = inner
    return tao.head(F.relu6(tao.norm("conv_1_bn", tao.conv("conv_1", images, 1280))), num_classes)


def efficientnet_b0(tao: Tao, images: Tensor, num_classes: int) -> Tensor:
    images = F.silu(tao.norm("stem_bn", tao.conv("stem_conv", images, 32, 3, stride=2)))
    # Kernel size, repeats, width, expansion, stride.
    rows = ((3, 1, 16, 1, 1), (3, 2, 24, 6, 2), (5, 2, 40, 6, 2), (3, 3, 80, 6, 2), (5, 3, 112, 6, 1))
    for stage, (size, repeats, width, times, first) in enumerate((*rows, (5, 4, 192, 6, 2), (3, 1, 320, 6, 1)), 1):
        for number in range(repeats):
            name, inputs, stride = f"block{stage}{'abcd'[number]}_", images.shape[1], first if number == 0 else 1
            inner = images
            if times > 1:
                expanded = tao.conv(f"{name}expand_conv", inner, times * inputs)
                inner = F.silu(tao.norm(f"{name}expand_bn", expanded))
            inner = F.silu(tao.norm(f"{name}bn", tao.depthwise(f"{name}dwconv", inner, size, stride)))
            squeezed = F.silu(tao.conv(f"{name}se_reduce", inner.mean((2, 3), keepdim=True), inputs // 4, bias=True))
            inner = inner * tao.conv(f"{name}se_expand", squeezed, inner.shape[1], bias=True).sigmoid()
            inner = tao.norm(f"{name}project_bn", tao.conv(f"{name}project_conv", inner, width))
            images = inner + images if stride == 1 and inputs == width else inner
    return tao.head(F.silu(tao.norm("top_bn", tao.conv("top_conv", images, 1280))), num_classes)


def vgg_16(tao: Tao, images: Tensor, num_classes: int) -> Tensor:
    """VGG without pooling and without the paper's head."""
    for block, (width, depth) in enumerate(zip((64, 128, 256, 512, 512), (2, 2, 3, 3, 3), strict=True), 1):
        for number in range(depth):
            name, stride = f"block_{block}{'abc'[number]}_", 2 if number == 0 and block > 1 else 1
            images = F.relu(tao.norm(f"{name}bn_1", tao.conv(f"{name}conv_1", images, width, 3, stride=stride)))
    return tao.head(images, num_classes)


def squeezenet(tao: Tao, images: Tensor, num_classes: int) -> Tensor:
    """Without the paper's head. Its layers have biases."""
    images = F.relu(tao.conv("conv1", images, 96, 7, stride=2, bias=True))
    images = F.max_pool2d(images, 3, 2, ceil_mode=True)
    for number, (narrow, wide) in enumerate(
        ((16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256)), 2
    ):
        squeezed = F.relu(tao.conv(f"fire{number}_squeeze_conv", images, narrow, bias=True))
        sides = [tao.conv(f"fire{number}_expand_conv{size}x{size}", squeezed, wide, size, bias=True) for size in (1, 3)]
        images = F.relu(torch.cat(sides, dim=1))
        if number in (4, 8):
            images = F.max_pool2d(images, 3, 2, ceil_mode=True)
    return tao.head(images, num_classes)
