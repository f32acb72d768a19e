"""`dataset check`: what is broken, mislabelled or unexpected in a data set, and the exit code."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tao_lite.data.formats.listing import SUFFIXES
from tests.data.command import exit_code
from tests.data.records import Values, picture, written


def check(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict[str, Any]]:
    """Exit code and what --json prints."""
    code, output = exit_code("dataset", "check", *arguments, "--json"), capsys.readouterr().out
    return code, json.loads(output) if output else {}


def kinds(found: dict[str, Any], severity: str = "error") -> dict[str, str]:
    """Kind and text of each finding, by the name of its file."""
    return {
        Path(one["place"]).name: f"{one['kind']}: {one['text']}"
        for one in found["findings"]
        if one["severity"] == severity
    }


def noise(path: Path, seed: int, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, **options)
    return path


def folder(root: Path) -> Path:
    for number, name in enumerate(("cat/1.png", "cat/2.jpg", "dog/1.png")):
        noise(root / name, number)
    return root


def test_sound_folder_has_no_findings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = check(capsys, folder(tmp_path))
    assert code == 0
    assert (found["num_examples"], found["num_pictures"], found["findings"]) == (3, 3, [])


def test_each_kind_of_finding_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder(tmp_path)
    (tmp_path / "cat/broken.png").write_bytes((tmp_path / "cat/1.png").read_bytes()[:300])
    shutil.copy(tmp_path / "cat/1.png", tmp_path / "dog/same.png")
    shutil.copy(tmp_path / "cat/2.jpg", tmp_path / "cat/copy.jpg")
    noise(tmp_path / "dog/really.jpg", 7, format="PNG")
    Image.new("RGBA", (4, 4), (1, 2, 3, 4)).save(tmp_path / "dog/clear.png")
    Image.new("P", (4, 4)).save(tmp_path / "dog/moving.webp", save_all=True, append_images=[Image.new("L", (4, 4), 9)])
    (tmp_path / "dog/link.png").symlink_to("nowhere")
    code, found = check(capsys, tmp_path)
    assert code == 2
    assert kinds(found) == {
        "broken.png": "broken: can't be decoded: image file is truncated",
        "same.png": f"mislabelled: the same picture as {tmp_path}/cat/1.png, which is 'cat' and not 'dog'",
        "link.png": "label: not a file, or a link to nothing",
        "data": (
            f"left out: 2 of 10 examples can't be read, such as {tmp_path}/dog/link.png: not a file, or a link to "
            "nothing; repair or remove them (dataset_config.max_bad_share is 0.1), or bring back the disk that they "
            "are on"
        ),
    }
    remarks = kinds(found, "remark")
    assert remarks.pop("data").startswith("left out: class 'dog' has lost 1 of 6 examples: 1 unreadable")
    assert remarks.pop("moving.webp").startswith("mode: an animation")
    assert remarks == {
        "copy.jpg": f"double: the same picture as {tmp_path}/cat/2.jpg",
        "really.jpg": "suffix: holds PNG, read as that",
        "clear.png": "mode: transparent, laid on white",
    }


def test_table_ends_with_the_counts_and_remarks_alone_are_no_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    noise(folder(tmp_path) / "dog/really.jpg", 7, format="PNG")
    assert exit_code("dataset", "check", tmp_path) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2].split() == [
        "remark",
        "suffix",
        f"{tmp_path}/dog/really.jpg",
        "holds",
        "PNG,",
        "read",
        "as",
        "that",
    ]
    assert lines[-1] == "4 examples in 4 pictures: 0 errors, 1 remarks"


def test_pictures_of_training_in_validation_and_classes_without_training_are_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder(tmp_path / "train")
    shutil.copytree(tmp_path / "train", tmp_path / "val")
    noise(tmp_path / "val/owl/1.png", 9)
    code, found = check(capsys, tmp_path)
    assert code == 2
    assert kinds(found) == {"val": "mislabelled: 1 examples of 'owl', a class that training does not have"}
    assert kinds(found, "remark")["2.jpg"] == (
        f"double: the same picture as {tmp_path}/train/cat/2.jpg, once in train and once in val"
    )


def test_records_are_named_with_their_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values: list[Values] = [
        {"image/encoded": [content], "image/class/text": [name]}
        for content, name in ((picture(), b"a"), (b"no picture", b"b"), (picture((1, 2, 3)), b"a"))
    ]
    path = written(tmp_path / "x.tfrecord", values)
    content = path.read_bytes()
    path.write_bytes(content[:-9] + bytes(9))
    code, found = check(capsys, path)
    assert code == 2
    problems = kinds(found)
    assert problems["x.tfrecord#2"].startswith("broken: not a JPEG")
    assert problems["x.tfrecord#3"] == "label: damaged: the checksum of its content is wrong"


def test_data_set_of_a_spec_is_checked_and_one_that_cannot_be_read_is_a_finding(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder(tmp_path / "train")
    spec = tmp_path / "s.cfg"
    spec.write_text(f'train_config {{ train_dataset_path: "{tmp_path}/train" val_dataset_path: "{tmp_path}/no" }}')
    code, found = check(capsys, "-e", spec)
    assert code == 2
    assert kinds(found) == {
        "no": f"dataset: train_config.val_dataset_path: {tmp_path}/no can't be read (No such file or directory)"
    }
    code, found = check(capsys, "-e", spec, "--set", f"train_config.val_dataset_path={tmp_path}/train")
    assert (code, found["num_examples"]) == (0, 3)


@pytest.mark.parametrize("arguments", [[], ["a", "-e", "b"], ["a", "--set", "x=1"]])
def test_what_to_check_must_be_said_once(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert check(capsys, *arguments) == (2, {})


def test_path_that_is_not_there_is_an_error_without_a_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = check(capsys, tmp_path / "no")
    assert code == 2
    assert kinds(found) == {"no": f"dataset: the data set: {tmp_path}/no can't be read (No such file or directory)"}


def test_difficult_files_are_found_as_their_manifest_says(shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = shared / "data/dirty"
    with (root / "MANIFEST.tsv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file, delimiter="\t") if row["ext"][1:].lower() in SUFFIXES]
    code, found = check(capsys, root)
    assert code == 2
    assert found["num_pictures"] == len(rows) == 210
    broken = {one["place"] for one in found["findings"] if one["kind"] == "broken"}
    not_read = {row["path"] for row in rows if row["load"] != "ok" or row["fmt"] in {"ICO", "JPEG2000"}}
    assert broken == {str(root / path) for path in not_read}
    wrong = {one["place"] for one in found["findings"] if one["kind"] == "suffix"}
    kinds_of = {"jpeg": {".jpg", ".jpeg"}, "tiff": {".tif", ".tiff"}, "ppm": {".ppm"}}
    expected = {
        str(root / row["path"])
        for row in rows
        if row["path"] not in not_read and row["ext"].lower() not in kinds_of.get(row["magic"], {f".{row['magic']}"})
    }
    assert wrong == expected


def test_real_export_has_a_picture_with_one_box_and_two_classes(
    shared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = check(capsys, shared / "data/yolo/sign6")
    assert code == 2
    assert (found["num_examples"], found["num_pictures"]) == (136, 134)
    # Its label file holds two lines, 5 and 0 (Yes and Hello), whose boxes differ by 3 pixels.
    assert kinds(found) == {
        "IMG-20251113-WA0021_jpg.rf.8a94ed2faac564a8f2cb88eaa704d754.jpg": (
            "mislabelled: 'Yes' and 'Hello' are labels of nearly the same box, (274, 262, 594, 599) and "
            "(277, 260, 594, 599)"
        )
    }


def test_names_that_look_alike_are_a_remark(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """FIELD.md E8"""
    for number, name in enumerate(("caf\u00e9", "cafe\u0301", "cat", "cat ", "Cat")):
        noise(tmp_path / name / "1.png", number)
    code, found = check(capsys, tmp_path)
    assert code == 0
    texts = [one["text"] for one in found["findings"] if one["kind"] == "names"]
    assert texts == [
        (
            "'Cat' and 'cat ' differ in signs that are hard to see: case, blanks, hyphens or Unicode form; "
            "they are two classes"
        ),
        "'Cat' and 'cat' differ in case; they are two classes",
        r"'cafe\u0301' and 'caf\xe9' differ in their Unicode form, composed or not; they are two classes",
        "'cat' and 'cat ' differ in blanks at the ends; they are two classes",
    ]


def test_range_of_deep_pictures_is_a_remark(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """FIELD.md E1, in check and report."""
    for number, name in enumerate(("cat", "dog")):
        (tmp_path / name).mkdir()
        Image.fromarray(np.full((4, 4), 1000 + number, np.uint16)).save(tmp_path / name / "1.png")
    text = (
        "the values of 2 pictures of more than 8 bits are 1000 to 1001, and 65535 is white; "
        "set dataset_config.full_scale: 1023"
    )
    _, found = check(capsys, tmp_path)
    assert [one["text"] for one in found["findings"] if one["kind"] == "depth"] == [text]
    assert exit_code("dataset", "report", tmp_path, "--json") == 0
    problems = json.loads(capsys.readouterr().out)["problems"]
    assert [one["text"] for one in problems if one["kind"] == "depth"] == [text]


def test_doubtful_examples_are_remarks_of_check_and_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Pictures of 16 x 12 are enlarged more than 8 times for 224 x 224; one of 21 is black."""
    for number in range(20):
        noise(tmp_path / f"data/{'cat' if number % 2 else 'dog'}/{number}.png", number)
    Image.new("RGB", (16, 12)).save(tmp_path / "data/cat/black.png")
    black = "dark: 100% of it are black or nearly so"
    code, found = check(capsys, tmp_path / "data")
    assert (code, kinds(found, "remark")) == (0, {"black.png": black})
    spec = tmp_path / "ours.cfg"
    network = 'model_config { arch: "resnet" n_layers: 18 input_image_size: "3,224,224" }'
    spec.write_text(f'train_config {{ train_dataset_path: "{tmp_path}/data" }} {network}')
    _, found = check(capsys, "-e", spec)
    small = [one["text"] for one in found["findings"] if one["kind"] == "small"]
    assert small == ["16 x 12 pixels, where the network reads 224 x 224"] * 21
    assert exit_code("dataset", "report", "-e", spec, "--json") == 0
    problems = json.loads(capsys.readouterr().out)["problems"]
    assert [one["kind"] for one in problems if one["severity"] == "remark"] == ["dark", *["small"] * 21]
