"""Classify images that have no label: one, or all below a folder."""

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from tao_lite import checkpoint as checkpoints
from tao_lite import compat
from tao_lite.data.augment.augment import Preprocess
from tao_lite.data.dataset import DataSet
from tao_lite.data.example import Example, Report
from tao_lite.data.formats import listing
from tao_lite.errors import DataError
from tao_lite.models.fold import folded
from tao_lite.monitor import console
from tao_lite.run import Run, Summary, write_atomically, write_json
from tao_lite.spec.load import Spec
from tao_lite.stages.evaluate import evaluated_experiment, evaluation_loader
from tao_lite.training import preparation, trial
from tao_lite.training.loops import predict
from tao_lite.training.precision import Precision

Rows = list[tuple[Path, list[float]]]


def inference(spec: Spec, run: Run, source: Path) -> Summary:
    """Classify the image, or those below the folder, by eval_config.model_path, else the best checkpoint.

    result.csv has TAO's columns without a header (path, class, confidence), predictions.csv all probabilities.

    Raises:
        TaoLiteError: the checkpoint or the images can't be used.
    """
    found = checkpoints.load(Path(spec.experiment.eval_config.model_path or run.best))
    experiment = compat.effective(evaluated_experiment(spec.experiment, found))
    paths = _paths(source)
    # A label is needed for an example and read by nobody.
    full_scale = experiment.dataset_config.full_scale
    examples = tuple(Example(path, found.class_names[0], str(path), full_scale=full_scale) for path in paths)
    data = evaluation_loader(experiment, DataSet(examples, found.class_names), run)
    network = preparation.on_device(checkpoints.network(found), run.device)
    preprocess = Preprocess.from_dict(dict(found.preprocess)).to(run.device)
    precision = Precision.of(experiment.train_config, run.device)
    trial.set_threads(network, experiment, precision, run)
    rows: Rows = []
    with console.Progress(is_main=run.is_main) as bar:
        bar.begin("Inference", len(data))
        for batch, _, logits in predict(folded(network), data.epoch(0), preprocess=preprocess, precision=precision):
            rows += zip(batch.paths, logits.softmax(dim=1).tolist(), strict=True)
            bar.advance(batch.number + 1)
    return _written(run, rows, found.class_names, num_unread=len(paths) - len(rows))


def _paths(source: Path) -> list[Path]:
    if not source.exists():
        raise DataError(f"{source}: no such image or folder; check the path")
    paths = listing.images_below(source, Report()) if source.is_dir() else [source]
    if not paths:
        raise DataError(f"{source}: holds no image; suffixes are {', '.join(sorted(listing.SUFFIXES))}")
    return paths


def _written(run: Run, rows: Rows, class_names: Sequence[str], *, num_unread: int) -> Summary:
    best = [(path, *max(zip(values, class_names, strict=True))) for path, values in rows]
    write_atomically(run.result_csv, _csv((path, name, value) for path, value, name in best))
    header = ("path", "class", "confidence", *class_names)
    full = ((path, name, value, *values) for (path, value, name), (_, values) in zip(best, rows, strict=True))
    write_atomically(run.predictions_csv, _csv(iter([header, *full])))
    if len(best) == 1:
        ((path, value, name),) = best
        console.line(f"{path}: class {class_names.index(name)}, {name}, with confidence {value:.4f}")
    unread = f"; {num_unread} could not be read" if num_unread else ""
    console.line(f"Classified {len(rows)} images{unread}: {run.result_csv}, all probabilities in {run.predictions_csv}")
    counts = {name: sum(found == name for _, _, found in best) for name in class_names}
    summary = {"images": len(rows), "unread": num_unread, "per_class": counts, "result_csv": str(run.result_csv)}
    write_json(run.summary("inference"), summary)
    return summary


def _csv(rows: Iterator[Sequence[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
