"""The modules behind each number of freeze_blocks, for TAO's architectures: all of a network but its head.

Numbers are TAO's. Layers that TAO never freezes come after the last of them. Imports no torch.
"""

from collections.abc import Mapping, Sequence

from tao_lite.spec import classification_pb2 as pb

Blocks = Mapping[int, tuple[str, ...]]

# Convolutions in each block of VGG.
_VGG = {16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
_FIRES = (3, 4, 5, 7, 8, 9, 10, 12)
_INCEPTIONS = ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b")
# Separable convolutions in each stage of mobilenet_v1.
_MOBILENET_V1 = (1, 2, 2, 6, 2)


def resnet(_: pb.ModelConfig) -> Blocks:
    """The stem and four stages."""
    return {0: ("conv1", "bn1"), **_numbered([f"layer{stage}" for stage in range(1, 5)], first=1)}


def vgg(model: pb.ModelConfig) -> Blocks:
    """Five blocks of convolutions and, in the paper's head, the two hidden layers."""
    names: dict[int, tuple[str, ...]] = {}
    position = 0
    for block, depth in enumerate(_VGG[model.n_layers], start=1):
        layers: list[str] = []
        for _ in range(depth):
            layers += [f"features.{position + offset}" for offset in range(1 + model.use_batch_norm)]
            position += 2 + model.use_batch_norm
        names[block] = tuple(layers)
        position += 1
    return names | (_numbered(["classifier.0", "classifier.3"], first=6) if model.retain_head else {})


def alexnet(model: pb.ModelConfig) -> Blocks:
    """Five convolutions and, in the paper's head, the two hidden layers. TAO's 8 is the head."""
    names = [f"features.{number}" for number in (0, 3, 6, 8, 10)]
    return _numbered(names + ["classifier.1", "classifier.4"] * model.retain_head, first=1)


def googlenet(_: pb.ModelConfig) -> Blocks:
    """The first three convolutions, then the inception blocks."""
    return {0: ("conv1", "conv2", "conv3"), **_numbered([f"inception{name}" for name in _INCEPTIONS], first=1)}


def mobilenet_v1(_: pb.ModelConfig) -> Blocks:
    """The first convolution, then the separable ones."""
    names = [f"blocks.{stage}.{block}" for stage, depth in enumerate(_MOBILENET_V1) for block in range(depth)]
    return {0: ("conv_stem", "bn1"), **_numbered(names, first=1)}


def mobilenet_v2(_: pb.ModelConfig) -> Blocks:
    """The first convolution, the inverted residual blocks and the last convolution."""
    return _numbered([f"features.{number}" for number in range(19)])


def squeezenet(_: pb.ModelConfig) -> Blocks:
    """The first convolution, then fire 2 to 9."""
    return _numbered([f"features.{number}" for number in (0, *_FIRES)])


def darknet(_: pb.ModelConfig) -> Blocks:
    """The first convolution, then five stages, each with what halves the map before it."""
    return _numbered(["stem", *(f"stages.{stage}" for stage in range(5))])


def efficientnet(_: pb.ModelConfig) -> Blocks:
    """The stem, seven stages and the last convolution."""
    return _numbered([f"features.{number}" for number in range(9)])


def _numbered(names: Sequence[str], first: int = 0) -> dict[int, tuple[str, ...]]:
    return {number: (name,) for number, name in enumerate(names, start=first)}
