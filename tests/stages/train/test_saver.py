"""Checkpoints written while the training goes on."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

import pytest
import torch

from tao_lite import checkpoint as checkpoints
from tao_lite.errors import RunError
from tao_lite.run import Run
from tao_lite.stages.train.saver import ATTEMPTS, Saver
from tests.checkpoints import training
from tests.stages.train.test_restart import checkpoint


@contextmanager
def full_disk(run: Run) -> Iterator[None]:
    """A file in the place of the folder: whatever is written below it fails."""
    run.weights.mkdir(exist_ok=True)
    aside = run.weights.rename(run.results / "aside")
    run.weights.touch()
    yield
    run.weights.unlink()
    aside.rename(run.weights)


def save(saver: Saver, epoch: int) -> None:
    saver.save(checkpoint(epoch), 1, epoch)


def test_what_is_saved_is_what_was_there_at_that_moment(run: Run) -> None:
    weights = torch.arange(200_000.0).reshape(2, 100, 1000)
    state = {0: {"step": torch.tensor(3.0), "momentum": weights + 1}}
    moments = {"state": state, "param_groups": [{"lr": 0.1, "params": [0]}]}
    given = replace(checkpoint(1), network={"w": weights}, training=training(optimizer=moments, threads=2))
    with Saver(run, "resnet") as saver:
        saver.save(given, 1, 1)
        for tensor in (weights, state[0]["momentum"], state[0]["step"]):
            tensor.zero_()
        saver.settle(is_last=True)
    found = checkpoints.load(run.best)
    assert torch.equal(found.network["w"], torch.arange(200_000.0).reshape(2, 100, 1000))
    assert torch.equal(found.training["optimizer"]["state"][0]["momentum"], found.network["w"] + 1)
    assert found.training["optimizer"]["state"][0]["step"] == 3
    assert found.training["optimizer"]["param_groups"] == [{"lr": 0.1, "params": [0]}]
    assert found.training["threads"] == 2


def test_leaving_waits_for_the_file_whatever_ended_the_training(run: Run) -> None:
    with suppress(KeyboardInterrupt), Saver(run, "resnet") as saver:
        save(saver, 1)
        raise KeyboardInterrupt
    assert checkpoints.load(run.latest).epoch == 1


def test_a_failed_save_is_logged_and_the_training_goes_on(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    with Saver(run, "resnet") as saver:
        for epoch in range(1, 2 * ATTEMPTS, 2):
            with full_disk(run):
                save(saver, epoch)
                saver.settle()
            save(saver, epoch + 1)
            saver.settle(is_last=True)
    assert caplog.text.count("the last checkpoint stays, the training goes on") == ATTEMPTS
    assert checkpoints.load(run.latest).epoch == 2 * ATTEMPTS


def test_the_best_epoch_that_could_not_be_saved_is_saved_with_the_next(run: Run) -> None:
    with Saver(run, "resnet") as saver:
        with full_disk(run):
            save(saver, 1)
            saver.settle()
        saver.save(checkpoint(2), 1, 1)
        saver.settle(is_last=True)
    assert checkpoints.load(run.best).epoch == 1
    assert checkpoints.load(run.latest).epoch == 2


def test_a_disk_that_stays_full_ends_the_training(run: Run) -> None:
    with full_disk(run), Saver(run, "resnet") as saver:
        for epoch in range(1, ATTEMPTS + 1):
            save(saver, epoch)
        with pytest.raises(RunError, match=r"resnet_003\.pth"):
            save(saver, ATTEMPTS + 1)


def test_a_failure_of_the_last_checkpoint_is_an_error(run: Run) -> None:
    with full_disk(run), Saver(run, "resnet") as saver:
        save(saver, 1)
        with pytest.raises(RunError, match=r"resnet_001\.pth"):
            saver.settle(is_last=True)


def test_a_failure_that_nobody_waited_for_is_logged(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    with full_disk(run), suppress(KeyboardInterrupt), Saver(run, "resnet") as saver:
        save(saver, 1)
        raise KeyboardInterrupt
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


def test_other_processes_save_nothing(run: Run) -> None:
    with Saver(replace(run, world=replace(run.world, rank=1, world_size=2)), "resnet") as saver:
        save(saver, 1)
        saver.settle(is_last=True)
    assert not run.weights.exists()
