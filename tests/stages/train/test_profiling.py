"""Traces of training steps: how many, when, and where they can't be written."""

import gzip
import json
import logging

import pytest
import torch

from tao_lite.monitor.monitor import Monitor
from tao_lite.run import Run
from tao_lite.stages.train.profiling import WAIT, WARM_UP, Tracer


def traced(run: Run, num_steps: int, num_left: int) -> list[int]:
    """The numbers, from 0, of the steps in the newest trace of a training of num_left steps."""
    with Monitor(run, max_epochs=1) as monitor, Tracer(run, monitor, num_steps, num_left) as tracer:
        for _ in range(num_left):
            torch.ones(2) + 1
            tracer.step()
    traces = sorted(run.traces.glob("*/*.pt.trace.json.gz"))
    events = json.loads(gzip.decompress(traces[-1].read_bytes()))["traceEvents"] if traces else []
    names = {event["name"] for event in events if event.get("name", "").startswith("ProfilerStep#")}
    return sorted(int(name.partition("#")[2]) for name in names)


@pytest.mark.parametrize(
    ("num_steps", "num_left", "expected"),
    [
        (3, 100, [WAIT + WARM_UP, WAIT + WARM_UP + 1, WAIT + WARM_UP + 2]),
        (3, 8, [5, 6, 7]),  # as late as the training's end allows
        (3, 4, [2, 3]),  # what there is
        (3, 2, []),
        (0, 100, []),
    ],
)
def test_as_many_steps_are_traced_as_asked_for_once_they_have_settled(
    run: Run, num_steps: int, num_left: int, expected: list[int]
) -> None:
    assert traced(run, num_steps, num_left) == expected


def test_too_few_steps_are_told_of(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    traced(run, 3, 2)
    assert caplog.messages == ["nothing is traced: 2 steps are left, and profile_steps needs 3"]


def test_a_run_is_traced_once(run: Run) -> None:
    for _ in range(2):
        traced(run, 1, 30)
    assert len(list(run.traces.iterdir())) == 1


def test_a_trace_that_cannot_be_written_costs_nothing_else(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    run.events.mkdir()
    (run.events / "plugins").touch()
    assert traced(run, 1, 30) == []
    (warning,) = (record.getMessage() for record in caplog.records if record.levelno == logging.WARNING)
    assert warning.startswith(f"{run.traces} was given up: [Errno 20] Not a directory")
