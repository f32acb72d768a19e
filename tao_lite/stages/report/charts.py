"""The charts of a report: SVG to stand in an HTML page, with the page's colour of text and a text in its place."""

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from tao_lite.metrics.calibration import Calibration
from tao_lite.monitor import plots

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_INCHES = (4.5, 2.8)
_POINTS_PER_INCH = 72
_DRAWN: dict[str, Any] = {"markersize": 3.5, "linewidth": 1.6}
# Stands for the colour of the page's text, which is light at night.
_INK = "#010203"


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Points; `colour` counts through those of plots, a y of None is a gap. style: "-", "--" or, for dots alone, ""."""

    x: Sequence[float]
    y: Sequence[float | None]
    colour: int
    style: str = "-"


def curves(drawn: Sequence[Curve], *, title: str, description: str, is_log: bool) -> Markup:
    """The curves over epochs. is_log: where all values are above 0, equal factors are equal steps of the axis."""
    from matplotlib.ticker import LogLocator, NullLocator

    def draw(axes: "Axes") -> None:
        for curve in drawn:
            values = [float("nan") if y is None else y for y in curve.y]
            # A line through a single point is nothing to see.
            marker = "o" if len(values) < 30 or not curve.style else ""
            axes.plot(curve.x, values, **_DRAWN, color=colour(curve.colour), linestyle=curve.style, marker=marker)
        axes.set_xlabel("epoch")
        axes.set_ylabel(title.lower())
        axes.locator_params(axis="x", integer=True)
        heights = [y for curve in drawn for y in curve.y if y is not None]
        if is_log and min(heights, default=0) > 0:
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_locator(NullLocator())
        else:
            axes.set_ylim(bottom=0)

    return picture(draw, title, description)


def reliability(before: Calibration, after: Calibration, *, title: str, description: str) -> Markup:
    """Share of right answers by probability, as the network gave it and after temperature."""

    def draw(axes: "Axes") -> None:
        axes.plot([0, 1], [0, 1], color=_INK, linewidth=0.8, linestyle=":")
        for number, (calibration, line) in enumerate(((before, "o-"), (after, "s--"))):
            bins = [one for one in calibration.bins if one.count]
            x, y = [one.confidence for one in bins], [one.accuracy for one in bins]
            axes.plot(x, y, line, **_DRAWN, color=colour(number))
        axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="probability of the answer", ylabel="share of right answers")

    return picture(draw, title, description)


def risk_coverage(points: Sequence[tuple[float, float]], *, title: str, description: str) -> Markup:
    """Share of the accepted answers that is wrong, by the share that is accepted."""

    def draw(axes: "Axes") -> None:
        axes.plot(*zip(*points, strict=True), "-", **_DRAWN, color=colour(0))
        axes.set(xlim=(0, 1), xlabel="share of answers accepted", ylabel="share of them wrong")
        axes.set_ylim(bottom=0)

    return picture(draw, title, description)


def colour(number: int) -> str:
    """The colour of a run, by its place among the runs."""
    return plots.COLOURS[number % len(plots.COLOURS)]


def picture(draw: Callable[["Axes"], None], title: str, description: str) -> Markup:
    """What `draw` puts on the axes; the description stands in its place where it is read aloud."""
    file = io.StringIO()
    # The salt goes into the ids of clip paths, which are one name space in a page.
    with plots.figure(_INCHES, ink=_INK, style={"svg.fonttype": "none", "svg.hashsalt": title}) as figure:
        draw(figure.add_subplot())
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    return _for_page(file.getvalue(), title, description)


def _for_page(svg: str, title: str, description: str) -> Markup:
    """What matplotlib wrote, less what is for files, with a name that is read aloud."""
    body = svg[svg.index("</defs>") + len("</defs>") : svg.rindex("</svg>")]
    body = re.sub(r'<g id="[^"]*"', "<g", body).replace(_INK, "currentColor")
    width, height = (inches * _POINTS_PER_INCH for inches in _INCHES)
    head = Markup('<svg role="img" viewBox="0 0 {:g} {:g}"><title>{}</title><desc>{}</desc>').format(
        width, height, title, description
    )
    return head + Markup(body) + Markup("</svg>")  # noqa: S704 - numbers and our own words
