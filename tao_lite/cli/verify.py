"""The command `tao-lite verify`."""

from pathlib import Path

import click

from tao_lite.cli.arguments import PATH
from tao_lite.errors import USER_ERROR, printable


@click.command("verify")
@click.argument("folder", type=PATH, metavar="DIR")
@click.option("--key", type=PATH, help="Public key in a PEM file: the package must be signed by it, too.")
def verify_command(folder: Path, key: Path | None) -> int:
    """Compare a package with its SHA256SUMS. Exit code 2 names each file that was changed, is missing or is new."""
    from tao_lite.files import signature, sums

    if key:
        signature.verify_signature(folder, key)
    problems = sums.verify_sums(folder)
    for name, problem in problems.items():
        click.echo(f"{printable(name)}: {problem}")
    if problems:
        click.echo(f"{printable(str(folder))}: is not as it was packed: {len(problems)} files differ", err=True)
        return USER_ERROR
    signed = f", which {printable(str(key))} has signed" if key else ""
    click.echo(f"{printable(str(folder))}: ok, as in {sums.SUMS}{signed}")
    if not key and (folder / sums.SIGNATURE).exists():
        click.echo(f"{sums.SIGNATURE} was not checked; give the signer's public key with --key", err=True)
    return 0
