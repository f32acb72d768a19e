"""The report of a cross-validation: its figures, and the folds' runs side by side."""

from dataclasses import replace

from tao_lite.errors import RunError
from tao_lite.monitor import console
from tao_lite.run import Run
from tao_lite.stages.cross_validate import figures
from tao_lite.stages.cross_validate.predictions import Found
from tao_lite.stages.report.report import report
from tao_lite.stages.report.subject import Pooled


def write(found: Found, run: Run) -> None:
    """Write report.html; where a package of reports is not installed, say so."""
    heads, rows = figures.table(found)
    pooled = Pooled(
        title=f"{len(found.folds)} folds",
        heading="All folds",
        words=figures.in_words(found),
        heads=heads,
        rows=rows,
        evaluation=found.pooled,
    )
    alone = replace(run.world, rank=0, world_size=1)
    try:
        report([fold.results for fold in found.folds], alone, output=run.report, pooled=pooled)
    except RunError as error:
        console.line(f"The report was left out: {error}")
