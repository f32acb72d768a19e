"""The loader of a split, as a spec describes it."""

import logging
from typing import Literal

from tao_lite.data import shuffle
from tao_lite.data.asked import cache_folder
from tao_lite.data.cache.folder import room
from tao_lite.data.cache.plan import Room, device_room, estimate_bytes, plan
from tao_lite.data.dataset import DataSet
from tao_lite.data.geometry import AreaCrop, RandomBox, random_crop
from tao_lite.data.growth import Growth
from tao_lite.data.loader import Cache, Geometry, Loader
from tao_lite.data.pipeline import fixed_geometry
from tao_lite.data.remote.ahead import Ahead
from tao_lite.data.sampler import Sampler
from tao_lite.machine.distributed import World
from tao_lite.machine.host import available_memory, usable_cores
from tao_lite.spec import classification_pb2 as pb

_log = logging.getLogger(__name__)


def loader(
    experiment: pb.Experiment,
    data_set: DataSet,
    split: Literal["train", "val", "eval"],
    *,
    batch_size: int,
    seed: int,
    world: World,
    is_whole: bool = False,
    grows: bool = False,
) -> Loader:
    """The batches of this process, for its device. It has its share of what this machine has.

    Whole pictures keep the size that they have in their files, and need a batch size of 1. grows: first epochs have
    smaller images, if the spec says so.
    """
    train, evaluation, model = experiment.train_config, experiment.eval_config, experiment.model_config
    channels, height, width = (int(number) for number in model.input_image_size.split(","))
    is_training = split == "train"
    has_random_crop = is_training and train.enable_random_crop
    # Evaluation sees what validation saw, unless the spec says else.
    crops = evaluation if split == "eval" and evaluation.HasField("enable_center_crop") else train
    view = fixed_geometry(experiment, is_cropped=not is_training and crops.enable_center_crop)
    geometry: Geometry = "random_crop" if has_random_crop else view
    ahead = Ahead(data_set.examples, world.num_neighbours)
    shards = shuffle.shards_of(data_set) if is_training else None
    growth = Growth.of(train, (height, width)) if grows else None
    is_fixed = not (has_random_crop or growth)
    needed = estimate_bytes(data_set.examples, channels, None if has_random_crop else (height, width))
    return Loader(
        data_set=data_set,
        sampler=Sampler(
            num_examples=len(data_set.examples),
            batch_size=batch_size,
            seed=seed,
            training=is_training,
            classes=data_set.labels() if is_training and train.sampler == pb.Sampler.BALANCED else None,
            shards=shards,
            window=shuffle.window(experiment, shards, ahead, world) if is_training else 0,
            rank=world.rank,
            world_size=world.world_size,
            accumulation=train.gradient_accumulation_steps if is_training else 1,
        ),
        size=(height, width),
        channels=channels,
        num_workers=_num_workers((evaluation if split == "eval" else train).n_workers, world.num_neighbours),
        geometry="whole" if is_whole else geometry,
        interpolation="bicubic" if model.resize_interpolation_method == pb.BICUBIC else "bilinear",
        random_box=_random_box(train),
        growth=growth,
        bars=model.letterbox_value,
        report=data_set.report,
        total=world.sum_,
        cache=None if is_whole else _cache(experiment, needed, world, is_fixed=is_fixed, is_read_once=split == "eval"),
        ahead=ahead,
        pin_memory=world.device.type == "cuda",
    )


def _cache(experiment: pb.Experiment, needed: int, world: World, *, is_fixed: bool, is_read_once: bool) -> Cache | None:
    """Room for images that need so many bytes; the rest as for `plan`."""
    folder = cache_folder(experiment)
    kind, max_bytes = plan(
        pb.Cache.Mode.Name(experiment.dataset_config.cache),
        needed,
        Room(available_memory() // world.num_neighbours, room(folder), device_room(world.device)),
        folder,
        is_fixed=is_fixed,
        is_read_once=is_read_once,
    )
    place = folder if kind == "DISK" else world.device if kind == "DEVICE" else None
    return Cache(max_bytes, place) if max_bytes else None


def _random_box(train: pb.TrainConfig) -> RandomBox:
    if not train.HasField("random_crop"):
        return random_crop
    config = train.random_crop
    return AreaCrop((config.min_area, config.max_area), (config.min_aspect, config.max_aspect))


def _num_workers(wanted: int, num_neighbours: int) -> int:
    """Threads of one process: as many as wanted, at most its share of the cores, which is also the default."""
    cores = max(1, usable_cores() // num_neighbours)
    if wanted > cores:
        _log.info("n_workers was reduced from %d to %d, the cores at hand", wanted, cores)
    return min(wanted or cores, cores)
