"""Whether an answer is accepted is computed in every package that can tell it, and is the same there."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import onnxruntime
import pytest
import torch

from tao_lite import checkpoint as checkpoints
from tao_lite.errors import RunError
from tao_lite.run import Run
from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec.load import Spec
from tao_lite.stages.export import gate
from tao_lite.stages.export.export import Form, export, make, without_accepted
from tao_lite.stages.export.package import Request, package
from tao_lite.training import rejecting
from tao_lite.training.trained import Trained
from tests.test_pipeline import spec, trained

pytestmark = pytest.mark.slow

__all__ = ["spec", "trained"]  # fixtures


@pytest.fixture
def ruled(trained: Path, run: Run) -> Trained:
    """A trained network of which the rule accepts half of the validation images."""
    path = run.weights / "model.pth"
    path.parent.mkdir(parents=True)
    shutil.copy(trained / "weights" / "best.pth", path)
    experiment = checkpoints.load(path).experiment
    experiment.eval_config.reject.MergeFrom(pb.RejectConfig(coverage=0.5, score=pb.RejectScore.DISTANCE))
    found = rejecting.fitted(Trained.of(path, torch.device("cpu"), experiment), run)
    assert found.rule
    return found


@pytest.mark.parametrize("name", ["onnxruntime", "openvino", "torch", "triton"])
def test_a_package_accepts_what_the_network_accepts(ruled: Trained, run: Run, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "package"
    package(Spec(ruled.experiment, Path("a.cfg")), run, ruled.path, Request(folder=folder, runtimes=(name,)))
    said = json.loads((folder / "preprocess.json").read_text())
    assert said["reject"]["output"] == "accepted"
    assert said["reject"]["num_accepted"] == 14  # of 28
    drawn = [folder / "references" / one["file"] for one in said["references"]]
    pictures = [*drawn, *gate.pictures(ruled, tmp_path, 30)]
    want = gate.expected(ruled, pictures)
    assert {one.is_accepted for one in want.values()} == {True, False}
    assert [one["accepted"] for one in said["references"]] == [want[path].is_accepted for path in drawn]
    if name == "triton":
        config = next(folder.glob("models/*_picture/config.pbtxt")).read_text()
        assert 'output [ { name: "accepted" data_type: TYPE_BOOL dims: [1] } ]' in config
        return
    found = gate.answers(folder, pictures)
    assert {path: one.is_accepted for path, one in found.items()} == {
        path: one.is_accepted for path, one in want.items()
    }
    checked = subprocess.run([sys.executable, "-B", folder / "check.py"], capture_output=True, text=True, check=False)
    assert checked.stdout == "ok\n"


@pytest.mark.parametrize("name", ["deepstream", "tao-deploy"])
def test_where_no_output_can_tell_the_name_is_said(
    ruled: Trained, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    package(Spec(ruled.experiment, Path("a.cfg")), run, ruled.path, Request(folder=tmp_path / "a", runtimes=(name,)))
    assert f"what runs packages for {name} reads probabilities alone" in " ".join(capsys.readouterr().out.split())
    assert "reject" not in json.loads((tmp_path / "a" / "preprocess.json").read_text())


def test_outputs_stand_in_order_beside_the_embedding(ruled: Trained, run: Run, tmp_path: Path) -> None:
    form = Form(path=tmp_path / "a.onnx", has_embedding=True, kind="image")
    export(Spec(ruled.experiment, Path("a.cfg")), run, ruled.path, form)
    session = onnxruntime.InferenceSession(form.path, providers=["CPUExecutionProvider"])
    assert [(one.name, one.type) for one in session.get_outputs()] == [
        ("predictions/Softmax", "tensor(float)"),
        ("accepted", "tensor(bool)"),
        ("embedding", "tensor(float)"),
    ]
    plain = make(ruled, without_accepted(ruled, replace(form, has_embedding=False), "a test"))
    session = onnxruntime.InferenceSession(plain.content, providers=["CPUExecutionProvider"])
    assert [one.name for one in session.get_outputs()] == ["predictions/Softmax"]


def test_the_gate_keeps_nothing_that_accepts_otherwise(ruled: Trained, tmp_path: Path) -> None:
    want = gate.expected(ruled, gate.pictures(ruled, tmp_path, 5))
    description = make(ruled, Form()).description
    assert gate.verify(description, want, want) == 0
    path, answer = next(iter(want.items()))
    for other in (not answer.is_accepted, None):
        with pytest.raises(RunError, match="1 of 5 pictures are answered otherwise"):
            gate.verify(description, want, {**want, path: replace(answer, is_accepted=other)})
