"""The commands `tao-lite dataset ...`. None imports torch; each imports what it needs when it runs."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tao_lite.cli.arguments import PATH, overrides, spec_file
from tao_lite.cli.log import log_to
from tao_lite.errors import USER_ERROR

if TYPE_CHECKING:
    from tao_lite.spec import classification_pb2 as pb
    from tao_lite.stages.dataset.sources import Reports, Sides, Source

MAX_REMARKS = 100

# The names of TARGETS, which a test compares, and the cache.
_TARGETS = ("image_folder", "kitti", "tfrecord", "coco", "manifest", "multitask", "webdataset", "cache")

_json = click.option("--json", "as_json", is_flag=True, help="Print an object in place of the table.")
_spec = spec_file("Spec file that names it.")
_path = click.argument("path", required=False, type=PATH)


@click.group("dataset")
def dataset_group() -> None:
    """Data sets: image folders, KITTI, YOLO, COCO, TFRecord, manifests."""


@dataset_group.command("sample")
@click.option("-o", "--output_dir", required=True, type=PATH, help="Folder to make.")
@click.option("--frames", default=400, show_default=True, type=click.IntRange(1), help="Frames to draw.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Seed of the drawing.")
def draw_sample(output_dir: Path, frames: int, seed: int) -> None:
    """Draw the sample data set, in KITTI format."""
    from tao_lite.data.sample import draw

    draw.write(output_dir, num_frames=frames, seed=seed)
    click.echo(f"Drew {frames} frames in {output_dir}")


@dataset_group.command()
@_path
@_spec
@overrides
@_json
def check(path: Path | None, spec_file: Path | None, overrides: tuple[str, ...], as_json: bool) -> int:
    """Decode every picture of a data set, at PATH or named by a spec, and list what is wrong. Exit code 2 if anything.

    Errors: what training would leave out or refuse, and equal pictures under different classes. Remarks: pictures that
    are read, but not as one may expect, and examples that are small for the network, cut by the frame, covered by
    another, blurred, too dark or too bright.
    """
    import dataclasses

    from tao_lite.monitor import console
    from tao_lite.stages.dataset.check import check as check_stage
    from tao_lite.stages.dataset.pictures import REMARK

    log_to()
    result = check_stage(*_sources(path, spec_file, overrides, is_logged=False))
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(result), indent=2))
    else:
        remarks = [one for one in result.findings if one.severity == REMARK]
        shown = [*(one for one in result.findings if one.severity != REMARK), *remarks[:MAX_REMARKS]]
        if shown:
            rows = [(one.severity, one.kind, one.place, one.text) for one in shown]
            console.table("Findings", ("", "kind", "place", "what"), rows)
        if len(remarks) > MAX_REMARKS:
            click.echo(f"and {len(remarks) - MAX_REMARKS} more remarks; --json lists them all")
        click.echo(
            f"{result.num_examples} examples in {result.num_pictures} pictures: "
            f"{result.num_errors} errors, {len(remarks)} remarks"
        )
    return USER_ERROR if result.num_errors else 0


@dataset_group.command()
@_path
@_spec
@overrides
@_json
def stats(path: Path | None, spec_file: Path | None, overrides: tuple[str, ...], as_json: bool) -> None:
    """Count the examples of a data set, at PATH or named by a spec, per class and split, and take their sizes."""
    from tao_lite.monitor import console
    from tao_lite.stages.dataset import stats as dataset_stats

    log_to()
    sides, reports, _ = _sides(path, spec_file, overrides)
    values = dataset_stats.stats(sides, reports)
    if as_json:
        click.echo(json.dumps(values, indent=2, ensure_ascii=False))
        return
    heads, rows = dataset_stats.table(values)
    console.table("Examples", heads, rows)
    console.line("\n".join(["", *dataset_stats.lines(values)]))


@dataset_group.command()
@_path
@_spec
@overrides
@_json
@click.option("-o", "--output_file", type=PATH, help="Write the object to this file too.")
def report(
    path: Path | None, spec_file: Path | None, overrides: tuple[str, ...], as_json: bool, output_file: Path | None
) -> None:
    """Report on a data set, at PATH or named by a spec, and say what to do.

    Counts and sizes, problems, copies (exact and near) within and between splits and classes, class weights.
    """
    from tao_lite.files import writing
    from tao_lite.stages.dataset import report as dataset_report
    from tao_lite.stages.dataset import report_text

    log_to()
    sides, reports, experiment = _sides(path, spec_file, overrides, is_logged=False)
    values = dataset_report.report(sides, reports, experiment)
    if output_file:
        writing.write_json(output_file, values)
    if as_json:
        click.echo(json.dumps(values, indent=2))
    else:
        report_text.show(values)


@dataset_group.command()
@spec_file(required=True)
@overrides
@click.option("-r", "--results_dir", required=True, type=PATH, help="Results folder: of a run, or to make.")
@click.option(
    *("-m", "--model_path", "model"),
    type=PATH,
    help="Checkpoint.  [default: the spec's pretrained weights, else the best one of the results folder]",
)
def audit(spec_file: Path, overrides: tuple[str, ...], results_dir: Path, model: Path | None) -> None:
    """List the images of a spec whose labels are probably wrong: audit.csv, and audit.html to look through them.

    By folds.csv of a cross-validation in the results folder, else by a linear probe on features of a network, else by a
    short training in each fold.
    """
    from tao_lite import compat
    from tao_lite.cli import session
    from tao_lite.run import Run
    from tao_lite.stages.audit.audit import audit as audit_stage

    log_to()
    experiment = compat.effective(_experiment(spec_file, overrides))
    audit_stage(experiment, Run(results=results_dir, world=session.start_world()), model)


@dataset_group.command()
@spec_file(required=True)
@overrides
@click.option("-o", "--output_dir", required=True, type=PATH, help="Folder to make, or to go on with.")
@click.option("--to", "target", required=True, type=click.Choice(_TARGETS), help="Format to write.")
def convert(spec_file: Path, overrides: tuple[str, ...], output_dir: Path, target: str) -> None:
    """Write the data sets of a spec in another format, read them back and compare.

    Objects are cut out for image_folder, tfrecord, webdataset and multitask; the others have the whole pictures and the
    boxes.

    The folder gets train, val (held out as the spec says) and test. The same command goes on after an interruption.
    --to cache decodes the images as a training with the spec wants them, which then begins at full speed.
    """
    from tao_lite.data import left_out
    from tao_lite.data.asked import report_of
    from tao_lite.monitor import console
    from tao_lite.stages.dataset import cache, sources
    from tao_lite.stages.dataset import convert as dataset_convert

    log_to()
    experiment = _experiment(spec_file, overrides)
    output = output_dir.absolute()
    found = sources.of_spec(experiment)
    sides = sources.sides(experiment, found)
    reports = {**{split: report_of(experiment, split) for split in sides}, **sources.reports(found)}
    if target == "cache":
        counts = cache.fill(experiment, sides, output, reports)
        lines = [f'dataset_config {{ cache: DISK cache_dir: "{output}" }}']
    else:
        names = () if target == "multitask" else dataset_convert.order(experiment, sides)
        counts = dataset_convert.convert(sides, output, target, reports, names)
        lines = dataset_convert.fields(output, target, counts, names, experiment.dataset_config.full_scale)
    for line in left_out.lines({name: report.values() for name, report in reports.items()}):
        console.line(line)
    written = ", ".join(f"{count} examples for {split}" for split, count in counts.items())
    console.line(f"Wrote {written} in {output}, read back and compared. For a spec:")
    console.line("\n".join(lines))


def _sources(
    path: Path | None, spec_file: Path | None, overrides: tuple[str, ...], *, is_logged: bool
) -> "tuple[list[Source], pb.Experiment | None]":
    """The data sets, and the spec that names them, if one was given."""
    from tao_lite.stages.dataset import sources

    if (path is None) == (spec_file is None):
        raise click.UsageError("give a PATH, or a spec file with -e")
    if path:
        if overrides:
            raise click.UsageError("--set is for a spec file, given with -e")
        return sources.of_path(path, is_logged=is_logged), None
    assert spec_file
    experiment = _experiment(spec_file, overrides)
    return sources.of_spec(experiment, is_logged=is_logged), experiment


def _sides(
    path: Path | None, spec_file: Path | None, overrides: tuple[str, ...], *, is_logged: bool = True
) -> "tuple[Sides, Reports, pb.Experiment | None]":
    """The examples by split, as a training with the spec would have them; what was left out; and the spec, if any."""
    from tao_lite.stages.dataset import sources

    found, experiment = _sources(path, spec_file, overrides, is_logged=is_logged)
    if experiment is not None:
        return sources.sides(experiment, found), sources.reports(found), experiment
    return {source.name: tuple(source.read()) for source in found}, sources.reports(found), None


def _experiment(spec_file: Path, overrides: tuple[str, ...]) -> "pb.Experiment":
    from tao_lite.spec.load import load

    return load(spec_file, stage=None, overrides=overrides).experiment
