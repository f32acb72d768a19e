"""What is to be reached, and what of it the results say: one row for each target, also where it is missed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.bench import samples
from tests.bench.end_to_end import ALL_CORES, CACHED, FILES
from tests.bench.experiment import AMP_RECIPE, DEFAULTS, LIGHTNING_BF16, TIMM_BEST
from tests.bench.samples import Rounds, Sample, per_cpu_second, per_second
from tests.bench.step import CONVOLUTIONS

Results = Mapping[str, Mapping[str, Any]]
"""Name of a file in results/ -> what it holds."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """One number by another one's, at least or at most `limit`; without an `other`, the number by `unit`."""

    question: str
    file: str
    case: str
    of: Callable[[Sample], float]
    name: str
    limit: float
    other: str | None = None
    unit: float = 1.0
    is_at_most: bool = False
    is_share: bool = False

    def measured(self, results: Results) -> float | None:
        """None where the results hold no such contenders."""
        rounds: Rounds = results.get(self.file, {}).get("rounds", {}).get(self.case, [])
        if not rounds or not {self.name, self.other or self.name} <= set(rounds[0]):
            return None
        if self.other:
            return samples.ratio(rounds, self.name, self.other, self.of)
        return samples.median(rounds, self.name, self.of) / self.unit

    def text(self, value: float) -> str:
        return f"{100 * value:.1f} %" if self.is_share else f"{value:.2f} x"

    def row(self, results: Results) -> tuple[str, ...]:
        value, sign = self.measured(results), "≤" if self.is_at_most else "≥"
        verdict = ""
        if value is not None:
            verdict = "reached" if (value <= self.limit if self.is_at_most else value >= self.limit) else "missed"
        measured = "not measured" if value is None else self.text(value)
        return self.question, self.other or "", f"{sign} {self.text(self.limit)}", measured, verdict


def each(question: str, limits: Mapping[str, float], facts: Mapping[str, Any]) -> list[Target]:
    """A target against each of these."""
    return [Target(question=question, other=name, limit=limit, **facts) for name, limit in limits.items()]


def alone(question: str, limit: float, facts: Mapping[str, Any]) -> list[Target]:
    """A target for a share that is measured by itself."""
    return [Target(question=question, limit=limit, is_share=True, **facts)]


def peak_bytes(sample: Sample) -> float:
    return sample["peak_bytes"]


def training_speed(sample: Sample) -> float:
    return sample["images_per_second"]


def data_wait(sample: Sample) -> float:
    return sample["data_wait_fraction"]


TORCHVISION = "torchvision ImageFolder + DataLoader"
ROOFLINE = 35_340
"""Images per second of ResNet-18 at 224 pixels on an H200, by the operations and bytes of fused kernels."""

TARGETS: Sequence[Target] = (
    *each(
        "loader, JPEG files",
        {TORCHVISION: 3.0, "DALI": 1.5, "FFCV from JPEGs": 1.1},
        {"file": "loaders", "case": "random crop", "name": "tao_lite, files", "of": per_cpu_second},
    ),
    *each(
        "loader, decoded images kept",
        {TORCHVISION: 15.0, "FFCV from raw images": 2.5},
        {"file": "loaders", "case": "random crop", "name": "tao_lite, cache MEMORY", "of": per_cpu_second},
    ),
    *each(
        "training step, 224 pixels",
        dict.fromkeys((*DEFAULTS, AMP_RECIPE), 2.2) | {TIMM_BEST: 1.1},
        {"file": "step", "case": "224 px", "name": "tao_lite", "of": per_cpu_second},
    ),
    *each(
        "training step, 64 pixels",
        {TIMM_BEST: 1.25},
        {"file": "step", "case": "64 px", "name": "tao_lite", "of": per_cpu_second},
    ),
    *each(
        "training step, 224 pixels, share of",
        {CONVOLUTIONS: 0.75},
        {"file": "step", "case": "224 px", "name": "tao_lite", "of": per_cpu_second, "is_share": True},
    ),
    *each(
        "whole training, 64 pixels, decoded images kept",
        dict.fromkeys(DEFAULTS, 1.7) | dict.fromkeys((TIMM_BEST, LIGHTNING_BF16), 1.4),
        {"file": "end_to_end", "case": "64 px", "name": CACHED, "of": per_second},
    ),
    *each(
        "peak memory, 224 pixels",
        dict.fromkeys(DEFAULTS, 0.85),
        {"file": "end_to_end", "case": "224 px", "name": FILES, "of": peak_bytes, "is_at_most": True},
    ),
    *each(
        "training while half of the cores are busy",
        {ALL_CORES: 2.0},
        {"file": "end_to_end", "case": "busy core", "name": FILES, "of": training_speed},
    ),
    *alone(
        "training, 64 pixels, time spent waiting for data",
        0.02,
        {"file": "end_to_end", "case": "64 px", "name": CACHED, "of": data_wait, "is_at_most": True},
    ),
    *each(
        "GPU: whole training, 224 pixels",
        {AMP_RECIPE: 3.0, TIMM_BEST: 1.8},
        {"file": "end_to_end_gpu", "case": "224 px", "name": CACHED, "of": per_second},
    ),
    *alone(
        "GPU: training, 224 pixels, time spent waiting for data",
        0.05,
        {"file": "end_to_end_gpu", "case": "224 px", "name": CACHED, "of": data_wait, "is_at_most": True},
    ),
    *alone(
        "H200: training step, 224 pixels, share of the roofline",
        0.5,
        {"file": "step_gpu", "case": "224 px", "name": "tao_lite compile DEFAULT", "of": per_second, "unit": ROOFLINE},
    ),
)
