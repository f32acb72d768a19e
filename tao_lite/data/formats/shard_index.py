"""What is in a tar shard of WebDataset: for each sample its picture's bytes and its label, kept in a file beside it.

Source of the convention: https://github.com/webdataset/webdataset, "The WebDataset Format": the files of a sample are
called alike up to the first dot of their base name, and follow each other.
"""

import json
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from io import BufferedReader
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from tao_lite.data.formats.listing import SUFFIXES
from tao_lite.data.formats.listing import suffix as suffix_of
from tao_lite.errors import DataError, brief
from tao_lite.files import reading

SUFFIX = ".tar"
INDEX_SUFFIX = ".index"
MAX_INDEX_BYTES = 2**30

_VERSION = 1
_KINDS = {(str, int, int, label, str) for label in (str, int, type(None))}
_MAX_LABEL_BYTES = 2**20
_PART_BYTES = 2**20


class Sample(NamedTuple):
    """A picture in a shard. label: a class's name or number; None where nothing says it."""

    key: str
    offset: int
    length: int
    label: str | int | None
    group: str
    """Empty: the picture stands alone."""


class ShardIndex(NamedTuple):
    """The samples of a shard in their order, and what is wrong with others: their key and why."""

    size: int
    sha256: str
    samples: Sequence[Sample]
    problems: Sequence[tuple[str, str]]

    def to_text(self) -> str:
        """Text from which `parse` makes the same again."""
        return json.dumps({"version": _VERSION, **self._asdict()}, separators=(",", ":")) + "\n"


def written(samples: Iterable[Iterable[tuple[str, bytes]]]) -> Iterator[bytes]:
    """The bytes of a shard with the files of these samples, by name; the same for the same files."""
    for name, content in chain.from_iterable(samples):
        head = tarfile.TarInfo(name)
        head.size = len(content)
        yield head.tobuf(tarfile.GNU_FORMAT)
        yield content + bytes(-len(content) % tarfile.BLOCKSIZE)
    yield bytes(2 * tarfile.BLOCKSIZE)


def index_name(shard: str) -> str:
    """Name of the index beside a shard."""
    return f"{shard}{INDEX_SUFFIX}"


def parse(text: str, path: Path) -> ShardIndex:
    """What the text of an index says.

    Raises:
        DataError: it is none, or of another version.
    """
    value = reading.parse_json(text, path, DataError)
    try:
        found = ShardIndex(
            size=int(value["size"]),
            sha256=str(value["sha256"]),
            samples=[_checked(Sample(*one), value["size"]) for one in value["samples"]],
            problems=[(str(key), str(why)) for key, why in value["problems"]],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: is no index of a shard ({error}); remove it, it is then made anew") from error
    if value.get("version") != _VERSION:
        raise DataError(f"{path}: is of version {brief(value.get('version'))}, must be {_VERSION}; remove it")
    return found


def _checked(sample: Sample, size: int) -> Sample:
    """The sample, if it can be one of a shard of that size."""
    kinds = tuple(map(type, sample))
    if kinds not in _KINDS or sample.offset < 0 or sample.length < 1 or sample.offset + sample.length > size:
        raise ValueError(f"{brief(tuple(sample))} is no sample of {brief(size)} bytes")
    return sample


def scan(path: Path, file: BufferedReader) -> ShardIndex:
    """The index of a shard that has none, by one pass through the open file.

    Raises:
        DataError: it is no tar file.
    """
    size, digest = _digest(file)
    members: dict[str, dict[str, tarfile.TarInfo]] = {}
    problems: list[tuple[str, str]] = []
    file.seek(0)
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            for member in _members(archive, size, problems):
                key, ending = _split(member.name)
                members.setdefault(key, {})[ending] = member
    except (tarfile.TarError, OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise DataError(f"{path}: is no tar file that can be read ({error}); unpack a compressed one") from error
    samples = []
    for key, found in members.items():
        try:
            samples.append(_sample(key, found, file))
        except ValueError as error:
            problems.append((key, str(error)))
    return ShardIndex(size, digest, samples, problems)


def _members(archive: tarfile.TarFile, size: int, problems: list[tuple[str, str]]) -> Iterator[tarfile.TarInfo]:
    """The files in the archive, as far as they are whole."""
    end = 0
    for member in archive:
        end = member.offset_data + -(-member.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
        if member.offset_data + member.size > size:
            problems.append((member.name, f"cut off: the shard has {size:,} bytes, this file ends after them"))
            return
        if member.isreg() and not member.issparse() and not Path(member.name).name.startswith("."):
            yield member
    if size < end + tarfile.BLOCKSIZE:
        problems.append(("its end", "the shard may be cut off: it has no mark of its end"))


def _split(name: str) -> tuple[str, str]:
    """Key and ending of a member, by the first dot of its base name."""
    folder, slash, base = name.removeprefix("./").rpartition("/")
    stem, _, ending = base.partition(".")
    return f"{folder}{slash}{stem}", ending.lower()


def _sample(key: str, found: Mapping[str, tarfile.TarInfo], file: BufferedReader) -> Sample:
    pictures = [member for ending, member in found.items() if ending in SUFFIXES]
    if len(pictures) != 1:
        raise ValueError(
            f"holds {len(pictures)} pictures, must be one; its files end with {', '.join(found) or 'nothing'}"
        )
    picture = pictures[0]
    if not picture.size:
        raise ValueError("its picture is empty")
    values = _json(found["json"], file) if "json" in found else {}
    label = _class(found["cls"], file) if "cls" in found else values.get("label")
    if not isinstance(label, str | int | None) or isinstance(label, bool):
        raise ValueError(f"its label is {brief(label)}, must be a class's name or number")
    group = values.get("group", "")
    return Sample(key, picture.offset_data, picture.size, label, group if isinstance(group, str) else "")


def _class(member: tarfile.TarInfo, file: BufferedReader) -> str | int:
    text = _content(member, file).decode("utf-8").strip()
    return int(text) if text.removeprefix("-").isdecimal() and len(text) < 11 else text


def _json(member: tarfile.TarInfo, file: BufferedReader) -> Mapping[str, Any]:
    try:
        value = json.loads(_content(member, file))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"its .json can't be read ({error})") from error
    return value if isinstance(value, dict) else {}


def _content(member: tarfile.TarInfo, file: BufferedReader) -> bytes:
    if member.size > _MAX_LABEL_BYTES:
        raise ValueError(f"its .{suffix_of(member.name)} has {member.size:,} bytes, too many for a label")
    file.seek(member.offset_data)
    return file.read(member.size)


def _digest(file: BufferedReader) -> tuple[int, str]:
    """Bytes and sha256 of the file."""
    digest, size = sha256(), 0
    file.seek(0)
    while part := file.read(_PART_BYTES):
        digest.update(part)
        size += len(part)
    return size, digest.hexdigest()
