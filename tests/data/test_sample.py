"""The sample data set is a valid KITTI set, the same for the same seed, and not for a linear classifier."""

import math
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from sklearn.linear_model import LogisticRegression

from tao_lite.data.sample import draw
from tao_lite.errors import DataError, RunError

# The camera that the labels are made for: half of KITTI's camera 2 (focal length 721.5, principal point 609.6, 172.9).
FOCAL, CENTRE, WIDTH, HEIGHT = 360.8, np.array((304.8, 86.4)), 620, 188
CLASSES = ("Car", "Cyclist", "Pedestrian", "Truck", "Van")


@dataclass(frozen=True)
class Label:
    name: str
    truncated: float
    occluded: int
    alpha: float
    box: NDArray[np.float64]
    size: NDArray[np.float64]
    location: NDArray[np.float64]
    rotation_y: float


def _read(path: Path) -> list[Label]:
    labels = []
    for line in path.read_text(encoding="utf-8").splitlines():
        name, *columns = line.split(" ")
        assert len(columns) == 14, line
        truncated, occluded, alpha, *rest, rotation_y = map(float, columns)
        assert occluded == int(occluded), line
        box, size, location = np.split(np.array(rest), (4, 7))
        labels.append(Label(name, truncated, int(occluded), alpha, box, size, location, rotation_y))
    return labels


def _contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sample") / "set"
    draw.write(folder, num_frames=120, seed=7)
    return folder


@pytest.fixture(scope="module")
def labels(root: Path) -> list[Label]:
    return [label for path in sorted((root / "training" / "label_2").iterdir()) for label in _read(path)]


@pytest.fixture(scope="module")
def objects(labels: list[Label]) -> list[Label]:
    return [label for label in labels if label.name != "DontCare"]


def test_each_frame_is_an_rgb_png_with_a_label_file_of_its_number(root: Path) -> None:
    images, texts = (sorted((root / "training" / folder).iterdir()) for folder in ("image_2", "label_2"))
    assert [path.name for path in images] == [f"{index:06d}.png" for index in range(120)]
    assert [path.name for path in texts] == [f"{index:06d}.txt" for index in range(120)]
    for path in images:
        with Image.open(path) as image:
            assert (image.format, image.mode, image.size) == ("PNG", "RGB", (WIDTH, HEIGHT))


def test_the_same_seed_writes_the_same_bytes_and_a_frame_does_not_depend_on_their_number(tmp_path: Path) -> None:
    for name, num_frames, seed in (("few", 2, 3), ("more", 4, 3), ("other", 2, 4)):
        draw.write(tmp_path / name, num_frames=num_frames, seed=seed)
    few, more, other = (_contents(tmp_path / name) for name in ("few", "more", "other"))
    assert len(few) == 4
    assert few == {path: data for path, data in more.items() if path in few}
    assert not set(few.values()) & set(other.values())


def test_every_object_has_valid_columns(objects: list[Label]) -> None:
    # Bounds of KITTI's object development kit; what is out of sight is not labelled.
    for label in objects:
        assert 0 <= label.truncated <= 0.9
        assert label.occluded in (0, 1, 2)
        assert -math.pi <= label.alpha <= math.pi
        assert -math.pi <= label.rotation_y <= math.pi
        left, top, right, bottom = label.box
        assert 0 <= left < right <= WIDTH - 1
        assert 0 <= top < bottom <= HEIGHT - 1
        assert label.location[2] > 0


def test_alpha_is_the_rotation_less_the_bearing(objects: list[Label]) -> None:
    # KITTI: the observation angle. Both angles are rounded to 0.01.
    for label in objects:
        bearing = math.atan2(label.location[0], label.location[2])
        assert math.cos(label.rotation_y - bearing - label.alpha) > math.cos(0.02)


def test_regions_not_judged_have_a_box_and_nothing_else(labels: list[Label]) -> None:
    regions = [label for label in labels if label.name == "DontCare"]
    assert regions
    for label in regions:
        assert (label.truncated, label.occluded, label.alpha, label.rotation_y) == (-1, -1, -10, -10)
        assert label.size.tolist() == [-1] * 3
        assert label.location.tolist() == [-1000] * 3
        assert (label.box >= 0).all()
        assert (label.box <= (WIDTH - 1, HEIGHT - 1) * 2).all()


def test_the_set_holds_five_classes_mostly_cars_some_hidden_and_some_cut(objects: list[Label]) -> None:
    counts = Counter(label.name for label in objects)
    assert tuple(sorted(counts)) == CLASSES
    assert counts.most_common(1)[0][0] == "Car"
    assert min(counts.values()) > 0.08 * len(objects)
    assert {label.occluded for label in objects} == {0, 1, 2}
    assert sum(label.truncated > 0.1 for label in objects) >= 5
    assert sum(20 <= label.box[3] - label.box[1] <= 120 for label in objects) > 0.8 * len(objects)


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("Car", (1.3, 1.5, 3.5), (1.7, 1.9, 4.8)),
        ("Van", (1.9, 1.7, 4.5), (2.6, 2.1, 6.0)),
        ("Truck", (2.8, 2.2, 6.0), (3.7, 2.7, 10.0)),
        ("Pedestrian", (1.4, 0.3, 0.2), (2.0, 1.0, 1.4)),
        ("Cyclist", (1.6, 0.4, 1.7), (2.0, 0.8, 1.9)),
    ],
)
def test_sizes_are_those_of_real_objects(
    objects: list[Label], name: str, low: tuple[float, ...], high: tuple[float, ...]
) -> None:
    # Height, width, length in metres, about the ranges in KITTI's own labels.
    for label in objects:
        if label.name == name:
            assert (label.size >= low).all(), label
            assert (label.size <= high).all(), label


def test_the_projected_solid_box_surrounds_the_flat_box(objects: list[Label]) -> None:
    # The flat box is that of the drawn outline. Rounding and the roundness of limbs cost a pixel. The outline may be
    # smaller than the solid box where the nearest corner of that is empty: a truck's load is higher than its cab, a
    # walker turned by 45 degrees has nothing at the corners.
    whole = [label for label in objects if label.truncated == 0]
    assert len(whole) > 100
    for label in whole:
        corners = _project(label)
        outer = np.concatenate([corners.min(0), corners.max(0)])
        assert (label.box[:2] >= outer[:2] - 1).all(), label
        assert (label.box[2:] <= outer[2:] + 1).all(), label
        width, height = (label.box[2:] - label.box[:2] + 1) / (outer[2:] - outer[:2])
        least = (0.5, 0.9) if label.name in ("Pedestrian", "Cyclist") else (0.95, 0.7)
        assert width >= least[0], label
        assert height >= least[1], label


def _project(label: Label) -> NDArray[np.float64]:
    """Pixels [8, 2] of the corners of the solid box, by the formulas of KITTI's development kit."""
    height, width, length = label.size
    x, y, z = np.array([(x, y, z) for x in (-length, length) for y in (0, -2 * height) for z in (-width, width)]).T / 2
    cosine, sine = math.cos(label.rotation_y), math.sin(label.rotation_y)
    points = np.array([cosine * x + sine * z, y, -sine * x + cosine * z]).T + label.location
    pixels: NDArray[np.float64] = FOCAL * points[:, :2] / points[:, 2:] + CENTRE
    return pixels


def test_a_linear_classifier_of_pixels_learns_something_but_not_enough(root: Path) -> None:
    # Measured: 52 to 60 % with the 100 training frames here, 65 % with 320, where it must stay below 75 %. Always
    # saying Car scores 30 %: labels that did not lie on the drawn objects would leave it there.
    pixels, names, frames = _crops(root)
    known = frames % 5 != 0
    pixels = (pixels - pixels[known].mean(0)) / pixels[known].std(0)
    classifier = LogisticRegression(C=0.01, max_iter=1000).fit(pixels[known], names[known])
    assert 0.4 < classifier.score(pixels[~known], names[~known]) < 0.65


def _crops(root: Path) -> tuple[NDArray[np.float32], NDArray[np.str_], NDArray[np.int64]]:
    """Pixels [n, 32 * 32 * 3], class and frame of every object that the default filters keep."""
    pixels, names, frames = [], [], []
    for path in sorted((root / "training" / "label_2").iterdir()):
        with Image.open(root / "training" / "image_2" / f"{path.stem}.png") as image:
            for label in _read(path):
                if label.name != "DontCare" and label.box[3] - label.box[1] >= 16 and label.truncated <= 0.5:
                    left, top, right, bottom = label.box
                    crop = image.resize((32, 32), Image.Resampling.BILINEAR, (left, top, right, bottom))
                    pixels.append(np.asarray(crop, dtype=np.float32).ravel())
                    names.append(label.name)
                    frames.append(int(path.stem))
    return np.stack(pixels), np.array(names), np.array(frames)


def test_a_folder_that_holds_something_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "mine.txt").write_text("mine")
    with pytest.raises(DataError, match=f"^{tmp_path}/set: not empty; choose another folder or remove it first$"):
        draw.write(tmp_path / "set", num_frames=1, seed=0)
    assert _contents(tmp_path) == {"set/mine.txt": b"mine"}


def test_an_empty_folder_is_filled_and_missing_parents_are_made(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "empty", tmp_path / "new" / "deep"):
        draw.write(folder, num_frames=1, seed=0)
        assert list(_contents(folder)) == ["training/image_2/000000.png", "training/label_2/000000.txt"]


def test_a_place_that_can_not_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=rf"^{tmp_path}/file/set: could not be written \((File exists|Not a direc.*)\)$"):
        draw.write(tmp_path / "file" / "set", num_frames=1, seed=0)


@pytest.mark.parametrize(("num_frames", "seed"), [(0, 0), (1, -1)])
def test_no_frames_or_a_negative_seed_is_refused(tmp_path: Path, num_frames: int, seed: int) -> None:
    with pytest.raises(DataError, match=f"set: {num_frames} frames with seed {seed}; ask for at least 1 frame"):
        draw.write(tmp_path / "set", num_frames=num_frames, seed=seed)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_an_interrupted_write_leaves_nothing_that_looks_whole(tmp_path: Path, number: signal.Signals) -> None:
    code = "import pathlib, tao_lite.data.sample.draw as s; s.write(pathlib.Path('set'), num_frames=10**6, seed=0)"
    process = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stderr=subprocess.DEVNULL)
    while not list(tmp_path.rglob("*.txt")):
        assert process.poll() is None, "ended before its first frame"
        time.sleep(0.01)
    process.send_signal(number)
    process.wait()
    assert not (tmp_path / "set").exists()
    if number == signal.SIGINT:
        assert not list(tmp_path.iterdir())
    draw.write(tmp_path / "set", num_frames=1, seed=0)
    assert len(_contents(tmp_path / "set")) == 2
