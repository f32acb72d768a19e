"""Classify images that have no label: one, or all below a folder."""

import time
from collections.abc import Sequence
from pathlib import Path

from tao_lite.data.dataset import DataSet
from tao_lite.data.example import Example
from tao_lite.data.formats import listing
from tao_lite.data.left_out import UNREADABLE, LeftOut
from tao_lite.errors import DataError
from tao_lite.files import writing
from tao_lite.monitor import console
from tao_lite.run import Run, Summary
from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec.load import Spec
from tao_lite.training import deployed
from tao_lite.training.trained import most_probable
from tao_lite.training.validation import evaluation_loader

Rows = list[tuple[Path, list[float]]]


def inference(spec: Spec, run: Run, source: Path) -> Summary:
    """Classify the image, or those below the folder, by eval_config.model_path, else the best checkpoint.

    result.csv has TAO's columns without a header (path, class, confidence), predictions.csv all probabilities.

    Raises:
        TaoLiteError: the network or the images can't be used.
    """
    path = Path(spec.experiment.eval_config.model_path or run.best)
    trained = deployed.opened(path, run.device, spec.experiment)
    config = trained.experiment.dataset_config
    report = LeftOut(str(source), fail=config.on_bad_example == pb.BadExample.FAIL)
    examples = tuple(Example(path, "", str(path), full_scale=config.full_scale) for path in _paths(source, report))
    data_set = DataSet(examples, ("",), report)
    data = evaluation_loader(trained.experiment, data_set, run.world, is_whole=trained.takes_whole)
    trained.set_threads(run)
    rows: Rows = []
    started = time.perf_counter()
    with console.Progress(is_main=run.is_main) as bar:
        bar.begin("Inference", len(data))
        for batch, probabilities in trained.probabilities(data.epoch(0)):
            rows += zip(batch.paths, probabilities, strict=True)
            bar.advance(batch.number + 1)
    speed = len(rows) / (time.perf_counter() - started)
    summary = {
        **_written(run, rows, trained.class_names, report),
        "precision": trained.precision.name,
        "runtime": trained.runtime,
        "images_per_second": speed,
    }
    console.computed(trained.precision.name, trained.runtime, speed)
    writing.write_json(run.summary("inference"), summary)
    return summary


def _paths(source: Path, report: LeftOut) -> list[Path]:
    if not source.exists():
        raise DataError(f"{source}: no such image or folder; check the path")
    paths = listing.images_below(source, report) if source.is_dir() else [source]
    if not paths:
        raise DataError(f"{source}: holds no image; suffixes are {', '.join(sorted(listing.SUFFIXES))}")
    return paths


def _written(run: Run, rows: Rows, class_names: Sequence[str], report: LeftOut) -> Summary:
    best = [(path, *most_probable(class_names, values)) for path, values in rows]
    writing.write(run.result_csv, writing.csv_text(best))
    header = ("path", "class", "confidence", *class_names)
    full = ((path, name, value, *values) for (path, name, value), (_, values) in zip(best, rows, strict=True))
    writing.write(run.predictions_csv, writing.csv_text([header, *full]))
    if len(best) == 1:
        ((path, name, value),) = best
        console.line(f"{path}: class {class_names.index(name)}, {name}, with confidence {value:.4f}")
    num_unread = report.number(UNREADABLE)
    unread = f"; {num_unread} could not be read" if num_unread else ""
    console.line(f"Classified {len(rows)} images{unread}: {run.result_csv}, all probabilities in {run.predictions_csv}")
    counts = {name: sum(found == name for _, found, _ in best) for name in class_names}
    return {
        "images": len(rows),
        "unread": num_unread,
        "left_out": report.values(),
        "per_class": counts,
        "result_csv": str(run.result_csv),
    }
