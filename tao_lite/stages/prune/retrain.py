"""Training of a pruned network: by which spec, and in which folder."""

from pathlib import Path

from tao_lite.errors import CheckpointError
from tao_lite.files import reading
from tao_lite.run import Run
from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec.load import Spec
from tao_lite.stages.prune.subject import Subject
from tao_lite.stages.train import again


def spec_of(spec: Spec, subject: Subject, epochs: int) -> Spec:
    """The spec, to train the subject's network for so many epochs.

    Raises:
        SpecError: as `again.spec_of`.
    """
    return again.spec_of(spec, subject.found.experiment.model_config, epochs)


def claim(run: Run, config: pb.PruneConfig, source: Path) -> None:
    """Write down in the run's folder how the checkpoint at the source is pruned there, before it is done.

    Raises:
        RunError: as `again.claim`.
    """
    asked = pb.PruneConfig()
    asked.CopyFrom(config)
    for name in ("model_path", "output_path"):
        asked.ClearField(name)
    again.claim(run, {"prune_config": str(asked), "model": reading.digest(source, CheckpointError)})
