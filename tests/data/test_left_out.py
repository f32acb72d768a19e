"""What is left out is counted once, by class and reason, and refused where it is too much."""

import re
from pathlib import Path

import pytest
from PIL import Image

from tao_lite.data.asked import TRAIN
from tao_lite.data.dataset import splits
from tao_lite.data.left_out import SUFFIX, SYSTEM, UNREADABLE, WRONG_LABEL, LeftOut, lines
from tao_lite.errors import DataError
from tao_lite.spec import classification_pb2 as pb
from tests.data.pictures import as_data_set, make, write_picture


def spec(train: Path, val: Path, **config: object) -> pb.Experiment:
    return pb.Experiment(
        train_config=pb.TrainConfig(train_dataset_path=str(train), val_dataset_path=str(val)),
        dataset_config=pb.DatasetConfig(**config),  # type: ignore[arg-type]
    )


def folder(root: Path, suffix: str = "png", **counts: int) -> Path:
    for name, count in counts.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            Image.new("RGB", (4, 4), (number, 0, 0)).save(root / name / f"{number}.{suffix}", "JPEG")
    return root


def test_a_problem_is_told_and_counted_once(caplog: pytest.LogCaptureFixture) -> None:
    """FIELD.md D7"""
    report = LeftOut()
    for _ in range(2):
        report("1.png", "broken", labels=["cat", "dog"])
    report.unread({"cat": 2})
    report.unread({"cat": 1, "eel": 1})
    report.count(SUFFIX, "dog", "2.gif")
    report.count(SYSTEM, place="Thumbs.db", number=3)
    assert caplog.messages == ["1.png: broken"]
    assert report.problems == [("1.png", "broken")]
    assert report.values() == {
        "total": 9,
        "reasons": {"unreadable": 5, "system": 3, "suffix": 1},
        "classes": {"cat": {"unreadable": 3}, "dog": {"suffix": 1, "unreadable": 1}, "eel": {"unreadable": 1}},
        "examples": {"unreadable": ["1.png"], "suffix": ["2.gif"], "system": ["Thumbs.db"]},
    }
    assert lines({"train": report.values(), "val": LeftOut().values()}) == [
        "train: left out 9: 5 unreadable, 3 system, 1 suffix"
    ]


@pytest.mark.parametrize(("num_bad", "share", "is_error"), [(1, 0.1, False), (2, 0.1, True), (9, 0.9, False)])
def test_more_than_max_bad_share_is_an_error(num_bad: int, share: float, is_error: bool) -> None:
    """FIELD.md A3: 1 of 10 is not more than a tenth."""
    report = LeftOut("x", max_bad_share=share)
    whole = [loss for loss in report.losses({"cat": 10 - num_bad}, {(UNREADABLE, ""): num_bad}) if loss.is_error]
    assert bool(whole) is is_error


def test_nothing_readable_is_an_error_whatever_share_is_allowed() -> None:
    """FIELD.md A3"""
    with pytest.raises(DataError, match=r"^x: 3 of 3 examples can't be read; repair or remove them, or bring back"):
        LeftOut("x", max_bad_share=1).verify({}, {(UNREADABLE, "cat"): 3})


def test_a_class_that_lost_a_tenth_is_no_warning_and_one_that_lost_more_is(caplog: pytest.LogCaptureFixture) -> None:
    """FIELD.md A9, E3"""
    report = LeftOut("x")
    report.verify({"cat": 9}, {(WRONG_LABEL, "cat"): 1})
    assert caplog.messages == []
    for _ in range(2):
        report.verify({"cat": 8}, {(WRONG_LABEL, "cat"): 1})
    assert caplog.messages == ["x: class 'cat' has lost 1 of 9 examples: 1 wrongly labelled; repair or convert them"]
    with pytest.raises(DataError, match=r"^x: class 'cat' has lost all of its 2 examples: 2 wrongly labelled"):
        report.verify({"dog": 8}, {(WRONG_LABEL, "cat"): 2})


@pytest.mark.parametrize("kind", ["KITTI", "YOLO"])
def test_what_a_filter_takes_of_a_class_is_said_with_field_and_value(
    tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """FIELD.md A9, E3: many a warning, all an error."""

    def made(root: Path, num_high: int) -> Path:
        for name in ("images", "labels"):
            (root / name).mkdir(parents=True)
        (root / "data.yaml").write_text("train: images\nval: images\nnames: [car, sign]\n")
        for number in range(4):
            Image.new("RGB", (100, 100)).save(root / f"images/{number}.png")
            height = 40 if number < num_high else 10
            if kind == "KITTI":
                texts = [f"{name} 0 0 0 0 0 50 {h} 0 0 0 0 0 0 0" for name, h in (("car", 50), ("sign", height))]
            else:
                texts = [f"{index} 0.5 0.5 0.5 {h / 100}" for index, h in ((0, 50), (1, height))]
            (root / f"labels/{number}.txt").write_text("\n".join(texts))
        return root

    lower = (
        "lower than 16 pixels (dataset_config.kitti.min_height_pixels); set dataset_config.kitti.min_height_pixels: 0"
    )
    options = {"format": pb.DatasetFormat.Kind.Value(kind), "kitti": pb.KittiConfig(min_height_pixels=16)}
    some = made(tmp_path / "some", num_high=3)
    splits(spec(some, some, **options), None)
    assert f"{TRAIN}: class 'sign' has lost 1 of 4 examples: 1 {lower}" in caplog.messages
    none = made(tmp_path / "none", num_high=0)
    with pytest.raises(DataError, match=re.escape(f"class 'sign' has lost all of its 4 examples: 4 {lower}")):
        splits(spec(none, none, **options), None)


def test_every_suffix_of_a_format_is_read_alike(tmp_path: Path) -> None:
    """FIELD.md E3"""
    for suffix in ("jfif", "jpe", "webp", "tif", "JPG"):
        root = folder(folder(tmp_path / suffix, "png", dog=2), suffix, fox=3)
        assert len(splits(spec(root, root), None)[0].examples) == 5


@pytest.mark.parametrize("suffix", ["gif", "heic", ""])
def test_a_class_in_pictures_that_are_not_read_is_an_error(tmp_path: Path, suffix: str) -> None:
    """FIELD.md E3"""
    root = folder(folder(tmp_path, "png", dog=2, cat=2), suffix, fox=3)
    (root / "notes").mkdir()
    (root / "notes/readme.txt").touch()
    with pytest.raises(DataError, match=r"class 'fox' has lost all of its 3 examples: 3 not read by their suffix"):
        splits(spec(root, root), None)


def test_each_data_set_counts_for_itself(tmp_path: Path) -> None:
    """FIELD.md D7"""
    train, val = folder(tmp_path / "train", cat=20, dog=20), folder(tmp_path / "val", cat=20, dog=20)
    for root, count in ((train, 2), (val, 1)):
        for number in range(count):
            (root / f"cat/{number}.lnk.png").symlink_to("nowhere")
    assert [side.report.total for side in splits(spec(train, val), None)] == [2, 1]


def test_pictures_that_vanish_end_the_epoch(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """FIELD.md A3: within the epoch in which they do."""
    paths = [tmp_path / f"{number}.png" for number in range(40)]  # more than are decoded ahead
    for number, path in enumerate(paths):
        write_picture(path, number)
    loader = make(as_data_set(paths), report=LeftOut("x", max_bad_share=0.1), num_workers=1)
    assert len(list(loader.epoch(0))) == 10
    epoch = loader.epoch(1)
    next(epoch)
    for path in paths:
        path.unlink()
    with pytest.raises(DataError, match=r"^x: \d+ of \d+ examples can't be read, such as .*\.png: "):
        list(epoch)


def test_unreadable_pictures_below_the_share_are_numbers(tmp_path: Path) -> None:
    """FIELD.md A3: the same in each epoch, counted once; a class of which none can be read ends it."""
    paths = [tmp_path / f"{number}.png" for number in range(21)]
    for number, path in enumerate(paths):
        write_picture(path, number)
    paths[4].write_bytes(b"")
    loader = make(as_data_set(paths), report=LeftOut("x", max_bad_share=0.1, is_logged=False), training=False)
    for epoch in range(2):
        list(loader.epoch(epoch))
    assert loader.report.values()["classes"] == {"dog": {"unreadable": 1}}
    for path in paths[1::3]:
        path.write_bytes(b"")
    loader = make(as_data_set(paths), report=LeftOut("x", max_bad_share=0.5, is_logged=False), training=False)
    with pytest.raises(DataError, match="class 'dog' has lost all of its 7 examples: 7 unreadable"):
        list(loader.epoch(0))


def test_case_of_a_class_in_jfif(shared: Path) -> None:
    """FIELD.md E3"""
    root = shared / "cases/class_disappears/jfif"
    assert splits(spec(root, root), None)[0].class_names == ("cat", "dog", "fox")


def test_case_of_a_class_below_the_least_height(shared: Path) -> None:
    """FIELD.md E3: it is an error that names it; where the height is no filter, it is read."""
    root = shared / "cases/class_disappears"
    with pytest.raises(DataError, match="class 'Sign' has lost all of its"):
        splits(spec(root / "kitti", root / "kitti"), None)
    assert "sign" in splits(spec(root / "yolo", root / "yolo"), None)[0].class_names
