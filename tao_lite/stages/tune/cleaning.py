"""What trials leave on the disk that nobody needs any more."""

import shutil
from collections.abc import Sequence

from tao_lite.run import Run
from tao_lite.stages.tune import objectives, trial
from tao_lite.stages.tune.objectives import Objective
from tao_lite.stages.tune.record import Record


def remove_losing(run: Run, records: Sequence[Record], judged_by: Sequence[Objective]) -> None:
    """Delete the checkpoints of trials that are over and lost. Curves, and what they were made with, stay."""
    complete = [one for one in records if one.is_complete]
    kept = {one.number for one in objectives.front(complete, judged_by)}
    for one in records:
        if one.is_over and not one.is_baseline and one.number not in kept:
            shutil.rmtree(trial.run_of(run, one).weights, ignore_errors=True)
