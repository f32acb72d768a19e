"""The command `tao-lite report`."""

from pathlib import Path

import click

from tao_lite.cli.arguments import PATH
from tao_lite.cli.log import log_to


@click.command("report")
@click.option("-r", "--results_dir", "results", multiple=True, required=True, type=PATH, help="Results folder.")
@click.option("-o", "--output_file", type=PATH, help="HTML file.  [default: report.html in the first results folder]")
@click.option("--no_data", is_flag=True, help="Read no images: the report then shows what the runs wrote down.")
@click.option("-i", "--image", "images", multiple=True, type=PATH, help="Image to show with what in it decides.")
def report_command(
    results: tuple[Path, ...], output_file: Path | None, no_data: bool, images: tuple[Path, ...]
) -> None:
    """Write a report of a run, or with several -r of runs side by side: one HTML file that needs nothing else."""
    from tao_lite.cli import session
    from tao_lite.stages.report.report import report

    log_to()
    report(results, session.start_world(), output=output_file, read_data=not no_data, images=images)
