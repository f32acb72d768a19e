"""Of images without labels those whose label would teach the most: selected.csv, and a page of their pictures."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from tao_lite.files import writing
from tao_lite.metrics import selection
from tao_lite.monitor import console
from tao_lite.run import Run, Summary
from tao_lite.spec.tasks import Task, Tasks
from tao_lite.stages.select.page import Chosen, page

FEW_LABELS = 20
"""Labels per class, on average, below which typical images teach more than unsure ones; the bound is ours. Source of
the rest: Hacohen et al., arXiv:2202.02794."""
_SAME = 1e-3  # between directions of float32 that are equal but for rounding

_log = logging.getLogger(__name__)


class By(StrEnum):
    """What images are chosen by."""

    UNCERTAINTY = "UNCERTAINTY"
    DIVERSITY = "DIVERSITY"
    BOTH = "BOTH"


@dataclass(frozen=True, kw_only=True)
class Wish:
    """How many images to choose, and by what."""

    number: int
    by: By


class Seen(NamedTuple):
    """What a network says of images: probabilities [N, outputs] and, where its layers were asked, features [N, d].

    `known` [M, d] are features of images that need no label any more. `labels` is how many the network was trained
    with, of all classes; 0 where that is not known. `full_scale` is of their pictures, as of `decode`.
    """

    paths: Sequence[Path]
    probabilities: Tensor
    features: Tensor | None = None
    known: Tensor | None = None
    labels: int = 0
    full_scale: float = 0


def select(wish: Wish, seen: Seen, class_names: Sequence[str], tasks: Tasks, run: Run) -> Summary:
    """Choose the images, and write which they are."""
    number = min(wish.number, len(seen.paths))
    if number < wish.number:
        console.line(f"--select {wish.number}: there are {number} images, and all were taken")
    asked = tasks or (Task(name="", class_names=tuple(class_names), first=0),)
    how, chosen = _chosen(wish.by, number, seen, asked)
    header = ("path", "rank", "reason", "score")
    rows = ((one.path, rank, one.reason, one.score) for rank, one in enumerate(chosen, 1))
    title = f"{len(chosen)} of {len(seen.paths)} images, {how}"
    writing.write(run.selected_csv, writing.csv_text([header, *rows]))
    writing.write(run.selected_page, page(chosen, title, seen.full_scale))
    console.line(f"Selected {title}: {run.selected_csv}, {run.selected_page}")
    return {"selected": len(chosen), "selected_by": wish.by.value, "selected_csv": str(run.selected_csv)}


def _chosen(by: By, number: int, seen: Seen, tasks: Sequence[Task]) -> tuple[str, list[Chosen]]:
    """How they were chosen, in words, and which they are, the best first."""
    doubts = torch.stack(
        [selection.doubts(seen.probabilities[:, task.outputs], is_multi_label=task.is_multi_label) for task in tasks], 1
    )
    doubt, unsure = doubts.max(dim=1)
    is_early = 0 < seen.labels < FEW_LABELS * seen.probabilities.shape[1]

    def words(index: int) -> str:
        return _doubtful(tasks[int(unsure[index])], seen.probabilities[index])

    if by == By.UNCERTAINTY or seen.features is None:
        if is_early:
            _log.warning("the network has seen %d labels; with so few, --by BOTH chooses better", seen.labels)
        found = [(one, words(one.place)) for one in selection.most_unsure(doubt, number)]
        how = "those that the network is least sure of"
    elif by == By.DIVERSITY:
        found = [(one, "unlike those before it") for one in selection.k_centres(seen.features, number, seen.known)]
        how = "each unlike those before it"
        _warn_of_same([one.score for one, _ in found], seen.known is not None)
    elif is_early:
        found = [(one, "typical of many") for one in selection.typical(seen.features, number, seen.known)]
        how = f"typical ones, for {seen.labels} labels are fewer than {FEW_LABELS} for each class"
    else:
        answers = torch.cat([_residuals(task, seen.probabilities[:, task.outputs]) for task in tasks], 1)
        indices = selection.unsure_and_unlike(answers, seen.features, number)
        found = [(selection.Picked(index, doubt[index].item()), words(index)) for index in indices]
        how = "those that the network is unsure of and that differ"
    return how, [Chosen(seen.paths[one.place], text, one.score) for one, text in found]


def _residuals(task: Task, probabilities: Tensor) -> Tensor:
    """Probabilities less the answer that they give."""
    if task.is_multi_label:
        return probabilities - probabilities.round()
    return probabilities - torch.nn.functional.one_hot(probabilities.argmax(dim=1), probabilities.shape[1])


def _doubtful(task: Task, probabilities: Tensor) -> str:
    """Between which classes the network is in doubt, as such: cat 0.48, dog 0.45."""
    values = probabilities[task.outputs]
    if task.is_multi_label:
        indices = (values - 0.5).abs().argsort(stable=True)[:1].tolist()
    else:
        indices = values.argsort(descending=True, stable=True)[:2].tolist()
    named = ", ".join(f"{task.class_names[index]} {values[index].item():.2f}" for index in indices)
    return f"{task.name}: {named}" if task.name else named


def _warn_of_same(scores: Sequence[float], has_known: bool) -> None:
    same = sum(score < _SAME for score in scores[0 if has_known else 1 :])
    if same:
        _log.warning("%d of the images chosen have the same features as others: nothing tells these apart", same)
