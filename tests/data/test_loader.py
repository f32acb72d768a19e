"""Batches from real files: order, threads, processes, damage."""

import logging
import re
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from google.protobuf import text_format
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tao_lite.data.dataset import DataSet
from tao_lite.data.decode import decode
from tao_lite.data.draws import MIXUP, NUM_DRAWS, permutation, uniforms
from tao_lite.data.example import Example
from tao_lite.data.from_spec import loader
from tao_lite.data.geometry import fixed, random_crop, resize, resize_crop, squeeze
from tao_lite.data.left_out import LeftOut
from tao_lite.data.loader import Cache, Loader
from tao_lite.errors import DataError
from tao_lite.machine.distributed import World
from tao_lite.machine.host import usable_cores
from tao_lite.spec import classification_pb2 as pb
from tests.data.pictures import KINDS, NUM_PICTURES, cached, indices_of, make, same


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
    box = random_crop(image.shape[:2], (16, 24), (*numbers[6, 5:8], 0))
    expected = resize_crop(image, box, (16, 24), "bilinear")
    assert np.array_equal(batches[1].images[2].permute(1, 2, 0).numpy(), expected)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_batch_has_the_shapes_and_the_layout_of_the_contract(pictures: DataSet, channels: int) -> None:
    batch = next(iter(make(pictures, channels=channels).epoch(0)))
    assert (batch.images.dtype, batch.images.shape) == (torch.uint8, (4, channels, 16, 24))
    assert batch.images.is_contiguous(memory_format=torch.channels_last)
    assert (batch.labels.dtype, batch.labels.shape) == (torch.int64, (4,))
    assert (batch.draws.dtype, batch.draws.shape) == (torch.float32, (4, NUM_DRAWS))


def test_weights_average_one_and_go_with_their_images(damaged: DataSet) -> None:
    assert [batch.weights for batch in make(damaged, report=LeftOut()).epoch(0)] == [None, None]
    weighted = replace(damaged, examples=tuple(replace(one, weight=1 + int(one.path.stem)) for one in damaged.examples))
    for batch in make(weighted, report=LeftOut()).epoch(0):
        assert batch.weights is not None
        assert batch.weights.dtype == torch.float32
        assert batch.weights.tolist() == pytest.approx([(1 + int(path.stem)) / 5.5 for path in batch.paths])
    alike = replace(damaged, examples=tuple(replace(one, weight=0.1) for one in damaged.examples))
    assert alike.weights() is None


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
    assert same(list(make(pictures).epoch(1, done=4 * start)), whole[start:])


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
slow_files = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])


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


def test_balanced_classes_come_equally_often_and_a_repeated_image_looks_another_way(pictures: DataSet) -> None:
    rare = DataSet([*pictures.examples[:1], *pictures.examples[1::3]], pictures.class_names)
    batches = list(make(rare, balanced=True).epoch(2))
    labels = torch.cat([batch.labels for batch in batches])
    counts = labels.bincount().tolist()
    assert abs(counts[0] - counts[1]) <= 1
    draws = torch.cat([batch.draws for batch in batches])
    of_the_only_cat = draws[labels == 0]
    assert len(of_the_only_cat) > 1
    assert len(np.unique(of_the_only_cat.numpy(), axis=0)) == len(of_the_only_cat)
    assert same(list(make(rare, balanced=True, num_workers=1).epoch(2, done=4)), batches[1:])


def test_balanced_batches_of_processes_are_those_of_one(pictures: DataSet) -> None:
    alone = list(make(pictures, batch_size=6, balanced=True).epoch(0))
    parts = [list(make(pictures, batch_size=3, rank=rank, world_size=2, balanced=True).epoch(0)) for rank in range(2)]
    for number in range(3):
        together = torch.stack([part[number].draws for part in parts], dim=1).flatten(0, 1)
        assert torch.equal(alone[number].draws, together)


def test_too_few_images_for_the_processes_is_an_error(pictures: DataSet) -> None:
    data_set = DataSet(pictures.examples[:3], pictures.class_names)
    with pytest.raises(DataError, match="3 training images are too few for 4 processes; use fewer --gpus"):
        make(data_set, rank=3, world_size=4)


@pytest.mark.parametrize("kind", KINDS)
def test_bad_images_are_reported_once_and_left_out(damaged: DataSet, kind: str, tmp_path: Path) -> None:
    notes = LeftOut(is_logged=False)
    evaluation = make(damaged, training=False, geometry="squeeze", report=notes, **cached(kind, tmp_path))
    for epoch in (0, 1):
        batches = list(evaluation.epoch(epoch))
        assert indices_of(batches) == [0, 1, 3, 8, 9]
        # The second batch, 4 to 7, is empty; the third keeps its number.
        assert [(batch.number, len(batch.paths)) for batch in batches] == [(0, 3), (2, 2)]
        for batch in batches:
            count = len(batch.paths)
            assert (len(batch.images), len(batch.labels), len(batch.draws)) == (count, count, count)
            assert batch.images.is_contiguous(memory_format=torch.channels_last)
    assert [place for place, _ in notes.problems] == [str(damaged.examples[index].path) for index in (2, 4, 5, 6, 7)]


def test_the_images_beside_a_bad_one_are_what_they_would_be_without_it(damaged: DataSet) -> None:
    batch = next(iter(make(damaged, training=False, report=LeftOut(is_logged=False), geometry="squeeze").epoch(0)))
    assert batch.labels.tolist() == [0, 1, 0]
    for slot, index in enumerate((0, 1, 3)):
        image = decode(damaged.examples[index].path, 3)
        expected = resize(image, squeeze(image.shape[:2], (16, 24)), (16, 24), "bilinear")
        assert np.array_equal(batch.images[slot].permute(1, 2, 0).numpy(), expected)
    assert batch.draws.numpy() == pytest.approx(uniforms(1, 0, np.array([0, 1, 3]), NUM_DRAWS), abs=1e-7)


def test_training_leaves_out_a_batch_of_which_one_image_is_left(damaged: DataSet) -> None:
    # Batches of 2 in some order; those that hold two good images remain.
    training = make(damaged, batch_size=2, report=LeftOut(is_logged=False))
    orders = (permutation(1, epoch, 10).reshape(5, 2).tolist() for epoch in range(20))
    wholes = [[number for number, pair in enumerate(order) if set(pair) <= {0, 1, 3, 8, 9}] for order in orders]
    epoch, whole = next((epoch, whole) for epoch, whole in enumerate(wholes) if whole)
    batches = list(training.epoch(epoch))
    assert [batch.number for batch in batches] == whole
    assert all(len(batch.paths) == 2 for batch in batches)


def test_a_batch_of_several_processes_is_never_left_out_in_silence(damaged: DataSet) -> None:
    # One image a batch and half of them bad: the other process would wait for a step that does not come.
    training = make(damaged, batch_size=1, report=LeftOut(is_logged=False), rank=1, world_size=2)
    first_bad = next(number for number, index in enumerate(permutation(1, 0, 10)[1::2]) if index in (2, 4, 5, 6, 7))
    with pytest.raises(DataError, match=rf"^batch {first_bad} of process 1 has too few images that can be read, "):
        list(training.epoch(0))
    assert decoder_threads() == []


def test_a_bad_image_ends_the_run_if_the_policy_says_so(damaged: DataSet) -> None:
    evaluation = make(damaged, training=False, report=LeftOut(fail=True))
    with pytest.raises(DataError, match=f"^{re.escape(str(damaged.examples[2].path))}: .*on_bad_example: SKIP"):
        list(evaluation.epoch(0))
    assert decoder_threads() == []


def test_a_box_outside_its_picture_is_a_bad_example(pictures: DataSet) -> None:
    path = pictures.examples[0].path
    examples = (Example(path, "cat", "0"), Example(path, "cat", "0", (500, 500, 510, 510)))
    notes = LeftOut(is_logged=False)
    batches = list(make(DataSet(examples, ("cat",)), training=False, report=notes, cache=Cache(10**9)).epoch(0))
    assert [len(batch.paths) for batch in batches] == [1]
    assert [place for place, _ in notes.problems] == [str(path)]


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


SPEC = """
model_config { arch: "resnet" input_image_size: "3,32,48" resize_interpolation_method: BICUBIC }
train_config { n_workers: 1 enable_random_crop: true enable_center_crop: true }
eval_config { n_workers: 1000 enable_center_crop: false }
dataset_config { cache: MEMORY }
"""


@pytest.fixture
def build(pictures: DataSet) -> Callable[..., Loader]:
    def built(split: str, spec: str = SPEC, world_size: int = 1, local_world_size: int = 0) -> Loader:
        return loader(
            text_format.Parse(spec, pb.Experiment()),
            pictures,
            split,  # type: ignore[arg-type]
            batch_size=5,
            seed=9,
            world=World(
                rank=0,
                world_size=world_size,
                local_rank=0,
                device=torch.device("cpu"),
                local_world_size=local_world_size,
            ),
        )

    return built


def test_the_spec_sets_the_loader(build: Callable[..., Loader]) -> None:
    train = build("train")
    assert (train.size, train.channels, train.interpolation) == ((32, 48), 3, "bicubic")
    order = train.sampler
    assert (order.batch_size, order.seed, train.num_workers, order.training) == (5, 9, 1, True)
    assert train.class_names == ("cat", "dog", "eel")
    assert train.num_examples == NUM_PICTURES
    assert train.cache
    assert train.cache.max_bytes > 0
    assert next(iter(train.epoch(0))).images.shape == (5, 3, 32, 48)


def test_random_crop_is_for_training_and_each_other_split_has_its_own_centre_crop(build: Callable[..., Loader]) -> None:
    assert [build(split).geometry for split in ("train", "val", "eval")] == ["random_crop", "centre_crop", "squeeze"]
    plain = 'model_config { input_image_size: "1, 32, 48" } eval_config { enable_center_crop: true }'
    loaders = [build(split, plain) for split in ("train", "val", "eval")]
    assert [each.geometry for each in loaders] == ["squeeze", "squeeze", "centre_crop"]
    assert [each.sampler.training for each in loaders] == [True, False, False]
    assert loaders[0].channels == 1


@pytest.mark.parametrize("mode", ["squeeze", "centre_crop", "letterbox"])
def test_the_network_s_way_to_its_shape_holds_in_every_split_unless_it_is_random(
    build: Callable[..., Loader], mode: str
) -> None:
    sees = SPEC.replace("input_image_size", f"resize_mode: {mode.upper()} letterbox_value: 7 input_image_size")
    loaders = [build(split, sees) for split in ("train", "val", "eval")]
    assert [each.geometry for each in loaders] == ["random_crop", mode, mode]
    assert build("train", sees.replace("enable_random_crop: true", "")).geometry == mode
    assert {each.bars for each in loaders} == {7}


def test_letterboxed_pictures_lie_between_bars_from_every_cache(build: Callable[..., Loader], tmp_path: Path) -> None:
    sees = SPEC.replace("input_image_size", "resize_mode: LETTERBOX letterbox_value: 200 input_image_size")
    kept = sees.replace("cache: MEMORY", f'cache: DISK cache_dir: "{tmp_path}/cache"')
    for spec in (sees.replace("MEMORY", "OFF"), sees, kept, kept):
        loader_ = build("val", spec)
        for batch in loader_.epoch(0):
            for image, path in zip(batch.images, batch.paths, strict=True):
                pixels = decode(path, 3)
                expected = fixed(pixels, "letterbox", (32, 48), "bicubic", 200)
                assert np.array_equal(image.permute(1, 2, 0).numpy(), expected)


def test_more_threads_than_cores_are_reduced(build: Callable[..., Loader], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "tao_lite.data.from_spec"):
        assert build("eval").num_workers == usable_cores()
    assert caplog.messages == [f"n_workers was reduced from 1000 to {usable_cores()}, the cores at hand"]


def test_unset_threads_are_one_per_core_shared_by_the_processes(build: Callable[..., Loader]) -> None:
    plain = 'model_config { input_image_size: "3,32,48" }'
    assert build("val", plain).num_workers == usable_cores()
    assert build("val", plain, world_size=1000).num_workers == 1


def test_cores_and_memory_are_divided_by_the_processes_of_this_machine(build: Callable[..., Loader]) -> None:
    """FIELD.md B11."""
    plain = 'model_config { input_image_size: "3,32,48" }'
    assert build("val", plain, world_size=1000, local_world_size=1).num_workers == usable_cores()
    alone, crowded = (build("val", world_size=10**9, local_world_size=size).cache for size in (1, 10**9))
    assert alone
    assert crowded
    assert alone.max_bytes > 10**6 > crowded.max_bytes


def test_cache_off_keeps_nothing(build: Callable[..., Loader]) -> None:
    assert build("train", SPEC.replace("MEMORY", "OFF")).cache is None


def test_the_spec_says_where_images_are_kept(build: Callable[..., Loader], tmp_path: Path) -> None:
    disk = build("train", SPEC.replace("cache: MEMORY", f'cache: DISK cache_dir: "{tmp_path}/cache"'))
    assert disk.cache
    assert disk.cache.place == tmp_path / "cache"
    assert next(iter(disk.epoch(0))).images.shape == (5, 3, 32, 48)
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".images"]
    memory = build("val", SPEC.replace("cache: MEMORY", "cache: DEVICE"))
    assert memory.cache
    assert memory.cache.place is None
    assert memory.cache.max_bytes > 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_batches_for_a_gpu_are_page_locked(damaged: DataSet) -> None:
    batches = list(make(damaged, training=False, pin_memory=True, report=LeftOut(is_logged=False)).epoch(0))
    assert all(tensor.is_pinned() for batch in batches for tensor in (batch.images, batch.labels, batch.draws))
