"""Which family a file is of, told by its keys; other tasks of TAO are named."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from tao_lite.spec import schema
from tao_lite.spec.bind import nearest
from tao_lite.spec.findings import Finding, Place, error
from tao_lite.spec.text.nodes import Leaf, Named, Node
from tao_lite.spec.text.syntax import Field

OURS = "tao_lite"
TF2, PYT, OPENMMLAB = "classification_tf2", "classification_pyt", "classification_pyt (OpenMMLab)"
MULTITASK = "multitask_classification"

_BLOCK, _VALUE, _ANY = "block", "value", "any"

# What only one family has: path -> what stands there.
_MARKS = {
    OPENMMLAB: {
        "train.exp_config": _BLOCK,
        "train.train_config": _BLOCK,
        "dataset.data": _BLOCK,
        "dataset.img_norm_cfg": _BLOCK,
    },
    PYT: {
        **dict.fromkeys(("train.optim", "train.cudnn", "distill", "quantize"), _BLOCK),
        **dict.fromkeys((f"dataset.{split}_dataset" for split in ("train", "val", "test")), _BLOCK),
        **dict.fromkeys(("dataset.root_dir", "dataset.img_size", "dataset.classes_file"), _ANY),
        "dataset.augmentation.random_flip": _BLOCK,
        "train.clip_grad_norm": _VALUE,
        "train.enable_ema": _VALUE,
    },
    TF2: {
        **dict.fromkeys(("train.optim_config", "train.lr_config", "train.reg_config", "train.bn_config"), _BLOCK),
        **dict.fromkeys(
            ("train.batch_size_per_gpu", "train.n_epochs", "train.qat", "train.train_dataset_path"), _VALUE
        ),
        **dict.fromkeys(
            (
                f"{data}.{name}"
                for data in ("data", "dataset")
                for name in ("train_dataset_path", "val_dataset_path", "preprocess_mode", "image_mean")
            ),
            _ANY,
        ),
        **dict.fromkeys(("evaluate.dataset_path", "evaluate.eval_dataset_path", "evaluate.top_k"), _VALUE),
        **dict.fromkeys(("model.arch", "model.backbone", "model.input_image_depth", "model.byom_model"), _VALUE),
        **dict.fromkeys(("prune.threshold", "prune.pruning_threshold", "prune.byom_model_path"), _VALUE),
        **dict.fromkeys(("export.data_type", "export.dtype", "export.save_engine"), _VALUE),
        "model.input_image_size": _ANY,
        "augment": _BLOCK,
        "eval": _BLOCK,
    },
    MULTITASK: {
        "training_config.checkpoint_interval": _VALUE,
        "training_config.learning_rate": _BLOCK,
        "dataset_config.train_csv_path": _VALUE,
        "dataset_config.image_directory_path": _VALUE,
    },
}
# Asked where no mark is found: words that the two forms of classification_pyt share, and the smallest specs of tf2.
_FAINT = (
    (PYT, ("model.backbone", "model.head"), _BLOCK),
    (TF2, ("export", "prune", "evaluate", "inference", "train"), _BLOCK),
)
# At the top of the first form of classification_tf2, whose blocks are called as ours.
_FIRST_FORM = ("results_dir", "key", "encryption_key", "data_format", "init_epoch", "num_gpus")
# What only another task has -> the task.
_OTHER_TASKS = {
    "dataset.train_data_sources": "an object detection task (such as dino, deformable_detr, rtdetr or grounding_dino)",
    "dataset.segment": "segformer or visual_changenet",
    "dataset.classify": "visual_changenet",
    "model.decode_head": "segformer",
    "model.sem_seg_head": "mask2former or oneformer",
    "model.mask_former": "mask2former",
    "model.num_queries": "an object detection task (such as dino, deformable_detr or rtdetr)",
    "dataset.train_tfrecords": "efficientdet_tf2",
    "data.train_tfrecords": "efficientdet_tf2",
    "dataset.character_list_file": "ocrnet",
    "dataset.train_dataset_dir": "ocrnet",
    "dataset.train_dataset.data_path": "ocdnet or pose_classification",
    "dataset.train_dataset.csv_path": "optical_inspection",
    "dataset.class_names": "pointpillars",
    "dataset.query_dataset_dir": "re_identification",
    "dataset.train_dataset_path.query": "re_identification",
    "model.rgb_seq_length": "action_recognition",
    "model.graph_layout": "pose_classification",
    "model.feat_dim": "metric_learning_recognition or re_identification",
    "train.triplet_loss_margin": "metric_learning_recognition",
    "bbox_rasterizer_config": "detectnet_v2",
    "yolov3_config": "yolo_v3",
    "yolov4_config": "yolo_v4",
    "yolov4_tiny_config": "yolo_v4_tiny",
    "ssd_config": "ssd",
    "dssd_config": "dssd",
    "retinanet_config": "retinanet",
    "fasterrcnn_config": "faster_rcnn",
    "maskrcnn_config": "mask_rcnn",
    "efficientdet_config": "efficientdet_tf1",
    "lpr_config": "lprnet",
}
_READ = f"ours (model_config, train_config, ...), {TF2}, {PYT} and its OpenMMLab form"


class ForeignError(Exception):
    """The file is of no family that can be read; carries what is to be said."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.text)
        self.finding = finding


class _Found(NamedTuple):
    path: str
    place: Place


def family(top: Named) -> str:
    """The family of a JSON or YAML file; ours for one that is empty or has only mistakes in our words.

    Raises:
        ForeignError: two families in one file, another task's file, or one that is not trained here.
    """
    _refuse_other_tasks(top)
    found = {name: mark for name, marks in _MARKS.items() if (mark := _first(top, marks))}
    ours = next((_Found(one.name, one.place) for one in top.entries if one.name in _our_blocks()), None)
    if ours and MULTITASK not in found:
        found[TF2 if any(one.name in _FIRST_FORM for one in top.entries) and not found else OURS] = ours
    if len(found) > 1:
        raise ForeignError(_two(found))
    name = next(iter(found), "") or _faint(top)
    if name == MULTITASK:
        raise ForeignError(multitask(found[name].place, found[name].path))
    if not name and top.entries and not any(nearest(one.name, _our_blocks()) for one in top.entries):
        names = ", ".join(dict.fromkeys(one.name for one in top.entries))
        text = f"is no spec that can be read here: found {names}; known are {_READ}"
        raise ForeignError(error(top.entries[0].place, "", text))
    return name or OURS


def other_task(fields: Sequence[Field]) -> Finding | None:
    """What is to be said of text format that is another task's; nothing if it may be ours."""
    blocks = {one.name: one for one in fields}
    for name, task in _OTHER_TASKS.items():
        if name in blocks:
            return _other(blocks[name].place, name, task)
    inner = {f"{block.name}.{one.name}": one for block in fields for one in fields_of(block)}
    mark = next((inner[path] for path in _MARKS[MULTITASK] if path in inner), None)
    return multitask(mark.place, mark.name) if mark else None


def multitask(place: Place, path: str) -> Finding:
    """The refusal of a multi-task spec, which is known by that field."""
    text = (
        f"{path} makes this a spec of {MULTITASK}, networks with several heads, which are not trained here; for one of "
        "its tasks write a spec of your own (tao-lite spec init) with a folder of images for each of its classes"
    )
    return error(place, "", text)


def fields_of(block: Field) -> list[Field]:
    """The fields in a block; none of a value."""
    return block.value if isinstance(block.value, list) else []


def at(top: Named, path: str) -> Node | None:
    """The node at a dotted path of names."""
    node: Node | None = top
    for name in path.split("."):
        node = next((one.node for one in node.entries if one.name == name), None) if isinstance(node, Named) else None
    return node


def _our_blocks() -> Iterable[str]:
    return [name for name in schema.fields(schema.EXPERIMENT) if name != "compat"]


def _first(top: Named, marks: dict[str, str]) -> _Found | None:
    return next(_present(top, marks), None)


def _present(top: Named, marks: dict[str, str]) -> Iterator[_Found]:
    for path, kind in marks.items():
        node = at(top, path)
        if (
            node is None
            or (kind == _BLOCK and not isinstance(node, Named))
            or (kind == _VALUE and isinstance(node, Named))
        ):
            continue
        yield _Found(path, _place(top, path))


def _place(top: Named, path: str) -> Place:
    """Where the last name of the path stands."""
    outer, _, name = path.rpartition(".")
    block = at(top, outer) if outer else top
    assert isinstance(block, Named)
    return next(one.place for one in block.entries if one.name == name)


def _faint(top: Named) -> str:
    for name, paths, kind in _FAINT:
        if _first(top, dict.fromkeys(paths, kind)):
            return name
    return ""


def _refuse_other_tasks(top: Named) -> None:
    for path, task in _OTHER_TASKS.items():
        node = at(top, path)
        if node is not None and not (isinstance(node, Leaf) and not node.value):
            raise ForeignError(_other(_place(top, path), path, task))


def _other(place: Place, path: str, task: str) -> Finding:
    return error(place, "", f"{path} makes this a spec of {task}; only image classification is trained here: {_READ}")


def _two(found: dict[str, _Found]) -> Finding:
    (name, mark), (other, other_mark) = sorted(found.items(), key=lambda one: one[1].place)[:2]
    text = (
        f"{other_mark.path} is {_of(other)}, but {mark.path} on line {mark.place.line} is {_of(name)}; "
        "a file holds one family, so take out what is of the other"
    )
    return error(other_mark.place, "", text)


def _of(name: str) -> str:
    return "of our own form" if name == OURS else f"{name}'s"
