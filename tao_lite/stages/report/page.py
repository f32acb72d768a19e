"""The HTML of a report: values for report.html, which says how they are shown. Everything in it is escaped."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jinja2 import ChainableUndefined, Environment, FileSystemLoader
from markupsafe import Markup
from PIL import Image
from torch import Tensor

from tao_lite.metrics.counts import Evaluation
from tao_lite.monitor import addresses
from tao_lite.stages.report import charts, rows
from tao_lite.stages.report.curves import curves
from tao_lite.stages.report.network import MAX_GROUPS, Judged
from tao_lite.stages.report.subject import Pooled, Subject
from tao_lite.training.heat_maps import coloured

MAX_CLASSES = 20
"""Of a confusion matrix; of more classes, those with the most mistakes are shown."""
NUM_PAIRS = 10
MAX_ROWS = 50
"""Problems of a data set, groups of copies in it and members of a group."""


@dataclass(frozen=True)
class Matrix:
    """Part of a confusion matrix: for each row its class, and for each cell the images and their share of the row."""

    names: tuple[str, ...]
    rows: tuple[tuple[str, tuple[tuple[int, float], ...]], ...]


def page(subjects: Sequence[Subject], device: torch.device, pooled: Pooled | None = None) -> str:
    """The report as one HTML text; `pooled` is what the subjects say together."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=ChainableUndefined,  # Summaries of other versions may lack something.
    )
    environment.filters.update(
        number=rows.number, png=png, heat=heat, matrix=matrix, reliability=reliability, risk=risk
    )
    return environment.get_template("report.html").render(
        subjects=subjects,
        title=pooled.title if pooled else ", ".join(subject.record.name for subject in subjects),
        pooled=pooled,
        made=time.strftime("%Y-%m-%d %H:%M"),
        colour=charts.colour,
        overview=rows.overview(subjects),
        differences=rows.differences(subjects),
        curves=curves([subject.record for subject in subjects]),
        environment=rows.environment(subjects),
        machine=rows.machine(device),
        num_pairs=NUM_PAIRS,
        has_chosen=any(one.chosen or "chosen" in one.missing for one in subjects),
        max_rows=MAX_ROWS,
        max_groups=MAX_GROUPS,
    )


def png(image: Tensor) -> str:
    """The picture, uint8 [C, H, W] with C 1 or 3, as a data: address."""
    pixels = image.permute(1, 2, 0).numpy()
    return addresses.exact(Image.fromarray(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels))


def heat(values: Tensor) -> str:
    """A heat map [h, w] in colours to lie over its picture, as a data: address; the browser makes it as large."""
    return addresses.exact(Image.fromarray(coloured(values)))


def matrix(evaluation: Evaluation) -> Matrix:
    """The confusion matrix of the classes in their order, at most MAX_CLASSES."""
    counts = torch.tensor(evaluation.confusion_matrix)
    mistakes = counts.sum(dim=0) + counts.sum(dim=1) - 2 * counts.diagonal()
    chosen = sorted(mistakes.argsort(descending=True, stable=True)[:MAX_CLASSES].tolist())
    rows = []
    for true in chosen:
        images = evaluation.confusion_matrix[true]
        total = evaluation.per_class[true].support
        rows.append((evaluation.class_names[true], tuple((images[i], images[i] / max(total, 1)) for i in chosen)))
    return Matrix(tuple(evaluation.class_names[i] for i in chosen), tuple(rows))


def reliability(judged: Judged, name: str) -> Markup:
    """The reliability diagram of a run."""
    before, after = judged.calibration.ece, judged.calibrated.ece
    return charts.reliability(
        judged.calibration,
        judged.calibrated,
        title=f"Reliability of {name}",
        description=f"Calibration error {before:.4f}, and {after:.4f} at temperature {judged.temperature:.2f}.",
    )


def risk(curve: Sequence[Mapping[str, Any]], name: str) -> Markup:
    """The risk-coverage curve of a run's evaluate.json, as far as it has numbers; nothing where it has none."""
    pairs = [(one.get("coverage"), one.get("error")) for one in curve]
    points = [(float(x), float(y)) for x, y in pairs if isinstance(x, float | int) and isinstance(y, float | int)]
    points = [(x, y) for x, y in points if 0 <= x <= 1 and 0 <= y <= 1]
    if not points:
        return Markup()
    coverage, error = points[-1]
    words = f"Of all answers {error:.2%} are wrong; of the surest half "
    half = min(points, key=lambda point: abs(point[0] - coverage / 2))
    return charts.risk_coverage(points, title=f"Risk and coverage of {name}", description=f"{words}{half[1]:.2%}.")
