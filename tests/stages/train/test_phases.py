"""What is frozen in a phase."""

import pytest

from tao_lite.models import architectures
from tao_lite.spec import classification_pb2 as pb
from tao_lite.stages.train import phases


@pytest.mark.parametrize("compat", [pb.Compat.CORRECTED, pb.Compat.TAO_EXACT])
def test_blocks_before_the_last_ones_stay_whole_also_where_tao_is_followed(compat: pb.Compat.Mode.ValueType) -> None:
    """TAO has no trained_blocks; of freeze_blocks its batch normalisation goes on training."""
    model = pb.ModelConfig(arch="resnet", n_layers=10, use_batch_norm=True, input_image_size="3,32,32")
    network = architectures.build(model, 3)
    model.trained_blocks = 2
    frozen = phases.apply(pb.Experiment(compat=compat, model_config=model), network, is_frozen=True)
    assert {name.partition(".")[0] for name in frozen.modules} == {"conv1", "bn1", "layer1", "layer2"}
    trained = {name.partition(".")[0] for name, weight in network.named_parameters() if weight.requires_grad}
    assert trained == {"layer3", "layer4", "fc"}
    assert phases.apply(pb.Experiment(compat=compat, model_config=model), network, is_frozen=False).modules == ()
