"""Numbers of a data set: examples per class and split, sizes, bytes."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from typing import Any

from tao_lite.data import left_out
from tao_lite.data.decode import image_size
from tao_lite.data.example import Example
from tao_lite.errors import DataError
from tao_lite.machine.host import usable_cores
from tao_lite.stages.dataset.sources import Reports, Sides

MAX_MEASURED = 10_000
"""Examples per split whose size is taken; evenly chosen where there are more."""


def stats(sides: Sides, reports: Reports) -> dict[str, Any]:
    """Plain values, ready for JSON: the classes, and for each split its examples, pictures, bytes and sizes.

    left_out: as of LeftOut.values, by data set.
    """
    names = sorted({label for side in sides.values() for example in side for label in example.classes})
    return {
        "class_names": names,
        "splits": {name: of_split(side, names, _sizes(side)) for name, side in sides.items()},
        "left_out": {name: report.values() for name, report in reports.items()},
    }


def of_split(side: Sequence[Example], names: Sequence[str], sizes: Sequence[tuple[int, int] | None]) -> dict[str, Any]:
    """The values of one split. `sizes`: width and height of its examples, or of some, None for one without."""
    counts = Counter(label for example in side for label in example.classes)
    pictures = {example.path: example for example in side}
    known = [size for size in sizes if size]
    return {
        "examples": len(side),
        "pictures": len(pictures),
        "bytes": sum(map(_num_bytes, pictures.values())),
        "classes": {name: counts[name] for name in names},
        "measured": len(known),
        "unreadable": len(sizes) - len(known),
        "width": _spread([width for width, _ in known]),
        "height": _spread([height for _, height in known]),
        "aspect": _spread([round(width / height, 3) for width, height in known]),
    }


def table(values: Mapping[str, Any]) -> tuple[list[str], list[list[object]]]:
    """Heads and rows: a class in each row, its examples in each split and its share of all."""
    splits = values["splits"]
    total = sum(split["examples"] for split in splits.values())
    rows = []
    for name in values["class_names"]:
        counts = [split["classes"][name] for split in splits.values()]
        rows.append([name, *counts, f"{100 * sum(counts) / max(total, 1):.1f} %"])
    rows.append(["all", *(split["examples"] for split in splits.values()), "100.0 %"])
    return ["class", *splits, "share"], rows


def lines(values: Mapping[str, Any]) -> list[str]:
    """One line of sizes for each split, and one of what was left out of it, if anything was."""
    texts = []
    for name, split in values["splits"].items():
        width, height = split["width"], split["height"]
        sizes = (
            f"width {width['min']} to {width['max']}, median {width['median']:g}; "
            f"height {height['min']} to {height['max']}, median {height['median']:g}"
            if width
            else "no size could be read"
        )
        unread = f"; {split['unreadable']} could not be read" if split["unreadable"] else ""
        texts.append(
            f"{name}: {split['examples']} examples in {split['pictures']} pictures, "
            f"{split['bytes'] / 2**20:.1f} MiB; {sizes} pixels{unread}"
        )
    return [*texts, *left_out.lines(values.get("left_out", {}))]


def _sizes(side: Sequence[Example]) -> list[tuple[int, int] | None]:
    step = -(-len(side) // MAX_MEASURED) or 1
    with ThreadPoolExecutor(usable_cores()) as pool:
        return list(pool.map(_size, side[::step]))


def _size(example: Example) -> tuple[int, int] | None:
    """Width and height of what the network would be given, before it is resized."""
    if example.box:
        left, top, right, bottom = example.box
        return right - left, bottom - top
    try:
        return image_size(example.path, example.span)
    except DataError:
        return None


def _num_bytes(example: Example) -> int:
    if example.span:
        return example.span.length
    try:
        return os.path.getsize(example.path)  # noqa: PTH202 - a Path is at hand, but slower for 100,000 files
    except OSError:
        return 0


def _spread(values: Sequence[float]) -> dict[str, float] | None:
    return {"min": min(values), "median": median(values), "max": max(values)} if values else None
