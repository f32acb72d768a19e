"""Several tasks by the command line, on drawn pictures: train, go on, evaluate, infer, prune, retrain and export."""

import csv
import json
import math
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from PIL import Image

import tao_lite
from tao_lite import checkpoint as checkpoints
from tao_lite.errors import RunError
from tao_lite.spec import classification_pb2 as pb
from tao_lite.stages.train import pretrained
from tests import commands
from tests.conftest import COLOURS
from tests.test_pipeline import environment

SPEC = """
model_config { arch: "resnet" n_layers: 10 use_batch_norm: true use_pooling: true input_image_size: "3,32,32" }
train_config {
  train_dataset_path: "%(root)s/train.csv" val_dataset_path: "%(root)s/val.csv"
  optimizer { sgd { momentum: 0.9 } }
  batch_size_per_gpu: 8 n_epochs: 3 random_seed: 7 preprocess_mode: "torch" precision: FP32
  lr_config { exponential { learning_rate: 0.02 min_lr_ratio: 0.01 soft_start: 0.1 annealing: 0.5 } }
  checkpoint { keep_last: 3 }
  ema_decay: 0.5
}
dataset_config {
  format: MULTITASK
  multitask { image_dir: "%(root)s/images" multi_label: "tags" class_weighting { key: "color" value: BALANCED } }
}
eval_config { batch_size: 5 }
prune_config { target_ratio: 0.6 criterion: TAYLOR criterion_batches: 1 }
"""
SIZES = {"train": 48, "val": 16}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Squares of a colour, left or right, with two marks or one or none; some labels are not known."""
    root = tmp_path_factory.mktemp("tasks")
    (root / "images").mkdir()
    rng = np.random.default_rng(0)
    for split, size in SIZES.items():
        rows = [row for number in range(size) for row in drawn(rng, root / "images" / f"{split}_{number}.png")]
        with (root / f"{split}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([["fname", "tags", "side", "color"], *rows])
    (root / "a.cfg").write_text(SPEC % {"root": root})
    return root


def drawn(rng: np.random.Generator, path: Path) -> Iterator[list[str]]:
    colour, side = rng.choice(list(COLOURS)), rng.choice(["left", "right"])
    pixels = rng.normal(128, 20, (32, 32, 3))
    pixels[6:22, slice(2, 14) if side == "left" else slice(18, 30)] = COLOURS[colour]
    tags = [tag for tag in ("top", "bottom") if rng.random() < 0.5]
    for tag in tags:
        pixels[slice(0, 4) if tag == "top" else slice(28, 32)] = 255
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(path)
    yield [path.name, "|".join(tags) or "|", side if rng.random() < 0.7 else "", colour if rng.random() < 0.9 else ""]


@pytest.fixture(scope="module")
def trained(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results folder of a run that nothing disturbed."""
    results = tmp_path_factory.mktemp("trained")
    said = tao("train", "-e", root / "a.cfg", "-r", results)
    assert "48 training and 16 validation images of 3 tasks with 7 classes (color/blue, color/green" in said
    return results


def run(*arguments: object) -> "subprocess.CompletedProcess[str]":
    return commands.run([str(argument) for argument in arguments], environment())


def tao(*arguments: object) -> str:
    """What a command says that succeeds."""
    finished = run(*arguments)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout + finished.stderr


def table(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def test_a_run_that_goes_back_goes_on_to_the_same_weights(root: Path, trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "again", symlinks=True)
    tao("train", "-e", root / "a.cfg", "-r", tmp_path / "again", "--init_epoch", 3)
    before, after = (checkpoints.load(path / "weights" / "resnet_003.pth") for path in (trained, tmp_path / "again"))
    assert all(after.network[name].equal(tensor) for name, tensor in before.network.items())
    assert before.metrics == after.metrics
    assert json.loads((trained / "class_mapping.json").read_text())["tasks"] == ["color", "side", "tags"]


def test_evaluate_gives_each_task_its_scores(root: Path, trained: Path, tmp_path: Path) -> None:
    said = tao("evaluate", "-e", root / "a.cfg", "-m", trained / "weights" / "best.pth", "-r", tmp_path)
    found = json.loads((tmp_path / "evaluate.json").read_text())
    known = {task: sum(bool(row[task]) for row in table(root / "val.csv")) for task in ("color", "side", "tags")}
    assert {task: one["num_images"] for task, one in found["tasks"].items()} == known
    assert known["tags"] == 16 > known["color"] > known["side"]
    scores = [one.get("top1", one.get("mean_average_precision")) for one in found["tasks"].values()]
    assert found["mean_score"] == pytest.approx(sum(scores) / 3)
    assert found["mean_score"] == pytest.approx(
        checkpoints.load(trained / "weights" / "best.pth").metrics["val_accuracy"]
    )
    assert found["tasks"]["tags"]["mean_average_precision"] > 0.7  # half by chance
    assert "Task side\n" in said
    cells = [row for row in table(tmp_path / "confusion_matrices.csv") if row["task"] == "side"]
    assert sum(int(row["images"]) for row in cells) == known["side"]


def test_scores_are_those_of_a_hand_computation_where_cells_are_empty(
    root: Path, trained: Path, tmp_path: Path
) -> None:
    rows, random = table(root / "val.csv"), np.random.default_rng(3)
    for row in rows:
        row |= {task: "" for task in ("color", "side", "tags") if random.random() < 0.3}
    with (tmp_path / "val.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    path = f"eval_config.eval_dataset_path={tmp_path / 'val.csv'}"
    network = ("-e", root / "a.cfg", "-m", trained / "weights" / "best.pth", "-r", tmp_path)
    tao("evaluate", *network, "--set", path)
    tao("inference", *network, "-d", root / "images")
    probable = {Path(row["path"]).name: row for row in table(tmp_path / "predictions.csv")}
    found = json.loads((tmp_path / "evaluate.json").read_text())
    losses = []
    for task in ("color", "side"):
        known = [(row[task], probable[row["fname"]]) for row in rows if row[task]]
        assert len(known) < len(rows)
        assert found["tasks"][task]["top1"] == sum(name == values[task] for name, values in known) / len(known)
        losses += [-math.log(float(values[f"{task}/{name}"])) for name, values in known]
    for row in rows:
        if row["tags"]:
            shares = {tag: float(probable[row["fname"]][f"tags/{tag}"]) for tag in ("bottom", "top")}
            is_there = {tag: tag in row["tags"].split("|") for tag in shares}
            losses.append(-sum(math.log(p if is_there[tag] else 1 - p) for tag, p in shares.items()) / 2)
    assert found["loss"] == pytest.approx(
        sum(losses) / len([row for row in rows if any(list(row.values())[1:])]), rel=1e-3
    )


def test_inference_and_a_program_give_a_class_and_a_probability_for_each_task(
    root: Path, trained: Path, tmp_path: Path
) -> None:
    tao("inference", "-m", trained / "weights" / "best.pth", "-d", root / "images", "-r", tmp_path, "--heat_maps")
    rows, full = table(tmp_path / "result.csv"), table(tmp_path / "predictions.csv")
    assert list(rows[0]) == [
        "path",
        *(f"{task}{end}" for task in ("color", "side", "tags") for end in ("", "_confidence")),
    ]
    assert len(rows) == len(full) == 64
    colours = [float(full[0][f"color/{name}"]) for name in COLOURS]
    assert sum(colours) == pytest.approx(1)
    assert float(rows[0]["color_confidence"]) == max(colours)
    found = [name for name in ("bottom", "top") if float(full[0][f"tags/{name}"]) > 0.5]
    assert rows[0]["tags"] == "|".join(found)
    maps = table(tmp_path / "heat_maps" / "heat_maps.csv")
    assert [(one["path"], one["task"]) for one in maps[:4]] == [
        *((rows[0]["path"], task) for task in ("color", "side", "tags")),
        (rows[1]["path"], "color"),
    ]
    assert [one["class"] for one in maps if one["task"] == "color"] == [row["color"] for row in rows]
    assert len({one["heat_map"] for one in maps if (tmp_path / "heat_maps" / one["heat_map"]).is_file()}) == 3 * 64
    said = tao("inference", "-m", trained / "weights" / "best.pth", "-i", rows[0]["path"], "-r", tmp_path)
    assert f"{rows[0]['path']}: color {rows[0]['color']}, with confidence " in said
    network = tao_lite.load(trained / "weights" / "best.pth", "cpu")
    (answer,) = network.answers([rows[0]["path"]])
    assert answer["color"].class_names == (rows[0]["color"],)
    assert answer["tags"].class_names == tuple(found)
    assert answer["side"].confidence == pytest.approx(float(rows[0]["side_confidence"]), abs=1e-5)
    with pytest.raises(RunError, match="call answers"):
        network.predict([rows[0]["path"]])


@pytest.mark.slow
def test_a_pruned_network_keeps_its_outputs_and_is_retrained(root: Path, trained: Path, tmp_path: Path) -> None:
    pruned = tmp_path / "pruned.pth"
    tao(
        "prune",
        "-e",
        root / "a.cfg",
        "-m",
        trained / "weights" / "best.pth",
        "-o",
        pruned,
        "-r",
        tmp_path,
        "--no_measure",
    )
    assert checkpoints.load(pruned).network["fc.weight"].shape[0] == 7
    start = f"train_config.pretrained_model_path={pruned}"
    tao("train", "-e", root / "a.cfg", "-r", tmp_path / "re", "--set", start, "--set", "train_config.n_epochs=1")
    smaller = checkpoints.load(tmp_path / "re" / "weights" / "best.pth").network
    assert sum(tensor.numel() for tensor in smaller.values()) < 4_000_000


@pytest.mark.slow
def test_the_exported_file_has_an_output_for_each_task(root: Path, trained: Path, tmp_path: Path) -> None:
    file = tmp_path / "a.onnx"
    tao("export", "-m", trained / "weights" / "best.pth", "-o", file, "-r", tmp_path)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    outputs = {one.name: one.shape[1] for one in session.get_outputs()}
    assert outputs == {"color/Softmax": 3, "side/Softmax": 2, "tags/Sigmoid": 2}
    scores = []
    for model in (trained / "weights" / "best.pth", file):
        tao("evaluate", "-e", root / "a.cfg", "-m", model, "-r", tmp_path)
        found = json.loads((tmp_path / "evaluate.json").read_text())
        scores.append([found["mean_score"], found["loss"]])
    assert scores[1] == pytest.approx(scores[0], abs=1e-4)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            ("train", "-e", "SPEC", "--set", "train_config.mixup_alpha=0.2"),
            "train_config.mixup_alpha: can't be had with",
        ),
        (
            ("train", "-e", "SPEC", "--set", "train_config.val_dataset_path=ROOT/a.cfg"),
            "a.cfg: is empty; must have a first line",
        ),
        (("quantize", "-e", "SPEC", "-m", "MODEL"), "quantize takes networks of one task only"),
        (("export", "-m", "MODEL", "--gen_ds_config"), "--gen_ds_config: MODEL has several tasks"),
        (
            ("export", "-m", "MODEL", "--package", "ROOT/p", "--for", "onnxruntime"),
            "--package: MODEL has several tasks",
        ),
        (
            ("dataset", "convert", "-e", "SPEC", "--to", "kitti", "-o", "ROOT/k"),
            "a data set of several tasks is kept as",
        ),
    ],
)
def test_what_can_not_be_had_is_refused(
    root: Path, trained: Path, tmp_path: Path, arguments: tuple[str, ...], expected: str
) -> None:
    names = {"SPEC": str(root / "a.cfg"), "MODEL": str(trained / "weights" / "best.pth"), "ROOT": str(root)}
    given = [names.get(word, word.replace("ROOT", names["ROOT"])) for word in arguments]
    finished = run(*given, *([] if arguments[0] == "dataset" else ["-r", tmp_path / "none"]))
    assert finished.returncode == 2
    assert expected.replace("MODEL", names["MODEL"]) in finished.stderr
    assert "Traceback" not in finished.stderr


def test_a_folder_is_not_gone_on_in_with_other_kinds_of_tasks(root: Path, trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "again", symlinks=True)
    spec = tmp_path / "b.cfg"
    spec.write_text((root / "a.cfg").read_text().replace('multi_label: "tags"', 'multi_label: ["tags", "side"]'))
    finished = run("train", "-e", spec, "-r", tmp_path / "again")
    assert finished.returncode == 2
    assert "holds a run with another network (dataset_config.multitask.multi_label: tags -> " in finished.stderr


def test_a_report_shows_each_task(root: Path, trained: Path) -> None:
    tao("report", "-r", trained)
    page = (trained / "report.html").read_text()
    assert page.count("<h4>side</h4>") == 2  # its scores and its confusion matrix
    assert page.count("<h4>tags</h4>") == 1
    assert "mean score of 3 tasks" in page
    assert "Not there: it is not measured for several tasks" in page


def test_a_training_with_another_task_takes_over_those_that_it_shares(root: Path, trained: Path) -> None:
    source = trained / "weights" / "best.pth"
    found = checkpoints.load(source)
    experiment = pb.Experiment()
    experiment.CopyFrom(found.experiment)
    experiment.train_config.pretrained_model_path = str(source)
    names = ["age/1", "age/2", *found.class_names[:3], "side/left", "side/up"]
    own = pretrained.network(experiment, names).get_submodule("fc").state_dict()
    for name in ("weight", "bias"):
        before = found.network[f"fc.{name}"]
        assert own[name][2:5].equal(before[:3])
        assert not own[name][5:6].equal(before[3:4])  # a task with other classes is another one


@pytest.mark.slow
def test_two_processes_train_and_evaluate_together(root: Path, trained: Path, tmp_path: Path) -> None:
    two = ("--gpus", 0, "-np", 2)
    tao("train", "-e", root / "a.cfg", "-r", tmp_path / "two", "--set", "train_config.n_epochs=1", *two)
    found = []
    for more in ((), two):
        tao("evaluate", "-e", root / "a.cfg", "-m", trained / "weights" / "best.pth", "-r", tmp_path, *more)
        found.append(json.loads((tmp_path / "evaluate.json").read_text()))
    assert found[0]["tasks"]["tags"]["per_class"] == found[1]["tasks"]["tags"]["per_class"]
    assert found[0]["loss"] == pytest.approx(found[1]["loss"])


@pytest.mark.slow
def test_objects_of_kitti_become_a_data_set_of_type_and_occlusion(tmp_path: Path) -> None:
    tao("dataset", "sample", "-o", tmp_path / "sample", "--frames", 60)
    spec = tmp_path / "a.cfg"
    spec.write_text(f'train_config {{ train_dataset_path: "{tmp_path}/sample" }} dataset_config {{ format: KITTI }}')
    said = tao("dataset", "convert", "-e", spec, "-o", tmp_path / "out", "--to", "multitask")
    assert f'train_config {{ train_dataset_path: "{tmp_path}/out/train/labels.csv" val_dataset_path: ' in said
    rows = table(tmp_path / "out" / "train" / "labels.csv")
    assert list(rows[0]) == ["fname", "occlusion", "type"]
    assert {row["occlusion"] for row in rows} == {"visible", "partly", "largely"}
    assert "Car" in {row["type"] for row in rows}
    spec.write_text("\n".join(line for line in said.splitlines() if line.startswith(("train_config", "dataset_"))))
    assert "0 errors" in tao("dataset", "check", "-e", spec)
