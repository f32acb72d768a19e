"""The picture of a compression: accuracy against time and against bytes, with what no other file beats."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tao_lite.monitor import console, plots
from tao_lite.stages.compress import figures
from tao_lite.stages.compress.figures import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_FORMS = ("FP32", "INT8")


def draw(rows: Sequence[Row], chosen: Row | None, path: Path) -> bool:
    """Write the picture; False where matplotlib is not installed."""
    try:
        with plots.figure((11, 4.2)) as figure:
            left, right = figure.subplots(1, 2, sharey=True)
            _panel(left, rows, chosen, lambda row: row.milliseconds[1])
            _panel(right, rows, chosen, lambda row: row.bytes / 1e6)
            left.set(xlabel="milliseconds of one image", ylabel="accuracy on the validation images")
            right.set(xlabel="MB")
            left.legend()
            plots.save(figure, path)
    except ImportError:
        console.line("The picture was left out: matplotlib is not installed; pip install 'tao-lite[report]'")
        return False
    return True


def _panel(axes: "Axes", rows: Sequence[Row], chosen: Row | None, cost: Callable[[Row], float]) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    for number, form in enumerate(_FORMS):
        own = [(cost(row), row.value, row.share) for row in rows if row.is_int8 == bool(number)]
        axes.plot([x for x, _, _ in own], [y for _, y, _ in own], "o", color=plots.COLOURS[number], label=form)
        for x, y, share in own:
            axes.annotate(f"{share:g}", (x, y), textcoords="offset points", xytext=(4, 4), fontsize=8)
    best = figures.front(rows, cost)
    heights = [row.value for row in best]
    axes.step([*map(cost, best)], heights, where="post", color=plots.INK, linewidth=0.8, label="best for its cost")
    if chosen:
        (ring,) = axes.plot([cost(chosen)], [chosen.value], "o", color=plots.INK, label="smallest")
        ring.set(markersize=13, fillstyle="none")
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
