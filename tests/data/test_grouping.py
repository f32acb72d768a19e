"""Which pictures belong together when validation is held out, in every format."""

import json
from pathlib import Path

import pytest
from PIL import Image

from tao_lite.data.asked import options_of
from tao_lite.data.dataset import load
from tao_lite.data.example import Example
from tao_lite.data.grouping import grouped
from tao_lite.errors import DataError
from tao_lite.spec import classification_pb2 as pb
from tests.data import shards
from tests.data.records import picture, written

TRAIN = "train_config.train_dataset_path"
COPIES = ("a_jpg.rf.0123abc", "a_jpg.rf.4567def", "b_jpg.rf.AbC9")


def in_format(root: Path, kind: str) -> Path:
    """A data set of these copies."""
    if kind == "TFRECORD":
        records = [
            {"image/encoded": [picture()], "image/class/text": [b"cat"], "image/filename": [f"{name}.jpg".encode()]}
            for name in COPIES
        ]
        written(root / "a.tfrecord", records)
        return root
    if kind == "WEBDATASET":
        files = [
            (f"{n}.{end}", content)
            for n in range(len(COPIES))
            for end, content in (("cls", b"cat"), ("jpg", picture()))
        ]
        shards.written(root / "a.tar", files)
        return root
    images = {"IMAGE_FOLDER": "cat", "KITTI": "image_2"}.get(kind, "images")
    labels = {"KITTI": ("label_2", "cat 0 0 0 1 1 30 30 0 0 0 0 0 0 0"), "YOLO": ("labels", "0 0.5 0.5 1 1")}.get(kind)
    for name in COPIES:
        (root / images).mkdir(parents=True, exist_ok=True)
        Image.new("L", (40, 40)).save(root / images / f"{name}.png")
        if labels:
            (root / labels[0]).mkdir(exist_ok=True)
            (root / labels[0] / f"{name}.txt").write_text(labels[1])
    if kind == "COCO":
        boxes = [{"id": n, "image_id": n, "category_id": 1, "bbox": [1, 1, 9, 9]} for n in range(len(COPIES))]
        named = [{"id": n, "file_name": f"images/{name}.png"} for n, name in enumerate(COPIES)]
        content = {"images": named, "annotations": boxes, "categories": [{"id": 1, "name": "cat"}]}
        (root / "x.json").write_text(json.dumps(content))
    if kind == "MANIFEST":
        (root / "manifest.csv").write_text("\n".join(["path,label", *(f"images/{name}.png,cat" for name in COPIES)]))
    if kind == "YOLO":
        (root / "data.yaml").write_text("train: images\nnames: [cat]\n")
    return root


@pytest.mark.parametrize(
    ("kind", "above"),
    [
        *(("IMAGE_FOLDER", "cat/"), ("KITTI", ""), ("TFRECORD", "")),
        *((kind, "images/") for kind in ("YOLO", "COCO", "MANIFEST")),
    ],
)
def test_copies_that_roboflow_made_of_one_picture_are_one_group(tmp_path: Path, kind: str, above: str) -> None:
    """FIELD.md E5"""
    root, experiment = in_format(tmp_path / "data", kind), pb.Experiment()
    examples = load(root, "AUTO", options_of(experiment, TRAIN))
    assert [one.group for one in examples] == [f"{above}{name}" for name in ("a_jpg", "a_jpg", "b_jpg")]
    experiment.dataset_config.group_pattern = "rf.(..)"
    groups = [one.group for one in load(root, "AUTO", options_of(experiment, TRAIN))]
    assert groups == ["01", "45", "Ab"]


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        (r"(patient\d+)_", "cat/patient07_left.png", "patient07"),
        (r"^.*?_", "cat/07_left.png", "cat/07_"),  # without a group of its own, all that is found
        (r"(patient\d+)_", "cat/other.png", "cat/other.png"),
        (r"(a)?left", "cat/left.png", "cat/left.png"),
        ("", "cat/7.png", "cat/7.png"),
    ],
)
def test_pattern_finds_the_group_in_the_name(pattern: str, name: str, expected: str) -> None:
    """FIELD.md E5"""
    assert [one.group for one in grouped([Example(Path(name), "cat", name)], pattern)] == [expected]


def test_pattern_that_is_none_is_refused() -> None:
    """FIELD.md E5"""
    with pytest.raises(DataError, match=r"dataset_config\.group_pattern: '\(a' is no regular expression \(missing \)"):
        grouped([], "(a")
