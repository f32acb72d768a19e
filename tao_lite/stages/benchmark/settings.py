"""The settings that a benchmark compares: precisions, each with every kind of loss scaling that applies to it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tao_lite.errors import SpecError
from tao_lite.spec import classification_pb2 as pb
from tao_lite.training.arithmetic import APEX, Hardware, choose

BASELINES = ("FP32", "O0")  # what the others are compared with
_PRECISIONS = [name for name in pb.Precision.Mode.keys() if name != "AUTO"]  # noqa: SIM118 - not a dict
_SCALED = ("FP16", "O1", "O2", "O3")


@dataclass(frozen=True)
class Setting:
    """One way to compute: its name, the fields of the spec that make it, and what to know of it."""

    name: str
    overrides: tuple[str, ...]
    note: str = ""


def settings(
    precisions: Sequence[str], loss_scales: Sequence[str], hardware: Hardware
) -> tuple[list[Setting], dict[str, str]]:
    """What to compare, the spec's own loss scaling where none is given; and what the hardware lacks, with the reason.

    Without precisions: FP32 and whatever else the hardware computes natively.

    Raises:
        SpecError: there is no such precision or loss scaling, or nothing is left to compare.
    """
    names = precisions or [name for name in _PRECISIONS[:4] if name in hardware.modes]
    found, missing = list[Setting](), dict[str, str]()
    for name in dict.fromkeys(map(str.upper, names)):
        if name not in _PRECISIONS:
            raise SpecError(f"--precisions: found {name!r}, must be of {', '.join(_PRECISIONS)}, with commas between")
        mode, why = choose(name, hardware)
        if mode != APEX.get(name, name):
            missing[name] = why
            continue
        note = "" if mode in hardware.modes else f"emulated: {hardware.name} has no {mode} of its own"
        precision = f"train_config.precision={name}"
        scales = list(_scales(loss_scales)) if name in _SCALED and loss_scales else [("", ())]
        found += [Setting(name + suffix, (precision, *overrides), note) for suffix, overrides in scales]
    if not found:
        raise SpecError(f"--precisions: nothing can be run here: {'; '.join(missing.values())}")
    return found, missing


def _scales(texts: Sequence[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """What each kind of loss scaling adds to a setting's name and overrides."""
    for text in dict.fromkeys(map(str.lower, texts)):
        mode, _, scale = text.partition(":")
        if mode not in ("dynamic", "static", "none") or (scale and (mode == "none" or not scale.isdecimal())):
            raise SpecError(f"--loss_scales: found {text!r}, must be of dynamic, dynamic:SCALE, static:SCALE and none")
        sets = (("mode", mode.upper()), ("init_scale", scale))
        yield (
            f"-{text.replace(':', '-')}",
            tuple(f"train_config.loss_scale.{name}={value}" for name, value in sets if value),
        )
