"""TFRecord files: pictures with a class, or pictures with labelled boxes, of which each object is one example.

Every record is compared with its checksums here, once, so that no label is a flipped bit; the pictures stay in their
files and are read where they lie. What a record is, its features say:

    image/encoded + image/class/text or image/class/label     a picture with its class
    image/encoded + image/object/bbox/xmin ...                objects, boxes relative (TensorFlow Object Detection)
    frame/encoded + target/coordinates_x1 ...                 objects, boxes relative (TAO's for SSD, YOLO, RetinaNet)
    frame/id + target/coordinates_x1 ...                      objects, boxes in pixels, picture beside (TAO's DetectNet)
"""

import logging
import re
from collections.abc import Collection, Mapping
from pathlib import Path

from tao_lite.data.example import Example, Options, Span
from tao_lite.data.formats.class_names import names_beside
from tao_lite.data.formats.listing import SUFFIXES, visible
from tao_lite.data.formats.objects import Chooser, LabelledObject, renamed
from tao_lite.data.formats.tfrecord_example import Feature, features
from tao_lite.data.formats.tfrecord_file import Record, is_record_file, records
from tao_lite.data.formats.tfrecord_objects import Pictures, clean, detected, labelled_by_tao, one
from tao_lite.data.left_out import NO_OBJECTS, WRONG_LABEL
from tao_lite.errors import DataError

_RECORD_NAME = re.compile(r".*(\.(tfrecords?|tfrec|records?)(-\d+-of-\d+)?(\.gz)?|-\d+-of-\d+)", re.IGNORECASE)
_NO_RECORDS = SUFFIXES | {"txt", "json", "yaml", "yml", "xml", "csv", "pbtxt", "md", "cfg", "gif", "py"}

_log = logging.getLogger(__name__)


def read(root: Path, options: Options) -> list[Example]:
    """One example per picture with a class, or per object that passes the filters of `options.kitti`, in file order.

    Raises:
        DataError: there are no record files, or no example is in them.
    """
    files = record_files(root)
    if not files:
        raise DataError(f"{options.name}: no record files at {root}; give a file, a folder or how their names begin")
    reader = _Reader(_folder(root), options)
    examples = [example for file in files for example in reader.examples(file)]
    reader.names.check(options.name)
    reader.chooser.log_unmatched()
    if not examples:
        raise reader.chooser.nothing_left(f"the {reader.num_records} records of {root}")
    _log.info(
        *("%s: read %d examples of %d records in %d files", root, len(examples), reader.num_records, len(files)),
    )
    return examples


def class_names(root: Path, options: Options, labels: Collection[str]) -> tuple[str, ...]:
    """The classes in the order of the label map, all of them; without one in that of the numbers.

    Raises:
        DataError: the label map can't be read.
    """
    names = names_beside(_folder(root), options.tfrecord.label_map)
    return renamed(names.ordered(labels), labels, options.kitti)


def record_files(root: Path) -> list[Path]:
    """The file itself, the record files in a folder, or those whose names begin with `root`, sorted by name."""
    if root.is_file():
        return [root]
    folder, start = (root, "") if root.is_dir() else (root.parent, root.name)
    try:
        found = [path for path in visible(folder) if path.name.startswith(start)]
    except OSError:
        return []
    return [path for path in found if path.is_file() and may_hold_records(path)]


def may_hold_records(path: Path) -> bool:
    """By its name, so that damaged files are reported, else by its first bytes: TAO's files have no suffix."""
    if _RECORD_NAME.fullmatch(path.name):
        return True
    return path.suffix[1:].lower() not in _NO_RECORDS and is_record_file(path)


def _folder(root: Path) -> Path:
    return root if root.is_dir() else root.parent


class _Reader:
    """Makes examples of records, whatever they are."""

    def __init__(self, folder: Path, options: Options) -> None:
        self.chooser = Chooser(options)
        self.num_records = 0
        self._report = options.report
        self.names = names_beside(folder, options.tfrecord.label_map)
        image_dir = options.tfrecord.image_dir
        self._pictures = Pictures([folder / image_dir] if image_dir else [folder, folder.parent])

    def examples(self, file: Path) -> list[Example]:
        found = []
        for record in records(file, self._report):
            self.num_records += 1
            place = f"{file}#{record.number}"
            try:
                found += self._of_record(place, file, record)
            except ValueError as error:
                self._report(place, str(error), WRONG_LABEL)
        return found

    def _of_record(self, place: str, file: Path, record: Record) -> list[Example]:
        found = features(record.content)
        if "image/encoded" in found and found.keys() & {"image/class/text", "image/class/label"}:
            return self._classified(_frame(place, file, record, found["image/encoded"], _group(found, place)), found)
        if "image/encoded" in found and "image/object/bbox/xmin" in found:
            frame = _frame(place, file, record, found["image/encoded"], _group(found, place))
            return self._choose(frame, detected(found, place, self.names, self._report), relative=True)
        if "frame/id" in found and "target/coordinates_x1" in found:
            name, pixels = one(found, "frame/id"), found.get("frame/encoded")
            objects = labelled_by_tao(found, place, self.names, self._report)
            if pixels:
                return self._choose(_frame(place, file, record, pixels, name), objects, relative=True)
            return self._choose(Example(self._pictures.find(name), "", name), objects, relative=False)
        keys = ", ".join(sorted(found)[:8]) or "nothing"
        raise ValueError(f"holds no picture with a class or with boxes; it holds {keys}")

    def _classified(self, frame: Example, found: Mapping[str, Feature]) -> list[Example]:
        name = one(found, "image/class/text") if "image/class/text" in found else ""
        if not name:
            numbers = found["image/class/label"].ints() if "image/class/label" in found else []
            if len(numbers) != 1:
                raise ValueError(f"has {len(numbers)} classes, must be one")
            name = self.names.of(numbers[0])
        label = self.chooser.label(clean(name), str(frame.path))
        return [Example(frame.path, label, frame.group, span=frame.span)] if label else []

    def _choose(self, frame: Example, objects: list[LabelledObject], *, relative: bool) -> list[Example]:
        if not objects:
            self._report.count(NO_OBJECTS, place=str(frame.path))
        return self.chooser.examples(frame, objects, relative=relative)


def _frame(place: str, file: Path, record: Record, feature: Feature, group: str) -> Example:
    """The whole picture of a record."""
    spans = [(start, end) for start, end in feature.spans() if start < end]
    if len(spans) != 1:
        raise ValueError(f"holds {len(spans)} pictures, must be one")
    start, end = spans[0]
    return Example(Path(place), "", group, span=Span(file, record.offset + start, end - start))


def _group(found: Mapping[str, Feature], place: str) -> str:
    """What records made of one picture share, else the record itself."""
    names = (one(found, key) for key in ("image/source_id", "image/filename") if key in found)
    return next((name for name in names if name), Path(place).name)
