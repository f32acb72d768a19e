"""Every picture and label of a data set looked at: what training would leave out, and what a person may not expect."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import combinations, islice
from pathlib import Path

from tao_lite import console
from tao_lite.data.decode import decode, header, open_picture
from tao_lite.data.example import Example
from tao_lite.errors import DataError
from tao_lite.host import usable_cores
from tao_lite.stages.dataset_sources import Source

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
class Finding:
    """Something about one place.

    kind: dataset, broken, label or mislabelled, which are errors; suffix, mode or double, which are remarks.
    """

    severity: str
    kind: str
    place: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Result:
    """All findings, errors first, and how many examples and pictures were looked at."""

    findings: tuple[Finding, ...]
    num_examples: int
    num_pictures: int

    @property
    def num_errors(self) -> int:
        return sum(finding.severity == ERROR for finding in self.findings)


@dataclass(frozen=True)
class _Picture:
    """What was found in one picture, and a digest of its bytes; empty if they can't be read."""

    findings: tuple[Finding, ...]
    digest: bytes = b""


def check(sources: Sequence[Source], reported: list[tuple[str, str]]) -> Result:
    """Look at every example of these data sets. `reported`: the list to which their reports go."""
    findings: list[Finding] = []
    examples: dict[str, list[Example]] = {}
    for source in sources:
        try:
            examples[source.name] = source.read()
        except DataError as error:
            findings.append(Finding(ERROR, "dataset", str(source.root), str(error)))
    findings += [Finding(ERROR, "label", place, problem) for place, problem in reported]
    findings += _foreign_classes(examples)
    frames: dict[Path, list[Example]] = {}
    for example in (example for side in examples.values() for example in side):
        frames.setdefault(example.path, []).append(example)
    pictures = dict(zip(frames, _looked_at(list(frames.values())), strict=True))
    findings += [finding for picture in pictures.values() for finding in picture.findings]
    findings += _doubles(examples, {path: picture.digest for path, picture in pictures.items()})
    num_examples = sum(map(len, examples.values()))
    # A picture in two splits is found twice.
    findings = sorted(set(findings))
    return Result(findings=tuple(findings), num_examples=num_examples, num_pictures=len(pictures))


def _looked_at(frames: Sequence[list[Example]]) -> Iterator[_Picture]:
    rest = iter(frames)
    done = 0
    with ThreadPoolExecutor(usable_cores()) as pool, console.Progress() as progress:
        progress.begin("Checking pictures", total=len(frames))
        while part := list(islice(rest, _NUM_AT_ONCE)):
            yield from pool.map(_look, part)
            done += len(part)
            progress.advance(done)


def _look(examples: Sequence[Example]) -> _Picture:
    """What is to be said of one picture, from which these examples are cut."""
    path, span = examples[0].path, examples[0].span
    try:
        with open_picture(path, span) as file:
            digest = hashlib.blake2b(file.read(), digest_size=16).digest()
        head = header(path, span)
        height, width, _ = decode(path, 3, span).shape
    except DataError as error:
        return _Picture((Finding(ERROR, "broken", str(path), str(error).removeprefix(f"{path}: ")),))
    findings = []
    suffix = path.suffix[1:].lower()
    if span is None and suffix not in _SUFFIXES[head.format]:
        findings.append(Finding(REMARK, "suffix", str(path), f"holds {head.format}, read as that"))
    if head.is_animated and head.format != "MPO":
        findings.append(Finding(REMARK, "mode", str(path), "an animation, of which the first picture is taken"))
    if head.mode in _MODES or head.mode.startswith("I"):
        text = _MODES.get(head.mode, "more than 8 bits, of which the high ones are taken")
        findings.append(Finding(REMARK, "mode", str(path), text))
    findings += [
        Finding(ERROR, "label", str(path), f"the box {example.box} lies outside the picture of {width} x {height}")
        for example in examples
        if example.box and (example.box[2] > width or example.box[3] > height)
    ]
    return _Picture((*findings, *_contradictions(examples)), digest)


def _contradictions(examples: Sequence[Example]) -> Iterator[Finding]:
    """Boxes of one picture that are nearly the same and of different classes."""
    boxed = [(example, example.box) for example in examples if example.box][:_MAX_COMPARED]
    for (one, box), (other, other_box) in combinations(boxed, 2):
        if one.label != other.label and _overlap(box, other_box) > _SAME_OBJECT:
            text = f"{one.label!r} and {other.label!r} are labels of nearly the same box, {box} and {other_box}"
            yield Finding(ERROR, "mislabelled", str(one.path), text)


def _overlap(box: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> float:
    """What two boxes share, as a share of what they cover together."""
    across = min(box[2], other[2]) - max(box[0], other[0])
    down = min(box[3], other[3]) - max(box[1], other[1])
    shared = max(across, 0) * max(down, 0)
    areas = [(right - left) * (bottom - top) for left, top, right, bottom in (box, other)]
    return shared / (sum(areas) - shared)


def _foreign_classes(examples: dict[str, list[Example]]) -> Iterator[Finding]:
    """Classes of other splits that training does not have: such a training would not start."""
    known = {example.label for example in examples.get("train", [])}
    for name, side in examples.items():
        counts = Counter(example.label for example in side if known and example.label not in known)
        for label, count in sorted(counts.items()):
            text = f"{count} examples of {label!r}, a class that training does not have"
            yield Finding(ERROR, "mislabelled", name, text)


def _doubles(examples: dict[str, list[Example]], digests: dict[Path, bytes]) -> Iterator[Finding]:
    """Equal pictures: under different classes one label is wrong; in training and beside, its score means little."""
    seen: dict[bytes, tuple[str, Example]] = {}
    for name, side in examples.items():
        for example in _one_per_picture(side):
            digest = digests.get(example.path)
            if not digest:
                continue
            first_name, first = seen.setdefault(digest, (name, example))
            if first is example:
                continue
            same = f"the same picture as {first.path}"
            if example.box is None and first.box is None and example.label != first.label:
                text = f"{same}, which is {first.label!r} and not {example.label!r}"
                yield Finding(ERROR, "mislabelled", str(example.path), text)
            else:
                where = f", once in {first_name} and once in {name}" if name != first_name else ""
                yield Finding(REMARK, "double", str(example.path), same + where)


def _one_per_picture(examples: Iterable[Example]) -> Iterable[Example]:
    return {example.path: example for example in examples}.values()
