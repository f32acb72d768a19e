"""What a compression shows: a table on the screen, compress.md, .csv and a picture, and the report's section."""

from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup
from PIL import Image

from tao_lite.errors import RunError
from tao_lite.files import writing
from tao_lite.monitor import addresses, console
from tao_lite.run import Run, Summary
from tao_lite.stages.compress import picture
from tao_lite.stages.compress.figures import Row
from tao_lite.stages.compress.times import BATCH_SIZES
from tao_lite.stages.report.report import report
from tao_lite.stages.report.subject import Pooled

_PICTURE = "Accuracy against time and against bytes"
_LEGEND = """\
Size is the share of the multiply-accumulates that is left. Bytes are of the ONNX file. Times are of one image on one
thread, alone and in batches of {batch}, medians of rounds in which all files take turns; "times as fast" is beside the
first row, in brackets for half of the rounds. "Lost" is beside the first row, too.
"""


def write(summary: Summary, rows: Sequence[Row], chosen: Row | None, run: Run, reported: Path) -> None:
    """Write all but the JSON, and print the table and what was chosen; the report is also of the run in that folder."""
    heads, cells = _table(rows)
    words = _words(summary, rows, chosen)
    console.table("Sizes", heads, cells)
    for line in words:
        console.line(line)
    has_picture = picture.draw(rows, chosen, run.compress_file(".png"))
    writing.write(run.compress_file(".csv"), _csv(rows))
    writing.write(run.compress_file(".md"), _markdown(summary, (heads, cells), words, has_picture=has_picture))
    pooled = Pooled(
        title=f"Sizes of {reported.name}",
        heading="Sizes",
        words=" ".join(words).removesuffix("."),
        heads=heads,
        rows=cells,
        pictures=[(_PICTURE, _shown(run.compress_file(".png")))] if has_picture else [],
    )
    _report(run, reported, pooled)


def _shown(path: Path) -> Markup:
    return Markup('<img src="{}" alt="{}">').format(addresses.exact(Image.open(path)), _PICTURE)


def _table(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    heads = ["size", "", "parameters", "MB", "accuracy", "lost"]
    for batch in BATCH_SIZES:
        heads += [f"ms, batch {batch}", "times as fast"]
    return heads, [[*_cells(row)] for row in rows]


def _cells(row: Row) -> list[str]:
    cells = [f"{row.share:g}", "INT8" if row.is_int8 else "FP32", f"{row.parameters:,}", f"{row.bytes / 1e6:.2f}"]
    cells += [f"{row.value:.4f}", f"{row.drop:.4f}"]
    for batch in BATCH_SIZES:
        middle, low, high = row.shares_of_time[batch]
        cells += [f"{row.milliseconds[batch]:.3f}", f"{1 / middle:.2f} ({1 / high:.2f} to {1 / low:.2f})"]
    return cells


def _words(summary: Summary, rows: Sequence[Row], chosen: Row | None) -> list[str]:
    """What came of it, in sentences."""
    failed = summary["failed"]
    assert isinstance(failed, dict)
    lines = [f"Size {share} failed: {why}." for share, why in failed.items()]
    limit = f"{summary['max_accuracy_drop']:g} of {summary['metric']}"
    if summary["target_latency"]:
        limit += f" and a time of {summary['target_latency']}"
    if not chosen:
        best = min((row for row in rows if row.is_int8), key=lambda row: row.drop, default=None)
        near = f" The INT8 file that loses least is {best.share:g}, with {best.drop:.4f}." if best else ""
        return [*lines, f"No INT8 file keeps to a loss of at most {limit}.{near} Train longer, or allow more."]
    faster = " and ".join(f"{1 / share[0]:.1f} at batch {batch}" for batch, share in chosen.shares_of_time.items())
    return [
        *lines,
        (
            f"The smallest INT8 file with a loss of at most {limit} is {chosen.share:g}: {chosen.value:.4f} instead of "
            f"{rows[0].value:.4f}, {rows[0].bytes / chosen.bytes:.1f} times smaller, times as fast: {faster}, in "
            f"{summary['runtime']} on one thread."
        ),
    ]


def _markdown(
    summary: Summary, table: tuple[list[str], list[list[str]]], words: Sequence[str], *, has_picture: bool
) -> str:
    heads, cells = table
    lines = [heads, ["---"] * len(heads), *cells]
    blocks = [
        "# Sizes compared",
        f"`{summary['command']}`",
        f"{summary['machine']}; {summary['versions']}; {summary['date']}. Times in {summary['runtime']}.",
        "\n".join(f"| {' | '.join(line)} |" for line in lines),
        " ".join(words),
        _LEGEND.format(batch=BATCH_SIZES[-1]).strip(),
        *(["![Accuracy against time and bytes](compress.png)"] if has_picture else []),
    ]
    return "\n\n".join(blocks) + "\n"


def _csv(rows: Sequence[Row]) -> str:
    heads = ["size", "int8", "parameters", "macs", "bytes", "accuracy", "lost"]
    heads += [f"milliseconds_{batch}" for batch in BATCH_SIZES]
    lines = [
        [
            row.share,
            int(row.is_int8),
            row.parameters,
            row.macs,
            row.bytes,
            row.value,
            row.drop,
            *row.milliseconds.values(),
        ]
        for row in rows
    ]
    return writing.csv_text([heads, *lines])


def _report(run: Run, reported: Path, pooled: Pooled) -> None:
    """Write report.html; where a package is not installed, say so."""
    try:
        report([reported], run.world, output=run.report, pooled=pooled)
    except RunError as error:
        console.line(f"The report was left out: {error}")
