"""Image folders: which files become examples of which class, and what is said about the rest."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from tao_lite.data.example import Example, Options
from tao_lite.data.formats import split_folders
from tao_lite.data.formats.image_folder import read
from tao_lite.data.formats.listing import images_below
from tao_lite.data.left_out import LeftOut
from tao_lite.errors import DataError

NAME = "train_config.train_dataset_path"


def made(root: Path, *files: str) -> Path:
    """The folder with these files; reading names, not pixels, needs no content."""
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    return root


def groups(root: Path) -> list[str]:
    return [example.group for example in read(root, Options(name=NAME))]


def problem(root: Path) -> str:
    with pytest.raises(DataError) as caught:
        read(root, Options(name=NAME))
    return str(caught.value)


def test_class_is_the_folder_and_group_the_path_below_the_root(tmp_path: Path) -> None:
    made(tmp_path, "dog/1.jpg", "cat/b/2.png", "cat/a.png")
    assert read(tmp_path, Options()) == [
        Example(tmp_path / "cat/a.png", "cat", "cat/a.png"),
        Example(tmp_path / "cat/b/2.png", "cat", "cat/b/2.png"),
        Example(tmp_path / "dog/1.jpg", "dog", "dog/1.jpg"),
    ]


def test_each_suffix_counts_in_any_case(tmp_path: Path) -> None:
    suffixes = ["png", "JPG", "Jpeg", "bmp", "PPM", "tif", "TIFF", "webp"]
    made(tmp_path, "dog/1.jpg", *(f"cat/1.{suffix}" for suffix in suffixes))
    assert sorted(groups(tmp_path)) == sorted(["dog/1.jpg", *(f"cat/1.{suffix}" for suffix in suffixes)])


def test_hidden_files_and_folders_are_passed_over(tmp_path: Path) -> None:
    made(tmp_path, "cat/1.jpg", "cat/._1.jpg", "cat/.hidden/2.jpg", "dog/1.jpg", ".ipynb_checkpoints/1.jpg", ".x.jpg")
    assert groups(tmp_path) == ["cat/1.jpg", "dog/1.jpg"]


def test_what_is_left_out_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made(tmp_path, "cat/1.jpg", "dog/1.jpg", "bird/sub/notes.txt", "loose.png", "labels.csv")
    made(tmp_path, "cat/1.GIF", "cat/2.gif", "cat/png", "dog/README")
    (tmp_path / "empty").mkdir()
    caplog.set_level(logging.INFO)
    assert groups(tmp_path) == ["cat/1.jpg", "dog/1.jpg"]
    assert caplog.messages == [
        f"{tmp_path}: took as no class, being without images: bird, empty",
        f"{tmp_path}: left out 1 images that are in no class folder",
        f"{tmp_path}: left out files that are no images by their suffix: 2 x .gif, 1 x .txt, 2 x no suffix",
        f"{tmp_path}: read 2 images of 2 classes",
    ]


def test_links_to_folders_are_followed_once_and_never_in_circles_nor_out_of_a_class(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """FIELD.md B9."""
    made(tmp_path / "set", "cat/1.jpg", "dog/1.jpg", "cat/.own/3.jpg")
    made(tmp_path / "elsewhere", "2.jpg", "deeper/4.jpg")
    (tmp_path / "set/cat/more").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "set/cat/one").symlink_to(tmp_path / "set/cat/.own")
    (tmp_path / "set/cat/two").symlink_to(tmp_path / "set/cat/.own")
    (tmp_path / "set/cat/up").symlink_to(tmp_path / "set/cat")
    (tmp_path / "elsewhere/back").symlink_to(tmp_path / "set/cat")
    (tmp_path / "elsewhere/machine").symlink_to("/")
    # A class itself may be anywhere.
    (tmp_path / "set/bird").symlink_to(tmp_path / "elsewhere")
    assert groups(tmp_path / "set") == ["bird/2.jpg", "bird/deeper/4.jpg", "cat/1.jpg", "cat/one/3.jpg", "dog/1.jpg"]
    assert sorted(message for message in caplog.messages if "not followed" in message) == [
        f"{tmp_path}/set/bird/back: leads out of its folder, to {tmp_path}/set/cat; not followed",
        f"{tmp_path}/set/bird/machine: leads out of its folder, to /; not followed",
        f"{tmp_path}/set/cat/more: leads out of its folder, to {tmp_path}/elsewhere; not followed",
    ]


def test_links_to_nothing_and_pipes_are_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made(tmp_path, "cat/1.jpg", "dog/1.jpg")
    (tmp_path / "cat/link.jpg").symlink_to("nowhere")
    (tmp_path / "cat/circle.jpg").symlink_to("circle.jpg")
    os.mkfifo(tmp_path / "dog/pipe.jpg")
    report = LeftOut()
    assert len(read(tmp_path, Options(report=report))) == 2
    assert len(report.problems) == 3
    assert sorted(caplog.messages) == [
        f"{tmp_path}/cat/circle.jpg: not a file, or a link to nothing",
        f"{tmp_path}/cat/link.jpg: not a file, or a link to nothing",
        f"{tmp_path}/dog/pipe.jpg: not a file, or a link to nothing",
    ]
    with pytest.raises(DataError, match=r"pipe\.jpg|link\.jpg|circle\.jpg"):
        read(tmp_path, Options(report=LeftOut(fail=True)))


def test_folder_that_cannot_be_listed_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made(tmp_path, "cat/1.jpg", "dog/1.jpg")
    monkeypatch.chdir(tmp_path / "cat")
    for _ in range(25):  # beyond the 4096 bytes that a path may have; permissions would not stop root
        Path("d" * 200).mkdir()
        os.chdir("d" * 200)
    assert groups(tmp_path) == ["cat/1.jpg", "dog/1.jpg"]
    assert [message.rpartition(": ")[2] for message in caplog.messages] == ["can't be listed (File name too long)"]


def test_no_folder_with_images_is_an_error_that_says_what_is_there(tmp_path: Path) -> None:
    must = "; it must hold one folder of images per class"
    assert problem(tmp_path) == f"{NAME}: {tmp_path} holds no folder with images{must}"
    made(tmp_path, "1.jpg", "2.jpg")
    assert problem(tmp_path) == f"{NAME}: {tmp_path} holds no folder with images and 2 images in no folder{must}"
    assert groups(made(tmp_path, "cat/1.jpg")) == ["cat/1.jpg"]
    assert problem(tmp_path / "nowhere") == f"{tmp_path}/nowhere: can't be listed (No such file or directory)"


def test_folder_of_splits_is_an_error_that_names_the_remedy(tmp_path: Path, shared: Path) -> None:
    root = shared / "data/folders/cifar10_small"
    assert problem(root) == (
        f"{NAME}: the folders of {root} are splits of a data set, not classes (train, val); "
        f"give one of them: {root}/train, {root}/val"
    )
    made(tmp_path / "more", "Train/cat/1.jpg", "test/cat/1.jpg", "images/1.jpg")
    assert "are splits of a data set, not classes (Train, images, test)" in problem(tmp_path / "more")
    assert groups(made(tmp_path / "vehicles", "bus/1.jpg", "train/1.jpg")) == ["bus/1.jpg", "train/1.jpg"]


@pytest.mark.parametrize(
    ("folder", "num_images", "num_classes"),
    # As the data's README counts; of hymenoptera's 40 files one is the .gif.
    [
        ("imagenette_tiny/train", 240, 10),
        ("imagenette_tiny/val", 100, 10),
        ("hymenoptera_small/train", 27, 2),
        ("hymenoptera_small/val", 12, 2),
        ("cifar10_small/train", 1500, 10),
        ("cifar10_small/val", 400, 10),
    ],
)
def test_real_folders_are_read_whole(
    shared: Path, caplog: pytest.LogCaptureFixture, folder: str, num_images: int, num_classes: int
) -> None:
    root = shared / "data/folders" / folder
    examples = read(root, Options(report=LeftOut(fail=True)))
    assert len(examples) == num_images
    assert len({example.label for example in examples}) == num_classes
    assert all(example.path == root / example.group for example in examples)
    left_out = [f"{root}: left out files that are no images by their suffix: 1 x .gif"]
    assert caplog.messages == (left_out if folder == "hymenoptera_small/train" else [])


def tree(root: Path, splits: Sequence[str], classes: Sequence[str] = ("cat", "dog")) -> Path:
    return made(root, *(f"{split}/{name}/1.jpg" for split in splits for name in classes))


@pytest.mark.parametrize(
    "splits",
    [
        ("seg_test", "seg_train"),
        ("fold1", "fold2", "fold3"),
        ("training_set", "validation_set"),
        ("train2017", "val2017"),
        ("a", "b"),
        ("2023", "2024"),
    ],
)
def test_folders_that_hold_the_same_folders_are_splits(tmp_path: Path, splits: tuple[str, ...]) -> None:
    """FIELD.md E4: whatever they are called, with a folder of loose pictures among them or not."""
    paths = ", ".join(f"{tmp_path}/{name}" for name in splits)
    said = problem(tree(tmp_path, splits))
    assert said.startswith(
        f"{NAME}: the folders of {tmp_path} are splits of a data set, not classes ({', '.join(splits)})"
    )
    assert said.endswith(f"; give one of them: {paths}")
    assert split_folders.found_in(tmp_path) == list(splits)
    assert f"; give one of them: {paths}" in problem(made(tmp_path, f"{splits[0]}/owl/1.jpg"))
    assert "are splits of a data set" in problem(made(tmp_path, "pred/1.jpg"))


def test_classes_that_are_divided_into_splits_are_refused(tmp_path: Path) -> None:
    """FIELD.md E4, the other way round."""
    assert problem(tree(tmp_path, ("cat", "dog"), ("train", "val"))) == (
        f"{NAME}: the classes in {tmp_path} are divided into splits (train, val), which would be one; put the classes "
        "into a folder for each split, and give those"
    )


def test_classes_may_have_folders_of_their_own(tmp_path: Path) -> None:
    """FIELD.md E4: neither one folder that each class has, nor different ones, make splits of them."""
    assert len(groups(tree(tmp_path / "tiny", ("n01", "n02"), ["images"]))) == 2
    assert len(groups(made(tmp_path / "days", "cat/mon/1.jpg", "cat/tue/1.jpg", "dog/wed/1.jpg", "dog/thu/1.jpg"))) == 4
    assert len(groups(made(tree(tmp_path / "mixed", ("cat", "dog"), ("a", "b")), "cat/1.jpg", "dog/1.jpg"))) == 6


def test_what_systems_put_there_is_no_class_and_no_picture(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """FIELD.md E9: each is left out wherever it is, and counted by its name, in one line."""
    root = made(tmp_path, "cat/1.jpg", "dog/1.jpg", "cat/sub/2.jpg")
    names = (
        "@eaDir",
        "__MACOSX",
        ".ipynb_checkpoints",
        "#recycle",
        "lost+found",
        "$RECYCLE.BIN",
        "@Recycle",
        "System Volume Information",
    )
    for name in names:
        made(root, f"{name}/1.jpg", f"cat/{name}/1.jpg", f"cat/sub/{name}/1.jpg/THUMB.jpg")
    made(root, "cat/._1.jpg", "dog/._1.jpg", "dog/Thumbs.db", "dog/.DS_Store")
    caplog.set_level(logging.INFO)
    assert groups(root) == ["cat/1.jpg", "cat/sub/2.jpg", "dog/1.jpg"]
    counts = sorted(
        [*(f"3 x {name}" for name in names), "2 x ._*", "1 x Thumbs.db", "1 x .DS_Store"], key=lambda text: text[4:]
    )
    assert caplog.messages == [
        f"{root}: passed over what systems and programs put there: {', '.join(counts)}",
        f"{root}: read 3 images of 2 classes",
    ]
    assert images_below(root, LeftOut()) == [root / name for name in ("cat/1.jpg", "cat/sub/2.jpg", "dog/1.jpg")]


def test_classes_may_be_called_nearly_as_systems_call_things(tmp_path: Path) -> None:
    """FIELD.md E9"""
    names = ["#1", "@home", "lost", "recycle", "snapshot", "thumbs"]
    assert groups(made(tmp_path, *(f"{name}/1.jpg" for name in names))) == [f"{name}/1.jpg" for name in names]
