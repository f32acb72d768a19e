"""An exported file computes what the network computes, and says how to feed it."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from google.protobuf import text_format

from tao_lite import checkpoint as checkpoints
from tao_lite.data import geometry
from tao_lite.data.description import Description, Kind
from tao_lite.data.pipeline import Pipeline
from tao_lite.data.preprocess import Preprocess
from tao_lite.errors import RunError, refuse_missing
from tao_lite.models import head
from tao_lite.models.architectures import build
from tao_lite.run import Run
from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec.load import Spec
from tao_lite.stages.export import deepstream
from tao_lite.stages.export.export import Form, export
from tests.test_pipeline import tao_lite

NAMES = ("ant", "bee", "wasp")


def model(folder: Path, *, channels: int = 3, mode: str = "caffe", sees: str = "") -> Path:
    """A checkpoint whose batch norms do something; `sees`: fields of model_config."""
    torch.manual_seed(0)
    config = text_format.Parse(sees, pb.ModelConfig())
    config.MergeFrom(
        pb.ModelConfig(
            arch="resnet", n_layers=10, input_image_size=f"{channels},32,48", use_batch_norm=True, use_pooling=True
        )
    )
    network = build(config, len(NAMES))
    network(torch.randn(8, channels, 32, 48))
    path = folder / "weights" / "model.pth"
    experiment = pb.Experiment(model_config=config)
    preprocess = Pipeline.of(experiment, Preprocess.of_mode(mode, channels), is_cropped=False).to_dict()
    checkpoints.save(
        path,
        checkpoints.Checkpoint(
            spec=str(experiment),
            class_names=NAMES,
            preprocess=preprocess,
            network=network.state_dict(),
            epoch=1,
        ),
    )
    return path


def description(mode: str, channels: int, kind: Kind = "tensor") -> Description:
    experiment = pb.Experiment(model_config=pb.ModelConfig(input_image_size=f"{channels},32,48"))
    pipeline = Pipeline.of(experiment, Preprocess.of_mode(mode, channels), is_cropped=False)
    return Description(pipeline=pipeline, class_names=NAMES, kind=kind)


def outputs(path: Path, images: torch.Tensor) -> torch.Tensor:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (values,) = session.run(["predictions/Softmax"], {"input_1": images.numpy()})
    assert isinstance(values, np.ndarray)
    return torch.from_numpy(values)


def expected(path: Path, images: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        probabilities: torch.Tensor = checkpoints.network(checkpoints.load(path)).eval()(images).softmax(dim=1)
    return probabilities


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with its ONNX file and DeepStream's files beside it."""
    path = model(tmp_path_factory.mktemp("exported"))
    finished = tao_lite("export", "-m", path, "--gen_ds_config")
    assert finished.returncode == 0, finished.stderr
    return path


def test_the_file_takes_any_number_of_normalised_images_and_gives_probabilities(exported: Path) -> None:
    path = exported
    for size in (1, 5):
        images = torch.randn(size, 3, 32, 48)
        assert torch.allclose(outputs(path.with_suffix(".onnx"), images), expected(path, images), atol=1e-5)
    summary = json.loads((path.parents[1] / "export.json").read_text())
    assert summary["onnx_path"] == str(path.with_suffix(".onnx"))
    assert summary["largest_difference"] < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize(("mode", "channels"), [("caffe", 3), ("torch", 3), ("tf", 1)])
def test_raw_input_is_normalised_in_the_graph(tmp_path: Path, run: Run, mode: str, channels: int) -> None:
    path = model(tmp_path, mode=mode, channels=channels)
    file = tmp_path / "out" / "x.onnx"
    # By the command line once: a process of its own takes seconds to import what exports.
    if mode == "caffe":
        finished = tao_lite("export", "-m", path, "-o", file.with_suffix(""), "--raw_input", "--static_batch_size", 2)
        assert finished.returncode == 0, finished.stderr
    else:
        export(Spec(pb.Experiment(), path), run, path, Form(path=file, kind="pixels", batch_size=2))
    pixels = torch.randint(0, 256, (2, channels, 32, 48), dtype=torch.uint8)
    assert torch.allclose(outputs(file, pixels), expected(path, Preprocess.of_mode(mode, channels)(pixels)), atol=1e-5)
    facts = {entry.key: entry.value for entry in onnx.load(file).metadata_props}
    description = Description.from_text(facts["preprocess"], file)
    assert (description.class_names, description.kind) == (NAMES, "pixels")
    assert description.pipeline == checkpoints.pipeline(checkpoints.load(path))


def test_deepstream_gets_the_labels_and_the_normalisation_that_was_trained(exported: Path) -> None:
    assert exported.with_name("labels.txt").read_text() == "ant;bee;wasp\n"
    config = exported.with_name("nvinfer_config.txt").read_text()
    assert "net-scale-factor=1\noffsets=103.939;116.779;123.68\ninfer-dims=3;32;48\n" in config
    assert "model-color-format=1\n" in config


def test_deepstream_normalises_as_the_network_was_fed() -> None:
    # pixel / 127.5 - 1 is (pixel - 127.5) / 127.5, in RGB; grey by ImageNet's mean grey and deviation.
    tf = deepstream.config(description("tf", 3))
    assert "net-scale-factor=0.007843137255\noffsets=127.5;127.5;127.5\n" in tf
    assert "model-color-format=0\n" in tf
    assert "model-color-format=2\n" in deepstream.config(description("torch", 1))


def test_nvinfer_gets_no_pictures_of_any_size() -> None:
    with pytest.raises(RunError, match="leave out --input image"):
        deepstream.config(description("tf", 3, kind="image"))


def test_an_unreadable_model_leaves_nothing(tmp_path: Path) -> None:
    path = model(tmp_path)
    path.write_bytes(path.read_bytes()[:-100])
    finished = tao_lite("export", "-m", path, "-o", tmp_path / "x.onnx")
    assert finished.returncode == 2
    assert finished.stderr.splitlines()[-1].startswith(f"Error: {path}: is not a tao_lite checkpoint")
    assert not (tmp_path / "x.onnx").exists()


def test_missing_packages_are_named_with_the_remedy() -> None:
    with pytest.raises(RunError) as error:
        refuse_missing("export", "export", "onnx", "no_such_package")
    assert str(error.value) == "export needs no_such_package; install it with pip install 'tao-lite[export]'"


def test_the_label_file_is_read_by_nvinfer_as_the_classes_of_the_one_output() -> None:
    """FIELD.md E12. The rule is that of parseLabelsFile in DeepStream's nvdsinfer_context_impl_output_parsing.cpp."""

    def parsed(text: str) -> list[list[str]]:
        return [line.split(";") for line in text.split("\n") if line]

    assert parsed(deepstream.labels(NAMES)) == [["ant", "bee", "wasp"]]
    assert parsed(deepstream.labels(("a b", "ä", ""))) == [["a b", "ä", ""]]


@pytest.mark.parametrize("name", ["bee;hive", "bee\nhive"])
def test_a_name_that_nvinfer_would_tear_is_refused(name: str) -> None:
    """FIELD.md E12."""
    with pytest.raises(RunError, match=r"^DeepStream ends a label at ';' .*hive'; export for something else"):
        deepstream.labels(("ant", name))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["pixels", "tensor"])
@pytest.mark.parametrize(("mode", "channels"), [("caffe", 3), ("torch", 3), ("tf", 3), ("torch", 1)])
def test_nvinfer_feeds_the_file_so_that_it_answers_as_pytorch(
    tmp_path: Path, run: Run, mode: str, channels: int, kind: Kind
) -> None:
    """FIELD.md E13: y = net-scale-factor * (x - mean), by channel, of the pixels in the order of the colour format."""
    path, file = model(tmp_path, mode=mode, channels=channels), tmp_path / "x.onnx"
    export(Spec(pb.Experiment(), path), run, path, Form(path=file, kind=kind, for_deepstream=True))
    values = dict(line.split("=") for line in (tmp_path / "nvinfer_config.txt").read_text().splitlines())
    images = torch.randint(0, 256, (4, channels, 32, 48), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    ordered = images.flip(1) if values["model-color-format"] == "1" else images
    mean = torch.tensor([float(value) for value in values["offsets"].split(";")])[:, None, None]
    fed = float(values["net-scale-factor"]) * (ordered.float() - mean)
    found = outputs(file, fed.to(torch.uint8) if kind == "pixels" else fed)
    assert (found - expected(path, Preprocess.of_mode(mode, channels)(images))).abs().max() < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("has_boxes", [True, False])
@pytest.mark.parametrize(("mode", "fill"), [("CENTRE_CROP", 0), ("SQUEEZE", 0), ("LETTERBOX", 0), ("LETTERBOX", 114)])
def test_the_graph_cuts_and_resizes_as_inference_does(
    tmp_path: Path, run: Run, mode: str, fill: int, has_boxes: bool
) -> None:
    path, file = model(tmp_path, sees=f"resize_mode: {mode} letterbox_value: {fill}"), tmp_path / "x.onnx"
    export(Spec(pb.Experiment(), path), run, path, Form(path=file, kind="image", has_boxes=has_boxes))
    pixels = np.random.default_rng(0).integers(0, 256, (150, 211, 3), dtype=np.uint8)
    boxes = [(3, 5, 100, 70), (10, 20, 31, 150)] if has_boxes else [None]
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    feed = {"input_1": pixels.transpose(2, 0, 1)[None]} | ({"boxes": np.array(boxes, np.float32)} if has_boxes else {})
    (found,) = session.run(None, feed)
    for box, row in zip(boxes, found, strict=True):
        seen = geometry.fixed(geometry.cut(pixels, box), mode.lower(), (32, 48), "bilinear", fill)
        image = torch.from_numpy(seen.copy()).permute(2, 0, 1)[None]
        assert np.abs(row - expected(path, Preprocess.of_mode("caffe", 3)(image)).numpy()).max() < 1e-2


@pytest.mark.slow
def test_the_opset_is_the_one_that_was_asked_for(tmp_path: Path) -> None:
    """FIELD.md E10."""
    path = model(tmp_path)
    finished = tao_lite("export", "-m", path, "-o", tmp_path / "x.onnx", "--target_opset", 18)
    assert finished.returncode == 0, finished.stderr
    assert [entry.version for entry in onnx.load(tmp_path / "x.onnx").opset_import] == [18]


@pytest.mark.slow
@pytest.mark.parametrize(("asked", "remedy"), [(12, "the lowest that works is 18"), (99, "the highest that works is ")])
def test_an_opset_that_can_not_be_had_is_refused_with_the_nearest_one(tmp_path: Path, asked: int, remedy: str) -> None:
    """FIELD.md E10."""
    path = model(tmp_path)
    finished = tao_lite("export", "-m", path, "-o", tmp_path / "x.onnx", "--target_opset", asked)
    assert finished.returncode == 2
    line = finished.stderr.splitlines()[-1]
    assert line.startswith(f"Error: --target_opset {asked}: this network can't be written in it; {remedy}")
    assert not (tmp_path / "x.onnx").exists()


@pytest.mark.slow
def test_the_results_folder_of_a_run_stands_for_its_best_network(tmp_path: Path) -> None:
    """FIELD.md D6."""
    path = model(tmp_path)
    path.rename(path.with_name("best.pth"))
    finished = tao_lite("export", "-r", tmp_path)
    assert finished.returncode == 0, finished.stderr
    assert (tmp_path / "weights" / "best.onnx").is_file()
    finished = tao_lite("export", "-r", tmp_path / "no_such")
    assert finished.returncode == 2
    assert finished.stderr.splitlines()[-1].startswith(f"Error: {tmp_path}/no_such/weights/best.pth: no such file")


@pytest.mark.slow
@pytest.mark.parametrize(
    "form",
    [
        Form(has_embedding=True),
        Form(has_embedding=True, kind="image", has_boxes=True),
    ],
)
def test_the_second_output_is_what_the_head_reads(exported: Path, tmp_path: Path, run: Run, form: Form) -> None:
    path = tmp_path / "two.onnx"
    export(Spec(pb.Experiment(), Path("a.cfg")), run, exported, replace(form, path=path))
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert [(one.name, one.shape) for one in session.get_outputs()] == [
        ("predictions/Softmax", ["batch", 3]),
        ("embedding", ["batch", 512]),
    ]
    if form.kind == "tensor":
        images, network = torch.randn(3, 3, 32, 48), checkpoints.network(checkpoints.load(exported)).eval()
        probabilities, features = map(torch.from_numpy, session.run(None, {"input_1": images.numpy()}))
        torch.testing.assert_close(probabilities, expected(exported, images), rtol=0, atol=1e-4)
        with torch.inference_mode():
            logits = network.get_submodule(head.find(network))(features)
        torch.testing.assert_close(logits.softmax(1), probabilities, rtol=0, atol=1e-4)
