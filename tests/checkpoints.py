"""What stands in checkpoints for a training that was not."""

from dataclasses import asdict
from typing import Any

import torch

from tao_lite.stages.train.restart import Progress


def training(**given: object) -> dict[str, Any]:
    """What a training of nothing would leave to go on from, but for what is given."""
    split = {"counts": [0, 0], "hashes": torch.zeros(0, dtype=torch.int64)}
    precision = {"scaler": {}, "overflows": 0, "underflow": [0.0, 0.0], "num_measured": 0}
    return {
        "optimizer": {"state": {}, "param_groups": []},
        "precision": precision,
        "progress": asdict(Progress()),
        "threads": 1,
        "data": {"train": split, "val": split},
        **given,
    }
