"""A package's client answers from files as inference does, elsewhere too; what does not is not kept."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from tao_lite import checkpoint as checkpoints
from tao_lite.cli.export import _TARGETS
from tao_lite.data.description import KINDS, Description, Kind
from tao_lite.data.pipeline import Pipeline
from tao_lite.data.preprocess import TAO_STD, Preprocess
from tao_lite.errors import RunError
from tao_lite.files.sums import verify_sums
from tao_lite.run import Run
from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec.load import Spec
from tao_lite.stages.export import deepstream, export, gate, nvinfer
from tao_lite.stages.export.package import Request, package
from tao_lite.stages.export.references import draw
from tao_lite.stages.export.targets import TARGETS
from tao_lite.training.trained import Trained
from tests.checkpoints import answering
from tests.conftest import EVERYTHING, ROOT
from tests.test_pipeline import spec, tao_lite, trained

__all__ = ["spec", "trained"]  # fixtures

RESNET = 'arch: "resnet" n_layers: 10 use_batch_norm: true'
CLIENTS = ROOT / "tao_lite" / "stages" / "export" / "clients"
SUFFIXES = {".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm"}


OTHERS = [pytest.param(name, marks=pytest.mark.slow) for name in TARGETS if name != "onnxruntime"]


@pytest.fixture(scope="module", params=["onnxruntime", *OTHERS])
def made(request: pytest.FixtureRequest, trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package by the command line, of a network that was trained."""
    folder = tmp_path_factory.mktemp("made") / "package"
    words = ("-m", trained / "weights" / "best.pth", "-r", trained.with_name("exported"))
    finished = tao_lite("export", *words, "--package", folder, "--for", request.param)
    assert finished.returncode == 0, finished.stderr
    assert "its client answers 28 validation pictures and 8 reference pictures as the network does" in finished.stdout
    return folder


def runtime_of(made: Path) -> str:
    return (made / "README.md").read_text().splitlines()[0].rpartition(" ")[2]


def test_it_holds_what_a_stranger_needs(made: Path) -> None:
    assert verify_sums(made) == {}
    files = {path.relative_to(made).as_posix() for path in made.rglob("*") if path.is_file()}
    assert {"labels.txt", "preprocess.json", "client.py", "requirements.txt", "model_card.md", "sbom.cdx.json"} <= files
    assert sum(name.startswith("references/") for name in files) == 8
    for path in (made / name for name in files if name not in ("model.bin", "model.pt2")):
        assert str(ROOT.parent).encode() not in path.read_bytes(), path
    description = json.loads((made / "preprocess.json").read_text())
    assert Description.from_dict(description, made).class_names == ("blue", "green", "red")


def test_its_client_and_check_run_from_elsewhere(made: Path, colours: Path, tmp_path: Path) -> None:
    picture, broken = colours / "red" / "000.png", tmp_path / "broken.png"
    broken.write_bytes(b"none")

    def run(*words: object) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-B", *map(str, words)]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    if runtime_of(made) == "triton":
        pytest.skip("its client needs a server: tests/stages/export/test_triton.py")
    checked = run(made / "check.py")
    assert (checked.stdout, checked.returncode) == ("ok\n", 0), checked.stderr
    answered = run(made / "client.py", broken, picture)
    assert answered.stdout.startswith(f"{picture},red,")
    assert answered.stderr.startswith(f"{broken}: ")
    assert verify_sums(made) == {}


def test_check_names_what_differs(made: Path, tmp_path: Path) -> None:
    if runtime_of(made) == "triton":
        pytest.skip("its client needs a server")
    copied = tmp_path / "package"
    copied.mkdir()
    for path in made.iterdir():
        (copied / path.name).symlink_to(path)
    way = json.loads((made / "preprocess.json").read_text())
    way["normalise"]["order"] = "BGR" if way["normalise"]["order"] == "RGB" else "RGB"
    way["resize"]["filter"] = "bicubic"
    (copied / "preprocess.json").unlink()
    (copied / "preprocess.json").write_text(json.dumps(way))
    for name in ("classify.py", "picture.py", "check.py", "network.py", "way.py"):
        (copied / name).unlink()
        (copied / name).write_text((made / name).read_text())
    checked = subprocess.run(
        [sys.executable, "-B", copied / "check.py"], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert checked.returncode == 1
    assert "plain.png: other pixels reach the network; is Pillow the version in requirements.txt?" in checked.stdout


@pytest.mark.slow
def test_two_packages_of_one_checkpoint_are_equal_byte_by_byte(
    trained: Path, made: Path, run: Run, tmp_path: Path
) -> None:
    asked = Spec(checkpoints.load(trained / "weights" / "best.pth").experiment, Path("spec.cfg"))
    package(
        asked, run, trained / "weights" / "best.pth", Request(folder=tmp_path / "again", runtimes=(runtime_of(made),))
    )
    assert (tmp_path / "again" / "SHA256SUMS").read_text() == (made / "SHA256SUMS").read_text()


@pytest.mark.slow
def test_a_relative_folder_is_compared_too(
    trained: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = Spec(checkpoints.load(trained / "weights" / "best.pth").experiment, Path("spec.cfg"))
    request = Request(folder=Path("deployed"), runtimes=("onnxruntime",), verify=3)
    assert package(asked, run, trained / "weights" / "best.pth", request)["pictures"] == 3


def test_a_folder_that_holds_something_is_left_alone(run: Run, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(RunError, match="is there already and not an empty folder"):
        package(
            Spec(pb.Experiment(), tmp_path),
            run,
            trained / "weights" / "best.pth",
            Request(folder=tmp_path, runtimes=("onnxruntime",)),
        )
    assert os.listdir(tmp_path) == ["mine"]


@pytest.mark.parametrize(
    ("digests", "step"),
    [
        (("other", "other"), "decode"),
        (("d", "other"), "resize"),
        (("d", "p"), "network"),
    ],
)
def test_the_gate_names_the_picture_and_the_step_where_ways_part(digests: tuple[str, str], step: str) -> None:
    experiment = pb.Experiment(model_config=pb.ModelConfig(input_image_size="3,32,32"))
    pipeline = Pipeline.of(experiment, Preprocess.of_mode("torch", 3), is_cropped=False)
    description = Description(pipeline=pipeline, class_names=("a", "b"), kind="pixels")
    want = {Path("good.png"): gate.Answer("d", "p", [0.9, 0.1]), Path("bad.png"): gate.Answer("d", "p", [0.9, 0.1])}
    found = {**want, Path("bad.png"): gate.Answer(*digests, [0.1, 0.9])}
    with pytest.raises(RunError, match=rf"1 of 2 pictures .* nothing was kept: bad.png: {step}, by 8.0e-01"):
        gate.verify(description, want, found)
    assert gate.verify(description, want, want) == 0
    with pytest.raises(RunError, match=r"bad.png: the client can't read it"):
        gate.verify(description, want, {Path("good.png"): want[Path("good.png")]})


@pytest.mark.parametrize("path", sorted(CLIENTS.glob("*.py")), ids=lambda path: path.name)
def test_a_client_is_short_and_imports_neither_torch_nor_us(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 80
    assert path.name == "network_torch.py" or "torch" not in text
    assert "tao_lite" not in text


class Setting(NamedTuple):
    """What the network is like, how it normalises, and whether its middle is cut out."""

    text: str
    mode: str
    is_cropped: bool = False
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None


SETTINGS = {
    "torch": Setting('input_image_size: "3,64,64"', "torch"),
    "caffe_bicubic_crop": Setting('input_image_size: "3,48,64" resize_interpolation_method: BICUBIC', "caffe", True),
    "tf_grey": Setting('input_image_size: "1,64,64"', "tf"),
    "torch_crop": Setting('input_image_size: "3,128,128"', "torch", True),
    "caffe_own_mean": Setting('input_image_size: "3,32,32"', "caffe", mean=(20.5, 130.0, 211.25)),
    "torch_grey_crop": Setting('input_image_size: "1,40,56"', "torch", True),
    "tf_bicubic": Setting('input_image_size: "3,32,32" resize_interpolation_method: BICUBIC', "tf"),
    "caffe_wide": Setting('input_image_size: "3,32,96"', "caffe"),
    "letterbox": Setting('input_image_size: "3,64,96" resize_mode: LETTERBOX letterbox_value: 114', "torch"),
    "torch_as_tao": Setting('input_image_size: "3,64,64"', "torch", std=TAO_STD[3]),
}
RUN_HERE = ("onnxruntime", "openvino", "torch")


def cases() -> list[tuple[str, Kind, str]]:
    """Each setting and each kind in one runtime, or all in all."""
    found = [(setting, kind, runtime) for runtime in RUN_HERE for setting in SETTINGS for kind in KINDS]
    return found if EVERYTHING else found[::13]


@pytest.mark.slow
@pytest.mark.parametrize(("setting", "kind", "runtime"), cases())
def test_real_pictures_are_answered_as_by_inference(
    shared: Path, run: Run, setting: str, kind: Kind, runtime: str
) -> None:
    """Whatever of the dirty pictures decodes, and every tenth of real ones."""
    text, mode, is_cropped, mean, std = SETTINGS[setting]
    path, folder = answering(run.results, f"{RESNET} {text}", mode, mean, std=std), run.results / "package"
    asked = Spec(pb.Experiment(eval_config=pb.EvalConfig(enable_center_crop=is_cropped)), path)
    package(asked, run, path, Request(folder=folder, runtimes=(runtime,), kind=kind, verify=0))
    data = shared / "data"
    dirty = [one for one in sorted((data / "dirty").rglob("*")) if one.suffix.lower() in SUFFIXES]
    clean = sorted((data / "folders").rglob("*.jp*g"))[::10] + sorted((data / "kitti_png").rglob("*.png"))
    network = Trained.of(path, torch.device("cpu"), asked.experiment)
    want = gate.expected(network, dirty + clean)
    assert len(want) > 150
    description = Description.from_text((folder / "preprocess.json").read_text(), folder)
    assert gate.verify(description, want, gate.answers(folder, list(want))) < export.TOLERANCES[description.kind]


@pytest.mark.slow
def test_several_share_the_work_and_each_is_whole(trained: Path, run: Run, tmp_path: Path) -> None:
    asked = Spec(checkpoints.load(trained / "weights" / "best.pth").experiment, Path("spec.cfg"))
    request = Request(folder=tmp_path / "made", runtimes=("deepstream", "tensorrt"), verify=5)
    found = json.loads(json.dumps(package(asked, run, trained / "weights" / "best.pth", request)))["runtimes"]
    assert sorted(os.listdir(tmp_path / "made")) == ["deepstream", "tensorrt"]
    for name, one in found.items():
        folder = tmp_path / "made" / name
        assert verify_sums(folder) == {}
        assert f"Not run there: {one['not_run']}" in (folder / "README.md").read_text()
    assert (tmp_path / "made" / "deepstream" / "labels.txt").read_text() == "blue;green;red\n"
    assert set(found["deepstream"]["other_answers"]) == {"linear", "area"}
    assert "--minShapes=input_1:1x3x32x32" in (tmp_path / "made" / "tensorrt" / "README.md").read_text()


@pytest.mark.slow
def test_a_wrong_configuration_of_nvinfer_is_found(trained: Path, run: Run, tmp_path: Path) -> None:
    network = Trained.of(trained / "weights" / "best.pth", torch.device("cpu"))
    made = export.make(network, export.Form(for_deepstream=True))
    config = deepstream.whole_config(made.description)
    wanted = gate.expected(network, draw(tmp_path / "drawn"))
    nvinfer.other_answers(made, config, wanted)
    with pytest.raises(RunError, match="nvinfer would answer otherwise"):
        nvinfer.other_answers(made, config.replace("net-scale-factor=", "net-scale-factor=-1"), wanted)


@pytest.mark.slow
def test_nvinfer_is_told_of_bars_which_are_black(trained: Path, run: Run, tmp_path: Path) -> None:
    path = answering(run.results, f'{RESNET} input_image_size: "3,32,48" resize_mode: LETTERBOX', "torch", None)
    network = Trained.of(path, torch.device("cpu"))
    made = export.make(network, export.Form(for_deepstream=True))
    config = deepstream.whole_config(made.description)
    assert "maintain-aspect-ratio=1\nsymmetric-padding=1\n" in config
    nvinfer.other_answers(made, config, gate.expected(network, draw(tmp_path / "drawn")))
    grey = replace(made.description, pipeline=replace(made.description.pipeline, fill=114))
    with pytest.raises(RunError, match="nvinfer's bars are black, the network's have the value 114"):
        deepstream.whole_config(grey)


def test_a_kind_that_the_runtime_has_no_use_for_is_refused(trained: Path, tmp_path: Path) -> None:
    words = ("--package", tmp_path / "made", "--for", "onnxruntime", "--for", "tensorrt", "--input", "image")
    finished = tao_lite("export", "-m", trained / "weights" / "best.pth", "-r", tmp_path / "results", *words)
    assert finished.returncode == 2
    assert "Error: --for tensorrt takes --input pixels or tensor, not image; leave it out" in finished.stderr
    assert not (tmp_path / "made").exists()


def test_the_command_knows_every_target() -> None:
    assert list(_TARGETS) == list(TARGETS)


@pytest.mark.slow
def test_the_requirements_alone_are_enough(made: Path, tmp_path: Path, colours: Path) -> None:
    if runtime_of(made) not in ("onnxruntime", "openvino"):
        pytest.skip("its requirements are those of onnxruntime, or half a gigabyte")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True, env=environment)
    python = str(tmp_path / "venv" / "bin" / "python")
    install = [
        python,
        "-m",
        "pip",
        "install",
        "-q",
        "--disable-pip-version-check",
        "-r",
        str(made / "requirements.txt"),
    ]
    subprocess.run(install, check=True, env=environment)
    for words, start in (
        (("check.py",), "ok"),
        (("client.py", f"{colours}/blue/000.png"), f"{colours}/blue/000.png,blue"),
    ):
        command = [python, "-B", str(made / words[0]), *words[1:]]
        answered = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path, env=environment)
        assert answered.stdout.startswith(start)
