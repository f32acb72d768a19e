"""What the user sees on standard output: lines, tables, the progress bar. The only place that writes there."""

import functools
import logging
import os
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Self, cast

from tao_lite.errors import printable, shown

if TYPE_CHECKING:
    from rich.console import Console

    from tao_lite.metrics.counts import Evaluation
    from tao_lite.metrics.joint import JointEvaluation
    from tao_lite.metrics.labels import LabelsEvaluation
    from tao_lite.monitor.monitor import EpochRow

_log = logging.getLogger(__name__)

_PLAIN_WIDTH = 160  # Columns of a matrix where there is no terminal to ask.
_NUM_PAIRS = 10
_BARS = "▁▂▃▄▅▆▇█"


def line(text: str = "") -> None:
    """Print a line; above the progress bar if there is one."""
    text = shown(text)
    if is_terminal():
        from rich.text import Text

        _terminal().print(Text(text), soft_wrap=True)
    else:
        _output.write(text + "\n")


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table. Floats have four decimals; columns that hold nothing but numbers are aligned on the right."""
    rows = [list(row) for row in rows]
    numeric = [bool(rows) and all(_is_number(row[i]) for row in rows) for i in range(len(columns))]
    cells = [[_cell(value) for value in row] for row in rows]
    heads = [printable(name) for name in columns]
    if is_terminal():
        _print_rich_table(title, heads, cells, numeric)
    else:
        line("\n".join(["", title, *_plain_table(heads, cells, numeric)]))


def evaluation(result: "Evaluation") -> None:
    """Print an evaluation: one line, the scores per class, the confusion matrix or its worst entries."""
    top_k = f"top-{result.k} {result.top_k:.4f}, " if result.k > 1 else ""
    line(f"{result.num_images} images: top-1 {result.top1:.4f}, {top_k}loss {result.loss:.4f}")
    if result.num_non_finite:
        line(f"{result.num_non_finite} of them gave logits that are not finite; they count as wrong")
    scores = [*zip(result.class_names, result.per_class, strict=True), ("macro mean", result.macro)]
    rows = [(name, s.precision, s.recall, s.f1, s.support) for name, s in [*scores, ("weighted mean", result.weighted)]]
    table("Scores per class", ("class", "precision", "recall", "f1", "support"), rows)
    _confusion(result)


def joint_evaluation(result: "JointEvaluation") -> None:
    """Print an evaluation of several tasks: one line, then each task by itself."""
    line(
        f"{result.num_images} images: mean score of {len(result.tasks)} tasks {result.top1:.4f}, loss {result.loss:.4f}"
    )
    from tao_lite.metrics.counts import Evaluation

    for name, one in result.tasks.items():
        line(f"\nTask {printable(name)}")
        if isinstance(one, Evaluation):
            evaluation(one)
        else:
            _labels_evaluation(one)


def _labels_evaluation(result: "LabelsEvaluation") -> None:
    """Print the evaluation of a task of several labels: one line and the scores per class."""
    line(
        f"{result.num_images} images: mean average precision {result.mean_average_precision:.4f}, all labels right "
        f"{result.exact:.4f}, loss {result.loss:.4f}"
    )
    rows = [
        (name, one.average_precision, one.precision, one.recall, one.f1, one.support)
        for name, one in result.per_class.items()
    ]
    table("Scores per class", ("class", "average precision", "precision", "recall", "f1", "support"), rows)


def computed(precision: str, runtime: str, images_per_second: float) -> None:
    """Print what a network was computed with, and how fast, reading the images included."""
    line(f"Computed in {precision} by {runtime}, {images_per_second:.4g} images per second")


def reopen_closed() -> None:
    """Give the standard streams that the caller has closed to nowhere, lest the next file takes a stream's place."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 - until the process ends


def log_handler() -> logging.Handler:
    """A handler that logs to standard error, above the bar while there is one on the same screen."""
    return logging.StreamHandler(_Stderr())


def epoch_line(row: "EpochRow", max_epochs: int) -> str:
    """The line that stays on the screen when an epoch has ended."""
    extra = "".join(f"val_{name} {value:.3f}  " for name, value in row.val_extra.items())
    return (
        f"Epoch {row.epoch}/{max_epochs}  loss {row.train_loss:.3f}  acc {row.train_accuracy:.3f}  "
        f"val_loss {row.val_loss:.3f}  val_acc {row.val_accuracy:.3f}  {extra}lr {row.learning_rate:.3g}  "
        f"{clock(row.seconds)}  ETA {clock(row.seconds * (max_epochs - row.epoch))}"
    )


def clock(seconds: float, *, tenths: bool = False) -> str:
    """Hours, minutes and seconds, as in "0:01:12" or "0:01:12.3"."""
    parts = 10 if tenths else 1
    minutes, rest = divmod(round(seconds * parts), 60 * parts)
    return f"{minutes // 60}:{minutes % 60:02d}:{f'{rest / 10:04.1f}' if tenths else f'{rest:02d}'}"


def sparkline(values: Sequence[float]) -> str:
    """One bar for each value, from 0 to the highest."""
    top = max(values) or 1.0
    return "".join(_BARS[min(int(value / top * len(_BARS)), len(_BARS) - 1)] for value in values)


class Progress:
    """Shows how far a loop has come: a bar on a terminal, elsewhere a line now and then.

    with Progress(is_main=world.is_main) as progress:
        progress.begin("Epoch 3/80", total=183)
        progress.advance(57)
        progress.show(loss=0.412, accuracy=0.871, images_per_second=812)
        progress.end(epoch_line(row, 80))
    """

    def __init__(self, *, is_main: bool = True, every_seconds: float = 10.0) -> None:
        """Silent where is_main is false; every_seconds is the least time between two lines, not of the bar."""
        self._silent = not is_main
        self._every_seconds = every_seconds
        self._bar = _Bar() if is_main and is_terminal() else None
        self._shown_at = time.monotonic()
        self.begin("", 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.remove()

    def begin(self, title: str, total: int, done: int = 0) -> None:
        """Start a loop of that many batches, of which some were done before."""
        self._title, self._total, self._first, self._done = title, total, done, done
        self._numbers = ""
        self._began_at = time.monotonic()

    def advance(self, done: int) -> None:
        """Note how many batches of the loop are done, with those done before."""
        self._done = done
        self._refresh()

    def show(
        self, *, loss: float | None = None, accuracy: float | None = None, images_per_second: float | None = None
    ) -> None:
        """Note the newest numbers; they are shown until newer ones come."""
        numbers = ((loss, "  loss {:.3f}"), (accuracy, "  acc {:.3f}"), (images_per_second, "  {:.0f} img/s"))
        self._numbers = "".join(form.format(value) for value, form in numbers if value is not None)
        self._refresh()

    def end(self, text: str = "") -> None:
        """Remove the bar and print the text, if any."""
        if self._bar:
            self._bar.remove()
        if text and not self._silent:
            line(text)

    def _refresh(self) -> None:
        now = time.monotonic()
        if self._silent or now - self._shown_at < (0.1 if self._bar else self._every_seconds):
            return
        self._shown_at = now
        text = f"{self._done}/{self._total}{self._numbers}{self._eta(now)}"
        if self._bar:
            self._bar.draw(self._title, text, self._done / max(self._total, 1))
        else:
            line(f"{self._title}  {text}")

    def _eta(self, now: float) -> str:
        if self._done == self._first:
            return ""
        return f"  ETA {clock((now - self._began_at) / (self._done - self._first) * (self._total - self._done))}"


def is_terminal() -> bool:
    """Whether standard output is a terminal that can move its cursor."""
    return _output.isatty() and os.environ.get("TERM", "").lower() not in ("dumb", "unknown")


class _Bar:
    """A bar of rich at the foot of the terminal; drawn by the caller's thread."""

    def __init__(self) -> None:
        from rich.progress import BarColumn, Progress, TextColumn

        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[text]}", markup=False),
            console=_terminal(),
            auto_refresh=False,
            transient=True,
            expand=True,
            redirect_stdout=False,
            # Warnings on the same screen go above the bar instead of through it; a log file keeps them.
            redirect_stderr=sys.stderr.isatty(),
        )
        self._task = self._progress.add_task("", total=1.0, text="")

    def draw(self, title: str, text: str, share: float) -> None:
        self._progress.update(self._task, description=title, text=text, completed=share)
        self._progress.start()
        self._progress.refresh()

    def remove(self) -> None:
        self._progress.stop()


class _Stderr:
    """Whatever sys.stderr is when something is written: the bar takes its place for a while."""

    def write(self, text: str) -> int:
        return sys.stderr.write(shown(text))

    def flush(self) -> None:
        sys.stderr.flush()


class _Output:
    """Standard output that falls silent instead of failing when its reader has gone (`| head`) or its disk is full."""

    @property
    def encoding(self) -> str:
        return sys.stdout.encoding or "utf-8"

    def write(self, text: str) -> int:
        try:
            sys.stdout.write(text.encode(self.encoding, "replace").decode(self.encoding))
            sys.stdout.flush()
        except OSError as error:
            self._silence(error)
        return len(text)

    def flush(self) -> None:
        """Nothing is left to flush: every write ends with it."""

    def isatty(self) -> bool:
        return sys.stdout.isatty()

    def fileno(self) -> int:
        return sys.stdout.fileno()

    def _silence(self, error: OSError) -> None:
        # The descriptor is replaced, because the interpreter flushes what is left in the buffer when it ends.
        with Path(os.devnull).open("wb") as null:
            os.dup2(null.fileno(), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            _log.warning("standard output was given up: %s", error)


_output = _Output()


@functools.cache
def _terminal() -> "Console":
    from rich.console import Console

    return Console(file=cast("IO[str]", _output), force_terminal=True, highlight=False)


def _print_rich_table(title: str, heads: list[str], cells: list[list[str]], numeric: list[bool]) -> None:
    from rich.table import Table
    from rich.text import Text

    grid = Table(title=Text(title), title_justify="left")
    for head, right in zip(heads, numeric, strict=True):
        grid.add_column(Text(head), justify="right" if right else "left", overflow="fold")
    for row in cells:
        grid.add_row(*map(Text, row))
    _terminal().print("", grid, sep="\n")


def _plain_table(heads: list[str], cells: list[list[str]], numeric: list[bool]) -> list[str]:
    widths = _widths(heads, cells)
    lines = [heads, ["-" * width for width in widths], *cells]
    return ["  ".join(map(_padded, row, widths, numeric)).rstrip() for row in lines]


def _confusion(result: "Evaluation") -> None:
    heads = ["true \\ predicted", *map(printable, result.class_names)]
    rows = [[name, *row] for name, row in zip(result.class_names, result.confusion_matrix, strict=True)]
    # Three more columns of characters per cell: the lines of a rich table.
    width = sum(_widths(heads, [[_cell(value) for value in row] for row in rows])) + 3 * len(heads) + 1
    if width <= (_terminal().width if is_terminal() else _PLAIN_WIDTH):
        table("Confusion matrix", heads, rows)
        return
    line(f"The confusion matrix of {len(rows)} classes is too wide to show; evaluate.json has it.")
    support = {name: scores.support for name, scores in zip(result.class_names, result.per_class, strict=True)}
    pairs = [(true, seen, number, number / support[true]) for true, seen, number in result.most_confused(_NUM_PAIRS)]
    table("Most confused classes", ("true", "predicted", "images", "share of true"), pairs)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4f}"
    return f"{value:,}" if _is_number(value) else printable(str(value))


def _widths(heads: list[str], cells: list[list[str]]) -> list[int]:
    from rich.cells import cell_len

    return [max(map(cell_len, column)) for column in zip(heads, *cells, strict=True)]


def _padded(text: str, width: int, right: bool) -> str:
    from rich.cells import cell_len

    blanks = " " * (width - cell_len(text))
    return blanks + text if right else text + blanks
