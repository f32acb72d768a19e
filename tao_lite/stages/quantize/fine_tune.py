"""Fine-tuning: the network learns to be right in INT8, by a training that computes as its file will."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from torch import nn

from tao_lite.errors import CheckpointError
from tao_lite.files import reading
from tao_lite.monitor import console
from tao_lite.run import Run
from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec import schema
from tao_lite.spec.load import Spec
from tao_lite.stages.train import again
from tao_lite.training.trained import Trained


def fine_tune(spec: Spec, run: Run, trained: Trained, computed: Callable[[nn.Module], nn.Module]) -> Path:
    """The checkpoint that quantize_config.fine_tune_epochs of training in the run's folder lead to, the best of them.

    It goes on where it stopped, and is not done twice.

    Raises:
        TaoLiteError: as `train`; the spec lacks what training needs; or the folder is another network's.
        Interrupted: as `train`.
    """
    config = spec.experiment.quantize_config
    own = replace(run, results=run.fine_tuning)
    network = reading.digest(trained.path, CheckpointError)
    again.claim(own, {"quantize_config": str(_numbers(config)), "model": network})
    console.line(f"Training in simulated INT8 for {config.fine_tune_epochs} epochs, in {own.results}")
    again.retrain(_spec(spec, trained), own, trained.path, computed)
    return own.best


def _numbers(config: pb.QuantizeConfig) -> pb.QuantizeConfig:
    """The config without what fine-tuning does not depend on."""
    found = pb.QuantizeConfig()
    found.CopyFrom(config)
    found.ClearField("max_accuracy_drop")
    return found


def _spec(spec: Spec, trained: Trained) -> Spec:
    """The spec's training, shorter, at a share of its learning rate and with the network in float as teacher."""
    config = spec.experiment.quantize_config
    experiment = pb.Experiment()
    experiment.CopyFrom(spec.experiment)
    training = experiment.train_config
    # These would train something else than the whole network, or at another size than the simulated one's.
    for field in ("linear_probe", "unfreeze_at_epoch", "progressive_resize"):
        training.ClearField(field)
    training.precision = pb.Precision.FP32  # fewer digits do not hold the levels
    if not training.HasField("distillation"):
        training.distillation.teacher_path = str(trained.path.absolute())
    if scheduler := training.lr_config.WhichOneof("lr_scheduler"):
        getattr(training.lr_config, scheduler).learning_rate *= schema.as_written(config.fine_tune_rate)
    found = replace(spec, experiment=experiment)
    return again.spec_of(found, trained.found.experiment.model_config, config.fine_tune_epochs)
