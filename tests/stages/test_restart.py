"""Where a run stands: the best epoch, the patience of early stopping, and which checkpoints stay."""

from dataclasses import asdict

import pytest
import torch
from google.protobuf import text_format

from tao_lite import checkpoint as checkpoints
from tao_lite.checkpoint import Checkpoint
from tao_lite.engine import EpochStats
from tao_lite.errors import RunError
from tao_lite.run import Run
from tao_lite.spec import classification_pb2 as pb
from tao_lite.stages import restart
from tao_lite.stages.restart import Progress


def experiment(n_epochs: int = 5) -> pb.Experiment:
    model = pb.ModelConfig(arch="resnet", n_layers=10, input_image_size="3,32,32")
    return pb.Experiment(model_config=model, train_config=pb.TrainConfig(n_epochs=n_epochs))


def checkpoint(epoch: int, batch: int = 0, n_epochs: int = 5) -> Checkpoint:
    return Checkpoint(
        spec=text_format.MessageToString(experiment(n_epochs)),
        class_names=("cat", "dog"),
        preprocess={},
        network={"fc.weight": torch.zeros(2)},
        epoch=epoch,
        batch=batch,
        training={"optimizer": {}},
    )


def files(run: Run) -> dict[str, str]:
    return {path.name: path.resolve().name for path in run.weights.iterdir()}


def test_the_best_epoch_is_the_most_accurate_and_of_equals_the_one_with_the_lower_loss() -> None:
    progress = Progress()
    results = [(0.5, 2.0), (0.7, 1.5), (0.7, 1.4), (0.7, 1.4), (0.6, 0.1)]
    assert [progress.validated(accuracy, loss, 0.0) for accuracy, loss in results] == [True, True, True, False, False]
    assert (progress.epoch, progress.best_epoch, progress.best_accuracy, progress.best_loss) == (5, 3, 0.7, 1.4)


def test_patience_counts_the_epochs_without_a_rise_of_at_least_min_delta() -> None:
    """min_delta 0.1: 0.55 is no rise over 0.5, 0.61 is one; the best epoch counts every rise."""
    progress = Progress()
    stale = []
    for accuracy in (0.5, 0.55, 0.58, 0.61, 0.6):
        progress.validated(accuracy, 1.0, 0.1)
        stale.append(progress.stale_epochs)
    assert stale == [0, 1, 2, 0, 1]
    assert progress.best_epoch == 4


def test_progress_comes_back_from_plain_data() -> None:
    progress = Progress(epoch=2, stats=EpochStats(loss_sum=1.5, correct=3, images=4, batches=2), best_accuracy=0.75)
    assert Progress.of(asdict(progress)) == progress


def test_the_last_and_the_best_checkpoints_stay(run: Run) -> None:
    run.weights.mkdir()
    run.pruned.write_text("of the user")
    best_after = {1: 1, 2: 2, 3: 2, 4: 2, 5: 2}
    for epoch, best in best_after.items():
        run.interrupted.write_text("older")
        restart.save(run, checkpoint(epoch), keep_last=2, best_epoch=best)
    assert files(run) == {
        "resnet_002.pth": "resnet_002.pth",
        "resnet_004.pth": "resnet_004.pth",
        "resnet_005.pth": "resnet_005.pth",
        "best.pth": "resnet_002.pth",
        "latest.pth": "resnet_005.pth",
        "pruned.pth": "pruned.pth",
    }


def test_a_run_goes_on_from_the_checkpoint_that_is_furthest(run: Run) -> None:
    restart.save(run, checkpoint(3), keep_last=1, best_epoch=3)
    checkpoints.save(run.interrupted, checkpoint(3, batch=7))
    found = restart.resume_point(run, experiment(), ("cat", "dog"))
    assert found is not None
    assert (found.epoch, found.batch) == (3, 7)


def test_an_empty_folder_starts_anew(run: Run) -> None:
    assert restart.resume_point(run, experiment(), ("cat", "dog")) is None


def test_init_epoch_goes_back_to_the_epoch_before_it(run: Run) -> None:
    for epoch in (1, 2, 3):
        restart.save(run, checkpoint(epoch), keep_last=3, best_epoch=3)
    asked = experiment()
    asked.train_config.checkpoint.init_epoch = 3
    found = restart.resume_point(run, asked, ("cat", "dog"))
    assert found is not None
    assert found.epoch == 2


def test_init_epoch_1_refuses_a_folder_with_checkpoints(run: Run) -> None:
    restart.save(run, checkpoint(1), keep_last=1, best_epoch=1)
    asked = experiment()
    asked.train_config.checkpoint.init_epoch = 1
    with pytest.raises(RunError, match=r"init_epoch 1 starts anew, but .*weights is not empty; choose another folder"):
        restart.resume_point(run, asked, ("cat", "dog"))


def test_other_classes_are_refused_by_name(run: Run) -> None:
    restart.save(run, checkpoint(1), keep_last=1, best_epoch=1)
    with pytest.raises(RunError, match=r"was trained on the classes cat, dog; now they are cat, fox; choose another"):
        restart.resume_point(run, experiment(), ("cat", "fox"))


def test_a_changed_setting_is_named_and_allowed(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    restart.save(run, checkpoint(1, n_epochs=4), keep_last=1, best_epoch=1)
    assert restart.resume_point(run, experiment(n_epochs=9), ("cat", "dog")) is not None
    assert "resumed with a changed setting: train_config.n_epochs: 4 -> 9" in caplog.text
