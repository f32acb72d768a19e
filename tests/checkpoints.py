"""Checkpoints, and what stands in them for a training that was not."""

import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from google.protobuf import text_format

from tao_lite import checkpoint as checkpoints
from tao_lite.data import decode, geometry
from tao_lite.data.pipeline import Pipeline
from tao_lite.data.preprocess import Preprocess
from tao_lite.models.architectures import build
from tao_lite.spec import classification_pb2 as pb
from tao_lite.stages.export import references
from tao_lite.stages.train.progress import Progress
from tests.pruning import zoo


def training(**given: object) -> dict[str, Any]:
    """What a training of nothing would leave to go on from, but for what is given."""
    split = {"counts": [0, 0], "hashes": torch.zeros(0, dtype=torch.int64)}
    precision = {"scaler": {}, "overflows": 0, "underflow": [0.0, 0.0], "num_measured": 0}
    return {
        "optimizer": {"state": {}, "param_groups": []},
        "precision": precision,
        "progress": asdict(Progress()),
        "threads": 1,
        "data": {"train": split, "val": split},
        **given,
    }


def answering(
    folder: Path,
    config: str,
    mode: str,
    mean: Sequence[float] | None = None,
    *,
    std: Sequence[float] | None = None,
    names: tuple[str, ...] = ("a", "b", "c", "d"),
) -> Path:
    """A checkpoint of a network with that model_config whose answers differ from picture to picture."""
    experiment = text_format.Parse(f"model_config {{ {config} }}", pb.Experiment())
    channels = int(experiment.model_config.input_image_size[0])
    pipeline = Pipeline.of(experiment, Preprocess.of_mode(mode, channels, mean, std), is_cropped=False)
    with tempfile.TemporaryDirectory() as drawn:
        images = _images(references.draw(Path(drawn) / "references"), pipeline)
    return lively(folder / "weights" / "model.pth", experiment, names, pipeline, images)


def lively(
    path: Path, experiment: pb.Experiment, class_names: tuple[str, ...], pipeline: Pipeline, images: torch.Tensor
) -> Path:
    """A checkpoint at the path of a network with random weights that tells the images apart."""
    torch.manual_seed(0)
    network = zoo.lively(build(experiment.model_config, len(class_names)).eval(), images)
    found = checkpoints.Checkpoint(
        spec=str(experiment),
        class_names=class_names,
        preprocess=pipeline.to_dict(),
        network=network.state_dict(),
        epoch=1,
    )
    checkpoints.save(path, found)
    return path


def _images(paths: Sequence[Path], pipeline: Pipeline) -> torch.Tensor:
    """What the network sees of the pictures, normalised, and as many of noise."""
    found = [decode.decode(path, pipeline.channels) for path in paths]
    whole = [geometry.resize(one, (0, 0, one.shape[1], one.shape[0]), pipeline.size, "bilinear") for one in found]
    # Noise, which export compares on, is magnified to nonsense by a deep network that has never seen any.
    noise = np.random.default_rng(0).integers(0, 256, (len(whole), *whole[0].shape), np.uint8)
    normalised: torch.Tensor = pipeline.preprocess(torch.from_numpy(np.stack([*whole, *noise])).movedim(3, 1))
    return normalised
