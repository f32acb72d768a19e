"""The trainings of a cross-validation: an ordinary run for each fold, in a folder of its own, and none done twice."""

from dataclasses import replace

from tao_lite.errors import DivergedError, RunError, SpecError
from tao_lite.monitor import console
from tao_lite.run import Run
from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec import tasks
from tao_lite.spec.load import Spec
from tao_lite.stages.train.claim import ELSEWHERE
from tao_lite.stages.train.train import Demands, train


def spec_of(spec: Spec, num_folds: int) -> Spec:
    """The spec with its training data in so many folds, the first of which validates.

    They are dealt out by the seed of the spec's own fold, where it has one, else by its random_seed.

    Raises:
        SpecError: its data has several tasks.
    """
    if tasks.is_used(spec.experiment):
        raise SpecError(
            f"{spec.path}: dataset_config.format: found MULTITASK, but cross-validate takes networks of one task only; "
            "dataset_config.fold holds out one fold in a training"
        )
    experiment = pb.Experiment()
    experiment.CopyFrom(spec.experiment)
    train_config, data = experiment.train_config, experiment.dataset_config
    seed = data.fold.seed if data.HasField("fold") else train_config.random_seed
    data.fold.CopyFrom(pb.FoldConfig(num_folds=num_folds, number=1, seed=seed))
    train_config.ClearField("val_dataset_path")
    data.ClearField("val_split")
    if train_config.checkpoint.init_epoch:
        train_config.checkpoint.ClearField("init_epoch")
    return replace(spec, experiment=experiment)


def of_fold(spec: Spec, number: int) -> Spec:
    """The spec with that fold for validation."""
    experiment = pb.Experiment()
    experiment.CopyFrom(spec.experiment)
    experiment.dataset_config.fold.number = number
    return replace(spec, experiment=experiment)


def run_of(run: Run, number: int) -> Run:
    """The run of a fold."""
    return replace(run, results=run.fold(number))


def run_all(spec: Spec, run: Run) -> None:
    """Train each fold, unless that is done. One whose loss grows without bound doesn't stop the others.

    Raises:
        TaoLiteError: as `train`; once all are trained that can be, a RunError that names those which can't.
        Interrupted: as `train`; the same command goes on there.
    """
    num_folds, failed = spec.experiment.dataset_config.fold.num_folds, dict[int, str]()
    for number in range(1, num_folds + 1):
        own = run_of(run, number)
        if run.is_main:
            console.line(f"Fold {number} of {num_folds}: {own.results}")
        try:
            train(of_fold(spec, number), own, Demands(same_data=True, otherwise=ELSEWHERE))
        except DivergedError as error:
            # Of several processes, the others may not know yet.
            if run.world.world_size > 1:
                raise
            failed[number] = str(error)
            console.line(f"Fold {number} failed: {error}")
        run.world.barrier()
    if failed:
        number, why = next(iter(failed.items()))
        raise RunError(
            f"{run.results}: {len(failed)} of {num_folds} folds failed ({', '.join(map(str, failed))}), so that some "
            f"images have no prediction; the others are kept. Fold {number} said: {why}"
        )
