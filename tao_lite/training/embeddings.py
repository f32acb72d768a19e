"""What the head of a network reads of images: one vector for each, by which they can be compared."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from tao_lite.data.loader import Loader
from tao_lite.errors import DataError, RunError
from tao_lite.monitor import console
from tao_lite.run import Run
from tao_lite.training.deployed import Deployment
from tao_lite.training.trained import Trained


@dataclass(frozen=True)
class Embeddings:
    """The vectors of images: values are float32 [N, d], labels int64 [N], both on the host."""

    paths: tuple[Path, ...]
    values: Tensor
    labels: Tensor


def refuse_deployed(network: Trained | Deployment, path: Path, wish: str) -> Trained:
    """The network, if its layers can be asked.

    Raises:
        RunError: it is a deployed one.
    """
    if isinstance(network, Deployment):
        raise RunError(
            f"{path}: is a deployed network, whose layers can't be asked; {wish} needs the checkpoint (.pth)"
        )
    return network


def compute(
    trained: Trained, data: Loader, run: Run, title: str, accepted: list[bool] | None = None
) -> tuple[Embeddings, list[list[float]]]:
    """The vectors of all images that can be read, and their probabilities of the classes; `accepted` is filled too.

    Raises:
        DataError: none can be read.
    """
    paths, labels, values, rows = list[Path](), list[Tensor](), list[Tensor](), list[list[float]]()
    with console.Progress(is_main=run.is_main) as bar:
        bar.begin(title, len(data))
        for batch, probabilities, features in trained.features(data.epoch(0), accepted):
            paths += batch.paths
            labels.append(batch.labels.cpu())
            values.append(features)
            rows += probabilities
            bar.advance(batch.number + 1)
    if not values:
        raise DataError(f"{data.report.name}: no image can be read")
    return Embeddings(tuple(paths), torch.cat(values), torch.cat(labels)), rows
