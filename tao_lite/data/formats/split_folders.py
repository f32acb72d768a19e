"""Folders that are splits of a data set, not classes: by their names, or because they hold the same folders."""

import re
from collections.abc import Collection, Mapping
from pathlib import Path

from tao_lite.data.example import Split
from tao_lite.data.formats.listing import SUFFIXES, Walk, suffix
from tao_lite.data.left_out import LeftOut

ALIASES: Mapping[Split, tuple[str, ...]] = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
"""What data sets call their splits, in lower case."""

_AFFIXES = re.compile(
    r"^((seg|my|the|data|dataset|img|images?)[ _-])+|([ _-]?(set|data|dataset|images?|imgs|split|\d+))+$"
)
_MAX_NAMED = 8


def role(name: str) -> Split | None:
    """The split that a folder of this name holds, such as train for training_set, seg_train and train2017."""
    bare = _AFFIXES.sub("", name.lower())
    return next((split for split, aliases in ALIASES.items() if bare in aliases), None)


def by_name(folders: Collection[str]) -> bool:
    """Whether folders of these names are splits."""
    roles = {role(name) for name in folders}
    # A class may be called train, beside bus and tram; with a test or validation folder it is none.
    return bool(roles) and (None not in roles or ("train" in roles and bool(roles & {"val", "test"})))


def by_content(folders: Mapping[str, Collection[str]]) -> list[str]:
    """Of folders with the names of the folders in them, those that hold the same ones, so that these are the classes.

    None where fewer than half of them do. A folder that is in each of them alone, such as images, makes no splits.
    """
    largest = max((set(inside) for inside in folders.values()), key=len, default=set())
    alike = [
        name for name, inside in folders.items() if inside and 2 * len(largest.intersection(inside)) >= len(inside)
    ]
    return alike if len(largest) > 1 and len(alike) > 1 and 2 * len(alike) >= len(folders) else []


def found_in(root: Path) -> list[str]:
    """The folders in `root` if they are splits; else none. Images in them are not looked for.

    Raises:
        OSError: it can't be listed.
    """
    walk = Walk(LeftOut())
    names = [entry.name for entry in walk.entries(root)[1]]
    if by_name(names):
        return names
    inside = {}
    for name in names:
        files, folders = walk.entries(root / name)
        has_images = any(suffix(entry.name) in SUFFIXES for entry in files)
        inside[name] = [] if has_images else [entry.name for entry in folders]
    return by_content(inside)


def around(root: Path) -> Path | None:
    """The folder below `root` that holds several where each one above holds a single folder; None if root does.

    Raises:
        OSError: a folder can't be listed.
    """
    place = root
    while True:
        files, folders = Walk(LeftOut()).entries(place)
        if len(folders) != 1 or any(suffix(entry.name) in SUFFIXES for entry in files):
            return place if len(folders) > 1 and place != root else None
        place /= folders[0].name


def listed(names: Collection[str]) -> str:
    """The first of the names, and how many more there are."""
    more = f" and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else ""
    return ", ".join(sorted(names)[:_MAX_NAMED]) + more
