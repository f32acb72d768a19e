"""The quantize command: what it keeps and writes, what it leaves in float, and what it refuses."""

import json
import re
import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image

from tao_lite import checkpoint as checkpoints
from tao_lite.errors import CheckpointError, DataError, RunError
from tao_lite.machine import distributed
from tao_lite.run import Run, Summary
from tao_lite.spec.load import load
from tao_lite.stages.export.export import Form
from tao_lite.stages.prune.prune import prune
from tao_lite.stages.quantize import quantize as stage
from tao_lite.stages.quantize.quantize import quantize, refuse_deployed
from tao_lite.stages.train.train import train
from tests.stages.prune.test_prune import SPEC
from tests.test_pipeline import tao_lite


@pytest.fixture(scope="module")
def trained(colours: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a network that tells three colours apart, and its spec; validation has 34 of their images."""
    folder = tmp_path_factory.mktemp("quantize")
    (folder / "spec.cfg").write_text(SPEC % {"data": colours})
    train(load(folder / "spec.cfg"), Run(results=folder, world=distributed.start("cpu")))
    return folder


@pytest.fixture(scope="module")
def best(trained: Path) -> Path:
    return trained / "weights" / "best.pth"


def quantized(model: Path, results: Path, *fields: str, form: Form | None = None) -> tuple[Summary, Path]:
    """The summary of quantising with these fields of quantize_config, and the file."""
    spec_file = next(parent / "spec.cfg" for parent in model.parents if (parent / "spec.cfg").exists())
    spec = load(spec_file, stage="quantize", overrides=[f"quantize_config.{one}" for one in fields])
    form = replace(form or Form(), path=results / "q.onnx")
    return quantize(spec, Run(results=results, world=distributed.start("cpu")), model, form), form.path


def kinds(path: Path) -> list[str]:
    return [node.op_type for node in onnx.load(path).graph.node]


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_the_command_makes_a_file_that_evaluate_takes(trained: Path, best: Path, tmp_path: Path) -> None:
    spec, file = trained / "spec.cfg", tmp_path / "q.onnx"
    before = files(best.parent)
    done = tao_lite("quantize", "-e", spec, "-m", best, "-r", tmp_path, "-o", file, "--max_accuracy_drop", 0.06)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "quantize.json").read_text())
    assert f"Wrote {file}, {found['bytes'] / 1e6:.1f} MB, {found['times_smaller']:.2f} times smaller" in done.stdout
    assert "In float for want of an INT8 form: " in done.stdout
    assert found["onnx_path"] == str(file)
    assert found["bytes"] == file.stat().st_size < found["bytes_fp32"] / 3.7
    assert found["top1_fp32"] - found["top1"] == found["accuracy_drop"] <= 0.06
    assert (found["validation_images"], found["calibration_images"]) == (34, 86)
    assert (found["layers"], found["method"], found["target"]) == (14, "MINMAX", "CPU")
    assert files(best.parent) == before
    assert files(tmp_path) == {"q.onnx", "quantize.json"}
    evaluated = tao_lite("evaluate", "-e", spec, "-m", file, "-r", tmp_path / "evaluated")
    assert evaluated.returncode == 0, evaluated.stderr
    assert json.loads((tmp_path / "evaluated" / "evaluate.json").read_text())["top1"] == found["top1"]


@pytest.mark.slow
def test_taos_options_of_export_do_the_same_for_inference_too(
    trained: Path, best: Path, colours: Path, tmp_path: Path
) -> None:
    common = ("-e", trained / "spec.cfg", "-m", best)
    drop = ("--set", "quantize_config.max_accuracy_drop=0.06")
    tao = ("--data_type", "int8", "--cal_image_dir", colours, "--batches", 5, "--batch_size", 8)
    done = tao_lite("export", *common, *drop, *tao, "-r", tmp_path / "a", "-o", tmp_path / "a.onnx", "--gen_ds_config",
                    "--cal_cache_file", tmp_path / "cal.bin", "--raw_input")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "--cal_cache_file and --cal_data_file are not needed here" in done.stderr
    assert json.loads((tmp_path / "a" / "quantize.json").read_text())["calibration_images"] == 40
    ours = ("--image_dir", colours, "--num_images", 40, "--input", "pixels")
    done = tao_lite("quantize", *common, *drop, *ours, "-r", tmp_path / "b", "-o", tmp_path / "b.onnx")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()
    assert (tmp_path / "nvinfer_config.txt").read_text().endswith("network-mode=1\n")
    assert (tmp_path / "labels.txt").read_text() == "blue;green;red\n"
    inferred = tao_lite("inference", "-m", tmp_path / "b.onnx", "-d", colours / "red", "-r", tmp_path / "inferred")
    assert inferred.returncode == 0, inferred.stderr
    assert json.loads((tmp_path / "inferred" / "inference.json").read_text())["images"] == 40


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--batches", 5), "were passed over: they need --data_type int8"),
        (("--data_type", "int8", "--input", "image"), "leave out --package, but for tao-deploy, and --input image"),
        (
            ("--data_type", "int8", "--package", "x", "--for", "onnxruntime"),
            "leave out --package, but for tao-deploy, and --input image",
        ),
    ],
)
def test_options_that_do_not_go_together_are_named(options: tuple[object, ...], problem: str) -> None:
    done = tao_lite("export", "-m", "x.pth", *options)
    assert done.returncode == 2
    assert problem in done.stderr


@pytest.mark.slow
def test_the_normalisation_stays_in_float_and_a_fixed_batch_is_kept(best: Path, tmp_path: Path) -> None:
    form = Form(kind="pixels", batch_size=4)
    summary, path = quantized(best, tmp_path, "max_accuracy_drop=0.06", "method=PERCENTILE", form=form)
    assert summary["method"] == "PERCENTILE"
    found = kinds(path)
    assert set(found[: found.index("QuantizeLinear")]) <= {"Cast", "Mul", "Add", "Sub", "Gather", "DequantizeLinear"}
    (port,) = onnx.load(path).graph.input
    sizes = port.type.tensor_type.shape.dim
    assert (port.type.tensor_type.elem_type, sizes[0].dim_value) == (TensorProto.UINT8, 4)


@pytest.mark.slow
def test_a_pruned_network_is_quantised(best: Path, trained: Path, tmp_path: Path) -> None:
    overrides = [f"prune_config.model_path={best}", "prune_config.target_ratio=0.8"]
    spec = load(trained / "spec.cfg", stage="prune", overrides=overrides)
    prune(spec, Run(results=tmp_path, world=distributed.start("cpu")), measure=False)
    shutil.copy(trained / "spec.cfg", tmp_path)
    summary, path = quantized(tmp_path / "weights" / "pruned.pth", tmp_path, "max_accuracy_drop=0.5", "target=TENSORRT")
    assert summary["target"] == "TENSORRT"
    assert path.stat().st_size == summary["bytes"]


def spoilt(best: Path, folder: Path, blocks: Iterable[str], *, has_shortcut: bool = True) -> Path:
    """The same function, but for INT8: between the convolutions of each block two channels are a million times larger.

    What batch norm gives is multiplied, ReLU lets factors through, and the convolution after it divides. Without its
    shortcut the last block can't be passed by.
    """
    found = checkpoints.load(best)
    network = {name: tensor.clone() for name, tensor in found.network.items()}
    for block in blocks:
        network[f"{block}.bn1.weight"][:2] *= 1e6
        network[f"{block}.bn1.bias"][:2] *= 1e6
        network[f"{block}.conv2.weight"][:, :2] /= 1e6
    if not has_shortcut:
        network["layer4.0.downsample.1.weight"].zero_()
        network["layer4.0.downsample.1.bias"].zero_()
    path = folder / "weights" / "spoilt.pth"
    checkpoints.save(path, replace(found, network=network))
    shutil.copy(best.parents[1] / "spec.cfg", folder)
    return path


@pytest.mark.slow
def test_the_gate_refuses_a_network_that_int8_spoils(best: Path, tmp_path: Path) -> None:
    """The convolutions of the last block have 72 % of the weights, and both would have to stay in float."""
    model = spoilt(best, tmp_path, ["layer4.0"], has_shortcut=False)
    before = files(tmp_path)
    with pytest.raises(RunError) as error:
        quantized(model, tmp_path, "max_accuracy_drop=0.01")
    text = str(error.value)
    assert re.match(
        r"quantize: with \d+ of 14 layers in float, half of the weights at most, INT8 loses 0\.\d{4} of", text
    )
    assert "more than quantize_config.max_accuracy_drop, 0.01; nothing was written. Alone, these change" in text
    assert "(divergence in nats): layer4.0.conv" in text
    assert files(tmp_path) == before


@pytest.mark.slow
def test_the_gate_measures_what_the_best_epoch_is_chosen_by(best: Path, tmp_path: Path) -> None:
    """The spoilt network answers nearly as often rightly as in FP32, and is much less sure: a loss of 1 is allowed."""
    spec_file = best.parent.parent / "spec.cfg"
    overrides = ["quantize_config.max_accuracy_drop=0.9", "train_config.checkpoint.best_metric=LOSS"]
    spec = load(spec_file, stage="quantize", overrides=overrides)
    run = Run(results=tmp_path, world=distributed.start("cpu"))
    summary = quantize(spec, run, best, Form(path=tmp_path / "q.onnx"))
    losses = [float(str(summary[name])) for name in ("loss", "loss_fp32", "accuracy_drop")]
    assert losses[2] == pytest.approx(losses[0] - losses[1])
    assert summary["best_metric"] == "LOSS"


@pytest.mark.slow
def test_layers_that_lose_most_stay_in_float(best: Path, tmp_path: Path) -> None:
    blocks = [f"layer{number}.0" for number in range(1, 4)]
    summary, path = quantized(spoilt(best, tmp_path, blocks), tmp_path, "max_accuracy_drop=0")
    kept = summary["float_layers"]
    assert isinstance(kept, dict)
    assert kept
    assert set(kept) <= {f"{block}.conv{number}" for block in blocks for number in (1, 2)}
    assert list(kept.values()) == sorted(kept.values(), reverse=True)
    types = {tensor.name: tensor.data_type for tensor in onnx.load(path).graph.initializer}
    in_float = {name for name in kept if types.get(f"network.{name}.weight") == TensorProto.FLOAT}
    assert in_float == set(kept)


@pytest.mark.slow
def test_a_class_without_a_calibration_image_is_named(
    best: Path, colours: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    images = tmp_path / "images"
    for name in ("blue", "red"):
        shutil.copytree(colours / name, images / name)
    quantized(best, tmp_path, f"image_dir={images}", "max_accuracy_drop=0.5")
    assert "no calibration image is of class green: how the network sees it was not measured" in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        (["image_dir=%s/none"], "none is no folder; name one with images"),
        (["image_dir=%s/empty"], "empty holds 0 images, and 10 are wanted to calibrate with; give more, or ask for"),
        (["image_dir=%s/noise"], "noise: 12 of 12 "),
        (["num_images=87"], "holds 86 images, and 87 are wanted"),
    ],
)
def test_calibration_images_that_will_not_do_are_refused(
    best: Path, tmp_path: Path, fields: list[str], problem: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "noise").mkdir()
    for number in range(12):
        (tmp_path / "noise" / f"{number}.png").write_bytes(b"no picture")
    before = files(tmp_path)
    with pytest.raises(DataError) as error:
        quantized(best, tmp_path, *[field.replace("%s", str(tmp_path)) for field in fields])
    assert problem in str(error.value)
    assert files(tmp_path) == before


def test_without_validation_images_nothing_is_kept(best: Path, colours: Path, tmp_path: Path) -> None:
    overrides = [f"quantize_config.image_dir={colours}", "train_config.train_dataset_path=/nowhere"]
    spec = load(best.parents[1] / "spec.cfg", stage="quantize", overrides=overrides)
    run = Run(results=tmp_path, world=distributed.start("cpu"))
    with pytest.raises(DataError, match=r"^quantize keeps no file whose accuracy it can't measure: "):
        quantize(spec, run, best, Form(path=tmp_path / "q.onnx"))


def deployed(path: Path, kind: str, metadata: dict[str, str]) -> Path:
    """An ONNX file of one node."""
    port = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    inputs = {"Relu": ["x"], "QuantizeLinear": ["x", "x"]}[kind]
    out = helper.make_tensor_value_info("y", TensorProto.UINT8 if kind != "Relu" else TensorProto.FLOAT, [1])
    message = helper.make_model(helper.make_graph([helper.make_node(kind, inputs, ["y"])], "g", [port], [out]))
    helper.set_model_props(message, metadata)
    onnx.save(message, path)
    return path


@pytest.mark.parametrize(
    ("kind", "metadata", "problem"),
    [
        ("QuantizeLinear", {"preprocess": "{}"}, "is quantised already; give the checkpoint"),
        ("Relu", {"preprocess": "{}"}, "is an exported network, and quantize takes a checkpoint; give the checkpoint"),
        ("Relu", {}, "is not of tao_lite, so that nothing says how to feed it; give the checkpoint"),
    ],
)
def test_a_deployed_network_is_refused_by_what_it_is(
    tmp_path: Path, kind: str, metadata: dict[str, str], problem: str
) -> None:
    path = deployed(tmp_path / "x.onnx", kind, metadata)
    done = tao_lite("quantize", "-m", path)
    assert done.returncode == 2
    assert done.stderr.startswith(f"Error: {path}: {problem}, a .pth file of tao_lite")
    assert files(tmp_path) == {"x.onnx"}


def test_a_package_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is a deployed network, and quantize takes a checkpoint"):
        refuse_deployed(tmp_path)


def test_an_opset_without_int8_by_channel_is_refused(best: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"^--target_opset 12: INT8 by channel needs at least 13$"):
        quantized(best, tmp_path, form=Form(opset=12))


def test_without_a_runtime_the_extra_is_named(best: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "PACKAGES", ("onnx", "no_such_runtime"))
    with pytest.raises(
        RunError, match=r"^quantize needs no_such_runtime; install it with pip install 'tao-lite\[export\]'$"
    ):
        quantized(best, tmp_path)


@pytest.mark.slow
def test_grey_pictures_of_any_kind_are_calibrated_on(best: Path, tmp_path: Path) -> None:
    """Images without labels, in a folder with others that can't be read: these are left out."""
    rng = np.random.default_rng(0)
    for number in range(20):
        Image.fromarray(rng.integers(0, 256, (30, 50), dtype=np.uint8)).save(tmp_path / f"{number}.png")
    (tmp_path / "bad.png").write_bytes(b"no picture")
    summary, _ = quantized(best, tmp_path, f"image_dir={tmp_path}", "max_accuracy_drop=0.9")
    assert summary["calibration_images"] == 20


@pytest.mark.slow
def test_fine_tuning_mends_what_calibration_spoils(trained: Path, best: Path, tmp_path: Path) -> None:
    """Ranges are too narrow, and the network learns to do without what they cut off."""
    text = (trained / "spec.cfg").read_text().replace("n_epochs", "checkpoint { best_metric: LOSS } n_epochs")
    (tmp_path / "spec.cfg").write_text(text)
    model = Path(shutil.copy(best, tmp_path))
    fields = ("fine_tune_epochs=3", "fine_tune_rate=1", "max_accuracy_drop=0.05", "reduce_range=true")
    quantized(model, tmp_path, *fields, "method=PERCENTILE", "percentile=90")
    found = json.loads((tmp_path / "quantize.json").read_text())
    assert found["calibration_drop"] > 0.05 >= found["accuracy_drop"]
    assert found["regained"] == found["calibration_drop"] - found["accuracy_drop"]
    assert found["float_layers"] == {}
    assert len((tmp_path / "fine_tune" / "training.csv").read_text().splitlines()) == 4


@pytest.mark.slow
def test_openvino_gets_its_own_files_through_the_same_gate(best: Path, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    form = Form(path=tmp_path / "model.xml")
    spec = load(
        best.parents[1] / "spec.cfg",
        stage="quantize",
        overrides=["quantize_config.target=OPENVINO", "quantize_config.max_accuracy_drop=0.06"],
    )
    summary = quantize(spec, Run(results=tmp_path, world=distributed.start("cpu")), best, form)
    assert files(tmp_path) == {"model.xml", "model.bin", "preprocess.json", "quantize.json"}
    size = sum((tmp_path / f"model.{end}").stat().st_size for end in ("xml", "bin"))
    assert summary["bytes"] == size < int(str(summary["bytes_fp32"])) / 3.3
    evaluated = tao_lite("evaluate", "-e", best.parents[1] / "spec.cfg", "-m", form.path, "-r", tmp_path / "evaluated")
    assert evaluated.returncode == 0, evaluated.stderr
    assert json.loads((tmp_path / "evaluated" / "evaluate.json").read_text())["top1"] == summary["top1"]
    (tmp_path / "preprocess.json").write_text("{}")
    with pytest.raises(RunError, match=r"preprocess.json: is there and describes another network"):
        quantize(spec, Run(results=tmp_path, world=distributed.start("cpu")), best, form)


@pytest.mark.parametrize(("target", "ending"), [("OPENVINO", "onnx"), ("CPU", "xml")])
def test_a_target_and_another_ending_are_refused(best: Path, tmp_path: Path, target: str, ending: str) -> None:
    pytest.importorskip("openvino")
    spec = load(best.parents[1] / "spec.cfg", stage="quantize", overrides=[f"quantize_config.target={target}"])
    run, form = Run(results=tmp_path, world=distributed.start("cpu")), Form(path=tmp_path / f"q.{ending}")
    with pytest.raises(RunError, match=r"a file for OPENVINO ends in \.xml, and no other does; change -o"):
        quantize(spec, run, best, form)
