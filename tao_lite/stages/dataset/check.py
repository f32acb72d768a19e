"""Every picture and label of a data set looked at: what training would leave out, and what a person may not expect."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tao_lite.data import look_alikes
from tao_lite.data.example import Example
from tao_lite.errors import DataError
from tao_lite.spec import classification_pb2 as pb
from tao_lite.stages.dataset.pictures import ERROR, REMARK, Observation, by_picture, depths, doubtful, pictures
from tao_lite.stages.dataset.sources import Reports, Source, verify
from tao_lite.stages.dataset.sources import reports as left_out_of


@dataclass(frozen=True, kw_only=True)
class Result:
    """All observations, errors first, and how many examples and pictures were looked at."""

    findings: tuple[Observation, ...]  # as --json calls them
    left_out: Mapping[str, Mapping[str, Any]]  # by data set, as of LeftOut.values
    num_examples: int
    num_pictures: int

    @property
    def num_errors(self) -> int:
        return sum(observation.severity == ERROR for observation in self.findings)


def check(sources: Sequence[Source], experiment: pb.Experiment | None = None) -> Result:
    """Look at every example of these data sets, and at their size for the network of the spec, if there is one."""
    reports = left_out_of(sources)
    observations: list[Observation] = []
    examples: dict[str, Sequence[Example]] = {}
    for source in sources:
        try:
            examples[source.name] = source.read()
        except DataError as error:
            observations.append(Observation(ERROR, "dataset", str(source.root), str(error)))
    if len(examples) == len(sources):
        observations += _of_corrections(sources)
    frames = by_picture(example for side in examples.values() for example in side)
    found = dict(zip(frames, pictures(list(frames.values())), strict=True))
    observations += [observation for picture in found.values() for observation in picture.observations]
    observations += doubtful(frames.values(), found.values(), input_size(experiment))
    observations += labels(examples, reports, {path for path, picture in found.items() if not picture.size})
    for name, side in examples.items():
        looked_at = [found[path] for path in dict.fromkeys(example.path for example in side)]
        observations += depths(looked_at, side[0].full_scale if side else 0, name)
    observations += _doubles(examples, {path: picture.digest for path, picture in found.items()})
    num_examples = sum(map(len, examples.values()))
    # A picture in two splits is found twice.
    observations = sorted(set(observations))
    return Result(
        findings=tuple(observations),
        left_out={name: report.values() for name, report in reports.items()},
        num_examples=num_examples,
        num_pictures=len(found),
    )


def input_size(experiment: pb.Experiment | None) -> tuple[int, int] | None:
    """Height and width that the spec's network reads; None where no spec says it."""
    text = experiment.model_config.input_image_size if experiment else ""
    _, height, width = (int(number) for number in text.split(",")) if text else (0, 0, 0)
    return (height, width) if height and width else None


def labels(
    examples: Mapping[str, Sequence[Example]], reports: Reports, broken: Collection[Path]
) -> Iterator[Observation]:
    """What readers reported, what is lost, and classes that training does not have: such a training would not start.

    `broken`: the pictures that can't be decoded, which are counted as left out.
    """
    for report in reports.values():
        for place, problem in report.problems:
            yield Observation(ERROR, "label", place, problem)
    for name, report in reports.items():
        side = examples.get(name, ())
        report.unread(Counter(name for example in side if example.path in broken for name in example.classes))
        kept = Counter(name for example in side if example.path not in broken for name in example.classes)
        for loss in report.losses(kept):
            yield Observation(ERROR if loss.is_error else REMARK, "left out", name, loss.text)
    known = {label for example in examples.get("train", []) for label in example.classes}
    for name, side in examples.items():
        counts = Counter(label for example in side for label in example.classes if known and label not in known)
        for label, count in sorted(counts.items()):
            text = f"{count} examples of {label!r}, a class that training does not have"
            yield Observation(ERROR, "mislabelled", name, f"{text}{look_alikes.difference([label], known)}")
        names = {label for example in side for label in example.classes}
        for pair in look_alikes.pairs(names, names):
            yield Observation(REMARK, "names", name, f"{look_alikes.told_apart(*pair)}; they are two classes")
        if name in ("train", "data") and len(names) == 1:
            words = f"holds one class only ({', '.join(names)}), and training needs two"
            yield Observation(ERROR, "dataset", name, words)


def _of_corrections(sources: Sequence[Source]) -> Iterator[Observation]:
    try:
        verify(sources)
    except DataError as error:
        yield Observation(ERROR, "dataset", "corrections", str(error))


def _named(example: Example) -> str:
    return ", ".join(map(repr, example.classes)) or "of no class"


def _doubles(examples: Mapping[str, Sequence[Example]], digests: dict[Path, bytes]) -> Iterator[Observation]:
    """Equal pictures: under different classes one label is wrong; in training and beside, its score means little."""
    seen: dict[bytes, tuple[str, Example]] = {}
    for name, side in examples.items():
        for example in _one_per_picture(side):
            digest = digests.get(example.path)
            if not digest:
                continue
            first_name, first = seen.setdefault(digest, (name, example))
            if first is example:
                continue
            same = f"the same picture as {first.path}"
            if example.box is None and first.box is None and example.classes != first.classes:
                text = f"{same}, which is {_named(first)} and not {_named(example)}"
                yield Observation(ERROR, "mislabelled", str(example.path), text)
            else:
                where = f", once in {first_name} and once in {name}" if name != first_name else ""
                yield Observation(REMARK, "double", str(example.path), same + where)


def _one_per_picture(examples: Iterable[Example]) -> Iterable[Example]:
    return {example.path: example for example in examples}.values()
