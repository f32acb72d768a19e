"""A training whose images grow: what it shows, that it resumes exactly, and which networks it refuses."""

from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from tao_lite.data.growth import Growth
from tao_lite.errors import SpecError
from tao_lite.training import preparation
from tests.data.pictures import as_data_set, make
from tests.test_pipeline import assert_same_weights, spec, tao_lite

__all__ = ["spec"]  # a fixture

GROWING = (
    *("--set", "train_config.progressive_resize={ from_share: 0.5 until: 0.5 }"),
    *("--set", "train_config.checkpoint.keep_last=4"),
)


@pytest.mark.slow
def test_it_goes_on_as_if_it_had_not_stopped(spec: Path, tmp_path: Path) -> None:
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    finished = tao_lite("train", "-e", spec, "-r", whole, *GROWING)
    assert finished.returncode == 0, finished.stderr
    assert "training images grow with the epochs: 16x16, 32x32" in finished.stderr
    events = EventAccumulator(str(whole / "events")).Reload()
    for side in ("height", "width"):
        assert [point.value for point in events.Scalars(f"train/image_{side}")] == [16, 16, 32, 32]
    words = ("--resume", whole / "weights" / "resnet_001.pth")
    assert tao_lite("train", "-e", spec, "-r", stopped, *GROWING, *words).returncode == 0
    assert_same_weights(stopped, whole)


@pytest.mark.slow
def test_a_transformer_is_refused_by_name(spec: Path, tmp_path: Path) -> None:
    network = ("--set", "model_config={ arch: 'timm/vit_tiny_patch16_224' input_image_size: '3,32,32' }")
    finished = tao_lite("train", "-e", spec, "-r", tmp_path, *GROWING, *network)
    assert finished.returncode == 2
    wanted = (
        "train_config.progressive_resize: timm/vit_tiny_patch16_224 can't read images of 16x16 pixels; networks can"
    )
    assert wanted in finished.stderr
    assert not (tmp_path / "weights").exists()


def test_a_head_without_pooling_reads_one_size() -> None:
    pictures = as_data_set([Path(f"{number}.png") for number in range(4)])  # which nobody reads
    data = make(pictures, growth=Growth((16, 24), 0.5, 2))
    pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))
    preparation.refuse_fixed_size(pooled, data, "pooled")
    with pytest.raises(SpecError, match="progressive_resize: flat can't read images of 16x16 pixels"):
        preparation.refuse_fixed_size(nn.Sequential(nn.Flatten(), nn.Linear(16 * 24 * 3, 2)), data, "flat")
