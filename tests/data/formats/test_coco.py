"""COCO files of instances: which boxes become examples, where the pictures are, and what is said about the rest."""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import pytest
from PIL import Image

from tao_lite.data.dataset import evaluation, splits
from tao_lite.data.example import Example, KittiOptions, Options, Split
from tao_lite.data.formats.coco import class_names, read
from tao_lite.data.formats.table import detect, split_names
from tao_lite.data.left_out import LeftOut
from tao_lite.errors import DataError, brief
from tao_lite.spec import classification_pb2 as pb

NAME = "train_config.train_dataset_path"
CATEGORIES = [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}]


def annotated(number: int = 1, image: object = 1, category: object = 7, **more: Any) -> dict[str, Any]:
    """A box of 20 x 10 at (5, 5), and what is to be otherwise."""
    return {"id": number, "image_id": image, "category_id": category, "bbox": [5, 5, 20, 10], "iscrowd": 0, **more}


def made(
    path: Path,
    annotations: Sequence[object],
    *,
    files: Mapping[int, str] | None = None,
    folder: str = "",
    categories: object = CATEGORIES,
) -> Path:
    """A JSON file with pictures of 40 x 20 below a folder beside it; by default one, 1.png."""
    files = {1: "1.png"} if files is None else files
    for name in files.values():
        picture = path.parent / folder / name
        picture.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 20)).save(picture)
    images = [{"id": number, "file_name": name, "width": 40, "height": 20} for number, name in files.items()]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"annotations": annotations, "images": images, "categories": categories}))
    return path


def problems(path: Path, annotations: Sequence[object], **more: Any) -> tuple[list[str], str]:
    """What is reported of a file with a good annotation, number 100, and these; and what is counted."""
    report = LeftOut(is_logged=False)
    made(path, [annotated(100), *annotations], **more)
    assert len(read(path, Options(report=report))) == 1
    return [f"{place.removeprefix(str(path))}: {text}" for place, text in report.problems], str(report)


def refusal(path: Path, text: object) -> str:
    """How a file with this content is refused, without its path."""
    path.write_text(text if isinstance(text, str) else json.dumps(text))
    with pytest.raises(DataError) as caught:
        read(path, Options(name=NAME))
    return str(caught.value).removeprefix(str(path))


def test_each_box_is_an_example_in_the_group_of_its_picture(tmp_path: Path) -> None:
    """Annotations of several pictures are mixed, and stand before what they are about."""
    path = made(
        tmp_path / "x.json",
        [annotated(1, 20, 3), annotated(2, 1, bbox=[30.5, 0, 20.2, 9.9]), annotated(3, 20, segmentation=[[1, 2]])],
        files={20: "b/2.jpg.png", 1: "1.png"},
    )
    expected = [
        Example(tmp_path / "b/2.jpg.png", "cat", "b/2.jpg", (5, 5, 25, 15)),
        Example(tmp_path / "b/2.jpg.png", "dog", "b/2.jpg", (5, 5, 25, 15)),
        Example(tmp_path / "1.png", "dog", "1", (30, 0, 40, 10)),
    ]
    assert read(path, Options()) == expected
    assert read(tmp_path, Options()) == expected
    assert detect(path, Options()) == detect(tmp_path, Options()) == "COCO"


def test_boxes_of_a_picture_are_never_torn(tmp_path: Path) -> None:
    files = {number: f"{number}.png" for number in range(40)}
    boxes = [annotated(number, number % 40, (3, 7)[number % 2]) for number in range(120)]
    experiment = pb.Experiment()
    experiment.train_config.train_dataset_path = str(made(tmp_path / "x.json", boxes, files=files))
    train, val = splits(experiment, None)
    groups = [{one.group for one in side.examples} for side in (train, val)]
    assert groups[0].isdisjoint(groups[1])
    assert len(train.examples) + len(val.examples) == 120
    assert len(val.examples) == 3 * len(groups[1])


def test_classes_are_the_categories_in_the_order_of_the_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    categories = [*CATEGORIES, {"id": 1, "name": "ant"}]
    path = made(tmp_path / "x.json", [annotated(1), annotated(2, 1, 3)], categories=categories)
    assert class_names(path, Options(), {"dog", "cat"}) == ("dog", "cat", "ant")  # before it is read
    experiment = pb.Experiment()
    experiment.train_config.train_dataset_path = experiment.train_config.val_dataset_path = str(path)
    assert splits(experiment, None)[0].class_names == ("dog", "cat", "ant")
    assert f"{NAME}: held no example of ant" in caplog.messages
    experiment.dataset_config.kitti.ignored_classes.append("ant")
    caplog.clear()
    assert splits(experiment, None)[0].class_names == ("dog", "cat")
    assert not [message for message in caplog.messages if "ant" in message]
    made(path, [annotated(1), annotated(2, 1, 3)], categories=CATEGORIES[::-1])
    assert class_names(path, Options(), {"dog"}) == ("cat", "dog")


def test_boxes_are_chosen_and_cut_as_those_of_kitti(tmp_path: Path) -> None:
    path = made(tmp_path / "x.json", [annotated(1), annotated(2, 1, 3), annotated(3, bbox=[0, 0, 9, 4])])
    kitti = KittiOptions(min_height_pixels=5, margin=0.1, square=True, class_mapping={"cat": "pet"})
    report = LeftOut()
    examples = read(path, Options(kitti=kitti, report=report))
    assert [(one.label, one.box) for one in examples] == [("dog", (3, 0, 27, 20)), ("pet", (3, 0, 27, 20))]
    assert str(report) == "1 lower than 5 pixels (dataset_config.kitti.min_height_pixels)"
    kitti = KittiOptions(ignored_classes=frozenset({"cat"}))
    assert {one.label for one in read(path, Options(kitti=kitti))} == {"dog"}


def test_crowds_and_pictures_without_boxes_are_counted(tmp_path: Path) -> None:
    masks = {"counts": [9, 1, 2], "size": [20, 40]}
    crowds = [annotated(2, iscrowd=1, segmentation=masks), annotated(3, 1, 3, iscrowd=1)]
    said, counted = problems(tmp_path / "x.json", crowds, files={1: "1.png", 2: "2.png"})
    assert said == []
    assert counted == "2 crowds, 1 pictures without objects"


@pytest.mark.parametrize(
    ("bad", "expected"),
    [
        (annotated(bbox=[5, 5, 0, 10]), ": annotation 1: the box is empty: left 5, top 5, right 5, bottom 15"),
        (annotated(bbox=[5, 5, 10, -1]), ": annotation 1: the box is empty: left 5, top 5, right 15, bottom 4"),
        (annotated(bbox=[5, 5, 10]), ": annotation 1: its bbox is [5, 5, 10], must be [x, y, width, height]"),
        (annotated(bbox=None), ": annotation 1: its bbox is None, must be [x, y, width, height]"),
        (annotated(bbox=[5, 5, True, 1]), ": annotation 1: its bbox is [5, 5, True, 1], must be [x, y, width, height]"),
        (
            annotated(bbox=[50, 5, 9, 9]),
            (": annotation 1: the box lies outside its frame of 40 x 20 pixels: left 50, top 5, right 59, bottom 14"),
        ),
        (
            annotated(bbox=[5, 5, 10**400, 1]),
            f": annotation 1: its bbox is [5, 5, {brief(10**400)}, 1], must be [x, y, width, height]",
        ),
        (annotated(image=9), ": annotation 1: is of image 9, which is not among the images"),
        (annotated(category=9), ": annotation 1: is of category 9, which is not among the categories"),
        (annotated(image="1"), ": annotation 1: its id, image_id and category_id must be whole numbers"),
        (annotated(image=2**70), ": annotation 1: its id, image_id and category_id must be whole numbers"),
        ({"bbox": [1, 1, 9, 9]}, ": annotations[1]: its id, image_id and category_id must be whole numbers"),
        (annotated(100), ": annotation 100: another one has this id"),
    ],
)
def test_annotation_that_can_not_be_used_is_reported_by_its_id(tmp_path: Path, bad: object, expected: str) -> None:
    path = tmp_path / "x.json"
    assert problems(path, [bad])[0] == [expected]
    with pytest.raises(DataError) as caught:
        read(path, Options(report=LeftOut(fail=True)))
    assert str(caught.value).startswith(f"{path}{expected}; repair it")


def test_a_side_that_is_no_number_is_reported(tmp_path: Path) -> None:
    """Python reads NaN and 1e999 in JSON."""
    path = made(tmp_path / "x.json", [annotated(1), annotated(2, bbox=[1, 2, "nan", 4])])
    path.write_text(path.read_text().replace('"nan"', "NaN"))
    report = LeftOut()
    assert len(read(path, Options(report=report))) == 1
    assert report.problems == [
        (f"{path}: annotation 2", "the box has a side that is no number: left 1, top 2, right nan, bottom 6")
    ]


def test_missing_pictures_are_counted_and_named(tmp_path: Path) -> None:
    path = made(tmp_path / "x.json", [annotated(1), annotated(2, 2), annotated(3, 2)], files={1: "1.png", 2: "2.png"})
    (tmp_path / "2.png").unlink()
    report = LeftOut()
    assert len(read(path, Options(report=report))) == 1
    assert report.problems == [(f"{tmp_path}/2.png", "no such file; check the path")]
    assert str(report) == "2 unreadable"


def test_files_outside_the_folder_are_not_read(tmp_path: Path) -> None:
    root = tmp_path / "set"
    names = {1: "1.png", 2: "../out.png", 3: str(tmp_path / "out.png"), 4: "link/out.png", 5: "..\\out.png"}
    (tmp_path / "elsewhere").mkdir()
    root.mkdir()
    (root / "link").symlink_to(tmp_path / "elsewhere")
    path = made(root / "x.json", [annotated(number, number) for number in names], files=names)
    report = LeftOut()
    assert [one.path for one in read(path, Options(report=report))] == [root / "1.png"]
    assert [problem for _, problem in report.problems] == [
        f"file_name {names[number]!r} leads out of {root}" for number in sorted(names) if number > 1
    ]
    assert [place for place, _ in report.problems] == [f"{path}: image {number}" for number in (2, 3, 4, 5)]


@pytest.mark.parametrize(
    ("file", "folder", "file_name"),
    [
        ("annotations/instances_train2017.json", "../train2017", "1.png"),
        ("annotations/instances_train.json", "../images/train", "1.png"),
        ("annotations/instances_default.json", "../images", "a/1.png"),
        ("annotations/x.json", "..", "images/1.png"),
        ("result.json", ".", "images\\1.png"),
        ("labels.json", "data", "1.png"),
        ("train/_annotations.coco.json", ".", "1.png"),
    ],
)
def test_pictures_are_found_where_tools_put_them(tmp_path: Path, file: str, folder: str, file_name: str) -> None:
    path = made(tmp_path / file, [annotated()], folder=folder, files={1: file_name.replace("\\", "/")})
    path.write_text(path.read_text().replace(file_name.replace("\\", "/"), file_name.replace("\\", "\\\\")))
    (example,) = read(tmp_path, Options())
    assert example.path.is_file()
    assert read(path, Options()) == [example]


def test_folder_of_pictures_may_be_chosen(tmp_path: Path) -> None:
    path = made(tmp_path / "set/x.json", [annotated()], folder="../pictures")
    said = refusal(path, path.read_text())
    assert said == (
        f"{NAME}: none of the first 1 images that {path} names is there, such as '1.png'; looked in "
        f"{path.parent}/x, {path.parent}/images/x, {path.parent}, {path.parent}/images, {path.parent}/data; "
        "set dataset_config.coco_image_dir to the folder they are in"
    )
    (example,) = read(path, Options(coco_image_dir="../pictures"))
    assert example.path == tmp_path / "pictures/1.png"


def test_file_is_that_of_the_split(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for split, names in (("train", {1: "1.png"}), ("val", {1: "2.png"})):
        boxes = [annotated(1), annotated(2, 1, 3)]
        made(tmp_path / f"annotations/instances_{split}2017.json", boxes, files=names, folder=f"../{split}2017")
        (tmp_path / f"annotations/captions_{split}2017.json").write_text('{"info": {}, "images": []}')
    read_by = {split: {one.path.stem for one in read(tmp_path, Options(split=split))} for split in get_args(Split)}
    assert read_by == {"train": {"1"}, "val": {"2"}, "test": {"2"}}
    assert split_names(tmp_path, "AUTO") == split_names(tmp_path, "COCO") == ["train", "val"]
    experiment = pb.Experiment()
    experiment.train_config.train_dataset_path = experiment.eval_config.eval_dataset_path = str(tmp_path)
    assert {one.path.stem for one in evaluation(experiment, None).examples} == {"2"}
    (tmp_path / "annotations/instances_train2017.json").rename(tmp_path / "annotations/instances_a.json")
    with pytest.raises(DataError, match=r"several COCO files and not one for train; give one of them: .*_a\.json, "):
        read(tmp_path, Options())


def test_roboflow_has_a_file_in_each_split(tmp_path: Path) -> None:
    for split in ("train", "valid", "test"):
        made(tmp_path / split / "_annotations.coco.json", [annotated()], files={1: f"{split}.png"})
    found = {split: [one.path for one in read(tmp_path, Options(split=split))] for split in get_args(Split)}
    assert found == {
        "train": [tmp_path / "train/train.png"],
        "val": [tmp_path / "valid/valid.png"],
        "test": [tmp_path / "test/test.png"],
    }


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"shapes": [1], "version": 2}, ": has no images and no annotations and no categories; it has shapes, version"),
        ({"images": [{"id": 1, "file_name": "1.png"}]}, ": has no annotations and no categories; it has images"),
        ([{"image_id": 1}], ":1:1: is not JSON that can be read (found '[', must be {)"),
        ({"images": [3]}, ": images[0]: is 3, must be an object"),
        ({"annotations": [[]]}, ": annotations[0]: is [], must be an object"),
        (
            {"images": [{"id": 1}]},
            ': images[0]: must have an "id", a whole number, and a "file_name"; found {\'id\': 1}',
        ),
        (
            {"categories": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]},
            (
                ": categories[1]: id 1 is that of 'a' and of 'b', so that nothing says which of them an annotation is "
                "about; number them anew"
            ),
        ),
        (
            {
                "images": [{"id": 1, "file_name": "1.png"}],
                "categories": CATEGORIES,
                "annotations": [annotated(bbox=[0.1, 0.2, 0.5, 0.5])],
            },
            ": its boxes look like shares of the picture; COCO's are in pixels",
        ),
        ('{"images": [{"id": 1,\n "file_name": "1.pn', ":2:20: is not JSON that can be read (the file is cut off)"),
    ],
)
def test_file_that_is_no_coco_is_refused_with_its_place(tmp_path: Path, content: object, expected: str) -> None:
    assert refusal(tmp_path / "x.json", content) == expected


def test_other_json_is_not_taken_for_coco(tmp_path: Path) -> None:
    (tmp_path / "classmap.json").write_text('{"cat": 0, "dog": 1}')
    (tmp_path / "broken.json").write_text('{"images"')
    (tmp_path / "cat").mkdir()
    assert detect(tmp_path, Options()) == "IMAGE_FOLDER"
    with pytest.raises(DataError) as caught:
        read(tmp_path, Options(name=NAME))
    assert str(caught.value) == f"{NAME}: {tmp_path} holds no JSON file of COCO instances"
    (tmp_path / "x.json").write_text('{"type": "instances", "info": {}, "images": []}')
    assert detect(tmp_path, Options()) == "COCO"


def test_no_box_left_is_an_error_that_says_why(tmp_path: Path) -> None:
    path = made(tmp_path / "x.json", [annotated(1, iscrowd=1), annotated(2, 1, 3), annotated(3, bbox=[1, 1, 0, 9])])
    with pytest.raises(DataError) as caught:
        read(path, Options(name=NAME, kitti=KittiOptions(ignored_classes=frozenset({"cat"}))))
    assert str(caught.value) == (
        f"{NAME}: no object is left of the annotations of {path}; left out: 1 crowds, 1 wrongly labelled, "
        "1 of ignored classes (dataset_config.kitti.ignored_classes)"
    )


def test_file_whose_boxes_are_all_unusable_is_refused(tmp_path: Path) -> None:
    path = made(tmp_path / "x.json", [annotated(1, iscrowd=1), annotated(2, bbox=None)])
    with pytest.raises(DataError, match=r"no object is left .* left out: 1 wrongly labelled, 1 crowds, 1 pictures"):
        read(path, Options())


def test_settings_without_effect_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = made(tmp_path / "x.json", [annotated()])
    caplog.set_level(logging.WARNING)
    read(path, Options(kitti=KittiOptions(class_mapping={"car": "dog"}, ignored_classes=frozenset({"bus"}))))
    assert caplog.messages == [
        "dataset_config.kitti.class_mapping: no label is car; there are cat, dog",
        "dataset_config.kitti.ignored_classes: no class is bus; there are cat, dog",
    ]


MEASURE = """
import resource, sys
from pathlib import Path
from tao_lite.data.example import Options
from tao_lite.data.formats.coco import read

def mebibytes(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10

before = mebibytes()
print(len(read(Path(sys.argv[1]), Options())), mebibytes() - before)
"""


@pytest.mark.slow
def test_memory_is_half_of_the_file(tmp_path: Path) -> None:
    """Outlines are as long as in COCO's own files: a gigabyte has two million boxes, COCO_BOXES=2700000 in all here."""
    number, outline = int(os.environ.get("COCO_BOXES", "290000")), ", ".join(f"{side / 7:.2f}" for side in range(1, 47))
    path = made(tmp_path / "x.json", [], files={place: f"{place}.png" for place in range(1, 101)})
    head, tail = path.read_text().split("[]")
    with path.open("w") as file:
        file.write(f"{head}[")
        for place in range(number):
            text = json.dumps(annotated(place, 1 + place * 7 % 100))[:-1]
            file.write(f'{", " if place else ""}{text}, "segmentation": [[{outline}]]}}')
        file.write(f"]{tail}")
    assert path.stat().st_size > 100 * 2**20
    shown = subprocess.run([sys.executable, "-c", MEASURE, path], capture_output=True, text=True, check=True).stdout
    count, grown = shown.split()
    assert int(count) == number
    assert float(grown) < path.stat().st_size / 2**20 / 2
