"""What a training has done: the best epoch, by whichever metric, and the patience of early stopping."""

from dataclasses import replace

import pytest

from tao_lite.metrics.best import METRICS, TOP1
from tao_lite.metrics.counts import Evaluation, Scores
from tao_lite.stages.train.progress import Progress
from tao_lite.training.interval import EpochStats


def result(accuracy: float, loss: float = 1.0, f1: float = 0.0, recall: float = 0.0) -> Evaluation:
    scores = Scores(precision=0, recall=recall, f1=f1, support=1)
    return Evaluation(
        num_images=1,
        num_non_finite=0,
        top1=accuracy,
        top_k=1,
        k=1,
        loss=loss,
        per_class=(scores,),
        macro=scores,
        weighted=scores,
        confusion_matrix=((1,),),
        class_names=("a",),
    )


def test_the_best_epoch_is_the_most_accurate_and_of_equals_the_one_with_the_lower_loss() -> None:
    progress = Progress()
    results = [result(*one) for one in ((0.5, 2.0), (0.7, 1.5), (0.7, 1.4), (0.7, 1.4), (0.6, 0.1))]
    assert [progress.validated(one, TOP1, 0.0) for one in results] == [True, True, True, False, False]
    assert (progress.epoch, progress.best_epoch, progress.best_accuracy, progress.best_loss) == (5, 3, 0.7, 1.4)


@pytest.mark.parametrize(
    ("name", "best_epoch", "value"),
    [("TOP1", 1, 0.9), ("MACRO_F1", 2, 0.8), ("BALANCED_ACCURACY", 3, 0.7), ("LOSS", 4, 0.3)],
)
def test_each_metric_has_its_own_best_epoch(name: str, best_epoch: int, value: float) -> None:
    """Each epoch is the best by one of them; accuracy and loss of the best epoch are kept for all."""
    progress, metric = Progress(), METRICS[name]
    results = [
        result(0.9, 0.9, f1=0.1, recall=0.1),
        result(0.6, 0.8, f1=0.8, recall=0.2),
        result(0.5, 0.7, f1=0.3, recall=0.7),
        result(0.4, 0.3, f1=0.2, recall=0.3),
        result(0.1, 1.0, f1=0.0, recall=0.0),
    ]
    for one in results:
        progress.validated(one, metric, 0.0)
        progress = Progress.of(progress.values())
    best = results[best_epoch - 1]
    assert (progress.best_epoch, progress.best(metric)) == (best_epoch, value)
    assert (progress.best_accuracy, progress.best_loss) == (best.top1, best.loss)
    assert progress.stale_epochs == 5 - best_epoch


def test_patience_counts_the_epochs_without_a_rise_of_at_least_min_delta() -> None:
    """min_delta 0.1: 0.55 is no rise over 0.5, 0.61 is one; the best epoch counts every rise."""
    progress = Progress()
    stale = []
    for accuracy in (0.5, 0.55, 0.58, 0.61, 0.6):
        progress.validated(result(accuracy), TOP1, 0.1)
        stale.append(progress.stale_epochs)
    assert stale == [0, 1, 2, 0, 1]
    assert progress.best_epoch == 4


def test_of_a_loss_patience_counts_the_epochs_without_such_a_fall() -> None:
    progress, stale = Progress(), []
    for loss in (7.0, 6.95, 6.92, 6.89, 7.5):
        progress.validated(result(0.5, loss), METRICS["LOSS"], 0.1)
        stale.append(progress.stale_epochs)
    assert stale == [0, 1, 2, 0, 1]
    assert (progress.best_epoch, progress.best_loss) == (4, 6.89)


def test_progress_comes_back_from_plain_data() -> None:
    progress = Progress(epoch=2, stats=EpochStats(loss_sum=1.5, correct=3, images=4, batches=2), best_accuracy=0.75)
    assert Progress.of(progress.values()) == progress


def test_the_training_loss_of_the_best_epoch_is_kept() -> None:
    progress = Progress()
    for accuracy, loss_sum in ((0.5, 8.0), (0.7, 6.0), (0.6, 2.0)):
        progress.stats = EpochStats(loss_sum=loss_sum, images=4)
        progress.validated(result(accuracy), TOP1, 0.0)
    assert progress.best_train_loss == 1.5


def test_a_run_that_did_not_keep_it_yet_goes_on() -> None:
    older = Progress(epoch=2, best_epoch=1, best_accuracy=0.5).values()
    del older["best_train_loss"]
    progress = Progress.of(older)
    assert progress.best_train_loss is None
    assert not replace(progress).validated(result(0.4), TOP1, 0.0)
    assert progress.validated(result(0.6), TOP1, 0.0)
