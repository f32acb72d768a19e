"""What network a file of weights comes from, as far as names and shapes of its tensors tell."""

import re
from collections.abc import Mapping, Sequence

from torch import Tensor

_FAMILIES = {
    r"^conv_stem\.|^features\.\d\.\d+\.block\.\d\.fc1\.": "EfficientNet",
    r"^features\.denseblock\d": "DenseNet",
    r"^features\.\d+\.squeeze\.": "SqueezeNet",
    r"^inception\d[a-e]\.": "GoogLeNet",
    r"\.attn\.|\.self_attention\.": "a vision transformer",
    r"^classifier\.6\.|^pre_logits\.fc1\.": "VGG or AlexNet",
    r"\.conv_transition\.": "CSPDarknet",
}


def looks_like(state_dict: Mapping[str, Tensor]) -> str:
    """Architecture that the names and shapes of the tensors suggest, or ""."""
    kernels = [tuple(tensor.shape) for tensor in state_dict.values() if tensor.dim() == 4]
    return _resnet(state_dict) or _mobilenet(kernels) or _family(state_dict) or _depthwise(kernels)


def _resnet(state_dict: Mapping[str, Tensor]) -> str:
    found = {match.groups() for match in map(re.compile(r"layer(\d)\.(\d+)\.conv1\.").match, state_dict) if match}
    if not found:
        return ""
    stages = len({stage for stage, _ in found})
    depth = 2 + len(found) * (3 if "layer1.0.conv3.weight" in state_dict else 2)
    return f"ResNet-{depth}" + (f" of {stages} stages, as made for small images" if stages != 4 else "")


def _mobilenet(kernels: Sequence[tuple[int, ...]]) -> str:
    """MobileNet with its width, by the order of its kernels; the full one starts with 32 channels.

    Version 1 has 13 blocks of depthwise and 1x1 convolutions (arXiv:1704.04861), version 2 has one such block and 16
    that start with another 1x1 convolution (arXiv:1801.04381).
    """
    marks = "".join("d" if inputs == 1 else "p" if size == 1 else "f" for _, inputs, size, _ in kernels)
    version = {"f" + 13 * "dp": 1, "fdp" + 16 * "pdp" + "p": 2}.get(marks)
    width = f"{kernels[0][0] / 32:g}" if version else ""
    return f"MobileNet v{version} of width {width}" if version else ""


def _family(state_dict: Mapping[str, Tensor]) -> str:
    matches = (family for pattern, family in _FAMILIES.items() if any(map(re.compile(pattern).search, state_dict)))
    return next(matches, "")


def _depthwise(kernels: Sequence[tuple[int, ...]]) -> str:
    is_depthwise = any(inputs == 1 < size for _, inputs, size, _ in kernels)
    return "a network with depthwise convolutions, such as MobileNet" if is_depthwise else ""
