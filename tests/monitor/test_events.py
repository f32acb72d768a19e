"""Records written, read back by TensorBoard's own reader."""

import math
from collections.abc import Iterator
from contextlib import closing
from io import BytesIO
from pathlib import Path

import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto.graph_pb2 import GraphDef
from tensorboard.plugins.hparams import metadata
from torch import nn
from torch.utils.tensorboard.summary import pr_curve

from tao_lite.metrics.precision_recall import PrecisionRecall
from tao_lite.monitor.events import Events
from tao_lite.monitor.graph import Node


@pytest.fixture
def events(tmp_path: Path) -> Iterator[Events]:
    with closing(Events(tmp_path)) as opened:
        yield opened


@pytest.mark.parametrize("digits", ["5", "1700000000", "4102444800"])
def test_what_is_written_after_the_clock_was_set_back_is_read_last(tmp_path: Path, digits: str) -> None:
    """FIELD.md B8: a file named in 2100, or by a clock that began at 1970."""
    for step in (1, 2, 3):
        with closing(Events(tmp_path, resumed_step=step - 1)) as events:
            events.scalars(step, {"loss": step / 2})
        if step == 1:
            (first,) = tmp_path.iterdir()
            first.rename(tmp_path / f"events.out.tfevents.{digits}.000000.host.1")
    files = sorted(tmp_path.iterdir())
    assert files == sorted(files, key=lambda path: path.stat().st_mtime_ns)
    assert [(point.step, point.value) for point in read(tmp_path).Scalars("loss")] == [(1, 0.5), (2, 1.0), (3, 1.5)]


def read(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder)).Reload()


def test_a_histogram_holds_the_finite_values(events: Events, tmp_path: Path) -> None:
    network = nn.Linear(3, 2)
    with torch.no_grad():
        network.weight.copy_(torch.tensor([[1.0, 2.0, math.nan], [3.0, 4.0, math.inf]]))
        network.bias.fill_(math.nan)
    events.histograms(7, network.named_parameters())
    found = read(tmp_path)
    (weights,) = found.Histograms("weight")
    # Only the four finite weights: 1 + 2 + 3 + 4 = 10. A bias of nothing but NaN has no histogram.
    assert (weights.step, weights.histogram_value.num, weights.histogram_value.sum) == (7, 4, 10.0)
    assert found.Tags()["histograms"] == ["weight"]


def test_a_picture_comes_back_pixel_by_pixel(events: Events, tmp_path: Path) -> None:
    picture = Image.effect_mandelbrot((40, 30), (-2, -1, 1, 1), 50).convert("RGB")
    events.image(7, "val/worst", picture)
    (found,) = read(tmp_path).Images("val/worst")
    assert (found.step, found.width, found.height) == (7, 40, 30)
    assert Image.open(BytesIO(found.encoded_image_string)).tobytes() == picture.tobytes()


def test_a_text_comes_back(events: Events, tmp_path: Path) -> None:
    events.text(7, "spec", "arch: resnet")
    (found,) = read(tmp_path).Tensors("spec/text_summary")
    assert (found.step, found.tensor_proto.string_val) == (7, [b"arch: resnet"])


def test_a_precision_recall_curve_is_the_one_that_torch_would_write(events: Events, tmp_path: Path) -> None:
    logits, labels = torch.randn(50, 2, generator=torch.Generator().manual_seed(0)), torch.arange(50) % 2
    counted = PrecisionRecall(2, torch.device("cpu"))
    counted.add(logits, labels)
    (curve,) = counted.curves([1])
    events.pr_curves(7, {"val_pr/cat": curve})
    probabilities = logits.softmax(dim=1)[:, 1].numpy()
    (expected,) = pr_curve("val_pr/cat", labels.numpy(), probabilities).value  # type: ignore[no-untyped-call]
    found = read(tmp_path)
    (point,) = found.Tensors("val_pr/cat")
    assert point.tensor_proto.float_val == pytest.approx(list(expected.tensor.float_val))
    assert point.tensor_proto.tensor_shape == expected.tensor.tensor_shape
    assert found.SummaryMetadata("val_pr/cat") == expected.metadata


def test_a_graph_comes_back_with_its_edges_and_shapes(events: Events, tmp_path: Path) -> None:
    nodes = [
        Node(name="images", operation="Placeholder", inputs=(), shape=(1, 3, 8, 8)),
        Node(name="conv1/convolution_1", operation="aten::convolution", inputs=("images",), shape=(1, 4, 6, 6)),
    ]
    events.graph(nodes)
    graph = read(tmp_path).Graph()
    assert isinstance(graph, GraphDef)
    assert [(node.name, node.op, tuple(node.input)) for node in graph.node] == [
        (node.name, node.operation, node.inputs) for node in nodes
    ]
    shapes = [node.attr["_output_shapes"].list.shape[0].dim for node in graph.node]
    assert [tuple(size.size for size in shape) for shape in shapes] == [node.shape for node in nodes]


def test_settings_and_their_end_come_back(events: Events, tmp_path: Path) -> None:
    events.settings(3, {"train_config.n_epochs": 4.0, "model_config.arch": "resnet"}, ["val/top1"])
    events.success(9)
    found = read(tmp_path).PluginTagToContent(metadata.PLUGIN_NAME)
    start = metadata.parse_session_start_info_plugin_data(found[metadata.SESSION_START_INFO_TAG])
    assert start.hparams["train_config.n_epochs"].number_value == 4
    assert start.hparams["model_config.arch"].string_value == "resnet"
    experiment = metadata.parse_experiment_plugin_data(found[metadata.EXPERIMENT_TAG])
    assert [metric.name.tag for metric in experiment.metric_infos] == ["val/top1"]
    assert metadata.parse_session_end_info_plugin_data(found[metadata.SESSION_END_INFO_TAG]).status == 1  # success
