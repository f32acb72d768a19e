"""Classify images that have no label: one, or all below a folder."""

import io
import itertools
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from tao_lite.data.formats import listing
from tao_lite.data.formats.multitask import BETWEEN
from tao_lite.data.left_out import UNREADABLE, LeftOut
from tao_lite.data.loader import Loader
from tao_lite.errors import DataError
from tao_lite.files import writing
from tao_lite.metrics.neighbours import nearest
from tao_lite.monitor import console
from tao_lite.run import Run, Summary
from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec.load import Spec
from tao_lite.spec.tasks import OF, Tasks
from tao_lite.stages.select.select import By, Seen, Wish, select
from tao_lite.training import deployed, heat_map_files, heat_maps, rejecting
from tao_lite.training.deployed import Deployment
from tao_lite.training.embeddings import Embeddings, compute, refuse_deployed
from tao_lite.training.trained import Trained, answer, most_probable
from tao_lite.training.validation import unlabelled_loader

CLOSE = 0.1
"""Of two probabilities, how near they are where 16 bits may take one for the other; they change by about 0.01."""

Rows = list[tuple[Path, list[float]]]


@dataclass(frozen=True, kw_only=True)
class Extras:
    """What is written beside the classes."""

    has_embeddings: bool = False  # embeddings.npz
    neighbours: Path | None = None  # image or folder, of which the nearest ones to each image go to neighbours.csv
    num_neighbours: int = 5
    has_heat_maps: bool = False  # heat_maps/, pictures under what speaks for their class
    wish: Wish | None = None  # selected.csv and selected.html; what is near `neighbours` is known already


def inference(spec: Spec, run: Run, source: Path, extras: Extras = Extras()) -> Summary:
    """Classify the image, or those below the folder, by eval_config.model_path, else the best checkpoint.

    result.csv has TAO's columns without a header (path, class, confidence), predictions.csv all probabilities. With
    several tasks both have a header, and a class and its confidence for each.

    What `extras` asks for is written beside them.

    Raises:
        TaoLiteError: the network or the images can't be used.
    """
    path = Path(spec.experiment.eval_config.model_path or run.best)
    trained = deployed.opened(path, run.device, spec.experiment)
    needs_layers = extras.has_embeddings or extras.neighbours is not None
    asked = refuse_deployed(trained, path, "--embeddings or --neighbours") if needs_layers else None
    maps = heat_maps.heat_maps(refuse_deployed(trained, path, "--heat_maps")) if extras.has_heat_maps else None
    if extras.wish and extras.wish.by != By.UNCERTAINTY:
        asked = refuse_deployed(trained, path, f"--select by {extras.wish.by}, unlike --by UNCERTAINTY,")
    data = _images(trained, source, run)
    others = _images(trained, extras.neighbours, run) if extras.neighbours else None
    trained.set_threads(run)
    started = time.perf_counter()
    found, accepted = None, list[bool]() if trained.has_rule else None
    rejecting.say_missing(trained)
    if asked:
        found, values = compute(asked, data, run, "Inference", accepted)
        rows: Rows = list(zip(found.paths, values, strict=True))
    else:
        rows = _classified(trained, data, run, accepted)
    speed = len(rows) / (time.perf_counter() - started)
    summary = {
        **(
            _written_tasks(run, rows, trained.tasks, trained.class_names)
            if trained.tasks
            else _written(run, rows, trained.class_names, accepted)
        ),
        "images": len(rows),
        "unread": data.report.number(UNREADABLE),
        "left_out": data.report.values(),
        "result_csv": str(run.result_csv),
        "precision": trained.precision.name,
        "runtime": trained.runtime,
        "images_per_second": speed,
    }
    _say_end(run, len(rows), data.report)
    if isinstance(trained, Trained) and trained.precision.name != "FP32" and not trained.tasks:
        summary |= _compared_with_fp32(trained, rows, run)
    among, _ = compute(asked, others, run, "Neighbours") if found and asked and others else (None, None)
    if found and among:
        summary |= _with_neighbours(run, found, among, extras.num_neighbours)
    if found and extras.has_embeddings:
        summary |= _with_embeddings(run, found)
    if maps:
        summary |= heat_map_files.write(maps, rows, run)
    if extras.wish:
        summary |= select(extras.wish, _seen(trained, rows, found, among), trained.class_names, trained.tasks, run)
    console.computed(trained.precision.name, trained.runtime, speed)
    writing.write_json(run.summary("inference"), summary)
    return summary


def _images(trained: Trained | Deployment, source: Path, run: Run) -> Loader:
    config = trained.experiment.dataset_config
    report = LeftOut(str(source), fail=config.on_bad_example == pb.BadExample.FAIL)
    paths = _paths(source, report)
    return unlabelled_loader(trained.experiment, paths, report, run.world, is_whole=trained.takes_whole)


def _classified(trained: Trained | Deployment, data: Loader, run: Run, accepted: list[bool] | None = None) -> Rows:
    rows: Rows = []
    with console.Progress(is_main=run.is_main) as bar:
        bar.begin("Inference", len(data))
        for batch, probabilities in trained.probabilities(data.epoch(0), accepted):
            rows += zip(batch.paths, probabilities, strict=True)
            bar.advance(batch.number + 1)
    return rows


def _compared_with_fp32(trained: Trained, rows: Rows, run: Run) -> Summary:
    """How many answers are others than an exported file gives: of images where a rounded probability may decide."""
    close = {path: values for path, values in rows if len(values) > 1 and np.diff(np.sort(values)[-2:]) < CLOSE}
    others = 0
    if close:
        exact, report = trained.in_fp32(), LeftOut("images", is_logged=False)
        data = unlabelled_loader(exact.experiment, close, report, run.world)
        others = sum(np.argmax(values) != np.argmax(close[path]) for path, values in _classified(exact, data, run))
    console.line(f"An exported file, which computes in FP32, would answer {others} of {len(rows)} images otherwise")
    return {"other_answers_in_fp32": int(others)}


def _with_embeddings(run: Run, found: Embeddings) -> Summary:
    content = io.BytesIO()
    np.savez(content, paths=np.array([str(path) for path in found.paths]), features=found.values.numpy())
    writing.write(run.embeddings, content.getvalue())
    length = found.values.shape[1]
    console.line(f"Wrote {run.embeddings}: {len(found.paths)} paths and features of {length} numbers")
    return {"embeddings": str(run.embeddings), "embedding_length": length}


def _with_neighbours(run: Run, found: Embeddings, among: Embeddings, k: int) -> Summary:
    # One more, for where an image is among them itself.
    neighbours = nearest(found.values, among.values, k + 1)
    rows: list[Sequence[object]] = [("path", "rank", "neighbour", "distance")]
    for path, indices, cosines in zip(
        found.paths, neighbours.indices.tolist(), neighbours.cosines.tolist(), strict=True
    ):
        others = [(among.paths[index], cosine) for index, cosine in zip(indices, cosines, strict=True)]
        kept = [(other, cosine) for other, cosine in others if other.resolve() != path.resolve()][:k]
        rows += [(path, rank, other, max(0.0, 1 - cosine)) for rank, (other, cosine) in enumerate(kept, 1)]
    writing.write(run.neighbours_csv, writing.csv_text(rows))
    console.line(f"Wrote {run.neighbours_csv}: the nearest of {len(among.paths)} images to each")
    return {"neighbours_csv": str(run.neighbours_csv)}


def _seen(trained: Trained | Deployment, rows: Rows, found: Embeddings | None, known: Embeddings | None) -> Seen:
    """What the network says of the images, as it is chosen by."""
    data = trained.found.training.get("data") if isinstance(trained, Trained) else None
    return Seen(
        [path for path, _ in rows],
        torch.tensor([values for _, values in rows]),
        found.values if found else None,
        known.values if known else None,
        sum(data["train"]["counts"]) if data else 0,
        trained.experiment.dataset_config.full_scale,
    )


def _paths(source: Path, report: LeftOut) -> list[Path]:
    if not source.exists():
        raise DataError(f"{source}: no such image or folder; check the path")
    paths = listing.images_below(source, report) if source.is_dir() else [source]
    if not paths:
        raise DataError(f"{source}: holds no image; suffixes are {', '.join(sorted(listing.SUFFIXES))}")
    return paths


def _say_end(run: Run, num_images: int, report: LeftOut) -> None:
    num_unread = report.number(UNREADABLE)
    unread = f"; {num_unread} could not be read" if num_unread else ""
    console.line(
        f"Classified {num_images} images{unread}: {run.result_csv}, all probabilities in {run.predictions_csv}"
    )


def _written(run: Run, rows: Rows, class_names: Sequence[str], accepted: Sequence[bool] | None) -> Summary:
    best = [(path, *most_probable(class_names, values)) for path, values in rows]
    writing.write(run.result_csv, writing.csv_text(best))
    full = [(path, name, value, *values) for (path, name, value), (_, values) in zip(best, rows, strict=True)]
    table = [("path", "class", "confidence", *class_names), *full]
    if accepted is not None:
        column = ("accepted", *(str(one).lower() for one in accepted))
        table = [(*row, cell) for row, cell in zip(table, column, strict=True)]
        console.line(f"{sum(accepted)} of {len(accepted)} answers are accepted by the network's rule")
    writing.write(run.predictions_csv, writing.csv_text(table))
    if len(best) == 1:
        ((path, name, value),) = best
        console.line(f"{path}: class {class_names.index(name)}, {name}, with confidence {value:.4f}")
    counts = {"per_class": {name: sum(found == name for _, found, _ in best) for name in class_names}}
    return counts if accepted is None else {**counts, "accepted": sum(accepted)}


def _written_tasks(run: Run, rows: Rows, tasks: Tasks, class_names: Sequence[str]) -> Summary:
    """Both files have a header here: each task with its class and its confidence, then the probabilities."""
    answers = [[answer(task, values) for task in tasks] for _, values in rows]
    heads = ["path", *(name for task in tasks for name in (task.name, f"{task.name}_confidence"))]
    cells = [
        [path, *itertools.chain.from_iterable((BETWEEN.join(one.class_names), one.confidence) for one in found)]
        for (path, _), found in zip(rows, answers, strict=True)
    ]
    full = [[*row, *values] for row, (_, values) in zip(cells, rows, strict=True)]
    writing.write(run.result_csv, writing.csv_text([heads, *cells]))
    writing.write(run.predictions_csv, writing.csv_text([[*heads, *class_names], *full]))
    if len(rows) == 1:
        for task, one in zip(tasks, answers[0], strict=True):
            names = BETWEEN.join(one.class_names) or "none"
            console.line(f"{rows[0][0]}: {task.name} {names}, with confidence {one.confidence:.4f}")
    counts = Counter(
        f"{task.name}{OF}{name}"
        for found in answers
        for task, one in zip(tasks, found, strict=True)
        for name in one.class_names
    )
    return {"per_class": {name: counts[name] for name in class_names}}
