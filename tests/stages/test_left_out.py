"""Training, evaluation and inference say how much they could not read, and end where it is too much."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.data.command import exit_code

SPEC = """
model_config { arch: "resnet" n_layers: 10 use_batch_norm: true input_image_size: "3,16,16" }
train_config {
  train_dataset_path: "data" val_dataset_path: "data" batch_size_per_gpu: 8 n_epochs: 1 visualizer { enabled: false }
  optimizer { sgd { momentum: 0.9 } } lr_config { cosine { learning_rate: 0.02 } }
}
eval_config { eval_dataset_path: "test" }
"""


def folder(root: Path) -> Path:
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (root / name).mkdir(parents=True)
        for index in range(12):
            Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(root / name / f"{index}.png")
    return root


def test_what_cannot_be_read_is_a_number_and_too_much_of_it_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """FIELD.md A3"""
    monkeypatch.chdir(tmp_path)
    data, test = folder(tmp_path / "data"), folder(tmp_path / "test")
    (tmp_path / "s.cfg").write_text(SPEC)
    for root in (data, test):
        (root / "cat/0.png").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    assert exit_code("train", "-e", "s.cfg", "-r", "run") == 0
    assert "train: left out 1: 1 unreadable\nval: left out 1: 1 unreadable\n" in capsys.readouterr().out
    found = json.loads((tmp_path / "run/train.json").read_text())["left_out"]
    assert found["train"]["classes"] == found["val"]["classes"] == {"cat": {"unreadable": 1}}
    assert exit_code("evaluate", "-e", "s.cfg", "-r", "run") == 0
    assert json.loads((tmp_path / "run/evaluate.json").read_text())["left_out"]["total"] == 1
    assert exit_code("inference", "-e", "s.cfg", "-r", "run", "-d", "test") == 0
    assert json.loads((tmp_path / "run/inference.json").read_text())["left_out"]["reasons"] == {"unreadable": 1}

    for path in (*data.rglob("*.png"), *test.rglob("*.png")):
        path.write_bytes(b"")
    capsys.readouterr()
    for command in (("train", "-r", "other"), ("evaluate", "-r", "run"), ("inference", "-r", "run", "-d", "test")):
        assert exit_code(command[0], "-e", "s.cfg", *command[1:]) == 2
        assert "examples can't be read, such as" in capsys.readouterr().err
    assert not list((tmp_path / "other/weights").glob("*.pth"))
