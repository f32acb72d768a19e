"""Batches from real files: order, threads, processes, damage, memory."""

import logging
import re
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from google.protobuf import text_format
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from tao_lite.data.cache import Images, budget_bytes, estimate_bytes
from tao_lite.data.dataset import DataSet
from tao_lite.data.decode import decode
from tao_lite.data.draws import MIXUP, NUM_DRAWS, permutation, uniforms
from tao_lite.data.example import Example, Report
from tao_lite.data.geometry import random_crop, resize, squeeze
from tao_lite.data.loader import Batch, Loader, loader
from tao_lite.errors import DataError
from tao_lite.host import usable_cores
from tao_lite.spec import classification_pb2 as pb

NUM_PICTURES = 23
GEOMETRIES = ["squeeze", "centre_crop", "random_crop"]


def write_picture(path: Path, seed: int, value: int | None = None) -> None:
    """Noise of a size that depends on the seed or, with a value, an even grey of 20 x 20."""
    random = np.random.default_rng(seed)
    height, width = (20, 20) if value is not None else random.integers(18, 60, 2)
    pixels = random.integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(pixels if value is None else np.full_like(pixels, value)).save(path)


def as_data_set(paths: Sequence[Path]) -> DataSet:
    labels = ("cat", "dog", "eel")
    return DataSet(tuple(Example(path, labels[i % 3], path.name) for i, path in enumerate(paths)), labels)


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


def make(data_set: DataSet, **changes: object) -> Loader:
    values: dict[str, object] = {
        "size": (16, 24),
        "channels": 3,
        "batch_size": 4,
        "num_workers": 2,
        "seed": 1,
        "training": True,
        "geometry": "random_crop",
        "interpolation": "bilinear",
        "report": Report(fail=True),
    }
    return Loader(data_set=data_set, **(values | changes))  # type: ignore[arg-type]


def indices_of(batches: Sequence[Batch]) -> list[int]:
    return [int(path.stem) for batch in batches for path in batch.paths]


def same(first: Sequence[Batch], second: Sequence[Batch]) -> bool:
    return len(first) == len(second) and all(
        torch.equal(a.images, b.images)
        and torch.equal(a.labels, b.labels)
        and torch.equal(a.draws, b.draws)
        and (a.paths, a.number) == (b.paths, b.number)
        for a, b in zip(first, second, strict=True)
    )


def decoder_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("decode")]


def test_a_batch_holds_what_the_functions_of_seed_epoch_and_index_say(pictures: DataSet) -> None:
    batches = list(make(pictures).epoch(5))
    order = permutation(1, 5, NUM_PICTURES)
    numbers = uniforms(1, 5, order, NUM_DRAWS)
    assert indices_of(batches) == order.tolist()
    assert torch.cat([batch.labels for batch in batches]).tolist() == (order % 3).tolist()
    assert torch.cat([batch.draws for batch in batches]).numpy() == pytest.approx(numbers, abs=1e-7)
    image = decode(pictures.examples[order[6]].path, 3)
    box = random_crop(image.shape[:2], (16, 24), (numbers[6, 5], numbers[6, 6], numbers[6, 7]))
    expected = resize(image, box, (16, 24), "bilinear")
    assert np.array_equal(batches[1].images[2].permute(1, 2, 0).numpy(), expected)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_batch_has_the_shapes_and_the_layout_of_the_contract(pictures: DataSet, channels: int) -> None:
    batch = next(iter(make(pictures, channels=channels).epoch(0)))
    assert (batch.images.dtype, batch.images.shape) == (torch.uint8, (4, channels, 16, 24))
    assert batch.images.is_contiguous(memory_format=torch.channels_last)
    assert (batch.labels.dtype, batch.labels.shape) == (torch.int64, (4,))
    assert (batch.draws.dtype, batch.draws.shape) == (torch.float32, (4, NUM_DRAWS))


def test_draws_stay_below_one_in_single_precision(pictures: DataSet) -> None:
    # Found by search: example 4 of this epoch draws 0.9999999866, which is 1 to the nearest float32.
    epoch = 462_596
    assert np.float32(uniforms(1, epoch, np.array([4]), NUM_DRAWS)[0, MIXUP]) == 1
    draws = torch.cat([batch.draws for batch in make(pictures, training=False).epoch(epoch)])
    assert draws[4, MIXUP] == 1 - 2.0**-24


@pytest.mark.parametrize("training", [True, False])
def test_the_number_of_threads_changes_nothing(pictures: DataSet, training: bool) -> None:
    one, two, four = (list(make(pictures, training=training, num_workers=n).epoch(2)) for n in (1, 2, 4))
    assert same(one, two)
    assert same(one, four)


@pytest.mark.parametrize("start", range(7))
def test_starting_later_gives_the_rest_of_the_same_epoch(pictures: DataSet, start: int) -> None:
    whole = list(make(pictures).epoch(1))
    assert same(list(make(pictures).epoch(1, start=start)), whole[start:])


def test_epochs_and_seeds_differ(pictures: DataSet) -> None:
    here, next_epoch, other_seed = (
        indices_of(list(make(pictures, seed=seed).epoch(epoch))) for seed, epoch in ((1, 0), (1, 1), (2, 0))
    )
    assert here != next_epoch
    assert here != other_seed
    assert sorted(here) == sorted(next_epoch) == sorted(other_seed) == list(range(NUM_PICTURES))


def test_evaluation_comes_in_order_and_the_last_batch_is_smaller(pictures: DataSet) -> None:
    evaluation = make(pictures, training=False, geometry="squeeze")
    batches = list(evaluation.epoch(0))
    assert indices_of(batches) == list(range(NUM_PICTURES))
    assert [len(batch.paths) for batch in batches] == [4, 4, 4, 4, 4, 3]
    assert [batch.number for batch in batches] == [0, 1, 2, 3, 4, 5]
    assert len(evaluation) == 6


@pytest.mark.parametrize(
    ("num_examples", "batch_size", "sizes"),
    [(9, 4, [4, 4]), (10, 4, [4, 4, 2]), (8, 4, [4, 4]), (1, 4, [1]), (3, 1, [1, 1, 1]), (3, 8, [3])],
)
def test_training_leaves_out_a_last_batch_of_one_image_unless_it_is_the_only_one(
    pictures: DataSet, num_examples: int, batch_size: int, sizes: list[int]
) -> None:
    data_set = DataSet(pictures.examples[:num_examples], pictures.class_names)
    training = make(data_set, batch_size=batch_size)
    assert [len(batch.paths) for batch in training.epoch(0)] == sizes
    assert len(training) == len(sizes)


shares = st.tuples(st.integers(0, NUM_PICTURES), st.integers(1, 9), st.integers(1, 5))
slow_files = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@slow_files
@given(shares)
def test_evaluation_has_every_image_once_for_any_batch_size_and_number_of_processes(
    pictures: DataSet, share: tuple[int, int, int]
) -> None:
    num_examples, batch_size, world_size = share
    data_set = DataSet(pictures.examples[:num_examples], pictures.class_names)
    seen = []
    for rank in range(world_size):
        part = make(data_set, training=False, batch_size=batch_size, rank=rank, world_size=world_size)
        batches = list(part.epoch(0))
        assert len(batches) == len(part)
        seen += indices_of(batches)
    assert sorted(seen) == list(range(num_examples))


@slow_files
@given(shares)
def test_in_training_the_processes_share_out_the_epoch_evenly(pictures: DataSet, share: tuple[int, int, int]) -> None:
    num_examples, batch_size, world_size = share
    assume(num_examples >= world_size)
    data_set = DataSet(pictures.examples[:num_examples], pictures.class_names)
    parts = [make(data_set, batch_size=batch_size, rank=rank, world_size=world_size) for rank in range(world_size)]
    epochs = [list(part.epoch(3)) for part in parts]
    sizes = [[len(batch.paths) for batch in batches] for batches in epochs]
    assert all(part == sizes[0] for part in sizes)
    assert [len(part) for part in parts] == [len(sizes[0])] * world_size
    seen = [index for batches in epochs for index in indices_of(batches)]
    assert len(set(seen)) == len(seen)
    # Less than one image per process by sharing out, and one per process where it would be alone in a batch.
    assert num_examples - len(seen) < 2 * world_size


def test_the_processes_batches_together_are_the_batches_of_one_process(pictures: DataSet) -> None:
    alone = list(make(pictures, batch_size=6).epoch(0))
    parts = [list(make(pictures, batch_size=3, rank=rank, world_size=2).epoch(0)) for rank in range(2)]
    for number in range(3):
        assert set(alone[number].paths) == set(parts[0][number].paths) | set(parts[1][number].paths)


def test_too_few_images_for_the_processes_is_an_error(pictures: DataSet) -> None:
    data_set = DataSet(pictures.examples[:3], pictures.class_names)
    with pytest.raises(DataError, match="3 training images are too few for 4 processes; use fewer --gpus"):
        make(data_set, rank=3, world_size=4)


class Notes:
    """What was reported."""

    def __init__(self) -> None:
        self.places: list[str] = []

    def __call__(self, place: str, problem: str) -> None:
        self.places.append(place)
        assert problem
        assert place not in problem


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


@pytest.mark.parametrize("cache_bytes", [0, 10**9])
def test_bad_images_are_reported_once_and_left_out(damaged: DataSet, cache_bytes: int) -> None:
    notes = Notes()
    evaluation = make(damaged, training=False, report=notes, cache_bytes=cache_bytes)
    for epoch in (0, 1):
        batches = list(evaluation.epoch(epoch))
        assert indices_of(batches) == [0, 1, 3, 8, 9]
        # The second batch, 4 to 7, is empty; the third keeps its number.
        assert [(batch.number, len(batch.paths)) for batch in batches] == [(0, 3), (2, 2)]
        for batch in batches:
            count = len(batch.paths)
            assert (len(batch.images), len(batch.labels), len(batch.draws)) == (count, count, count)
            assert batch.images.is_contiguous(memory_format=torch.channels_last)
    assert notes.places == [str(damaged.examples[index].path) for index in (2, 4, 5, 6, 7)]


def test_the_images_beside_a_bad_one_are_what_they_would_be_without_it(damaged: DataSet) -> None:
    batch = next(iter(make(damaged, training=False, report=Notes(), geometry="squeeze").epoch(0)))
    assert batch.labels.tolist() == [0, 1, 0]
    for slot, index in enumerate((0, 1, 3)):
        image = decode(damaged.examples[index].path, 3)
        expected = resize(image, squeeze(image.shape[:2], (16, 24)), (16, 24), "bilinear")
        assert np.array_equal(batch.images[slot].permute(1, 2, 0).numpy(), expected)
    assert batch.draws.numpy() == pytest.approx(uniforms(1, 0, np.array([0, 1, 3]), NUM_DRAWS), abs=1e-7)


def test_training_leaves_out_a_batch_of_which_one_image_is_left(damaged: DataSet) -> None:
    # Batches of 2 in some order; those that hold two good images remain.
    training = make(damaged, batch_size=2, report=Notes())
    order = permutation(1, 0, 10).reshape(5, 2)
    whole = [number for number, pair in enumerate(order.tolist()) if set(pair) <= {0, 1, 3, 8, 9}]
    batches = list(training.epoch(0))
    assert [batch.number for batch in batches] == whole
    assert all(len(batch.paths) == 2 for batch in batches)


def test_a_batch_of_several_processes_is_never_left_out_in_silence(damaged: DataSet) -> None:
    # One image a batch and half of them bad: the other process would wait for a step that does not come.
    training = make(damaged, batch_size=1, report=Notes(), rank=1, world_size=2)
    first_bad = next(number for number, index in enumerate(permutation(1, 0, 10)[1::2]) if index in (2, 4, 5, 6, 7))
    with pytest.raises(DataError, match=rf"^batch {first_bad} of process 1 has too few images that can be read, "):
        list(training.epoch(0))
    assert decoder_threads() == []


def test_a_bad_image_ends_the_run_if_the_policy_says_so(damaged: DataSet) -> None:
    evaluation = make(damaged, training=False, report=Report(fail=True))
    with pytest.raises(DataError, match=f"^{re.escape(str(damaged.examples[2].path))}: .*on_bad_example: SKIP"):
        list(evaluation.epoch(0))
    assert decoder_threads() == []


def test_a_box_outside_its_picture_is_a_bad_example(pictures: DataSet) -> None:
    path = pictures.examples[0].path
    examples = (Example(path, "cat", "0"), Example(path, "cat", "0", (500, 500, 510, 510)))
    notes = Notes()
    batches = list(make(DataSet(examples, ("cat",)), training=False, report=notes, cache_bytes=10**9).epoch(0))
    assert [len(batch.paths) for batch in batches] == [1]
    assert notes.places == [str(path)]


def test_a_fault_in_a_thread_is_raised_where_the_batches_are_taken(pictures: DataSet) -> None:
    with pytest.raises(KeyError, match="fisheye"):
        list(make(pictures, geometry="fisheye").epoch(0))
    assert decoder_threads() == []


def test_leaving_the_loop_early_leaves_no_thread(pictures: DataSet) -> None:
    for _ in make(pictures).epoch(0):
        assert decoder_threads()
        break
    assert decoder_threads() == []


def test_closing_the_iterator_leaves_no_thread(pictures: DataSet) -> None:
    batches = make(pictures).epoch(0)
    assert isinstance(batches, Iterator)
    next(batches)
    assert decoder_threads()
    batches.close()
    assert decoder_threads() == []


def test_ctrl_c_leaves_no_thread(pictures: DataSet) -> None:
    def interrupted() -> None:
        for _ in make(pictures).epoch(0):
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert decoder_threads() == []


def test_an_epoch_that_was_not_begun_starts_no_thread(pictures: DataSet) -> None:
    make(pictures).epoch(0)
    assert decoder_threads() == []


def test_a_batch_stays_as_it_is_while_others_are_made(pictures: DataSet) -> None:
    kept = []
    copies = []
    for batch in make(pictures).epoch(0):
        kept.append(batch.images)
        copies.append(batch.images.clone())
    assert all(torch.equal(images, copy) for images, copy in zip(kept, copies, strict=True))


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("fixture", ["pictures", "frames"])
@pytest.mark.parametrize("num_workers", [1, 4])
@pytest.mark.parametrize("cache_bytes", [3000, 10**9])
def test_batches_from_memory_equal_those_from_files(
    request: pytest.FixtureRequest, geometry: str, fixture: str, num_workers: int, cache_bytes: int
) -> None:
    data_set = request.getfixturevalue(fixture)
    cached = make(data_set, geometry=geometry, num_workers=num_workers, cache_bytes=cache_bytes)
    files = make(data_set, geometry=geometry)
    for epoch in range(3):
        assert same(list(cached.epoch(epoch)), list(files.epoch(epoch)))


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_with_memory_each_image_is_decoded_once(frames: DataSet, geometry: str) -> None:
    expected = list(make(frames, geometry=geometry).epoch(1))
    cached = make(frames, geometry=geometry, num_workers=4, cache_bytes=10**9)
    list(cached.epoch(0))
    for frame in {example.path for example in frames.examples}:
        frame.write_bytes(b"")
    assert same(list(cached.epoch(1)), expected)


def test_with_memory_a_frame_is_decoded_once_for_all_its_examples(frames: DataSet) -> None:
    files = Images(frames.examples, 3, np.flipud)
    expected = [files[index] for index in range(4)]
    cached = Images(frames.examples, 3, np.flipud, budget_bytes=10**9)
    assert np.array_equal(cached[2], expected[2])
    frames.examples[0].path.write_bytes(b"")
    assert all(np.array_equal(cached[index], expected[index]) for index in range(4))


def test_an_object_in_memory_does_not_hold_its_whole_frame_there(frames: DataSet) -> None:
    cached = Images(frames.examples, 3, lambda image: image, budget_bytes=10**9)
    assert cached[1].base is None  # Its pixels are its own, not a view of the frame's.


def test_with_memory_threads_that_want_the_same_frame_get_the_same_pixels(frames: DataSet) -> None:
    cached = Images(frames.examples, 3, np.flipud, budget_bytes=10**9)
    with ThreadPoolExecutor(8) as pool:
        images = list(pool.map(cached.__getitem__, [0] * 8 + [4] * 8))
    assert all(image is images[0] for image in images[:8])
    assert all(image is images[8] for image in images[8:])


def test_without_memory_an_image_is_decoded_each_time(frames: DataSet) -> None:
    training = make(frames, report=Notes())
    assert len(list(training.epoch(0))) == 3
    for frame in {example.path for example in frames.examples}:
        frame.write_bytes(b"")
    assert list(training.epoch(1)) == []


def test_no_more_is_kept_than_the_budget_allows(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    paths = [tmp_path / f"{index}.png" for index in range(10)]
    for path in paths:
        write_picture(path, 0, value=10)
    # An image of 16 x 24 pixels and 3 channels is 1152 bytes: three fit into 4000.
    training = make(as_data_set(paths), geometry="squeeze", cache_bytes=4000)
    with caplog.at_level(logging.INFO, "tao_lite.data.cache"):
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
    ("mode", "needed", "expected"),
    [("OFF", 1, 0), ("AUTO", 250, 250), ("AUTO", 251, 0), ("MEMORY", 1, 750), ("MEMORY", 5000, 750)],
)
def test_auto_keeps_what_needs_a_quarter_of_the_available_memory(
    mode: str, needed: int, expected: int, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "tao_lite.data.cache"):
        assert budget_bytes(mode, needed, 1000) == expected
    verdict = "are kept in memory" if expected else "are decoded anew each epoch"
    assert caplog.records[0].getMessage().endswith(f"with cache {mode} they {verdict}")


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


SPEC = """
model_config { arch: "resnet" input_image_size: "3,32,48" resize_interpolation_method: BICUBIC }
train_config { n_workers: 1 enable_random_crop: true enable_center_crop: true }
eval_config { n_workers: 1000 enable_center_crop: false }
dataset_config { cache: MEMORY }
"""


@pytest.fixture
def build(pictures: DataSet) -> Callable[..., Loader]:
    def built(split: str, spec: str = SPEC, world_size: int = 1) -> Loader:
        return loader(
            text_format.Parse(spec, pb.Experiment()),
            pictures,
            split,  # type: ignore[arg-type]
            batch_size=5,
            seed=9,
            rank=0,
            world_size=world_size,
            pin_memory=False,
            report=Report(),
        )

    return built


def test_the_spec_sets_the_loader(build: Callable[..., Loader]) -> None:
    train = build("train")
    assert (train.size, train.channels, train.interpolation) == ((32, 48), 3, "bicubic")
    assert (train.batch_size, train.seed, train.num_workers, train.training) == (5, 9, 1, True)
    assert train.class_names == ("cat", "dog", "eel")
    assert train.num_examples == NUM_PICTURES
    assert train.cache_bytes > 0
    assert next(iter(train.epoch(0))).images.shape == (5, 3, 32, 48)


def test_random_crop_is_for_training_and_each_other_split_has_its_own_centre_crop(build: Callable[..., Loader]) -> None:
    assert [build(split).geometry for split in ("train", "val", "eval")] == ["random_crop", "centre_crop", "squeeze"]
    plain = 'model_config { input_image_size: "1, 32, 48" } eval_config { enable_center_crop: true }'
    loaders = [build(split, plain) for split in ("train", "val", "eval")]
    assert [each.geometry for each in loaders] == ["squeeze", "squeeze", "centre_crop"]
    assert [each.training for each in loaders] == [True, False, False]
    assert loaders[0].channels == 1


def test_more_threads_than_cores_are_reduced(build: Callable[..., Loader], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "tao_lite.data.loader"):
        assert build("eval").num_workers == usable_cores()
    assert caplog.messages == [f"n_workers was reduced from 1000 to {usable_cores()}, the cores at hand"]


def test_unset_threads_are_one_per_core_shared_by_the_processes(build: Callable[..., Loader]) -> None:
    plain = 'model_config { input_image_size: "3,32,48" }'
    assert build("val", plain).num_workers == usable_cores()
    assert build("val", plain, world_size=1000).num_workers == 1


def test_cache_off_keeps_nothing(build: Callable[..., Loader]) -> None:
    assert build("train", SPEC.replace("MEMORY", "OFF")).cache_bytes == 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_batches_for_a_gpu_are_page_locked(damaged: DataSet) -> None:
    batches = list(make(damaged, training=False, pin_memory=True, report=Notes()).epoch(0))
    assert all(tensor.is_pinned() for batch in batches for tensor in (batch.images, batch.labels, batch.draws))
