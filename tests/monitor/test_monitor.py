"""The files of a run: TAO's words and columns, what a resume keeps, and disks that fail."""

import json
import logging
import math
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tao_lite.monitor.monitor import EpochRow, Message, Monitor
from tao_lite.run import Run

ROW = EpochRow(
    epoch=1,
    step=10,
    train_loss=0.5,
    train_accuracy=0.75,
    val_loss=0.625,
    val_accuracy=0.7,
    learning_rate=0.01,
    seconds=61.2,
)


def row(epoch: int) -> EpochRow:
    return replace(ROW, epoch=epoch, step=10 * epoch, train_loss=1.0 / epoch)


def status_lines(run: Run) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run.status.read_text().splitlines()]


def curves(run: Run) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard shows: the points of each scalar tag."""
    events = EventAccumulator(str(run.events)).Reload()
    return {tag: [(point.step, point.value) for point in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """Every write beyond that many bytes of a file fails, as on a full disk (EFBIG instead of ENOSPC)."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_status_lines_are_those_of_tao(run: Run) -> None:
    with Monitor(run, max_epochs=3) as monitor:
        monitor.epoch(ROW)
        monitor.status("RUNNING", Message.LOOP_COMPLETE)
        monitor.status("RUNNING", Message.EVALUATED, {"validation_loss": 0.625, "validation_accuracy": 0.7})
        monitor.status("SUCCESS", Message.FINISHED)
    lines = status_lines(run)
    dates = [(line.pop("date"), line.pop("time")) for line in lines]
    # Golden: keys and words as written by TAO 5; time without padding, two epochs of 61.2 s to go.
    assert lines == [
        {"status": "STARTED", "verbosity": "INFO", "message": "Starting Training Loop."},
        {
            "status": "RUNNING",
            "verbosity": "INFO",
            "message": "Training loop in progress",
            "epoch": 1,
            "max_epoch": 3,
            "time_per_epoch": "0:01:01.2",
            "eta": "0:02:02.4",
            "graphical": {
                "loss": "0.5",
                "training_accuracy": "0.75",
                "validation_loss": "0.625",
                "validation_accuracy": "0.7",
                "learning_rate": "0.01",
            },
            "kpi": {"training_accuracy": "0.75", "validation_accuracy": "0.7"},
        },
        {"status": "RUNNING", "verbosity": "INFO", "message": "Training loop complete."},
        {
            "status": "RUNNING",
            "verbosity": "INFO",
            "message": "Model evaluation is complete.",
            "kpi": {"validation_loss": 0.625, "validation_accuracy": 0.7},
        },
        {"status": "SUCCESS", "verbosity": "INFO", "message": "Training finished successfully."},
    ]
    for date, time in dates:
        numbers = [*date.split("/"), *time.split(":")]
        assert len(numbers) == 6
        assert numbers == [str(int(number)) for number in numbers]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0:00:00.0"), (59.96, "0:01:00.0"), (3661.25, "1:01:01.2"), (90000, "25:00:00.0")]
)
def test_durations_have_hours_minutes_seconds_and_tenths(run: Run, seconds: float, text: str) -> None:
    with Monitor(run, max_epochs=1) as monitor:
        monitor.epoch(replace(ROW, seconds=seconds))
    assert status_lines(run)[-1]["time_per_epoch"] == text


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (RuntimeError("loss is nan in epoch 2"), "loss is nan in epoch 2"),
        (MemoryError(), "MemoryError"),
        (KeyboardInterrupt(), "Training was interrupted"),
        (OSError("caf\udce9.png"), "caf\udce9.png"),
    ],
)
def test_an_error_ends_the_status_file_and_goes_on(run: Run, error: BaseException, message: str) -> None:
    with pytest.raises(type(error)), Monitor(run, max_epochs=3):
        raise error
    assert (status_lines(run)[-1]["status"], status_lines(run)[-1]["message"]) == ("FAILURE", message)


def test_status_lines_are_appended_below_a_torn_one(run: Run) -> None:
    run.status.write_text('{"status": "STARTED"}\n{"status": "RUNN')
    with Monitor(run, max_epochs=3):
        pass
    lines = run.status.read_text().splitlines()
    assert lines[:2] == ['{"status": "STARTED"}', '{"status": "RUNN']
    assert json.loads(lines[2])["status"] == "STARTED"


def test_numbers_that_are_not_finite_leave_the_status_file_readable(run: Run) -> None:
    with Monitor(run, max_epochs=1) as monitor:
        monitor.epoch(replace(ROW, val_loss=math.nan))
        monitor.status("RUNNING", Message.EVALUATED, {"validation_loss": math.inf})
    lines = status_lines(run)
    assert lines[1]["graphical"]["validation_loss"] == "nan"
    assert lines[2]["kpi"] == {"validation_loss": None}
    assert run.training_csv.read_text().splitlines()[1] == "1,0.75,0.5,0.01,0.7,nan"


def test_training_csv_has_the_columns_of_tao(run: Run) -> None:
    with Monitor(run, max_epochs=2) as monitor:
        monitor.epoch(row(1))
        monitor.epoch(row(2))
    # Golden: TAO's header; epochs from 1.
    assert run.training_csv.read_text() == (
        "epoch,acc,loss,lr,val_acc,val_loss\n1,0.75,1.0,0.01,0.7,0.625\n2,0.75,0.5,0.01,0.7,0.625\n"
    )


def test_a_resume_keeps_the_rows_before_it_and_drops_those_after(run: Run) -> None:
    with Monitor(run, max_epochs=4) as monitor:
        for epoch in (1, 2, 3):
            monitor.epoch(row(epoch))
    with Monitor(run, max_epochs=4, resumed_epoch=2, resumed_step=20) as monitor:
        monitor.epoch(replace(row(3), train_loss=9.0))
    assert run.training_csv.read_text().splitlines() == [
        "epoch,acc,loss,lr,val_acc,val_loss",
        "1,0.75,1.0,0.01,0.7,0.625",
        "2,0.75,0.5,0.01,0.7,0.625",
        "3,0.75,9.0,0.01,0.7,0.625",
    ]


def test_a_new_training_starts_a_new_csv(run: Run) -> None:
    for _ in range(2):
        with Monitor(run, max_epochs=4) as monitor:
            monitor.epoch(row(1))
    assert len(run.training_csv.read_text().splitlines()) == 2


def test_a_csv_edited_by_hand_is_read_as_far_as_it_goes(run: Run) -> None:
    run.training_csv.write_bytes(b"epoch,acc,loss,lr,val_acc,val_loss\n1,a,b,c,d,e\n\nnote \xff\n2,a,b,c,d,e\n7,x\n")
    with Monitor(run, max_epochs=4, resumed_epoch=2, resumed_step=20) as monitor:
        monitor.epoch(row(3))
    assert [line.split(",")[0] for line in run.training_csv.read_text().splitlines()] == ["epoch", "1", "2", "3"]


def test_tensorboard_reads_back_what_was_logged(run: Run) -> None:
    with Monitor(run, max_epochs=2) as monitor:
        monitor.log(5, {"batch/loss": 0.75, "amp/scale": 65536.0})
        monitor.epoch(row(1))
        monitor.epoch(row(2))
    shown = curves(run)
    assert shown == {
        "batch/loss": [(5, 0.75)],
        "amp/scale": [(5, 65536.0)],
        "train/loss": [(10, 1.0), (20, 0.5)],
        "train/top1": [(10, 0.75), (20, 0.75)],
        "val/loss": [(10, 0.625), (20, 0.625)],
        "val/top1": [(10, pytest.approx(0.7)), (20, pytest.approx(0.7))],
        "lr": [(10, pytest.approx(0.01)), (20, pytest.approx(0.01))],
    }


def test_a_resume_drops_the_points_after_it(run: Run) -> None:
    with Monitor(run, max_epochs=4) as monitor:
        for step in (10, 20, 21, 30):
            monitor.log(step, {"batch/loss": step})
    with Monitor(run, max_epochs=4, resumed_epoch=2, resumed_step=20) as monitor:
        monitor.log(30, {"batch/loss": 3.0})
    assert curves(run)["batch/loss"] == [(10, 10.0), (20, 20.0), (30, 3.0)]


def test_a_new_training_drops_the_points_of_the_old_one(run: Run) -> None:
    for value in (1.0, 2.0):
        with Monitor(run, max_epochs=4) as monitor:
            monitor.log(0, {"batch/loss": value})
    assert curves(run)["batch/loss"] == [(0, 2.0)]


def test_points_are_on_disk_as_soon_as_they_are_logged(run: Run) -> None:
    with Monitor(run, max_epochs=4) as monitor:
        monitor.log(1, {"batch/loss": 0.5})
        assert curves(run)["batch/loss"] == [(1, 0.5)]


def test_other_ranks_write_nothing(run: Run) -> None:
    second = replace(run, world=replace(run.world, rank=1, world_size=2))
    with Monitor(second, max_epochs=1) as monitor:
        monitor.log(1, {"batch/loss": 0.5})
        monitor.epoch(ROW)
        monitor.show(lambda events: events.text(1, "spec", ""))
        monitor.attempt(second.traces, second.traces.mkdir)
    assert list(run.results.iterdir()) == []


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage().partition(":")[0] for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_status_file_that_is_a_link_is_given_up_with_one_warning(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    run.status.symlink_to("/dev/full")
    with Monitor(run, max_epochs=2) as monitor:
        monitor.epoch(row(1))
        monitor.epoch(row(2))
    assert [record.getMessage() for record in caplog.records] == [
        f"{run.status} was given up: {run.status}: is a link, and is not written through; remove it; "
        + "the training goes on without it"
    ]
    assert len(run.training_csv.read_text().splitlines()) == 3
    assert len(curves(run)["train/loss"]) == 2


def test_a_place_where_no_folder_can_be_made_costs_tensorboard_only(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    run.events.touch()
    with Monitor(run, max_epochs=2) as monitor:
        monitor.log(1, {"batch/loss": 0.5})
        monitor.epoch(row(1))
        monitor.show(lambda events: events.text(1, "spec", ""))
    assert warnings(caplog) == [f"{run.events} was given up"]
    assert len(status_lines(run)) == 2


def test_a_disk_that_fills_up_costs_the_files_and_not_the_training(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    with Monitor(run, max_epochs=2) as monitor:
        monitor.epoch(row(1))
        with full_disk(10):
            for epoch in (2, 3):
                monitor.epoch(row(epoch))
                monitor.show(lambda events: events.text(10, "spec", "arch: resnet"))
        monitor.epoch(row(4))
    assert sorted(warnings(caplog)) == sorted(
        f"{path} was given up" for path in (run.events, run.training_csv, run.status)
    )
    assert run.training_csv.read_text().splitlines()[1:] == ["1,0.75,1.0,0.01,0.7,0.625"]
    assert len(status_lines(run)) == 2
    # The record that failed is completed when the file is closed; nothing after it was tried.
    assert curves(run)["train/loss"] == [(10, 1.0), (20, 0.5)]
    assert sorted(path.name for path in run.results.iterdir()) == ["events", "status.json", "training.csv"]


def test_a_disk_that_is_full_from_the_start_costs_the_files_only(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    with full_disk(0), Monitor(run, max_epochs=2) as monitor:
        monitor.epoch(row(1))
        monitor.show(lambda events: events.text(0, "spec", "arch: resnet"))
    assert len(warnings(caplog)) == 3


def test_a_process_out_of_file_descriptors_goes_on(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with Monitor(run, max_epochs=2) as monitor:
        monitor.epoch(row(1))
        lowest_free = os.dup(0)
        os.close(lowest_free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, before[1]))
        try:
            monitor.epoch(row(2))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert sorted(warnings(caplog)) == [f"{path} was given up" for path in (run.status, run.training_csv)]
    assert len(curves(run)["train/loss"]) == 2
