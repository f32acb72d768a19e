"""Every architecture of the table, in INT8: all its layers, and answers like those in float."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from tao_lite import checkpoint as checkpoints
from tao_lite.checkpoint import Checkpoint
from tao_lite.data.pipeline import Pipeline
from tao_lite.data.preprocess import Preprocess
from tao_lite.machine import distributed
from tao_lite.models import architectures
from tao_lite.run import Run
from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec.load import load_text
from tao_lite.stages.export.export import Form
from tao_lite.stages.quantize.quantize import quantize
from tao_lite.training.deployed import Deployment
from tests.conftest import COLOURS
from tests.pruning import zoo
from tests.pruning.test_table import SETTINGS, SIZES, VARIANTS

QUICK = ("mobilenet_v1", "squeezenet")


def pictures(colours: Path, size: int) -> Tensor:
    """Eight of each colour, normalised."""
    paths = [path for name in sorted(COLOURS) for path in sorted((colours / name).iterdir())[:8]]
    pixels = [np.asarray(Image.open(path).resize((size, size))) for path in paths]
    normalised: Tensor = Preprocess.of_mode("torch", 3)(torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2))
    return normalised


def checkpoint(name: str, folder: Path, images: Tensor) -> tuple[Path, nn.Module]:
    """A network with random weights that tells the images apart, and the file it is in."""
    size = images.shape[-1]
    settings = {"use_batch_norm": True, **({**SETTINGS, **VARIANTS})[name], "input_image_size": f"3,{size},{size}"}
    experiment = pb.Experiment(model_config=pb.ModelConfig(**settings))  # type: ignore[arg-type]
    torch.manual_seed(0)
    network = zoo.lively(architectures.build(experiment.model_config, len(COLOURS)), images)
    pipeline = Pipeline.of(experiment, Preprocess.of_mode("torch", 3), is_cropped=False)
    saved = Checkpoint(
        spec=str(experiment),
        class_names=tuple(sorted(COLOURS)),
        preprocess=pipeline.to_dict(),
        network=network.state_dict(),
        epoch=1,
    )
    checkpoints.save(folder / "random.pth", saved)
    return folder / "random.pth", network.eval()


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in (*SETTINGS, *VARIANTS)]
)
def test_every_architecture_is_quantised(name: str, colours: Path, tmp_path: Path) -> None:
    images = pictures(colours, SIZES.get(name, 64))
    path, network = checkpoint(name, tmp_path, images)
    text = (
        f'train_config {{ train_dataset_path: "{colours}" batch_size_per_gpu: 8 }}\n'
        "quantize_config { num_images: 32 max_accuracy_drop: 0.99 }"
    )
    spec = load_text(text, tmp_path / "a.cfg", stage="quantize")
    file = tmp_path / "q.onnx"
    summary = quantize(spec, Run(results=tmp_path, world=distributed.start("cpu")), path, Form(path=file))
    assert summary["float_layers"] == {}
    assert float(str(summary["times_smaller"])) > 3
    deployed = Deployment.of(file, torch.device("cpu"), checkpoints.load(path).experiment)
    with torch.no_grad():
        expected, found = network(images).log_softmax(dim=1), deployed.network(images)
    # Random networks multiply errors as trained ones don't: their answers still go with those in float.
    pair = [(answers - answers.mean(dim=0)).flatten() for answers in (expected, found)]
    assert float(torch.corrcoef(torch.stack(pair))[0, 1]) > 0.6
