"""The way from a file to a network's input is described in plain values, from which the same way is made again."""

import json

import pytest
import torch
from google.protobuf import text_format

from tao_lite import checkpoint as checkpoints
from tao_lite.data import pipeline as pipelines
from tao_lite.data.pipeline import Pipeline
from tao_lite.data.preprocess import Preprocess
from tao_lite.files import plain
from tao_lite.spec import classification_pb2 as pb
from tests.conftest import ROOT


def experiment(text: str) -> pb.Experiment:
    return text_format.Parse(text, pb.Experiment())


SQUARE = experiment('model_config { input_image_size: "3,32,48" resize_interpolation_method: BICUBIC }')
BARS = experiment('model_config { input_image_size: "3,32,48" resize_mode: LETTERBOX letterbox_value: 114 }')
GREY = experiment('model_config { input_image_size: "1,16,16" } dataset_config { full_scale: 4095 }')


@pytest.mark.parametrize(
    "pipeline",
    [
        Pipeline.of(SQUARE, Preprocess.of_mode("torch", 3), is_cropped=True),
        Pipeline.of(SQUARE, Preprocess.of_mode("torch", 3, std=(0.224, 0.224, 0.224)), is_cropped=False),
        Pipeline.of(SQUARE, Preprocess.of_mode("caffe", 3, (1.5, 2.25, 3.125)), is_cropped=True),
        Pipeline.of(BARS, Preprocess.of_mode("tf", 3), is_cropped=False),
        Pipeline.of(GREY, Preprocess.of_mode("caffe", 1), is_cropped=True),
        Pipeline.of(GREY, Preprocess.of_mode("tf", 1), is_cropped=False),
    ],
)
def test_what_is_described_comes_back_the_same(pipeline: Pipeline) -> None:
    value = json.loads(json.dumps(pipeline.to_dict()))
    assert plain.problem(plain.fields(pipelines.SCHEMA), value) is None
    again = Pipeline.from_dict(value)
    assert again == pipeline
    images = torch.randint(0, 256, (2, pipeline.channels, 4, 4), dtype=torch.uint8)
    assert torch.equal(again.preprocess(images), pipeline.preprocess(images))
    found = pb.Experiment()
    again.configure(found)
    assert Pipeline.of(found, again.preprocess, is_cropped=found.eval_config.enable_center_crop) == pipeline


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("decode", "orientation"), "ignored", "decode.orientation is 'ignored', must be 'EXIF'"),
        (("decode", "full_scale"), -1.0, "decode.full_scale is -1.0, must be at least 0"),
        (("resize", "antialias"), 1, "resize.antialias is '1', must be True"),
        (("normalise", "order"), "RBG", "normalise.order is 'RBG', must be 'RGB' or 'BGR' or 'GREY'"),
    ],
)
def test_what_was_changed_by_hand_is_refused_with_its_key(place: tuple[str, str], value: object, message: str) -> None:
    described = Pipeline.of(SQUARE, Preprocess.of_mode("torch", 3), is_cropped=True).to_dict()
    described[place[0]][place[1]] = value
    assert plain.problem(plain.fields(pipelines.SCHEMA), described) == message


def test_a_checkpoint_that_names_its_mode_only_is_described_too() -> None:
    found = checkpoints.load(ROOT / "tests" / "golden" / "checkpoint_1" / "resnet_002.pth")
    assert "mode" in found.preprocess
    pipeline = checkpoints.pipeline(found)
    assert (pipeline.order, pipeline.shape, pipeline.geometry) == ("RGB", (3, 16, 16), "squeeze")
    assert pipeline.mean == (255 * 0.485, 255 * 0.456, 255 * 0.406)
