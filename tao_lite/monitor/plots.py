"""The style of all plots, and the plot of a schedule. Imports matplotlib only when one is made."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tao_lite.files import writing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito, Color Universal Design: told apart with any colour vision. Those too pale for paper come last.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")

INK = "#202020"
"""The colour of text and axes, unless the style says another."""

_INKED = ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color", "grid.color")
_STYLE: Mapping[str, Any] = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.alpha": 0.12,
    "savefig.dpi": 120,
}
_INCHES = (8, 4)
_NUM_POINTS = 1000


@contextlib.contextmanager
def figure(
    inches: tuple[float, float], *, ink: str = INK, style: Mapping[str, Any] | None = None
) -> "Iterator[Figure]":
    """A figure without panels. What is drawn and saved before the block ends has our style, to which `style` adds."""
    import matplotlib
    from matplotlib.figure import Figure

    settings: Any = {**_STYLE, **dict.fromkeys(_INKED, ink), **(style or {})}
    with matplotlib.rc_context(settings):
        yield Figure(figsize=inches, layout="constrained")


def curve(path: Path, rate: Callable[[float], float], *, title: str, end: int, unit: str) -> None:
    """Write a PNG of the rate, which is a function of progress in [0, 1]; the axis below counts to `end`."""
    shares = [index / _NUM_POINTS for index in range(_NUM_POINTS + 1)]
    with figure(_INCHES) as drawn:
        axes = drawn.add_subplot()
        axes.plot([share * end for share in shares], list(map(rate, shares)), color=COLOURS[0])
        axes.set(title=title, xlabel=unit, xlim=(0, end))
        axes.set_ylim(bottom=0)
        axes.locator_params(axis="x", integer=True)
        save(drawn, path)


def save(drawn: "Figure", path: Path) -> None:
    """Write the figure in the format of the path's ending."""
    with writing.new_file(path) as file:
        drawn.savefig(file, format=path.suffix[1:])
