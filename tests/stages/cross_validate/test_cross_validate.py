"""Cross-validation by its command line: killed and gone on with, and what is out of fold; and what is refused."""

import csv
import json
import shutil
import subprocess
import time
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from statistics import mean, stdev

import numpy as np
import pytest
from PIL import Image

from tao_lite.metrics.intervals import wilson
from tests.test_pipeline import command, environment, tao_lite

SPEC = """
model_config { arch: "timm/test_resnet" input_image_size: "3,32,32" }
train_config {
  train_dataset_path: "%(data)s"
  optimizer { sgd { momentum: 0.9 } }
  batch_size_per_gpu: 8
  n_epochs: 3
  random_seed: 7
  preprocess_mode: "torch"
  lr_config { cosine { learning_rate: 0.01 soft_start: 0.1 } }
  precision: FP32
}
"""
CLASSES = ("blue", "green", "red")
FOLDS = ("--folds", 3, "--gpus", 0)


def spec_of(data: Path, folder: Path, more: str = "") -> Path:
    path = folder / "spec.cfg"
    path.write_text(SPEC % {"data": data} + more)
    return path


@pytest.fixture(scope="module")
def spec(colours: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return spec_of(colours, tmp_path_factory.mktemp("spec"))


@pytest.fixture(scope="module")
def done(spec: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a cross-validation that nothing disturbed."""
    results = tmp_path_factory.mktemp("undisturbed")
    finished = tao_lite("cross-validate", "-e", spec, "-r", results, *FOLDS)
    assert finished.returncode == 0, finished.stderr
    return results


def rows(results: Path) -> list[dict[str, str]]:
    with (results / "folds.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def of_json(path: Path) -> dict[str, object]:
    content = json.loads(path.read_text())
    assert isinstance(content, dict)
    return content


@pytest.mark.slow
def test_each_image_is_out_of_fold_once_and_figures_are_those_of_the_rows(done: Path, colours: Path) -> None:
    found = rows(done)
    header = (done / "folds.csv").read_text().splitlines()[0]
    assert header == "path,box,fold,label,predicted,blue,green,red"
    assert [row["path"] for row in found] == [str(path) for path in sorted(colours.rglob("*.png"))]
    for row in found:
        probabilities = {name: float(row[name]) for name in CLASSES}
        assert sum(probabilities.values()) == pytest.approx(1)
        assert row["predicted"] == max(probabilities, key=lambda name: probabilities[name])
        assert (row["box"], row["label"]) == ("", Path(row["path"]).parent.name)
    assert set(Counter((row["fold"], row["label"]) for row in found).values()) == {13, 14}

    summary = of_json(done / "cross_validate.json")
    right = [row["predicted"] == row["label"] for row in found]
    shares = [mean(one for one, row in zip(right, found, strict=True) if row["fold"] == fold) for fold in "123"]
    metrics, pooled, per_fold = (summary[name] for name in ("metrics", "pooled", "per_fold"))
    assert isinstance(metrics, dict)
    assert isinstance(pooled, dict)
    assert isinstance(per_fold, list)
    assert metrics["top1"] == pytest.approx({"mean": mean(shares), "std": stdev(shares)})
    assert pooled["top1"] == pytest.approx(mean(right))
    assert pooled["top1_interval"] == pytest.approx(wilson(mean(right), 120))
    assert [one["top1"] for one in per_fold] == pytest.approx(shares)
    trained = [of_json(done / f"fold_{fold}" / "train.json") for fold in (1, 2, 3)]
    assert [one["best_epoch"] for one in per_fold] == [one["best_epoch"] for one in trained]
    # The checkpoint is evaluated as it was validated.
    assert shares == pytest.approx([one["val_accuracy"] for one in trained])


@pytest.mark.slow
def test_an_audit_takes_its_predictions(spec: Path, done: Path, tmp_path: Path) -> None:
    shutil.copy(done / "folds.csv", tmp_path / "folds.csv")
    audited = tao_lite("dataset", "audit", "-e", spec, "-r", tmp_path)
    assert audited.returncode == 0, audited.stderr
    summary = of_json(tmp_path / "audit.json")
    assert summary["probabilities_by"] == str(tmp_path / "folds.csv")
    assert summary["images"] == len(rows(done))
    assert "lacks" not in audited.stderr


@pytest.mark.slow
def test_after_a_kill_in_the_second_fold_the_same_command_gives_the_same(
    spec: Path, done: Path, tmp_path: Path
) -> None:
    results, second = tmp_path / "results", tmp_path / "results" / "fold_2"
    arguments = ("cross-validate", "-e", spec, "-r", results, *FOLDS)
    with subprocess.Popen(
        command(*arguments), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment()
    ) as process:
        while not (second / "weights" / "latest.pth").exists():
            assert process.poll() is None, process.communicate()
            time.sleep(0.005)
        process.kill()
    first = {path: path.stat().st_mtime_ns for path in (results / "fold_1" / "weights").iterdir()}
    assert not (second / "train.json").exists()
    assert not (results / "folds.csv").exists()

    again = tao_lite(*arguments)
    assert again.returncode == 0, again.stderr
    assert f"{results / 'fold_1'} is trained already: 3 of 3 epochs are done" in again.stdout
    assert "Resuming timm/test_resnet" in again.stdout
    assert {path: path.stat().st_mtime_ns for path in first} == first
    assert (results / "folds.csv").read_bytes() == (done / "folds.csv").read_bytes()


class Page(HTMLParser):
    """The texts of a page, without blanks around them."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.feed(path.read_text())

    def handle_data(self, data: str) -> None:
        self.texts += [data.strip()] if data.strip() else []


@pytest.mark.slow
def test_the_report_has_all_folds_together_and_side_by_side(done: Path) -> None:
    texts = Page(done / "report.html").texts
    assert {"3 folds", "All folds", "standard deviation"} <= set(texts)
    assert texts.count("fold_2") > 3
    summary = of_json(done / "cross_validate.json")
    pooled, metrics = summary["pooled"], summary["metrics"]
    assert isinstance(pooled, dict)
    assert isinstance(metrics, dict)
    said = f"each by the network that was trained without it: top-1 {pooled['top1']:.4f}, 95 % interval"
    assert any(said in text for text in texts)
    assert f"{metrics['macro_f1']['std']:.4f}" in texts


@pytest.mark.slow
def test_another_spec_or_other_data_are_refused(colours: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    for name in CLASSES[:2]:
        (data / name).mkdir(parents=True)
        for path in sorted((colours / name).iterdir())[:8]:
            (data / name / path.name).write_bytes(path.read_bytes())
    spec, results = spec_of(data, tmp_path), tmp_path / "results"
    arguments = ("cross-validate", "-e", spec, "-r", results, "--folds", 2, "--set", "train_config.n_epochs=1")
    first = tao_lite(*arguments)
    assert first.returncode == 0, first.stderr

    for change, said in (
        (("--folds", 4), "(dataset_config.fold.num_folds: 2 -> 4)"),
        (("--set", "train_config.n_epochs=2"), "(train_config.n_epochs: 1 -> 2)"),
    ):
        other = tao_lite(*arguments, *change)
        assert other.returncode == 2
        assert f"{results}: holds a run with other settings {said}; choose another folder with -r, or" in other.stderr
    (data / "blue" / "new.png").write_bytes((data / "blue" / "000.png").read_bytes())
    changed = tao_lite(*arguments)
    assert changed.returncode == 2
    said = f"{results / 'fold_1'}: the data set is not the one of the run before: 1 examples were added, 0 removed"
    assert said in changed.stderr
    assert "bring it back, or choose another folder with -r" in changed.stderr


@pytest.mark.slow
def test_objects_of_frames_stay_together_and_a_bad_picture_has_no_row(tmp_path: Path) -> None:
    """A manifest with boxes, two of each picture, and a validation set that is not read."""
    rng, lines = np.random.default_rng(0), ["path,label,left,top,right,bottom,split"]
    for number in range(12):
        pixels = rng.integers(0, 256, (40, 60, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number:02d}.png")
        split = "val" if number == 11 else "train"
        lines += [f"{number:02d}.png,{name},{left},2,{left + 20},30,{split}" for name, left in (("a", 1), ("b", 31))]
    (tmp_path / "table.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "03.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    spec, results = spec_of(tmp_path / "table.csv", tmp_path), tmp_path / "results"
    finished = tao_lite(
        *("cross-validate", "-e", spec, "-r", results, "--folds", 2, "--set", "train_config.n_epochs=1"),
        *("--set", f"train_config.val_dataset_path={tmp_path / 'table.csv'}"),
        *("--set", "dataset_config.max_bad_share=0.3"),
    )
    assert finished.returncode == 0, finished.stderr
    assert "train_config.val_dataset_path is not read: the folds are of the training images" in finished.stdout
    found = rows(results)
    places = [(Path(row["path"]).name, row["box"], row["label"]) for row in found]
    assert places == [
        (f"{number:02d}.png", box, name)
        for number in range(11)
        for box, name in (("1 2 21 30", "a"), ("31 2 51 30", "b"))
        if number != 3
    ]
    folds = {row["path"]: row["fold"] for row in found}
    assert all(folds[row["path"]] == row["fold"] for row in found)


@pytest.mark.slow
def test_a_fold_that_diverges_does_not_stop_the_others(spec: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    rate = ("--set", "train_config.lr_config.cosine.learning_rate=1e30")
    finished = tao_lite("cross-validate", "-e", spec, "-r", results, *FOLDS, *rate)
    assert finished.returncode == 2
    assert f"{results}: 3 of 3 folds failed (1, 2, 3), so that some images have no prediction" in finished.stderr
    assert "Fold 1 said: " in finished.stderr
    assert all(f"Fold {number} failed: " in finished.stdout for number in (1, 2, 3))
    assert not (results / "folds.csv").exists()


@pytest.mark.slow
def test_a_fold_that_can_not_be_written_stops_the_command_which_goes_on_once_it_can(spec: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    results.mkdir()
    (results / "fold_2").touch()
    arguments = ("cross-validate", "-e", spec, "-r", results, *FOLDS, "--set", "train_config.n_epochs=1")
    stopped = tao_lite(*arguments)
    assert stopped.returncode == 2
    assert f"Error: {results / 'fold_2'}: can't write there" in stopped.stderr
    assert not (results / "fold_3").exists()
    (results / "fold_2").unlink()
    assert tao_lite(*arguments).returncode == 0
    assert len(rows(results)) == 120


@pytest.mark.slow
def test_two_processes_share_each_fold_and_a_drawn_data_set_is_drawn(tmp_path: Path) -> None:
    spec = spec_of(tmp_path / "drawn", tmp_path, "dataset_config { sample { num_frames: 24 seed: 1 } }")
    results = tmp_path / "results"
    finished = tao_lite(
        *("cross-validate", "-e", spec, "-r", results, "--folds", 2, "-np", 2, "--gpus", 0),
        *("--set", "train_config.n_epochs=1"),
    )
    assert finished.returncode == 0, finished.stderr
    found = rows(results)
    assert {row["fold"] for row in found} == {"1", "2"}
    assert len({(row["path"], row["box"]) for row in found}) == len(found) > 24
    frames = {row["path"]: row["fold"] for row in found}
    assert all(frames[row["path"]] == row["fold"] for row in found)
    assert (results / "report.html").is_file()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--folds", 1), "Invalid value for '--folds': 1 is not in the range x>=2"),
        (("--folds", 121), "dataset_config.fold: 121 folds need as many groups of images, and the data has 120"),
        (("--set", "dataset_config.format=MULTITASK"), "cross-validate takes networks of one task only"),
    ],
)
def test_bad_input_is_named(spec: Path, tmp_path: Path, more: tuple[object, ...], said: str) -> None:
    finished = tao_lite("cross-validate", "-e", spec, "-r", tmp_path / "results", *more)
    assert finished.returncode == 2
    assert said in finished.stderr
    assert "Traceback" not in finished.stderr
