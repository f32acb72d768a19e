"""`dataset convert --to cache`: a training with that cache decodes nothing."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tao_lite.data import dataset
from tao_lite.data.from_spec import loader
from tao_lite.data.loader import Loader
from tao_lite.machine import distributed
from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec.load import load
from tests.data.command import exit_code


def write_spec(path: Path, data: Path, cache: Path, more: str = "") -> pb.Experiment:
    path.write_text(
        f'model_config {{ arch: "resnet" input_image_size: "3,32,48" }} {more}\n'
        f'train_config {{ train_dataset_path: "{data}" enable_random_crop: true }}\n'
        f'dataset_config {{ cache: DISK cache_dir: "{cache}" }}'
    )
    return load(path, stage="export").experiment


def loaders(experiment: pb.Experiment) -> Iterator[Loader]:
    """Those of a training with the spec."""
    world = distributed.start("cpu")
    train, val = dataset.splits(experiment, None)
    yield loader(experiment, train, "train", batch_size=8, seed=0, world=world)
    yield loader(experiment, val, "val", batch_size=8, seed=0, world=world)


def test_a_training_finds_every_image_in_the_cache(
    colours: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(colours, tmp_path / "data")
    experiment = write_spec(tmp_path / "s.cfg", copy, tmp_path / "cache")
    before = [[batch.images for batch in each.epoch(1)] for each in loaders(experiment)]
    shutil.rmtree(tmp_path / "cache")
    assert exit_code("dataset", "convert", "-e", tmp_path / "s.cfg", "-o", tmp_path / "cache", "--to", "cache") == 0
    printed = capsys.readouterr().out
    for each, batches in zip(loaders(experiment), before, strict=True):
        assert all(each._images.is_kept(index) for index in range(each.num_examples))
        assert all(torch.equal(one.images, other) for one, other in zip(each.epoch(1), batches, strict=True))
        assert f"{each.num_examples} examples for {'train' if each.sampler.training else 'val'}" in printed
    assert f'dataset_config {{ cache: DISK cache_dir: "{tmp_path}/cache" }}' in printed


def test_what_cannot_be_decoded_is_reported_and_not_counted(
    colours: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    copy = shutil.copytree(colours, tmp_path / "data")
    for path in copy.rglob("007.png"):
        path.write_bytes(path.read_bytes()[:500])
    experiment = write_spec(tmp_path / "s.cfg", copy, tmp_path / "cache")
    counts = [each.num_examples for each in loaders(experiment)]
    for _ in range(2):  # The second time all but these are there.
        caplog.clear()
        assert exit_code("dataset", "convert", "-e", tmp_path / "s.cfg", "-o", tmp_path / "cache", "--to", "cache") == 0
        assert caplog.text.count("/007.png: can't be decoded") == 3
        found = [int(word) for word in capsys.readouterr().out.split("Wrote")[1].split() if word.isdecimal()]
        assert sum(found) == sum(counts) - 3


def test_a_spec_without_a_size_is_refused(colours: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "s.cfg").write_text(f'train_config {{ train_dataset_path: "{colours}" }}')
    assert exit_code("dataset", "convert", "-e", tmp_path / "s.cfg", "-o", tmp_path / "cache", "--to", "cache") == 2
    assert "model_config.input_image_size is not set" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_to_is_refused(
    colours: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_spec(tmp_path / "s.cfg", colours, tmp_path / "cache")
    (tmp_path / "file").touch()
    assert exit_code("dataset", "convert", "-e", tmp_path / "s.cfg", "-o", tmp_path / "file/x", "--to", "cache") == 2
    assert "nothing can be written there; name another folder with -o" in capsys.readouterr().err
