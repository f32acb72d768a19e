"""The cache on disk: killed writers, several writers, full disks, damage, and files and settings that change."""

import fcntl
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tao_lite.data.cache import folder as cache_folder
from tao_lite.data.cache.file import CacheFile
from tao_lite.data.cache.folder import open_disk, room
from tao_lite.data.cache.images import Images
from tao_lite.data.decode import decode
from tao_lite.data.geometry import Pixels
from tao_lite.files.places import own_cache
from tests.data.fill_cache import SETTINGS, disk, examples_in

ROOT = Path(__file__).parents[3]
NUM_PICTURES = 60
LARGEST_PICTURE = (100 + NUM_PICTURES - 1) * 100 * 3  # bytes
HEAD, ENTRY = 64, 32

Process = subprocess.Popen[str]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """60 pictures of 30 to 45 KB."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index in range(NUM_PICTURES):
        pixels = np.random.default_rng(index).integers(0, 256, (100 + index, 100, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{index:02d}.png", compress_level=0)
    return folder


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def full(folder: Path, cache: Path) -> Path:
    """The file of the folder's pictures, with all of them."""
    fill(folder, cache)
    (path,) = cache.iterdir()
    return path


def fill(folder: Path, cache: Path) -> None:
    images = Images(examples_in(folder), 3, lambda image: image, disk(folder, cache))
    for index in range(NUM_PICTURES):
        assert np.array_equal(images[index], pixels_of(folder, index))


def pixels_of(folder: Path, index: int) -> Pixels:
    return decode(examples_in(folder)[index].path, 3)


def filled(folder: Path, cache: Path) -> list[int]:
    """The pictures that are in the cache; what is there is compared with the files."""
    store = disk(folder, cache)
    images = {index: store.get(index) for index in range(NUM_PICTURES)}
    for index, image in images.items():
        assert image is None or np.array_equal(image, pixels_of(folder, index))
    return [index for index, image in images.items() if image is not None]


def start(folder: Path, cache: Path, seed: int, largest: int = 0) -> Process:
    command = [sys.executable, "-m", "tests.data.fill_cache", str(folder), str(cache), str(seed), str(largest)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def sums(lines: str) -> dict[int, int]:
    return {int(line.split()[0]): int(line.split()[1]) for line in lines.splitlines()}


def all_sums(folder: Path) -> dict[int, int]:
    return {index: int(pixels_of(folder, index).sum(dtype=np.int64)) for index in range(NUM_PICTURES)}


def expected_bytes() -> int:
    return HEAD + NUM_PICTURES * ENTRY + sum((100 + index) * 100 * 3 for index in range(NUM_PICTURES))


def test_what_a_killed_process_wrote_is_whole_and_the_next_goes_on_from_there(folder: Path, cache: Path) -> None:
    counts = []
    for kills, lines in enumerate((1, 2, 9, 25)):
        child = start(folder, cache, kills)
        assert child.stdout
        for _ in range(lines):
            child.stdout.readline()
        child.kill()
        child.communicate()
        counts.append(len(filled(folder, cache)))
    assert counts == sorted(counts)
    assert counts[-1] >= 20
    fill(folder, cache)
    assert filled(folder, cache) == list(range(NUM_PICTURES))
    # Room that a killed process took is used by the next, unless it died before it could say whose it is.
    (path,) = cache.iterdir()
    assert expected_bytes() <= path.stat().st_size <= expected_bytes() + 4 * LARGEST_PICTURE


def test_processes_that_fill_one_cache_share_the_work(folder: Path, cache: Path) -> None:
    children = [start(folder, cache, seed) for seed in range(3)]
    for child in children:
        out, errors = child.communicate()
        assert (child.returncode, errors) == (0, "")
        assert sums(out) == all_sums(folder)
    (path,) = cache.iterdir()
    assert path.stat().st_size == expected_bytes()
    assert filled(folder, cache) == list(range(NUM_PICTURES))


def test_a_process_that_is_stopped_holds_nobody_up(folder: Path, cache: Path) -> None:
    child = start(folder, cache, 0)
    assert child.stdout
    child.stdout.readline()
    child.send_signal(signal.SIGSTOP)
    started = time.monotonic()
    fill(folder, cache)
    assert time.monotonic() - started < 10
    child.send_signal(signal.SIGCONT)
    out, _ = child.communicate()
    assert child.returncode == 0
    assert sums(out).items() <= all_sums(folder).items()


def test_a_lock_that_is_never_let_go_costs_the_cache_not_the_run(folder: Path, full: Path, cache: Path) -> None:
    store = disk(folder, cache)
    with full.open("r+b") as file:
        os.pwrite(file.fileno(), bytes(ENTRY), HEAD + 7 * ENTRY)
        fcntl.flock(file, fcntl.LOCK_EX)
        images = Images(examples_in(folder), 3, lambda image: image, store)
        assert np.array_equal(images[7], pixels_of(folder, 7))
        assert np.array_equal(images[8], pixels_of(folder, 8))
    assert store.get(7) is None


@pytest.mark.parametrize("largest", [0, 1000, 100_000])
def test_a_full_disk_costs_one_warning(folder: Path, cache: Path, largest: int) -> None:
    # A file that may not grow fails like one on a full disk: at any byte, with an error from write or truncate.
    child = start(folder, cache, 1, largest)
    out, errors = child.communicate()
    assert child.returncode == 0
    assert sums(out) == all_sums(folder)
    assert errors.count("File too large") == (1 if largest else 0)
    assert errors.count("\n") == (1 if largest else 0)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_disk_that_is_really_full_costs_one_warning(folder: Path, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(small)], check=False).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        out, errors = start(folder, small, 1).communicate()
        assert sums(out) == all_sums(folder)
        assert errors.count("No space left on device") == errors.count("\n") == 1
        assert 5 < len(filled(folder, small)) < NUM_PICTURES
    finally:
        subprocess.run(["umount", "--lazy", str(small)], check=True)


def test_the_file_ends_at_its_limit(folder: Path, cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = disk(folder, cache, max_bytes=200_000)
    images = Images(examples_in(folder), 3, lambda image: image, store)
    for index in range(NUM_PICTURES):
        assert np.array_equal(images[index], pixels_of(folder, index))
    (path,) = cache.iterdir()
    assert 100_000 < path.stat().st_size <= 200_000
    reason = "at its limit of 200,000 bytes"
    assert caplog.messages == [
        f"{path}: can't be written to ({reason}); images that are not in it yet are decoded anew each epoch"
    ]


def flip(path: Path, offset: int) -> None:
    content = bytearray(path.read_bytes())
    content[offset] ^= 1 << (offset % 8)
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: flip(path, 3),
        lambda path: flip(path, 40),
        lambda path: flip(path, HEAD + 5 * ENTRY),
        lambda path: flip(path, HEAD + 5 * ENTRY + 17),
        lambda path: flip(path, HEAD + 5 * ENTRY + 22),
        lambda path: flip(path, HEAD + NUM_PICTURES * ENTRY + 100),
        lambda path: flip(path, -1),
        lambda path: os.truncate(path, path.stat().st_size - 1),
        lambda path: os.truncate(path, path.stat().st_size // 2),
        lambda path: os.truncate(path, HEAD + 10),
        lambda path: os.truncate(path, 10),
        lambda path: os.truncate(path, 0),
        lambda path: path.write_bytes(path.read_bytes()[:100_000] + bytes(100_000) + path.read_bytes()[200_000:]),
        lambda path: path.write_bytes(b"something else"),
        lambda path: path.unlink(),
    ],
)
def test_what_is_damaged_is_decoded_anew_and_repaired(
    folder: Path, full: Path, cache: Path, damage: Callable[[Path], None]
) -> None:
    damage(full)
    assert len(filled(folder, cache)) < NUM_PICTURES
    fill(folder, cache)
    assert filled(folder, cache) == list(range(NUM_PICTURES))


def test_a_file_cut_off_while_it_is_read_ends_no_process(folder: Path, full: Path, cache: Path) -> None:
    images = Images(examples_in(folder), 3, lambda image: image, disk(folder, cache))
    for index in range(NUM_PICTURES):
        if index == 30:
            os.truncate(full, 300_000)
        assert np.array_equal(images[index], pixels_of(folder, index))


def test_random_damage_never_gives_other_pixels(folder: Path, full: Path, cache: Path) -> None:
    good, random = full.read_bytes(), np.random.default_rng(0)
    for _ in range(40):
        content = bytearray(good)
        # Every second time among the entries.
        reach = len(content) if random.random() < 0.5 else HEAD + NUM_PICTURES * ENTRY
        for _ in range(random.integers(1, 5)):
            content[random.integers(reach)] ^= 1 << random.integers(8)
        full.write_bytes(content)
        assert len(filled(folder, cache)) >= (NUM_PICTURES - 5 if full.read_bytes() == content else 0)


def test_a_place_that_fails_again_is_repaired_once(tmp_path: Path) -> None:
    file = CacheFile(tmp_path / "file", bytes(32), 1, 3, max_bytes=10**6)
    image = np.zeros((10, 10, 3), np.uint8)
    sizes = []
    for _ in range(4):
        file.put({0: image})
        sizes.append(file.path.stat().st_size)
        with file.path.open("r+b") as damaged:
            damaged.seek(-300, os.SEEK_END)
            damaged.write(b"damage")
        assert file.get(0) is None
    assert [size - sizes[0] for size in sizes] == [0, 300, 300, 300]


def test_a_file_of_another_version_is_made_anew(full: Path, folder: Path, cache: Path) -> None:
    content = bytearray(full.read_bytes())
    content[8] += 1
    full.write_bytes(content)
    assert filled(folder, cache) == []


def test_a_changed_file_gets_another_cache_even_with_its_old_size_and_time(folder: Path, full: Path) -> None:
    path = examples_in(folder)[3].path
    status = path.stat()
    content = bytearray(path.read_bytes())
    pixels = np.array(Image.open(path)) ^ 1
    Image.fromarray(pixels).save(path, compress_level=0)
    assert path.stat().st_size == len(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert np.array_equal(pixels_of(folder, 3), pixels)
    assert filled(folder, full.parent) == []
    fill(folder, full.parent)


def test_added_and_removed_files_settings_and_boxes_get_another_cache(folder: Path, full: Path) -> None:
    cache = full.parent
    examples = examples_in(folder)
    others = [
        (examples[1:], 3, SETTINGS),
        (examples[::-1], 3, SETTINGS),
        (examples, 1, SETTINGS),
        (examples, 3, (3, ("squeeze", (16, 24), "bilinear"))),
        (examples, 3, (3, ("squeeze", (16, 24), "bicubic"))),
    ]
    for number, (chosen, channels, settings) in enumerate(others):
        store = open_disk(cache, chosen, channels, (channels, settings), max_bytes=10**8)
        assert store
        assert store.get(0) is None
        assert len(list(cache.iterdir())) == number + 2


def test_a_picture_that_changes_during_the_run_is_not_kept(folder: Path, cache: Path) -> None:
    store = disk(folder, cache)
    path = examples_in(folder)[3].path
    content = path.read_bytes()
    other = examples_in(folder)[4].path.read_bytes()
    path.write_bytes(other)
    images = Images(examples_in(folder), 3, lambda image: image, store)
    assert np.array_equal(images[3], pixels_of(folder, 4))
    path.write_bytes(content)
    assert np.array_equal(images[3], pixels_of(folder, 3))


def test_the_caches_of_a_folder_take_half_of_what_is_free_without_them(tmp_path: Path, full: Path) -> None:
    statistics = os.statvfs(tmp_path)
    free = statistics.f_bavail * statistics.f_frsize
    assert room(full.parent) == pytest.approx((free + full.stat().st_size) / 2, rel=0.01)
    assert room(tmp_path / "not" / "there") == pytest.approx(free / 2, rel=0.01)
    assert room(full / "below a file") == 0
    assert room(Path("relative")) == 0


def test_the_cache_not_used_for_longest_makes_room(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cache.mkdir()
    hours = {"old": 50, "older": 60, "new": 0.1}
    for name, age in hours.items():
        path = cache / f"{name}.images"
        path.write_bytes(bytes(10**6))
        os.utime(path, (time.time() - age * 3600,) * 2)
    # Of a disk with 5 MB of room, 4 MB are wanted and 3 MB taken.
    monkeypatch.setattr(cache_folder, "room", lambda _: 5 * 10**6)
    with caplog.at_level(logging.INFO):
        disk(folder, cache, 4 * 10**6)
    assert {path.stem for path in cache.iterdir()} & set(hours) == {"new"}
    assert caplog.messages[0].startswith(f"{cache / 'older.images'}: removed, the cache that was not used for longest")


def test_a_folder_that_can_not_be_made_costs_one_warning(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    inside = folder / "00.png" / "cache"
    assert open_disk(inside, examples_in(folder), 3, SETTINGS, max_bytes=10**9) is None
    assert len(caplog.messages) == 1
    assert "no cache can be kept there (Not a directory)" in caplog.messages[0]


def test_the_default_folder_is_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert own_cache() == Path("/somewhere/tao_lite")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert own_cache() == tmp_path / ".cache" / "tao_lite"
