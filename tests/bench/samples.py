"""What contenders measured in turn: rounds of samples, their ratios, the files in results/."""

import json
import statistics
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tao_lite.monitor import console

Sample = dict[str, float]
"""wall_seconds and cpu_seconds of some work, the images in it, and what else a bench measures."""
Rounds = list[dict[str, Sample]]
OURS = "tao_lite"
"""How our contenders' names begin."""
RESULTS = Path(__file__).parent / "results"


def in_turn(works: Mapping[str, Callable[[], Sample]], rounds: int) -> Rounds:
    """What each measured in each round, in the order of that round: every one begins with another."""
    names, taken = list(works), []
    for number in range(rounds):
        first = number % len(names)
        taken.append({name: works[name]() for name in names[first:] + names[:first]})
        print(f"  round {number + 1} of {rounds}", file=sys.stderr)
    return taken


def per_cpu_second(sample: Sample) -> float:
    return sample["images"] / sample["cpu_seconds"]


def per_second(sample: Sample) -> float:
    return sample["images"] / sample["wall_seconds"]


def median(rounds: Rounds, name: str, of: Callable[[Sample], float]) -> float:
    return statistics.median(of(samples[name]) for samples in rounds)


def ratio(rounds: Rounds, name: str, other: str, of: Callable[[Sample], float]) -> float:
    """Median over the rounds of one's number by the other's: what slows a round slows both."""
    return statistics.median(of(samples[name]) / of(samples[other]) for samples in rounds)


def write(path: Path, found: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=1) + "\n")


def show(title: str, rounds: Rounds, missing: Mapping[str, str]) -> None:
    """Print the medians of all contenders, and how many times as fast as each the first one is."""
    first, *_ = names = list(rounds[0])
    columns = ("", "images per CPU-second", "images per second", "times as fast is the first, CPU time", "wall time")
    rows = []
    for name in names:
        rates = [f"{median(rounds, name, of):,.1f}" for of in (per_cpu_second, per_second)]
        rows.append((name, *rates, *(f"{ratio(rounds, first, name, of):.2f}" for of in (per_cpu_second, per_second))))
    console.table(title, columns, rows)
    for name, reason in missing.items():
        console.line(f"{name} is missing: {reason}")
