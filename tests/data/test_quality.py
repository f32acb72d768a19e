"""Doubtful examples: planted faults are found, and their neighbours are not."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from tao_lite.data.decode import decode
from tao_lite.data.example import Example
from tao_lite.data.formats import listing
from tao_lite.data.left_out import LeftOut
from tao_lite.data.quality import Box, Finding, Frame, Measures, findings, measure

Pixels = npt.NDArray[np.uint8]


def boxed(*boxes: tuple[str, Box], size: tuple[int, int] = (400, 300)) -> Frame:
    examples = [Example(Path("1.png"), name, "1", box=box) for name, box in boxes]
    return Frame(examples, size, [None] * len(examples))


def reasons(found: Sequence[Finding]) -> list[tuple[str, Box | None, str]]:
    return [(one.reason, one.box, one.detail) for one in found]


def frames(pictures: Sequence[Pixels]) -> list[Frame]:
    return [
        Frame([Example(Path(f"{number}.png"), "a", str(number))], one.shape[1::-1], [measure(one, None)])
        for number, one in enumerate(pictures)
    ]


def textured(seed: int, height: int = 150, width: int = 200) -> Pixels:
    """Patches of all light levels with sharp edges, and noise."""
    rng = np.random.default_rng(seed)
    patches = rng.integers(30, 226, (height // 10, width // 10, 3))
    noisy = np.kron(patches, np.ones((10, 10, 1))) + rng.normal(0, 5, (height, width, 3))
    return np.clip(noisy, 0, 255).astype(np.uint8)


def test_boxes_are_small_cut_or_covered() -> None:
    """20 x 10 of 170 x 90 is enlarged 8.5 and 9 times; 60 x 60 lies to 80 % in the lorry's box."""
    small, at_edge, filling, inside = (50, 50, 70, 60), (0, 100, 90, 300), (0, 20, 400, 290), (200, 200, 260, 260)
    frame = boxed(("car", small), ("car", at_edge), ("van", inside), ("lorry", (212, 190, 300, 280)), ("van", filling))
    found = reasons(list(findings([frame], (90, 170))))
    assert ("small", small, "20 x 10 pixels, where the network reads 170 x 90") in found
    assert [one for one in found if one[0] == "small"] == [found[0]]
    assert [one[1:] for one in found if one[0] == "cut"] == [(at_edge, "ends at the left and bottom of the picture")]
    assert ("covered", inside, "80% of it lie in a box of lorry") in found
    assert not [one for one in findings([frame]) if one.reason == "small"]


def test_box_of_the_same_class_covers_none() -> None:
    frame = boxed(("car", (100, 100, 200, 200)), ("car", (110, 110, 150, 150)))
    assert not list(findings([frame]))


def test_whole_picture_is_small_for_a_large_network_only() -> None:
    frame = Frame([Example(Path("1.png"), "a", "1")], (32, 32), [None])
    assert [one.reason for one in findings([frame], (512, 512))] == ["small"]
    assert not list(findings([frame], (224, 224)))


def test_blurred_dark_and_bright_pictures_are_found_among_others() -> None:
    pictures = [textured(seed) for seed in range(30)]
    pictures[3] = cv2.GaussianBlur(pictures[3], (0, 0), 6).astype(np.uint8)
    pictures[5] = np.clip(pictures[5].astype(int) - 170, 0, 255).astype(np.uint8)
    pictures[7] = np.clip(pictures[7].astype(int) + 170, 0, 255).astype(np.uint8)
    found = [(one.path.name, one.reason) for one in findings(frames(pictures))]
    assert found == [("3.png", "blurred"), ("5.png", "dark"), ("7.png", "bright")]


@pytest.mark.parametrize("name", ["drawings", "fewer", "alike"])
def test_what_a_set_has_in_common_is_no_fault(name: str) -> None:
    """Drawings on white; too few to compare; sets whose deviations are tiny, where one is half as sharp."""
    pictures = [textured(seed) for seed in range(30)]
    if name == "drawings":
        for one in pictures:
            one[:, :150] = 255
    elif name == "fewer":
        pictures = [np.zeros_like(pictures[0]), *pictures[:10]]
    else:
        pictures[3] = (pictures[3] // 2 + 60).astype(np.uint8)
    assert not list(findings(frames(pictures)))


def test_measures_are_those_of_the_box() -> None:
    """Black, but for white columns 40 .. 59 of 100."""
    pixels = np.zeros((50, 100, 3), np.uint8)
    pixels[:, 40:60] = 255
    assert measure(pixels, (0, 0, 40, 50)) == Measures(0, 1, 0)
    assert measure(pixels, (50, 0, 70, 50))[1:] == (0.5, 0.5)
    assert measure(pixels, (50, 0, 51, 1)) == Measures(0, 0, 1)
    large = np.kron(pixels, np.ones((8, 8, 1), np.uint8))
    assert measure(large, None)[1:] == pytest.approx((0.8, 0.2), abs=0.02)


def test_planted_blur_is_found_in_photos(shared: Path) -> None:
    """Every tenth of 240 ImageNet photos blurred as a lens out of focus does: sigma 5 of 224 pixels."""
    folder = shared / "data/folders/imagenette_tiny/train"
    paths = sorted(listing.images_below(folder, LeftOut()))
    pictures = [decode(path, 3) for path in paths]
    for index in range(0, len(pictures), 10):
        pictures[index] = cv2.GaussianBlur(pictures[index], (0, 0), max(pictures[index].shape) * 5 / 224).astype(
            np.uint8
        )
    found = {int(one.path.stem) for one in findings(frames(pictures)) if one.reason == "blurred"}
    planted = set(range(0, len(pictures), 10))
    assert len(found & planted) >= 0.9 * len(planted)
    assert len(found - planted) <= 0.01 * len(pictures)
