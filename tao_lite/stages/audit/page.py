"""The page of an audit: pictures beside their neighbours, to be decided by keyboard. Everything in it is escaped."""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup
from PIL import Image

from tao_lite.data.corrections import COLUMNS
from tao_lite.data.decode import decode
from tao_lite.data.example import Example
from tao_lite.data.geometry import cut
from tao_lite.errors import DataError
from tao_lite.files.writing import csv_text
from tao_lite.metrics.neighbours import Neighbours
from tao_lite.monitor import addresses
from tao_lite.stages.audit.evidence import Evidence
from tao_lite.stages.audit.rows import Row

MAX_ITEMS = 300
NUM_SHOWN = 4
"""Neighbours of an item."""
SIDE = 160
"""Pixels of a picture's longer side, at most."""
_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Picture:
    """A picture as a data: address, empty where it can't be read, and its label."""

    address: str
    label: str


@dataclass(frozen=True, kw_only=True)
class Item:
    """What is asked about an example; `row` is its beginning of a line of decisions.csv, in base64."""

    name: str
    picture: Picture
    likely: str
    probability: float
    label_probability: float
    reasons: tuple[str, ...]
    neighbours: tuple[Picture, ...]
    row: str


def page(evidence: Evidence, rows: Sequence[Row], neighbours: Neighbours | None) -> str:
    """The page as one HTML text, of the first MAX_ITEMS rows."""
    environment = Environment(
        loader=FileSystemLoader([_FOLDER, _FOLDER.parent / "report"]),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = environment.get_template("audit.js").render()
    items = [_item(evidence, row, neighbours) for row in rows[:MAX_ITEMS]]
    return environment.get_template("audit.html").render(
        items=items,
        num_listed=len(rows),
        num_images=len(evidence.examples),
        by=evidence.by,
        header=_line(COLUMNS),
        name=_digest("\n".join(item.row for item in items)),
        script=Markup(script),  # noqa: S704 - our own file
        script_digest=_digest(script),
    )


def _item(evidence: Evidence, row: Row, neighbours: Neighbours | None) -> Item:
    example, probabilities = evidence.examples[row.place], evidence.probabilities[row.place].tolist()
    near = neighbours.indices[row.place, :NUM_SHOWN].tolist() if neighbours else ()
    likely = evidence.class_names[row.likely]
    return Item(
        name=f"{example.path} {example.box_text}".rstrip(),
        picture=_picture(example),
        likely=likely,
        probability=probabilities[row.likely],
        label_probability=probabilities[evidence.labels[row.place]],
        reasons=row.reasons,
        neighbours=tuple(_picture(evidence.examples[index]) for index in near),
        row=_line((example.path, example.box_text, example.label, likely, "")),
    )


def _picture(example: Example) -> Picture:
    try:
        pixels = decode(example.path, 3, example.span, example.full_scale) if example.pixels is None else example.pixels
    except DataError:  # gone since it was looked at
        return Picture("", example.label)
    part = cut(pixels, example.box)
    image = Image.fromarray(part.squeeze(2) if part.shape[2] == 1 else part).convert("RGB")
    return Picture(addresses.thumbnail(image, SIDE), example.label)


def _line(cells: Sequence[object]) -> str:
    """A line of CSV without its end, in base64: a browser would change line ends and names that are no UTF-8."""
    return base64.b64encode(csv_text([cells])[:-1].encode("utf-8", "surrogateescape")).decode()


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
