"""The small inputs in ../shared/cases, each as its WHAT.md says; what they are samples of has tests of its own."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

from tao_lite.data.dataset import load, splits
from tao_lite.data.decode import decode
from tao_lite.data.example import Options
from tao_lite.errors import DataError
from tao_lite.spec import classification_pb2 as pb


@pytest.fixture
def cases(shared: Path) -> Path:
    return shared / "cases"


def spec(train: Path, val: Path | str = "") -> pb.Experiment:
    experiment = pb.Experiment()
    experiment.train_config.train_dataset_path = str(train)
    experiment.train_config.val_dataset_path = str(val)
    return experiment


@pytest.mark.parametrize(("case", "expected"), [("b16", ""), ("b12", "4095"), ("b10", "1023"), ("b8", "255")])
def test_deep_pictures(cases: Path, caplog: pytest.LogCaptureFixture, case: str, expected: str) -> None:
    """FIELD.md E1: the stripes of all use the whole range once full_scale fits."""
    examples = load(cases / "deep_pictures" / case, "AUTO", Options())
    assert [message.rpartition("full_scale: ")[2] for message in caplog.messages] == [expected] * bool(expected)
    pixels = [decode(example.path, 1, full_scale=float(expected or 0)) for example in examples]
    assert [int(np.min(pixels)), int(np.max(pixels))] == [0, 255]


def test_records_that_count_from_one(cases: Path) -> None:
    """FIELD.md E2"""
    with pytest.raises(DataError, match=r"number the classes 1 to 3, and .*labels\.txt names 0 to 2"):
        load(cases / "tfrecord_from_one/train", "AUTO", Options())


@pytest.mark.parametrize("case", ["order", "gap"])
def test_order_of_data_yaml(cases: Path, case: str) -> None:
    """FIELD.md E2"""
    root = cases / "order_of_data_yaml" / case
    assert splits(spec(root, root), None)[1].class_names == ("dog", "cat", "ant")


@pytest.mark.parametrize("case", ["kaggle", "folds", "sets", "plain"])
def test_splits_as_classes(cases: Path, case: str) -> None:
    """FIELD.md E4"""
    root = cases / "splits_as_classes" / case
    with pytest.raises(DataError) as caught:
        load(root, "AUTO", Options())
    assert str(caught.value).endswith(f"; give one of them: {', '.join(sorted(map(str, root.iterdir())))}")


def test_one_folder_around_the_classes(cases: Path) -> None:
    """FIELD.md E4"""
    root = cases / "splits_as_classes/wrapped"
    with pytest.raises(DataError, match=f"there are several folders in {root}/archive: if those are the classes"):
        splits(spec(root), None)


def test_yaml_beside_folders(cases: Path) -> None:
    """FIELD.md E4"""
    root = cases / "yaml_beside_folders"
    with pytest.raises(DataError, match=f"give one of them: {root}/train, {root}/val"):
        splits(spec(root, root), None)


def test_roboflow_copies(cases: Path) -> None:
    """FIELD.md E5"""
    sides = splits(spec(cases / "roboflow_copies"), None)
    names = [{one.path.name.partition(".rf.")[0] + one.label for one in side.examples} for side in sides]
    assert names[0].isdisjoint(names[1])
    assert len(names[0] | names[1]) == 24


@pytest.mark.parametrize(("train", "val"), [("a1", "a2"), ("b1", "b2")])
def test_look_alike_names(cases: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, train: str, val: str) -> None:
    """FIELD.md E8"""
    monkeypatch.setattr(sys, "argv", ["make.py", str(tmp_path)])
    runpy.run_path(str(cases / "look_alike_names/make.py"))
    with pytest.raises(DataError, match=r"names must match exactly; '.*' and '.*' differ in "):
        splits(spec(tmp_path / train, tmp_path / val), None)


@pytest.mark.parametrize("case", ["top", "d"])
def test_folders_of_a_network_disk(cases: Path, case: str) -> None:
    """FIELD.md E9"""
    examples = load(cases / "nas_folders" / case, "AUTO", Options())
    assert (len(examples), {example.label for example in examples}) == (8, {"cat", "dog"})


def test_class_of_low_boxes_in_yolo(cases: Path) -> None:
    """FIELD.md A9: read, for the least height is KITTI's."""
    examples = load(cases / "class_disappears/yolo", "AUTO", Options())
    assert {example.label for example in examples} == {"car", "van", "sign"}
