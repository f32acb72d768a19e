"""Compress: networks of several sizes, each made by the other stages, and the smallest that keeps the accuracy."""

import contextlib
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from tao_lite.errors import InUseError, RunError, SpecError, refuse_missing
from tao_lite.files import writing
from tao_lite.monitor import console
from tao_lite.run import Run, Summary
from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec import schema, tasks
from tao_lite.spec.load import Spec
from tao_lite.stages.benchmark.benchmark import circumstances
from tao_lite.stages.compress import figures, page, sizes, times
from tao_lite.stages.compress.figures import Row
from tao_lite.stages.export.export import PACKAGES
from tao_lite.stages.export.package import Request, package
from tao_lite.stages.prune import retrain
from tao_lite.stages.train.claim import claim
from tao_lite.training import preparation

DEFAULT_SIZES = (0.7, 0.5, 0.35, 0.25, 0.15)
_POLL_SECONDS = 1.0


def compress(spec: Spec, run: Run, model: Path) -> Summary:
    """Make networks of the spec's sizes of the checkpoint, and package the smallest that keeps its accuracy.

    Several processes with the same folder share the sizes out. The summary is compress.json.

    Raises:
        TaoLiteError: a stage's; or the folder holds a compression of another network or with other settings.
        Interrupted: SIGINT or SIGTERM came; the same command goes on there.
    """
    _refuse_unfit(spec)
    with _held(run):
        _claim(spec, run, model)
        preparation.draw_sample(spec.experiment, run)
    shares = _shares(spec.experiment.compress_config)
    _make_all(spec, run, model, shares)
    with contextlib.ExitStack() as stack:
        if _taken(run, stack):
            return _concluded(spec, run, model, shares)
    console.line("All sizes are made; another process compares them")
    return {}


def _refuse_unfit(spec: Spec) -> None:
    """Raise where this can't end well, before hours are spent."""
    config = spec.experiment.compress_config
    if tasks.is_used(spec.experiment):
        raise SpecError(
            f"{spec.path}: dataset_config.format is MULTITASK, but compress takes networks of one task only"
        )
    if config.runtime == pb.Runtime.TORCH:
        raise SpecError(
            f"{spec.path}: compress_config.runtime is TORCH, which computes no INT8; set ONNXRUNTIME or OPENVINO"
        )
    refuse_missing("compress", "export", *PACKAGES)
    if config.runtime == pb.Runtime.OPENVINO:
        refuse_missing("compress_config.runtime OPENVINO", "openvino", "openvino")


def _claim(spec: Spec, run: Run, model: Path) -> None:
    """Make the folder that of this network and these settings; what is wanted of the sizes may change.

    Raises:
        RunError: it is another's.
    """
    experiment = pb.Experiment()
    experiment.CopyFrom(spec.experiment)
    experiment.ClearField("compress_config")
    claim(replace(spec, experiment=experiment), run)
    retrain.claim(run, experiment.prune_config, model)


def _shares(config: pb.CompressConfig) -> list[float]:
    """The sizes, largest first; 1 is the network as it is."""
    given = map(schema.as_written, config.sizes) if config.sizes else DEFAULT_SIZES
    return sorted({1.0, *given}, reverse=True)


def _make_all(spec: Spec, run: Run, model: Path, shares: Sequence[float]) -> None:
    """Make each size that isn't; what another process is at is waited for, and made if that process dies."""
    while left := [share for share in shares if not sizes.is_made(run, share)]:
        is_idle = True
        for share in left:
            own = replace(run, results=run.size(share))
            with contextlib.ExitStack() as stack:
                if not _taken(own, stack):
                    continue
                is_idle = False
                if not sizes.is_made(run, share):
                    console.line(f"Size {share:g}: {own.results}")
                    sizes.make(spec, own, model, share)
        if is_idle:
            time.sleep(_POLL_SECONDS)


def _concluded(spec: Spec, run: Run, model: Path, shares: Sequence[float]) -> Summary:
    config = spec.experiment.compress_config
    made = [sizes.made(run, share) for share in shares]
    rows = figures.rows(run, made, times.measure(run, made, config.runtime))
    limits = figures.Limits.of(config, rows[0])
    chosen = figures.smallest(rows, limits)
    summary = {
        **circumstances(run.device),
        "runtime": times.name(config.runtime),
        "max_accuracy_drop": limits.drop,
        "target_latency": config.target_latency,
        "metric": made[0].metric,
        "sizes": [vars(row) for row in rows],
        "failed": {f"{one.share:g}": one.failure for one in made if one.failure},
        "smallest": chosen.share if chosen else None,
    }
    share = chosen.share if chosen else 1.0
    source = sizes.network_of(replace(run, results=run.size(share)), model, share)
    if why_not := _package(spec, run, source, chosen):
        console.line(f"The package was left out: {why_not}")
        summary["no_package"] = why_not
    # A checkpoint elsewhere than in a run's folder has no run to report on.
    reported = source.parent.parent if source.parent.name == "weights" else run.results
    page.write(summary, rows, chosen, run, reported)
    writing.write_json(run.compress_file(".json"), summary)
    console.line(f"Written: {run.compress_file('.md')}, .json and .csv")
    return summary


def _package(spec: Spec, run: Run, source: Path, chosen: Row | None) -> str:
    """Write the package of the checkpoint, that of the row, in the place of an earlier one; or why there is none.

    What computes the package may round otherwise than what measured the file, and then nothing is kept.
    """
    if run.smallest.is_dir() and not run.smallest.is_symlink():
        shutil.rmtree(run.smallest)
    if not chosen:
        return "no file keeps to the limits"
    own = replace(run, results=run.size(chosen.share))
    runtime = pb.Runtime.Kind.Name(spec.experiment.compress_config.runtime).lower()
    request = Request(folder=run.smallest, runtimes=(runtime,), quantised=own.int8_onnx)
    try:
        package(spec, run, source, request)
    except RunError as error:
        return str(error)
    return ""


@contextlib.contextmanager
def _held(run: Run) -> Iterator[None]:
    """Hold the folder, and wait for another process that does."""
    with contextlib.ExitStack() as stack:
        while not _taken(run, stack):
            time.sleep(_POLL_SECONDS)
        yield


def _taken(run: Run, stack: contextlib.ExitStack) -> bool:
    """Whether the folder is held from now on until the stack ends, and not by another process."""
    try:
        stack.enter_context(run.hold())
    except InUseError:
        return False
    return True
