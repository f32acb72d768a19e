"""One data set in every format: the same pictures train to the same weights, bit by bit, through the command line."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from PIL import Image

from tao_lite import checkpoint as checkpoints
from tests.data.command import exit_code
from tests.data.records import Values, written

SPEC = """
model_config { arch: "resnet" n_layers: 10 use_batch_norm: true input_image_size: "3,32,32" }
train_config {
  train_dataset_path: "%(train)s" val_dataset_path: "%(val)s"
  optimizer { sgd { momentum: 0.9 } }
  batch_size_per_gpu: 8 n_epochs: 1 random_seed: 7 preprocess_mode: "torch" enable_random_crop: true
  reg_config { type: "L2" weight_decay: 0.0001 }
  lr_config { cosine { learning_rate: 0.02 } }
  precision: FP32
}
dataset_config { format: %(kind)s }
eval_config { top_k: 2 batch_size: 5 }
"""
NAMES = ("blue", "green", "red")
NUM_TRAINING = 6


def files(colours: Path, split: str) -> list[tuple[str, Path]]:
    """Class and file, in the order of an image folder."""
    numbers = range(NUM_TRAINING) if split == "train" else range(30, 33)
    return [(name, colours / name / f"{number:03d}.png") for name in NAMES for number in numbers]


def image_folder(root: Path, pictures: list[tuple[str, Path]]) -> Path:
    for name, path in pictures:
        (root / name).mkdir(parents=True, exist_ok=True)
        (root / name / path.name).symlink_to(path)
    return root


def kitti(root: Path, pictures: list[tuple[str, Path]]) -> Path:
    for name in ("image_2", "label_2"):
        (root / name).mkdir(parents=True)
    for number, (name, path) in enumerate(pictures):
        (root / f"image_2/{number:06d}.png").symlink_to(path)
        (root / f"label_2/{number:06d}.txt").write_text(f"{name} 0 0 0 0 0 40 36 0 0 0 0 0 0 0\n")
    return root


def tfrecord(root: Path, pictures: list[tuple[str, Path]]) -> Path:
    def values(name: str, path: Path) -> Values:
        return {"image/encoded": [path.read_bytes()], "image/class/text": [name.encode()]}

    half = len(pictures) // 2
    for number, part in enumerate((pictures[:half], pictures[half:])):
        written(root / f"{number}.tfrecord", [values(name, path) for name, path in part])
    return root


def object_records(root: Path, pictures: list[tuple[str, Path]]) -> Path:
    sides = {f"image/object/bbox/{side}min": [0.0] for side in "xy"} | {
        f"image/object/bbox/{side}max": [1.0] for side in "xy"
    }
    written(
        root / "objects.record",
        [
            {"image/encoded": [path.read_bytes()], "image/object/class/text": [name.encode()], **sides}
            for name, path in pictures
        ],
    )
    return root


def yolo(root: Path, pictures: list[tuple[str, Path]]) -> Path:
    split = root.name
    for number, (name, path) in enumerate(pictures):
        for folder in ("images", "labels"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        (root / f"images/{number:06d}.png").symlink_to(path)
        (root / f"labels/{number:06d}.txt").write_text(f"{NAMES.index(name)} 0.5 0.5 1 1\n")
    with (root.parent / "data.yaml").open("a") as file:
        file.write(f"{split}: ../{split}/images\n" + (f"names: {list(NAMES)}\n" if split == "train" else ""))
    return root.parent / "data.yaml"


def coco(root: Path, pictures: list[tuple[str, Path]]) -> Path:
    root.mkdir(parents=True)
    images, annotations = [], []
    for number, (name, path) in enumerate(pictures):
        (root / f"{number:06d}.png").symlink_to(path)
        images.append({"id": number, "file_name": f"{number:06d}.png"})
        annotations.append(
            {"id": number, "image_id": number, "category_id": NAMES.index(name), "bbox": [0, 0, 40, 36], "iscrowd": 0}
        )
    categories = [{"id": number, "name": name} for number, name in enumerate(NAMES)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (root / "x.json").write_text(json.dumps(content))
    return root / "x.json"


def manifest(root: Path, pictures: list[tuple[str, Path]], weight: str = "") -> Path:
    (root / "pictures").mkdir(parents=True)
    rows = ["path;label;weight"]
    for number, (name, path) in enumerate(pictures):
        (root / f"pictures/{number:06d}.png").symlink_to(path)
        rows.append(f"pictures/{number:06d}.png;{name};{weight}")
    (root / "x.csv").write_text("\r\n".join(rows))
    return root / "x.csv"


MAKERS: dict[str, tuple[Callable[[Path, list[tuple[str, Path]]], Path], str]] = {
    "image_folder": (image_folder, "IMAGE_FOLDER"),
    "kitti": (kitti, "KITTI"),
    "tfrecord": (tfrecord, "TFRECORD"),
    "object_records": (object_records, "TFRECORD"),
    "yolo": (yolo, "YOLO"),
    "coco": (coco, "COCO"),
    "manifest": (manifest, "MANIFEST"),
    "equal_weights": (partial(manifest, weight="0.3"), "MANIFEST"),
    "recognised": (tfrecord, "AUTO"),
}


def train(name: str, colours: Path, root: Path) -> Path:
    """Results folder of an epoch on the colours in a format; in this process, for speed."""
    make, kind = MAKERS[name]
    train, val = (make(root / "data" / split, files(colours, split)) for split in ("train", "val"))
    spec = root / "s.cfg"
    spec.write_text(SPEC % {"train": train, "val": val, "kind": kind})
    assert exit_code("train", "-e", spec, "-r", root / "results") == 0
    return root / "results"


@pytest.fixture(scope="module")
def reference(colours: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train("image_folder", colours, tmp_path_factory.mktemp("reference"))


def test_the_reference_is_of_18_pictures(reference: Path) -> None:
    assert json.loads((reference / "classmap.json").read_text()) == {"blue": 0, "green": 1, "red": 2}


@pytest.mark.parametrize("name", [name for name in MAKERS if name != "image_folder"])
def test_each_format_trains_to_the_same_weights(name: str, reference: Path, colours: Path, tmp_path: Path) -> None:
    results = train(name, colours, tmp_path)
    theirs, ours = (checkpoints.load(one / "weights/resnet_001.pth").network for one in (reference, results))
    assert theirs.keys() == ours.keys()
    for key, tensor in theirs.items():
        assert torch.equal(tensor, ours[key]), key
    assert (results / "training.csv").read_text() == (reference / "training.csv").read_text()


def test_weights_of_a_manifest_change_the_training(reference: Path, colours: Path, tmp_path: Path) -> None:
    train, val = (manifest(tmp_path / "data" / split, files(colours, split), "1") for split in ("train", "val"))
    train.write_text(train.read_text().replace(";red;1", ";red;5"))
    spec = tmp_path / "s.cfg"
    spec.write_text(SPEC % {"train": train, "val": val, "kind": "AUTO"})
    assert exit_code("train", "-e", spec, "-r", tmp_path / "results") == 0
    theirs, ours = (
        checkpoints.load(one / "weights/resnet_001.pth").network for one in (reference, tmp_path / "results")
    )
    assert any(not torch.equal(tensor, ours[key]) for key, tensor in theirs.items())


def test_real_records_train(shared: Path, tmp_path: Path) -> None:
    """An epoch on the 44 raccoons and 10 unnamed pictures: what matters is that the files serve as they are."""
    root = tmp_path / "data"
    root.mkdir()
    for path in (shared / "data/tfrecord").iterdir():
        (root / path.name).symlink_to(path)
    spec = tmp_path / "s.cfg"
    spec.write_text(SPEC % {"train": root, "val": root, "kind": "TFRECORD"})
    assert exit_code("train", "-e", spec, "-r", tmp_path / "results") == 0
    assert json.loads((tmp_path / "results/classmap.json").read_text()) == {"0": 0, "raccoon": 1}


def test_pictures_are_shown_by_file_and_record(colours: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = tmp_path / "data"
    tfrecord(root / "train", files(colours, "train"))
    Image.new("RGB", (4, 4)).save(tmp_path / "x.png")
    broken = (tmp_path / "x.png").read_bytes()[:40]
    written(root / "train/9.tfrecord", [{"image/encoded": [broken], "image/class/text": [b"red"]}])
    spec = tmp_path / "s.cfg"
    spec.write_text(SPEC % {"train": root / "train", "val": root / "train", "kind": "AUTO"})
    assert exit_code("train", "-e", spec, "-r", tmp_path / "results") == 0
    assert any(message.startswith(f"{root}/train/9.tfrecord#1: not a JPEG") for message in caplog.messages)
