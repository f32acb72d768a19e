"""The list of an audit: which examples are doubtful, why, and in which order a person should look at them."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from tao_lite.metrics import confident
from tao_lite.metrics.neighbours import Neighbours, nearest
from tao_lite.stages.audit.evidence import Evidence

HEADER = ("path", "box", "label", "likely", "probability", "label_probability", "rank", "reason")
WRONG_LABEL, DOUBTFUL_LABEL, OUTLIER = "wrong_label", "doubtful_label", "outlier"
NUM_NEIGHBOURS = 10
"""Of an image, whose mean distance says how far it is from all."""

Finding = tuple[Path, tuple[int, int, int, int] | None, str]
"""Path and box of an example, and why it is doubtful."""


class Row(NamedTuple):
    """An example, by its place among all, with the most probable class and all reasons."""

    place: int
    likely: int
    reasons: tuple[str, ...]


def listed(evidence: Evidence, neighbours: Neighbours | None, findings: Iterable[Finding] = ()) -> list[Row]:
    """The doubtful examples, each once: wrong labels first, then doubtful ones, outliers and further findings.

    Labels come by falling doubt, which is the margin; outliers the farthest first; findings of others as they come.
    """
    probabilities, labels = evidence.probabilities, evidence.labels
    wrong = confident.wrong_labels(probabilities, labels)
    order = np.argsort(confident.margins(probabilities, labels), kind="stable").tolist()
    likely = probabilities.argmax(axis=1)
    reasons: dict[int, list[str]] = {index: [WRONG_LABEL] for index in order if wrong[index]}
    reasons |= {index: [DOUBTFUL_LABEL] for index in order if likely[index] != labels[index] and not wrong[index]}
    for index in outliers(neighbours) if neighbours else ():
        reasons.setdefault(index, []).append(OUTLIER)
    index_of = {(one.path, one.box): index for index, one in enumerate(evidence.examples)}
    for path, box, reason in findings:
        if (path, box) in index_of:
            reasons.setdefault(index_of[path, box], []).append(reason)
    return [Row(index, int(likely[index]), tuple(dict.fromkeys(why))) for index, why in reasons.items()]


def neighbours_of(features: Tensor) -> Neighbours:
    """Of each image the nearest others."""
    found = nearest(features, features, NUM_NEIGHBOURS + 1)
    own = found.indices == torch.arange(len(features))[:, None]
    # Among equal copies an image may not be its own nearest.
    own[~own.any(dim=1), -1] = True
    return Neighbours(
        found.indices[~own].view(len(features), -1),
        found.cosines[~own].view(len(features), -1),
    )


def outliers(neighbours: Neighbours) -> list[int]:
    """Images that are far from all others, the farthest first.

    Far is a mean distance, 1 - cosine, beyond the outer fence. Source: Tukey, Exploratory Data Analysis, 1977.
    """
    distances = 1 - neighbours.cosines.mean(dim=1).double()
    low, high = torch.quantile(distances, torch.tensor([0.25, 0.75], dtype=torch.float64)).tolist()
    order = distances.argsort(descending=True, stable=True).tolist()
    return [index for index in order if distances[index] > high + 3 * (high - low)]


def table(evidence: Evidence, rows: Sequence[Row]) -> list[tuple[object, ...]]:
    """The rows as cells, in the columns of HEADER; reasons of one example have a space between."""
    cells = list[tuple[object, ...]]()
    for rank, row in enumerate(rows, 1):
        example, probabilities = evidence.examples[row.place], evidence.probabilities[row.place].tolist()
        likely = evidence.class_names[row.likely]
        values = (probabilities[row.likely], probabilities[evidence.labels[row.place]])
        cells.append((example.path, example.box_text, example.label, likely, *values, rank, " ".join(row.reasons)))
    return cells
