"""Cross-validation: a training for each part of the data, without it, and what that says of networks trained so."""

from tao_lite.files import writing
from tao_lite.monitor import console
from tao_lite.run import Run, Summary
from tao_lite.spec.load import Spec
from tao_lite.stages.cross_validate import figures, page, predictions, trainings
from tao_lite.stages.train import claim


def cross_validate(spec: Spec, run: Run, num_folds: int) -> Summary:
    """Train without each of so many parts of the training data, and predict it; the summary is cross_validate.json.

    Raises:
        TaoLiteError: the data does not allow so many folds, the folder is in use or another run's, or a training fails.
        Interrupted: SIGINT or SIGTERM came; the same command goes on there.
    """
    ours = trainings.spec_of(spec, num_folds)
    with run.hold():
        claim.claim(ours, run)
        if run.is_main and spec.experiment.train_config.val_dataset_path:
            console.line("train_config.val_dataset_path is not read: the folds are of the training images")
        trainings.run_all(ours, run)
        # The other processes leave, for they would not be waited for as long as this may take.
        return _concluded(ours, run) if run.is_main else {}


def _concluded(spec: Spec, run: Run) -> Summary:
    found = predictions.predict_all(spec, run)
    predictions.write(found, run)
    fold = spec.experiment.dataset_config.fold
    summary = {
        "folds": fold.num_folds,
        "seed": fold.seed,
        **figures.summary(found),
        "folds_csv": str(run.folds_csv),
    }
    figures.show(found)
    page.write(found, run)
    writing.write_json(run.summary("cross_validate"), summary)
    console.line(f"Wrote {run.summary('cross_validate')} and {run.folds_csv}")
    return summary
