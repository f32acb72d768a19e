"""The pictures of a search: its history, which field mattered, and the values of each trial."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from markupsafe import Markup

from tao_lite.stages.report import charts
from tao_lite.stages.tune import importance, rungs
from tao_lite.stages.tune.record import Record
from tao_lite.stages.tune.search import Search
from tao_lite.stages.tune.space import Parameter, Value

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_ENOUGH = 2
"""Trials that a picture needs."""


def pictures(search: Search, records: Sequence[Record]) -> Iterator[tuple[str, Markup]]:
    """Title and picture of each; those for which there are too few trials are left out."""
    drawn = [one for one in records if one.values and not one.failure]
    if len(drawn) < _ENOUGH:
        return
    objective = search.objectives[0]
    best = charts.picture(_history(search, drawn), "History", f"{objective.key} of {len(drawn)} trials.")
    yield "History: the value of each trial, the larger the further it was trained; line: the best so far", best
    tried = [one for one in drawn if not one.is_baseline]
    shares = importance.of(search.parameters, search.objectives[0], tried)
    if shares:
        words = ", ".join(f"{name} {share:.2f}" for name, share in shares.items())
        title = f"Importance for {objective.key} after {rungs.common(tried)} epochs, which all trials have"
        yield title, charts.picture(_bars(shares), "Importance", words)
    if len(tried) >= _ENOUGH:
        words = "A line for each trial through its values, from the least to the greatest of each field."
        yield "Values of the trials: the darker the better", charts.picture(_lines(search, tried), "Values", words)


def _history(search: Search, records: Sequence[Record]) -> "Callable[[Axes], None]":
    objective, whole = search.objectives[0], search.rungs[-1]

    def draw(axes: "Axes") -> None:
        values = [one.values[one.epochs][0] for one in records]
        numbers = [one.number for one in records]
        sizes = [10 + 40 * one.epochs / whole for one in records]
        best = list[float]()
        for value in values:
            best.append(value if not best else max(best[-1], value, key=objective.merit))
        axes.scatter(numbers, values, s=sizes, color=charts.colour(0))
        axes.step(numbers, best, where="post", color=charts.colour(1), linewidth=1.2)
        axes.set(xlabel="trial", ylabel=objective.key)
        axes.locator_params(axis="x", integer=True)

    return draw


def _bars(shares: dict[str, float]) -> "Callable[[Axes], None]":
    def draw(axes: "Axes") -> None:
        names = [_short(name) for name in reversed(shares)]
        axes.barh(names, list(reversed(shares.values())), color=charts.colour(0))
        axes.set(xlim=(0, 1), xlabel="share of the importance")

    return draw


def _lines(search: Search, records: Sequence[Record]) -> "Callable[[Axes], None]":
    def draw(axes: "Axes") -> None:
        places = range(len(search.parameters) + 1)
        merits = [search.objectives[0].merit(one.values[one.epochs][0]) for one in records]
        low, high = min(merits), max(merits)
        for one, merit in sorted(zip(records, merits, strict=True), key=lambda pair: pair[1]):
            heights = [_height(parameter, one.parameters[parameter.field]) for parameter in search.parameters]
            share = (merit - low) / (high - low) if high > low else 1.0
            axes.plot(places, [*heights, share], color=charts.colour(0), alpha=0.1 + 0.9 * share**2, linewidth=1.2)
        names = [_short(parameter.field) for parameter in search.parameters]
        axes.set_xticks(places, [*names, search.objectives[0].name], rotation=20, ha="right", fontsize=7)
        axes.set_yticks([0, 1], ["least", "greatest"])

    return draw


def _height(parameter: Parameter, value: Value) -> float:
    """Where the value stands between the least and the greatest, 0 to 1."""
    if isinstance(value, str):
        return parameter.choices.index(value) / max(len(parameter.choices) - 1, 1)
    return parameter.share(value)


def _short(path: str) -> str:
    """The last two names of a path."""
    return ".".join(path.split(".")[-2:])
