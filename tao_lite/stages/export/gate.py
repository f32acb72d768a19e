"""A package's own client against the network that it was made from, on files: what differs is not kept."""

import hashlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from tao_lite.data import dataset, decode, geometry
from tao_lite.data.dataset import DataSet
from tao_lite.data.description import Description
from tao_lite.data.example import Example
from tao_lite.data.left_out import LeftOut
from tao_lite.data.pipeline import Pipeline
from tao_lite.errors import DataError, RunError
from tao_lite.machine.distributed import World
from tao_lite.monitor.console import Progress
from tao_lite.spec import classification_pb2 as pb
from tao_lite.stages.export.export import TOLERANCES
from tao_lite.training.deployed import Deployment
from tao_lite.training.trained import Trained
from tao_lite.training.validation import evaluation_loader


@dataclass(frozen=True)
class Answer:
    """What becomes of a picture: digests of its decoded and of its resized pixels, and its answer."""

    decoded: str
    pixels: str
    probabilities: Sequence[float]
    is_accepted: bool | None = None  # None: there is no rule for that

    @property
    def best(self) -> int:
        """The most probable class."""
        return self.probabilities.index(max(self.probabilities))


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What the network says of the reference pictures, and of validation pictures."""

    drawn: Mapping[Path, Answer]
    validation: Mapping[Path, Answer]

    @property
    def all(self) -> Mapping[Path, Answer]:
        return {**self.drawn, **self.validation}

    @property
    def words(self) -> str:
        others = f"{len(self.validation)} validation pictures and " if self.validation else ""
        return f"{others}{len(self.drawn)} reference pictures"


def expected(trained: Trained | Deployment, paths: Sequence[Path]) -> dict[Path, Answer]:
    """What the network says of each file in FP32, in the way of `tao-lite inference`; without those it can't read."""
    exact, pipeline = trained.in_fp32(), trained.pipeline
    exact.experiment.dataset_config.cache = pb.Cache.OFF
    digests = {}
    for path in paths:
        try:
            digests[path] = _digests(path, pipeline)
        except DataError:
            continue
    examples = tuple(Example(path, "", str(path), full_scale=pipeline.full_scale) for path in digests)
    world = World(rank=0, world_size=1, local_rank=0, device=trained.device)
    data = evaluation_loader(exact.experiment, DataSet(examples, ("",), LeftOut("pictures", fail=True)), world)
    found: dict[Path, Answer] = {}
    accepted = list[bool]() if exact.has_rule else None
    with Progress() as progress:
        progress.begin("The network's answers", len(examples))
        for batch, rows in exact.probabilities(data.epoch(0), accepted):
            flags = accepted[len(found) :] if accepted is not None else [None] * len(rows)
            found |= {
                Path(path): Answer(*digests[Path(path)], row, flag)
                for path, row, flag in zip(batch.paths, rows, flags, strict=True)
            }
            progress.advance(len(found))
    return found


def answers(folder: Path, paths: Sequence[Path]) -> dict[Path, Answer]:
    """What the client in the folder says of each file, run as its user would; without those it can't read.

    Raises:
        RunError: the client does not run.
    """
    command = [sys.executable, "-B", "-u", str(folder / "client.py"), "--json", *map(str, paths)]
    found: dict[Path, Answer] = {}
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as client,  # noqa: S603
        Progress() as progress,
    ):
        assert client.stdout
        progress.begin("Its client's answers", len(paths))
        for number, line in enumerate(map(json.loads, client.stdout), start=1):
            found[Path(line["path"])] = _answer(line)
            progress.advance(number)
        errors.seek(0)
        said = errors.read().strip()[-500:]
    if not found:
        raise RunError(f"the package's client does not run, and nothing was kept: {said}")
    return found


def verify(description: Description, want: Mapping[Path, Answer], found: Mapping[Path, Answer]) -> float:
    """The largest difference of a probability; all classes are equal and, with a rule, so is what is accepted.

    Raises:
        RunError: they are not, or the difference is too large: names the worst pictures and the step where they part.
    """
    tolerance = TOLERANCES[description.kind]
    problems = {path: _parting(description, answer, found.get(path)) for path, answer in want.items()}
    distances = {path: _distance(answer, found.get(path)) for path, answer in want.items()}
    bad = [
        path
        for path, answer in want.items()
        if distances[path] > tolerance or _differ(description, answer, found.get(path))
    ]
    if bad:
        worst = sorted(bad, key=lambda path: -distances[path])[:5]
        lines = "; ".join(f"{path}: {problems[path]}, by {distances[path]:.1e}" for path in worst)
        raise RunError(
            f"{len(bad)} of {len(want)} pictures are answered otherwise by the package's client, and nothing was kept: "
            f"{lines}"
        )
    return max(distances.values(), default=0.0)


def pictures(trained: Trained | Deployment, folder: Path, most: int) -> list[Path]:
    """At most so many validation pictures, evenly from all; what is no file of its own is written to the folder.

    Those that can't be decoded are left out.

    Raises:
        DataError: the spec names none, or they can't be read.
    """
    examples = dataset.evaluation(trained.experiment, trained.class_names).examples
    every = max(1, -(-len(examples) // most))
    found = []
    for number, example in enumerate(examples[::every]):
        with suppress(DataError):
            found.append(_file(example, folder / f"{number:06d}.png"))
    return found


def references(found: Mapping[Path, Answer], *, has_accepted: bool) -> Iterable[dict[str, Any]]:
    """What `preprocess.json` says of the reference pictures."""
    for path, answer in found.items():
        probabilities = [round(value, 7) for value in answer.probabilities]
        accepted = {"accepted": answer.is_accepted} if has_accepted else {}
        yield {"file": path.name, "pixels_sha256": answer.pixels, "probabilities": probabilities, **accepted}


def _file(example: Example, path: Path) -> Path:
    """Where the example is a picture's whole file; else what it is of one, written to the path in colour."""
    if example.span is None and example.box is None:
        return example.path
    pixels = decode.decode(example.path, 3, example.span, example.full_scale)
    Image.fromarray(geometry.cut(pixels, example.box)).save(path)
    return path


def _digests(path: Path, pipeline: Pipeline) -> tuple[str, str]:
    decoded = decode.decode(path, pipeline.channels, full_scale=pipeline.full_scale)
    digests = [hashlib.sha256(part.tobytes()).hexdigest() for part in (decoded, pipeline.resized(decoded))]
    return digests[0], digests[1]


def _answer(line: Mapping[str, Any]) -> Answer:
    return Answer(line["decoded"], line["pixels"], line["probabilities"], line.get("accepted"))


def _parting(description: Description, want: Answer, found: Answer | None) -> str:
    """The first step where two ways part."""
    if found is None:
        return "the client can't read it"
    if want.decoded != found.decoded:
        return "decode"
    if description.kind == "image":
        return "resize, normalise or network"
    if want.pixels != found.pixels:
        return "resize"
    return "normalise or network" if description.kind == "tensor" else "network"


def _distance(want: Answer, found: Answer | None) -> float:
    if found is None:
        return 1.0
    return max(abs(one - other) for one, other in zip(want.probabilities, found.probabilities, strict=True))


def _differ(description: Description, want: Answer, found: Answer | None) -> bool:
    """Whether the most probable classes differ, or which one is accepted."""
    if found is None or found.best != want.best:
        return True
    return bool(description.reject) and found.is_accepted is not want.is_accepted
