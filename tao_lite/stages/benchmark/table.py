"""What the trainings of a benchmark come to, as rows, text and CSV."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from tao_lite.files import writing
from tao_lite.stages.benchmark.runs import Training
from tao_lite.stages.benchmark.settings import BASELINES, Setting

# Numbers of train.json that a row has the median of.
_MEDIANS = ("val_loss", "peak_memory_bytes", "energy_joules", "overflows", "skipped_steps", "underflow_fraction")

_LEGEND = """\
Each number is the median over the seeds; top-1 and loss are of the best epoch on the validation images, with the least
and the greatest top-1 in brackets. Seconds and images per second are of training alone, in the median epoch without the
first. A speed-up is the median over the seeds of FP32's seconds divided by the setting's, with the same seed. Memory is
the most that torch allocated on a GPU, or that the whole process had on a CPU. An overflow is a step whose gradient
held inf or NaN; loss scaling skips it. Underflow is the share of the gradient's values that float16 without loss
scaling holds as zero (at most 2^-25). Zeros count, whatever made them: compare with FP32's share.
"""


def rows(settings: Sequence[Setting], trainings: Sequence[Training]) -> list[dict[str, Any]]:
    """For each setting, medians over its finished trainings; None where there is nothing to take one of."""
    baseline = next((setting.name for setting in settings if setting.name in BASELINES), "")
    seconds = {one.repeat: one.epoch_seconds for one in trainings if one.setting == baseline and not one.failure}
    return [_row(setting, [one for one in trainings if one.setting == setting.name], seconds) for setting in settings]


def shown(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Heads and cells of the table that people read. Columns without any number are left out."""
    columns = {head: [form(row) for row in rows] for head, form in _COLUMNS.items()}
    kept = {head: cells for head, cells in columns.items() if any(cells)}
    return list(kept), [list(cells) for cells in zip(*kept.values(), strict=True)]


def as_markdown(summary: Mapping[str, Any], pictures: Sequence[str]) -> str:
    """The whole benchmark in Markdown; pictures are names of files beside it."""
    heads, cells = shown(summary["settings"])
    table = [heads, ["---"] * len(heads), *cells]
    notes = [
        *(f"{row['setting']}: {row['note']}." for row in summary["settings"] if row["note"]),
        *(f"{name} is not available: {why}." for name, why in summary["not_available"].items()),
        *(f"{one['setting']}, seed {one['seed']}: {one['failure']}" for one in summary["trainings"] if one["failure"]),
    ]
    place = f"{summary['machine']}; {summary['versions']}; {summary['date']}"
    threads = " or ".join(map(str, summary["threads"]))
    blocks = [
        "# Precisions compared",
        f"`{summary['command']}`",
        f"{place}. Epochs: {summary['epochs']}, seeds: {summary['repeats']}, threads: {threads}.",
        "\n".join(f"| {' | '.join(line)} |" for line in table),
        *(["\n".join(f"* {note}" for note in notes)] if notes else []),
        _LEGEND.strip(),
        *(f"![{name}]({name})" for name in pictures),
    ]
    return "\n\n".join(blocks) + "\n"


def as_csv(trainings: Sequence[Training]) -> str:
    """A row for each training, with the single numbers of its train.json."""
    lines = [_line(one) for one in trainings]
    names = dict.fromkeys(name for line in lines for name in line)
    return writing.csv_text([names, *([line.get(name, "") for name in names] for line in lines)])


def _row(setting: Setting, trainings: Sequence[Training], baseline: Mapping[int, float]) -> dict[str, Any]:
    done = [one for one in trainings if not one.failure]
    top1 = [one.summary["val_accuracy"] for one in done]
    ratios = [baseline[one.repeat] / one.epoch_seconds for one in done if one.repeat in baseline]
    return {
        "setting": setting.name,
        "note": setting.note,
        "finished": len(done),
        "failed": len(trainings) - len(done),
        "top1": _median(top1),
        "top1_least": min(top1, default=None),
        "top1_greatest": max(top1, default=None),
        "epoch_seconds": _median([one.epoch_seconds for one in done]),
        "images_per_second": _median([one.images_per_second for one in done]),
        "speed_up": _median(ratios),
        **{name: _median([one.summary[name] for one in done]) for name in _MEDIANS},
    }


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None


def _line(one: Training) -> dict[str, object]:
    line: dict[str, object] = {"setting": one.setting, "repeat": one.repeat, "seed": one.seed, "failure": one.failure}
    if not one.failure:
        line |= {"epoch_seconds": one.epoch_seconds, "train_images_per_second": one.images_per_second}
        line |= {name: value for name, value in one.summary.items() if not isinstance(value, list | dict)}
    return line


def _number(name: str, form: str, factor: float = 1.0) -> Any:
    return lambda row: "" if row[name] is None else form.format(row[name] * factor)


def _top1(row: Mapping[str, Any]) -> str:
    if row["top1"] is None:
        return "failed"
    failed = f", {row['failed']} failed" if row["failed"] else ""
    spread = f" ({100 * row['top1_least']:.1f} to {100 * row['top1_greatest']:.1f})" if row["finished"] > 1 else ""
    return f"{100 * row['top1']:.1f} %{spread}{failed}"


_COLUMNS = {
    "setting": lambda row: row["setting"],
    "top-1": _top1,
    "loss": _number("val_loss", "{:.4f}"),
    "s per epoch": _number("epoch_seconds", "{:.2f}"),
    "images/s": _number("images_per_second", "{:.1f}"),
    "speed-up": _number("speed_up", "{:.2f}"),
    "memory MB": _number("peak_memory_bytes", "{:,.0f}", 1e-6),
    "energy kJ": _number("energy_joules", "{:,.2f}", 1e-3),
    "overflows": _number("overflows", "{:g}"),
    "skipped steps": _number("skipped_steps", "{:g}"),
    "underflow": _number("underflow_fraction", "{:.1f} %", 100),
}
