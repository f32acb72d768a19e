"""Training of a checkpoint's network in a folder of its own, that goes on where it stopped and is not done twice."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from torch import nn

from tao_lite.errors import RunError
from tao_lite.files import reading, writing
from tao_lite.run import Run, Summary
from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec.load import Spec, load_text
from tao_lite.stages import preflight
from tao_lite.stages.train.phases import as_it_is
from tao_lite.stages.train.train import Demands, train


def spec_of(spec: Spec, model_config: pb.ModelConfig, epochs: int) -> Spec:
    """The spec, to train a checkpoint's network for so many epochs.

    Raises:
        SpecError: it lacks what training needs.
    """
    experiment = pb.Experiment()
    experiment.CopyFrom(spec.experiment)
    experiment.model_config.CopyFrom(model_config)
    for field in ("prune_config", "quantize_config"):
        experiment.ClearField(field)
    train_config = experiment.train_config
    train_config.n_epochs = epochs
    # What it says is written out; what a stage has cleared would come back.
    train_config.ClearField("recipe")
    # A checkpoint of tao_lite comes in the place of these weights, whatever they are.
    train_config.ClearField("pretrained_model_path")
    if train_config.HasField("checkpoint"):
        train_config.checkpoint.ClearField("init_epoch")
    text = replace(spec, experiment=experiment).text()
    return load_text(text, Path(f"{spec.path} for retraining"), check=preflight.check, running=True)


def retrain(spec: Spec, run: Run, checkpoint: Path, computed: Callable[[nn.Module], nn.Module] = as_it_is) -> Summary:
    """Train the checkpoint in the run's folder, unless that is done there; the summary is train.json.

    Raises:
        TaoLiteError: as `train`.
        Interrupted: as `train`.
    """
    done = run.summary("train")
    if is_there(done, run):
        found: Summary = reading.read_json(done, RunError)
        return found
    experiment = pb.Experiment()
    experiment.CopyFrom(spec.experiment)
    experiment.train_config.pretrained_model_path = str(checkpoint.absolute())
    summary = train(replace(spec, experiment=experiment), run, Demands(computed=computed))
    run.world.barrier()
    return summary


def claim(run: Run, settings: Mapping[str, object]) -> None:
    """Write down what is done in the run's folder, before it is done.

    Raises:
        RunError: something else was begun there.
    """
    path = run.summary("settings")
    if path.is_file() and (found := reading.read_json(path, RunError)) != settings:
        names = " and ".join(name for name in settings if found.get(name) != settings[name])
        raise RunError(
            f"{run.results}: was begun with another {names}; choose another folder with -r, or delete this one"
        )
    run.world.barrier()
    if run.is_main:
        writing.write_json(path, settings)
    run.world.barrier()


def is_there(path: Path, run: Run) -> bool:
    """Whether the file was there before any of the processes went on, so that all go the same way."""
    found = path.is_file()
    run.world.barrier()
    return found
