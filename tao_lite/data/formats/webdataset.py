"""WebDataset: tar shards of pictures with their classes; the pictures stay in their shards and are read where they lie.

A picture's class is in its .cls, as a number or name, or is `label` in its .json. Numbers are named by classnames.txt
beside the shards or around their folder, or by what names_beside knows.
"""

import logging
from collections.abc import Collection, Iterator
from pathlib import Path

from tao_lite.data.example import Example, Options, Span
from tao_lite.data.formats.class_names import Names, names_beside, read_label_map
from tao_lite.data.formats.listing import visible
from tao_lite.data.formats.objects import Chooser, renamed
from tao_lite.data.formats.shard_index import MAX_INDEX_BYTES, SUFFIX, Sample, ShardIndex, index_name, parse, scan
from tao_lite.data.formats.tfrecord_objects import clean
from tao_lite.data.left_out import UNLABELLED, WRONG_LABEL
from tao_lite.errors import DataError
from tao_lite.files import reading
from tao_lite.files.places import SHARDS, url_of

CLASS_NAMES = "classnames.txt"

_log = logging.getLogger(__name__)


def read(root: Path, options: Options) -> list[Example]:
    """One example per picture with a class, in the shards' order.

    Raises:
        DataError: there are no shards, or no example is in them.
    """
    shards, folder = shard_names(root), _folder(root)
    if not shards:
        raise DataError(f"{options.name}: no shards (*{SUFFIX}) at {root}; give a folder of them, or one of them")
    chooser, names = Chooser(options), _names(folder)
    examples = [example for shard in shards for example in _examples(folder, shard, names, chooser, options)]
    names.check(options.name)
    chooser.log_unmatched()
    if not examples:
        raise chooser.nothing_left(f"the {len(shards)} shards of {root}")
    _log.info("%s: read %d examples in %d shards", root, len(examples), len(shards))
    return examples


def class_names(root: Path, options: Options, labels: Collection[str]) -> tuple[str, ...]:
    """The classes in the order of their numbers, all that are named.

    Raises:
        DataError: what names them can't be read.
    """
    return renamed(_names(_folder(root)).ordered(labels), labels, options.kitti)


def shard_names(root: Path) -> list[str]:
    """The names of the shards, sorted; those of a URL are known by their indexes."""
    if root.is_file():
        return [root.name] if root.suffix.lower() == SUFFIX else []
    if not root.is_dir():
        return []
    names = {path.name for path in visible(root)}
    if url_of(root):
        return sorted(name.removesuffix(index_name("")) for name in names if name.endswith(index_name(SUFFIX)))
    return sorted(name for name in names if name.lower().endswith(SUFFIX))


def shard_file(folder: Path, name: str) -> Path:
    """Where the bytes of a shard are or, of one at a URL, will be."""
    return (folder / SHARDS if url_of(folder) else folder) / name


def index_of(folder: Path, name: str) -> ShardIndex:
    """The index of a shard: as it stands beside it, else made now and not kept.

    Raises:
        DataError: the shard or its index can't be read.
    """
    beside, shard = folder / index_name(name), folder / name
    if beside.is_file():
        found = parse(reading.read_text(beside, DataError, max_bytes=MAX_INDEX_BYTES), beside)
        if url_of(folder) or found.size == shard.stat().st_size:
            return found
        _log.warning("%s: the shard is of another size; it is read anew", beside)
    with reading.open_regular(shard, DataError) as file:
        return reading.retried(shard, lambda: scan(shard, file))


def _examples(folder: Path, shard: str, names: Names, chooser: Chooser, options: Options) -> Iterator[Example]:
    try:
        index = index_of(folder, shard)
    except DataError as error:
        options.report(str(folder / shard), str(error).removeprefix(f"{folder / shard}: "))
        return
    for key, why in index.problems:
        options.report(f"{folder / shard}#{key}", why)
    for sample in index.samples:
        place = f"{folder / shard}#{sample.key}"
        if sample.label is None:
            options.report.count(UNLABELLED, place=place)
            continue
        try:
            label = chooser.label(_name(sample, names), place)
        except ValueError as error:
            options.report(place, str(error), WRONG_LABEL)
            continue
        if label:
            span = Span(shard_file(folder, shard), sample.offset, sample.length)
            yield Example(Path(place), label, sample.group or f"{shard}/{sample.key}", span=span)


def _name(sample: Sample, names: Names) -> str:
    return names.of(sample.label) if isinstance(sample.label, int) else clean(str(sample.label))


def _names(folder: Path) -> Names:
    """Of the file of class names beside the shards or around their folder."""
    for path in (folder / CLASS_NAMES, folder.parent / CLASS_NAMES):
        if path.is_file():
            return Names(read_label_map(path), str(path))
    return names_beside(folder, "")


def _folder(root: Path) -> Path:
    return root.parent if root.is_file() else root
