"""Files of records as TensorFlow writes them: length, checksum, content, checksum. Needs no TensorFlow.

Source: https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details
"""

import logging
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import google_crc32c

from tao_lite.data.left_out import LeftOut
from tao_lite.errors import DataError, ReadError
from tao_lite.files import reading

# What protobuf can hold; nobody is to make this process ask for more memory.
MAX_LENGTH = 2**31 - 1

_log = logging.getLogger(__name__)

_HEADER = struct.Struct("<QI")
_CHECKSUM = struct.Struct("<I")


class Record(NamedTuple):
    """One record: its number in the file, from 1, where its content starts there, and the content."""

    number: int
    offset: int
    content: bytes


def records(path: Path, report: LeftOut) -> Iterator[Record]:
    """The intact records of a file, in order; each other one is reported as file#number.

    A wrong content costs one record. After a wrong length nobody knows where the next record starts: the rest of the
    file is left out.
    """
    try:
        yield from _records(path, report)
    except (DataError, ReadError) as error:
        report(str(path), str(error).removeprefix(f"{path}: "))


def is_record_file(path: Path) -> bool:
    """Whether the file starts with the length of a record and its checksum."""
    try:
        header = reading.retried(path, lambda: _head(path))
    except DataError:
        return False
    except ReadError as error:
        _log.warning("%s; passed over", error)
        return False
    return len(header) == _HEADER.size and _HEADER.unpack(header)[1] == _masked(header[:8])


def _head(path: Path) -> bytes:
    with reading.open_regular(path, DataError) as file:
        return file.read(_HEADER.size)


def _records(path: Path, report: LeftOut) -> Iterator[Record]:
    with reading.open_regular(path, DataError) as file:
        size = os.fstat(file.fileno()).st_size
        start, number = 0, 0

        def content() -> tuple[int, bytes | None]:
            file.seek(start)
            return _content(file, start, size)

        while start < size:
            number += 1
            try:
                end, found = reading.retried(path, content)
            except ValueError as error:
                report(f"{path}#{number}", f"{error}; left out with the {size - start:,} bytes from there to the end")
                return
            if found is None:
                report(f"{path}#{number}", "damaged: the checksum of its content is wrong")
            else:
                yield Record(number, start + _HEADER.size, found)
            if found == b"" and (more := _num_empty(file, end)):
                report(f"{path}#{number}", f"is empty, as are the {more:,} records after it")
                number, end = number + more, end + more * len(_EMPTY)
            start = end


def _num_empty(file: BinaryIO, start: int) -> int:
    """How many empty records stand there one after the other: millions take no room, and are told in one line."""
    block = _EMPTY * _NUM_AT_ONCE
    count = 0
    file.seek(start)
    while (found := file.read(len(block))) == block:
        count += _NUM_AT_ONCE
    return count + next(place for place in range(_NUM_AT_ONCE + 1) if not found.startswith(_EMPTY, place * len(_EMPTY)))


def framed(content: bytes) -> bytes:
    """The content as a record."""
    length = struct.pack("<Q", len(content))
    return b"".join((length, _CHECKSUM.pack(_masked(length)), content, _CHECKSUM.pack(_masked(content))))


def _content(file: BinaryIO, start: int, size: int) -> tuple[int, bytes | None]:
    """Where the record that starts here ends, and its content; None if its checksum is wrong.

    Raises:
        ValueError: there is no saying where the record ends, or the file ends first.
    """
    header = file.read(_HEADER.size)
    if not start and header.startswith(b"\x1f\x8b"):
        raise ValueError("compressed with gzip; unpack it first with gunzip")
    if len(header) < _HEADER.size:
        raise ValueError("cut off inside the length of the record")
    length, checksum = _HEADER.unpack(header)
    if _masked(header[:8]) != checksum:
        raise ValueError("damaged: the checksum of its length is wrong")
    left = size - start - _HEADER.size - _CHECKSUM.size
    if length > left:
        raise ValueError(f"cut off: the record is of {length:,} bytes, the file has {max(left, 0):,} more")
    if length > MAX_LENGTH:
        raise ValueError(f"of {length:,} bytes, more than the {MAX_LENGTH:,} that a record can have")
    content, end = file.read(length), file.read(_CHECKSUM.size)
    if len(content) + len(end) < length + _CHECKSUM.size:
        raise ValueError("cut off: the file has become shorter")
    is_whole = _CHECKSUM.unpack(end)[0] == _masked(content)
    return start + _HEADER.size + length + _CHECKSUM.size, content if is_whole else None


def _masked(content: bytes) -> int:
    """CRC-32C, turned by 15 bits and shifted, so that the checksum of a checksum is no fixed value."""
    crc: int = google_crc32c.value(content)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


_EMPTY, _NUM_AT_ONCE = framed(b""), 2**16
