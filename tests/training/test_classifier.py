"""The trained network in a program: the numbers of the command, for whatever holds an image."""

import csv
import doctest
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image

import tao_lite
from tao_lite.errors import CheckpointError, DataError, RunError
from tao_lite.training.classifier import Classifier, Picture
from tests.test_pipeline import spec, trained
from tests.test_pipeline import tao_lite as command

pytestmark = pytest.mark.slow

__all__ = ["spec", "trained"]  # fixtures


@pytest.fixture(scope="session")
def network(trained: Path) -> Classifier:
    return tao_lite.load(trained / "weights" / "best.pth", device="cpu")


@pytest.fixture(scope="session")
def paths(colours: Path) -> list[Path]:
    return sorted(colours.rglob("*.png"))


def test_the_numbers_are_those_of_the_command(
    network: Classifier, trained: Path, paths: list[Path], colours: Path, tmp_path: Path
) -> None:
    finished = command("inference", "-m", trained / "weights" / "best.pth", "-d", colours, "-r", tmp_path)
    assert finished.returncode == 0, finished.stderr
    rows = list(csv.DictReader((tmp_path / "predictions.csv").read_text().splitlines()))
    assert [row["path"] for row in rows] == list(map(str, paths))
    assert network.class_names == ("blue", "green", "red")
    assert network.probabilities(paths) == [[float(row[name]) for name in network.class_names] for row in rows]
    assert network.predict(paths) == [(row["class"], float(row["confidence"])) for row in rows]


def test_arrays_and_pictures_give_the_numbers_of_their_files(
    network: Classifier, paths: list[Path], tmp_path: Path
) -> None:
    on_its_side, exif = tmp_path / "photo.jpg", Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    with Image.open(paths[0]) as picture:
        picture.save(on_its_side, exif=exif)
    files = [on_its_side, *paths[::17]]
    expected = network.probabilities(files)
    pictures = [Image.open(path) for path in files]
    assert network.probabilities(pictures) == expected
    assert network.probabilities([str(on_its_side), *(np.asarray(one) for one in pictures[1:])]) == expected


def test_grey_arrays_are_grey_pictures(network: Classifier) -> None:
    plane = np.random.default_rng(0).integers(0, 256, (50, 40), dtype=np.uint8)
    flat, deep, coloured = network.probabilities([plane, plane[:, :, None], np.stack([plane] * 3, axis=2)])
    assert flat == deep == coloured


def test_another_batch_size_changes_nothing_but_the_rounding(network: Classifier, paths: list[Path]) -> None:
    one_by_one = torch.tensor(network.probabilities(paths[:9], batch_size=1))
    assert torch.allclose(one_by_one, torch.tensor(network.probabilities(paths[:9])), atol=1e-6)


def test_the_module_computes_what_is_predicted_from_what_preprocess_gives(network: Classifier) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    with torch.inference_mode():
        found = network.module(network.preprocess(images)).softmax(dim=1)
    assert torch.allclose(found, torch.tensor(network.probabilities(list(pixels))), atol=1e-5)
    assert not network.module.training


def test_no_images_are_no_rows(network: Classifier) -> None:
    assert network.predict([]) == []


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ("no.png", "no.png: no such file; check the path; repair it or leave it out"),
        (np.zeros((4, 4, 3)), "images[1]: is an array of float64 [4, 4, 3]; must be uint8 [H, W, 3] in RGB, or"),
        (np.zeros((4, 4, 4), np.uint8), "images[1]: is an array of uint8 [4, 4, 4]; must be uint8 [H, W, 3] in RGB"),
        (np.zeros((0, 4), np.uint8), "images[1]: is an array of uint8 [0, 4]; must be uint8"),
        (np.zeros(4, np.uint8), "images[1]: is an array of uint8 [4]; must be uint8"),
        (b"png", "images[1]: is a bytes; must be a path, an array or a picture of Pillow's"),
        (Image.new("I", (4, 4)), "images[1]: can't be decoded: 32-bit or signed pixels have no known full scale"),
    ],
)
def test_what_is_no_image_is_named_with_the_remedy(network: Classifier, image: Picture, message: str) -> None:
    with pytest.raises(DataError, match=f"^{re.escape(message)}"):
        network.predict([np.zeros((4, 4), np.uint8), image])


@pytest.mark.parametrize("image", ["a.png", Path("a.png"), np.zeros((4, 4, 3), np.uint8), Image.new("L", (4, 4))])
def test_an_image_alone_is_asked_for_in_a_list(network: Classifier, image: Picture) -> None:
    with pytest.raises(DataError, match=r"^images: a single \w+, must be a sequence of images; put it in a list$"):
        network.predict(image)  # type: ignore[arg-type]


def test_a_checkpoint_or_device_that_is_not_there_is_named_with_the_remedy(trained: Path) -> None:
    with pytest.raises(CheckpointError, match=r"^no\.pth: no such file; give a checkpoint such as"):
        tao_lite.load("no.pth")
    with pytest.raises(RunError, match=r"^device: is cuda:99, but there is cpu.*; give one of these, or none$"):
        tao_lite.load(trained / "weights" / "best.pth", "cuda:99")


def test_importing_tao_lite_imports_nothing_else() -> None:
    program = "import sys, typing; before = set(sys.modules); import tao_lite; print(*(set(sys.modules) - before))"
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert finished.stdout.split() == ["tao_lite"]


def test_the_example_of_load_runs(
    trained: Path, colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "colours").symlink_to(trained)
    shutil.copy(colours / "blue" / "002.png", tmp_path / "sky.png")
    shutil.copy(colours / "red" / "001.png", tmp_path / "rose.png")
    monkeypatch.chdir(tmp_path)
    (example,) = (found for found in doctest.DocTestFinder().find(tao_lite.load) if found.examples)
    assert doctest.DocTestRunner().run(example).failed == 0
