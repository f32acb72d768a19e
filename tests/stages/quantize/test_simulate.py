"""A simulated network computes what its INT8 file does, and learns."""

from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

import numpy.typing as npt
import onnx
import onnxruntime
import pytest
import torch
from onnx import helper
from torch import Tensor, fx

from tao_lite.data.description import INPUT
from tao_lite.stages.export.export import Form, make
from tao_lite.stages.quantize import calibrate, graph, placing
from tao_lite.stages.quantize.calibrate import Method
from tao_lite.stages.quantize.placing import Layout
from tao_lite.stages.quantize.simulate import ROUNDED, simulation
from tao_lite.training.trained import Trained
from tests.conftest import EVERYTHING
from tests.pruning.test_table import SETTINGS
from tests.stages.quantize.test_table import checkpoint, pictures

# Of timm: a network that has squeeze-and-excitation and gates, and is small.
NAMES = (*SETTINGS, "timm") if EVERYTHING else ("timm",)


def read_by_layers(file: onnx.ModelProto, images: npt.NDArray[Any]) -> dict[str, Tensor]:
    """What each rounded tensor of the file is, node by node in ONNX Runtime."""
    message = onnx.ModelProto()
    message.CopyFrom(file)
    constants = {tensor.name for tensor in file.graph.initializer}
    pairs = {one.output[0]: one.input[0] for one in file.graph.node if one.op_type == "QuantizeLinear"}
    names = {
        one.output[0]: pairs[one.input[0]]
        for one in file.graph.node
        if one.op_type == "DequantizeLinear" and one.input[0] in pairs and pairs[one.input[0]] not in constants
    }
    del message.graph.output[:]
    message.graph.output.extend(helper.make_tensor_value_info(one, onnx.TensorProto.FLOAT, None) for one in names)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(message.SerializeToString(), options, providers=["CPUExecutionProvider"])
    found = session.run(list(names), {INPUT: images})
    return {name: torch.from_numpy(values) for name, values in zip(names.values(), found, strict=True)}


class Compared(fx.Interpreter):
    """Each value from those that the file has before it."""

    def __init__(self, network: fx.GraphModule, right: Mapping[str, Tensor]) -> None:
        super().__init__(network)
        self.right, self.seen = right, list[str]()

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if not n.name.endswith(ROUNDED):
            return value
        name, scale = n.name.removesuffix(ROUNDED), n.args[1]
        assert isinstance(scale, float)
        off = ((value - self.right[name]) / scale).abs()
        assert off.max() < 1.01, name  # halves are rounded either way
        assert (off > 0.5).float().mean() < 0.001, name
        self.seen.append(name)
        return self.right[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_simulated_network_computes_what_its_file_does(name: str, colours: Path, tmp_path: Path) -> None:
    """Each tensor from those before it within a level; and every weight learns."""
    images = pictures(colours, 64)
    trained = Trained.of(checkpoint(name, tmp_path, images), torch.device("cpu"))
    network = graph.read(make(trained, Form()).content)

    def read() -> Generator[npt.NDArray[Any]]:
        yield images.numpy()

    ranges = calibrate.calibrate(network, read, Method())
    for layout in (Layout(for_tensorrt=True), Layout(reduce_range=True)):
        file = placing.place(network, ranges, layout, list(network.layers))
        computed = simulation(trained, network, ranges, layout)
        simulated = computed(trained.network)
        assert isinstance(simulated, fx.GraphModule)
        right = read_by_layers(file, images.numpy())
        compared = Compared(simulated, right)
        compared.run(images)
        assert computed.missing == ()
        assert len(compared.seen) > 10
        simulated(images).logsumexp(dim=1).sum().backward()
        gradients = [weight.grad for weight in trained.network.parameters()]
        assert all(one is not None and one.isfinite().all() for one in gradients)
        trained.network.zero_grad()
