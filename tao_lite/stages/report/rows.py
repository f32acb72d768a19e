"""The tables of a report that compare runs: a label and one text per run in each row."""

import platform
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from importlib.metadata import version
from math import isfinite

import torch

from tao_lite.machine import host
from tao_lite.metrics.best import METRICS, TOP1
from tao_lite.spec import resolved
from tao_lite.stages.report.subject import Subject

NONE = "-"

Row = tuple[str, list[str]]


def overview(subjects: Sequence[Subject]) -> list[Row]:
    """What one wants to know first; no row that would be empty for all runs."""
    return _rows(_OVERVIEW, subjects)


def environment(subjects: Sequence[Subject]) -> list[Row]:
    """What the runs wrote down of how they computed."""
    return _rows(_ENVIRONMENT, subjects)


def machine(device: torch.device) -> list[Row]:
    """The machine that makes the report, which need not be the one that trained."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {host.usable_cores()} usable cores"
    return [
        ("tao_lite", [version("tao-lite")]),
        ("PyTorch", [torch.__version__]),
        ("Python", [platform.python_version()]),
        ("System", [platform.platform()]),
        ("Device", [name]),
    ]


def differences(subjects: Sequence[Subject]) -> list[Row]:
    """The settings that are not the same in all specs, defaults included."""
    values = [resolved.values(one.record.written) if one.record.written else {} for one in subjects]
    paths = dict.fromkeys(path for known in values for path in known)
    rows = [(path, [known.get(path, resolved.NOT_SET) if known else NONE for known in values]) for path in paths]
    return [(path, texts) for path, texts in rows if len(set(texts) - {NONE}) > 1]


def number(value: object, form: str = ".4f") -> str:
    """The number in that form; a dash for what is none, as a file of a user may hold anything."""
    try:
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
        return format(value, form) if is_number else NONE
    except (OverflowError, ValueError):  # a whole number of hundreds of digits
        return NONE


def _rows(figures: Mapping[str, Callable[[Subject], str]], subjects: Sequence[Subject]) -> list[Row]:
    rows = [(label, [figure(subject) for subject in subjects]) for label, figure in figures.items()]
    return [(label, texts) for label, texts in rows if set(texts) != {NONE}]


def _state(subject: Subject) -> str:
    status = subject.record.status
    return f"{status.get('status')}: {status.get('message')}" if status else NONE


def _epochs(subject: Subject) -> str:
    done = number(_trained(subject, "epochs") or len(subject.record.epochs) or None, ",")
    best = number(_trained(subject, "best_epoch"), ",")
    return done if NONE in (done, best) else f"{done}, the best is {best}"


def _trained(subject: Subject, name: str) -> object:
    return subject.record.summaries.get("train", {}).get(name)


def _accuracy(subject: Subject) -> str:
    """From train.json, else the best so far."""
    so_far = [value for row in subject.record.epochs if (value := row.get("val_acc")) is not None]
    return number(_trained(subject, "val_accuracy") or max(so_far, default=None))


def _chosen_by(subject: Subject) -> str:
    """What made the best epoch the best, and its value there; a dash for top-1, which is shown anyway."""
    metric = METRICS.get(str(_trained(subject, "best_metric")), TOP1)
    return NONE if metric == TOP1 else f"{metric.words} {number(_trained(subject, f'val_{metric.key}'))}"


def _evaluated(subject: Subject) -> str:
    summary = subject.record.summaries.get("evaluate", {})
    top1, num_images = number(summary.get("top1", summary.get("mean_score"))), number(summary.get("num_images"), ",")
    return top1 if NONE in (top1, num_images) else f"{top1} of {num_images} images"


def _pruned(subject: Subject) -> str:
    summary = subject.record.summaries.get("prune", {})
    return number(summary.get("pruning_ratio"), ".1%")


def _time(subject: Subject) -> str:
    """Hours, minutes and seconds."""
    seconds = _trained(subject, "duration_seconds")
    if number(seconds) == NONE:
        return NONE
    return str(timedelta(seconds=round(min(max(float(str(seconds)), 0.0), 1e9))))


def _threads(subject: Subject) -> str:
    return number(subject.network.trained.found.training.get("threads") if subject.network else None, ",")


_OVERVIEW: Mapping[str, Callable[[Subject], str]] = {
    "State": _state,
    "Epochs": _epochs,
    "Validation top-1": _accuracy,
    "Best epoch by": _chosen_by,
    "Validation loss": lambda subject: number(_trained(subject, "val_loss")),
    "Calibration error (ECE)": lambda subject: number(subject.judged.calibration.ece if subject.judged else None),
    "Top-1 of the last evaluate": _evaluated,
    "Parameters": lambda subject: number(subject.network.num_parameters if subject.network else None, ","),
    "Multiply-accumulates per image": lambda subject: number(subject.network.macs if subject.network else None, ","),
    "Parameters kept by prune": _pruned,
    "Training time": _time,
    "Images per second in training": lambda subject: number(_trained(subject, "images_per_second"), ",.0f"),
    "Precision": lambda subject: str(_trained(subject, "precision") or NONE),
}
_ENVIRONMENT: Mapping[str, Callable[[Subject], str]] = {
    "Precision of this report": lambda subject: subject.judged.precision if subject.judged else NONE,
    "CPU threads in training": _threads,
    "Peak memory in bytes": lambda subject: number(_trained(subject, "peak_memory_bytes"), ","),
    "Share of time waiting for images": lambda subject: number(_trained(subject, "data_wait_fraction"), ".1%"),
    "Network": lambda subject: str(subject.network.trained.path) if subject.network else NONE,
}
