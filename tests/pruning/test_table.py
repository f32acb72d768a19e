"""Every architecture of the table, pruned: equal to its masked twin, saved and rebuilt, exported to ONNX."""

import copy
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from tao_lite import checkpoint as checkpoints
from tao_lite.checkpoint import Checkpoint
from tao_lite.models import architectures
from tao_lite.models.architectures import ARCHITECTURES
from tao_lite.pruning import plans, sizes, surgery
from tao_lite.pruning.criteria import Rule
from tao_lite.pruning.plans import Plan
from tao_lite.spec import classification_pb2 as pb
from tests.conftest import EVERYTHING

from . import zoo

RULE = Rule(threshold=0.5, granularity=4, min_num_filters=4)
CLASSES = ("a", "b", "c", "d")

# Settings that build other layers than the smallest network of the row has.
VARIANTS: Mapping[str, dict[str, object]] = {
    "resnet, deep": {"arch": "resnet", "n_layers": 50, "all_projections": True},
    "resnet, whole map": {"arch": "resnet", "n_layers": 10, "retain_head": True, "use_bias": True},
    "vgg, hidden layers": {"arch": "vgg", "n_layers": 16, "retain_head": True, "use_batch_norm": False},
    "alexnet, hidden layers": {"arch": "alexnet", "retain_head": True},
    "mobilenet_v2, projections": {"arch": "mobilenet_v2", "all_projections": True},
    "darknet, 53 layers": {"arch": "darknet", "n_layers": 53},
    "cspdarknet, 53 layers": {"arch": "cspdarknet", "n_layers": 53},
    "timm": {"arch": "timm/mobilenetv3_small_050"},
    "torchvision": {"arch": "torchvision/mobilenet_v3_small"},
}
SETTINGS = {**{name: {"arch": name, "n_layers": min(row.n_layers, default=0)} for name, row in ARCHITECTURES.items()}}
DEEP = {f"efficientnet_b{size}" for size in range(2, 8)}
SIZES = {"vgg, hidden layers": 32, "resnet, whole map": 32}


@dataclass(frozen=True)
class Case:
    name: str
    model: pb.ModelConfig
    network: nn.Module
    plan: Plan
    smaller: nn.Module
    images: Tensor

    @property
    def shape(self) -> tuple[int, int, int]:
        return architectures.input_shape(self.model)


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=pytest.mark.slow) if name in {*VARIANTS, *DEEP} else name
        for name in {**SETTINGS, **VARIANTS}
    ],
)
def case(request: pytest.FixtureRequest) -> Case:
    """An architecture and its pruned form; pytest holds one at a time."""
    name = request.param
    size = SIZES.get(name, 64)
    settings = {"use_batch_norm": True, **({**SETTINGS, **VARIANTS})[name], "input_image_size": f"3,{size},{size}"}
    model = pb.ModelConfig(**settings)  # type: ignore[arg-type]
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    # Colours of their own, as noise alone looks the same once it is pooled.
    images = torch.randn(4, 3, size, size, generator=generator) + 2 * torch.randn(4, 3, 1, 1, generator=generator)
    network = zoo.lively(architectures.build(model, len(CLASSES)), images)
    plan = plans.score(network, (3, size, size), RULE).plan()
    return Case(name, model, network, plan, surgery.cut(network, plan), images)


def logits(network: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        out: Tensor = network(images)
    return out


def test_a_pruned_network_computes_what_its_masked_twin_does(case: Case) -> None:
    expected, found = logits(surgery.mask(case.network, case.plan), case.images), logits(case.smaller, case.images)
    scale = float(expected.abs().max())
    assert float((found - expected).abs().max()) <= 1e-4 * scale
    # Images, and the network before the cut, are told apart by far more than the bound.
    assert float((expected.amax(dim=0) - expected.amin(dim=0)).max()) > 0.005 * scale
    assert float((logits(case.network, case.images) - expected).abs().max()) > 0.02 * scale
    surgery.check(case.network, case.plan, case.smaller, case.shape)


@pytest.mark.slow
def test_the_report_counts_the_parameters_that_are_there(case: Case) -> None:
    found = sizes.compare(case.network, case.smaller, case.shape)
    there = sum(parameter.numel() for parameter in case.smaller.parameters())
    assert found.parameters_after == sum(layer.parameters_after for layer in found.layers) == there
    assert plans.num_parameters(case.network, case.plan) == there < 0.8 * found.parameters_before
    assert 0 < found.macs_after < found.macs_before


@pytest.mark.slow
def test_a_saved_network_is_rebuilt_with_its_widths(case: Case, tmp_path: Path) -> None:
    experiment = pb.Experiment()
    experiment.model_config.CopyFrom(case.model)
    saved = Checkpoint(
        spec=str(experiment), class_names=CLASSES, preprocess={}, network=case.smaller.state_dict(), epoch=1
    )
    checkpoints.save(tmp_path / "pruned.pth", saved)
    rebuilt = checkpoints.network(checkpoints.load(tmp_path / "pruned.pth")).eval()
    assert torch.equal(logits(rebuilt, case.images), logits(case.smaller, case.images))


@pytest.mark.slow
def test_an_exported_network_gives_the_same_logits(case: Case) -> None:
    if case.name in VARIANTS and case.name != "timm":
        pytest.skip("one export for each row and one for the other libraries: each takes seconds")
    if not EVERYTHING and case.name.startswith("efficientnet") and case.name != "efficientnet_b0":
        pytest.skip("the larger ones have the same layers: EVERYTHING=1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter about its own future
        program = torch.onnx.export(
            copy.deepcopy(case.smaller), (case.images,), dynamo=True, verbose=False, optimize=False
        )
    assert program is not None
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString())
    found = session.run(None, {session.get_inputs()[0].name: case.images.numpy()})[0]
    expected = logits(case.smaller, case.images).numpy()
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()
