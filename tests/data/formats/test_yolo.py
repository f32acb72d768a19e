"""YOLO data sets: the dialects of data.yaml, the lines of label files, and what is said about the rest."""

import logging
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml
from PIL import Image

from tao_lite.data.example import Example, KittiOptions, Options, Split
from tao_lite.data.formats.table import detect
from tao_lite.data.formats.yolo import read
from tao_lite.data.formats.yolo_yaml import load
from tao_lite.data.left_out import LeftOut
from tao_lite.errors import DataError

NAME = "train_config.train_dataset_path"
NAMES = "names: [cat, dog]\n"
MIDDLE = "0 0.5 0.5 0.5 0.5"


def made(root: Path, text: str, labels: Mapping[str, str | None]) -> Path:
    """A data.yaml and pictures of 40 x 20, by path below the root, each with its label file unless that is None."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "data.yaml").write_text(text)
    for name, label in labels.items():
        picture = root / name
        picture.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 20)).save(picture)
        if label is not None:
            path = Path(str(picture.with_suffix(".txt")).replace("/images/", "/labels/"))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(label)
    return root


def paths(root: Path, split: Split = "train", yolo_root: str = "") -> list[str]:
    options = Options(report=LeftOut(fail=True), split=split, yolo_root=yolo_root, name=NAME)
    return [str(example.path) for example in read(root, options)]


def problem(root: Path, split: Split = "train", yolo_root: str = "") -> str:
    with pytest.raises(DataError) as caught:
        paths(root, split, yolo_root)
    return str(caught.value)


def boxes(root: Path, label: str) -> tuple[list[tuple[str, tuple[int, int, int, int] | None]], list[str]]:
    """Classes and boxes of a label text, and what is reported of its lines."""
    report = LeftOut(is_logged=False)
    made(root, f"train: images\n{NAMES}", {"images/1.png": label, "images/2.png": MIDDLE})
    examples = read(root, Options(report=report))
    found = [(one.label, one.box) for one in examples if one.path.stem == "1"]
    return found, [f"{place.removeprefix(f'{root}/labels/')}: {problem}" for place, problem in report.problems]


def test_each_object_is_an_example_in_the_group_of_its_picture(tmp_path: Path) -> None:
    root = made(tmp_path, f"train: images\n{NAMES}", {"images/b/7.png": f"{MIDDLE}\n1 0.5 0.5 1 1\n"})
    group = "images/b/7"
    expected = [
        Example(root / "images/b/7.png", "cat", group, (10, 5, 30, 15)),
        Example(root / "images/b/7.png", "dog", group, (0, 0, 40, 20)),
    ]
    assert read(root, Options()) == expected
    assert read(root / "data.yaml", Options()) == expected
    assert detect(root, Options()) == detect(root / "data.yaml", Options()) == "YOLO"


def test_lines_of_each_kind_become_boxes(tmp_path: Path) -> None:
    found, problems = boxes(
        tmp_path,
        "\ufeff0 0.5 0.5 0.5 0.5\r\n"  # 10 5 30 15
        "1.0 0.25 0.5 0.5 1 0.93\n\n"  # with a score: 0 0 20 20
        "0 0.1 0.1 0.5 0.2 0.2 0.9\n"  # polygon: 4..20, 2..18
        "1 0.25 0 0.75 0 0.75 1 0.25 1\n"  # a rectangle by its corners: 10 0 30 20
        "0 1.0 0.5 0.5 0.5\n",  # half of it outside: 30 5 40 15
    )
    assert found == [
        ("cat", (10, 5, 30, 15)),
        ("dog", (0, 0, 20, 20)),
        ("cat", (4, 2, 20, 18)),
        ("dog", (10, 0, 30, 20)),
        ("cat", (30, 5, 40, 15)),
    ]
    assert problems == []


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("0 0.5 0.5", "3 columns, must be 5 (class, centre x and y, width, height) or a class and 3 points or more"),
        ("0 0.5 0.5 x 0.5", "column 4 is 'x', must be a number"),
        ("cat 0.5 0.5 0.5 0.5", "column 1 is 'cat', must be the number of a class; it looks like a KITTI label"),
        ("0.5 0.5 0.5 0.5 0.5", "column 1 is '0.5', must be the number of a class"),
        ("-1 0.5 0.5 0.5 0.5", "its class is -1: not labelled"),
        ("nan 0.5 0.5 0.5 0.5", "column 1 is 'nan', must be the number of a class; it looks like a KITTI label"),
        ("0 0.5 0.5 0 0.5", "the box is empty: left 0.5, top 0.25, right 0.5, bottom 0.75"),
        ("0 0.5 0.5 -1 0.5", "the box is empty: left 1, top 0.25, right 0, bottom 0.75"),
        ("0 nan 0.5 0.5 0.5", "the box has a side that is no number: left nan, top 0.25, right nan, bottom 0.75"),
        (
            "0 320 240 64 48",
            (
                "the box must be in shares of the picture, 0 to 1; these look like pixels: "
                "left 288, top 216, right 352, bottom 264"
            ),
        ),
        ("0 1.4 0.5 0.5 0.5", "the box lies outside its frame of 40 x 20 pixels: left 46, top 5, right 66, bottom 15"),
    ],
)
def test_line_that_is_no_label_is_reported_with_its_place(tmp_path: Path, line: str, expected: str) -> None:
    found, problems = boxes(tmp_path, f"{MIDDLE}\n{line}")
    assert len(found) == 1
    assert problems == [f"1.txt:2: {expected}"]


def test_keypoints_are_passed_over_where_the_yaml_says_how_many(tmp_path: Path) -> None:
    text = f"train: images\nkpt_shape: [2, 3]\n{NAMES}"
    root = made(tmp_path, text, {"images/1.png": f"{MIDDLE} 0.1 0.1 2 0.2 0.2 1"})
    assert [one.box for one in read(root, Options())] == [(10, 5, 30, 15)]


def test_filters_margin_and_classes_are_those_of_kitti(tmp_path: Path) -> None:
    root = made(tmp_path, f"train: images\n{NAMES}", {"images/1.png": f"{MIDDLE}\n1 0.5 0.5 0.5 0.5"})
    kitti = KittiOptions(
        min_height_pixels=0,
        margin=0.1,
        square=True,
        class_mapping={"cat": "animal"},
        ignored_classes=frozenset({"dog"}),
    )
    # 20 x 10 at (10, 5) with a tenth on each side is 24 x 12 at (8, 4), squared 24 x 24 at (8, -2), clipped.
    assert [(one.label, one.box) for one in read(root, Options(kitti=kitti))] == [("animal", (8, 0, 32, 20))]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("names: [cat, 'two words']", {0: "cat", 1: "two words"}),
        ("names: {0: cat, 1: dog}", {0: "cat", 1: "dog"}),
        ("names:\n  3: cat\n  '7': dog", {3: "cat", 7: "dog"}),
        # YAML 1.1 makes False, a number and a date of these.
        ("names: [No, 1.0, 2020-01-01]", {0: "No", 1: "1.0", 2: "2020-01-01"}),
        ("nc: 2", {0: "0", 1: "1"}),
        ("nc: 3\nnames: [cat, dog]", {0: "cat", 1: "dog"}),
    ],
)
def test_names_are_read_in_each_dialect(tmp_path: Path, text: str, expected: dict[int, str]) -> None:
    root = made(tmp_path, f"train: images\n{text}", {})
    assert load(root / "data.yaml", Options()).names == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("train: [", ":1:9: can't be read as YAML: expected the node content, but found '<stream end>'"),
        ("\x00", ":1:1: YAML can't hold this character"),
        ("[" * 5000, ":1:34: blocks are nested more than 32 deep"),
        ("just text", ":1:1: must be values or blocks by name, with a colon after each name"),
        ("a: &a [x]\nb: [*a, *a]", ":2:5: *a is an alias; write the value out"),
        (NAMES, ": names no folder of pictures; must have train, val or test"),
        ("train: images", ": names is missing; must be a list of classes, or number: name of each"),
        ("train: images\nnames: {a: cat}", ": names has 'a': 'cat'; must be a number and the name of a class"),
        ("train: images\nnames: [[a]]", ": names has '0': ['a']; must be a number and the name of a class"),
        (f"train: {{a: b}}\n{NAMES}", ": train must be a folder, a list of pictures in a .txt, or several of them"),
        (f"val: images\n{NAMES}", ": has no train split; it has val"),
    ],
)
def test_yaml_that_is_none_is_refused_with_its_place(tmp_path: Path, text: str, expected: str) -> None:
    made(tmp_path, text, {"images/1.png": MIDDLE})
    assert problem(tmp_path) == f"{tmp_path}/data.yaml{expected}"


@pytest.mark.parametrize(
    "text",
    [
        "train: train/images",
        "train: ./train/images",
        "train: ../train/images",  # Roboflow's, for the folder beside its data.yaml
        "train: train",
        "path: .\ntrain: train/images",
        "path: ../datasets/set\ntrain: train/images",
        "path: /content/drive/set\ntrain: train/images",
        "train: /content/set/train/images",
        "train: C:\\Users\\me\\set\\train\\images",
        "train: [train/images]",
        "train:\n- ../train/images",
        "train: lists/train.txt",
        "path: train\ntrain: images",
    ],
)
def test_folders_are_found_however_they_are_written(tmp_path: Path, text: str) -> None:
    root = made(tmp_path / "set", f"{text}\n{NAMES}", {"train/images/1.png": MIDDLE, "images/2.png": MIDDLE})
    shutil.rmtree(root / "images")
    (root / "lists").mkdir()
    (root / "lists/train.txt").write_text("./../train/images/1.png\n\n")
    assert paths(root) == [str(root / "train/images/1.png")]


def test_several_folders_are_read_in_their_order_and_each_picture_once(tmp_path: Path) -> None:
    text = f"train: [images/b, images/a, images/b]\n{NAMES}"
    root = made(tmp_path, text, {"images/a/1.png": MIDDLE, "images/b/2.png": MIDDLE})
    assert paths(root) == [str(root / "images/b/2.png"), str(root / "images/a/1.png")]


def test_paths_that_lead_out_are_refused_unless_allowed(tmp_path: Path) -> None:
    made(tmp_path, "", {"other/images/1.png": MIDDLE})
    root = made(tmp_path / "set", f"train: ../other/images\n{NAMES}", {})
    assert problem(root) == (
        f"{root}/data.yaml: train is '../other/images', which is not there; looked for {root}/other/images; "
        f"{tmp_path}/other/images lies outside: to allow it, set dataset_config.yolo_root"
    )
    assert paths(root, yolo_root="..") == [str(tmp_path / "other/images/1.png")]
    (root / "data.yaml").write_text(f"train: {tmp_path}/other/images\n{NAMES}")
    assert "lies outside" in problem(root)
    (root / "list.txt").write_text("../other/images/1.png\n")
    (root / "data.yaml").write_text(f"train: list.txt\n{NAMES}")
    assert problem(root).startswith(f"{root}/list.txt:1: no picture ../other/images/1.png below {root}")


def test_two_splits_never_become_one_folder_by_what_is_left_out(tmp_path: Path) -> None:
    root = made(tmp_path, f"train: /x/train/images\nval: /x/valid/images\n{NAMES}", {"images/1.png": MIDDLE})
    assert "train is '/x/train/images', which is not there" in problem(root)


def test_split_is_the_one_asked_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    text = f"train: train/images\nvalid: valid/images\ntest: test/images\n{NAMES}"
    labels = {f"{split}/images/1.png": MIDDLE for split in ("train", "valid", "test")}
    root = made(tmp_path, text, labels)
    assert paths(root, "train") == [str(root / "train/images/1.png")]
    assert paths(root, "val") == [str(root / "valid/images/1.png")]
    assert paths(root, "test") == [str(root / "test/images/1.png")]
    shutil.rmtree(root / "test")
    assert paths(root, "test") == [str(root / "valid/images/1.png")]
    assert f"{root}/data.yaml: the folder of test is not there; took valid" in caplog.messages
    caplog.set_level(logging.INFO)
    (root / "data.yaml").write_text(f"train: train/images\nval: valid/images\ntest:\n{NAMES}")
    assert paths(root, "test") == [str(root / "valid/images/1.png")]
    assert f"{root}/data.yaml: has no test split; took val" in caplog.messages
    (root / "data.yaml").write_text(f"train: train/images\n{NAMES}")
    assert problem(root, "val") == f"{root}/data.yaml: has no val split; it has train"


def test_pictures_and_labels_without_each_other_are_reported(tmp_path: Path) -> None:
    report = LeftOut(is_logged=False)
    root = made(tmp_path, f"train: images\n{NAMES}", {"images/1.png": None, "images/2.png": MIDDLE, "images/3.png": ""})
    (root / "labels/9.txt").write_text(MIDDLE)
    (root / "labels/classes.txt").write_text("cat\ndog")
    (root / "labels/2.txt").write_bytes(b"\xff\xfd")
    with pytest.raises(DataError, match=r"is left of the 3 pictures .* 1 unreadable, 1 labels without picture$"):
        read(root, Options(report=report))
    assert report.problems == [
        (f"{root}/images/1.png", f"has no label file {root}/labels/1.txt"),
        (f"{root}/labels/2.txt:1", "byte 0xff is not UTF-8; save it as UTF-8"),
        (f"{root}/labels/9.txt", "has no picture"),
    ]


def test_labels_may_lie_beside_their_pictures(tmp_path: Path) -> None:
    root = made(tmp_path / "images", f"train: data\n{NAMES}", {"data/1.png": None})
    (root / "data/1.txt").write_text(MIDDLE)
    assert paths(root) == [str(root / "data/1.png")]


def test_real_export_is_read_in_all_its_splits(shared: Path) -> None:
    root = shared / "data/yolo/sign6"
    classes = yaml.safe_load((root / "data.yaml").read_text())["names"]
    # Lines of the label files, counted with wc.
    for split, num_pictures, num_objects in (("train", 94, 95), ("val", 27, 28), ("test", 13, 13)):
        examples = read(root, Options(split=split, report=LeftOut(fail=True)))  # type: ignore[arg-type]
        assert len({one.path for one in examples}) == num_pictures
        assert len(examples) == num_objects
        assert {one.label for one in examples} == set(classes)


@pytest.mark.parametrize(
    ("name", "folder", "classes"),
    [
        ("18401172024+SignLanguageDetection1", "train/images", ("Hello", "Yes")),
        ("AMG-source+PROJECT-FACE-DETECTION", "train/images", ("Blackheads", "Wrinkles")),
        ("AhmedQ08+mask-yolo", "train/images", ("no_mask", "with_mask")),
        ("Alex-Mario+bottlecaps_detection", "train/images", ("light blue", "others")),
        ("SETianyuFan+Yolov5-kitti__data_VOC", "images/train2012", ("aeroplane", "tvmonitor")),
        ("SETianyuFan+Yolov5-kitti__data_kitti", "kitti/images", ("Car", "Cyclist")),
        ("ultralytics+yolov5__data_coco128", "images/train2017", ("person", "toothbrush")),
    ],
)
def test_every_real_yaml_finds_its_folder_beside_it(
    shared: Path, tmp_path: Path, name: str, folder: str, classes: tuple[str, str]
) -> None:
    (source,) = (shared / "data/yolo/yaml_zoo").glob(f"{name}*.yaml")
    root = made(tmp_path, source.read_text(), {f"{folder}/1.png": MIDDLE})
    for other in ("images/train2007", "images/val2012", "images/val2007"):
        (root / other).mkdir(parents=True, exist_ok=True)
    assert paths(root) == [str(root / folder / "1.png")]
    names = load(root / "data.yaml", Options()).names
    assert (names[0], names[max(names)]) == classes


def test_labels_that_count_from_one_are_refused(tmp_path: Path) -> None:
    """FIELD.md E2: the class behind the last name shows that the others are one off."""
    root = made(tmp_path, f"train: images\n{NAMES}", {"images/1.png": MIDDLE, "images/2.png": "2 0.5 0.5 1 1"})
    assert problem(root).startswith(
        f"{NAME}: its labels number the classes 0 to 2, and {root}/data.yaml names 0 to 1; every name may be one off"
    )
