"""Where a run stands: which checkpoints stay, and what it goes on from."""

from dataclasses import replace

import pytest
import torch
from google.protobuf import text_format

from tao_lite import checkpoint as checkpoints
from tao_lite.checkpoint import Checkpoint
from tao_lite.errors import CheckpointError, RunError
from tao_lite.run import Run
from tao_lite.spec import classification_pb2 as pb
from tao_lite.stages.train import restart
from tao_lite.stages.train.progress import Progress
from tests.checkpoints import training


def experiment(n_epochs: int = 5, arch: str = "resnet") -> pb.Experiment:
    model = pb.ModelConfig(arch=arch, n_layers=10, input_image_size="3,32,32")
    return pb.Experiment(model_config=model, train_config=pb.TrainConfig(n_epochs=n_epochs))


def checkpoint(epoch: int, batch: int = 0, n_epochs: int = 5) -> Checkpoint:
    return Checkpoint(
        spec=text_format.MessageToString(experiment(n_epochs)),
        class_names=("cat", "dog"),
        preprocess={},
        network={"fc.weight": torch.zeros(2)},
        epoch=epoch,
        batch=batch,
        training=training(),
    )


def files(run: Run) -> dict[str, str]:
    return {path.name: path.resolve(strict=True).name for path in run.weights.iterdir()}


def back_to(epoch: int) -> pb.Experiment:
    asked = experiment()
    asked.train_config.checkpoint.init_epoch = epoch + 1
    return asked


def test_the_last_and_the_best_checkpoints_stay(run: Run) -> None:
    run.weights.mkdir()
    run.pruned.write_text("of the user")
    best_after = {1: 1, 2: 2, 3: 2, 4: 2, 5: 2}
    for epoch, best in best_after.items():
        run.interrupted.write_text("older")
        restart.save(run, "resnet", checkpoint(epoch), keep_last=2, best_epoch=best)
    assert files(run) == {
        "resnet_002.pth": "resnet_002.pth",
        "resnet_004.pth": "resnet_004.pth",
        "resnet_005.pth": "resnet_005.pth",
        "best.pth": "resnet_002.pth",
        "latest.pth": "resnet_005.pth",
        "pruned.pth": "pruned.pth",
    }


@pytest.mark.parametrize("arch", ["resnet", "timm/resnet18.a1_in1k"])
def test_only_what_the_run_names_so_is_removed(run: Run, arch: str) -> None:
    own = arch.replace("/", "_")
    of_the_user = {"mine_001.pth", f"{own}_best_001.pth", f"{own}_0001.pth", "pruned_050.pth"}
    run.weights.mkdir()
    for name in of_the_user:
        (run.weights / name).write_text("of the user")
    text = text_format.MessageToString(experiment(arch=arch))
    for epoch in (1, 2, 3):
        restart.save(run, arch, replace(checkpoint(epoch), spec=text), keep_last=1, best_epoch=3)
    assert set(files(run)) == {*of_the_user, f"{own}_002.pth", f"{own}_003.pth", "best.pth", "latest.pth"}


def test_best_is_the_best_there_is_while_the_best_epoch_could_not_be_saved(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    """Of epochs 1 to 5 the third is the best and has no file: the best of the others was 1, then is 5."""
    for epoch, accuracy in {1: 0.6, 2: 0.5, 4: 0.4, 5: 0.7}.items():
        saved = replace(checkpoint(epoch), metrics={"val_accuracy": accuracy, "val_loss": 1.0})
        restart.save(run, "resnet", saved, keep_last=1, best_epoch=1 if epoch < 3 else 3)
        assert files(run)["best.pth"] == ("resnet_005.pth" if epoch == 5 else "resnet_001.pth")
    assert set(files(run)) == {"resnet_004.pth", "resnet_005.pth", "best.pth", "latest.pth"}
    assert f"epoch 3, the best, has no checkpoint; {run.best} is resnet_001.pth" in caplog.text


def test_going_back_leaves_the_folder_of_a_run_that_was_never_further(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    for epoch in (4, 18, 19, 20):
        restart.save(run, "resnet", checkpoint(epoch), keep_last=9, best_epoch=19 if epoch > 18 else epoch)
    checkpoints.save(run.interrupted, checkpoint(20, batch=3))
    pruned = run.checkpoint("resnet", 50)
    checkpoints.save(pruned, replace(checkpoint(50), training={}))
    found = restart.resume_point(run, back_to(4), ("cat", "dog"))
    assert found is not None
    # The best epoch of that time has no file any more.
    restart.go_back(run, "resnet", Progress(epoch=found.epoch, best_epoch=3))
    whole = {"resnet_004.pth": "resnet_004.pth", "resnet_050.pth": "resnet_050.pth", "abandoned": "abandoned"}
    assert files(run) == {**whole, "best.pth": "resnet_004.pth", "latest.pth": "resnet_004.pth"}
    moved = "resnet_018.pth", "resnet_019.pth", "resnet_020.pth", "interrupted.pth"
    assert {path.name for path in run.abandoned.iterdir()} == set(moved)
    assert f"Went back to epoch 4: {', '.join(moved)} moved to {run.abandoned}" in caplog.text

    restart.save(run, "resnet", checkpoint(5), keep_last=1, best_epoch=5)
    assert files(run) == {
        **whole,
        "resnet_005.pth": "resnet_005.pth",
        "best.pth": "resnet_005.pth",
        "latest.pth": "resnet_005.pth",
    }
    resumed = restart.resume_point(run, experiment(), ("cat", "dog"))
    assert resumed is not None
    assert resumed.epoch == 5


def test_going_back_to_where_the_run_is_moves_nothing(run: Run) -> None:
    restart.save(run, "resnet", checkpoint(4), keep_last=1, best_epoch=4)
    before = files(run)
    restart.go_back(run, "resnet", Progress(epoch=4, best_epoch=4))
    assert files(run) == before


def test_a_pruned_network_is_no_point_to_go_on_from(run: Run) -> None:
    for name in ("pruned_050.pth", "resnet_050.pth"):
        checkpoints.save(run.weights / name, replace(checkpoint(50), training={}))
    assert restart.resume_point(run, experiment(), ("cat", "dog")) is None
    with pytest.raises(CheckpointError, match=r"resnet_050\.pth: is not what a training saved after epoch 50; with "):
        restart.resume_point(run, back_to(50), ("cat", "dog"))


def test_a_copy_under_another_name_is_no_point_to_go_on_from(run: Run) -> None:
    restart.save(run, "resnet", checkpoint(2), keep_last=1, best_epoch=2)
    checkpoints.save(run.weights / "mine_003.pth", checkpoint(3))
    found = restart.resume_point(run, experiment(), ("cat", "dog"))
    assert found is not None
    assert found.epoch == 2


def test_the_checkpoints_of_another_architecture_are_refused(run: Run) -> None:
    restart.save(run, "resnet", checkpoint(1), keep_last=1, best_epoch=1)
    with pytest.raises(RunError, match=r"another network \(model_config\.arch: resnet -> vgg\)"):
        restart.resume_point(run, experiment(arch="vgg"), ("cat", "dog"))


def test_a_run_goes_on_from_the_checkpoint_that_is_furthest(run: Run) -> None:
    restart.save(run, "resnet", checkpoint(3), keep_last=1, best_epoch=3)
    checkpoints.save(run.interrupted, checkpoint(3, batch=7))
    found = restart.resume_point(run, experiment(), ("cat", "dog"))
    assert found is not None
    assert (found.epoch, found.batch) == (3, 7)


def test_an_empty_folder_starts_anew(run: Run) -> None:
    assert restart.resume_point(run, experiment(), ("cat", "dog")) is None


def test_init_epoch_goes_back_to_the_epoch_before_it(run: Run) -> None:
    for epoch in (1, 2, 3):
        restart.save(run, "resnet", checkpoint(epoch), keep_last=3, best_epoch=3)
    found = restart.resume_point(run, back_to(2), ("cat", "dog"))
    assert found is not None
    assert found.epoch == 2


def test_init_epoch_1_refuses_a_folder_with_checkpoints(run: Run) -> None:
    restart.save(run, "resnet", checkpoint(1), keep_last=1, best_epoch=1)
    with pytest.raises(RunError, match=r"init_epoch 1 starts anew, but .*weights is not empty; choose another folder"):
        restart.resume_point(run, back_to(0), ("cat", "dog"))


def test_other_classes_are_refused_by_name(run: Run) -> None:
    restart.save(run, "resnet", checkpoint(1), keep_last=1, best_epoch=1)
    # FIELD.md D8.
    words = (
        r"was trained on the classes cat, dog; now they are cat, fox; choose another .*pretrained_model_path to .*best"
    )
    with pytest.raises(RunError, match=words):
        restart.resume_point(run, experiment(), ("cat", "fox"))


def test_a_changed_setting_is_named_and_allowed(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    restart.save(run, "resnet", checkpoint(1, n_epochs=4), keep_last=1, best_epoch=1)
    assert restart.resume_point(run, experiment(n_epochs=9), ("cat", "dog")) is not None
    assert "resumed with a changed setting: train_config.n_epochs: 4 -> 9" in caplog.text


def test_the_better_of_those_that_are_there_is_the_one_with_less_loss_where_that_is_asked_for(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    asked = experiment()
    asked.train_config.checkpoint.best_metric = pb.BestMetric.LOSS
    for epoch, loss in {1: 0.6, 2: 0.7, 4: 0.5}.items():
        metrics = {"val_accuracy": 1 - epoch / 10, "val_loss": loss}
        saved = replace(checkpoint(epoch), spec=text_format.MessageToString(asked), metrics=metrics)
        restart.save(run, "resnet", saved, keep_last=9, best_epoch=1 if epoch < 3 else 3)
    assert files(run)["best.pth"] == "resnet_004.pth"
    assert "epoch 3, the best, has no checkpoint" in caplog.text


def test_a_run_whose_epochs_were_compared_by_another_metric_is_refused(run: Run) -> None:
    asked = experiment()
    asked.train_config.checkpoint.best_metric = pb.BestMetric.MACRO_F1
    checkpoints.save(run.interrupted, checkpoint(0, batch=2))
    assert restart.resume_point(run, asked, ("cat", "dog"))  # no epoch is done
    restart.save(run, "resnet", checkpoint(1), keep_last=1, best_epoch=1)
    with pytest.raises(RunError) as caught:
        restart.resume_point(run, asked, ("cat", "dog"))
    assert str(caught.value) == (
        f"{run.results}: train_config.checkpoint.best_metric is MACRO_F1, and the 1 epochs that are done were compared "
        "by TOP1; set it to TOP1 again, choose another folder with -r, or begin anew with --fresh"
    )
