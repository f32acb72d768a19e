"""Real spec files on real data, read in place beside the project; skipped where they are not there."""

import json
from pathlib import Path

import pytest

from tao_lite.cli.main import main
from tao_lite.models.architectures import ARCHITECTURES
from tao_lite.spec.load import examine, read
from tests.conftest import EVERYTHING, ROOT
from tests.test_pipeline import tao_lite


def sets(**fields: object) -> list[str]:
    """--set options; `__` stands for the dot of a field's path."""
    return [part for name, value in fields.items() for part in ("--set", f"{name.replace('__', '.')}={value}")]


@pytest.mark.slow
def test_a_tao_tutorial_spec_trains_on_a_real_image_folder(shared: Path, tmp_path: Path) -> None:
    """Paths changed; 1 epoch of 80 and 64 of 224 pixels, to take seconds."""
    folder = shared / "data" / "folders" / "hymenoptera_small"
    overrides = sets(
        train_config__train_dataset_path=folder / "train",
        train_config__val_dataset_path=folder / "val",
        train_config__pretrained_model_path="",
        train_config__n_epochs=1,
        model_config__input_image_size="3,64,64",
        eval_config__eval_dataset_path=folder / "val",
        eval_config__model_path="",
    )
    spec = shared / "specs" / "NVIDIA_tao_tutorials__classification_spec.cfg"
    finished = tao_lite("train", "-e", spec, "-r", tmp_path, "-k", "key", *overrides)
    assert finished.returncode == 0, finished.stderr
    assert "after 40% of the run the learning rate is below a thousandth of its highest value" in finished.stderr
    assert "-k is not needed: the files of tao_lite are not encrypted" in finished.stderr
    evaluated = tao_lite("evaluate", "-e", spec, "-r", tmp_path, *overrides)
    assert evaluated.returncode == 0, evaluated.stderr
    assert "eval_config.top_k was reduced from 3 to the 2 classes" in evaluated.stdout
    result = json.loads((tmp_path / "evaluate.json").read_text())
    assert result["class_names"] == ["ants", "bees"]
    assert result["num_images"] + evaluated.stderr.count(".gif") >= 11


@pytest.mark.parametrize(
    "name",
    ["kitti_png", *(pytest.param(name, marks=pytest.mark.slow) for name in ("kitti_jpeg", "kitti_jpeg_named_png"))],
)
def test_real_kitti_frames_train(shared: Path, tmp_path: Path, name: str) -> None:
    spec = ROOT / "specs" / "kitti_objects.cfg"
    overrides = sets(
        train_config__train_dataset_path=shared / "data" / name, train_config__n_epochs=1, model_config__n_layers=10
    )
    # In nine frames no truck is whole: a class that loses all has to be given up by name.
    overrides += sets(dataset_config__kitti__ignored_classes='["Misc", "Tram", "Truck"]')
    finished = tao_lite("train", "-e", spec, "-r", tmp_path, *overrides)
    assert finished.returncode == 0, finished.stderr
    assert json.loads((tmp_path / "train.json").read_text())["epochs"] == 1
    assert {"Car", "Pedestrian"} <= set(json.loads((tmp_path / "classmap.json").read_text()))


def trainable_specs() -> list[Path]:
    """The real spec files whose network this version builds and that have a training section."""
    folder = ROOT.parent / "shared" / "specs"
    specs = []
    for path in sorted(folder.glob("*.*")) if folder.is_dir() else []:
        if path.suffix in (".cfg", ".txt") and "lr_config" in path.read_text():
            found = examine(read(path), path, stage="train")
            if found.experiment.model_config.arch in ARCHITECTURES:
                specs.append(path)
    return specs


@pytest.mark.slow
@pytest.mark.parametrize(
    "spec", trainable_specs() if EVERYTHING else trainable_specs()[::4], ids=lambda path: str(path.name)
)
def test_every_real_spec_trains_an_epoch_with_its_data_replaced(
    spec: Path, colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this process, for speed; weights that only TAO can read are left out with a warning."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    overrides = sets(
        train_config__train_dataset_path=colours,
        train_config__val_dataset_path=colours,
        train_config__n_epochs=1,
        model_config__input_image_size="3,32,32",
    )
    with pytest.raises(SystemExit) as ended:
        main(["train", "-e", str(spec), "-r", str(tmp_path), *overrides])
    assert ended.value.code == 0
    assert json.loads((tmp_path / "train.json").read_text())["epochs"] == 1
