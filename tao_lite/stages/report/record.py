"""What is in a results folder, read so that no file that is missing, torn or foreign stops a report."""

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from tao_lite import compat
from tao_lite.errors import ReadError, RunError, SpecError
from tao_lite.files import reading
from tao_lite.machine.distributed import World
from tao_lite.run import Run
from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec.load import load_text, read

# The summaries that are shown, and as far as it matters what is a block ("*": of any name) or a list in them.
_FORMS: Mapping[str, Any] = {
    "train": {},
    "evaluate": {"reject": {"rule": {}, "curve": [{}], "error_interval": [0], "outliers": {}}},
    "prune": {"layers": [{}], "latency": [{"milliseconds": [0]}], "rounds": [{}]},
    "dataset_report": {
        "class_names": [""],
        "splits": {"*": {"classes": {}}},
        "problems": [{}],
        "duplicates": {"*": [{"members": [{"box": [0]}]}]},
        "leakage": {"*": {}},
        "imbalance": {"weights": {"*": {}}},
        "advice": [""],
    },
}
_MOST = 1e30

Epoch = dict[str, float | None]


@dataclass(kw_only=True)
class Record:
    """The files of one results folder.

    `epochs` has the columns of training.csv, None for what is no number; `status` is the last line of status.json;
    `experiment` and `written`, the same with its paths as they were written, are None where the spec can't be read.
    `problems` says what could not be.
    """

    name: str
    run: Run
    summaries: dict[str, dict[str, Any]] = field(default_factory=dict)
    epochs: Sequence[Epoch] = ()
    status: dict[str, Any] = field(default_factory=dict)
    spec_text: str = ""
    experiment: pb.Experiment | None = None
    written: pb.Experiment | None = None
    problems: list[str] = field(default_factory=list)


def names(folders: Sequence[Path]) -> list[str]:
    """What to call each folder: its own name, or its path where two have the same."""
    short = [folder.resolve().name for folder in folders]
    return [name if short.count(name) == 1 else str(folder) for name, folder in zip(short, folders, strict=True)]


def of(folder: Path, name: str, world: World) -> Record:
    """The files of the folder.

    Raises:
        RunError: it is none, or no run left anything in it.
    """
    if not folder.is_dir():
        raise RunError(f"{folder}: no such folder; -r takes the results folder of a run")
    record = Record(name=name, run=Run(results=folder, world=world))
    for stage in _FORMS:
        _attempt(record, record.run.summary(stage), partial(_read_summary, record, stage))
    _attempt(record, record.run.training_csv, partial(_read_epochs, record))
    _attempt(record, record.run.status, partial(_read_status, record))
    _attempt(record, record.run.spec, partial(_read_spec, record))
    found = record.summaries or record.epochs or record.status or record.spec_text or record.run.best.is_file()
    if not (found or record.problems):
        raise RunError(f"{folder}: no run has left anything there; -r takes a results folder such as results/NAME")
    return record


def _attempt(record: Record, path: Path, read_file: Callable[[Path], None]) -> None:
    if not path.exists():
        return
    try:
        read_file(path)
    except (SpecError, ReadError) as error:
        record.problems.append(str(error))
    except (RunError, ValueError, csv.Error) as error:
        record.problems.append(f"{path.name} is not what a run of tao_lite writes: {error}")


def _read_summary(record: Record, stage: str, path: Path) -> None:
    found = _object(reading.read_text(path, RunError), path)
    if not _fits(found, _FORMS[stage]):
        raise ValueError("its content has another form")
    record.summaries[stage] = found


def _read_epochs(record: Record, path: Path) -> None:
    rows = csv.DictReader(reading.read_text(path, RunError).splitlines())
    if "epoch" not in (rows.fieldnames or ()):
        raise ValueError("it has no column epoch")
    record.epochs = [{str(name): _number(text) for name, text in row.items()} for row in rows]


def _read_status(record: Record, path: Path) -> None:
    # A crash may have torn the last line.
    for line in reversed(reading.read_text(path, RunError, errors="replace").splitlines()):
        try:
            record.status = _object(line, path)
        except (RunError, ValueError):
            continue
        return


def _read_spec(record: Record, path: Path) -> None:
    record.spec_text = read(path)
    spec = load_text(record.spec_text, path, stage=None)
    record.experiment, record.written = compat.effective(spec.experiment), compat.effective(spec.written)


def _object(text: str, path: Path) -> dict[str, Any]:
    # Nothing is as good as left out.
    found = reading.parse_json(
        text, path, RunError, lambda pairs: {name: one for name, one in pairs if one is not None}
    )
    if not isinstance(found, dict):
        raise ValueError("it holds no JSON object")
    return found


def _fits(value: object, form: object) -> bool:
    """Whether blocks and lists are where the form has them; what is left out fits."""
    if isinstance(form, dict):
        inner = {name: form.get(name, form.get("*")) for name in value} if isinstance(value, dict) else {}
        return isinstance(value, dict) and all(_fits(value[name], one) for name, one in inner.items())
    if isinstance(form, list):
        return isinstance(value, list) and all(_fits(one, form[0]) for one in value)
    return True


def _number(text: object) -> float | None:
    """None for what is no number, or none that can be drawn: NaN, infinity and their neighbours."""
    try:
        value = float(str(text))
    except ValueError:
        return None
    return value if abs(value) < _MOST else None
