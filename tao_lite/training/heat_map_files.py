"""Pictures under their heat maps as files: one for each image and task, and a table that says whose they are."""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from PIL import Image

from tao_lite.data.batch import Batch
from tao_lite.data.left_out import LeftOut
from tao_lite.errors import DataError
from tao_lite.files import reading, writing
from tao_lite.monitor import console
from tao_lite.run import Run, Summary
from tao_lite.training.heat_maps import Array, HeatMaps, answers, overlaid
from tao_lite.training.loops import on_device
from tao_lite.training.validation import unlabelled_loader

_TABLE = "heat_maps.csv"
_OURS = re.compile(r"\d{6,}_[A-Za-z0-9_-]*\.png")
_HEADER = ("path", "task", "class", "heat_map")

_Rows = Sequence[tuple[Path, Sequence[float]]]


def write(maps: HeatMaps, rows: _Rows, run: Run) -> Summary:
    """Write what speaks for the most probable class of each image, in each task, over what the network saw of it.

    rows: the images and their probabilities. Names begin with the image's number among them, so that no two are the
    same, and have no character that parts folders.
    """
    trained, table = maps.trained, list[Sequence[object]]()
    report = LeftOut("images", is_logged=False)
    data = unlabelled_loader(trained.experiment, (path for path, _ in rows), report, run.world)
    with console.Progress(is_main=run.is_main) as bar:
        bar.begin("Heat maps", len(data))
        for batch in on_device(data.epoch(0), trained.device):
            table += _of_batch(maps, batch, rows, run)
            bar.advance(batch.number + 1)
    before = _listed(run.heat_maps / _TABLE)
    writing.write(run.heat_maps / _TABLE, writing.csv_text([_HEADER, *table]))
    for name in before.difference(str(row[-1]) for row in table):
        (run.heat_maps / name).unlink(missing_ok=True)
    console.line(f"Wrote {len(table)} pictures under their heat maps, by {maps.method}: {run.heat_maps}")
    return {"heat_maps": str(run.heat_maps), "heat_maps_method": maps.method}


def _listed(table: Path) -> set[str]:
    """The pictures that a run before has left; none where its table can't be read."""
    if not table.exists():
        return set()
    try:
        text = reading.read_text(table, DataError, errors="surrogateescape")
        names = {row.get(_HEADER[-1]) or "" for row in csv.DictReader(io.StringIO(text, newline=""))}
    except (DataError, csv.Error):
        return set()
    return {name for name in names if _OURS.fullmatch(name)}


def _of_batch(maps: HeatMaps, batch: Batch, rows: _Rows, run: Run) -> Iterator[Sequence[object]]:
    """Write the batch's pictures; their rows of the table."""
    found = [answers(maps.trained, rows[index][1]) for index in batch.indices]
    heats = maps.of(batch.images, torch.tensor([[one.output for one in each] for each in found]))
    for index, image, of_tasks, each in zip(batch.indices, batch.images, heats, found, strict=True):
        for number, (one, heat) in enumerate(zip(each, of_tasks, strict=True)):
            file = run.heat_maps / _name(index, rows[index][0], number if one.task else None)
            _put(file, overlaid(image, heat))
            yield rows[index][0], one.task, one.class_name, file.name


def _name(index: int, path: Path, task: int | None) -> str:
    stem = re.sub(r"[^A-Za-z0-9-]+", "_", path.stem)[-60:]
    return f"{index:06d}_{stem}{'' if task is None else f'_{task}'}.png"


def _put(path: Path, pixels: Array) -> None:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    with writing.new_file(path, is_synced=False) as file:
        file.write(content.getvalue())
