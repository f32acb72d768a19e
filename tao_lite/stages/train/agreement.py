"""Processes of several machines train together only with the same spec, on the same data, from the same checkpoint."""

import hashlib
import json
import platform
from collections.abc import Iterable, Mapping

from tao_lite.checkpoint import Checkpoint
from tao_lite.data.dataset import DataSet
from tao_lite.data.examples import Examples
from tao_lite.errors import RunError
from tao_lite.machine.distributed import World
from tao_lite.spec.load import Spec


def refuse_different(spec: Spec, data: Iterable[DataSet], resumed: Checkpoint | None, world: World) -> None:
    """Return if all ranks have the same.

    Raises:
        RunError: one has not; it is named, with its machine.
    """
    if world.world_size == 1:
        return
    own = {
        "spec": hashlib.sha256(spec.text().encode("utf-8", "surrogateescape")).hexdigest(),
        "data set": " ".join(Examples.of(part.examples).digest() for part in data),
        "examples": " and ".join(f"{len(part.examples):,}" for part in data) + " examples",
        "checkpoint": f"after {resumed.epoch} epochs and {resumed.batch} batches" if resumed else "none",
        "machine": platform.node(),
    }
    first, *others = (json.loads(text) for text in world.gathered(json.dumps(own)))
    for rank, other in enumerate(others, start=1):
        if different := [what for what in ("spec", "data set", "checkpoint") if other[what] != first[what]]:
            raise RunError(_story(different[0], rank, other, first))


def _story(what: str, rank: int, other: Mapping[str, str], first: Mapping[str, str]) -> str:
    shown = {"data set": "examples", "checkpoint": "checkpoint"}.get(what, what)
    is_told = what != "spec" and other[shown] != first[shown]
    found = f" ({other[shown]}, not {first[shown]})" if is_told else ""
    remedy = "share the results folder" if what == "checkpoint" else f"give all the same {what}"
    return f"rank {rank} on {other['machine']} has another {what} than rank 0 on {first['machine']}{found}; {remedy}"
