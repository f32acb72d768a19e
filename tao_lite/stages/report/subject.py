"""A run as a report shows it: what it left, its network and its data, or why one of them is missing."""

import contextlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup
from torch import Tensor

from tao_lite.errors import RunError, TaoLiteError
from tao_lite.metrics.counts import Evaluation
from tao_lite.metrics.joint import JointEvaluation
from tao_lite.stages.dataset import sources, stats
from tao_lite.stages.report import network as report_network
from tao_lite.stages.report import pictures
from tao_lite.stages.report.network import Judged, Network
from tao_lite.stages.report.pictures import Chosen
from tao_lite.stages.report.record import Record
from tao_lite.training.heat_maps import HeatMaps, heat_maps

_NO_DATA = "--no_data was given, so no image was read"

_log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Subject:
    """What is None is missing; `missing` says why, by the same name."""

    record: Record
    network: Network | None = None
    judged: Judged | None = None
    tasks: JointEvaluation | None = None  # in its place, of a network of several tasks
    chosen: Sequence[Chosen] = ()
    maps: HeatMaps | None = None
    heats: Sequence[Tensor] = ()  # of the mistakes, then of what is chosen
    data: dict[str, Any] | None = None  # as `dataset_stats.stats`, and more where `dataset report` was run
    missing: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Pooled:
    """What several trainings say together, such as the folds of a data set: in words, as a table, in titled pictures.

    evaluation: of all images, where each run has its own.
    """

    title: str  # of the page
    heading: str
    words: str
    heads: Sequence[str]
    rows: Sequence[Sequence[object]]
    pictures: Sequence[tuple[str, Markup]] = ()
    evaluation: Evaluation | None = None


def of(record: Record, *, read_data: bool, images: Sequence[Path] = ()) -> Subject:
    """The run with all that can be found out about it, and the network's answers to these images."""
    subject = Subject(record=record, missing={})
    with _noted(subject, "network"):
        subject.network = report_network.load(record)
    with _noted(subject, "judged"):
        _judge(subject, read_data=read_data)
    with _noted(subject, "chosen"):
        if images:
            subject.chosen = tuple(pictures.chosen(_network(subject).trained, images, record.run.world))
    with _noted(subject, "heats"):
        mistakes = subject.judged.mistakes if subject.judged else ()
        if mistakes or subject.chosen:
            maps = subject.maps = heat_maps(_network(subject).trained)
            subject.heats = [*pictures.heats(maps, mistakes), *pictures.heats(maps, subject.chosen)]
    with _noted(subject, "data"):
        subject.data = _data(subject, read_data=read_data)
    return subject


@contextlib.contextmanager
def _noted(subject: Subject, part: str) -> Iterator[None]:
    """Keep the reason where the block can't get the part."""
    try:
        yield
    except (TaoLiteError, OSError) as error:
        subject.missing[part] = str(error)
        _log.info("%s: the report shows no more than it can: %s", subject.record.name, error)


def _judge(subject: Subject, *, read_data: bool) -> None:
    if not read_data:
        raise RunError(_NO_DATA)
    network = _network(subject)
    if network.trained.tasks:
        subject.tasks = report_network.judge_tasks(network, subject.record)
        subject.missing["judged"] = "it is not measured for several tasks"
    else:
        subject.judged = report_network.judge(network, subject.record)


def _network(subject: Subject) -> Network:
    if not subject.network:
        raise RunError(subject.missing["network"])
    return subject.network


def _data(subject: Subject, *, read_data: bool) -> dict[str, Any]:
    """The numbers of `dataset report` where it was run, else counted now."""
    record, network = subject.record, subject.network
    if found := record.summaries.get("dataset_report"):
        return found
    if not read_data:
        raise RunError(_NO_DATA)
    experiment = network.trained.experiment if network else record.experiment
    if experiment is None:
        raise RunError("neither a spec nor a checkpoint says where it is")
    named = sources.of_spec(experiment)
    return stats.stats(sources.sides(experiment, named), sources.reports(named))
