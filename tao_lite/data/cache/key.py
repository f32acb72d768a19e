"""What the pixels in a cache depend on: files, boxes, settings, code. Any difference gives another key."""

import functools
import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import __version__ as pillow_version
from PIL import features

from tao_lite.data import decode, deep, geometry
from tao_lite.data.example import Example
from tao_lite.data.remote import limits
from tao_lite.files.noting import NO_FILE, stamp


def stamps(examples: Iterable[Example]) -> npt.NDArray[np.uint64]:
    """A number for the state of each example's file, which another content changes; 0 where there is no file."""
    last_path, last = None, NO_FILE
    numbers = []
    for example in examples:
        path = _file(example)
        if path != last_path:  # Objects of a frame and records of a file follow each other.
            last_path, last = path, _stamp(path)
        numbers.append(last)
    return np.array(numbers, np.uint64)


def is_unchanged(example: Example, expected: np.uint64) -> bool:
    """Whether the example's file is there and in the state of that stamp."""
    return expected != NO_FILE and _stamp(_file(example)) == int(expected)


def _stamp(path: Path) -> int:
    """Of a shard that is fetched, what its store says of it, whether it is here or not."""
    if state := limits.state(path):
        return int.from_bytes(hashlib.blake2b(state.encode(), digest_size=8).digest(), "little") or 1
    return stamp(path)


def key(examples: Sequence[Example], files: npt.NDArray[np.uint64], settings: Sequence[object]) -> bytes:
    """32 bytes that differ where the examples, the stamps of their files, the settings or the decoding code do."""
    digest = hashlib.blake2b(digest_size=32)
    digest.update(repr((_code(), list(settings), len(examples))).encode())
    for example in examples:
        place = example.span[1:] if example.span else None
        digest.update(
            f"{_file(example)}\0{example.box}\0{place}\0{example.full_scale}\n".encode("utf-8", "surrogateescape")
        )
    digest.update(files.tobytes())
    return digest.digest()


def _file(example: Example) -> Path:
    return example.span.file if example.span else example.path


@functools.cache
def _code() -> str:
    """What turns files into pixels. The source itself, so that nobody has to remember to count a version up."""
    sources = [Path(module.__file__).read_bytes() for module in (decode, deep, geometry) if module.__file__]
    versions = [features.version(name) for name in ("libjpeg_turbo", "jpg", "zlib", "libtiff", "webp")]
    versions.append(decode.SIMPLEJPEG_VERSION)
    return repr((pillow_version, versions, hashlib.blake2b(b"".join(sources)).hexdigest()))
