"""Copies in a data set, exact and near: between splits they leak what is tested, between classes a label is wrong."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tao_lite.data import similar
from tao_lite.data.example import Example
from tao_lite.stages.dataset.pictures import Picture


@dataclass(frozen=True)
class Entry:
    """An example in its split."""

    split: str
    example: Example


class Fingerprints:
    """What is compared of the entries, about a kilobyte each; state, for pictures come one by one.

    copies: indices of the entries with the same file content and box. hashes, thumbnails: of the first of each such
    group; the thumbnail is black, hence plain and like no other, where there is none. frames: a number of the picture.
    """

    def __init__(self, num_entries: int) -> None:
        self.copies: dict[object, list[int]] = {}
        self.hashes = np.zeros(num_entries, np.uint64)
        self.thumbnails = np.zeros((num_entries, *similar.THUMBNAIL), np.uint8)
        self.frames = np.zeros(num_entries, np.int64)

    def put(self, indices: Sequence[int], examples: Sequence[Example], picture: Picture) -> None:
        """Keep those of the entries that are cut from one picture; a broken one has none."""
        for index, example, found in zip(indices, examples, picture.fingerprints, strict=False):
            copies = self.copies.setdefault((picture.digest, example.box), [])
            copies.append(index)
            self.frames[index] = indices[0]
            if found and len(copies) == 1:
                self.hashes[index], self.thumbnails[index] = found


def duplicates(entries: Sequence[Entry], prints: Fingerprints) -> dict[str, list[dict[str, Any]]]:
    """Groups of copies, `exact` (the same file content and box) and `near`; those across classes and splits first.

    Each has crosses_splits, crosses_classes and members, of which each has split, path, label and, if cut out, box.
    Exact copies of the members of a near group are members too.
    """
    copies = {indices[0]: sorted(indices) for indices in prints.copies.values()}
    near = similar.groups(prints.hashes, prints.thumbnails, prints.frames)
    expanded = [sorted(member for first in group.tolist() for member in copies[first]) for group in near]
    exact = [indices for indices in copies.values() if len(indices) > 1]
    return {"exact": _described(entries, exact), "near": _described(entries, expanded)}


def leakage(found: Mapping[str, Sequence[Mapping[str, Any]]], splits: Sequence[str]) -> dict[str, dict[str, int]]:
    """For each split but train: how many of its examples are exact copies of training examples, and how many near."""
    if "train" not in splits:
        return {}
    leaked = {name: {"exact": 0, "near": 0} for name in splits if name != "train"}
    counted = set()
    for kind, groups in found.items():
        for group in groups:
            names = [member["split"] for member in group["members"]]
            for member in group["members"] if "train" in names else ():
                entry = (member["split"], member["path"], tuple(member.get("box", ())))
                if member["split"] != "train" and entry not in counted:
                    counted.add(entry)
                    leaked[member["split"]][kind] += 1
    return leaked


def _described(entries: Sequence[Entry], groups: Sequence[Sequence[int]]) -> list[dict[str, Any]]:
    described = []
    for group in groups:
        members = [entries[index] for index in group]
        described.append(
            {
                "crosses_splits": len({member.split for member in members}) > 1,
                "crosses_classes": len({member.example.classes for member in members}) > 1,
                "members": [_member(member) for member in members],
            }
        )
    return sorted(described, key=lambda group: (not group["crosses_classes"], not group["crosses_splits"]))


def _member(entry: Entry) -> dict[str, Any]:
    example = entry.example
    box = {"box": list(example.box)} if example.box else {}
    return {"split": entry.split, "path": str(example.path), "label": ", ".join(example.classes), **box}
