"""Report: one HTML file of one or several runs, which needs nothing else to be read."""

from collections.abc import Sequence
from pathlib import Path

from tao_lite.errors import DataError, refuse_missing
from tao_lite.files import writing
from tao_lite.machine.distributed import World
from tao_lite.monitor import console
from tao_lite.stages.report import record as report_record
from tao_lite.stages.report import subject
from tao_lite.stages.report.subject import Pooled

_PACKAGES = ("jinja2", "matplotlib")


def report(
    folders: Sequence[Path],
    world: World,
    *,
    output: Path | None = None,
    read_data: bool = True,
    images: Sequence[Path] = (),
    pooled: Pooled | None = None,
) -> None:
    """Write the report of the runs in the folders, in their order; what is missing is said in it.

    Without an output it is report.html in the first folder. read_data: False leaves all images of data sets unread.
    images: pictures to show, with what each network answers.

    Raises:
        DataError: one of the images is not there.
        RunError: a folder holds no run, or a package is not installed.
    """
    refuse_missing("report", "train,report", *_PACKAGES)
    from tao_lite.stages.report.page import page

    if gone := next((path for path in images if not path.is_file()), None):
        raise DataError(f"{gone}: no such image; check the path")
    names = report_record.names(folders)
    records = [report_record.of(folder, name, world) for folder, name in zip(folders, names, strict=True)]
    subjects = [subject.of(record, read_data=read_data, images=images) for record in records]
    html = page(subjects, world.device, pooled)
    path = output or records[0].run.report
    writing.write(path, html)
    console.line(f"Wrote {path}, {len(html.encode()) / 1e6:.1f} MB")
