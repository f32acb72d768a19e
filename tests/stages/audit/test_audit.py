"""`dataset audit`: wrong labels are found by each kind of network at hand, and what can't be audited is refused."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tao_lite.data.example import Example
from tao_lite.errors import DataError
from tao_lite.stages.audit import rows as audit_rows
from tao_lite.stages.audit.evidence import Evidence, by_probe
from tao_lite.stages.audit.rows import HEADER
from tests.conftest import COLOURS
from tests.data.command import exit_code

SPEC = """
model_config { arch: "resnet" n_layers: 10 use_batch_norm: true input_image_size: "3,32,32" }
train_config {
  train_dataset_path: "%s"
  optimizer { sgd { momentum: 0.9 } }
  batch_size_per_gpu: 12 n_epochs: 4 random_seed: 3 preprocess_mode: "torch"
  lr_config { cosine { learning_rate: 0.02 } }
  precision: FP32
}
dataset_config { val_split: 0.3 }
"""


@pytest.fixture
def spec(colours: Path, tmp_path: Path) -> Path:
    """Three colours of which one blue picture is called red and one class has a name that must be escaped."""
    data = shutil.copytree(colours, tmp_path / "data")
    moved = sorted((data / "blue").iterdir())[0]
    moved.rename(data / "red" / f"wrong{moved.suffix}")
    path = tmp_path / "x.cfg"
    path.write_text(SPEC % data)
    return path


def audit(spec: Path, folder: Path, *further: object) -> int:
    return exit_code("dataset", "audit", "-e", spec, "-r", folder, *further)


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "audit.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_a_training_in_each_fold_finds_a_wrong_label_and_then_the_checkpoint_does(spec: Path, tmp_path: Path) -> None:
    assert audit(spec, tmp_path / "r") == 0
    first = rows(tmp_path / "r")[0]
    assert tuple(first) == HEADER
    assert (Path(first["path"]).stem, first["label"], first["likely"], first["rank"]) == ("wrong", "red", "blue", "1")
    assert float(first["probability"]) > float(first["label_probability"])
    summary = json.loads((tmp_path / "r" / "audit.json").read_text())
    assert summary["probabilities_by"] == "a training of 4 epochs in each fold"
    assert exit_code("train", "-e", spec, "-r", tmp_path / "r") == 0
    assert audit(spec, tmp_path / "r") == 0
    assert Path(rows(tmp_path / "r")[0]["path"]).stem == "wrong"
    assert "r/weights/best.pth" in json.loads((tmp_path / "r" / "audit.json").read_text())["probabilities_by"]
    other = shutil.copy(tmp_path / "r" / "weights" / "best.pth", tmp_path / "other.pth")
    assert audit(spec, tmp_path / "r", "--set", f"train_config.pretrained_model_path={other}") == 0
    assert "other.pth" in json.loads((tmp_path / "r" / "audit.json").read_text())["probabilities_by"]


def folds_csv(spec: Path, folder: Path, names: tuple[str, ...], wrong: str = "0.1") -> Path:
    """As a cross-validation writes it: sure of the colour that is in the picture."""
    folder.mkdir()
    data = spec.parent / "data"
    lines = [",".join(("path", "box", "fold", "label", "predicted", *names))]
    for path in sorted(data.glob("*/*")):
        colour = "blue" if path.stem == "wrong" else path.parent.name
        values = ("0.8" if name == colour else wrong for name in names)
        lines.append(",".join((str(path), "", "1", path.parent.name, colour, *values)))
    (folder / "folds.csv").write_text("\n".join(lines) + "\n")
    return folder


def test_a_cross_validation_is_taken_in_place_of_the_probe(spec: Path, tmp_path: Path) -> None:
    folder = folds_csv(spec, tmp_path / "r", tuple(COLOURS))
    assert audit(spec, folder) == 0
    assert [(Path(row["path"]).stem, row["reason"], row["likely"]) for row in rows(folder)] == [
        ("wrong", "wrong_label", "blue")
    ]


@pytest.mark.parametrize(
    ("columns", "problem"),
    [
        ((("blue", "green"), "0.1"), "folds.csv:1: lacks the columns red; cross-validate again"),
        ((tuple(COLOURS), "x"), "folds.csv:2: ['0.8', 'x', 'x'] are no probabilities"),
        ((tuple(COLOURS), "nan"), "are no probabilities"),
    ],
)
def test_folds_that_are_none_of_these_data_are_refused(
    spec: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], columns: tuple[tuple[str, ...], str], problem: str
) -> None:
    assert audit(spec, folds_csv(spec, tmp_path / "r", *columns)) == 2
    assert problem in capsys.readouterr().err
    assert not (tmp_path / "r" / "audit.csv").exists()


def test_folds_without_a_class_are_refused(spec: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = folds_csv(spec, tmp_path / "r", tuple(COLOURS)) / "folds.csv"
    file.write_text("".join(line for line in file.read_text().splitlines(keepends=True) if "/green/" not in line))
    assert audit(spec, tmp_path / "r") == 2
    assert "has no image of green; cross-validate these data again" in capsys.readouterr().err


def test_a_class_of_one_image_is_refused(spec: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in sorted((tmp_path / "data" / "green").iterdir())[1:]:
        path.unlink()
    assert audit(spec, tmp_path / "r") == 2
    assert "class 'green' is in one group of images only" in capsys.readouterr().err


def test_data_that_can_not_be_read_is_refused(spec: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in (tmp_path / "data").glob("*/*"):
        path.write_bytes(b"no picture")
    assert audit(spec, tmp_path / "r") == 2
    assert "Error: " in capsys.readouterr().err


@pytest.mark.slow
def test_a_network_of_other_classes_is_refused(spec: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("train", "-e", spec, "-r", tmp_path / "r", "--set", "train_config.n_epochs=1") == 0
    (tmp_path / "data" / "red").rename(tmp_path / "data" / "rose")
    assert audit(spec, tmp_path / "r") == 2
    assert "knows blue, green, red, and the data has rose too; give a network of these" in capsys.readouterr().err


def examples(number: int) -> list[Example]:
    return [Example(Path(f"{index}.png"), "ab"[index % 2], str(index)) for index in range(number)]


def test_equal_features_tell_nothing() -> None:
    with pytest.raises(DataError, match="the features of all 12 images by x are equal; give another network with -m"):
        by_probe(examples(12), torch.ones(12, 4), "ab", "x")


def test_what_is_far_from_all_is_listed_once_with_all_its_reasons() -> None:
    torch.manual_seed(0)
    features = torch.randn(40, 16) * 0.1 + torch.eye(16)[torch.arange(40) % 2]
    features[7] = -torch.ones(16)
    probabilities = np.eye(2)[np.arange(40) % 2] * 0.8 + 0.1
    evidence = Evidence(
        examples=examples(40),
        class_names="ab",
        probabilities=probabilities,
        labels=np.arange(40) % 2,
        features=features,
        by="",
    )
    neighbours = audit_rows.neighbours_of(features)
    assert not (neighbours.indices == torch.arange(40)[:, None]).any()
    findings = [(Path("3.png"), None, "blurred"), (Path("7.png"), None, "dark"), (Path("gone.png"), None, "dark")]
    found = audit_rows.listed(evidence, neighbours, findings)
    assert [(row.place, row.reasons) for row in found] == [(7, ("outlier", "dark")), (3, ("blurred",))]


def test_copies_are_neighbours_and_none_is_its_own() -> None:
    neighbours = audit_rows.neighbours_of(torch.ones(30, 4))
    assert neighbours.indices.shape == (30, 10)
    assert audit_rows.outliers(neighbours) == []


def test_what_comes_from_data_is_escaped(tmp_path: Path) -> None:
    names = ("=1+1", "<script>alert(1)</script>".replace("/", "\u2215"))
    for name in names:
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(4):
            Image.new("RGB", (40, 40), (200 if name[0] == "=" else 20, 50, 60)).save(
                tmp_path / "data" / name / f"{number}.png"
            )
    lines = [("path", "box", "label", *(f"'{name}" if name[0] == "=" else name for name in names))]
    for path in sorted((tmp_path / "data").glob("*/*")):
        label = path.parent.name
        values = ("0.9", "0.1") if (label == names[0]) != (path.stem == "0") else ("0.1", "0.9")
        lines.append((str(path), "", f"'{label}" if label[0] == "=" else label, *values))
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "folds.csv").write_text("".join(",".join(line) + "\n" for line in lines))
    (tmp_path / "x.cfg").write_text(SPEC % (tmp_path / "data"))
    assert audit(tmp_path / "x.cfg", tmp_path / "r") == 0
    assert {row["likely"] for row in rows(tmp_path / "r")} == {"'=1+1", names[1]}
    page = (tmp_path / "r" / "audit.html").read_text()
    assert page.count("<script>") == 1
    assert "&lt;script&gt;alert" in page
