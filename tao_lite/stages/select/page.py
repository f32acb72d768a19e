"""The page of the chosen images: one HTML file that needs nothing else, in which everything is escaped."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, FileSystemLoader
from PIL import Image

from tao_lite.data.decode import decode
from tao_lite.errors import DataError, ReadError
from tao_lite.machine.host import usable_cores
from tao_lite.monitor import addresses

MAX_SHOWN = 500
"""Of more pictures a browser's page grows heavy: these take about 6 MB."""
_SIDE = 224


class Chosen(NamedTuple):
    """An image that was chosen: why, in words, and by what score, the higher the better."""

    path: Path
    reason: str
    score: float


def page(chosen: Sequence[Chosen], title: str, full_scale: float) -> str:
    """The first of the chosen images, in their order, as one HTML text; full_scale: as of `decode`."""
    folder = Path(__file__).parent
    environment = Environment(
        loader=FileSystemLoader([folder, folder.parent / "report"]), autoescape=True, trim_blocks=True
    )
    with ThreadPoolExecutor(usable_cores()) as pool:
        pictures = list(pool.map(lambda one: _picture(one.path, full_scale), chosen[:MAX_SHOWN]))
    return environment.get_template("selected.html").render(
        title=title,
        made=time.strftime("%Y-%m-%d %H:%M"),
        shown=list(zip(chosen, pictures, strict=False)),
        num_hidden=max(0, len(chosen) - MAX_SHOWN),
    )


def _picture(path: Path, full_scale: float) -> str:
    """A small copy of the picture as a data: address; empty where it can no longer be read."""
    try:
        image = Image.fromarray(decode(path, 3, full_scale=full_scale))
    except (DataError, ReadError):
        return ""
    return addresses.thumbnail(image, _SIDE)
