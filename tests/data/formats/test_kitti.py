"""KITTI labels: which lines become examples, which part of the frame they show, and what is said about the rest."""

import logging
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tao_lite.data.example import Example, KittiOptions, Options
from tao_lite.data.formats.kitti import read, read_labels
from tao_lite.data.formats.objects import Box, crop
from tao_lite.data.left_out import LeftOut
from tao_lite.errors import DataError

NAME = "train_config.train_dataset_path"
CAR = "Car 0.00 0 -1.5 100.00 50.00 140.00 70.00 1.5 1.6 3.9 1.0 1.5 20.0 -1.5"
DONT_CARE = "DontCare -1 -1 -10 10 10 50 50 -1 -1 -1 -1000 -1000 -1000 -10"
WHOLE = KittiOptions(min_height_pixels=0, max_occlusion=3, max_truncation=1)


def line(
    name: str = "Car", truncated: object = 0, occluded: object = 0, box: tuple[float, ...] = (100, 50, 140, 70)
) -> str:
    return f"{name} {truncated} {occluded} -1.5 {' '.join(map(str, box))} 1.5 1.6 3.9 1.0 1.5 20.0 -1.5"


def made(root: Path, labels: dict[str, str], *, suffix: str = "png", size: tuple[int, int] = (200, 100)) -> Path:
    """A KITTI folder: frames of one size with these label texts."""
    for folder in ("image_2", "label_2"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for frame, text in labels.items():
        Image.new("L", size).save(root / f"image_2/{frame}.{suffix}")
        (root / f"label_2/{frame}.txt").write_text(text)
    return root


def names(root: Path, kitti: KittiOptions) -> list[str]:
    return [example.label for example in read(root, Options(kitti=kitti, report=LeftOut(fail=True)))]


def problems(path: Path, text: str | bytes, caplog: pytest.LogCaptureFixture) -> list[str]:
    """What is reported of a label file with this text, without its path."""
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    caplog.clear()
    read_labels(path, LeftOut())
    return [message.removeprefix(str(path)) for message in caplog.messages]


def test_each_object_is_an_example_in_the_group_of_its_frame(tmp_path: Path) -> None:
    made(tmp_path, {"000007": f"{CAR}\n{DONT_CARE}\n\n{line('Van', box=(0.5, 1.5, 30.2, 40.7))}\n", "000003": CAR})
    image_2 = tmp_path / "image_2"
    assert read(tmp_path, Options()) == [
        Example(image_2 / "000003.png", "Car", "000003", (100, 50, 140, 70)),
        Example(image_2 / "000007.png", "Car", "000007", (100, 50, 140, 70)),
        Example(image_2 / "000007.png", "Van", "000007", (0, 1, 31, 41)),
    ]


def test_sixteenth_column_is_a_score_and_windows_line_ends_do_not_matter(tmp_path: Path) -> None:
    made(tmp_path, {"1": f"\ufeff{CAR} 0.98\r\n{line('Van')}\r\n"})
    assert names(tmp_path, WHOLE) == ["Car", "Van"]


# The box is 40 x 20 at (100, 50) in a frame of 200 x 100.
@pytest.mark.parametrize(
    ("box", "kitti", "expected"),
    [
        ((100, 50, 140, 70), KittiOptions(), (100, 50, 140, 70)),
        ((100.9, 50.9, 139.1, 69.1), KittiOptions(), (100, 50, 140, 70)),  # outwards
        ((100, 50, 140, 70), KittiOptions(margin=0.25), (90, 45, 150, 75)),  # 10 and 5 on each side
        ((100, 50, 140, 70), KittiOptions(square=True), (100, 40, 140, 80)),
        ((100, 50, 120, 90), KittiOptions(square=True), (90, 50, 130, 90)),
        ((100, 50, 141, 70), KittiOptions(square=True), (100, 40, 141, 81)),  # 21 more rows: 10 above, 11 below
        ((100, 50, 140, 70), KittiOptions(margin=0.25, square=True), (90, 30, 150, 90)),
        ((-20, -10, 300, 110), KittiOptions(), (0, 0, 200, 100)),
        ((180, 80, 240, 120), KittiOptions(margin=0.25), (175, 75, 200, 100)),  # 20 x 20 are in the frame
        ((0, 0, 40, 20), KittiOptions(square=True), (0, 0, 40, 30)),  # 10 rows above the frame are missing
        ((199.5, 99.5, 300, 300), KittiOptions(), (199, 99, 200, 100)),
        ((200, 50, 240, 70), KittiOptions(margin=1), None),
        ((10, -30, 40, 0), KittiOptions(), None),
    ],
)
def test_crop_is_clipped_widened_squared_and_clipped(
    box: Box, kitti: KittiOptions, expected: tuple[int, int, int, int] | None
) -> None:
    assert crop(box, (200, 100), kitti) == expected


@given(
    box=st.tuples(*[st.floats(-500, 500)] * 4),
    margin=st.floats(0, 1),
    square=st.booleans(),
    size=st.tuples(st.integers(1, 300), st.integers(1, 300)),
)
def test_crop_is_never_empty_and_never_outside_the_frame(
    box: Box, margin: float, square: bool, size: tuple[int, int]
) -> None:
    part = crop(box, size, KittiOptions(margin=margin, square=square))
    if part is not None:
        left, top, right, bottom = part
        assert 0 <= left < right <= size[0]
        assert 0 <= top < bottom <= size[1]


def test_filters_look_at_the_object_as_it_is_labelled(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lines = [
        line("Low", box=(10, 10, 50, 25.9)),
        line("High", box=(10, 10, 50, 26)),
        line("Outside", box=(10, 90, 50, 300)),  # 10 of 210 rows are in the frame
        line("Largely", occluded=2),
        line("Unknown", occluded=3),
        line("Unsaid", truncated=-1, occluded=-1),
        line("Half", truncated=0.5),
        line("Most", truncated=0.51),
    ]
    made(tmp_path, {"1": "\n".join([*lines, DONT_CARE, DONT_CARE])})
    caplog.set_level(logging.INFO)
    report = LeftOut()
    examples = read(tmp_path, Options(report=report))
    assert [example.label for example in examples] == ["High", "Outside", "Largely", "Unsaid", "Half"]
    assert caplog.messages == [f"{tmp_path}/label_2: read 5 objects of 1 frames"]
    assert str(report) == (
        "2 DontCare, 1 lower than 16 pixels (dataset_config.kitti.min_height_pixels), "
        "1 more occluded than 2 (dataset_config.kitti.max_occlusion), "
        "1 more truncated than 0.5 (dataset_config.kitti.max_truncation)"
    )
    assert names(tmp_path, WHOLE) == [text.split()[0] for text in lines]


def test_classes_are_renamed_before_they_are_ignored(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made(tmp_path, {"1": "\n".join(line(name) for name in ("Car", "Van", "car", "Misc", "Tram"))})
    merged = KittiOptions(class_mapping={"Van": "Car", "Misc": "DontCare", "Tram": "Bus"})
    assert names(tmp_path, merged) == ["Car", "Car", "car", "Bus"]
    ignoring = KittiOptions(class_mapping={"Tram": "Bus"}, ignored_classes=frozenset({"Bus", "Misc"}))
    assert names(tmp_path, ignoring) == ["Car", "Van", "car"]
    caplog.clear()
    without_effect = KittiOptions(class_mapping={"Truck": "Car"}, ignored_classes=frozenset({"tram"}))
    assert len(names(tmp_path, without_effect)) == 5
    assert caplog.messages == [
        "dataset_config.kitti.class_mapping: no label is Truck; there are Car, Misc, Tram, Van, car",
        "dataset_config.kitti.ignored_classes: no class is tram; there are Car, Misc, Tram, Van, car",
    ]


@pytest.mark.parametrize(
    ("bad", "expected"),
    [
        ("Car 0 0 1", "4 columns, must be 15 or 16"),
        ("3 0.19 0.89 0.06 0.08", "5 columns, must be 15 or 16; it looks like a YOLO label: give the data.yaml"),
        (
            f"0 1 {CAR}",
            "17 columns, must be 15 or 16; it looks like a KITTI tracking label, with frame and track in front",
        ),
        (CAR + CAR, "29 columns, must be 15 or 16; line breaks are missing"),
        (f"{CAR} 0.9{CAR} 0.9{CAR}", "45 columns, must be 15 or 16; line breaks are missing"),
        # FIELD.md D8
        (line("traffic light"), "the class 'traffic light' has a blank, which parts columns; write 'traffic_light'"),
        (
            f"{line('person on  bike')} 0.9",
            "the class 'person on bike' has a blank, which parts columns; write 'person_on_bike'",
        ),
        (line("3 wheeler"), "column 2 is 'wheeler', must be a number"),
        (line(box=(1, 2, 3, float("nan"))), "column 8 is 'nan', must be a number"),
        (line(box=(1, 2, float("inf"), 4)), "column 7 is 'inf', must be a number"),
        (line(truncated=50), "truncated (column 2) is 50, must be 0 to 1, or -1"),
        (line(occluded=4), "occluded (column 3) is 4, must be 0, 1, 2 or 3, or -1"),
        (line(occluded=0.5), "occluded (column 3) is 0.5, must be 0, 1, 2 or 3, or -1"),
        (line(box=(9, 2, 9, 4.25)), "the box is empty: left 9, top 2, right 9, bottom 4.25"),
        (line(box=(1, 5, 2, 4)), "the box is empty: left 1, top 5, right 2, bottom 4"),
    ],
)
def test_line_that_is_no_label_is_reported_with_its_place(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, bad: str, expected: str
) -> None:
    path = tmp_path / "1.txt"
    assert problems(path, f"{CAR}\n{bad}\n{CAR}", caplog) == [f":2: {expected}"]
    assert [found.place for found in read_labels(path, LeftOut())] == [f"{path}:1", f"{path}:3"]
    with pytest.raises(DataError) as caught:
        read_labels(path, LeftOut(fail=True))
    assert str(caught.value) == (
        f"{path}:2: {expected}; repair it, or set dataset_config.on_bad_example: SKIP to go on without it"
    )


def test_file_without_any_label_is_reported_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "1.txt"
    assert problems(path, "a\n\nb\nc", caplog) == [
        ": none of its 3 lines is a KITTI label; line 1: 1 columns, must be 15 or 16"
    ]
    assert problems(path, "version https://git-lfs.github.com/spec/v1\nsize 9\n", caplog) == [
        ": a Git LFS pointer, not labels; fetch it with: git lfs pull"
    ]
    assert problems(path, b"\xff\xd8\xff\xe0", caplog) == [":1: byte 0xff is not UTF-8; save it as UTF-8"]
    assert problems(path, "", caplog) == []
    assert problems(path, DONT_CARE, caplog) == []


def test_real_label_files_of_other_formats_are_named(shared: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = shared / "data/dirty_labels"
    for path in sorted(folder.iterdir()):
        assert read_labels(path, LeftOut()) == []
    assert [message.removeprefix(f"{folder}/").split("; ") for message in caplog.messages] == [
        ["git_lfs_pointer_000000.txt: a Git LFS pointer, not labels", "fetch it with: git lfs pull"],
        ["no_newline_concatenated_000010.txt:1: 151 columns, must be 15 or 16", "line breaks are missing"],
        [
            "tracking_label_02_0012.txt: none of its 354 lines is a KITTI label",
            "line 1: 17 columns, must be 15 or 16",
            "it looks like a KITTI tracking label, with frame and track in front",
        ],
        [
            "yolo_lines_in_label_2_000010.txt: none of its 26 lines is a KITTI label",
            "line 1: 5 columns, must be 15 or 16",
            "it looks like a YOLO label: give the data.yaml",
        ],
    ]


def test_box_outside_its_frame_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made(tmp_path, {"1": f"{CAR}\n{line(box=(250, 10, 290, 40.5))}"})
    assert len(read(tmp_path, Options())) == 1
    assert caplog.messages == [
        (
            f"{tmp_path}/label_2/1.txt:2: the box lies outside its frame of 200 x 100 pixels: "
            "left 250, top 10, right 290, bottom 40.5"
        )
    ]


def test_frames_and_labels_without_each_other_are_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made(tmp_path, {"1": CAR, "2": CAR, "3": CAR})
    (tmp_path / "label_2/2.txt").unlink()
    (tmp_path / "image_2/3.png").unlink()
    report = LeftOut()
    assert [example.group for example in read(tmp_path, Options(report=report))] == ["1"]
    assert caplog.messages == [
        f"{tmp_path}/image_2/2.png: has no label file {tmp_path}/label_2/2.txt",
        f"{tmp_path}/label_2/3.txt: has no image {tmp_path}/image_2/3.*",
    ]
    assert len(report.problems) == 2


def test_unusable_files_are_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made(tmp_path, {"1": CAR, "2": f"{CAR}\n{CAR}", "3": CAR, "4": DONT_CARE})
    image_2, label_2 = tmp_path / "image_2", tmp_path / "label_2"
    shutil.copy(image_2 / "1.png", image_2 / "1.JPG")
    shutil.copy(image_2 / "1.png", image_2 / "._1.jpg")
    (image_2 / "2.png").write_bytes(b"")
    (image_2 / "4.png").write_bytes(b"")  # never looked at: nothing to cut out
    (image_2 / "notes.md").touch()
    (label_2 / "3.txt").unlink()
    os.mkfifo(label_2 / "3.txt")
    assert [example.path.name for example in read(tmp_path, Options())] == ["1.JPG"]
    assert caplog.messages == [
        f"{image_2}/1.png: a second file for the frame of 1.JPG",
        f"{label_2}/3.txt: not a file, or a link to nothing",
        f"{image_2}/3.png: has no label file {label_2}/3.txt",
        f"{image_2}/2.png: the file is empty",
    ]


@pytest.mark.parametrize("suffix", ["PNG", "jpg", "JPEG", "bmp", "tif", "webp"])
def test_frames_of_each_image_suffix_are_found(tmp_path: Path, suffix: str) -> None:
    assert names(made(tmp_path, {"000001": CAR}, suffix=suffix), WHOLE) == ["Car"]


@pytest.mark.parametrize(
    ("image_dir", "label_dir"),
    [("image_2", "label_2"), ("training/image_2", "training/label_2"), ("images", "labels"), ("image", "label")],
)
def test_default_folders_are_found(tmp_path: Path, image_dir: str, label_dir: str) -> None:
    made(tmp_path / "made", {"1": CAR})
    for name, chosen in (("image_2", image_dir), ("label_2", label_dir)):
        (tmp_path / "root" / chosen).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "made" / name).rename(tmp_path / "root" / chosen)
    assert names(tmp_path / "root", KittiOptions()) == ["Car"]


def test_folders_may_be_chosen(tmp_path: Path) -> None:
    made(tmp_path, {"1": CAR})
    (tmp_path / "frames").mkdir()
    Image.new("L", (200, 100)).save(tmp_path / "frames/1.png")
    (example,) = read(tmp_path, Options(kitti=KittiOptions(image_dir="frames")))
    assert example.path == tmp_path / "frames/1.png"
    with pytest.raises(DataError) as caught:
        read(tmp_path, Options(name=NAME, kitti=KittiOptions(label_dir="nowhere")))
    assert str(caught.value) == (
        f"{NAME}: {tmp_path} has no folder of images (image_2, training/image_2, images, image) "
        "with one of KITTI labels (nowhere)"
    )


def test_frame_size_is_that_of_the_upright_picture(tmp_path: Path) -> None:
    made(tmp_path, {"1": line(box=(10, 150, 50, 190))})
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying: 200 x 100 is 100 x 200
    Image.new("L", (200, 100)).save(tmp_path / "image_2/1.png", exif=exif)
    assert [example.box for example in read(tmp_path, Options())] == [(10, 150, 50, 190)]


def test_no_object_left_is_an_error_that_says_why(tmp_path: Path) -> None:
    made(tmp_path, {"1": f"{line(occluded=3)}\n{DONT_CARE}\n{DONT_CARE}\n{line('Van')}\nbad", "2": line(occluded=3)})
    with pytest.raises(DataError) as caught:
        read(tmp_path, Options(name=NAME, kitti=KittiOptions(ignored_classes=frozenset({"Van"}))))
    assert str(caught.value) == (
        f"{NAME}: no object is left of the 2 label files in {tmp_path}/label_2; left out: 2 DontCare, "
        "2 more occluded than 2 (dataset_config.kitti.max_occlusion), 1 wrongly labelled, "
        "1 of ignored classes (dataset_config.kitti.ignored_classes)"
    )


def test_yolo_folder_is_refused_with_its_kind_named(shared: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = shared / "data/yolo/sign6/train"
    with pytest.raises(DataError, match=r"labels holds no KITTI labels; .* give .*/sign6/data.yaml"):
        read(root, Options())
    # The first 20 problems, then that there are more.
    assert len(caplog.messages) == 21
    assert all(message.endswith("it looks like a YOLO label: give the data.yaml") for message in caplog.messages[:20])


@pytest.mark.parametrize(
    ("folder", "num_frames", "num_objects"),
    # Counted with awk: lines whose class is not DontCare; those of the PNG frames are all eight.
    [("kitti_png", 9, 45), ("kitti_jpeg", 29, 117), ("kitti_jpeg_named_png", 80, 538)],
)
def test_real_frames_give_one_example_per_labelled_object(
    shared: Path, folder: str, num_frames: int, num_objects: int
) -> None:
    examples = read(shared / "data" / folder, Options(kitti=WHOLE, report=LeftOut(fail=True)))
    assert len({example.group for example in examples}) == num_frames
    assert len(examples) == num_objects


def test_real_labels_are_all_read(shared: Path) -> None:
    report = LeftOut(fail=True)
    objects = [found for path in (shared / "data/kitti_labels_only").iterdir() for found in read_labels(path, report)]
    # Counted with awk.
    counts = {name: sum(found.name == name for found in objects) for name in ("Car", "Pedestrian", "Van", "Truck")}
    assert counts == {"Car": 587, "Pedestrian": 186, "Van": 53, "Truck": 5}
    assert len(objects) == 880
