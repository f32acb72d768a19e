"""What moves in a search: the fields, and between which values; all that is wrong with them is told at once."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tao_lite.errors import SpecError
from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec import load, movable
from tao_lite.spec.findings import error
from tao_lite.spec.load import Spec
from tao_lite.spec.rules import place_of
from tao_lite.stages import preflight
from tao_lite.stages.tune import proposals

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

Value = float | int | str

GRID_VALUES = 5
"""Of a range without a step, in a grid."""


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """A field that moves: over its choices where it has some, else from low to high."""

    field: str
    choices: tuple[str, ...] = ()
    weights: tuple[float, ...] = ()
    low: float = 0.0
    high: float = 0.0
    step: float = 0.0
    is_log: bool = False
    is_whole: bool = False
    is_proposed: bool = False

    @property
    def distribution(self) -> "BaseDistribution":
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if self.choices:
            return CategoricalDistribution(self.choices)
        if self.is_whole:
            return IntDistribution(int(self.low), int(self.high), log=self.is_log, step=int(self.step) or 1)
        return FloatDistribution(self.low, self.high, log=self.is_log, step=self.step or None)

    @property
    def grid(self) -> tuple[Value, ...]:
        """The values that a grid has of it."""
        if self.choices:
            return self.choices
        if self.step:
            count = int((self.high - self.low) / self.step + 1e-9) + 1
            found = [self.low + self.step * index for index in range(count)]
        else:
            low, high = (math.log(one) if self.is_log else one for one in (self.low, self.high))
            points = (low + (high - low) * index / (GRID_VALUES - 1) for index in range(GRID_VALUES))
            found = [min(max(math.exp(one) if self.is_log else one, self.low), self.high) for one in points]
        return tuple(dict.fromkeys(round(one) if self.is_whole else one for one in found))

    def share(self, value: float) -> float:
        """Where the value stands between low and high, 0 to 1."""
        low, high, own = (math.log(one) if self.is_log else one for one in (self.low, self.high, value))
        return (own - low) / (high - low)

    @property
    def words(self) -> str:
        """Its values, for people."""
        if self.choices:
            return "one of " + ", ".join(self.choices)
        step = f", in steps of {self.step:g}" if self.step else ""
        return f"{self.low:g} to {self.high:g}{', by factors' if self.is_log else ''}{step}"


def as_text(value: Value) -> str:
    """The value as it is set in a spec."""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def of(spec: Spec) -> tuple[Parameter, ...]:
    """The fields that move.

    Raises:
        SpecError: there are none, or names all whose values the rules don't allow.
    """
    config = spec.experiment.tune_config
    if not config.parameter:
        raise SpecError(
            f"{spec.path}: tune_config.parameter is missing; name a field that is to move, such as "
            'tune_config { parameter { field: "train_config.lr_config.cosine.learning_rate" } }'
        )
    found, problems = list[Parameter](), list[str]()
    for index, one in enumerate(config.parameter):
        path = f"tune_config.parameter[{index}]"
        found.append(_parameter(one, spec.experiment))
        if wrong := _refused(spec, found[-1]):
            problems.append(load.as_line(spec.path, error(place_of(path, spec.places), path, wrong)))
    if problems:
        raise SpecError("\n".join(problems))
    return tuple(found)


def with_settings(spec: Spec, settings: Sequence[str]) -> Spec:
    """The spec with `field=value` settings, and without its search.

    Raises:
        SpecError: the values break a rule, together or with others of the spec.
    """
    found = load.load_text(_text(spec), _path(spec), overrides=settings, check=preflight.check, running=True)
    return replace(found, path=spec.path)


def _parameter(one: pb.TuneParameter, experiment: pb.Experiment) -> Parameter:
    """The parameter as it is said, else as it is proposed."""
    kind, is_whole = one.WhichOneof("values"), movable.is_whole(movable.field(one.field))
    if one.choice:
        return Parameter(field=one.field, choices=tuple(one.choice), weights=tuple(one.weight))
    if not kind:
        return Parameter(field=one.field, is_whole=is_whole, is_proposed=True, **proposals.of(one.field, experiment))
    bounds = getattr(one, kind)
    return Parameter(
        field=one.field,
        low=bounds.min,
        high=bounds.max,
        step=bounds.step,
        is_log=kind == "log_range",
        is_whole=is_whole,
    )


def _refused(spec: Spec, parameter: Parameter) -> str:
    """What the rules say of the parameter's outermost values; nothing if they allow them."""
    ends = parameter.choices or (parameter.low, parameter.high)
    if not parameter.choices and not parameter.high:
        return f"{parameter.field}: nothing says which values it could have; give it a range, log_range or choice"
    for end in ends:
        setting = f"{parameter.field}={as_text(end)}"
        found = load.examine(_text(spec), _path(spec), stage="train", overrides=[setting], check=preflight.check)
        if found.problems:
            return f"{found.problems[0].path or parameter.field}: {found.problems[0].text}"
    return ""


def _path(spec: Spec) -> Path:
    """Where the text is from, by a name that says its form."""
    return spec.path.with_suffix(".cfg")


def _text(spec: Spec) -> str:
    experiment = pb.Experiment()
    experiment.CopyFrom(spec.experiment)
    experiment.ClearField("tune_config")
    return replace(spec, experiment=experiment).text()
