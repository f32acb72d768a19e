"""Every picture of a data set decoded once: what is wrong or unexpected in it, its size, digest and fingerprints."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import combinations, islice
from pathlib import Path

from PIL import Image

from tao_lite.data import quality
from tao_lite.data.decode import decode, depth, header, picture_bytes
from tao_lite.data.deep import Depth
from tao_lite.data.depth import remark
from tao_lite.data.example import Example
from tao_lite.data.quality import Measures
from tao_lite.data.similar import Fingerprint, fingerprint
from tao_lite.errors import DataError
from tao_lite.machine.host import usable_cores
from tao_lite.monitor import console

ERROR, REMARK = "error", "remark"

_SUFFIXES = {
    "JPEG": ("jpg", "jpeg", "jpe", "jfif"),
    "MPO": ("jpg", "jpeg", "mpo"),
    "PNG": ("png", "apng"),
    "BMP": ("bmp", "dib"),
    "PPM": ("ppm", "pgm", "pbm", "pnm", "pfm"),
    "GIF": ("gif",),
    "TIFF": ("tif", "tiff"),
    "WEBP": ("webp",),
}
_MODES = {
    "1": "black and white, 1 bit",
    "P": "a palette, looked up",
    "LA": "transparent, laid on white",
    "PA": "transparent, laid on white",
    "RGBA": "transparent, laid on white",
    "CMYK": "CMYK, converted without its colour profile",
    "F": "floating point, taken as 0 to 1",
}
_NUM_AT_ONCE = 1024
_SAME_OBJECT = 0.9
_MAX_COMPARED = 200


@dataclass(frozen=True, order=True)
class Observation:
    """Something about one place.

    kind: dataset, broken, label or mislabelled, which are errors; suffix, mode, double or a reason of
    `quality.Finding`, which are remarks.
    """

    severity: str
    kind: str
    place: str
    text: str


@dataclass(frozen=True)
class Picture:
    """What was found in one picture; unless it is broken, a digest of its bytes, its width and height.

    fingerprints: one for each of its examples, None for a box that reaches outside; empty where none were asked for.
    measures: likewise, and always there. depth: of one of more than 8 bits.
    """

    observations: tuple[Observation, ...]
    digest: bytes = b""
    size: tuple[int, int] | None = None
    fingerprints: tuple[Fingerprint | None, ...] = ()
    depth: Depth | None = None
    measures: tuple[Measures | None, ...] = ()


def depths(found: Iterable[Picture], full_scale: float, place: str) -> Iterator[Observation]:
    """What the pictures of more than 8 bits make of their range, all together."""
    if text := remark([picture.depth for picture in found if picture.depth], full_scale):
        yield Observation(REMARK, "depth", place, text)


def by_picture(examples: Iterable[Example]) -> dict[Path, list[Example]]:
    """The examples by the picture that they are cut from."""
    found: dict[Path, list[Example]] = {}
    for example in examples:
        found.setdefault(example.path, []).append(example)
    return found


def doubtful(
    frames: Iterable[Sequence[Example]], found: Iterable[Picture], input_size: tuple[int, int] | None
) -> Iterator[Observation]:
    """What `findings` says, as observations."""
    for one in findings(frames, found, input_size):
        box = f"the box {one.box}: " if one.box else ""
        yield Observation(REMARK, one.reason, str(one.path), f"{box}{one.detail}")


def findings(
    frames: Iterable[Sequence[Example]], found: Iterable[Picture], input_size: tuple[int, int] | None
) -> Iterator[quality.Finding]:
    """What `quality.findings` says of these groups of examples, the picture of each looked at."""
    looked_at = [
        quality.Frame(examples, picture.size, picture.measures)
        for examples, picture in zip(frames, found, strict=True)
        if picture.size
    ]
    return quality.findings(looked_at, input_size)


def pictures(frames: Sequence[Sequence[Example]], *, with_fingerprints: bool = False) -> Iterator[Picture]:
    """The pictures from which these groups of examples are cut, in order; a bar shows how far it has come."""
    rest = iter(frames)
    done = 0
    # Off a terminal the progress would be lines in the middle of --json.
    with ThreadPoolExecutor(usable_cores()) as pool, console.Progress(is_main=console.is_terminal()) as progress:
        progress.begin("Checking pictures", total=len(frames))
        while part := list(islice(rest, _NUM_AT_ONCE)):
            yield from pool.map(partial(_look, with_fingerprints), part)
            done += len(part)
            progress.advance(done)


def _look(with_fingerprints: bool, examples: Sequence[Example]) -> Picture:
    path, span = examples[0].path, examples[0].span
    try:
        digest = hashlib.blake2b(picture_bytes(path, span), digest_size=16).digest()
        head = header(path, span)
        pixels = decode(path, 3, span, examples[0].full_scale)
        deep = depth(path, span)
    except DataError as error:
        return Picture((Observation(ERROR, "broken", str(path), str(error).removeprefix(f"{path}: ")),))
    height, width, _ = pixels.shape
    observations = []
    suffix = path.suffix[1:].lower()
    if span is None and suffix not in _SUFFIXES[head.format]:
        observations.append(Observation(REMARK, "suffix", str(path), f"holds {head.format}, read as that"))
    if head.is_animated and head.format != "MPO":
        observations.append(Observation(REMARK, "mode", str(path), "an animation, of which the first picture is taken"))
    if head.mode in _MODES or head.mode.startswith("I"):
        text = _MODES.get(head.mode, "more than 8 bits, of which the high ones are taken")
        observations.append(Observation(REMARK, "mode", str(path), text))
    observations += [
        Observation(ERROR, "label", str(path), f"the box {example.box} lies outside the picture of {width} x {height}")
        for example in examples
        if _is_outside(example, width, height)
    ]
    image = Image.fromarray(pixels) if with_fingerprints else None
    inside = [None if _is_outside(example, width, height) else example for example in examples]
    return Picture(
        observations=(*observations, *_contradictions(examples)),
        digest=digest,
        size=(width, height),
        fingerprints=tuple(fingerprint(image, one.box) if one else None for one in inside) if image else (),
        depth=deep,
        measures=tuple(quality.measure(pixels, one.box) if one else None for one in inside),
    )


def _is_outside(example: Example, width: int, height: int) -> bool:
    return example.box is not None and (example.box[2] > width or example.box[3] > height)


def _contradictions(examples: Sequence[Example]) -> Iterator[Observation]:
    """Boxes of one picture that are nearly the same and of different classes."""
    boxed = [(example, example.box) for example in examples if example.box][:_MAX_COMPARED]
    for (one, box), (other, other_box) in combinations(boxed, 2):
        if one.label != other.label and _overlap(box, other_box) > _SAME_OBJECT:
            text = f"{one.label!r} and {other.label!r} are labels of nearly the same box, {box} and {other_box}"
            yield Observation(ERROR, "mislabelled", str(one.path), text)


def _overlap(box: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> float:
    """What two boxes share, as a share of what they cover together."""
    across = min(box[2], other[2]) - max(box[0], other[0])
    down = min(box[3], other[3]) - max(box[1], other[1])
    shared = max(across, 0) * max(down, 0)
    areas = [(right - left) * (bottom - top) for left, top, right, bottom in (box, other)]
    return shared / (sum(areas) - shared)
