"""The channels that stay of TAO's ResNet-18 against a second implementation of its rule."""

import functools
from itertools import pairwise

import pytest
import torch
from torch import nn

from tao_lite.models import architectures
from tao_lite.pruning import criteria, plans
from tao_lite.pruning.criteria import Rule
from tao_lite.spec import classification_pb2 as pb

from . import oracle

# A threshold in the middle of each normaliser's scores; union of "max" keeps most, intersection of "L2" few.
THRESHOLDS = {"max": 0.6, "L2": 13.0}


@functools.cache
def tao_resnet18() -> nn.Module:
    """With fixed weights: filters of very different norms, other ones in every layer."""
    model = pb.ModelConfig(arch="resnet", n_layers=18, use_batch_norm=True, all_projections=True)
    model.input_image_size = "3,64,64"
    network = architectures.build(model, num_classes=20)
    generator = torch.Generator().manual_seed(18)
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            scale = torch.rand(layer.out_channels, 1, 1, 1, generator=generator) + 0.1
            layer.weight.data = scale * torch.randn(layer.weight.shape, generator=generator)
    return network


@pytest.mark.parametrize("granularity", [1, 8, 32])
@pytest.mark.parametrize("normalizer", ["max", "L2"])
@pytest.mark.parametrize("criterion", criteria.EQUALIZATION_CRITERIA)
def test_the_channels_of_tao_resnet18_are_those_of_a_second_implementation(
    criterion: str, normalizer: str, granularity: int
) -> None:
    network, threshold = tao_resnet18(), THRESHOLDS[normalizer]
    rule = Rule(
        normalizer=normalizer,
        equalization_criterion=criterion,
        threshold=threshold,
        granularity=granularity,
        min_num_filters=16,
    )
    plan = plans.score(network, (3, 64, 64), rule).plan()
    shares = []
    for names in oracle.coupled_layers_of_tao_resnet18():
        expected = oracle.kept(
            [network.get_parameter(f"{name}.weight").detach().numpy() for name in names],
            normalizer=normalizer,
            criterion=criterion,
            threshold=threshold,
            granularity=granularity,
            minimum=16,
        )
        for name in names:
            assert plan.outputs[name].tolist() == expected, name
        shares.append(len(expected) / len(network.get_parameter(f"{names[0]}.weight")))
    assert plan.outputs["fc"].tolist() == list(range(20))
    # The setting is one that decides something: layers lose part of their filters, and not all the same part.
    assert min(shares) < 0.9
    assert max(shares) > min(shares)


def test_every_convolution_reads_what_the_one_before_it_kept() -> None:
    plan = plans.score(tao_resnet18(), (3, 64, 64), Rule(threshold=0.6)).plan()
    units = [f"layer{stage}.{unit}" for stage in (1, 2, 3, 4) for unit in (0, 1)]
    assert plan.inputs["layer1.0.conv1"].tolist() == plan.outputs["conv1"].tolist()
    for unit in units:
        assert plan.inputs[f"{unit}.conv2"].tolist() == plan.outputs[f"{unit}.conv1"].tolist()
    for unit, following in pairwise(units):
        for reader in ("conv1", "downsample.0"):
            assert plan.inputs[f"{following}.{reader}"].tolist() == plan.outputs[f"{unit}.conv2"].tolist()
    assert plan.inputs["fc"].tolist() == plan.outputs["layer4.1.conv2"].tolist()
