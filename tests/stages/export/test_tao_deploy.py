"""A package for tao-deploy is read by NVIDIA's schema and loader, and answers there as inference does here.

The loader and the tensor file are written down in the tests once more, from TAO_TODAY.md 6.1 to 6.4.
"""

import csv
import functools
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image

from tao_lite.data.pipeline import Pipeline
from tao_lite.data.preprocess import Preprocess
from tao_lite.errors import RunError
from tao_lite.files.sums import verify_sums
from tao_lite.spec import classification_pb2 as pb
from tao_lite.stages.export import export, gate, nvidia_loader, tao_deploy
from tao_lite.stages.export.references import draw
from tao_lite.training.trained import Trained
from tests.checkpoints import answering
from tests.conftest import EVERYTHING
from tests.spec import tao_schema
from tests.test_pipeline import spec, tao_lite, trained

pytestmark = pytest.mark.slow

__all__ = ["spec", "trained"]  # fixtures

RESNET = 'arch: "resnet" n_layers: 10 use_batch_norm: true'
CROPPED = ("--set", "compat=TAO_EXACT", "--set", "eval_config.enable_center_crop=true")
FORM = export.Form(for_tao_deploy=True, opset=tao_deploy.OPSET)


@pytest.fixture(scope="module")
def made(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package with pictures and tensors, by the command line; the middle of pictures is seen."""
    folder = tmp_path_factory.mktemp("made") / "package"
    words = ("-m", trained / "weights" / "best.pth", "-r", trained.with_name("exported"), "--images", 9, *CROPPED)
    tensors = ("--data_type", "int8", "--batches", 3, "--batch_size", 4, "--verify", 10)
    finished = tao_lite("export", *words, "--package", folder, "--for", "tao-deploy", *tensors)
    assert finished.returncode == 0, finished.stderr
    assert "Not run here: tao-deploy with its TensorRT" in finished.stdout
    return folder


def test_its_spec_has_only_what_tao_deploy_reads(made: Path) -> None:
    found = tao_schema.read((made / "spec.cfg").read_text())
    assert str(found) == str(
        tao_schema.read("""
        model_config { arch: "resnet" input_image_size: "3,32,32" n_layers: 10 }
        train_config { preprocess_mode: "tf" }
        eval_config { top_k: 2 eval_dataset_path: "images" batch_size: 1 enable_center_crop: true }
        """)
    )


def test_its_network_is_as_the_engine_builder_wants_it(made: Path) -> None:
    message = onnx.load(made / "model.onnx")
    onnx.checker.check_model(message, full_check=True)
    ((given,), (taken,)) = message.graph.output, message.graph.input
    assert (taken.name, given.name) == ("input_1", "predictions/Softmax")
    shapes = [[one.dim_param or one.dim_value for one in port.type.tensor_type.shape.dim] for port in (taken, given)]
    assert shapes == [["batch", 3, 32, 32], ["batch", 3]]
    assert taken.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    assert [one.version for one in message.opset_import if not one.domain] == [20]


def test_it_holds_what_its_commands_name(made: Path) -> None:
    assert verify_sums(made) == {}
    assert json.loads((made / "classmap.json").read_text()) == {"blue": 0, "green": 1, "red": 2}
    assert (made / "classes.txt").read_text() == "blue\ngreen\nred\n"
    readme = (made / "README.md").read_text()
    for name in re.findall(r"-(?:m|e|c|-cal_data_file) ([\w.]+\.(?:onnx|cfg|json|h5))\b", readme):
        assert (made / name).is_file(), name
    assert "--cal_data_file calibration.h5 --cal_cache_file out/cal.bin --batches 3 --batch_size 4" in readme
    assert "--raw_input" not in readme


def seen(path: Path) -> npt.NDArray[np.float32]:
    """The middle of a picture as tao-deploy's loader gives it to a network of 32 x 32: [3, 32, 32] from -1 to 1."""
    picture = Image.open(path).convert("RGB")
    ratio = max(64 / picture.width, 64 / picture.height)
    covering = picture.resize((int(picture.width * ratio), int(picture.height * ratio)), Image.Resampling.BILINEAR)
    left, top = (round(side / 2) - 16 for side in covering.size)
    pixels = np.asarray(covering.crop((left, top, left + 32, top + 32)), np.float32)
    return pixels.transpose(2, 0, 1) / np.float32(127.5) - np.float32(1)


def answered(folder: Path, paths: Sequence[Path]) -> Iterator[tuple[Path, list[float]]]:
    """What an engine in FP32 gives, in batches of 1."""
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    for path in paths:
        yield path, session.run(None, {session.get_inputs()[0].name: seen(path)[None]})[0][0].tolist()


def test_its_pictures_are_answered_as_expected_and_verify_says_so(made: Path, tmp_path: Path) -> None:
    """As tao-deploy lists files: recursively, by suffix, the class from the folder."""
    paths = sorted(path for path in (made / "images").rglob("*") if path.is_file())
    assert {path.suffix for path in paths} == {".png"}
    assert {path.parent.name for path in paths} == {"blue", "green", "red"}
    assert len(paths) == 9
    found = [(path, ["blue", "green", "red"][int(np.argmax(row))], max(row)) for path, row in answered(made, paths)]
    with (made / "expected.csv").open() as file:
        expected = {path: (label, float(confidence)) for path, label, confidence in csv.reader(file)}
    assert len(expected) == 9
    for path, label, confidence in found:
        wanted = expected[path.relative_to(made).as_posix()]
        assert label == wanted[0]
        assert confidence == pytest.approx(wanted[1], abs=1e-5)

    def verify(rows: Sequence[tuple[object, ...]]) -> "subprocess.CompletedProcess[str]":
        with (tmp_path / "result.csv").open("w", newline="") as file:
            csv.writer(file).writerows(rows)
        words = [sys.executable, "-B", str(made / "verify.py"), str(tmp_path / "result.csv")]
        return subprocess.run(words, capture_output=True, text=True, check=False)

    right = verify(found)
    accuracy = sum(path.parent.name == label for path, label, _ in found) / 9
    assert (right.stdout, right.returncode) == (f"0 of 9 pictures differ; accuracy {accuracy:.4f} of 9\n", 0)
    wrong = verify([(*found[0][:2], found[0][2] - 0.001), *found[2:]])
    assert wrong.returncode == 1
    assert "2 of 9 pictures differ" in wrong.stdout
    assert "no answer" in wrong.stdout


def test_its_tensors_are_training_pictures_from_minus_1_to_1(made: Path, colours: Path) -> None:
    with h5py.File(made / "calibration.h5") as file:
        assert (file.attrs["count"], list(file.attrs["shape"])) == (3, [4, 3, 32, 32])
        batches = [file[f"_tensorfile_array_key__{number}/_tensorfile_array_key_"] for number in range(3)]
        assert {(batch.dtype, batch.compression) for batch in batches} == {(np.dtype("float32"), "gzip")}
        found = np.concatenate(batches)
    assert np.abs(found).max() <= 1 + 1e-6
    known = {seen(path).round(3).tobytes(): path.parent.name for path in colours.rglob("*.png")}
    classes = [known[one.round(3).tobytes()] for one in found]
    assert {name: classes.count(name) for name in set(classes)} == {"blue": 4, "green": 4, "red": 4}


def test_the_package_and_its_checkpoint_see_the_same_middle(made: Path, trained: Path, tmp_path: Path) -> None:
    """Where the checkpoint is told to crop as TAO: CORRECTED cuts other rectangles."""

    def probabilities(name: str, model: Path, *words: str) -> npt.NDArray[np.float64]:
        folder = tmp_path / name
        finished = tao_lite("inference", "-m", model, "-r", folder, "-d", made / "images", *words)
        assert finished.returncode == 0, finished.stderr
        with (folder / "predictions.csv").open() as file:
            return np.array([[float(value) for value in row[-3:]] for row in list(csv.reader(file))[1:]])

    found, best = probabilities("package", made), trained / "weights" / "best.pth"
    exact = ("--set", "train_config.precision=FP32", *CROPPED)
    np.testing.assert_allclose(probabilities("exact", best, *exact), found, atol=2e-6)
    corrected = probabilities("corrected", best, *exact, "--set", "compat=CORRECTED")
    assert np.abs(corrected - found).max() > 1e-5


# model_config, preprocess_mode, image_mean, whether the middle of pictures is seen
SETTINGS: dict[str, tuple[str, str, tuple[float, ...] | None, bool]] = {
    "caffe_own_mean_bicubic": (
        'input_image_size: "3,32,48" resize_interpolation_method: BICUBIC',
        "caffe",
        (20.5, 130.0, 211.25),
        False,
    ),
    "grey_torch_crop": ('input_image_size: "1,41,64"', "torch", None, True),
    "torch": ('input_image_size: "3,64,64"', "torch", None, False),
    "torch_crop": ('input_image_size: "3,224,224"', "torch", None, True),
    "caffe_crop_bicubic": ('input_image_size: "3,65,64" resize_interpolation_method: BICUBIC', "caffe", None, True),
    "grey_caffe": ('input_image_size: "1,40,56"', "caffe", None, False),
    "tf": ('input_image_size: "3,32,32"', "tf", None, False),
    "grey_tf": ('input_image_size: "1,32,32" resize_interpolation_method: BICUBIC', "tf", None, False),
}
OTHERS = list(SETTINGS)[1:]

Networks = Callable[[str], tuple[Trained, export.Made]]


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Networks:
    """A network by its setting, and its file for tao-deploy."""

    @functools.cache
    def network(setting: str) -> tuple[Trained, export.Made]:
        text, mode, mean, is_cropped = SETTINGS[setting]
        path = answering(tmp_path_factory.mktemp(setting), f"{RESNET} {text}", mode, mean)
        seen_as = pb.Experiment(compat=pb.Compat.TAO_EXACT, eval_config=pb.EvalConfig(enable_center_crop=is_cropped))
        trained = Trained.of(path, torch.device("cpu"), seen_as)
        return trained, export.make(trained, FORM)

    return network


@pytest.mark.parametrize("setting", [next(iter(SETTINGS)), *OTHERS])
def test_its_loader_answers_as_inference_in_every_mode(
    networks: Networks, shared: Path, tmp_path: Path, setting: str
) -> None:
    """Real pictures, and dirty ones; these as they are decoded here."""
    every = 1 if EVERYTHING else 12
    clean = sorted((shared / "data" / "folders").rglob("*.jp*g"))[::every]
    dirty = sorted(path for path in (shared / "data" / "dirty").rglob("*") if path.suffix in nvidia_loader.SUFFIXES)
    trained, made = networks(setting)
    wanted = gate.expected(trained, [*draw(tmp_path / "drawn"), *clean, *dirty[:: 4 * every]])
    assert len(wanted) > 15
    assert made.description.pipeline.order == ("GREY" if "grey" in setting else "RGB")
    found = nvidia_loader.replay(made, tao_deploy.spec(trained), wanted)
    assert found.num_pictures == len(wanted)
    assert found.distance < 1e-5
    assert found.others > 0  # of those that are turned, transparent and deep, by their files


def test_a_spec_that_its_loader_would_read_otherwise_is_found(networks: Networks, tmp_path: Path) -> None:
    trained, made = networks("caffe_own_mean_bicubic")
    text = tao_deploy.spec(trained)
    wanted = gate.expected(trained, draw(tmp_path / "drawn"))
    with pytest.raises(RunError, match=r"tao-deploy would answer \d of 8 pictures otherwise, and nothing was kept: "):
        nvidia_loader.replay(made, text.replace("BICUBIC", "BILINEAR"), wanted)


def test_what_it_does_not_see_is_counted(networks: Networks, tmp_path: Path) -> None:
    trained, made = networks("caffe_own_mean_bicubic")
    drawn = draw(tmp_path / "drawn")
    other = drawn[0].with_suffix(".PNg")
    os.link(drawn[0], other)
    found = nvidia_loader.replay(made, tao_deploy.spec(trained), gate.expected(trained, [drawn[0], other]))
    assert (found.unseen, found.others) == (1, 0)


def test_where_a_class_has_no_picture_nothing_is_kept(trained: Path, tmp_path: Path) -> None:
    network = Trained.of(trained / "weights" / "best.pth", torch.device("cpu"))
    with pytest.raises(RunError, match=r"--images 2: tao-deploy fails where a class has no picture, and none of "):
        tao_deploy.write_images(network, tmp_path, 2)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--for", "tao-deploy", "--raw_input"), "--for tao-deploy takes --input tensor, not pixels; leave it out"),
        (("--for", "tao-deploy", "--static_batch_size", "4"), "leave out -o, --boxes, --static_batch_size and"),
        (("--for", "onnxruntime", "--images", "4"), "--images is for --for tao-deploy"),
        (("--for", "tao-deploy", "--for", "torch", "--data_type", "int8"), "leave out --package, but for tao-deploy"),
    ],
)
def test_what_does_not_fit_is_refused(trained: Path, tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    model = trained / "weights" / "best.pth"
    finished = tao_lite("export", "-m", model, "-r", tmp_path / "results", "--package", tmp_path / "made", *words)
    assert finished.returncode == 2
    assert said in finished.stderr
    assert not (tmp_path / "made").exists()


def test_a_folder_or_a_view_that_tao_does_not_have_is_refused() -> None:
    experiment = pb.Experiment(model_config=pb.ModelConfig(input_image_size="3,32,32"))
    pipeline = Pipeline.of(experiment, Preprocess.of_mode("torch", 3), is_cropped=False)
    tao_deploy.refuse_unfit(pipeline, Path("made"))
    with pytest.raises(RunError, match=r"'my package' has a blank"):
        tao_deploy.refuse_unfit(pipeline, Path("my package"))
    cropped = Pipeline.of(experiment, Preprocess.of_mode("torch", 3), is_cropped=True)
    with pytest.raises(RunError, match=r"with --set compat=TAO_EXACT it is evaluated as there"):
        tao_deploy.refuse_unfit(cropped, Path("made"))


@pytest.mark.parametrize("name", ["", "..", "a/b", "a\\b", "a\nb"])
def test_a_class_that_no_folder_can_be_called_by_is_refused(name: str) -> None:
    with pytest.raises(RunError, match="no folder is called"):
        tao_deploy._folder_name(name)


def test_top_k_is_below_the_number_of_classes() -> None:
    """With as many, tao-deploy always scores 1."""
    assert [tao_deploy._top_k(*each) for each in ((0, 10), (3, 10), (10, 10), (2, 2), (0, 1))] == [5, 3, 9, 1, 1]
