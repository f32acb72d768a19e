"""Arrays in one file, mapped into memory where they are read: a head of JSON, then the numbers. Nothing is unpickled.

    magic, checksum of all that follows, length of the head: 16 bytes | head | arrays, each from a multiple of 16

Processes that map the same file have its pages once. It is replaced and never changed: whoever has mapped the one
before goes on with that.
"""

import itertools
import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import google_crc32c
import numpy as np
import numpy.typing as npt

from tao_lite.files import writing

Arrays = Mapping[str, npt.NDArray[Any]]

_MAGIC = b"TAOARR1\0"
_START = struct.Struct("<8sII")
_ALIGNED = 16
_PART_BYTES = 2**20


def write(path: Path, head: Mapping[str, Any], arrays: Arrays) -> None:
    """Put arrays of numbers at the path, with a head of plain values, as `writing.new_file` does.

    Raises:
        RunError: as new_file.
    """
    forms = {name: [array.dtype.str, list(array.shape)] for name, array in arrays.items()}
    text = json.dumps({"arrays": forms, "head": head}).encode()
    num_bytes = len(text) + sum(array.nbytes for array in arrays.values())
    with writing.new_file(path, num_bytes, is_synced=False) as file:
        file.seek(_START.size)
        for content in itertools.chain([text], (array.tobytes() for array in arrays.values())):
            file.write(content)
            file.write(bytes(-file.tell() % _ALIGNED))
        file.seek(_START.size)
        checksum = _checksum(file)
        file.seek(0)
        file.write(_START.pack(_MAGIC, checksum, len(text)))


def read(path: Path) -> tuple[Mapping[str, Any], Arrays] | None:
    """The head and the arrays, which are read-only; None where the file is damaged or none of these.

    Raises:
        OSError: there is no such file, or it can't be read.
    """
    with path.open("rb") as file:
        start = file.read(_START.size)
        if len(start) < _START.size:
            return None
        magic, checksum, length = _START.unpack(start)
        if magic != _MAGIC or _checksum(file) != checksum:
            return None
        file.seek(_START.size)
        found = json.loads(file.read(length))
        content = np.memmap(file, np.uint8, "r")
    arrays, offset = {}, _aligned(_START.size + length)
    for name, (form, shape) in found["arrays"].items():
        array = np.frombuffer(content, form, int(np.prod(shape)), offset).reshape(shape)
        arrays[name] = array
        offset = _aligned(offset + array.nbytes)
    return found["head"], arrays


def _checksum(file: BinaryIO) -> int:
    """Of what follows in the file."""
    checksum = 0
    while part := file.read(_PART_BYTES):
        checksum = google_crc32c.extend(checksum, part)
    return checksum


def _aligned(offset: int) -> int:
    return offset + -offset % _ALIGNED
