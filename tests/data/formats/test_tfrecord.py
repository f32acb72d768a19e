"""TFRecord data sets: each kind of record becomes the right examples, and what is wrong is said with its record."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tao_lite.data.decode import decode, image_size
from tao_lite.data.example import Example, KittiOptions, Options, Span, TfrecordOptions
from tao_lite.data.formats.table import detect
from tao_lite.data.formats.tfrecord import read, record_files
from tao_lite.data.left_out import LeftOut
from tao_lite.errors import DataError
from tests.data.records import Values, picture, written

NAME = "train_config.train_dataset_path"
WHOLE = KittiOptions(min_height_pixels=0, max_occlusion=3, max_truncation=1)


def classified(label: int | None = None, text: str = "", **more: Sequence[bytes]) -> Values:
    values: dict[str, Sequence[bytes] | Sequence[float] | Sequence[int]] = {"image/encoded": [picture()]}
    if label is not None:
        values["image/class/label"] = [label]
    if text:
        values["image/class/text"] = [text.encode()]
    return values | {f"image/{name}": value for name, value in more.items()}


def detected(*boxes: tuple[float, float, float, float], names: Sequence[str] = ()) -> Values:
    """Boxes: left, top, right, bottom as shares of 40 x 30 pixels."""
    sides = {
        f"image/object/bbox/{side}": [box[place] for box in boxes]
        for place, side in enumerate(("xmin", "ymin", "xmax", "ymax"))
    }
    texts = {"image/object/class/text": [name.encode() for name in names]} if names else {}
    return {"image/encoded": [picture()], **sides, **texts}


def by_tao(frame: str, *, pixels: bool, **more: Sequence[float]) -> Values:
    """As detectnet_v2 dataset_convert writes it; with pixels, as for SSD and YOLO."""
    scale = (40, 30, 40, 30) if pixels else (1, 1, 1, 1)
    sides = {
        f"target/coordinates_{side}": [value / size]
        for side, value, size in zip(("x1", "y1", "x2", "y2"), (10.0, 5.0, 30.0, 25.0), scale, strict=True)
    }
    found: Values = {
        "frame/id": [frame.encode()],
        "frame/height": [30],
        "frame/width": [40],
        **sides,
        "target/object_class": [b"car"],
        "target/truncation": [0.0],
        "target/occlusion": [0],
        **({"frame/encoded": [picture()]} if pixels else {}),
    }
    return {**found, **{f"target/{name}": value for name, value in more.items()}}


def reported(root: Path, **options: object) -> tuple[list[Example], list[str]]:
    """Examples, and what is reported of records, without the path of their file."""
    report = LeftOut(is_logged=False)
    examples = read(root, Options(report=report, **options))  # type: ignore[arg-type]
    return examples, [f"{place.rpartition('#')[2]}: {problem}" for place, problem in report.problems]


def test_picture_with_a_class_is_an_example_whose_bytes_lie_in_the_file(tmp_path: Path) -> None:
    colours = [(200, 30, 60), (10, 220, 90)]
    path = written(
        tmp_path / "a.tfrecord",
        [{**classified(text=name), "image/encoded": [picture(c)]} for name, c in zip("ab", colours, strict=True)],
    )
    examples = read(tmp_path, Options())
    assert [(one.path, one.label, one.group) for one in examples] == [
        (Path(f"{path}#1"), "a", "a.tfrecord#1"),
        (Path(f"{path}#2"), "b", "a.tfrecord#2"),
    ]
    for example, colour in zip(examples, colours, strict=True):
        assert example.span
        assert example.span.file == path
        assert decode(example.path, 3, example.span)[0, 0].tolist() == list(colour)
        assert image_size(example.path, example.span) == (40, 30)


def test_what_is_wrong_with_a_picture_names_its_record(tmp_path: Path) -> None:
    path = written(tmp_path / "a.tfrecord", [{**classified(1), "image/encoded": [b"no picture"]}])
    (example,) = read(path, Options())
    with pytest.raises(DataError, match=r"a\.tfrecord#1: not a JPEG"):
        decode(example.path, 3, example.span)
    path.write_bytes(b"")
    with pytest.raises(DataError, match=r"a\.tfrecord#1: .*a\.tfrecord is shorter than when its records were counted"):
        decode(example.path, 3, example.span)
    path.unlink()
    with pytest.raises(DataError, match=r"a\.tfrecord#1: no such file; check the path"):
        image_size(example.path, example.span)


def test_text_names_the_class_else_the_label_map_else_the_number(tmp_path: Path) -> None:
    written(tmp_path / "a.tfrecord", [classified(1, "cat"), classified(2), classified(0, "")])
    assert [one.label for one in read(tmp_path, Options())] == ["cat", "2", "0"]
    (tmp_path / "labels.txt").write_text("first\nsecond\nthird\n")
    assert [one.label for one in read(tmp_path, Options())] == ["cat", "third", "first"]
    (tmp_path / "labels.txt").write_text("2:owl\n0:dog\n")
    assert [one.label for one in read(tmp_path, Options())] == ["cat", "owl", "dog"]
    (tmp_path / "map.pbtxt").write_text(
        "# comment\nitem {\n  id: 2\n  name: 'O\\'wl'\n}\nitem { name: \"Dog\" id: 0 display_name: 'x' }\n"
    )
    assert [one.label for one in read(tmp_path, Options())] == ["cat", "O'wl", "Dog"]
    (tmp_path / "classmap.json").write_text('{"a": 0, "b": 1, "c": 2}')
    chosen = Options(tfrecord=TfrecordOptions(label_map="classmap.json"))
    assert [one.label for one in read(tmp_path, chosen)] == ["cat", "c", "a"]


def test_label_map_that_is_none_is_refused_with_its_place(tmp_path: Path) -> None:
    written(tmp_path / "a.tfrecord", [classified(3), classified(1)])
    path = tmp_path / "map.pbtxt"
    path.write_text("# no item")
    with pytest.raises(DataError, match=r"map\.pbtxt: names no class; must hold item"):
        read(tmp_path, Options())
    with pytest.raises(DataError, match=r"nowhere: no such file; check the path"):
        read(tmp_path, Options(tfrecord=TfrecordOptions(label_map="nowhere")))


def test_records_of_one_source_are_one_group(tmp_path: Path) -> None:
    written(
        tmp_path / "a.tfrecord",
        [
            classified(1, source_id=[b"frame 7"], filename=[b"x.jpg"]),
            classified(2, source_id=[b""], filename=[b"y.jpg"]),
            classified(2),
        ],
    )
    assert [one.group for one in read(tmp_path, Options())] == ["frame 7", "y.jpg", "a.tfrecord#3"]


def test_objects_are_cut_out_by_relative_boxes(tmp_path: Path) -> None:
    boxes = ((0.25, 0.1, 0.75, 0.9), (0, 0, 1, 1))
    written(tmp_path / "a.record", [detected(*boxes, names=["car", "van"]), detected()])
    examples = read(tmp_path, Options(kitti=KittiOptions(class_mapping={"van": "lorry"})))
    # 40 x 30 pixels; outwards: 10, 3, 30, 27
    assert [(one.label, one.box, one.path.name) for one in examples] == [
        ("car", (10, 3, 30, 27), "a.record#1"),
        ("lorry", (0, 0, 40, 30), "a.record#1"),
    ]
    with pytest.raises(DataError, match=r"left out: 2 lower than 31 pixels .*, 1 pictures without objects"):
        read(tmp_path, Options(kitti=KittiOptions(min_height_pixels=31)))


def test_numbered_objects_and_crowds(tmp_path: Path) -> None:
    boxes = ((0, 0, 1, 1),) * 3
    (tmp_path / "map.pbtxt").write_text('item { id: 1 name: "a" } item { id: 2 name: "b" }')
    values = {**detected(*boxes), "image/object/class/label": [1, 2, 1], "image/object/is_crowd": [0, 1, 0]}
    written(tmp_path / "a.record", [values])
    assert [one.label for one in read(tmp_path, Options())] == ["a", "a"]


def test_boxes_that_are_none_are_reported_one_by_one(tmp_path: Path) -> None:
    good = (0.0, 0.0, 1.0, 1.0)
    boxes = (good, (0.5, 0.5, 0.5, 0.6), (10.0, 3.0, 30.0, 27.0), (float("nan"), 0.0, 1.0, 1.0))
    written(tmp_path / "a.record", [detected(*boxes, names=["a"] * 4)])
    examples, problems = reported(tmp_path)
    assert len(examples) == 1
    assert problems == [
        "1: the box is empty: left 0.5, top 0.5, right 0.5, bottom 0.6",
        (
            "1: the box must be in shares of the picture, 0 to 1; these look like pixels: "
            "left 10, top 3, right 30, bottom 27"
        ),
        "1: the box has a side that is no number: left nan, top 0, right 1, bottom 1",
    ]


def test_taos_records_with_pixels_inside_have_relative_boxes(tmp_path: Path) -> None:
    written(tmp_path / "train-fold-000-of-001-shard-00000-of-00001", [by_tao("images/7", pixels=True)])
    (example,) = read(tmp_path, Options())
    assert (example.label, example.group, example.box) == ("car", "images/7", (10, 5, 30, 25))
    assert example.span


def test_taos_records_without_pixels_find_their_pictures(tmp_path: Path) -> None:
    written(tmp_path / "records/x-fold-000-of-001", [by_tao("images/7", pixels=False)])
    (tmp_path / "images").mkdir()
    Image.new("RGB", (40, 30)).save(tmp_path / "images/7.PNG", "PNG")
    expected = Example(tmp_path / "images/7.PNG", "car", "images/7", (10, 5, 30, 25))
    assert read(tmp_path / "records", Options()) == [expected]
    (tmp_path / "images").rename(tmp_path / "elsewhere")
    with pytest.raises(DataError, match="no object is left of the 1 records"):
        read(tmp_path / "records", Options())
    chosen = Options(tfrecord=TfrecordOptions(image_dir="../elsewhere"))
    assert [one.path.resolve() for one in read(tmp_path / "records", chosen)] == [tmp_path / "elsewhere/7.PNG"]


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a/../../b", ""])
def test_frame_id_that_leads_out_of_its_folder_is_refused(tmp_path: Path, name: str) -> None:
    written(tmp_path / "a.record", [by_tao(name, pixels=False), classified(1)])
    _, problems = reported(tmp_path)
    assert problems == [f"1: frame/id is {name!r}, must be a path below the folder of pictures"]


def test_occlusion_and_truncation_of_taos_records_are_filtered(tmp_path: Path) -> None:
    frames = [
        by_tao("1", pixels=True, occlusion=[3]),
        by_tao("2", pixels=True, truncation=[0.6]),
        by_tao("3", pixels=True, occlusion=[], truncation=[]),
        {**by_tao("4", pixels=True), "target/object_class": [b"DontCare"]},
    ]
    written(tmp_path / "a.record", frames)
    assert [one.group for one in read(tmp_path, Options())] == ["3"]
    assert [one.group for one in read(tmp_path, Options(kitti=WHOLE))] == ["1", "2", "3"]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"a": [1], "b": [b"x"]}, "holds no picture with a class or with boxes; it holds a, b"),
        ({}, "holds no picture with a class or with boxes; it holds nothing"),
        (classified(-1), "its class is -1: not labelled"),
        ({"image/encoded": [picture()], "image/class/label": [1, 2]}, "has 2 classes, must be one"),
        ({"image/encoded": [b""], "image/class/label": [1]}, "holds 0 pictures, must be one"),
        ({"image/encoded": [b"a", b"b"], "image/class/label": [1]}, "holds 2 pictures, must be one"),
        (
            {"image/encoded": [7], "image/class/label": [1]},
            "it holds whole numbers where bytes are expected",
        ),
        (
            {"image/encoded": [picture()], "image/class/text": [b"\xff"]},
            "image/class/text is no UTF-8 text",
        ),
        (classified(text="a\nb"), "the class 'a\\nb' has control characters; rename it"),
        (detected((0, 0, 1, 1), names=["a", "b"]), "has 1 boxes and 2 classes"),
        (
            {"image/encoded": [picture()], "image/object/bbox/xmin": [0.5]},
            (
                "its boxes are incomplete: 1 x image/object/bbox/xmin, 0 x image/object/bbox/ymin, "
                "0 x image/object/bbox/xmax, 0 x image/object/bbox/ymax"
            ),
        ),
    ],
)
def test_record_that_is_none_of_them_is_reported(tmp_path: Path, values: Values, expected: str) -> None:
    written(tmp_path / "a.tfrecord", [classified(1), values])
    examples, problems = reported(tmp_path)
    assert len(examples) == 1
    assert problems == [f"2: {expected}"]
    with pytest.raises(DataError, match=r"a\.tfrecord#2: .*set dataset_config\.on_bad_example: SKIP"):
        read(tmp_path, Options(report=LeftOut(fail=True)))


def test_record_that_is_no_example_is_reported(tmp_path: Path) -> None:
    from tests.data.records import example, record

    content = record(example(classified(1))) + record(b"\x0a\xff\xff\xff\x7f") + record(b"\x0b")
    (tmp_path / "a.tfrecord").write_bytes(content)
    _, problems = reported(tmp_path)
    assert problems == ["2: a field is longer than what holds it", "3: field of wire type 3"]


def test_files_are_found_by_folder_by_name_and_by_how_they_begin(tmp_path: Path) -> None:
    names = ["train-00000-of-00002", "train-00001-of-00002", "val.tfrecord", "plain", ".hidden.tfrecord", "x.jpg"]
    for name in names:
        written(tmp_path / name, [classified(1)])
    (tmp_path / "notes").write_text("nothing of records")
    assert [path.name for path in record_files(tmp_path)] == ["plain", *names[:3]]
    assert [path.name for path in record_files(tmp_path / "train")] == names[:2]
    assert record_files(tmp_path / "x.jpg") == [tmp_path / "x.jpg"]
    assert record_files(tmp_path / "nothing") == []
    for root in (tmp_path, tmp_path / "train", tmp_path / "plain"):
        assert detect(root, Options()) == "TFRECORD"
    with pytest.raises(DataError, match=r"no record files at .*/nothing; give a file, a folder or how their names"):
        read(tmp_path / "nothing", Options(name=NAME))


def test_damaged_records_are_left_out_and_the_others_train_on(tmp_path: Path) -> None:
    path = written(tmp_path / "a.tfrecord", [classified(number) for number in range(4)])
    content = bytearray(path.read_bytes())
    content[len(content) // 2 - 30] ^= 4
    path.write_bytes(content)
    examples, problems = reported(tmp_path)
    assert len(examples) == 3
    assert [problem.partition(": ")[2] for problem in problems] == ["damaged: the checksum of its content is wrong"]


def test_real_object_records(shared: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = shared / "data/tfrecord/raccoon_tfod_test.record"
    caplog.set_level(logging.INFO)
    examples = read(path, Options(report=LeftOut(fail=True)))
    # Counted with a script of its own: 40 records with 44 boxes.
    assert (len(examples), len({one.path for one in examples})) == (44, 40)
    assert {one.label for one in examples} == {"raccoon"}
    first = examples[0]
    # 0.2222 * 639, 0.0762 * 315, 0.6917 * 639, 0.8762 * 315 of the record, outwards
    assert (first.box, first.group) == ((142, 24, 442, 277), "raccoon-129.jpg")
    assert decode(first.path, 3, first.span).shape == (315, 639, 3)
    assert f"{path}: read 44 examples of 40 records in 1 files" in caplog.messages


def test_real_classification_records(shared: Path) -> None:
    path = shared / "data/tfrecord/classif_10rec.tfrecord"
    examples = read(path, Options(report=LeftOut(fail=True)))
    assert [one.label for one in examples] == ["0"] * 10
    assert len({one.group for one in examples}) == 10
    for one in examples:
        assert one.span
        assert np.ptp(decode(one.path, 1, one.span)) > 100


def test_example_is_small_and_equal_by_value() -> None:
    span = Span(Path("a"), 1, 2)
    assert Example(Path("a#1"), "x", "g", span=span) == Example(Path("a#1"), "x", "g", None, Span(Path("a"), 1, 2))


def test_numbers_that_the_names_do_not_have_are_refused(tmp_path: Path) -> None:
    """FIELD.md E2: classes counted from 1 beside names counted from 0, in pictures with a class and with boxes."""
    (tmp_path / "labels.txt").write_text("ant\nbee\ncat\n")
    said = (
        r"the data set: its labels number the classes 1 to 3, and .*labels\.txt names 0 to 2; every name may be one off"
    )
    written(tmp_path / "a.tfrecord", [classified(number) for number in (1, 2, 3)])
    with pytest.raises(DataError, match=said):
        read(tmp_path, Options())
    boxes = detected(*[(0, 0, 1, 1)] * 3)
    written(tmp_path / "a.tfrecord", [{**boxes, "image/object/class/label": [1, 2, 3]}])
    with pytest.raises(DataError, match=said):
        read(tmp_path, Options())
    (tmp_path / "labels.txt").write_text("1:ant\n2:bee\n3:cat\n")
    assert [one.label for one in read(tmp_path, Options())] == ["ant", "bee", "cat"]
