"""A data set written in another format, then read back and compared: dataset_convert's part in TAO."""

import hashlib
import logging
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path

import numpy as np

from tao_lite.data import dataset
from tao_lite.data.asked import TRAIN
from tao_lite.data.convert import LABELS, TARGETS, task_labels
from tao_lite.data.convert_whole import kitti_names
from tao_lite.data.decode import decode, picture_bytes
from tao_lite.data.example import Example, KittiOptions, Options
from tao_lite.data.frames import Frame, frames
from tao_lite.data.geometry import Pixels
from tao_lite.data.left_out import LeftOut
from tao_lite.errors import DataError
from tao_lite.files import reading, writing
from tao_lite.machine.host import usable_cores
from tao_lite.monitor import console
from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec.tasks import OF
from tao_lite.stages.dataset.sources import Reports, Sides

# As written, without a filter: what was to go is gone.
_AS_WRITTEN = KittiOptions(min_height_pixels=0, max_occlusion=3, max_truncation=1)
_STATE = "convert.json"
_BY_EXAMPLE = ("image_folder", "multitask", "webdataset")
"""Targets with a picture for each example."""
_CLASSMAP = "classmap.json"

_log = logging.getLogger(__name__)


def convert(
    sides: Sides, output: Path, target: str, reports: Reports, class_names: Sequence[str] = ()
) -> dict[str, int]:
    """Write each split to a folder of `output` and compare what is read from there; its examples by split.

    class_names: their order; further classes of the examples come after them, sorted.

    Goes on where an earlier call was interrupted. What can't be decoded is reported and left out.

    Raises:
        DataError: nothing of a split can be decoded, the folder holds something else, a class has no name there, or
            what was written isn't what is read.
        OSError: the disk is full, for instance.
    """
    names = [*class_names, *sorted({example.label for side in sides.values() for example in side} - {*class_names})]
    if any(example.labels for side in sides.values() for example in side):
        raise DataError(f"{output}: a data set of several tasks is kept as it is; only --to cache takes it")
    _claim(output, target, _fingerprint(sides))
    counts = {}
    for split, side in sides.items():
        console.line(f"Writing {len(side)} examples to {output / split}")
        pictures = frames(side)
        TARGETS[target](output / split, pictures, names, reports[split])
        counts[split] = _verified(output / split, target, pictures)
        if not counts[split]:
            reports[split].verify({})
        if counts[split] < len(side):
            _log.warning("%s: %d of %d examples were left out", output / split, len(side) - counts[split], len(side))
    if target != "multitask":
        given = kitti_names(names) if target == "kitti" else dict(zip(names, names, strict=True))
        writing.write_json(output / _CLASSMAP, {given[name]: index for index, name in enumerate(names)})
    return counts


def order(experiment: pb.Experiment, sides: Sides) -> Sequence[str]:
    """The classes as a training by the spec numbers them; none where it names no training data."""
    config, path = experiment.dataset_config, experiment.train_config.train_dataset_path
    if config.classmap_path:
        return dataset.read_classmap(Path(config.classmap_path))
    examples = [example for split in ("train", "val") for example in sides.get(split, ())]
    return dataset.own_names(experiment, TRAIN, path, examples) if path else ()


def fields(
    output: Path, target: str, splits: Collection[str], class_names: Sequence[str] = (), full_scale: float = 0
) -> list[str]:
    """The lines of a spec that use what was written; class names and `full_scale` are those of the spec before."""
    paths = {"train": "train_dataset_path", "val": "val_dataset_path"}
    written = {split: _root(output / split, target) for split in splits}
    training = " ".join(f'{paths[split]}: "{root}"' for split, root in written.items() if split in paths)
    found = [f"train_config {{ {training} }}"] if training else []
    found += [f'eval_config {{ eval_dataset_path: "{written["test"]}" }}'] if "test" in splits else []
    kitti = " kitti { min_height_pixels: 0 }" if target == "kitti" else ""
    white = f" full_scale: {full_scale:g}" if full_scale else ""
    # Sorted they come by themselves.
    classes = f' classmap_path: "{output / _CLASSMAP}"' if list(class_names) != sorted(class_names) else ""
    return [*found, f"dataset_config {{ format: {target.upper()}{kitti}{classes}{white} }}"]


def _root(folder: Path, target: str) -> Path:
    """What the path of a data set leads to that was written to the folder."""
    return folder / LABELS if target == "multitask" else folder


def _claim(output: Path, target: str, fingerprint: str) -> None:
    """Take the folder for this conversion, or go on with it there.

    Raises:
        DataError: something else is in it.
    """
    state = {"target": target, "fingerprint": fingerprint}
    path = output / _STATE
    try:
        found = reading.read_json(path, DataError) if path.is_file() else None
    except DataError:
        found = "damaged"
    if found == state:
        _log.info("%s: went on with what is there", output)
        return
    if found is not None or (output.exists() and (not output.is_dir() or any(output.iterdir()))):
        raise DataError(f"{output}: holds something else already; name another folder with -o, or remove it")
    output.mkdir(parents=True, exist_ok=True)
    writing.write_json(path, state)


def _fingerprint(sides: Sides) -> str:
    """What is the same as long as the examples and the files they are in are."""
    digest = hashlib.blake2b(digest_size=16)
    for split, side in sides.items():
        for path, group in groupby(side, key=lambda example: example.span.file if example.span else example.path):
            try:
                status = path.stat()
                digest.update(repr((split, status.st_size, status.st_mtime_ns)).encode())
            except OSError:
                pass  # it is reported when its turn comes
            for example in group:
                digest.update(repr(example).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _verified(root: Path, target: str, pictures: Sequence[Frame]) -> int:
    """The number of examples read back, each equal to what it was made of.

    Raises:
        DataError: one is not, or is missing although its picture can be decoded.
    """
    options = Options(report=LeftOut(fail=True), name=str(root), kitti=_AS_WRITTEN)
    found: dict[str, list[Example]] = {}
    for example in dataset.load(_root(root, target), target.upper(), options):
        found.setdefault(_key(example, target), []).append(example)
    names = kitti_names({item.example.label for frame in pictures for item in frame}) if target == "kitti" else {}

    def compare(frame: Frame) -> int:
        keys = [item.name for item in frame] if target in _BY_EXAMPLE else [frame[0].picture]
        written = [example for key in keys for example in found.get(key, [])]
        source = frame[0].example
        try:
            pixels = decode(source.path, 3, source.span, source.full_scale)
        except DataError:
            return 0
        if len(written) != len(frame):
            raise DataError(f"{root}: {len(written)} examples are read of {len(frame)} from {source.path}; start anew")
        for item, copy in zip(frame, written, strict=True):
            expected = {names.get(item.example.label, item.example.label)}
            if target == "multitask":
                expected = {f"{task}{OF}{name}" for task, name in task_labels(item.example).items()}
            if set(copy.classes) != expected or not _is_equal(item.example, copy, pixels):
                raise DataError(f"{copy.path}: is not what was made of {source.path}; start anew, on another disk")
        return len(frame)

    with ThreadPoolExecutor(usable_cores()) as pool:
        return sum(pool.map(compare, pictures))


def _key(example: Example, target: str) -> str:
    """Which of the pictures written it is."""
    if target == "webdataset":
        return example.path.name.partition("#")[2]
    return example.group if example.span else example.path.stem


def _is_equal(original: Example, copy: Example, pixels: Pixels) -> bool:
    """Whether the copy shows what the original shows of its picture, of these pixels: byte by byte if it is whole."""
    height, width, _ = pixels.shape
    box = original.box or (0, 0, width, height)
    if copy.box is not None:
        return copy.box == box and _bytes(original) == _bytes(copy)
    if original.box is None:
        return _bytes(original) == _bytes(copy)
    left, top, right, bottom = box
    return np.array_equal(pixels[top:bottom, left:right], decode(copy.path, 3, copy.span))


def _bytes(example: Example) -> bytes:
    return picture_bytes(example.path, example.span)
