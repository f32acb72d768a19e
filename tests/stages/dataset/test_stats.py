"""`dataset stats`: counts per class and split, sizes, bytes."""

import json
from pathlib import Path

import pytest
from PIL import Image

from tests.data.command import exit_code


def stats(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert exit_code("dataset", "stats", *arguments) == 0
    return capsys.readouterr().out


def made(root: Path, **counts: int) -> Path:
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for number in range(count):
            Image.new("L", (20 + number, 10)).save(root / name / f"{number}.bmp")
    return root


def test_folder_of_splits_is_counted_by_class_and_split(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made(tmp_path / "train", cat=3, dog=1)
    made(tmp_path / "val", cat=1, owl=1)
    (tmp_path / "train/dog/0.bmp").write_bytes(b"no picture")
    values = json.loads(stats(capsys, tmp_path, "--json"))
    assert values["class_names"] == ["cat", "dog", "owl"]
    train = values["splits"]["train"]
    assert (train["examples"], train["pictures"], train["unreadable"]) == (4, 4, 1)
    assert train["classes"] == {"cat": 3, "dog": 1, "owl": 0}
    assert train["width"] == {"min": 20, "median": 21, "max": 22}
    assert train["height"] == {"min": 10, "median": 10, "max": 10}
    assert train["bytes"] == sum(path.stat().st_size for path in (tmp_path / "train").rglob("*.bmp"))
    table = [line.split() for line in stats(capsys, tmp_path).splitlines()]
    assert ["class", "train", "val", "share"] in table
    assert ["cat", "3", "1", "66.7", "%"] in table
    assert ["all", "4", "2", "100.0", "%"] in table


def test_spec_without_validation_path_is_divided_as_in_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made(tmp_path / "data", cat=20, dog=20)
    spec = tmp_path / "s.cfg"
    spec.write_text(f'train_config {{ train_dataset_path: "{tmp_path}/data" }} dataset_config {{ val_split: 0.5 }}')
    splits = json.loads(stats(capsys, "-e", spec, "--json"))["splits"]
    assert list(splits) == ["train", "val"]
    assert splits["train"]["examples"] + splits["val"]["examples"] == 40
    assert splits["val"]["examples"] > 5


def test_objects_are_measured_by_their_boxes(shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = json.loads(stats(capsys, shared / "data/yolo/sign6", "--json"))
    assert [(name, split["examples"]) for name, split in values["splits"].items()] == [
        ("train", 95),
        ("val", 28),
        ("test", 13),
    ]
    # The smallest box of train is 220 pixels wide, the pictures are 640.
    assert values["splits"]["train"]["width"]["min"] == 220


def test_one_path_named_twice_is_counted_as_training_has_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """FIELD.md E11: validation on the training folder has all of it, as in training; a test there is validation's."""
    made(tmp_path / "data", cat=30, dog=30)
    (tmp_path / "link").symlink_to(tmp_path / "data")
    (tmp_path / "s.cfg").write_text(f'train_config {{ train_dataset_path: "{tmp_path}/data" }}')

    def counts(**paths: str) -> dict[str, int]:
        given = [f"--set={field.replace('__', '.')}={tmp_path}/{path}" for field, path in paths.items()]
        splits = json.loads(stats(capsys, "-e", tmp_path / "s.cfg", *given, "--json"))["splits"]
        return {name: split["examples"] for name, split in splits.items()}

    divided = counts()
    assert sum(divided.values()) == 60
    assert divided == counts(eval_config__eval_dataset_path="data")
    assert counts(train_config__val_dataset_path="link") == {"train": 60, "val": 60}
    twice = {"train_config__val_dataset_path": "data", "eval_config__eval_dataset_path": "link"}
    assert counts(**twice) == {"train": 60, "val": 60, "test": 60}
    assert counts(**(twice | {"train_config__train_dataset_path": "link"})) == {"train": 60, "val": 60, "test": 60}
