"""What is decoded once: in memory, on disk and on a device; which of them AUTO takes; and that none changes a bit."""

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tao_lite.data.cache.images import Images, Memory
from tao_lite.data.cache.plan import Plan, Room, estimate_bytes, plan
from tao_lite.data.dataset import DataSet
from tao_lite.data.decode import decode
from tao_lite.data.left_out import LeftOut
from tao_lite.data.loader import Cache
from tao_lite.errors import DataError
from tests.data.pictures import GEOMETRIES, NUM_PICTURES, as_data_set, cached, make, same, write_picture

# With random crop the loader is never told to use the device.
CACHES = [
    (kind, geometry)
    for kind in ("MEMORY", "DISK", "DEVICE")
    for geometry in GEOMETRIES
    if (kind, geometry) != ("DEVICE", "random_crop")
]


@pytest.mark.parametrize(("kind", "geometry"), CACHES)
@pytest.mark.parametrize("num_workers", [1, 4])
@pytest.mark.parametrize("of_frames", [False, True])
def test_batches_from_a_cache_equal_those_from_files(  # noqa: PLR0917 - fixtures and parameters
    pictures: DataSet, frames: DataSet, tmp_path: Path, kind: str, geometry: str, num_workers: int, of_frames: bool
) -> None:
    data_set = frames if of_frames else pictures
    files = make(data_set, geometry=geometry)
    # The second goes on with the first one's file.
    for _ in range(2):
        fast = make(data_set, geometry=geometry, num_workers=num_workers, **cached(kind, tmp_path / "cache"))
        for epoch in range(3):
            assert same(list(fast.epoch(epoch)), list(files.epoch(epoch)))


@pytest.mark.parametrize("folder", [None, "cache"])
def test_a_cache_that_is_too_small_changes_nothing(pictures: DataSet, tmp_path: Path, folder: str | None) -> None:
    files = make(pictures)
    small = make(pictures, cache=Cache(5000, tmp_path / folder if folder else None))
    for epoch in range(2):
        assert same(list(small.epoch(epoch)), list(files.epoch(epoch)))


@pytest.mark.parametrize("kind", ["MEMORY", "DISK", "DEVICE"])
@pytest.mark.parametrize("start", [0, 3])
def test_an_interrupted_epoch_goes_on_alike_with_each_cache(
    pictures: DataSet, tmp_path: Path, kind: str, start: int
) -> None:
    geometry = "squeeze" if kind == "DEVICE" else "random_crop"
    whole = [batch for epoch in range(2) for batch in make(pictures, geometry=geometry).epoch(epoch)]
    before = make(pictures, geometry=geometry, **cached(kind, tmp_path))
    epoch = before.epoch(0)
    batches = [next(epoch) for _ in range(start)]
    epoch.close()
    resumed = make(pictures, geometry=geometry, num_workers=1, **cached(kind, tmp_path))
    assert same(batches + list(resumed.epoch(0, done=4 * start)) + list(resumed.epoch(1)), whole)


@pytest.mark.parametrize(("kind", "geometry"), CACHES)
def test_with_a_cache_each_image_is_decoded_once(frames: DataSet, tmp_path: Path, geometry: str, kind: str) -> None:
    expected = list(make(frames, geometry=geometry).epoch(1))
    fast = make(frames, geometry=geometry, num_workers=4, **cached(kind, tmp_path / "cache"))
    list(fast.epoch(0))
    for frame in {example.path for example in frames.examples}:
        frame.write_bytes(b"")
    assert same(list(fast.epoch(1)), expected)


def test_a_copy_of_a_loader_with_another_geometry_has_its_own_file(pictures: DataSet, tmp_path: Path) -> None:
    first = make(pictures, geometry="centre_crop", training=False, **cached("DISK", tmp_path))
    list(first.epoch(0))
    second = replace(first, geometry="squeeze")
    assert same(list(second.epoch(0)), list(make(pictures, geometry="squeeze", training=False).epoch(0)))
    assert len(list(tmp_path.iterdir())) == 2
    assert list(replace(first, cache=None).epoch(0))
    assert len(list(tmp_path.iterdir())) == 2


def test_with_memory_a_frame_is_decoded_once_for_all_its_examples(frames: DataSet) -> None:
    files = Images(frames.examples, 3, np.flipud)
    expected = [files[index] for index in range(4)]
    cached = Images(frames.examples, 3, np.flipud, Memory(12, 10**9))
    assert np.array_equal(cached[2], expected[2])
    frames.examples[0].path.write_bytes(b"")
    assert all(np.array_equal(cached[index], expected[index]) for index in range(4))


def test_an_object_in_memory_does_not_hold_its_whole_frame_there(frames: DataSet) -> None:
    cached = Images(frames.examples, 3, lambda image: image, Memory(12, 10**9))
    assert cached[1].base is None  # Its pixels are its own, not a view of the frame's.


def test_with_memory_threads_that_want_the_same_frame_get_the_same_pixels(frames: DataSet) -> None:
    cached = Images(frames.examples, 3, np.flipud, Memory(12, 10**9))
    with ThreadPoolExecutor(8) as pool:
        images = list(pool.map(cached.__getitem__, [0] * 8 + [4] * 8))
    assert all(image is images[0] for image in images[:8])
    assert all(image is images[8] for image in images[8:])


def test_without_memory_an_image_is_decoded_each_time(frames: DataSet) -> None:
    training = make(frames, report=LeftOut(is_logged=False))
    assert len(list(training.epoch(0))) == 3
    for frame in {example.path for example in frames.examples}:
        frame.write_bytes(b"")
    with pytest.raises(DataError, match="can't be read"):
        list(training.epoch(1))


def test_no_more_is_kept_than_the_budget_allows(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    paths = [tmp_path / f"{index}.png" for index in range(10)]
    for path in paths:
        write_picture(path, 0, value=10)
    # An image of 16 x 24 pixels and 3 channels is 1152 bytes: three fit into 4000.
    training = make(as_data_set(paths), geometry="squeeze", cache=Cache(4000))
    with caplog.at_level(logging.INFO, "tao_lite.data.cache.images"):
        list(training.epoch(0))
    assert [record.getMessage() for record in caplog.records] == [
        "kept 3 of 10 examples in memory, 0.0 MiB; the others are decoded anew each epoch"
    ]
    for path in paths:
        write_picture(path, 0, value=200)
    for epoch in (1, 2):
        values = torch.cat([batch.images[:, 0, 0, 0] for batch in training.epoch(epoch)])
        assert sorted(values.tolist()) == [10] * 3 + [200] * 7


@pytest.mark.parametrize(
    ("mode", "needed", "room", "expected"),
    [
        ("OFF", 1, Room(1000, 1000, 1000), Plan("OFF", 0)),
        ("AUTO", 250, Room(1000, 1000, 1000), Plan("MEMORY", 250)),
        ("AUTO", 251, Room(1000, 1000, 1000), Plan("DISK", 1000)),
        ("AUTO", 251, Room(1000, 250, 1000), Plan("OFF", 0)),
        ("MEMORY", 1, Room(1000), Plan("MEMORY", 750)),
        ("MEMORY", 5000, Room(1000), Plan("MEMORY", 750)),
        ("DISK", 10**9, Room(1000, 10**10), Plan("DISK", 1_500_000_000 + 2**20)),
        ("DISK", 10**9, Room(1000, 10**8), Plan("DISK", 10**8)),
        ("DEVICE", 400, Room(1000, 1000, 800), Plan("DEVICE", 400)),
    ],
)
def test_each_mode_gets_what_fits(mode: str, needed: int, room: Room, expected: Plan) -> None:
    assert plan(mode, needed, room, Path("/folder"), is_fixed=True) == expected


def test_a_folder_that_can_not_be_written_to_is_named_a_problem(caplog: pytest.LogCaptureFixture) -> None:
    assert plan("DISK", 500, Room(1000, 0), Path("/"), is_fixed=True) == Plan("OFF", 0)
    assert caplog.messages == [
        "cache DISK: nothing can be written to its folder; set dataset_config.cache_dir to another"
    ]


def test_auto_writes_nothing_to_disk_for_a_single_pass() -> None:
    assert plan("AUTO", 500, Room(1000, 10**6), Path("/"), is_fixed=True, is_read_once=True) == Plan("OFF", 0)
    assert plan("DISK", 500, Room(1000, 10**6), Path("/"), is_fixed=True, is_read_once=True).kind == "DISK"


def test_the_size_is_announced_before_anything_is_written(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "tao_lite.data.cache.plan"):
        plan("AUTO", 3 * 2**30, Room(4 * 2**30, 2**34), Path("/folder"), is_fixed=True)
    (message,) = caplog.messages
    assert message == (
        "the images need about 3.0 GiB; available are 4.0 GiB of memory and 16.0 GiB on disk (/folder): "
        "with cache AUTO they are kept on disk"
    )


@pytest.mark.parametrize(
    ("needed", "device", "is_fixed", "reason"),
    [
        (100, 1000, False, "crops and sizes that change are made on the host"),
        (100, 0, True, "the network is not on a GPU"),
        (501, 1000, True, "the images need 0.0 MiB, and half of the GPU's free memory is 0.0 MiB"),
    ],
)
def test_where_the_device_can_not_keep_images_memory_does_and_it_is_said(
    needed: int, device: int, is_fixed: bool, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert plan("DEVICE", needed, Room(4000, 0, device), Path("/"), is_fixed=is_fixed) == Plan("MEMORY", 3000)
    assert caplog.messages[0].startswith(f"cache DEVICE: {reason}")
    assert caplog.messages[0].endswith("; the images are kept in memory instead")


def test_the_need_is_known_for_a_fixed_size_and_for_boxes(pictures: DataSet, frames: DataSet) -> None:
    assert estimate_bytes(pictures.examples, 3, (16, 24)) == NUM_PICTURES * 16 * 24 * 3
    assert estimate_bytes(frames.examples, 1, None) == 3 * (90 * 60 + 25 * 40 + 30 * 15 + 1)


def test_the_need_of_whole_pictures_is_read_from_those_files_that_can_be(damaged: DataSet) -> None:
    # Numbers 4 to 6 are empty files: they count like the average of the others.
    examples = [damaged.examples[index] for index in (0, 1, 4, 5)]
    areas = [decode(damaged.examples[index].path, 1).size for index in (0, 1)]
    assert estimate_bytes(examples, 3, None) == sum(areas) / 2 * 4 * 3


def test_the_need_of_nothing_is_nothing() -> None:
    assert estimate_bytes((), 3, None) == 0
