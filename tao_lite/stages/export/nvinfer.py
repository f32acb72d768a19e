"""What DeepStream's nvinfer computes, emulated by its documented formula: it needs a GPU to run."""

from collections.abc import Callable, Mapping
from configparser import ConfigParser
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from tao_lite.data import decode, geometry
from tao_lite.data.geometry import Pixels
from tao_lite.data.pipeline import Pipeline
from tao_lite.errors import RunError
from tao_lite.stages.export.export import Made
from tao_lite.stages.export.gate import Answer
from tao_lite.training import runtimes
from tao_lite.training.runtimes import Array


def other_answers(made: Made, config: str, wanted: Mapping[Path, Answer]) -> dict[str, int]:
    """How many of the pictures nvinfer answers otherwise than the network, configured so, by how it scales them.

    Raises:
        RunError: it does where pictures are scaled as the network was trained to: the configuration is wrong.
    """
    parser = ConfigParser()
    parser.read_string(config)
    values, pipeline = parser["property"], made.description.pipeline
    session = runtimes.import_onnxruntime().InferenceSession(made.content, providers=["CPUExecutionProvider"])
    (port,) = session.get_inputs()
    number_type = np.uint8 if port.type == "tensor(uint8)" else np.float32
    found = dict.fromkeys(_SCALINGS, 0)
    for path, answer in wanted.items():
        decoded = decode.decode(path, pipeline.channels, full_scale=pipeline.full_scale)
        for name, scale in _SCALINGS.items():
            inputs = _normalised(scale(decoded, pipeline), values).astype(number_type)
            (probabilities,) = session.run([values["output-blob-names"]], {port.name: inputs})[0]
            found[name] += int(probabilities.argmax()) != answer.best
    if found.pop("trained"):
        raise RunError(
            "nvinfer would answer otherwise by the configuration made here; nothing was kept; please report it"
        )
    return found


def _normalised(pixels: Pixels, values: Mapping[str, str]) -> Array:
    """[1, C, h, w]. Source: "Gst-nvinfer" in DeepStream's guide, y = net-scale-factor * (x - mean)."""
    ordered = pixels[..., ::-1] if values["model-color-format"] == "1" else pixels
    offsets = np.array([float(value) for value in values["offsets"].split(";")], dtype=np.float32)
    scaled = np.float32(values["net-scale-factor"]) * (ordered.astype(np.float32) - offsets)
    return np.ascontiguousarray(scaled.transpose(2, 0, 1)[None])


def _linear(pixels: Pixels, pipeline: Pipeline) -> Pixels:
    return _interpolated(pixels, pipeline, "bilinear")


def _area(pixels: Pixels, pipeline: Pipeline) -> Pixels:
    return _interpolated(pixels, pipeline, "area")


def _interpolated(pixels: Pixels, pipeline: Pipeline, mode: str) -> Pixels:
    """The whole picture in the network's size, without antialiasing."""
    whole = torch.from_numpy(pixels).permute(2, 0, 1)[None].float()
    size, (top, left) = pipeline.size, (0, 0)
    if pipeline.geometry == "letterbox":
        size, (top, left) = geometry.letterbox((pixels.shape[0], pixels.shape[1]), pipeline.size)
    scaled = functional.interpolate(whole, size, mode=mode)[0].round().to(torch.uint8)
    framed = np.zeros((*pipeline.size, pixels.shape[2]), np.uint8)
    framed[top : top + size[0], left : left + size[1]] = scaled.permute(1, 2, 0).numpy()
    return framed


_SCALINGS: Mapping[str, Callable[[Pixels, Pipeline], Pixels]] = {
    "trained": lambda pixels, pipeline: pipeline.resized(pixels),
    "linear": _linear,
    "area": _area,
}
