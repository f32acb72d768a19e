"""A rule is fitted once, kept in the checkpoint, and accepts the same answers wherever the network goes."""

import csv
import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tao_lite import checkpoint as checkpoints
from tao_lite.errors import SpecError
from tao_lite.spec.load import load_text
from tests.test_pipeline import spec, tao_lite, trained

pytestmark = pytest.mark.slow

__all__ = ["spec", "trained"]  # fixtures

SCORES = ("PROBABILITY", "ENERGY", "DISTANCE")


def reject(score: str, promise: str, value: float) -> tuple[str, ...]:
    return ("--set", f"eval_config.reject.score={score}", "--set", f"eval_config.reject.{promise}={value}")


@pytest.fixture
def model(trained: Path, tmp_path: Path) -> Path:
    """A copy, for evaluate writes into it, by a link as a run has it."""
    weights = tmp_path / "run" / "weights"
    weights.mkdir(parents=True)
    shutil.copy(trained / "weights" / "best.pth", weights / "resnet_004.pth")
    (weights / "best.pth").symlink_to("resnet_004.pth")
    return weights / "best.pth"


def stripes(folder: Path) -> Path:
    """Ten pictures of no class."""
    folder.mkdir()
    for index in range(10):
        pixels = np.zeros((36, 40, 3), np.uint8)
        pixels[:, :: index + 2] = 255
        Image.fromarray(pixels).save(folder / f"{index}.png")
    return folder


def ran(*arguments: object) -> str:
    finished = tao_lite(*arguments)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout + finished.stderr


def accepted_of(folder: Path) -> dict[str, str]:
    rows = csv.DictReader((folder / "predictions.csv").read_text().splitlines())
    return {row["path"]: row["accepted"] for row in rows}


@pytest.mark.parametrize("score", SCORES)
def test_checkpoint_and_onnx_file_accept_the_same_answers(
    score: str, model: Path, spec: Path, colours: Path, tmp_path: Path
) -> None:
    """Issue 19, item 4."""
    out, outliers = tmp_path / "out", stripes(tmp_path / "stripes")
    said = ran(
        *("evaluate", "-e", spec, "-m", model, "-r", out, "--outliers", outliers),
        *reject(score, "coverage", 0.6),
    )
    assert "Of 10 outliers, " in said
    found = json.loads((out / "evaluate.json").read_text())["reject"]
    assert found["rule"]["score"] == score
    assert [one["coverage"] for one in found["curve"]] == sorted(one["coverage"] for one in found["curve"])
    assert 0 <= found["outliers"]["auroc"] <= 1
    assert model.is_symlink()
    assert found["num_accepted"] >= 0.6 * found["num_images"]  # the evaluated images are those of validation
    digest = json.loads((out / "evaluate.json").read_text())["model_sha256"]
    assert digest == hashlib.sha256(model.read_bytes()).hexdigest()

    onnx, deployed = tmp_path / "a.onnx", tmp_path / "deployed"
    ran("export", "-m", model, "-o", onnx, "-r", out)
    ran("inference", "-m", model, "-d", colours, "-r", out)
    ran("inference", "-m", onnx, "-d", colours, "-r", deployed)
    own = accepted_of(out)
    assert own == accepted_of(deployed)
    assert (len(own), set(own.values())) == (120, {"true", "false"})
    ran("evaluate", "-e", spec, "-m", onnx, "-r", deployed, "--outliers", outliers)
    theirs = json.loads((deployed / "evaluate.json").read_text())["reject"]
    for name in ("num_images", "num_accepted", "num_wrong"):
        assert theirs[name] == found[name]
    assert theirs["outliers"]["accepted"] == found["outliers"]["accepted"]


def test_a_promise_that_can_not_be_kept_stores_no_rule_and_says_what_can(
    model: Path, spec: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    ran("evaluate", "-e", spec, "-m", model, "-r", out, *reject("ENERGY", "coverage", 0.5))
    before = checkpoints.load(model)
    assert before.reject["score"] == "ENERGY"
    # All answers are wrong: those of the least probable class.
    last = [name for name in before.network if name.endswith("weight")][-1]
    network = {**before.network, last: -before.network[last]}
    checkpoints.save(model.resolve(), replace(before, network=network))
    said = ran("evaluate", "-e", spec, "-m", model, "-r", out, *reject("PROBABILITY", "max_error", 0.2))
    assert "No threshold of PROBABILITY keeps eval_config.reject.max_error 0.2" in said
    assert "No rule was stored" in said
    assert not checkpoints.load(model).reject
    assert "reject" not in torch.load(model, weights_only=True)  # older programs can read it
    assert "reject" not in json.loads((out / "evaluate.json").read_text())


def test_a_pruned_network_has_no_rule_and_inference_says_what_fits_one(
    model: Path, spec: Path, colours: Path, tmp_path: Path
) -> None:
    out, asked = tmp_path / "out", reject("PROBABILITY", "coverage", 0.5)
    ran("evaluate", "-e", spec, "-m", model, "-r", out, *asked)
    ran("prune", "-e", spec, "-m", model, "-o", tmp_path / "pruned.pth", "-pth", "0.5", "-r", out)
    assert not checkpoints.load(tmp_path / "pruned.pth").reject
    said = ran("inference", "-e", spec, "-m", tmp_path / "pruned.pth", "-d", colours / "red", "-r", out, *asked)
    assert (
        "eval_config.reject has no effect: the network has no rule; tao-lite evaluate with this spec fits one" in said
    )
    assert (out / "predictions.csv").read_text().splitlines()[0] == "path,class,confidence,blue,green,red"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (reject("ENERGY", "max_error", 0.01), "eval_config.reject.max_error is 0.01, and "),
        (reject("ENERGY", "coverage", 1.5), "eval_config.reject.coverage: found 1.5, must be "),
        (("--set", "eval_config.reject.score=ENERGY"), "eval_config.reject: has neither max_error nor coverage; "),
        ((*reject("ENERGY", "coverage", 0.5), "-np", "2"), "eval_config.reject: a rule is fitted in one process; "),
        ((*reject("ENERGY", "coverage", 0.5), "--outliers", "empty"), "/empty: holds no image; "),
        (("--outliers", "stripes"), "--outliers: the network has no rule to reject them by; "),
    ],
)
def test_bad_input_is_one_clear_error_and_the_checkpoint_stays(
    model: Path, spec: Path, tmp_path: Path, arguments: Sequence[str], message: str
) -> None:
    (tmp_path / "empty").mkdir()
    stripes(tmp_path / "stripes")
    before = model.read_bytes()
    words = [str(tmp_path / word) if word in ("empty", "stripes") else word for word in arguments]
    finished = tao_lite("evaluate", "-e", spec, "-m", model, "-r", tmp_path / "out", *words)
    assert finished.returncode == 2
    assert message in finished.stderr
    assert "Traceback" not in finished.stderr
    assert model.read_bytes() == before


def test_both_promises_in_one_file_are_an_error() -> None:
    text = "eval_config { reject { max_error: 0.1 coverage: 0.9 } }"
    with pytest.raises(SpecError, match="coverage"):
        load_text(text, Path("a.cfg"), stage="inference")
