"""The commands `tao-lite spec ...`. None imports torch; each imports what it needs when it runs."""

import dataclasses
import difflib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tao_lite.cli.arguments import PATH, further_overrides, overrides
from tao_lite.errors import USER_ERROR, SpecError, printable
from tao_lite.spec.stages import STAGES

if TYPE_CHECKING:
    from tao_lite.spec.load import Examined

DIFFERENT = 1  # exit code

_SPARKLINE_WIDTH = 60

# By the names of DatasetFormat; tests compare them, and those below.
_LAYOUTS = ("sample", "image_folder", "kitti", "tfrecord", "yolo", "coco", "manifest", "multitask", "webdataset")

# By the names of Recipe.
_RECIPES = ("TAO", "FROM_SCRATCH", "FINE_TUNE", "LAST_BLOCK")

_spec = click.argument("spec", type=PATH)
_output = click.option("-o", "--output_file", type=PATH, help="New file to write.  [default: standard output]")


@click.group("spec")
def spec_group() -> None:
    """Spec files: text format, JSON (.json) or YAML (.yaml, .yml); those of TAO's newer tasks too."""


@spec_group.command()
@click.argument("files", nargs=-1, required=True, type=PATH, metavar="FILES... [FIELD=VALUE]...")
@click.option(
    "--stage",
    default="train",
    show_default=True,
    type=click.Choice(list(STAGES)),
    help="What the files are for.",
)
@overrides
@click.option("--json", "as_json", is_flag=True, help="Print a list of objects in place of the table.")
def check(files: tuple[Path, ...], stage: str, overrides: tuple[str, ...], as_json: bool) -> int:
    """Report every problem of spec files, with line and column. Exit code 2 if a file has an error."""
    from tao_lite.cli import diagnosis

    further = [path for path in files if "=" in str(path) and not path.exists()]
    overrides = (*overrides, *map(str, further))
    specs = [path for path in files if path not in further]
    found = {path: diagnosis.diagnose(path, stage=stage, overrides=overrides) for path in specs}
    if as_json:
        remarks = [dataclasses.asdict(remark) for remarks in found.values() for remark in remarks]
        click.echo(json.dumps(remarks, indent=2, ensure_ascii=False))
    else:
        click.echo("\n".join(line for path, remarks in found.items() for line in diagnosis.table(path, remarks)))
    is_wrong = any(remark.kind == diagnosis.ERROR for remarks in found.values() for remark in remarks)
    return USER_ERROR if is_wrong else 0


@spec_group.command()
@_spec
@overrides
@further_overrides
def show(spec: Path, overrides: tuple[str, ...]) -> None:
    """Print the spec with every default filled in and the origin of each value. The output is a spec."""
    from tao_lite import compat
    from tao_lite.spec import classification_pb2 as pb
    from tao_lite.spec import paths, resolved, starting

    report = _report(spec, overrides)
    running = compat.effective(report.experiment)
    written, run = resolved.values(report.experiment), resolved.values(running)
    converted = {note.place.line for note in report.notes}

    def origin(path: str) -> str:
        if written.get(path) != run.get(path):
            return "compat: TAO_EXACT"
        place = report.places.get(path)
        if path in report.by_recipe:
            return f"recipe {pb.Recipe.Name.Name(report.experiment.train_config.recipe)}"
        if not place or path in report.assumed:
            return f"{report.family}'s default" if place else "default"
        return f"line {place.line}{', converted' * (place.line in converted)}" if place.line else "--set"

    click.echo("\n".join([*starting.HEADER, f"# Resolved from {spec}", ""]))
    click.echo(resolved.text(paths.as_written(running, report.replaced), "train", origin), nl=False)


@spec_group.command()
@_spec
@_output
@click.option("--in_place", is_flag=True, help="Replace the file itself.")
@click.option("--diff", "as_diff", is_flag=True, help="Print what changes.")
@click.option("--to", type=click.Choice(["tao"]), help="tao: only what TAO knows; the rest is named, with its place.")
def upgrade(spec: Path, output_file: Path | None, in_place: bool, as_diff: bool, to: str | None) -> None:
    """Write the spec as text format in today's spelling and in our words, with its comments and order."""
    from tao_lite.spec import for_tao, load
    from tao_lite.spec.upgrade import upgraded

    target = _target(spec, output_file, in_place=in_place)
    old = load.read(spec)
    new, notes = for_tao.upgraded(old, spec) if to else upgraded(old, spec)
    for note in notes:
        click.echo(load.as_line(spec, note), err=True)
    for difference in _differences(old, new, spec) if to else ():
        click.echo(f"{printable(str(spec))}: {difference}", err=True)
    if as_diff:
        names = (str(spec), str(target or spec))
        lines = difflib.unified_diff(old.splitlines(), new.splitlines(), *names, lineterm="")
        click.echo("".join(f"{line}\n" for line in lines), nl=False)
    if target or not as_diff:
        _put(new, target)


@spec_group.command()
@click.option("--arch", default="resnet", show_default=True, help="Architecture.")
@click.option("--n_layers", type=int, help="Its depth.  [default: 18, or the least it has]")
@click.option("--format", "layout", type=click.Choice(_LAYOUTS), default="sample", show_default=True, help="Its data.")
@click.option("--image_size", "size", nargs=2, type=int, metavar="H W", help="Height and width.  [default: 224 224]")
@click.option(
    "--recipe",
    type=click.Choice(_RECIPES, case_sensitive=False),
    default="FROM_SCRATCH",
    show_default=True,
    help="How it trains.",
)
@overrides
@_output
def init(output_file: Path | None, overrides: tuple[str, ...], **options: Any) -> None:
    """Write a commented spec to start from. Unless --format is given it runs as it is, on the sample data set."""
    target = _target(None, output_file)
    _put(_first_spec(overrides, **options), target)


@spec_group.command()
@click.argument("a", type=PATH)
@click.argument("b", type=PATH)
def diff(a: Path, b: Path) -> int:
    """Compare what two specs mean: a line per field, with its value in A and in B. Exit code 1 if they differ."""
    from tao_lite import compat
    from tao_lite.spec import resolved

    different = resolved.differences(*(compat.effective(_report(path, ()).experiment) for path in (a, b)))
    width = max((len(path) for path, _, _ in different), default=0)
    for path, one, other in different:
        click.echo(printable(f"{path:<{width}}  {one}  {other}"))
    return DIFFERENT if different else 0


@spec_group.command()
@_spec
@overrides
@further_overrides
@click.option("--png", type=PATH, help="Draw the curve into this PNG file (needs matplotlib).")
def schedule(spec: Path, overrides: tuple[str, ...], png: Path | None) -> None:
    """Show the learning rate over the run, for one process."""
    from tao_lite import compat
    from tao_lite import schedule as schedules
    from tao_lite.monitor import console, plots

    experiment = _report(spec, overrides).experiment
    train = experiment.train_config
    if not train.n_epochs:
        raise SpecError(f"{spec}: train_config.n_epochs: is missing; the schedule is over the epochs of a run")
    rate = schedules.make_schedule(train.lr_config, exact=compat.is_exact(experiment))
    click.echo(console.sparkline([rate(k / (_SPARKLINE_WIDTH - 1)) for k in range(_SPARKLINE_WIDTH)]))
    click.echo("epochs done  learning rate")
    for epoch, value in schedules.table(rate, train.n_epochs):
        click.echo(f"{epoch:>11}  {value:.4g}")
    for finding in schedules.findings(rate):
        click.echo(f"{finding.path}: {finding.text}", err=True)
    if png:
        try:
            plots.curve(png, rate, title=f"Learning rate of {spec}", end=train.n_epochs, unit="epochs")
        except ImportError as error:
            raise click.ClickException("--png needs matplotlib; install tao-lite[report]") from error


@spec_group.command()
@click.argument("field", required=False)
def docs(field: str | None) -> None:
    """Explain a field, such as train_config.n_epochs or n_epochs, or list what a spec holds."""
    from tao_lite.spec import reference, schema

    if not field:
        click.echo("\n".join(reference.overview(schema.EXPERIMENT)))
        return
    found = reference.find(field)
    if not found:
        raise click.ClickException(f"{field}: {reference.why_not_found(field)}")
    click.echo("\n".join(reference.describe(*found)))


def _differences(old: str, new: str, path: Path) -> list[str]:
    """What TAO computes otherwise of the new text than we of the old one from the path."""
    from tao_lite import compat
    from tao_lite.spec import load

    if compat.is_exact(load.examine(old, path, stage=None).experiment):
        return []
    return compat.differences(load.examine(new, path.with_suffix(".cfg"), stage=None).experiment)


def _report(path: Path, overrides: tuple[str, ...]) -> "Examined":
    """All that is known of a spec that has no error.

    Raises:
        SpecError: its errors.
    """
    from tao_lite.spec import load

    report = load.examine(load.read(path), path, stage=None, overrides=overrides)
    if report.problems:
        raise SpecError("\n".join(report.lines(report.problems)))
    return report


def _first_spec(
    given: Sequence[str], *, layout: str, arch: str, n_layers: int | None, size: tuple[int, int] | None, recipe: str
) -> str:
    from tao_lite.models import architectures
    from tao_lite.spec import load, starting
    from tao_lite.stages import preflight

    row = architectures.ARCHITECTURES.get(arch)
    depths = row.n_layers if row else ()
    n_layers = n_layers or (min(depths) if depths and starting.N_LAYERS not in depths else None)
    overrides = [*starting.overrides(layout), f"model_config.arch={arch}", f"train_config.recipe={recipe}"]
    overrides += [f"model_config.n_layers={n_layers}"] if n_layers else []
    overrides += [f"model_config.input_image_size=3,{size[0]},{size[1]}"] if size else []
    spec = load.load_text(
        starting.TEXT, Path("spec init"), overrides=[*overrides, *given], check=preflight.check, running=True
    )
    # Its values are written out.
    spec.experiment.train_config.ClearField("recipe")
    model = spec.experiment.model_config
    switches = architectures.find(model).switches
    for name in ("n_layers", "use_batch_norm", "freeze_bn"):
        if name not in switches:
            model.ClearField(name)
    return starting.text(spec.experiment, "Every field: tao-lite spec docs, or specs/README.md")


def _target(spec: Path | None, output_file: Path | None, *, in_place: bool = False) -> Path | None:
    """The file to write; nothing for standard output."""
    from tao_lite.spec.text import forms

    if output_file and in_place:
        raise click.UsageError("give -o or --in_place, not both")
    target = spec if in_place else output_file
    if target and forms.is_other(target):
        raise click.UsageError(f"{target}: text format is written; name a file such as {target.stem}.cfg with -o")
    if output_file and output_file.exists():
        raise click.UsageError(f"{output_file} exists; name a new file")
    if output_file and not output_file.parent.is_dir():
        raise click.UsageError(f"{output_file.parent} is not a folder; make it first")
    return target


def _put(text: str, target: Path | None) -> None:
    from tao_lite.files import writing

    if not target:
        click.echo(text, nl=False)
        return
    # A link stays one: what it points to is replaced.
    file = target.resolve()
    mode = file.stat().st_mode if file.exists() else None
    writing.write(file, text)
    if mode is not None:
        file.chmod(mode)
