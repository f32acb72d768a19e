"""Where a run's numbers go: training.csv, status.json and TensorBoard. None of them can end a training."""

import csv
import json
import logging
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Literal, Self

from tao_lite.errors import RunError, TaoLiteError
from tao_lite.files import reading, writing
from tao_lite.monitor.console import clock
from tao_lite.monitor.events import Events
from tao_lite.monitor.trackers import NONE, Trackers, Wish
from tao_lite.run import Run

_log = logging.getLogger(__name__)

Status = Literal["STARTED", "RUNNING", "SUCCESS", "FAILURE", "SKIPPED"]


class Message(StrEnum):
    """TAO's messages in status.json, word for word: programs wait for them."""

    START = "Starting Training Loop."
    EPOCH = "Training loop in progress"
    LOOP_COMPLETE = "Training loop complete."
    EVALUATION = "Final model evaluation in progress."
    EVALUATED = "Model evaluation is complete."
    FINISHED = "Training finished successfully."
    INTERRUPTED = "Training was interrupted"


@dataclass(frozen=True, kw_only=True)
class EpochRow:
    """The numbers of one epoch: accuracies in [0, 1], seconds with validation."""

    epoch: int  # From 1.
    step: int  # Optimizer steps since the start of the training, over all epochs.
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    learning_rate: float
    seconds: float
    val_extra: Mapping[str, float] = field(default_factory=dict)  # What else the best epoch is chosen by, by name.


class Monitor:
    """Writes what the training says, on the main process only; silent on the others.

    A file that can't be written (disk full, I/O error) is given up with one warning; the training goes on.
    On entry "Starting Training Loop." is written, on an error its text as FAILURE; the caller says SUCCESS.

    After a resume the numbers after resumed_epoch leave training.csv, those after resumed_step leave TensorBoard.
    """

    def __init__(
        self, run: Run, *, max_epochs: int, resumed_epoch: int = 0, resumed_step: int = 0, wish: Wish = NONE
    ) -> None:
        """wish: the trackers that get what TensorBoard gets."""
        self._run = run
        self._max_epochs = max_epochs
        self._resumed_epoch = resumed_epoch
        self._resumed_step = resumed_step
        files = {run.training_csv, run.status, run.events, run.traces, run.trackers_log}
        self._off: set[Path] = set() if run.is_main else files
        self._events: Events | None = None
        self._wish = wish
        self._trackers: Trackers | None = None
        self._rows: list[list[str]] = []

    def __enter__(self) -> Self:
        self.attempt(self._run.events, self._open_events)
        if self._wish.trackers and self._events:
            self.attempt(self._run.trackers_log, self._open_trackers)
        if self._resumed_epoch:
            self.attempt(self._run.training_csv, self._read_rows)
        self.status("STARTED", Message.START)
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, KeyboardInterrupt):
            self.status("FAILURE", Message.INTERRUPTED)
        elif error is not None:
            self.status("FAILURE", str(error) or type(error).__name__)
        if self._events:
            self._events.close()
        if self._trackers:
            self._trackers.close()

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Points of TensorBoard curves, by tag ("batch/loss"); step counts over all epochs."""
        self.show(lambda events: events.scalars(step, values))

    def epoch(self, row: EpochRow) -> None:
        """A finished epoch: a row of training.csv, a line of status.json, a point of five TensorBoard curves."""
        self.log(
            row.step,
            {
                "train/loss": row.train_loss,
                "train/top1": row.train_accuracy,
                "val/loss": row.val_loss,
                "val/top1": row.val_accuracy,
                **{f"val/{name}": value for name, value in row.val_extra.items()},
                "lr": row.learning_rate,
            },
        )
        self.attempt(self._run.training_csv, lambda: self._write_row(row))
        self._append_status("RUNNING", Message.EPOCH, _epoch_fields(row, self._max_epochs))

    def status(self, status: Status, message: str, kpi: Mapping[str, float] | None = None) -> None:
        """A line of status.json."""
        numbers = {name: value if math.isfinite(value) else None for name, value in (kpi or {}).items()}
        self._append_status(status, message, {"kpi": numbers} if numbers else {})

    def show(self, write: Callable[[Events], None]) -> None:
        """Let `write` add to TensorBoard's file. It is not called where there is none."""
        if self._events:
            events = self._events
            self.attempt(self._run.events, lambda: write(events))

    def attempt(self, sink: Path, write: Callable[[], None]) -> None:
        """Let `write` add to one of the run's files or folders, unless that was given up, or is to be now."""
        if sink in self._off or not self._run.is_held:
            return
        try:
            write()
        except (OSError, ImportError, TaoLiteError) as error:
            self._off.add(sink)
            _log.warning("%s was given up: %s; the training goes on without it", sink, error)

    def _open_events(self) -> None:
        self._events = Events(self._run.events, self._resumed_step)

    def _open_trackers(self) -> None:
        assert self._events
        self._trackers = Trackers(self._run, self._events.path, self._wish, is_resumed=self._resumed_step > 0)

    def _read_rows(self) -> None:
        if self._run.training_csv.exists():
            lines = reading.read_text(self._run.training_csv, RunError, errors="replace").splitlines()
            self._rows = [row for row in csv.reader(lines) if _is_before(row, self._resumed_epoch)]

    def _write_row(self, row: EpochRow) -> None:
        numbers = row.train_accuracy, row.train_loss, row.learning_rate, row.val_accuracy, row.val_loss
        self._rows.append([str(row.epoch), *map(str, numbers)])
        header = ["epoch", "acc", "loss", "lr", "val_acc", "val_loss"]
        writing.write(self._run.training_csv, writing.csv_text([header, *self._rows]))

    def _append_status(self, status: Status, message: str, fields: Mapping[str, object]) -> None:
        now = datetime.now()
        line = {
            "date": f"{now.month}/{now.day}/{now.year}",
            "time": f"{now.hour}:{now.minute}:{now.second}",
            "status": status,
            "verbosity": "INFO",
            "message": message,
            **fields,
        }
        self.attempt(self._run.status, lambda: _append_line(self._run.status, json.dumps(line)))


def _epoch_fields(row: EpochRow, max_epochs: int) -> dict[str, object]:
    """What TAO adds to the status line of an epoch; numbers are strings there."""
    accuracies = {"training_accuracy": str(row.train_accuracy), "validation_accuracy": str(row.val_accuracy)}
    losses = {"loss": str(row.train_loss), "validation_loss": str(row.val_loss)}
    return {
        "epoch": row.epoch,
        "max_epoch": max_epochs,
        "time_per_epoch": clock(row.seconds, tenths=True),
        "eta": clock(row.seconds * (max_epochs - row.epoch), tenths=True),
        "graphical": {**losses, **accuracies, "learning_rate": str(row.learning_rate)},
        "kpi": {**accuracies, **{f"validation_{name}": str(value) for name, value in row.val_extra.items()}},
    }


def _is_before(row: list[str], resumed_epoch: int) -> bool:
    return bool(row) and row[0].isdecimal() and int(row[0]) <= resumed_epoch


def _append_line(path: Path, text: str) -> None:
    """Add the line to the file, below a last line that a crash may have torn."""
    with writing.open_to_append(path) as file:
        start = b""
        if file.seek(0, os.SEEK_END) > 0:
            file.seek(-1, os.SEEK_END)
            start = b"" if file.read() == b"\n" else b"\n"
        file.write(start + text.encode() + b"\n")
