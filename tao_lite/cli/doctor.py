"""The command `tao-lite doctor`."""

from pathlib import Path

import click

from tao_lite.cli.arguments import PATH, spec_file
from tao_lite.errors import USER_ERROR, printable


@click.command("doctor")
@spec_file("Look at the paths of this spec, too.")
@click.option("-r", "--results_dir", type=PATH, default=Path("results"), help="Results folder.  [default: results]")
@click.option("--mounts", type=PATH, help="Mounts file.  [default: ~/.tao_mounts.json if there is one]")
def doctor_command(spec_file: Path | None, results_dir: Path, mounts: Path | None) -> int:
    """Say what works on this machine, and what to do about the rest. Exit code 2 if nothing could train here."""
    from tao_lite.launcher import doctor

    found = list(doctor.conditions(results_dir, mounts, spec_file))
    click.echo("\n".join(map(printable, doctor.lines(found))))
    if doctor.can_train(found):
        return 0
    click.echo("Training could not work here: neither without a container nor in one", err=True)
    return USER_ERROR
