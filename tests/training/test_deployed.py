"""A deployed network answers as its checkpoint does, whatever its input and runtime; what is wrong with it is named."""

import csv
import importlib.util
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from PIL import Image

import tao_lite
from tao_lite import checkpoint as checkpoints
from tao_lite.data.description import INPUT, OUTPUT, Description
from tao_lite.errors import CheckpointError, RunError
from tao_lite.machine import distributed
from tao_lite.run import Run
from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec.load import Spec, load_text
from tao_lite.stages.evaluate import evaluate
from tao_lite.stages.export.export import Form, export
from tao_lite.stages.inference import Extras, inference
from tao_lite.training import deployed
from tao_lite.training.deployed import Deployment, _Network
from tao_lite.training.runtimes import Computed, Port, import_openvino
from tests import commands
from tests.checkpoints import answering
from tests.stages.export.test_export import model
from tests.test_pipeline import environment

CPU = torch.device("cpu")
Probabilities = dict[str, list[float]]

# Name -> how it is exported, whether pictures are cropped, how far a probability may be off. Where the graph resizes, a
# pixel may be rounded to another level.
FORMS: dict[str, tuple[Form, bool, float]] = {
    "tensor": (Form(path=Path(), batch_size=4), True, 1e-5),
    "pixels": (Form(path=Path(), kind="pixels"), False, 1e-5),
    "image": (Form(path=Path(), kind="image"), True, 1e-2),
    "boxes": (Form(path=Path(), kind="image", has_boxes=True), False, 1e-2),
}


def experiment(path: Path, *, is_cropped: bool = False) -> pb.Experiment:
    config = pb.EvalConfig(model_path=str(path), enable_center_crop=is_cropped, batch_size=4)
    found = pb.Experiment(eval_config=config)
    found.train_config.precision = pb.Precision.FP32
    return found


def answers(path: Path, pictures: Path, results: Path, *, is_cropped: bool = False) -> Probabilities:
    """What `inference` gives for the pictures."""
    run = Run(results=results, world=distributed.start("cpu"))
    summary = inference(Spec(experiment(path, is_cropped=is_cropped), Path("a.cfg")), run, pictures)
    assert (summary["images"], summary["unread"], summary["precision"]) == (6, 1, "FP32")
    rows = csv.reader(run.predictions_csv.read_text().splitlines()[1:])
    return {path: [float(value) for value in values] for path, _, _, *values in rows}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Coarse noise of different sizes, and a file that is no picture."""
    root, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for index, size in enumerate([(48, 32), (90, 40), (33, 71), (64, 64), (200, 50), (31, 47)]):
        noise = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
        noise.resize(size, Image.Resampling.BICUBIC).save(root / f"{index}.png")
    (root / "bad.png").write_bytes(b"none")
    return root


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The ONNX file of each form, beside model.pth, of which it was made."""
    folder = tmp_path_factory.mktemp("exported")
    source = model(folder)

    def made(name: str) -> Path:
        form, is_cropped, _ = FORMS[name]
        path = source.with_name(f"{name}.onnx")
        if not path.exists():
            run = Run(results=folder, world=distributed.start("cpu"))
            export(
                Spec(experiment(source, is_cropped=is_cropped), Path("a.cfg")), run, source, replace(form, path=path)
            )
        return path

    return made


def description(path: Path) -> str:
    return next(entry.value for entry in onnx.load(path).metadata_props if entry.key == "preprocess")


def package(path: Path, folder: Path, change: Callable[[str], str] = str) -> Path:
    """A package of the ONNX file, its description changed."""
    folder.mkdir(exist_ok=True)
    (folder / "model.onnx").write_bytes(path.read_bytes())
    (folder / "preprocess.json").write_text(change(description(path)))
    return folder


def ir(path: Path, folder: Path) -> Path:
    """An OpenVINO IR of the ONNX file, in a package."""
    if importlib.util.find_spec("openvino") is None:
        pytest.skip("needs pip install 'tao-lite[openvino]'")
    openvino = import_openvino(path)
    folder.mkdir(exist_ok=True)
    openvino.save_model(openvino.Core().read_model(path), folder / "model.xml", compress_to_fp16=False)
    (folder / "preprocess.json").write_text(description(path))
    return folder


def changed(path: Path, target: Path, change: Callable[[onnx.ModelProto], object]) -> Path:
    message = onnx.load(path)
    change(message)
    target.write_bytes(message.SerializeToString())
    return target


@pytest.mark.slow
@pytest.mark.parametrize("extras", [Extras(has_embeddings=True), Extras(has_heat_maps=True)], ids=str)
def test_what_needs_the_layers_is_refused(
    exported: Callable[[str], Path], pictures: Path, tmp_path: Path, extras: Extras
) -> None:
    run = Run(results=tmp_path, world=distributed.start("cpu"))
    with pytest.raises(RunError, match=r"whose layers can't be asked; --.* needs the checkpoint"):
        inference(Spec(experiment(exported("tensor")), Path("a.cfg")), run, pictures, extras)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_a_deployed_network_answers_as_its_checkpoint(
    exported: Callable[[str], Path], pictures: Path, tmp_path: Path, form: str, runtime: str
) -> None:
    """Six pictures by batches of four: the last one is filled up where the file's size is fixed."""
    file, (_, is_cropped, tolerance) = exported(form), FORMS[form]
    path = file if runtime == "onnxruntime" else ir(file, tmp_path / "package")
    wanted = answers(file.with_name("model.pth"), pictures, tmp_path / "a", is_cropped=is_cropped)
    found = answers(path, pictures, tmp_path / "b", is_cropped=is_cropped)
    assert found.keys() == wanted.keys()
    assert np.abs(np.subtract([*found.values()], [*wanted.values()])).max() < tolerance
    # That can tell: the pictures' answers differ by more, and so do those that see another part of them.
    other = answers(file.with_name("model.pth"), pictures, tmp_path / "c", is_cropped=not is_cropped)
    assert np.abs(np.subtract([*other.values()], [*wanted.values()])).max() > 10 * tolerance
    assert np.ptp([*wanted.values()], axis=0).max() > 10 * tolerance


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["ONNX Runtime", "OpenVINO"])
def test_no_runtime_reports_its_use_or_writes_into_the_home_folder(
    exported: Callable[[str], Path], pictures: Path, tmp_path: Path, runtime: str
) -> None:
    home, path = tmp_path / "home", exported("pixels")
    path = ir(path, tmp_path / "package") if runtime == "OpenVINO" else path
    home.mkdir()
    given = ("inference", "-m", path, "-d", pictures, "-r", tmp_path / "results")
    finished = commands.run([*map(str, given)], {**environment(), "HOME": str(home)})
    assert finished.returncode == 0, finished.stderr
    assert f"Computed in FP32 by {runtime}" in finished.stdout
    assert [*home.iterdir()] == []


def test_the_description_says_how_pictures_are_seen_and_the_log_where_the_spec_differs(
    exported: Callable[[str], Path], caplog: pytest.LogCaptureFixture
) -> None:
    asked = experiment(Path())
    asked.model_config.input_image_size = "3,99,99"
    opened = Deployment.of(exported("tensor"), CPU, asked)
    assert opened.experiment.model_config.input_image_size == "3,32,48"
    assert opened.experiment.eval_config.enable_center_crop
    assert asked.model_config.input_image_size == "3,99,99"
    assert "eval_config.enable_center_crop is false, but " in caplog.text
    assert "was exported with true, which holds" in caplog.text


@pytest.mark.slow
def test_a_package_without_a_spec_has_one_that_loads(exported: Callable[[str], Path], tmp_path: Path) -> None:
    assert "n_layers: 10" in deployed.spec(exported("pixels"))
    bare = package(exported("pixels"), tmp_path)
    changed(exported("pixels"), bare / "model.onnx", lambda message: message.ClearField("metadata_props"))
    assert load_text(deployed.spec(bare), bare, stage="inference").experiment.model_config.input_image_size == "3,32,48"


def test_a_probability_of_zero_is_no_fault_and_the_sums_stay(exported: Callable[[str], Path]) -> None:
    ports = {INPUT: Port(type="float32", shape=(None, 3, 32, 48)), OUTPUT: Port(type="float32", shape=(None, 3))}
    rows = np.array([[0.0, 1.0, 0.0]], np.float32)
    network = _Network(
        Description.from_text(description(exported("tensor")), Path("a")),
        Computed(runtime="", ports=ports, run=lambda _output, _inputs: rows),
    )
    logits = network(torch.zeros(1, 3, 32, 48))
    assert logits.isfinite().all()
    torch.testing.assert_close(logits.softmax(dim=1), torch.from_numpy(rows))


def test_what_only_a_checkpoint_can_do_is_refused(exported: Callable[[str], Path], tmp_path: Path) -> None:
    words = "is a deployed network or a folder, which only evaluate and inference take; give the checkpoint"
    for path in (exported("pixels"), tmp_path, tmp_path / "model.xml"):
        path.touch()
        with pytest.raises(CheckpointError, match=words):
            tao_lite.load(path)


def refusal(path: Path, kind: type[Exception] = CheckpointError) -> str:
    with pytest.raises(kind) as raised:
        Deployment.of(path, CPU, experiment(path))
    return str(raised.value)


def outside(message: onnx.ModelProto, location: str = "../weights.bin") -> None:
    """Let the last weights lie in another file."""
    tensor = message.graph.initializer[-1]
    onnx.external_data_helper.set_external_data(tensor, location)
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL


def test_a_foreign_or_damaged_file_is_refused(exported: Callable[[str], Path], tmp_path: Path) -> None:
    file, path = exported("pixels"), tmp_path / "model.onnx"
    changed(file, path, lambda message: message.ClearField("metadata_props"))
    assert refusal(path, RunError) == (
        f"{path}: has no metadata 'preprocess', so that nothing says how to feed it; give a file that tao-lite export "
        "made, or a folder that holds it as model.onnx beside preprocess.json"
    )
    changed(file, path, lambda message: setattr(message.graph.node[0], "op_type", "Nonsense"))
    assert refusal(path).startswith(f"{path}: ONNX Runtime ")
    assert "can't compute it" in refusal(path)
    path.write_bytes(file.read_bytes()[:-1000])
    assert refusal(path) == f"{path}: is no ONNX file, or is damaged; export the network again"
    assert "no such file" in refusal(tmp_path / "other.onnx")
    assert refusal(tmp_path / "..").endswith("give a package or a checkpoint")
    (tmp_path / "model.onnx").rename(tmp_path / "model.pt2")
    assert refusal(tmp_path).endswith("is for torch, which would unpickle it; give another package or the checkpoint")


def test_weights_beside_the_file_are_read_and_none_elsewhere(exported: Callable[[str], Path], tmp_path: Path) -> None:
    file, path = exported("pixels"), tmp_path / "model.onnx"
    (tmp_path.parent / "weights.bin").write_bytes(bytes(10_000_000))
    changed(file, path, outside)
    assert refusal(path) == (
        f"{path}: keeps weights in '../weights.bin', outside of its folder, which is not read; put all into one file, "
        "as tao-lite export does"
    )
    changed(file, path, lambda message: outside(message, "linked.bin"))
    assert "keeps weights in 'linked.bin', which is not beside it; put it there" in refusal(path)
    (tmp_path / "linked.bin").symlink_to(tmp_path.parent / "weights.bin")
    assert "keeps weights in 'linked.bin', outside of its folder" in refusal(path)
    (tmp_path / "linked.bin").unlink()
    onnx.save(onnx.load(file), path, save_as_external_data=True, location="linked.bin")
    assert Deployment.of(path, CPU, experiment(path)).class_names == ("ant", "bee", "wasp")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"BGR"', '"RGB"', "preprocess.json: was changed: normalise.order is not what model.onnx holds"),
        ('"BGR"', '"XYZ"', "preprocess.json: .* normalise.order is 'XYZ', must be 'RGB' or 'BGR' or 'GREY'"),
        ('"wasp"', '"bumblebee"', "preprocess.json: was changed: class_names is not what model.onnx holds"),
        ('"format"', '"version"', "preprocess.json: does not say how tao_lite feeds a network: format is missing"),
        ("{", "[", "preprocess.json:.* is not JSON"),
    ],
)
def test_a_description_that_was_changed_is_refused_by_the_field(
    exported: Callable[[str], Path], tmp_path: Path, old: str, new: str, words: str
) -> None:
    path = package(exported("pixels"), tmp_path, lambda text: text.replace(old, new, 1))
    with pytest.raises(RunError, match=words):
        Deployment.of(path, CPU, experiment(path))


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("resize.size", [32, 47], "resize.size[1] is for 47, the network for 48"),
        ("input.kind", "tensor", "input.type is for float32, the network for uint8"),
        ("normalise.order", "GREY", "normalise.order is for 1, the network for 3"),
        ("normalise.mean", [1.0], "normalise.mean is for 1, the network for 3"),
        ("class_names", ["a", "b"], "class_names is for 2, the network for 3"),
    ],
)
def test_a_description_of_another_network_is_refused_by_the_field(
    exported: Callable[[str], Path], tmp_path: Path, field: str, value: object, words: str
) -> None:
    """Where the file itself holds none."""

    def change(text: str) -> str:
        found = json.loads(text)
        *above, name = field.split(".")
        (found[above[0]] if above else found)[name] = value
        return json.dumps(found)

    path = package(exported("pixels"), tmp_path, change)
    changed(exported("pixels"), path / "model.onnx", lambda message: message.ClearField("metadata_props"))
    assert refusal(path) == f"{path}: does not fit its own description: {words}; export the network again"


def test_an_ir_needs_its_weights_and_its_description(exported: Callable[[str], Path], tmp_path: Path) -> None:
    path = ir(exported("pixels"), tmp_path)
    (path / "model.bin").rename(path / "other.bin")
    assert refusal(path / "model.xml") == f"{path}/model.bin: no such file; check the path"
    (path / "model.bin").write_bytes(b"")
    assert "model.xml: OpenVINO " in refusal(path)
    (path / "preprocess.json").unlink()
    assert refusal(path / "model.xml", RunError) == f"{path}/preprocess.json: no such file; check the path"


def test_a_runtime_that_is_missing_is_named_with_the_remedy(
    exported: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = package(exported("pixels"), tmp_path)
    for extra, name, missing in (("export", "model.onnx", "onnxruntime"), ("openvino", "model.xml", "openvino")):
        (path / "model.onnx").rename(path / name)
        monkeypatch.setitem(sys.modules, missing, None)
        words = f"{path / name}: needs {missing}; install it with pip install 'tao-lite[{extra}]'"
        assert refusal(path, RunError) == words


def test_a_checkpoint_is_opened_as_one(exported: Callable[[str], Path]) -> None:
    path = exported("pixels").with_name("model.pth")
    assert deployed.opened(path, CPU, experiment(path)).class_names == checkpoints.load(path).class_names


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_a_package_has_its_checkpoint_s_confusion_matrix_on_real_pictures(
    shared: Path, tmp_path: Path, runtime: str
) -> None:
    data = shared / "data" / "folders" / "imagenette_tiny" / "val"
    names = tuple(sorted(folder.name for folder in data.iterdir()))
    config = 'arch: "resnet" n_layers: 10 use_batch_norm: true input_image_size: "3,64,64"'
    path = answering(tmp_path, config, "torch", names=names)
    export(Spec(experiment(path), Path("a.cfg")), a_run(tmp_path), path, Form(path=tmp_path / "x.onnx", kind="pixels"))
    folder = (package if runtime == "onnxruntime" else ir)(tmp_path / "x.onnx", tmp_path / "package")
    wanted, found = (evaluated(one, data, tmp_path / name) for one, name in ((path, "a"), (folder, "b")))
    assert found["confusion_matrix"] == wanted["confusion_matrix"]
    assert found["loss"] == pytest.approx(wanted["loss"], abs=1e-5)
    assert sum(any(column) for column in zip(*wanted["confusion_matrix"], strict=True)) > 3  # it tells pictures apart


def evaluated(path: Path, data: Path, results: Path) -> dict[str, Any]:
    found = experiment(path)
    found.eval_config.eval_dataset_path = str(data)
    return dict(evaluate(Spec(found, Path("a.cfg")), a_run(results)))


def a_run(results: Path) -> Run:
    return Run(results=results, world=distributed.start("cpu"))
