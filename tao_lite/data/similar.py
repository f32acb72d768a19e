"""Pictures that look alike: a fingerprint of each, and the groups among many fingerprints that agree."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

MAX_DISTANCE = 7
"""Bits of 64 in which the hashes of alike pictures may differ."""
MIN_CORRELATION = 0.94
"""How well the details of their thumbnails must agree; 1 is fully."""
MAX_LIGHTER = 48
"""Levels of 255 by which one may be lighter than the other on average."""
MIN_STEP, MIN_STEPS = 2, 0.25
"""Levels between neighbours, and the share of neighbours so far apart, below which a picture is plain (one colour, a
sky, a drawing's margin) and like no other."""

THUMBNAIL = (16, 16, 3)
"""Shape of a thumbnail: height, width, RGB."""

_CELLS = (9, 8)  # columns and rows whose neighbours are compared
_SMALL = (144, 128)  # the least size of which cells and thumbnail take whole pixels
_BAND_BITS = 16
_WINDOW = 64
_BLOCK = 4096
_RAMP = np.linspace(-1, 1, 16) / np.linalg.norm(np.linspace(-1, 1, 16))
_EVEN = np.full(16, 0.25)
# Orthonormal, float32 [768, 9]: each channel's mean, and its slopes across and down.
_SLOPES: npt.NDArray[np.float32] = np.kron(
    np.stack([np.kron(_EVEN, _EVEN), np.kron(_EVEN, _RAMP), np.kron(_RAMP, _EVEN)], axis=1), np.eye(3)
).astype(np.float32)

Indices = npt.NDArray[np.int64]


class Fingerprint(NamedTuple):
    """A difference hash of 64 bits, row by row whether luma rises to the right; and a thumbnail, uint8 [16, 16, 3]."""

    hash: int
    thumbnail: npt.NDArray[np.uint8]


def fingerprint(picture: Image.Image, box: tuple[int, int, int, int] | None) -> Fingerprint:
    """The fingerprint of an RGB picture, or of the part of it in the box. May be called from several threads."""
    small = picture.resize(_SMALL, Image.Resampling.BOX, box=box)
    luma = np.asarray(small.convert("L").resize(_CELLS, Image.Resampling.BOX))
    rises = np.packbits(luma[:, 1:] > luma[:, :-1])
    return Fingerprint(int.from_bytes(rises.tobytes(), "big"), np.asarray(small.resize((16, 16), Image.Resampling.BOX)))


def groups(hashes: npt.NDArray[np.uint64], thumbnails: npt.NDArray[np.uint8], frames: Indices) -> list[Indices]:
    """Indices of pictures that look alike, a group each, both in ascending order; a group hangs together in pairs.

    Two are alike if their hashes differ in at most MAX_DISTANCE bits, and their thumbnails agree in light and detail.
    Parts of one frame (an equal number in `frames`) are not compared. hashes [N], thumbnails [N, 16, 16, 3].

    Pairs are found by multi-index hashing: two hashes 7 bits apart differ by 1 bit at most in one of 4 bands of 16.
    Of pictures that share a band, as the frames of a still scene do, each is compared with the 64 that follow it
    in the order of the rotated hashes, so that time and memory stay in proportion to N: a film becomes a chain.
    Source: Norouzi et al., arXiv:1307.2982.
    """
    candidates = np.flatnonzero(_has_detail(thumbnails))
    roots = np.arange(len(hashes))
    for one, other in _near(hashes[candidates]):
        first, second = candidates[one], candidates[other]
        is_new = (roots[first] != roots[second]) & (frames[first] != frames[second])
        first, second = first[is_new], second[is_new]
        alike = _alike(thumbnails, first, second)
        if alike.any():
            roots = _joined(roots, first[alike], second[alike])
    order = np.argsort(roots, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(roots[order])) + 1)
    return [part for part in parts if len(part) > 1]


def _near(hashes: npt.NDArray[np.uint64]) -> Iterator[tuple[Indices, Indices]]:
    """Pairs of indices whose hashes are near, found where they differ by one bit at most in one of the bands."""
    rest = np.uint64(64 - _BAND_BITS)
    for shift in range(0, 64, _BAND_BITS):
        rotated = hashes << np.uint64(shift) | hashes >> np.uint64(64 - shift) if shift else hashes
        order = np.argsort(rotated)
        rotated = rotated[order]
        bands = (rotated >> rest).astype(np.int64)
        ends = np.cumsum(np.bincount(bands, minlength=2**_BAND_BITS))
        for flip in (0, *(1 << bit for bit in range(_BAND_BITS))):
            starts = np.searchsorted(rotated, rotated ^ np.uint64(flip) << rest) if flip else 1 + np.arange(len(order))
            for one, other in _in_windows(rotated, starts, ends[bands ^ flip]):
                yield order[one], order[other]


def _in_windows(hashes: npt.NDArray[np.uint64], starts: Indices, ends: Indices) -> Iterator[tuple[Indices, Indices]]:
    """Indices of hashes, each with one of those at `starts` to `ends`, _WINDOW at most, that is near."""
    places = np.arange(len(hashes))
    for offset in range(_WINDOW):
        places = places[starts[places] + offset < ends[places]]
        others = starts[places] + offset
        near = np.bitwise_count(hashes[places] ^ hashes[others]) <= MAX_DISTANCE
        if near.any():
            yield places[near], others[near]


def _has_detail(thumbnails: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Which thumbnails have enough neighbours that differ from left to right."""
    enough = np.zeros(len(thumbnails), np.bool_)
    for block in _blocks(len(thumbnails)):
        steps = np.abs(np.diff(thumbnails[block].astype(np.int16), axis=2)).max(axis=3)
        enough[block] = (steps >= MIN_STEP).mean(axis=(1, 2)) >= MIN_STEPS
    return enough


def _alike(thumbnails: npt.NDArray[np.uint8], first: Indices, second: Indices) -> npt.NDArray[np.bool_]:
    """Which pairs of thumbnails agree in light and detail."""
    alike = np.zeros(len(first), np.bool_)
    for block in _blocks(len(first)):
        one, other = (thumbnails[side[block]].reshape(-1, len(_SLOPES)).astype(np.float32) for side in (first, second))
        lighter = np.abs(one.mean(axis=1) - other.mean(axis=1))
        one, other = _detail(one), _detail(other)
        powers = (one**2).sum(axis=1) * (other**2).sum(axis=1)
        alike[block] = (lighter <= MAX_LIGHTER) & ((one * other).sum(axis=1) > MIN_CORRELATION * np.sqrt(powers))
    return alike


def _detail(thumbnails: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """What is left of each channel less its mean and its slopes: skies and walls are alike in those, copies in all."""
    detail: npt.NDArray[np.float32] = thumbnails - np.matmul(thumbnails @ _SLOPES, _SLOPES.T, dtype=np.float32)
    return detail


def _blocks(length: int) -> list[slice]:
    return [slice(first, first + _BLOCK) for first in range(0, length, _BLOCK)]


def _joined(roots: Indices, first: Indices, second: Indices) -> Indices:
    """The roots when these pairs have been joined: of each group the lowest index."""
    for one, other in zip(first.tolist(), second.tolist(), strict=True):
        low, high = sorted((_root(roots, one), _root(roots, other)))
        roots[high] = low
    while (roots != (above := roots[roots])).any():
        roots = above
    return roots


def _root(roots: Indices, index: int) -> int:
    while roots[index] != index:
        index = int(roots[index])
    return index
