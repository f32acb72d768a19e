"""`dataset report`: copies, leakage, imbalance and advice on small data sets drawn for it."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tao_lite.data.example import Example
from tao_lite.stages.dataset import report as dataset_report
from tests.data.command import exit_code
from tests.data.records import Values, written


def report(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    """What --json prints."""
    assert exit_code("dataset", "report", *arguments, "--json") == 0
    values: dict[str, Any] = json.loads(capsys.readouterr().out)
    return values


def painted(path: Path, seed: int, size: tuple[int, int] = (40, 30)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    colours = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    Image.fromarray(colours).resize(size, Image.Resampling.BICUBIC).save(path)
    return path


def members(groups: list[dict[str, Any]]) -> list[list[str]]:
    """Each group as split/class/file."""
    return [[f"{one['split']}/{one['label']}/{Path(one['path']).name}" for one in group["members"]] for group in groups]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Train has 6 cats and 1 dog, val 1 of each."""
    for number in range(6):
        painted(tmp_path / f"set/train/cat/{number}.png", number)
    painted(tmp_path / "set/train/dog/6.png", 6)
    painted(tmp_path / "set/val/cat/7.png", 7)
    painted(tmp_path / "set/val/dog/8.png", 8)
    return tmp_path / "set"


def test_sound_set_has_counts_sizes_and_nothing_to_repair(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = report(capsys, folder)
    assert values["class_names"] == ["cat", "dog"]
    train = values["splits"]["train"]
    assert (train["examples"], train["pictures"], train["unreadable"]) == (7, 7, 0)
    assert train["classes"] == {"cat": 6, "dog": 1}
    assert train["width"] == {"min": 40, "median": 40, "max": 40}
    assert train["aspect"] == {"min": 1.333, "median": 1.333, "max": 1.333}
    assert values["problems"] == []
    assert values["duplicates"] == {"exact": [], "near": []}
    assert values["leakage"] == {"val": {"exact": 0, "near": 0}}


def test_weights_and_ratio_of_classes_are_those_worked_out_by_hand(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = report(capsys, folder)["imbalance"]
    assert (found["split"], found["largest"], found["smallest"], found["ratio"]) == ("train", "cat", "dog", 6)
    # 7 images in 2 classes: each class has 3.5 in all.
    assert found["weights"]["BALANCED"] == pytest.approx({"cat": 3.5 / 6, "dog": 3.5})
    raw = {name: 0.001 / (1 - 0.999**count) for name, count in {"cat": 6, "dog": 1}.items()}
    mean = (6 * raw["cat"] + raw["dog"]) / 7
    assert found["weights"]["EFFECTIVE_NUMBER"] == pytest.approx({n: weight / mean for n, weight in raw.items()})
    assert found["spec"] is None


def test_exact_copy_leaks_and_a_copy_in_two_classes_comes_first(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(folder / "train/cat/0.png", folder / "val/cat/copy.png")
    shutil.copy(folder / "train/cat/1.png", folder / "train/dog/wrong.png")
    values = report(capsys, folder)
    exact = values["duplicates"]["exact"]
    assert members(exact) == [["train/cat/1.png", "train/dog/wrong.png"], ["train/cat/0.png", "val/cat/copy.png"]]
    assert [(group["crosses_classes"], group["crosses_splits"]) for group in exact] == [(True, False), (False, True)]
    assert values["duplicates"]["near"] == []
    assert values["leakage"] == {"val": {"exact": 1, "near": 0}}
    labels, leak = values["advice"][:2]
    assert labels == "1 groups of copies have more than one class: correct their labels."
    assert leak.startswith("1 of 3 examples of val are copies of training examples: its score is too good")


def test_encoded_anew_and_resized_is_a_near_copy_and_exact_copies_go_with_it(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Image.open(folder / "train/cat/2.png") as image:
        image.resize((80, 60)).save(folder / "val/cat/2.jpg", quality=60)
    shutil.copy(folder / "val/cat/2.jpg", folder / "val/cat/3.jpg")
    shutil.copy(folder / "train/cat/2.png", folder / "val/cat/4.png")
    values = report(capsys, folder)
    exact, near = (members(values["duplicates"][kind]) for kind in ("exact", "near"))
    assert exact == [["train/cat/2.png", "val/cat/4.png"], ["val/cat/2.jpg", "val/cat/3.jpg"]]
    assert near == [["train/cat/2.png", "val/cat/2.jpg", "val/cat/3.jpg", "val/cat/4.png"]]
    assert values["leakage"] == {"val": {"exact": 1, "near": 2}}


def test_broken_file_is_a_problem_and_has_no_copies(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "b"):
        (folder / f"train/cat/{name}.png").write_bytes(b"no picture")
    values = report(capsys, folder)
    assert [(one["severity"], one["kind"], Path(one["place"]).name) for one in values["problems"]] == [
        ("error", "broken", "a.png"),
        ("error", "broken", "b.png"),
        ("error", "left out", "train"),
        ("remark", "left out", "train"),
    ]
    assert (values["splits"]["train"]["measured"], values["splits"]["train"]["unreadable"]) == (7, 2)
    assert values["duplicates"]["exact"] == []
    assert values["advice"][0].startswith("3 errors among the problems")


def test_box_outside_its_picture_is_a_problem_and_like_none(tmp_path: Path) -> None:
    one, other = (Example(painted(tmp_path / name, 1), "cat", name, box=(0, 0, 41, 30)) for name in ("1.png", "2.bmp"))
    values = dataset_report.report({"train": (one, other)})
    assert [problem["text"] for problem in values["problems"] if problem["kind"] == "label"] == [
        "the box (0, 0, 41, 30) lies outside the picture of 40 x 30"
    ] * 2
    assert values["duplicates"] == {"exact": [], "near": []}


def test_spec_says_what_is_in_use_and_is_divided_as_in_training(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "train/dog/link.png").symlink_to("nowhere")
    spec = tmp_path / "s.cfg"
    spec.write_text(
        f'model_config {{ arch: "resnet" n_layers: 18 input_image_size: "3,64,64" }}\n'
        f'train_config {{ train_dataset_path: "{folder}/train" class_weighting: BALANCED }}\n'
        "dataset_config { val_split: 0.5 }"
    )
    values = report(capsys, "-e", spec, "-o", tmp_path / "made/report.json")
    assert json.loads((tmp_path / "made/report.json").read_text()) == values
    assert [one["text"] for one in values["problems"] if one["kind"] == "label"] == ["not a file, or a link to nothing"]
    assert list(values["splits"]) == ["train", "val"]
    assert sum(split["examples"] for split in values["splits"].values()) == 7
    used = values["imbalance"]["spec"]
    assert (used["class_weighting"], used["sampler"]) == ("BALANCED", "SHUFFLED")
    assert used["weights"] == values["imbalance"]["weights"]["BALANCED"]
    advice = "\n".join(values["advice"])
    assert "40 x 30 pixels and enlarged to 64 x 64" in advice
    assert "val has fewer than 10 examples of cat" in advice
    assert "sampler" not in advice
    twice = report(capsys, "-e", spec, "--set", "train_config.sampler=BALANCED")["advice"]
    assert "The spec balances classes twice, by sampler and by weights: choose one." in twice


def test_imbalance_is_told_with_its_remedy(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = tmp_path / "s.cfg"
    spec.write_text(f'train_config {{ train_dataset_path: "{folder}/train" val_dataset_path: "{folder}/val" }}')
    advice = report(capsys, "-e", spec)["advice"]
    assert advice[0] == (
        "dog has 6 times fewer train examples than cat: set train_config.sampler: BALANCED or "
        "train_config.class_weighting: BALANCED."
    )


def test_objects_of_a_copied_frame_are_copies_and_those_of_one_frame_are_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = painted(tmp_path / "training/image_2/000000.png", 1, (200, 100))
    shutil.copy(image, image.with_name("000001.png"))
    labels = tmp_path / "training/label_2"
    labels.mkdir()
    line = "{} 0 0 0 {}.00 10.00 {}.00 90.00 1 1 1 1 1 1 1\n"
    (labels / "000000.txt").write_text(line.format("Car", 10, 100) + line.format("Van", 12, 102))
    (labels / "000001.txt").write_text(line.format("Van", 10, 100))
    values = report(capsys, tmp_path)
    (group,) = values["duplicates"]["exact"]
    assert group["crosses_classes"]
    assert group["members"] == [
        {"split": "train", "path": str(image), "label": "Car", "box": [10, 10, 100, 90]},
        {"split": "train", "path": str(image.with_name("000001.png")), "label": "Van", "box": [10, 10, 100, 90]},
    ]
    assert values["splits"]["train"]["pictures"] == 2


def test_records_are_compared_by_their_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    contents = [painted(tmp_path / f"{seed}.png", seed).read_bytes() for seed in (1, 2, 1)]
    values: list[Values] = [
        {"image/encoded": [content], "image/class/text": [name]}
        for content, name in zip(contents, (b"a", b"b", b"b"), strict=True)
    ]
    path = written(tmp_path / "x.tfrecord", values)
    found = report(capsys, path)["duplicates"]
    assert members(found["exact"]) == [["data/a/x.tfrecord#1", "data/b/x.tfrecord#3"]]
    assert found["near"] == []


def test_text_shows_what_the_values_say(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(folder / "train/cat/0.png", folder / "val/cat/copy.png")
    (folder / "train/cat/broken.png").write_bytes(b"")
    assert exit_code("dataset", "report", folder) == 0
    text = capsys.readouterr().out
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert f"error broken 1 {folder}/train/cat/broken.png the file is empty" in lines
    assert "val shares 1 exact and 0 near copies with train" in lines
    assert f"1 val cat {folder}/val/cat/copy.png" in lines
    assert "cat 7 0.5714 0.5723" in lines  # 8 / 2 / 7; 0.1433 / ((7 * 0.1433 + 1) / 8)
    titles = ["Examples", "Problems", "val shares", "Exact copies", "Weights of classes", "* 2 errors"]
    assert sorted(titles, key=text.index) == titles


def test_set_that_cannot_be_read_prevents_the_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("dataset", "report", tmp_path / "no") == 2
    assert "can't be read (No such file or directory)" in capsys.readouterr().err


def test_real_frames_of_one_drive_have_near_copies_and_real_photos_none(
    shared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Looked at: the same parked cars and tram, photographed moments apart.
    near = report(capsys, shared / "data/kitti_jpeg_named_png")["duplicates"]["near"]
    assert len(near) == 9
    assert {member["label"] for group in near for member in group["members"]} == {"Car"}
    photos = report(capsys, shared / "data/folders/imagenette_tiny")
    assert photos["duplicates"] == {"exact": [], "near": []}
