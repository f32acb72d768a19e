"""Every architecture of the table, in INT8: all its layers, and answers like those in float."""

from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto
from PIL import Image
from torch import Tensor

from tao_lite.data.description import INPUT, OUTPUT
from tao_lite.data.pipeline import Pipeline
from tao_lite.data.preprocess import Preprocess
from tao_lite.spec import classification_pb2 as pb
from tao_lite.stages.export.export import Form, make
from tao_lite.stages.quantize import calibrate, graph, placing
from tao_lite.stages.quantize.calibrate import Method
from tao_lite.stages.quantize.placing import Layout
from tao_lite.training.trained import Trained
from tests.checkpoints import lively
from tests.conftest import COLOURS, EVERYTHING
from tests.pruning.test_table import SETTINGS, SIZES, VARIANTS

Array = npt.NDArray[Any]


def pictures(colours: Path, size: int) -> Tensor:
    """Eight of each colour, normalised."""
    paths = [path for name in sorted(COLOURS) for path in sorted((colours / name).iterdir())[:8]]
    pixels = [np.asarray(Image.open(path).resize((size, size))) for path in paths]
    normalised: Tensor = Preprocess.of_mode("torch", 3)(torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2))
    return normalised


def checkpoint(name: str, folder: Path, images: Tensor) -> Path:
    """A network with random weights that tells the images apart, and the file it is in."""
    size = images.shape[-1]
    settings = {"use_batch_norm": True, **({**SETTINGS, **VARIANTS})[name], "input_image_size": f"3,{size},{size}"}
    experiment = pb.Experiment(model_config=pb.ModelConfig(**settings))  # type: ignore[arg-type]
    pipeline = Pipeline.of(experiment, Preprocess.of_mode("torch", 3), is_cropped=False)
    return lively(folder / "random.pth", experiment, tuple(sorted(COLOURS)), pipeline, images)


def answers(content: bytes, images: Array) -> Array:
    """Logarithms of probabilities."""
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (found,) = session.run([OUTPUT], {INPUT: images})
    assert np.allclose(found.sum(axis=1), 1, atol=1e-5)
    return np.asarray(np.log(found))


SOME = ("squeezenet", "mobilenet_v1", "resnet", "mobilenet_v2", "efficientnet_b0", "timm")
"""Those that stand for the others, of which EVERYTHING tries each."""


@pytest.mark.slow
@pytest.mark.parametrize("name", (*SETTINGS, *VARIANTS) if EVERYTHING else SOME)
def test_every_architecture_is_quantised(name: str, colours: Path, tmp_path: Path) -> None:
    """All of it, and a few layers alone: errors of 8 bits grow in a random network as they don't in a trained one."""
    images = pictures(colours, SIZES.get(name, 64))
    content = make(Trained.of(checkpoint(name, tmp_path, images), torch.device("cpu")), Form()).content
    network = graph.read(content)

    def read() -> Generator[Array]:
        yield from np.split(images.numpy(), 3)

    ranges = calibrate.calibrate(network, read, Method())
    expected = answers(content, images.numpy())
    layers = list(network.layers)
    for layout in (Layout(), Layout(for_tensorrt=True)):
        message = placing.place(network, ranges, layout, layers)
        onnx.checker.check_model(message)
        types = {tensor.name: tensor.data_type for tensor in message.graph.initializer}
        assert not [
            name for name in network.layers.values() if types.get(f"network.{name}.weight") == TensorProto.FLOAT
        ]
        whole = message.SerializeToString()
        assert len(content) / len(whole) > 2.9
        assert np.abs(answers(whole, images.numpy()) - expected).mean() < 1.5
        for layer in (layers[0], layers[len(layers) // 2], layers[-1]):
            alone = answers(placing.place(network, ranges, layout, [layer]).SerializeToString(), images.numpy())
            assert np.abs(alone - expected).mean() < 0.6, (layout, layer)
    assert "Conv" not in network.left()
