"""The charts over epochs of a report: loss, accuracy, learning rate."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

from markupsafe import Markup

from tao_lite import compat, schedule
from tao_lite.errors import SpecError
from tao_lite.stages.report import charts
from tao_lite.stages.report.charts import Curve
from tao_lite.stages.report.record import Record

Point = tuple[float, float]

_POINTS = 200  # of a planned learning rate
_MEASURED = "line: validation, dashes: training"
_RATE = "line: as the spec plans it for one process, dots: at the end of each epoch"


def curves(records: Sequence[Record]) -> list[tuple[str, str, Markup]]:
    """Title, key and picture of each; none where no run has finished an epoch."""
    if not any(record.epochs for record in records):
        return []
    drawn = (
        ("Loss", _MEASURED, _measured(records, "val_loss", "loss"), _words(records, "val_loss", "lowest", min)),
        ("Accuracy", _MEASURED, _measured(records, "val_acc", "acc"), _words(records, "val_acc", "highest", max)),
        ("Learning rate", _RATE, _rates(records), _words(records, "lr", "highest", max)),
    )
    return [
        (title, key, charts.curves(list(lines), title=title, description=words, is_log=title == "Loss"))
        for title, key, lines, words in drawn
    ]


def _measured(records: Sequence[Record], validation: str, training: str) -> Iterator[Curve]:
    for number, record in enumerate(records):
        yield _curve(record, training, number, "--")
        yield _curve(record, validation, number, "-")


def _rates(records: Sequence[Record]) -> Iterator[Curve]:
    """As the runs had them, and as their specs plan them for one process."""
    for number, record in enumerate(records):
        yield from _planned(record, number)
        yield _curve(record, "lr", number, "")


def _planned(record: Record, number: int) -> Iterator[Curve]:
    experiment = record.experiment
    if experiment is None:
        return
    with suppress(SpecError):  # It is no spec to train by.
        config = experiment.train_config
        rate = schedule.make_schedule(config.lr_config, exact=compat.is_exact(experiment))
        progress = [point / _POINTS for point in range(_POINTS + 1)]
        epochs = [config.n_epochs * share for share in progress]
        yield Curve(x=epochs, y=[rate(share) for share in progress], colour=number)


def _curve(record: Record, column: str, number: int, style: str) -> Curve:
    points = _points(record, column)
    return Curve(x=[epoch for epoch, _ in points], y=[value for _, value in points], colour=number, style=style)


def _words(records: Sequence[Record], column: str, word: str, extreme: Callable[[list[Point]], Point]) -> str:
    """The chart in words."""
    texts = []
    for record in records:
        points = [(value, epoch) for epoch, value in _points(record, column) if value is not None]
        if points:
            value, epoch = extreme(points)
            texts.append(f"{record.name}: {word} {column} {value:.4g} in epoch {epoch:g}.")
    return " ".join(texts)


def _points(record: Record, column: str) -> list[tuple[float, float | None]]:
    return [(epoch, row.get(column)) for row in record.epochs if (epoch := row.get("epoch")) is not None]
