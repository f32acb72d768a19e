"""Inference classifies what it is given as evaluation does, and writes TAO's rows."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tao_lite.machine import distributed
from tao_lite.run import Run
from tao_lite.stages.inference import _compared_with_fp32
from tao_lite.training.trained import Trained
from tests.test_pipeline import spec, summary, tao_lite, trained

__all__ = ["spec", "trained"]  # fixtures


@pytest.fixture
def folder(colours: Path, tmp_path: Path) -> Path:
    """Two pictures at different depths, a broken one, and a text."""
    root = tmp_path / "my images"
    (root / "deep").mkdir(parents=True)
    (root / "a.png").write_bytes((colours / "red" / "001.png").read_bytes())
    (root / "deep" / "b.PNG").write_bytes((colours / "blue" / "002.png").read_bytes())
    (root / "c.jpg").write_bytes(b"no picture")
    (root / "notes.txt").write_text("not an image")
    return root


def test_every_readable_image_gets_its_class_and_probabilities(trained: Path, folder: Path, tmp_path: Path) -> None:
    model = trained / "weights" / "best.pth"
    finished = tao_lite("inference", "-m", model, "-d", folder, "-r", tmp_path / "out")
    assert finished.returncode == 0, finished.stderr
    assert f"{folder / 'c.jpg'}: " in finished.stderr
    rows = list(csv.reader((tmp_path / "out" / "result.csv").read_text().splitlines()))
    assert [(path, name) for path, name, _ in rows] == [
        (str(folder / "a.png"), "red"),
        (str(folder / "deep" / "b.PNG"), "blue"),
    ]
    full = list(csv.DictReader((tmp_path / "out" / "predictions.csv").read_text().splitlines()))
    for short, row in zip(rows, full, strict=True):
        probabilities = [float(row[name]) for name in ("blue", "green", "red")]
        assert sum(probabilities) == pytest.approx(1, abs=1e-5)
        assert float(short[2]) == float(row["confidence"]) == max(probabilities)
    counts = json.loads((tmp_path / "out" / "inference.json").read_text())
    assert (counts["images"], counts["unread"], counts["per_class"]) == (2, 1, {"blue": 1, "green": 0, "red": 1})


def test_answers_that_rounding_has_turned_are_counted(trained: Path, folder: Path, tmp_path: Path) -> None:
    network = Trained.of(trained / "weights" / "best.pth", torch.device("cpu"))
    run = Run(results=tmp_path / "out", world=distributed.start("cpu"))
    red, blue = folder / "a.png", folder / "deep" / "b.PNG"
    rows = [(red, [0.48, 0.02, 0.5]), (blue, [0.48, 0.02, 0.5])]
    assert _compared_with_fp32(network, rows, run) == {"other_answers_in_fp32": 1}
    # No rounding turns an answer so clear: it is not computed again.
    assert _compared_with_fp32(network, [(blue, [0.1, 0.1, 0.8])], run) == {"other_answers_in_fp32": 0}


def test_one_image_is_told_of_on_the_screen(trained: Path, folder: Path, tmp_path: Path) -> None:
    arguments = ("-m", trained / "weights" / "best.pth", "-i", folder / "a.png", "-r", tmp_path / "out")
    finished = tao_lite("inference", *arguments)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.startswith(f"{folder / 'a.png'}: class 2, red, with confidence ")


def test_classes_are_those_of_evaluation(spec: Path, trained: Path, colours: Path, tmp_path: Path) -> None:
    out = ("-r", tmp_path / "out", "-b", 7)
    model = trained / "weights" / "best.pth"
    assert tao_lite("inference", "-m", model, "-d", colours, *out).returncode == 0
    evaluated = tao_lite("evaluate", "-e", spec, "-m", model, "-i", colours, *out)
    assert evaluated.returncode == 0, evaluated.stderr
    rows = list(csv.reader((tmp_path / "out" / "result.csv").read_text().splitlines()))
    right = sum(Path(path).parent.name == name for path, name, _ in rows)
    assert right / len(rows) == pytest.approx(float(str(summary(tmp_path / "out", "evaluate")["top1"])))


def test_embeddings_and_neighbours_stand_beside_the_classes(trained: Path, colours: Path, tmp_path: Path) -> None:
    pictures, out = colours / "red", tmp_path / "out"
    arguments = ("-m", trained / "weights" / "best.pth", "-d", pictures, "-r", out)
    assert tao_lite("inference", *arguments).returncode == 0
    plain = (out / "predictions.csv").read_text()
    finished = tao_lite("inference", *arguments, "--embeddings", "--neighbours", colours, "--num_neighbours", "3")
    assert finished.returncode == 0, finished.stderr
    assert (out / "predictions.csv").read_text() == plain
    stored = np.load(out / "embeddings.npz", allow_pickle=False)
    paths, features = stored["paths"].tolist(), stored["features"]
    assert paths == [row[0] for row in csv.reader((out / "result.csv").read_text().splitlines())]
    assert (features.dtype, features.shape) == (np.float32, (len(paths), 512))

    rows = list(csv.DictReader((out / "neighbours.csv").read_text().splitlines()))
    assert [(row["path"], row["rank"]) for row in rows] == [(path, rank) for path in paths for rank in "123"]
    assert all(row["neighbour"] != row["path"] for row in rows)
    directions = features / np.linalg.norm(features, axis=1, keepdims=True)
    distances = np.sort(1 - directions @ directions.T, axis=1)[:, 1:4]  # the first is its own
    # Its own class is nearest, or one of the other colours even nearer.
    found = np.array([float(row["distance"]) for row in rows]).reshape(-1, 3)
    assert (found <= distances + 1e-6).all()
    assert found == pytest.approx(np.sort(found, axis=1))
    same = [row for row in rows if Path(row["neighbour"]).parent == pictures]
    for row in same:
        cosine = directions[paths.index(row["path"])] @ directions[paths.index(row["neighbour"])]
        assert float(row["distance"]) == pytest.approx(1 - cosine, abs=1e-5)
    assert len(same) > len(rows) / 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-i", "a.png", "--neighbours", "empty"), "empty: holds no image; suffixes are apng, bmp, dib, jfif"),
        (("-i", "none.png"), "none.png: no such image or folder; check the path"),
        (("-d", "empty"), "empty: holds no image; suffixes are apng, bmp, dib, jfif"),
        ((), "give one image with -i or a folder with -d"),
        (("-i", "a.png", "-d", "empty"), "give one image with -i or a folder with -d"),
        (("-d", "empty", "-np", "2"), "inference runs in one process; leave -np out, and --gpus above 1"),
    ],
)
def test_bad_input_is_one_clear_error(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    Image.new("RGB", (8, 8)).save("a.png")
    finished = tao_lite("inference", "-m", trained / "weights" / "best.pth", "-r", tmp_path / "out", *arguments)
    assert finished.returncode == 2
    assert finished.stderr.splitlines()[-1].startswith(f"Error: {message}")
    assert "Traceback" not in finished.stderr
    assert not (tmp_path / "out" / "result.csv").exists()
