"""Data sets that several tests of this folder read."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tao_lite.data.dataset import DataSet
from tao_lite.data.example import Example
from tests.data.pictures import NUM_PICTURES, as_data_set, write_picture


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    """Pictures of different sizes, 0.png to 22.png, never changed."""
    folder = tmp_path_factory.mktemp("pictures")
    paths = [folder / f"{index}.png" for index in range(NUM_PICTURES)]
    for index, path in enumerate(paths):
        write_picture(path, index)
    return as_data_set(paths)


@pytest.fixture
def frames(tmp_path: Path) -> DataSet:
    """Three frames with four objects each."""
    examples = []
    for frame in range(3):
        path = tmp_path / f"{frame}.png"
        Image.fromarray(np.random.default_rng(frame).integers(0, 256, (60, 90, 3), np.uint8)).save(path)
        boxes = [(0, 0, 90, 60), (5, 7, 30, 47), (60, 10, 90, 25), (41, 3, 42, 4)]
        examples += [Example(path, "cat", path.stem, box) for box in boxes]
    return DataSet(tuple(examples), ("cat",))


@pytest.fixture
def damaged(tmp_path: Path) -> DataSet:
    """Ten pictures, of which 2, 4, 5, 6 and 7 are damaged, empty or missing."""
    paths = [tmp_path / f"{index}.png" for index in range(10)]
    for index, path in enumerate(paths):
        write_picture(path, index)
    paths[2].write_bytes(paths[2].read_bytes()[:200])
    for index in (4, 5, 6):
        paths[index].write_bytes(b"")
    paths[7].unlink()
    return as_data_set(paths)
