"""The pictures of a benchmark: curves over epochs with their spread, and bars of speed and memory."""

from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from tao_lite.monitor import plots
from tao_lite.stages.benchmark.runs import Training

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Trainings = dict[str, list[Training]]
"""Those that did not fail, by their setting."""

_COLOURS = (*plots.COLOURS, "#000000", "#999999")
_STYLES = ("-", "--", ":")
_CURVES = (("val_acc", "validation top-1"), ("loss", "training loss"))
_BARS: tuple[tuple[str, Callable[[Training], float]], ...] = (
    ("training images per second", lambda one: one.images_per_second),
    ("peak memory, MB", lambda one: float(one.summary["peak_memory_bytes"]) / 1e6),
)
_SIZE = (11, 4.2)  # inches


def draw(trainings: Sequence[Training], path: Callable[[str], Path]) -> list[Path]:
    """Write each picture as SVG and PNG to the path of its ending; the SVG files. Failed trainings are not in them."""
    done: Trainings = {}
    for one in trainings:
        if not one.failure:
            done.setdefault(one.setting, []).append(one)
    return [_save(_curves, done, path, "_curves"), _save(_bars, done, path, "_bars")]


def _curves(figure: "Figure", done: Trainings) -> None:
    panels = _panels(figure, [title for _, title in _CURVES])
    for axes, (column, _) in zip(panels, _CURVES, strict=True):
        for number, (setting, trainings) in enumerate(done.items()):
            # Of as many epochs as all have: early stopping may end some sooner.
            epochs = list(zip(*([row[column] for row in one.curve] for one in trainings), strict=False))
            x, marker = range(1, len(epochs) + 1), "." if len(epochs) < 30 else ""
            colour, style = _COLOURS[number % len(_COLOURS)], _STYLES[number % len(_STYLES)]
            axes.plot(x, list(map(median, epochs)), style, color=colour, label=setting, marker=marker)
            axes.fill_between(x, list(map(min, epochs)), list(map(max, epochs)), color=colour, alpha=0.15, linewidth=0)
        axes.set_xlabel("epoch")
        axes.locator_params(axis="x", integer=True)
    panels[0].legend()


def _bars(figure: "Figure", done: Trainings) -> None:
    panels = _panels(figure, [title for title, _ in _BARS])
    for axes, (_, value) in zip(panels, _BARS, strict=True):
        for number, trainings in enumerate(done.values()):
            values = [value(one) for one in trainings]
            middle = median(values)
            spread = [[middle - min(values)], [max(values) - middle]]
            bar = axes.barh(number, middle, color=_COLOURS[number % len(_COLOURS)], xerr=spread, capsize=3)
            axes.bar_label(bar, [f"{middle:,.4g}"], padding=4)
        axes.set_yticks(range(len(done)), list(done))
        axes.invert_yaxis()
        axes.margins(x=0.15)


def _panels(figure: "Figure", titles: Sequence[str]) -> "list[Axes]":
    panels = list(figure.subplots(1, len(titles)))
    for axes, title in zip(panels, titles, strict=True):
        axes.set_title(title)
    return panels


def _save(draw: "Callable[[Figure, Trainings], None]", done: Trainings, path: Callable[[str], Path], name: str) -> Path:
    with plots.figure(_SIZE) as figure:
        draw(figure, done)
        for ending in (".png", ".svg"):
            plots.save(figure, path(name + ending))
    return path(f"{name}.svg")
