"""Layers of TAO's Keras networks in the order in which our networks have theirs.

Layer names are those of TAO's templates; `#` stands for the number of a block, with a letter where TAO has one.
"""

import re
from collections.abc import Iterable, Mapping

# Layers that each block of a section repeats, in order; any of them may be absent.
Section = tuple[str, ...]


def _with_norm(*names: str) -> Section:
    return tuple(name for convolution in names for name in (convolution, f"{convolution}_bn"))


def _darknet_53(stage: int) -> tuple[Section, ...]:
    crossed = _with_norm(f"conv{stage + 1}", f"conv{stage + 1}_1", f"conv{stage + 1}_2")
    joined = _with_norm(f"b{stage}_partial_trans", f"b{stage}_final_trans")
    return crossed, _with_norm(f"b{stage}_conv#_1", f"b{stage}_conv#_2"), joined


def _darknet_19(stage: int) -> tuple[Section, ...]:
    crossed = _with_norm(f"b{stage}_part1", f"b{stage}_part2")
    joined = _with_norm(f"b{stage}_partial_trans", f"b{stage}_final_trans")
    return _with_norm(f"b{stage}_conv1"), crossed, _with_norm(f"b{stage}_conv#"), joined


_INCEPTION = ("1x1", "3x3_reduce", "3x3", "5x5_reduce", "5x5", "pool_proj")
_MB_CONV = ("expand_conv", "expand_bn", "dwconv", "bn", "se_reduce", "se_expand", "project_conv", "project_bn")
_INVERTED = _with_norm("expand", "depthwise", "project")
_UNIT = tuple(f"block_#_{kind}_{number}" for number in (1, 2, 3) for kind in ("conv", "bn"))

# Family -> its sections from the input on, without the head; those of more layers after those of fewer.
FAMILIES: Mapping[str, tuple[Section, ...]] = {
    "vgg": (("block_#_conv_1", "block_#_bn_1"),),
    "resnet": (("conv1", "bn_conv1"), _UNIT),
    "alexnet": (tuple(f"conv{number}" for number in range(1, 6)), ("fc6", "fc7")),
    "googlenet": (
        ("conv1", "bn_conv1", "conv2_reduce", "bn_conv2_reduce", "conv2", "bn_conv2"),
        tuple(f"inception_#_{name}" for name in _with_norm(*_INCEPTION)),
    ),
    "mobilenet_v1": (_with_norm("conv1"), _with_norm("conv_dw_#", "conv_pw_#")),
    "mobilenet_v2": (
        ("conv1", "bn_conv1"),
        _with_norm("expanded_conv_depthwise", "expanded_conv_project"),
        tuple(f"block_#_{name}" for name in _INVERTED),
        _with_norm("conv_1"),
    ),
    "squeezenet": (("conv1",), ("fire#_squeeze_conv", "fire#_expand_conv1x1", "fire#_expand_conv3x3")),
    "darknet53": (_with_norm("conv1"), *(section for stage in range(1, 6) for section in _darknet_53(stage))),
    "darknet19": (_with_norm("conv1"), *(section for stage in range(1, 6) for section in _darknet_19(stage))),
    "cspdarknet_tiny": (
        _with_norm("conv_0", "conv_1"),
        _with_norm(*(f"conv_#_conv_{number}" for number in range(4))),
        _with_norm("conv_5"),
    ),
    "efficientnet": (("stem_conv", "stem_bn"), tuple(f"block#_{name}" for name in _MB_CONV), ("top_conv", "top_bn")),
}
# The layers of a head, in any family.
_HEAD = re.compile(r"fc([12])|output_fc|predictions|conv10|head_fc\d+")
# Layer in the shortcut of a block -> the layers of our network.
_SHORTCUTS = {
    r"block_(\d)([a-z]+)_conv_shortcut": "layer{}.{}.downsample.0",
    r"block_(\d)([a-z]+)_bn_shortcut": "layer{}.{}.downsample.1",
}


def is_head(name: str) -> bool:
    """Whether the layer belongs to a head."""
    return bool(_HEAD.fullmatch(name) or re.fullmatch(r"fc[67]", name))


def family(names: Iterable[str]) -> str:
    """The family that has most of these layers, or ""."""
    names = list(names)
    counts = {one: sum(position(one, name) is not None for name in names) for one in FAMILIES}
    best = max(counts, key=lambda one: counts[one])
    return best if 2 * counts[best] > len(names) else ""


def position(family: str, name: str) -> tuple[int, ...] | None:
    """Where the layer stands in a network of that family; None for a layer it does not have."""
    head = _HEAD.fullmatch(name)
    if head:
        return len(FAMILIES[family]), int(head[1] or 3)
    for number, section in enumerate(FAMILIES[family]):
        for place, template in enumerate(section):
            match = re.fullmatch(re.escape(template).replace(r"\#", r"(\d+)([a-z]*)"), name)
            if match:
                return (number, *_block(match), place)
    return None


def shortcut(name: str) -> str:
    """Our name of the layer in a shortcut, or ""."""
    for pattern, ours in _SHORTCUTS.items():
        match = re.fullmatch(pattern, name)
        if match:
            return ours.format(match[1], _index(match[2]))
    match = re.fullmatch(r"block_(\d+)_projected_inputs", name)
    return f"features.{int(match[1]) + 1}.downsample.0" if match else ""


def _block(match: re.Match[str]) -> tuple[int, ...]:
    return (int(match[1]), _index(match[2])) if match.groups() else ()


def _index(letters: str) -> int:
    """TAO counts a to z, then aa, ab and so on; -1 without letters."""
    index = 0
    for letter in letters:
        index = 26 * index + ord(letter) - ord("a") + 1
    return index - 1
