"""The best epoch of a training by another metric than top-1: its file, early stopping, and what is said of it."""

import csv
import json
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tao_lite import checkpoint as checkpoints
from tao_lite.errors import RunError
from tao_lite.run import Run
from tests.monitor.test_tensorboard import run_in


def rows(run: Run) -> list[dict[str, float]]:
    with run.training_csv.open() as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def written(run: Run) -> dict[str, object]:
    content = json.loads(run.summary("train").read_text())
    assert isinstance(content, dict)
    return content


@pytest.mark.slow
def test_by_the_loss_the_best_network_is_the_one_with_the_least(
    colours: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A rate that grows too large: the loss falls, then rises; the run stops when it has not fallen for an epoch."""
    overrides = [
        *("checkpoint.best_metric=LOSS", "n_epochs=8", "early_stopping.patience=1", "checkpoint.keep_last=9"),
        *("lr_config={ cosine { learning_rate: 0.3 soft_start: 0.99 } }", "early_stopping.min_delta=0"),
    ]
    run = run_in(tmp_path, colours, *(f"train_config.{one}" for one in overrides))
    losses = [row["val_loss"] for row in rows(run)]
    best = losses.index(min(losses)) + 1
    assert best + 1 == len(losses) < 8
    assert run.best.resolve() == run.checkpoint("squeezenet", best)
    found = written(run)
    assert (found["best_metric"], found["best_epoch"], found["val_loss"]) == ("LOSS", best, min(losses))
    said = capsys.readouterr().out
    assert "Stopped early: validation loss has not fallen for 1 epochs" in said
    assert f"Best epoch {best} of {len(losses)}: validation loss {min(losses):.4f}, top-1 " in said


@pytest.mark.slow
def test_macro_f1_is_told_wherever_accuracy_is(
    colours: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = run_in(tmp_path, colours, "train_config.checkpoint.best_metric=MACRO_F1")
    events = EventAccumulator(str(run.events)).Reload()
    values = [point.value for point in events.Scalars("val/macro_f1")]
    assert values == [point.value for point in events.Scalars("val/f1")]
    found = written(run)
    assert found["val_macro_f1"] == pytest.approx(max(values))
    assert events.Scalars("best/macro_f1")[0].value == pytest.approx(max(values))
    epoch = found["best_epoch"]
    assert isinstance(epoch, int)
    assert checkpoints.load(run.best).metrics["val_macro_f1"] == found["val_macro_f1"]
    lines = [json.loads(line) for line in run.status.read_text().splitlines()]
    assert [float(line["kpi"]["validation_macro_f1"]) for line in lines if "epoch" in line] == pytest.approx(values)
    said = capsys.readouterr().out
    assert f"Best epoch {epoch} of 2: validation macro F1 {max(values):.4f}, top-1 " in said

    best = run.best.resolve()
    with pytest.raises(RunError, match="best_metric is TOP1, and the 2 epochs that are done were compared by MACRO_F1"):
        run_in(tmp_path, colours, "train_config.n_epochs=3")
    assert run.best.resolve() == best
    more = run_in(tmp_path, colours, "train_config.n_epochs=3", "train_config.checkpoint.best_metric=MACRO_F1")
    assert written(more)["epochs"] == 3
