"""Benchmark: the same training under several settings of precision, side by side in text, tables and pictures."""

import importlib.metadata
import platform
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime

import torch

from tao_lite.files import writing
from tao_lite.machine import host
from tao_lite.monitor import console
from tao_lite.run import Run, Summary
from tao_lite.spec.load import Spec
from tao_lite.stages.benchmark import charts, table
from tao_lite.stages.benchmark.runs import Training, run_all
from tao_lite.stages.benchmark.settings import settings
from tao_lite.training.arithmetic import Hardware


def benchmark(spec: Spec, run: Run, precisions: Sequence[str], loss_scales: Sequence[str], repeats: int) -> Summary:
    """Train the spec under each setting, with `repeats` seeds; the summary is benchmark.json.

    Raises:
        SpecError: a setting can't be read or run, or the spec lacks what training needs.
        RunError: the folder is in use or holds a benchmark of another spec, or no training came to its end.
        Interrupted: SIGINT or SIGTERM came; the same command goes on there.
    """
    compared, missing = settings(precisions, loss_scales, Hardware.of(run.device))
    with run.hold():
        for name, why in missing.items():
            console.line(f"{name} is not available: {why}")
        trainings = run_all(spec, run, compared, repeats)
        rows = table.rows(compared, trainings)
        summary = {
            **circumstances(run.device),
            "epochs": spec.experiment.train_config.n_epochs,
            "repeats": repeats,
            "threads": sorted({one.summary["threads"] for one in trainings if not one.failure}),
            "not_available": missing,
            "settings": rows,
            "trainings": [asdict(one) for one in trainings],
        }
        console.table("Medians of each setting", *table.shown(rows))
        pictures = _draw(run, trainings)
        writing.write(run.benchmark_file(".csv"), table.as_csv(trainings))
        writing.write(run.benchmark_file(".md"), table.as_markdown(summary, pictures))
        writing.write_json(run.benchmark_file(".json"), summary)
    console.line(f"Written: {run.benchmark_file('.md')}, .json, .csv{' and pictures' if pictures else ''}")
    return summary


def circumstances(device: torch.device) -> dict[str, str]:
    """Where, when and with what a comparison ran."""
    machine = Hardware.of(device).name
    if device.type == "cpu":
        machine = str(torch.cpu.get_capabilities().get("cpu_name") or platform.processor() or platform.machine())
    names = ("tao-lite", "torch", "torchvision", "numpy")
    versions = [f"{name} {importlib.metadata.version(name)}" for name in names]
    return {
        "machine": f"{machine.rstrip(',')}, {host.usable_cores()} CPU cores, {platform.system()}",
        "versions": ", ".join([*versions, f"Python {platform.python_version()}"]),
        "command": shlex.join(["tao-lite", *sys.argv[1:]]),
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
    }


def _draw(run: Run, trainings: Sequence[Training]) -> list[str]:
    """Names of the pictures; none where matplotlib is not installed."""
    try:
        return [path.name for path in charts.draw(trainings, run.benchmark_file)]
    except ImportError:
        console.line("Pictures were left out: matplotlib is not installed; pip install 'tao-lite[report]'")
        return []
