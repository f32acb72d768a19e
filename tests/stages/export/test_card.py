"""The model card says what checkpoint and run say, in Markdown that no name breaks, and nothing of the machine."""

import hashlib
import json
import logging
import shutil
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from tao_lite import checkpoint as checkpoints
from tao_lite.checkpoint import Checkpoint
from tao_lite.errors import CheckpointError
from tao_lite.files import reading, writing
from tao_lite.machine import distributed
from tao_lite.metrics.counts import Counts
from tao_lite.models.architectures import build
from tao_lite.run import Run
from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec.load import load_text
from tao_lite.stages.evaluate import evaluate
from tao_lite.stages.export.card import card
from tao_lite.stages.train.train import train
from tests.checkpoints import training

NAMES = ("ant", "bee", "wasp")
COUNTS = {"train": [4, 0, 1234], "val": [50, 50, 100]}


def checkpoint(names: tuple[str, ...] = NAMES, **fields: Any) -> Checkpoint:
    """One whose validation was right for half of the examples."""
    config = pb.ModelConfig(arch="resnet", n_layers=10, input_image_size="3,32,48", use_batch_norm=True)
    spec = pb.Experiment(model_config=config)
    spec.train_config.train_dataset_path = "/made-up/somebody/secret/flowers"
    spec.train_config.val_dataset_path = "${SETS}/val"
    spec.train_config.pretrained_model_path = "/made-up/somebody/$NAME/best.pth"
    spec.dataset_config.classmap_path = "../here/classes.json"
    spec.train_config.visualizer.wandb_config.key = "token"
    splits = {
        name: {"counts": counts, "hashes": torch.arange(sum(counts), dtype=torch.int64)}
        for name, counts in COUNTS.items()
    }
    made = {
        "spec": f"# From /made-up/somebody/a.cfg\n{spec}",
        "class_names": names,
        "preprocess": {},
        "network": build(config, len(names)).state_dict(),
        "epoch": 3,
        "metrics": {"val_accuracy": 0.5},
        "training": training(data=splits),
    }
    return Checkpoint(**{**made, **fields})


def saved(folder: Path, found: Checkpoint) -> Path:
    path = folder / "weights" / "resnet_003.pth"
    checkpoints.save(path, found)
    return path


def evaluation(model: Path, names: tuple[str, ...] = NAMES) -> dict[str, object]:
    """evaluate.json of a network that takes half of the wasps for ants, and a bee for an ant."""
    counts = Counts(len(names), torch.device("cpu"))
    labels = torch.tensor([0] * 10 + [1] * 20 + [2] * 30)
    predicted = torch.tensor([0] * 10 + [0] + [1] * 19 + [0] * 15 + [2] * 15)
    counts.add(torch.nn.functional.one_hot(predicted, len(names)).float(), labels, torch.ones(60))
    return {**counts.result(names, 2).as_dict(), "model_sha256": reading.digest(model, CheckpointError)}


def rows(text: str) -> list[list[str]]:
    """The cells of all tables."""
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in text.splitlines() if line[:1] == "|"]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return saved(tmp_path, checkpoint())


def test_it_says_what_the_checkpoint_says(model: Path) -> None:
    found = checkpoints.load(model)
    text = card(model, found)
    _, head, body = text.split("---\n", 2)
    assert yaml.safe_load(head) == {
        "license": "unknown",
        "library_name": "tao_lite",
        "pipeline_tag": "image-classification",
        "tags": ["resnet"],
    }
    assert body.startswith("\n# resnet-10 for 3 classes\n")
    told = dict(row for row in rows(text) if len(row) == 2)
    assert told["Input"] == "3 channels, 32 pixels high, 48 wide"
    parameters = sum(one.numel() for one in checkpoints.network(found).parameters())
    assert told["Parameters"] == f"{parameters:,}"
    assert told["Epochs of training"] == "3"
    assert told["Licence"] == "unknown"
    assert told["sha256 of the checkpoint"] == hashlib.sha256(model.read_bytes()).hexdigest()
    assert f"torch {version('torch')}, Python 3." in told["Exported by"]
    for row in (["ant", "4", "50"], ["bee", "0", "50"], ["wasp", "1,234", "100"], ["all", "1,238", "200"]):
        assert row in rows(text)
    # Wilson's interval of 100 of 200, by scipy's binomtest.
    assert ["validation top-1 in training", "0.5000", "0.4314 to 0.5686", "200"] in rows(text)
    assert "Not known: `tao-lite evaluate` has not seen this checkpoint" in text


def test_paths_of_the_machine_and_keys_are_not_in_it(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FIELD.md C3."""
    monkeypatch.setenv("SETS", "/made-up/somebody/sets")
    text = card(model, checkpoints.load(model))
    assert "somebody" not in text
    assert "token" not in text
    assert str(model.parents[1]) not in text
    for line in (
        'train_dataset_path: "flowers"',
        'val_dataset_path: "${SETS}/val"',
        'pretrained_model_path: "best.pth"',
        'classmap_path: "../here/classes.json"',
    ):
        assert f"  {line}\n" in text


def test_weak_spots_are_those_of_the_evaluation_of_this_checkpoint(tmp_path: Path, model: Path) -> None:
    found = checkpoints.load(model)
    writing.write_json(tmp_path / "evaluate.json", evaluation(model))
    text = card(model, found)
    assert ["top-1 by tao-lite evaluate", "0.7333", "0.6099 to 0.8287", "60"] in rows(text)
    weak = rows(text.partition("## Weak spots")[2])
    assert weak == [
        ["least recall", "value", "95 % interval", "examples"],
        ["---"] * 4,
        ["wasp", "0.5000", "0.3315 to 0.6685", "30"],
        ["bee", "0.9500", "0.7639 to 0.9911", "20"],
        ["most confused", "taken for", "examples"],
        ["---"] * 3,
        ["wasp", "ant", "15"],
        ["bee", "ant", "1"],
    ]
    writing.write_json(tmp_path / "evaluate.json", {**evaluation(model), "model_sha256": "0" * 64})
    assert "has not seen this checkpoint" in card(model, found)


def test_the_precision_is_that_of_the_training_of_this_checkpoint(tmp_path: Path, model: Path) -> None:
    found = checkpoints.load(model)
    summary = {"epochs": 9, "best_epoch": 3, "val_accuracy": 0.5, "precision": "BF16"}
    for given, said in (({}, "3 of 9, in BF16"), ({"best_epoch": 4}, "3"), ({"val_accuracy": 0.6}, "3")):
        writing.write_json(tmp_path / "train.json", {**summary, **given})
        assert ["Epochs of training", said] in rows(card(model, found))


@pytest.mark.parametrize("content", ["{", "[]", '{"num_images": "60"}', '{"num_images": 0}', "\x00"])
def test_a_summary_that_is_none_is_left_out_and_said(
    tmp_path: Path, model: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "evaluate.json").write_text(content)
    with caplog.at_level(logging.WARNING):
        assert "has not seen this checkpoint" in card(model, checkpoints.load(model))
    (said,) = caplog.messages
    assert said.startswith(f"the model card does without it: {tmp_path / 'evaluate.json'}")


def test_a_matrix_of_another_size_is_left_out(tmp_path: Path, model: Path) -> None:
    writing.write_json(tmp_path / "evaluate.json", {**evaluation(model), "confusion_matrix": [[1, 2], [3]]})
    assert "has not seen this checkpoint" in card(model, checkpoints.load(model))


def test_a_pruned_network_has_a_card_without_data(tmp_path: Path) -> None:
    path = saved(tmp_path, checkpoint(training={}, metrics={}))
    text = card(path, checkpoints.load(path))
    assert "The checkpoint doesn't say which data it has seen." in text
    assert "The checkpoint doesn't say how well it does." in text
    assert ["wasp"] in rows(text)


def test_other_data_has_another_fingerprint_and_the_same_the_same(tmp_path: Path) -> None:
    def fingerprint(**splits: Any) -> str:
        data = {**checkpoint().training["data"], **splits}
        path = saved(tmp_path, checkpoint(training=training(data=data)))
        return card(path, checkpoints.load(path)).partition("Fingerprint of the data: sha256 `")[2][:64]

    hashes = torch.arange(200, dtype=torch.int64)
    other = hashes.clone()
    other[7] = -1
    found = [
        fingerprint(),
        fingerprint(val={"counts": [50, 50, 100], "hashes": hashes}),
        fingerprint(val={"counts": [50, 50, 100], "hashes": other}),
        fingerprint(val={"counts": [50, 51, 99], "hashes": hashes}),
    ]
    assert found[0] == found[1]
    assert len(set(found)) == 3


def test_no_name_breaks_the_page(tmp_path: Path) -> None:
    names = ("a | b", "<img src=x>", "[x](http://y) `c` *d* _e_ \\")
    path = saved(tmp_path, checkpoint(names))
    writing.write_json(tmp_path / "evaluate.json", evaluation(path, names))
    text = card(path, checkpoints.load(path), licence='other: "x"\n# y')
    assert yaml.safe_load(text.split("---\n")[1])["license"] == 'other: "x"\\n# y'
    assert {len(row) for row in rows(text.partition("## Classes and data")[2].partition("##")[0])} == {3}
    body = text.partition("## Classes and data")[2].partition("## Spec")[0]
    assert "a \\| b" in body
    assert "\\<img src=x\\>" in body
    assert "\\[x\\](http://y) \\`c\\` \\*d\\* \\_e\\_ \\\\ |" in body


def test_another_folder_and_another_alias_give_the_same_card(tmp_path: Path, model: Path) -> None:
    writing.write_json(tmp_path / "evaluate.json", evaluation(model))
    moved = tmp_path / "moved"
    shutil.copytree(tmp_path / "weights", moved / "weights")
    shutil.copy(tmp_path / "evaluate.json", moved)
    writing.link(moved / "weights" / "best.pth", moved / "weights" / model.name)
    best = moved / "weights" / "best.pth"
    text = card(model, checkpoints.load(model), licence="apache-2.0")
    assert card(best, checkpoints.load(best), licence="apache-2.0") == text
    assert 'license: "apache-2.0"\n' in text
    assert ["Licence", "apache-2.0"] in rows(text)
    assert card(model, replace(checkpoints.load(model), epoch=4)) != card(model, checkpoints.load(model))


SPEC = """
model_config { arch: "resnet" n_layers: 10 use_batch_norm: true input_image_size: "3,16,16" }
train_config {
  train_dataset_path: "%s" batch_size_per_gpu: 32 n_epochs: 1 preprocess_mode: "torch" precision: FP32
  optimizer { sgd { momentum: 0.9 } } lr_config { cosine { learning_rate: 0.02 } } visualizer { enabled: false }
}
dataset_config { val_split: 0.25 }
"""


def test_a_real_run_has_a_card_with_all_it_left(tmp_path: Path, colours: Path) -> None:
    run = Run(results=tmp_path / "run", world=distributed.start("cpu"))
    spec = SPEC % colours
    train(load_text(spec, tmp_path / "a.cfg"), run)
    evaluate(load_text(spec, tmp_path / "a.cfg", stage="evaluate"), run)
    text = card(run.best, checkpoints.load(run.best))
    summary = json.loads(run.summary("evaluate").read_text())
    assert ["Epochs of training", "1 of 1, in FP32"] in rows(text)
    num_val = summary["num_images"]
    assert ["all", str(120 - num_val), str(num_val)] in rows(text)
    measured = {row[0]: row[1:] for row in rows(text) if len(row) == 4}
    assert measured["top-1 by tao-lite evaluate"] == measured["validation top-1 in training"]
    assert measured["top-1 by tao-lite evaluate"][0] == f"{summary['top1']:.4f}"
    assert str(tmp_path) not in text
    assert str(colours.parent) not in text
