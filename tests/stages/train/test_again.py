"""What is trained again is what the stage wants of the spec."""

from dataclasses import replace
from pathlib import Path

from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec.load import load_text
from tao_lite.stages.train import again

SPEC = """model_config { arch: "resnet" n_layers: 18 use_batch_norm: true input_image_size: "3,64,64" }
train_config { train_dataset_path: "%s" preprocess_mode: "torch" recipe: FINE_TUNE }
"""


def test_what_a_stage_has_cleared_does_not_come_back_from_a_recipe(tmp_path: Path) -> None:
    spec = load_text(SPEC % tmp_path, Path("a.cfg"))
    experiment = pb.Experiment()
    experiment.CopyFrom(spec.experiment)
    assert experiment.train_config.linear_probe
    experiment.train_config.ClearField("linear_probe")
    found = again.spec_of(replace(spec, experiment=experiment), experiment.model_config, 2).experiment
    assert not found.train_config.linear_probe
    assert (found.train_config.n_epochs, found.train_config.batch_size_per_gpu) == (2, 16)
    assert found.model_config.freeze_bn
