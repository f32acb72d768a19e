"""Processes of several machines train together only with the same spec, on the same data, from the same checkpoint."""

import hashlib
import json
import platform
from collections.abc import Iterable, Iterator, Mapping

from tao_lite.checkpoint import Checkpoint
from tao_lite.data.dataset import DataSet
from tao_lite.errors import RunError
from tao_lite.machine.distributed import World
from tao_lite.spec.load import Spec
from tao_lite.stages.train import fingerprint


def refuse_different(spec: Spec, data: Iterable[DataSet], resumed: Checkpoint | None, world: World) -> None:
    """Return if all ranks have the same.

    Raises:
        RunError: one has not; it is named, with its machine.
    """
    if world.world_size == 1:
        return
    own = {
        "spec": _digest([spec.text()]),
        "data set": _digest(_lines(spec, data)),
        "checkpoint": f"after {resumed.epoch} epochs and {resumed.batch} batches" if resumed else "none",
        "machine": platform.node(),
    }
    first, *others = (json.loads(text) for text in world.gathered(json.dumps(own)))
    for rank, other in enumerate(others, start=1):
        if different := [what for what in ("spec", "data set", "checkpoint") if other[what] != first[what]]:
            raise RunError(_story(different[0], rank, other, first))


def _story(what: str, rank: int, other: Mapping[str, str], first: Mapping[str, str]) -> str:
    found = f" ({other[what]}, not {first[what]})" if what == "checkpoint" else ""
    remedy = "share the results folder" if what == "checkpoint" else f"give all the same {what}"
    return f"rank {rank} on {other['machine']} has another {what} than rank 0 on {first['machine']}{found}; {remedy}"


def _lines(spec: Spec, data: Iterable[DataSet]) -> Iterator[str]:
    for part, root in zip(data, fingerprint.roots(spec.experiment), strict=True):
        for example, name in zip(part.examples, fingerprint.names(part, root), strict=True):
            yield f"{example.label}/{name}"


def _digest(texts: Iterable[str]) -> str:
    found = hashlib.sha256()
    for text in texts:
        found.update(text.encode("utf-8", "surrogateescape") + b"\0")
    return found.hexdigest()
