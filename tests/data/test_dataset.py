"""Data sets of a spec: formats recognised, classes compared by name, training and validation kept apart."""

import json
import logging
import os
import string
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, reject, settings
from hypothesis import strategies as st
from PIL import Image

from tao_lite.data.asked import options_of
from tao_lite.data.dataset import DataSet, divide, evaluation, load, read_classmap, splits
from tao_lite.data.example import Example, KittiOptions, Options
from tao_lite.data.formats import yolo_yaml
from tao_lite.data.formats.class_names import read_label_map
from tao_lite.data.formats.table import FORMATS, detect
from tao_lite.data.left_out import LeftOut
from tao_lite.errors import DataError
from tao_lite.spec import classification_pb2 as pb
from tests.data.records import Values, picture, written

CAR = "Car 0.00 0 -1.5 10 10 60 40 1.5 1.6 3.9 1.0 1.5 20.0 -1.5"
TRAIN = "train_config.train_dataset_path"
VALIDATION = "train_config.val_dataset_path"

# Of the frames 000000 to 000019 those for which `printf 000003 | b2sum -l 64` begins with less than 0x33.33 = 0.2.
HELD_OUT = ["000003", "000004", "000015", "000017"]


def folder(root: Path, **num_images: int) -> Path:
    """An image folder with so many files in each class; nothing here looks at pixels."""
    for name, count in num_images.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            (root / name / f"{number}.jpg").touch()
    return root


def kitti(root: Path, text: str, num_frames: int = 1) -> Path:
    for name in ("image_2", "label_2"):
        (root / name).mkdir(parents=True)
    for frame in range(num_frames):
        Image.new("L", (100, 50)).save(root / f"image_2/{frame}.png")
        (root / f"label_2/{frame}.txt").write_text(text)
    return root


def spec(
    train: Path | str = "", val: Path | str = "", evaluate: Path | str = "", val_split: float = 0.5
) -> pb.Experiment:
    experiment = pb.Experiment()
    if train:
        experiment.train_config.train_dataset_path = str(train)
    if val:
        experiment.train_config.val_dataset_path = str(val)
    if evaluate:
        experiment.eval_config.eval_dataset_path = str(evaluate)
    experiment.dataset_config.val_split = val_split
    return experiment


def groups(examples: Sequence[Example]) -> list[str]:
    return [example.group for example in examples]


def problem(call: Callable[[], object]) -> str:
    with pytest.raises(DataError) as caught:
        call()
    return str(caught.value)


def test_class_names_are_those_of_the_training_data_sorted(tmp_path: Path) -> None:
    train, val = folder(tmp_path / "train", dog=2, cat=1), folder(tmp_path / "val", cat=1, dog=1)
    training, validation = splits(spec(train, val), None)
    assert training.class_names == validation.class_names == ("cat", "dog")
    assert groups(training.examples) == ["cat/0.jpg", "dog/0.jpg", "dog/1.jpg"]
    assert groups(validation.examples) == ["cat/0.jpg", "dog/0.jpg"]


def test_class_map_gives_the_order_and_may_hold_more(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    train, val = folder(tmp_path / "train", cat=1, dog=1), folder(tmp_path / "val", cat=1, dog=1)
    training, validation = splits(spec(train, val), ["dog", "bird", "cat"])
    assert training.class_names == validation.class_names == ("dog", "bird", "cat")
    assert caplog.messages == [f"{TRAIN}: held no example of bird", f"{VALIDATION}: held no example of bird"]
    assert problem(lambda: splits(spec(train, val), ["cat", "bird"])) == (
        f"{TRAIN}: holds classes that the class map does not have: dog; has no examples of: bird; "
        "names must match exactly"
    )


def test_validation_classes_are_compared_by_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    train = folder(tmp_path / "train", cat=1, dog=1, owl=1)
    # As many classes as in training: TAO would not notice.
    other = folder(tmp_path / "other", Cat=1, bird=1, dog=1)
    assert problem(lambda: splits(spec(train, other), None)) == (
        f"{VALIDATION}: holds classes that the training data does not have: Cat, bird; has no examples of: cat, owl; "
        "names must match exactly; 'Cat' and 'cat' differ in case"
    )
    more = folder(tmp_path / "more", cat=1, dog=1, owl=1, bird=1)
    assert "does not have: bird; has no examples of: none missing" in problem(lambda: splits(spec(train, more), None))
    fewer = folder(tmp_path / "fewer", cat=1, dog=1)
    assert groups(splits(spec(train, fewer), None)[1].examples) == ["cat/0.jpg", "dog/0.jpg"]
    assert caplog.messages == [f"{VALIDATION}: held no example of owl"]


def test_without_validation_path_a_part_is_held_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "tao_lite.data.dataset")
    train = folder(tmp_path, cat=300, dog=300)
    training, validation = splits(spec(train, val_split=0.2), None)
    # 600 draws with p = 0.2: 120 with a standard deviation of 9.8
    assert 80 < len(validation.examples) < 160
    assert sorted(groups([*training.examples, *validation.examples])) == groups(load(train, "AUTO", Options()))
    assert caplog.messages[:2] == [
        f"{tmp_path}: recognised as IMAGE_FOLDER",
        f"{len(training.examples)} examples for training, {len(validation.examples)} for validation; 2 classes",
    ]


@st.composite
def examples_of_frames(draw: st.DrawFn) -> list[Example]:
    frames = draw(st.sets(st.text(string.printable, min_size=1, max_size=6), min_size=2, max_size=40))
    return [
        Example(Path(frame), label, frame, (0, 0, 1, number + 1))
        for frame in sorted(frames)
        for number, label in enumerate(draw(st.lists(st.sampled_from("abc"), min_size=1, max_size=4)))
    ]


@given(examples=examples_of_frames(), val_split=st.floats(0.05, 0.95))
def test_no_frame_is_torn_no_example_lost_and_every_class_can_be_trained(
    examples: list[Example], val_split: float
) -> None:
    try:
        training, validation = divide(examples, val_split)
    except DataError:
        reject()  # of few frames, chance may put all on one side
    assert {example.group for example in training}.isdisjoint(example.group for example in validation)
    assert sorted(map(repr, [*training, *validation])) == sorted(map(repr, examples))
    assert {example.label for example in training} == {example.label for example in examples}


@settings(max_examples=30)
@given(val_split=st.floats(0.1, 0.9), kept=st.sets(st.integers(0, 99), min_size=30))
def test_an_image_stays_on_its_side_when_others_come_or_go(val_split: float, kept: set[int]) -> None:
    every = [Example(Path(), "a", f"image {number}") for number in range(100)]
    _, validation = divide(every, val_split)
    chosen = [every[number] for number in sorted(kept)]
    expected = [example for example in chosen if example in validation]
    assume(0 < len(expected) < len(chosen))
    assert divide(chosen, val_split)[1] == expected


def test_split_is_the_same_on_every_machine() -> None:
    every = [Example(Path(), "a", f"{number:06d}") for number in range(20)]
    # A change would move images between the sides of every data set: resumed runs would validate on what they learned.
    assert groups(divide(every, 0.2)[1]) == HELD_OUT


def test_class_that_would_be_held_out_whole_keeps_one_image_for_training() -> None:
    every = [Example(Path(), "a", f"{number:06d}") for number in range(20)]
    # As above: 000021 begins with 0x2ebc and is nearer to training than 000022 with 0x1f63.
    rare = [Example(Path(), label, group) for label, group in (("b", "000021"), ("a", "000021"), ("b", "000022"))]
    training, validation = divide([*every, *rare], 0.2)
    assert groups(validation) == [*HELD_OUT, "000022"]
    assert training[-2:] == rare[:2]


def test_empty_side_is_an_error_with_the_remedy() -> None:
    every = [Example(Path(), "a", f"{number:06d}") for number in range(3)]
    assert problem(lambda: divide(every, 0.001)) == (
        f"dataset_config.val_split: 0.001 of 3 images leaves none for validation; change it, or set {VALIDATION}"
    )
    assert problem(lambda: divide([], 0.5)) == (
        f"dataset_config.val_split: 0.5 of 0 images leaves none for training; change it, or set {VALIDATION}"
    )


def test_evaluation_path_is_read_with_the_classes_of_the_network(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train, test = folder(tmp_path / "train", cat=4, dog=4), folder(tmp_path / "test", dog=2, owl=1)
    assert evaluation(spec(train, evaluate=test), ["owl", "dog"]) == DataSet(
        tuple(load(test, "IMAGE_FOLDER", Options())), ("owl", "dog")
    )
    assert evaluation(spec(train, evaluate=test), None).class_names == ("dog", "owl")
    assert caplog.messages == []
    assert problem(lambda: evaluation(spec(train, evaluate=test), ["cat", "dog"])) == (
        "eval_config.eval_dataset_path: holds classes that the network does not have: owl; has no examples of: cat; "
        "names must match exactly; to teach a network another class, train with its checkpoint as "
        "train_config.pretrained_model_path"
    )


def test_evaluation_without_a_path_of_its_own_uses_the_validation_examples(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train, val = folder(tmp_path / "train", cat=20, dog=20), folder(tmp_path / "val", cat=2, dog=2)
    (tmp_path / "link").symlink_to(train)
    caplog.set_level(logging.INFO, "tao_lite.data.dataset")
    held_out = splits(spec(train), None)[1]
    assert 0 < len(held_out.examples) < 40
    for evaluate in ("", train, f"{train}/../train", tmp_path / "link"):
        caplog.clear()
        assert evaluation(spec(train, evaluate=evaluate), None) == held_out
        assert caplog.messages[0] == f"evaluated the examples of {TRAIN} that are held out for validation"
    assert evaluation(spec(train, val), None).examples == tuple(load(val, "AUTO", Options()))
    caplog.clear()
    assert len(evaluation(spec(train, val, evaluate=train), None).examples) == 40
    assert (
        "eval_config.eval_dataset_path is the training folder: evaluation measured what was learned by heart"
        in caplog.messages
    )


def test_validation_on_the_training_folder_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    train = folder(tmp_path, cat=2, dog=2)
    splits(spec(train, f"{train}/."), None)
    assert caplog.messages == [
        f"{VALIDATION} is the training folder too: validation measured what was learned by heart"
    ]


def test_paths_are_relative_to_the_working_folder_or_to_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder(tmp_path / "data/train", cat=1, dog=1)
    folder(tmp_path / "home/val", cat=1, dog=1)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    training, validation = splits(spec("data/train", "~/val"), None)
    assert training.examples[0].path == tmp_path / "data/train/cat/0.jpg"
    assert validation.examples[0].path == tmp_path / "home/val/cat/0.jpg"


def test_path_that_is_not_there_is_named_with_its_field(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert problem(lambda: splits(spec(tmp_path / "nowhere"), None)) == (
        f"{TRAIN}: {tmp_path}/nowhere can't be read (No such file or directory)"
    )
    assert problem(lambda: splits(spec(folder(tmp_path / "train", a=1, b=1), tmp_path / "file"), None)) == (
        f"{VALIDATION}: {tmp_path}/file is no data.yaml, file of records, COCO file, manifest or shard, nor is it a "
        "folder"
    )
    assert problem(lambda: splits(spec(), None)) == f"{TRAIN} is not set; it must be a folder of images"
    assert problem(lambda: evaluation(spec(), None)) == (
        "eval_config.eval_dataset_path is not set; it must be a folder of images"
    )


def test_one_class_is_not_enough_to_train(tmp_path: Path) -> None:
    root = kitti(tmp_path, CAR, num_frames=4)
    assert problem(lambda: splits(spec(root), None)) == (
        f"{TRAIN}: {root} holds one class only (Car); a classifier needs at least two"
    )


def test_kitti_options_of_the_spec_reach_the_reader(tmp_path: Path) -> None:
    lines = [
        CAR,
        CAR.replace("Car 0.00", "Car 0.70"),
        CAR.replace("Car 0.00", "Car 0.71"),
        CAR.replace("Car", "Van"),
        CAR.replace("Car", "Misc"),
        CAR.replace("Car 0.00 0", "Car 0.00 1"),
        CAR.replace("10 10 60 40", "10 10 60 29"),
    ]
    root = kitti(tmp_path, "\n".join(lines), num_frames=8)
    (root / "image_2").rename(root / "frames")
    (root / "label_2").rename(root / "texts")
    experiment = spec(root)
    options = experiment.dataset_config.kitti
    options.image_dir, options.label_dir = "frames", "texts"
    options.min_height_pixels, options.max_occlusion, options.max_truncation = 20, 0, 0.7
    options.margin, options.square = 0.1, True
    options.class_mapping["Van"] = "Lorry"
    options.ignored_classes.append("Misc")
    training, validation = splits(experiment, None)
    assert training.class_names == ("Car", "Lorry")
    # 50 x 30 at (10, 10) with a tenth on each side is 60 x 36 at (5, 7), squared 60 x 60 at (5, -5), clipped at 50.
    assert {(example.label, example.box) for example in (*training.examples, *validation.examples)} == {
        ("Car", (5, 0, 65, 50)),
        ("Lorry", (5, 0, 65, 50)),
    }
    assert len(training.examples) + len(validation.examples) == 8 * 3


def test_bad_examples_are_skipped_and_counted_or_end_the_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    train = folder(tmp_path / "train", cat=9, dog=9)
    val = folder(tmp_path / "val", cat=1, dog=1)
    (train / "cat/link.jpg").symlink_to("nowhere")
    experiment = spec(train, val)
    assert len(splits(experiment, None)[0].examples) == 18
    assert caplog.messages == [
        f"{train}/cat/link.jpg: not a file, or a link to nothing",
        f"{train}: left out 1: 1 unreadable",
    ]
    experiment.dataset_config.on_bad_example = pb.BadExample.FAIL
    assert problem(lambda: splits(experiment, None)) == (
        f"{train}/cat/link.jpg: not a file, or a link to nothing; "
        "repair it, or set dataset_config.on_bad_example: SKIP to go on without it"
    )


def test_report_shows_the_first_problems_and_counts_them_all(caplog: pytest.LogCaptureFixture) -> None:
    report = LeftOut()
    for number in range(25):
        report(f"{number}.jpg", "broken")
    assert len(report.problems) == 25
    assert caplog.messages == [
        *(f"{number}.jpg: broken" for number in range(20)),
        "further problems are counted, not shown",
    ]


def test_formats_have_the_names_of_the_schema() -> None:
    assert set(FORMATS) == set(pb.DatasetFormat.Kind.keys()) - {"AUTO"}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("kitti_png", "KITTI"),
        ("kitti_png/training", "KITTI"),
        ("kitti_jpeg", "KITTI"),
        ("kitti_jpeg_named_png/training", "KITTI"),
        ("folders/imagenette_tiny/train", "IMAGE_FOLDER"),
        ("folders/hymenoptera_small/val", "IMAGE_FOLDER"),
        ("tfrecord", "TFRECORD"),
        ("tfrecord/raccoon", "TFRECORD"),
        ("yolo/sign6", "YOLO"),
        ("yolo/sign6/data.yaml", "YOLO"),
    ],
)
def test_real_data_sets_are_recognised(shared: Path, path: str, expected: str) -> None:
    root = shared / "data" / path
    assert detect(root, Options()) == expected
    read = FORMATS[expected](root, Options())
    assert [(one.path, one.box) for one in load(root, "AUTO", Options())] == [(one.path, one.box) for one in read]


def test_format_may_be_said_instead(tmp_path: Path) -> None:
    root = kitti(tmp_path, CAR)
    (root / "label_2/0.jpg").touch()
    assert [example.label for example in load(root, "KITTI", Options())] == ["Car"]
    assert [example.label for example in load(root, "IMAGE_FOLDER", Options())] == ["image_2", "label_2"]


def test_unknown_format_is_an_error_that_says_what_was_looked_for(tmp_path: Path) -> None:
    looked_for = (
        f"the data set: {tmp_path} is in no known format; looked for one folder of images per class, for a folder "
        "of images (image_2, training/image_2, images, image) with one of KITTI labels (label_2, training/label_2, "
        "labels, label), for record files, shards (*.tar), a data.yaml, a COCO file and a manifest; found "
    )
    assert problem(lambda: detect(tmp_path, Options())) == f"{looked_for}an empty folder"
    for name in ("a.jpg", "b.jpg", "README", ".hidden"):
        (tmp_path / name).touch()
    assert problem(lambda: detect(tmp_path, Options())) == f"{looked_for}only files (2 x .jpg, 1 x no suffix)"
    chosen = Options(kitti=KittiOptions(image_dir="frames", label_dir="texts"))
    assert "a folder of images (frames) with one of KITTI labels (texts)" in problem(lambda: detect(tmp_path, chosen))


def yolo(root: Path, **counts: int) -> Path:
    """A data.yaml with so many pictures of two classes in each split."""
    for split, count in counts.items():
        for name in ("images", "labels"):
            (root / split / name).mkdir(parents=True)
        for number in range(count):
            Image.new("L", (100, 50)).save(root / f"{split}/images/{number}.png")
            (root / f"{split}/labels/{number}.txt").write_text(f"{number % 2} 0.5 0.5 1 1")
    splits_of = "\n".join(f"{split}: {split}/images" for split in counts)
    (root / "data.yaml").write_text(f"{splits_of}\nnames: [cat, dog]\n")
    return root


def parts(data_set: DataSet) -> set[str]:
    return {example.path.parts[-3] for example in data_set.examples}


def test_one_data_yaml_serves_training_validation_and_evaluation(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = yolo(tmp_path, train=6, val=4, test=2)
    for path in (root, root / "data.yaml"):
        experiment = spec(path, path, path)
        training, validation = splits(experiment, None)
        assert (parts(training), parts(validation)) == ({"train"}, {"val"})
        assert (len(training.examples), len(validation.examples)) == (6, 4)
        assert parts(evaluation(experiment, None)) == {"test"}
    assert parts(evaluation(spec(root, root), None)) == {"val"}
    assert parts(evaluation(spec(root, evaluate=root), None)) == {"test"}
    assert caplog.messages == []


def test_data_yaml_that_validates_on_its_training_pictures_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = yolo(tmp_path, train=6)
    (root / "data.yaml").write_text("train: train/images\nval: train/images\nnames: [cat, dog]\n")
    splits(spec(root, root), None)
    assert caplog.messages == [
        f"{VALIDATION} is the training folder too: validation measured what was learned by heart"
    ]


def test_options_of_record_files_and_of_data_yaml_reach_the_readers(tmp_path: Path) -> None:
    experiment = spec("a", "b", "c")
    experiment.dataset_config.tfrecord.image_dir = "pictures"
    experiment.dataset_config.tfrecord.label_map = "map.pbtxt"
    experiment.dataset_config.yolo_root = ".."
    options = options_of(experiment, VALIDATION)
    assert (options.tfrecord.image_dir, options.tfrecord.label_map) == ("pictures", "map.pbtxt")
    assert (options.yolo_root, options.split, options.name) == ("..", "val", VALIDATION)


def test_class_map_is_read_in_the_order_of_its_indices(tmp_path: Path) -> None:
    path = tmp_path / "classmap.json"
    path.write_text('\ufeff{"dog": 1, "cat": 2, "Käfer": 0}', encoding="utf-8")
    assert read_classmap(path) == ("Käfer", "dog", "cat")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b'{"cat": 0,\n "dog" 1}', ":2:8: is not JSON (Expecting ':' delimiter)"),
        (b"\xff", ":1: byte 0xff is not UTF-8; save it as UTF-8"),
        (b"[" * 100_000, ": is nested too deeply; is it the right file?"),
        (b'["cat", "dog"]', ': must be an object of class names and indices, such as {"cat": 0, "dog": 1}'),
        (b"{}", ': must be an object of class names and indices, such as {"cat": 0, "dog": 1}'),
        (b"7", ': must be an object of class names and indices, such as {"cat": 0, "dog": 1}'),
        (b'{"cat": "0", "dog": 1}', ": the index of 'cat' is '0', must be a whole number"),
        (b'{"cat": false, "dog": 1}', ": the index of 'cat' is False, must be a whole number"),
        (b'{"cat": 0, "cat": 1}', ": 'cat' stands there more than once"),
        (b'{"cat": 2, "dog": 1}', ": the indices are 1, 2; must be 0 to 1, each once"),
        (b'{"cat": 0, "dog": 0}', ": the indices are 0, 0; must be 0 to 1, each once"),
    ],
)
def test_class_map_that_is_none_is_refused_with_its_place(tmp_path: Path, content: bytes, expected: str) -> None:
    path = tmp_path / "classmap.json"
    path.write_bytes(content)
    assert problem(lambda: read_classmap(path)) == f"{path}{expected}"


def test_missing_class_map_is_named(tmp_path: Path) -> None:
    path = tmp_path / "classmap.json"
    assert problem(lambda: read_classmap(path)) == f"{path}: no such file; check the path"


def test_a_list_of_classes_has_the_order_of_its_lines(tmp_path: Path) -> None:
    path = tmp_path / "classes.txt"
    path.write_text("oak\n\n elm \r\nash")
    assert read_classmap(path) == ("oak", "elm", "ash")
    path.write_text("oak\nash\noak\n")
    assert problem(lambda: read_classmap(path)) == f"{path}: 'oak' stands there more than once"
    path.write_text("\n")
    assert problem(lambda: read_classmap(path)) == f"{path}: names no class; must hold a name in each line"


def test_real_kitti_frames_are_split_whole(shared: Path) -> None:
    training, validation = splits(spec(shared / "data/kitti_jpeg_named_png", val_split=0.2), None)
    assert training.class_names == ("Car", "Cyclist", "Pedestrian")
    frames, held_out = ({example.group for example in side.examples} for side in (training, validation))
    assert frames.isdisjoint(held_out)
    # With awk: 499 of 538 objects have occlusion <= 2, truncation <= 0.5 and 16 rows. All 80 frames have some.
    assert len(training.examples) + len(validation.examples) == 499
    assert len(frames | held_out) == 80


LOW = 12
"""Pixels: lower than KITTI's 16."""


def in_format(root: Path, kind: str, heights: Sequence[int]) -> Path:
    """Pictures of 100 x 50 with an object of each height in pixels, of classes 0, 1, ..., in a format with boxes."""
    if kind == "KITTI":
        return kitti(root, "\n".join(f"c{n} 0 0 0 1 1 60 {1 + one} 0 0 0 0 0 0 0" for n, one in enumerate(heights)))
    if kind == "YOLO":
        yolo(root, train=1)
        lines = [f"{number} 0.5 0.5 0.5 {one / 50}" for number, one in enumerate(heights)]
        (root / "train/labels/0.txt").write_text("\n".join(lines))
        (root / "data.yaml").write_text(f"train: train/images\nnames: {[f'c{n}' for n in range(len(heights))]}\n")
        return root
    sides = {"xmin": [0.0], "ymin": [0.0], "xmax": [1.0]}
    prefix, keys = (
        ("image/object/bbox/", {name: name for name in (*sides, "ymax")})
        if kind == "detection"
        else ("target/coordinates_", {"xmin": "x1", "ymin": "y1", "xmax": "x2", "ymax": "y2"})
    )
    text, pixels = (
        ("image/object/class/text", "image/encoded")
        if kind == "detection"
        else ("target/object_class", "frame/encoded")
    )
    values: dict[str, list[bytes] | list[float]] = {
        f"{prefix}{keys[side]}": value * len(heights) for side, value in sides.items()
    }
    values[f"{prefix}{keys['ymax']}"] = [one / 50 for one in heights]
    values |= {text: [f"c{n}".encode() for n in range(len(heights))], pixels: [picture(size=(100, 50))]}
    written(root / "a.tfrecord", [values | ({"frame/id": [b"1"]} if kind == "TAO" else {})])
    return root


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("KITTI", ["c1"]), ("YOLO", ["c0", "c1"]), ("detection", ["c0", "c1"]), ("TAO", ["c0", "c1"])],
)
def test_least_height_that_nobody_set_is_of_kitti_only(tmp_path: Path, kind: str, expected: list[str]) -> None:
    """FIELD.md A9: with 16 pixels for all, 46 % of a real YOLO set went."""
    root, experiment = in_format(tmp_path, kind, [LOW, 40]), spec()

    def labels() -> list[str]:
        return [example.label for example in load(root, "AUTO", options_of(experiment, TRAIN))]

    assert labels() == expected
    experiment.dataset_config.kitti.min_height_pixels = 16
    assert labels() == ["c1"]
    experiment.dataset_config.kitti.min_height_pixels = 0
    assert labels() == ["c0", "c1"]


@pytest.mark.parametrize("kind", ["KITTI", "YOLO", "detection", "TAO"])
def test_where_a_filter_leaves_nothing_its_field_is_named(tmp_path: Path, kind: str) -> None:
    """FIELD.md D8"""
    root, experiment = in_format(tmp_path, kind, [LOW, LOW]), spec()
    experiment.dataset_config.kitti.min_height_pixels = 16
    said = problem(lambda: load(root, "AUTO", options_of(experiment, TRAIN)))
    assert "left out: 2 lower than 16 pixels (dataset_config.kitti.min_height_pixels)" in said


def test_folder_around_the_classes_is_named(tmp_path: Path) -> None:
    """FIELD.md E4"""
    one = folder(tmp_path / "outer/inner/archive", cat=2, dog=2)
    hint = "a classifier needs at least two; there are several folders in"
    said = problem(lambda: splits(spec(tmp_path / "outer"), None))
    assert said.endswith(f"holds one class only (inner); {hint} {one}: if those are the classes, give that")


def test_folders_of_classes_win_over_a_data_yaml_without_labels(tmp_path: Path) -> None:
    """FIELD.md E4"""
    folder(tmp_path / "train", cat=1, dog=1)
    folder(tmp_path / "val", cat=1, dog=1)
    (tmp_path / "data.yaml").write_text("train: train\nval: val\nnames: [dog, cat]\n")
    give = f"give one of them: {tmp_path}/train, {tmp_path}/val"
    assert problem(lambda: splits(spec(tmp_path, tmp_path), None)).endswith(give)
    assert splits(spec(tmp_path / "train", tmp_path / "val"), None)[0].class_names == ("cat", "dog")
    said = problem(lambda: splits(spec(tmp_path / "data.yaml"), None))
    assert f"give {tmp_path}/train with the format IMAGE_FOLDER" in said
    (tmp_path / "train/cat/0.txt").write_text("0 0.5 0.5 1 1")
    assert detect(tmp_path, Options()) == "YOLO"


def test_data_yaml_by_any_name_is_found(tmp_path: Path) -> None:
    """FIELD.md D5"""
    root = yolo(tmp_path, train=2)
    (root / "data.yaml").rename(root / "coco8.yaml")
    (root / "hyp.yaml").write_text("lr0: 0.01\n")
    (root / "broken.yml").write_text("[")
    assert detect(root, Options()) == "YOLO"
    assert len(load(root, "AUTO", Options())) == 2
    (root / "other.yml").write_text((root / "coco8.yaml").read_text())
    assert problem(lambda: detect(root, Options())) == (
        f"{root}: holds coco8.yaml, other.yml, each a data.yaml; give one of them"
    )


def test_yolo_labels_without_a_data_yaml_are_said_to_be_theirs(tmp_path: Path) -> None:
    """FIELD.md D5"""
    root = yolo(tmp_path / "set", train=2, val=1)
    said = problem(lambda: load(root / "train", "AUTO", Options()))
    assert said == (
        f"the data set: {root}/train/labels holds no KITTI labels; it looks like a YOLO data set: give {root}/data.yaml"
    )
    (root / "data.yaml").unlink()
    assert "write a data.yaml" in problem(lambda: load(root / "train", "AUTO", Options()))
    said = problem(lambda: load(root, "AUTO", Options()))
    assert "are splits" in said
    assert said.endswith("; for labelled objects, write a data.yaml beside them and give that")
    for name in ("images", "labels"):
        (tmp_path / f"nested/{name}").mkdir(parents=True)
        (root / f"train/{name}").rename(tmp_path / f"nested/{name}/train")
    assert "it looks like a YOLO data set" in problem(lambda: load(tmp_path / "nested", "AUTO", Options()))


def test_one_class_can_be_evaluated(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """FIELD.md E7: the absent ones are named, in validation too."""
    train, one = folder(tmp_path / "train", cat=2, dog=2, owl=2), folder(tmp_path / "one", dog=3)
    assert len(evaluation(spec(evaluate=one), ["cat", "dog", "owl"]).examples) == 3
    assert caplog.messages == ["eval_config.eval_dataset_path: held no example of cat, owl"]
    assert len(splits(spec(train, one), None)[1].examples) == 3
    assert caplog.messages[1:] == [f"{VALIDATION}: held no example of cat, owl"]
    assert "holds one class only (dog)" in problem(lambda: splits(spec(one), None))


def test_classes_are_those_of_the_data_yaml_in_its_order(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """FIELD.md E2: a class without an object keeps its place; renamed ones are where they were first."""
    root = yolo(tmp_path, train=2, val=2)
    (root / "data.yaml").write_text("train: train/images\nval: val/images\nnames: [owl, emu, dog, cat]\n")
    experiment = spec(root, root)
    assert splits(experiment, None)[0].class_names == ("owl", "emu", "dog", "cat")
    assert f"{TRAIN}: held no example of cat, dog" in caplog.messages
    experiment.dataset_config.kitti.class_mapping["owl"] = "bird"
    experiment.dataset_config.kitti.class_mapping["cat"] = "pet"
    experiment.dataset_config.kitti.class_mapping["dog"] = "pet"
    experiment.dataset_config.kitti.ignored_classes.append("pet")
    assert splits(experiment, None)[0].class_names == ("bird", "emu")


@pytest.mark.parametrize(
    ("label_map", "expected"),
    [
        ("labels.txt: zebra,ant,bee", ("zebra", "ant", "bee")),
        (
            'map.pbtxt: item { id: 2 name: "bee" },item { id: 1 name: "zebra" },item { id: 0 name: "ant" }',
            ("ant", "zebra", "bee"),
        ),
        ("", tuple(map(str, range(12)))),
    ],
)
def test_classes_are_those_of_the_label_map_in_its_order(
    tmp_path: Path, label_map: str, expected: tuple[str, ...]
) -> None:
    """FIELD.md E2: without a map they are numbers, of which 10 comes after 9."""
    numbers = (0, 2) if label_map else range(12)
    values: list[Values] = [
        {"image/encoded": [picture((number, 0, 0))], "image/class/label": [number]} for number in numbers
    ]
    written(tmp_path / "a.tfrecord", values)
    name, _, lines = label_map.partition(": ")
    if name:
        (tmp_path / name).write_text(lines.replace(",", "\n"))
    experiment = spec(tmp_path, tmp_path)
    assert splits(experiment, None)[0].class_names == expected


@pytest.mark.timeout(10)
@pytest.mark.parametrize("name", ["classmap.json", "labels.txt", "map.pbtxt", "data.yaml"])
@pytest.mark.parametrize("kind", ["pipe", "zeros", "folder"])
def test_names_in_what_is_no_regular_file_are_refused_at_once(tmp_path: Path, name: str, kind: str) -> None:
    """FIELD.md B3."""
    path = tmp_path / name
    {"pipe": os.mkfifo, "zeros": lambda path: path.symlink_to("/dev/zero"), "folder": os.mkdir}[kind](path)
    with pytest.raises(DataError, match=r"is a (named pipe|device|folder), not a regular file$"):
        yolo_yaml.load(path, Options()) if name == "data.yaml" else read_label_map(path)


@pytest.mark.timeout(20)
def test_what_refers_to_itself_or_is_nested_deeply_is_refused_in_little_time_and_memory(tmp_path: Path) -> None:
    """FIELD.md B3: nine aliases to nine make a billion."""
    path = tmp_path / "data.yaml"
    lines = ["names: &n0 [a, a, a, a, a, a, a, a, a]", *(f"n{k}: &n{k} [{f'*n{k - 1}, ' * 9}]" for k in range(1, 10))]
    path.write_text("\n".join(lines))
    with pytest.raises(DataError, match=r"data\.yaml:2:10: \*n0 is an alias; write the value out"):
        yolo_yaml.load(path, Options())
    path.write_text(f"# {'x' * 200_000}\nnames: {'[' * 900}")  # long: libyaml reads it
    with pytest.raises(DataError, match=r"data\.yaml:2:\d+: blocks are nested more than 32 deep"):
        yolo_yaml.load(path, Options())


def test_a_message_about_a_class_map_is_short_whatever_is_in_it(tmp_path: Path) -> None:
    """FIELD.md B3."""
    path = tmp_path / "classmap.json"
    for values in (dict.fromkeys(map(str, range(100_000)), 0), {"x" * 10**6: "y" * 10**6}):
        path.write_text(json.dumps(values))
        assert len(problem(lambda: read_classmap(path))) < 500


def test_relative_path_that_is_not_there_is_said_to_be_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FIELD.md D8: it may have been recorded in another folder."""
    monkeypatch.chdir(tmp_path)
    assert problem(lambda: splits(spec("data/train"), None)) == (
        f"{TRAIN}: {tmp_path}/data/train can't be read (No such file or directory); the spec says data/train, which is "
        "sought from the current folder"
    )


@pytest.mark.parametrize(
    ("trained", "validated", "expected"),
    [
        ("caf\u00e9", "cafe\u0301", r"'cafe\u0301' and 'caf\xe9' differ in their Unicode form, composed or not"),
        ("cat", "cat ", "'cat ' and 'cat' differ in blanks at the ends"),
        ("cat", "Cat", "'Cat' and 'cat' differ in case"),
        ("traffic_light", "Traffic light", "'Traffic light' and 'traffic_light' differ in signs that are hard to see"),
        ("cat", "cat\u200b", r"'cat\u200b' and 'cat' differ in signs that are hard to see"),
    ],
)
def test_wherein_names_that_look_alike_differ_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, trained: str, validated: str, expected: str
) -> None:
    """FIELD.md E8"""
    train, val = (
        folder(tmp_path / "train", **{trained: 2, "zoo": 2}),
        folder(tmp_path / "val", **{validated: 2, "zoo": 1}),
    )
    assert expected in problem(lambda: splits(spec(train, val), None))
    caplog.clear()
    folder(train, **{validated: 2})
    splits(spec(train), None)
    assert any("; they are two classes" in message for message in caplog.messages)


def test_deep_pictures_that_use_little_of_their_range_are_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """FIELD.md E1: with what was seen and what to set; not where it is set, nor where the range is used."""
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for number in range(3):
            Image.fromarray(np.full((4, 4), 700 + number, np.uint16)).save(tmp_path / name / f"{number}.png")
    experiment = spec(tmp_path, tmp_path)
    splits(experiment, None)
    said = (
        "the values of 6 pictures of more than 8 bits are 700 to 702, and {} white; set dataset_config.full_scale: 1023"
    )
    assert f"{TRAIN}: {said.format('65535 is')}" in caplog.messages
    experiment.dataset_config.full_scale = 511
    splits(experiment, None)
    assert f"{TRAIN}: {said.format('dataset_config.full_scale, 511, is')}" in caplog.messages
    caplog.clear()
    experiment.dataset_config.full_scale = 1023
    training, _ = splits(experiment, None)
    assert {example.full_scale for example in training.examples} == {1023}
    assert not any("full_scale" in message for message in caplog.messages)
