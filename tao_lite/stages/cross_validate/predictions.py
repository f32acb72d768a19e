"""What each image was taken for by the network that was trained without it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from tao_lite import checkpoint as checkpoints
from tao_lite.data.batch import Batch
from tao_lite.errors import RunError
from tao_lite.files import reading, writing
from tao_lite.metrics.counts import Evaluation
from tao_lite.metrics.joint import ClassCounts
from tao_lite.monitor import console
from tao_lite.run import Run
from tao_lite.spec.load import Spec
from tao_lite.stages.cross_validate.trainings import of_fold, run_of
from tao_lite.training.trained import Trained
from tao_lite.training.validation import DEFAULT_TOP_K, evaluate_network, validation_loader

HEADER = ("path", "box", "fold", "label", "predicted")
"""Of folds.csv; the classes' names follow."""

Row = tuple[str, str, int, str, str, list[float]]


@dataclass(frozen=True, kw_only=True)
class Fold:
    """How a fold's best network did on what it was trained without, and its train.json."""

    number: int
    results: Path
    training: dict[str, Any]
    evaluation: Evaluation
    rows: Sequence[Row]


@dataclass(frozen=True, kw_only=True)
class Found:
    """All folds, and the evaluation of all their images together."""

    folds: Sequence[Fold]
    pooled: Evaluation


def predict_all(spec: Spec, run: Run) -> Found:
    """Evaluate each fold's best network in this process.

    Raises:
        TaoLiteError: a checkpoint or images can't be read.
    """
    alone = replace(run, world=replace(run.world, rank=0, world_size=1))
    first = checkpoints.load(run_of(alone, 1).best)
    counts = ClassCounts(first.class_names, run.device)
    numbers = range(1, spec.experiment.dataset_config.fold.num_folds + 1)
    folds = [_fold(spec, alone, number, counts) for number in numbers]
    return Found(folds=folds, pooled=counts.result(spec.experiment.eval_config.top_k or DEFAULT_TOP_K))


def write(found: Found, run: Run) -> None:
    """Write folds.csv: a row for each image, in the order of paths and boxes."""
    rows = sorted((row for fold in found.folds for row in fold.rows), key=_place)
    cells = ([*row[:-1], *row[-1]] for row in rows)
    writing.write(run.folds_csv, writing.csv_text([(*HEADER, *found.pooled.class_names), *cells]))


def _fold(spec: Spec, run: Run, number: int, counts: ClassCounts) -> Fold:
    """The fold, whose images `counts` takes in too."""
    own, experiment = run_of(run, number), of_fold(spec, number).experiment
    trained = Trained.of(own.best, run.device, experiment)
    data = validation_loader(trained.experiment, trained.class_names, run.world)
    names, examples, rows = trained.class_names, data.data_set.examples, list[Row]()

    def watch(batch: Batch, labels: Tensor, logits: Tensor) -> None:
        counts.add(logits, labels)
        values = logits.softmax(dim=1).tolist()
        for example, row in zip((examples[index] for index in batch.indices), values, strict=True):
            predicted = names[max(range(len(names)), key=row.__getitem__)]
            rows.append((str(example.path), example.box_text, number, example.label, predicted, row))

    with console.Progress() as bar:
        bar.begin(f"Predictions of fold {number}", len(data))
        evaluation = evaluate_network(
            trained.network,
            data,
            k=trained.experiment.eval_config.top_k,
            preprocess=trained.preprocess,
            precision=trained.precision,
            world=run.world,
            each_batch=bar.advance,
            watch=watch,
        )
    assert isinstance(evaluation, Evaluation)
    training = reading.read_json(own.summary("train"), RunError)
    return Fold(number=number, results=own.results, training=training, evaluation=evaluation, rows=rows)


def _place(row: Row) -> tuple[str, list[int]]:
    return row[0], [int(number) for number in row[1].split()]
