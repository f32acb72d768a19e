"""The trainings of a benchmark: each a process of its own, one after the other, and none done twice."""

import csv
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

from tao_lite.errors import Interrupted, RunError
from tao_lite.files import reading, writing
from tao_lite.monitor import console
from tao_lite.run import Run
from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec.load import Spec, load_text
from tao_lite.stages import preflight
from tao_lite.stages.benchmark.settings import Setting
from tao_lite.training.stop import StopRequest, stop_request

_POLL_SECONDS = 0.2


@dataclass(frozen=True, kw_only=True)
class Training:
    """One training of the benchmark: train.json and the rows of training.csv, or why there are none."""

    setting: str
    repeat: int  # from 1
    seed: int
    summary: dict[str, Any] = field(default_factory=dict)
    curve: list[dict[str, float]] = field(default_factory=list)
    failure: str = ""

    @property
    def epoch_seconds(self) -> float:
        """Seconds of training in a usual epoch. The first fills caches and warms up; it counts only if it is alone."""
        seconds: list[float] = self.summary["epoch_train_seconds"]
        return median(seconds[1:] or seconds)

    @property
    def images_per_second(self) -> float:
        """Training images per second in a usual epoch."""
        seconds: list[float] = self.summary["epoch_train_seconds"]
        images = float(self.summary["images_per_second"]) * sum(seconds) / len(seconds)
        return images / self.epoch_seconds


def run_all(spec: Spec, run: Run, settings: Sequence[Setting], repeats: int) -> list[Training]:
    """All trainings, in the order of the settings; those that an earlier call finished are read from their folders.

    Repeat n has seed random_seed + n - 1 under every setting, and begins with another setting than the one before.

    Raises:
        SpecError: the spec lacks what training needs.
        RunError: the folder holds a benchmark of another spec, or no training came to its end.
        Interrupted: SIGINT or SIGTERM came, and the training saved; the same command goes on there.
    """
    spec_file = _claim(spec, run)
    done = list[Training]()
    with stop_request() as request:
        for repeat, setting in _turns(settings, repeats):
            seed = spec.experiment.train_config.random_seed + repeat - 1
            own = replace(run, results=run.benchmark(setting.name, repeat))
            console.line(f"{setting.name}, {repeat} of {repeats}: {own.results}")
            command = _command(spec_file, own, setting, seed)
            failure = "" if own.summary("train").is_file() else _train(command, own.results, request)
            one = Training(setting=setting.name, repeat=repeat, seed=seed, failure=failure)
            done.append(one if failure else _read(one, own))
            console.line(f"  {_result(done[-1])}")
    if all(one.failure for one in done):
        raise RunError(f"no training came to its end; the first said: {done[0].failure}")
    return sorted(done, key=lambda one: [setting.name for setting in settings].index(one.setting))


def _claim(spec: Spec, run: Run) -> Path:
    """The file of the spec that all trainings have, in the benchmark's folder."""
    experiment, path = pb.Experiment(), run.benchmark_spec
    experiment.CopyFrom(spec.experiment)
    experiment.train_config.ClearField("precision")
    text = replace(spec, experiment=experiment).text()
    load_text(text, spec.path, check=preflight.check, running=True)
    # The first line is a comment, with a path that may be written in several ways.
    if path.is_file() and _lines(path)[1:] != text.splitlines()[1:]:
        raise RunError(
            f"{path}: the folder holds a benchmark of another spec; choose another folder with -r, or delete this one"
        )
    writing.write(path, text)
    return path


def _turns(settings: Sequence[Setting], repeats: int) -> Iterator[tuple[int, Setting]]:
    for repeat in range(1, repeats + 1):
        first = (repeat - 1) % len(settings)
        yield from ((repeat, setting) for setting in (*settings[first:], *settings[:first]))


def _command(spec_file: Path, own: Run, setting: Setting, seed: int) -> list[str]:
    overrides = (*setting.overrides, f"train_config.random_seed={seed}")
    return [
        *(sys.executable, "-m", "tao_lite.cli", "train", "-e", str(spec_file), "-r", str(own.results)),
        *(word for override in overrides for word in ("--set", override)),
        *(("--gpus", "0") if own.device.type == "cpu" else ()),
    ]


def _train(command: Sequence[str], folder: Path, request: StopRequest) -> str:
    """Run the command, its output in log.txt of the folder; what it said if it failed."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "log.txt"
    with writing.open_to_append(log) as output:
        output.truncate()
        # A session of its own: Ctrl-C at the terminal would reach it twice, and a second signal means "now".
        process = subprocess.Popen(  # noqa: S603 - a list of arguments, no shell
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
        code = _wait(process, request)
    if request.signal_number:
        raise Interrupted(request.signal_number, f"stopped in {folder}; the same command goes on there")
    said = [line for line in _lines(log, errors="replace") if line.strip()]
    errors = [line.removeprefix("Error: ") for line in said if line.startswith("Error: ")]
    return [f"ended with code {code}", *said[-1:], *errors][-1] if code else ""


def _wait(process: subprocess.Popen[bytes], request: StopRequest) -> int:
    """The exit code of the process, which is sent the signal that asks this one to stop."""
    while True:
        try:
            return process.wait(_POLL_SECONDS)
        except subprocess.TimeoutExpired:
            if request.signal_number:
                process.send_signal(request.signal_number)
                return process.wait()


def _read(one: Training, own: Run) -> Training:
    """The training with what it left in the folder of its own run."""
    curve = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(_lines(own.training_csv))]
    return replace(one, summary=reading.read_json(own.summary("train"), RunError), curve=curve)


def _lines(path: Path, errors: str = "surrogateescape") -> list[str]:
    return reading.read_text(path, RunError, errors=errors).splitlines()


def _result(one: Training) -> str:
    if one.failure:
        return f"failed: {one.failure}"
    return (
        f"top-1 {one.summary['val_accuracy']:.4f}, {one.epoch_seconds:.2f} s per epoch, "
        f"{one.images_per_second:.1f} images per second"
    )
