"""What travels with a deployed network, as `preprocess.json` and in an ONNX file: how to feed and how to read it."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tao_lite.data import pipeline as pipelines
from tao_lite.data.pipeline import Pipeline
from tao_lite.errors import RunError
from tao_lite.files import plain, reading
from tao_lite.files.plain import among, fields, listed, of
from tao_lite.spec.tasks import OF, Task, Tasks

FORMAT = "tao_lite preprocess 1"
"""Name and version of the schema."""

# TAO's names, so that what was made for its files fits.
INPUT, BOXES, OUTPUT = "input_1", "boxes", "predictions/Softmax"
EMBEDDING = "embedding"
"""A further output, where a file has it: what the head reads."""
ACCEPTED = "accepted"
"""A further output, where the network has a rule for that: whether each answer is accepted, bool [B, 1]."""

Kind = Literal["tensor", "pixels", "image"]
"""Normalised floats; uint8 pixels of the network's size; uint8 pixels of any size, or boxes in them."""
KINDS: tuple[Kind, ...] = ("tensor", "pixels", "image")

SCHEMA = plain.fields(
    {
        **pipelines.SCHEMA,
        "format": among(FORMAT),
        "input": fields(
            {"name": among(INPUT), "kind": among(*KINDS), "type": among("float32", "uint8"), "layout": among("NCHW")},
            {"boxes": among(BOXES)},
        ),
        "threshold": of(float, minimum=0),
        "class_names": listed(of(str), least=1),
    },
    {
        "output": fields({"name": among(OUTPUT), "values": among("probabilities")}),
        "tasks": listed(
            fields({"name": of(str), "output": of(str), "num_classes": of(int, minimum=1), "is_multi_label": of(bool)}),
            least=1,
        ),
        "reject": fields(
            {
                "output": among(ACCEPTED),
                "score": of(str),
                "temperature": of(float, minimum=0),
                "threshold": of(float),
                "promise": among("max_error", "coverage"),
                "promised": of(float, minimum=0, maximum=1),
                **dict.fromkeys(("num_images", "num_accepted", "num_wrong"), of(int, minimum=0)),
            }
        ),
        "references": listed(
            fields(
                {
                    "file": of(str),
                    "pixels_sha256": of(str),
                    "probabilities": listed(of(float, minimum=0), least=1),
                },
                {"accepted": of(bool)},
            )
        ),
    },
)


@dataclass(frozen=True, kw_only=True)
class Description:
    """How pictures become what a file's input takes, and what its outputs are called."""

    pipeline: Pipeline
    class_names: tuple[str, ...]
    kind: Kind = "tensor"
    has_boxes: bool = False
    tasks: Tasks = ()
    reject: Mapping[str, Any] = field(default_factory=dict)
    """The rule that the output `accepted` computes, and what it did when it was fitted; empty where there is none."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """Their names: that of one task, else TAO's for each."""
        names = [f"{task.name}/{'Sigmoid' if task.is_multi_label else 'Softmax'}" for task in self.tasks]
        return tuple(names or [OUTPUT])

    def to_dict(self) -> dict[str, Any]:
        """What `from_dict` reads, for JSON."""
        boxes = {"boxes": BOXES} if self.has_boxes else {}
        number_type = "float32" if self.kind == "tensor" else "uint8"
        return {
            "format": FORMAT,
            **self.pipeline.to_dict(),
            "input": {"name": INPUT, "kind": self.kind, "type": number_type, "layout": "NCHW", **boxes},
            **self._outputs(),
            "threshold": 0.0,
            "class_names": list(self.class_names),
            **({"reject": {"output": ACCEPTED, **self.reject}} if self.reject else {}),
        }

    def _outputs(self) -> dict[str, Any]:
        if not self.tasks:
            return {"output": {"name": OUTPUT, "values": "probabilities"}}
        return {
            "tasks": [
                {
                    "name": task.name,
                    "output": output,
                    "num_classes": len(task.class_names),
                    "is_multi_label": task.is_multi_label,
                }
                for task, output in zip(self.tasks, self.outputs, strict=True)
            ]
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, Any], name: Path) -> "Description":
        """What is described; `name` is how messages call it.

        Raises:
            RunError: it is no description, or one that was changed; names the field.
        """
        if problem := plain.problem(SCHEMA, value) or _of_outputs(value):
            raise RunError(f"{name}: does not say how tao_lite feeds a network: {problem}; export the network again")
        return cls(
            pipeline=Pipeline.from_dict(value),
            class_names=tuple(value["class_names"]),
            kind=value["input"]["kind"],
            has_boxes="boxes" in value["input"],
            tasks=tuple(_tasks(value)),
            reject={name: one for name, one in value.get("reject", {}).items() if name != "output"},
        )

    @classmethod
    def from_text(cls, text: str, name: Path) -> "Description":
        """As `from_dict`, of JSON.

        Raises:
            RunError: as from_dict, or it is not JSON.
        """
        return cls.from_dict(reading.parse_json(text, name, RunError), name)

    def to_text(self) -> str:
        """JSON, as a file holds it."""
        return json.dumps(self.to_dict(), indent=1) + "\n"


def _of_outputs(value: Mapping[str, Any]) -> str:
    """What is wrong with the outputs of a description, if anything."""
    if ("output" in value) == ("tasks" in value):
        return "must have one of output and tasks"
    total, names = sum(task["num_classes"] for task in value.get("tasks", ())), value["class_names"]
    return f"tasks have {total} classes, class_names {len(names)}" if "tasks" in value and total != len(names) else ""


def _tasks(value: Mapping[str, Any]) -> Iterator[Task]:
    first = 0
    for task in value.get("tasks", ()):
        names = value["class_names"][first : first + task["num_classes"]]
        own = tuple(name.removeprefix(f"{task['name']}{OF}") for name in names)
        yield Task(name=task["name"], class_names=own, first=first, is_multi_label=task["is_multi_label"])
        first += task["num_classes"]
