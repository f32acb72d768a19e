"""Evaluation sees the images as the validation of the checkpoint saw them, on whatever machine it runs."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tao_lite import checkpoint as checkpoints
from tao_lite.machine import distributed
from tao_lite.run import Run
from tao_lite.spec.load import load, load_text
from tao_lite.stages.evaluate import evaluate
from tao_lite.stages.inference import inference
from tao_lite.stages.train.train import train

SPEC = """
model_config { arch: "resnet" n_layers: 10 use_batch_norm: true input_image_size: "3,16,16" }
train_config {
  train_dataset_path: "$IMAGES" batch_size_per_gpu: 8 n_epochs: 1 preprocess_mode: "torch" precision: FP32
  optimizer { sgd { momentum: 0.9 } } lr_config { cosine { learning_rate: 0.02 } }
  enable_center_crop: true visualizer { enabled: false }
}
"""


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stripes in the centre tell the classes apart; three quarters of each picture are noise beside it."""
    root, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for name, axis in (("across", 0), ("down", 1)):
        (root / name).mkdir()
        for index in range(12):
            pixels = rng.integers(0, 256, (16, 64, 3), dtype=np.uint8)
            pixels[:, 24:40] = (np.indices((16, 16))[axis] % 4 < 2)[..., None] * 255
            Image.fromarray(pixels).save(root / name / f"{index}.png")
    return root


@pytest.fixture(scope="module")
def trained(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    (folder / "a.cfg").write_text(SPEC)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IMAGES", str(images))
        train(load(folder / "a.cfg"), Run(results=folder, world=distributed.start("cpu")))
    return folder


def loss(folder: Path, spec: str, more: str = "") -> float:
    run = Run(results=folder, world=distributed.start("cpu"))
    found = evaluate(load_text(spec + more, folder / "a.cfg", stage="evaluate"), run)["loss"]
    assert isinstance(found, float)
    return found


def test_evaluation_gives_the_loss_of_validation_and_eval_config_overrides_what_it_saw(
    trained: Path, images: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """FIELD.md E6, E15. The checkpoint says how it was validated, in the spec inside it."""
    monkeypatch.setenv("IMAGES", str(images))
    best = trained / "weights" / "best.pth"
    validation = checkpoints.load(best).metrics["val_loss"]
    assert loss(trained, checkpoints.spec(best)) == pytest.approx(validation, abs=1e-6)
    other_spec = SPEC.replace("enable_center_crop: true", "")
    assert loss(trained, other_spec) == pytest.approx(validation, abs=1e-6)
    assert caplog.text.count("enable_center_crop") == 0
    assert abs(loss(trained, other_spec, "eval_config { enable_center_crop: false }") - validation) > 1e-3
    words = "eval_config.enable_center_crop is false, but the validation of .*best.pth had true"
    (said,) = [record.getMessage() for record in caplog.records if "enable_center_crop" in record.getMessage()]
    assert re.match(words, said)


def test_a_network_that_was_trained_on_letterboxed_pictures_is_evaluated_on_them(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever TAO's switch says: the shape of what it sees belongs to the network."""
    monkeypatch.setenv("IMAGES", str(images))
    plain = SPEC.replace("enable_center_crop: true", "")
    spec = plain.replace('size: "3,16,16"', 'size: "3,16,16" resize_mode: LETTERBOX letterbox_value: 114')
    train(load_text(spec, tmp_path / "a.cfg"), Run(results=tmp_path, world=distributed.start("cpu")))
    best = tmp_path / "weights" / "best.pth"
    described = checkpoints.pipeline(checkpoints.load(best)).to_dict()["resize"]
    assert (described["geometry"], described["fill"]) == ("letterbox", 114)
    validation = checkpoints.load(best).metrics["val_loss"]
    assert loss(tmp_path, plain, "eval_config { enable_center_crop: true }") == pytest.approx(validation, abs=1e-6)
    assert "eval_config.enable_center_crop has no effect" in caplog.text


def test_inference_crops_as_validation_did(trained: Path, images: Path, tmp_path: Path) -> None:
    """FIELD.md E6: the noise at the sides, however it is, changes nothing."""
    picture = images / "down" / "0.png"
    pixels = np.asarray(Image.open(picture)).copy()
    pixels[:, :24] = pixels[:, 40:] = 0
    (tmp_path / "pictures").mkdir()
    Image.fromarray(pixels).save(tmp_path / "pictures" / "dark.png")
    (tmp_path / "pictures" / "noisy.png").write_bytes(picture.read_bytes())
    run = Run(results=tmp_path, world=distributed.start("cpu"))
    text = f'{SPEC} eval_config {{ model_path: "{trained / "weights" / "best.pth"}" }}'
    inference(load_text(text, Path("a.cfg"), stage="inference"), run, tmp_path / "pictures")
    dark, noisy = (line.rpartition(",")[2] for line in run.result_csv.read_text().splitlines())
    assert dark == noisy


def test_two_crops_that_differ_in_one_spec_are_named() -> None:
    """FIELD.md E15."""
    text = SPEC + "eval_config { enable_center_crop: false }"
    (warning,) = load_text(text.replace("$IMAGES", "data").replace("torch", "tf"), Path("a.cfg")).warnings
    assert warning.startswith(
        "a.cfg:8:35: eval_config.enable_center_crop: is false, but train_config.enable_center_crop, by which training "
        "validates, is true: "
    )
    same = text.replace("$IMAGES", "data").replace("crop: false", "crop: true")
    assert load_text(same, Path("a.cfg")).warnings == ()


def test_what_a_run_saves_keeps_its_variables_and_means_what_they_mean_where_it_is_read(
    trained: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FIELD.md C3."""
    best = trained / "weights" / "best.pth"
    assert 'train_dataset_path: "$IMAGES"' in (trained / "spec.cfg").read_text()
    assert 'train_dataset_path: "$IMAGES"' in checkpoints.spec(best)
    events = b"".join(path.read_bytes() for path in (trained / "events").rglob("*") if path.is_file())
    assert b"$IMAGES" in events
    assert str(images).encode() not in events
    monkeypatch.setenv("IMAGES", "/mnt/elsewhere")
    assert checkpoints.load(best).experiment.train_config.train_dataset_path == "/mnt/elsewhere"
