"""Heat maps: which parts of a picture speak for an answer of a network, computed in FP32 on whatever device."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tao_lite.errors import RunError
from tao_lite.models import feature_map
from tao_lite.models.feature_map import FeatureMap
from tao_lite.models.grad_cam import grad_cam
from tao_lite.models.rollout import rollout
from tao_lite.training.arithmetic import without_tf32
from tao_lite.training.trained import Trained

Array = npt.NDArray[np.uint8]


_STRENGTH = 0.6
"""How much of a picture the hottest colour covers."""


@dataclass(frozen=True, kw_only=True)
class HeatMaps:
    """How a network's heat maps are made: by Grad-CAM or, of a transformer, by attention rollout."""

    trained: Trained
    method: str
    of: Callable[[Tensor, Tensor], Tensor]
    """uint8 [B, C, H, W] as the network sees them on its device, and outputs, int64 [B, T], to maps [B, T, h, w].

    float32 on the host, of any size: 1 is the hottest place of each. All 0 where nothing speaks for the output.
    """


class Likeliest(NamedTuple):
    """A class that a map is made for; of a network of one task, the task has no name."""

    task: str
    class_name: str
    output: int


def heat_maps(trained: Trained) -> HeatMaps:
    """How the maps of this network are made.

    Raises:
        RunError: it has no feature map with places, and no attention to follow.
    """
    network = trained.network.eval()
    blank = trained.preprocess(torch.zeros((1, *trained.pipeline.shape), dtype=torch.uint8, device=trained.device))
    found = feature_map.find(network, blank)
    if found and found.is_deep:
        return HeatMaps(trained=trained, method="Grad-CAM", of=partial(_grad_cam, trained, found))
    if found and rollout(network, blank, found.size) is not None:
        return HeatMaps(trained=trained, method="attention rollout", of=partial(_attended, trained, found.size))
    raise RunError(
        f"{trained.path}: {trained.experiment.model_config.arch} has neither a feature map that its head reads nor "
        "attention over all patches, so there are no heat maps of it; leave them out"
    )


def answers(trained: Trained, probabilities: Sequence[float]) -> list[Likeliest]:
    """The most probable class of each task."""
    every = slice(0, len(probabilities))
    parts = [(one.name, one.outputs, one.class_names) for one in trained.tasks] or [("", every, trained.class_names)]
    numbers = range(len(probabilities))
    found = [(name, max(zip(probabilities[part], names, numbers[part], strict=True))) for name, part, names in parts]
    return [Likeliest(task, class_name, output) for task, (_, class_name, output) in found]


def overlaid(image: Tensor, heat: Tensor) -> Array:
    """The picture, uint8 [C, H, W], under the colours of its map [h, w]: uint8 [H, W, 3]."""
    pixels = image.permute(1, 2, 0).cpu().numpy()
    height, width = pixels.shape[:2]
    colours = coloured(torch.from_numpy(cv2.resize(heat.numpy(), (width, height), interpolation=cv2.INTER_LINEAR)))
    cover = colours[:, :, 3:].astype(np.float32) / 255
    return np.rint(pixels * (1 - cover) + colours[:, :, :3] * cover).astype(np.uint8)


def coloured(heat: Tensor) -> Array:
    """A map [h, w] in colours, uint8 [h, w, 4]: blue to red, and the clearer the colder."""
    levels = np.rint(heat.numpy().clip(0, 1) * 255).astype(np.uint8)
    colours = cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_TURBO), cv2.COLOR_BGR2RGB)
    cover = np.rint(levels * _STRENGTH).astype(np.uint8)
    return np.dstack([colours, cover])


@without_tf32()
def _grad_cam(trained: Trained, place: FeatureMap, images: Tensor, outputs: Tensor) -> Tensor:
    return _scaled(grad_cam(trained.network, place, trained.preprocess(images), outputs))


@without_tf32()
def _attended(trained: Trained, grid: tuple[int, int], images: Tensor, outputs: Tensor) -> Tensor:
    """One map for all outputs: attention is not of a class. The least of it, which every patch has, counts as none."""
    maps = rollout(trained.network, trained.preprocess(images), grid)
    assert maps is not None
    maps = maps - maps.amin(dim=(1, 2), keepdim=True)
    return _scaled(maps[:, None].expand(-1, outputs.shape[1], -1, -1))


def _scaled(maps: Tensor) -> Tensor:
    highest = maps.amax(dim=(2, 3), keepdim=True)
    return torch.where(highest > 0, maps / highest, 0.0).float().cpu()
