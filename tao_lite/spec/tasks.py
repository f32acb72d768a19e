"""The tasks that one network learns together: a task is a run of neighbouring outputs, with classes of its own."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec.schema import as_written

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from torch import Tensor

OF = "/"
"""Parts a task and its class, as in color/red. No task has it in its name; classes may."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A task; `first` is the output of its first class among those of all tasks."""

    name: str
    class_names: tuple[str, ...]
    first: int
    is_multi_label: bool = False
    weight: float = 1.0

    @property
    def outputs(self) -> slice:
        """Its outputs among those of all tasks."""
        return slice(self.first, self.first + len(self.class_names))

    def part(self, logits: "Tensor", labels: "Tensor") -> "tuple[Tensor, Tensor, Tensor]":
        """Of a batch its logits, its labels and which of these are known, bool [B].

        logits and labels are those of all tasks, as `mark` has them. Its own labels are the indices of classes,
        int64 [B], or of several labels 0 or 1 for each, int8 [B, classes]; 0 too where they are not known.
        """
        targets = labels[:, self.outputs]
        own = targets.clamp(min=0) if self.is_multi_label else targets.argmax(dim=1)
        return logits[:, self.outputs], own, targets[:, 0] >= 0


Tasks = tuple[Task, ...]
"""Empty for a network of one task, whose outputs are its classes."""


def is_used(experiment: pb.Experiment) -> bool:
    """Whether the spec is for several tasks."""
    return experiment.dataset_config.format == pb.DatasetFormat.MULTITASK


def of(experiment: pb.Experiment, class_names: Sequence[str]) -> Tasks:
    """The tasks of the spec, from the names of all their classes in the order of the outputs."""
    if not is_used(experiment):
        return ()
    config = experiment.dataset_config.multitask
    return tuple(
        Task(
            name=name,
            class_names=tuple(class_names[index].partition(OF)[2] for index in indices),
            first=indices[0],
            is_multi_label=name in config.multi_label,
            weight=as_written(config.task_weights[name]) if name in config.task_weights else 1.0,
        )
        for name, indices in _by_task(class_names)
    )


def ordered(labels: Sequence[str]) -> tuple[str, ...]:
    """Names of classes as TASK/CLASS in the order of the outputs: tasks by name, their classes by name or number."""
    names: dict[str, list[str]] = {}
    for label in labels:
        task, _, name = label.partition(OF)
        names.setdefault(task, []).extend([name] if name else [])
    return tuple(f"{task}{OF}{name}" for task in sorted(names) for name in _sorted(names[task]))


def classes(labels: Sequence[str]) -> tuple[str, ...]:
    """The labels that name a class."""
    return tuple(label for label in labels if label.partition(OF)[2])


def mark(targets: "npt.NDArray[np.int8]", tasks: Tasks, labels: Sequence[str], index_of: Mapping[str, int]) -> None:
    """Put down what a picture is in a row of -1, not known: 1 for its classes, 0 for the others of their tasks.

    `labels` are TASK/CLASS, and TASK/ for a task that is known to have none. `index_of` gives the output of a class.
    """
    known = {label.partition(OF)[0] for label in labels}
    for task in tasks:
        if task.name in known:
            targets[task.outputs] = 0
    for label in classes(labels):
        targets[index_of[label]] = 1


def class_map(tasks: Tasks) -> dict[str, object]:
    """The content of class_mapping.json, in TAO's form."""
    return {
        "tasks": [task.name for task in tasks],
        "class_mapping": {
            task.name: {str(index): name for index, name in enumerate(task.class_names)} for task in tasks
        },
    }


def _by_task(class_names: Sequence[str]) -> Iterator[tuple[str, list[int]]]:
    for name, indices in groupby(range(len(class_names)), key=lambda index: class_names[index].partition(OF)[0]):
        yield name, list(indices)


def _sorted(names: Sequence[str]) -> list[str]:
    """By number where all are numbers, as TAO reads such a column."""
    try:
        return sorted(names, key=lambda name: (float(name), name))
    except ValueError:
        return sorted(names)
