"""What a spec asks of its data sets: where they are, how they are read, and what is done about bad examples."""

import os
from collections.abc import Mapping
from pathlib import Path

from tao_lite.data.example import KittiOptions, MultitaskOptions, Options, RemoteOptions, Split, TfrecordOptions
from tao_lite.data.formats import table
from tao_lite.data.left_out import LeftOut
from tao_lite.files.places import own_cache
from tao_lite.spec import classification_pb2 as pb

TRAIN = "train_config.train_dataset_path"
VALIDATION = "train_config.val_dataset_path"
EVALUATION = "eval_config.eval_dataset_path"

_SPLITS: Mapping[str, Split] = {TRAIN: "train", VALIDATION: "val", EVALUATION: "test"}


def paths(experiment: pb.Experiment) -> dict[str, str]:
    """The data sets that the spec names: field and path; a manifest may be named for training and say the validation.

    Raises:
        DataError: the manifest can't be read.
    """
    named = (
        experiment.train_config.train_dataset_path,
        validation_path(experiment),
        experiment.eval_config.eval_dataset_path,
    )
    return {field: path for field, path in zip(_SPLITS, named, strict=True) if path}


def validation_path(experiment: pb.Experiment) -> str:
    """The path of the validation examples: the one named, else that of a manifest for training which says them.

    Where a fold of the training data validates there is none.

    Raises:
        DataError: the manifest can't be read.
    """
    train = experiment.train_config
    if train.val_dataset_path or not train.train_dataset_path or experiment.dataset_config.HasField("fold"):
        return train.val_dataset_path
    is_said = table.says_validation(root_of(train.train_dataset_path), format_of(experiment))
    return train.train_dataset_path if is_said else ""


def options_of(experiment: pb.Experiment, field: str, report: LeftOut | None = None) -> Options:
    """What a reader needs to know of the data set that this field names."""
    config, kitti = experiment.dataset_config, experiment.dataset_config.kitti
    multitask = config.multitask
    return Options(
        report=report or report_of(experiment, field),
        name=field,
        split=_SPLITS.get(field, "train"),
        kitti=KittiOptions(
            image_dir=kitti.image_dir,
            label_dir=kitti.label_dir,
            min_height_pixels=_decimal(kitti.min_height_pixels) if kitti.HasField("min_height_pixels") else None,
            max_occlusion=kitti.max_occlusion,
            max_truncation=_decimal(kitti.max_truncation),
            margin=_decimal(kitti.margin),
            square=kitti.square,
            class_mapping=dict(kitti.class_mapping),
            ignored_classes=frozenset(kitti.ignored_classes),
        ),
        tfrecord=TfrecordOptions(image_dir=config.tfrecord.image_dir, label_map=config.tfrecord.label_map),
        multitask=MultitaskOptions(
            image_dir=root_of(multitask.image_dir) if multitask.image_dir else None,
            tasks=tuple(multitask.tasks),
            multi_label=frozenset(multitask.multi_label),
        ),
        remote=RemoteOptions(
            max_bytes=int(config.shard_cache_gib * 2**30) if config.shard_cache_gib else None,
            timeout_seconds=config.store_timeout_seconds,
        ),
        yolo_root=config.yolo_root,
        coco_image_dir=config.coco_image_dir,
        group_pattern=config.group_pattern,
        full_scale=config.full_scale,
        index_dir=cache_folder(experiment),
        written=_if_relative(_written(experiment, field)),
    )


def report_of(experiment: pb.Experiment, name: str, *, is_logged: bool = True) -> LeftOut:
    """What is told of bad examples and, as the spec says, counts them or ends the run at the first.

    `name` is how messages call the data set.
    """
    config = experiment.dataset_config
    return LeftOut(
        name,
        fail=config.on_bad_example == pb.BadExample.FAIL,
        max_bad_share=_decimal(config.max_bad_share),
        is_logged=is_logged,
    )


def cache_folder(experiment: pb.Experiment) -> Path:
    """Where what can be made again is kept."""
    wanted = experiment.dataset_config.cache_dir
    return root_of(wanted) if wanted else own_cache()


def root_of(path: str) -> Path:
    """The path of a spec as an absolute one."""
    return Path(os.path.expanduser(path)).absolute()  # noqa: PTH111 - Path.expanduser raises for an unknown ~user


def format_of(experiment: pb.Experiment) -> str:
    """The format that the spec names, of DatasetFormat."""
    return pb.DatasetFormat.Kind.Name(experiment.dataset_config.format)


def _written(experiment: pb.Experiment, field: str) -> str:
    block, _, name = field.partition(".")
    return str(getattr(getattr(experiment, block), name)) if field in _SPLITS else ""


def _if_relative(path: str) -> str:
    return "" if Path(path).is_absolute() or path.startswith("~") else path


def _decimal(value: float) -> float:
    """The number as written in the spec: the schema's float holds 0.7 as 0.699999988, less than a label's 0.70."""
    return float(f"{value:.7g}")
