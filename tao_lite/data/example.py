"""Example: one picture, or one part of a picture, with its label; and what every format's reader takes and reports."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from tao_lite.data.left_out import LeftOut
from tao_lite.spec import tasks

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

Split = Literal["train", "val", "test"]


class Span(NamedTuple):
    """Bytes of one picture inside a file that holds many."""

    file: Path
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class Example:
    """What the network sees in one go.

    `path` is how the picture is called: its file or, where `span` says in which bytes of a file it is, file#number.
    `group` names what must not be torn between training and validation: the frame of an object, the picture itself
    (its path below the root) elsewhere. `box` is the part to cut out as (left, top, right, bottom) in whole pixels,
    right and bottom exclusive, inside the picture and not empty; None is the whole picture. `full_scale` is what is
    white where the picture has more than 8 bits, 0 for what its type says. `weight` is how much its loss counts, above
    0. `pixels` is the picture itself where it is in memory, as `decode` gives it. `labels` are those of a picture with
    several tasks, in the place of `label`: TASK/CLASS each, TASK/ where it is known to have no class of a task. `place`
    is path:line of the label, where one file has many. `occluded` and `truncated` are KITTI's state of an object and
    how much of it lies outside its frame, -1 where it is not annotated. `annotated` is the label in the data where a
    list of the spec has corrected it.
    """

    path: Path
    label: str
    group: str
    box: tuple[int, int, int, int] | None = None
    span: Span | None = None
    full_scale: float = 0
    weight: float = 1
    pixels: "npt.NDArray[np.uint8] | None" = field(default=None, compare=False, repr=False)
    labels: tuple[str, ...] = ()
    place: str = field(default="", compare=False, repr=False)
    occluded: float = field(default=-1, compare=False)
    truncated: float = field(default=-1, compare=False)
    annotated: str = field(default="", compare=False, repr=False)

    @property
    def box_text(self) -> str:
        """The box as tables have it: left top right bottom in pixels; empty for a whole picture."""
        return " ".join(map(str, self.box or ()))

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes that it is an example of."""
        return tasks.classes(self.labels) if self.labels else (self.label,)


@dataclass(frozen=True, kw_only=True)
class KittiOptions:
    """Which labelled objects become examples; see KittiConfig in proto/classification.proto. Empty is unset.

    The folders are KITTI's only; everything else holds for each format with boxes. min_height_pixels None: what the
    format has by default.
    """

    image_dir: str = ""
    label_dir: str = ""
    min_height_pixels: float | None = None
    max_occlusion: int = 2
    max_truncation: float = 0.5
    margin: float = 0
    square: bool = False
    class_mapping: Mapping[str, str] = field(default_factory=dict)
    ignored_classes: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class TfrecordOptions:
    """What record files leave open; see TfrecordConfig in proto/classification.proto. Empty is unset."""

    image_dir: str = ""
    label_map: str = ""


@dataclass(frozen=True, kw_only=True)
class MultitaskOptions:
    """What a CSV file leaves open; see MultitaskConfig in proto/classification.proto. None and empty are unset."""

    image_dir: Path | None = None
    tasks: tuple[str, ...] = ()
    multi_label: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class RemoteOptions:
    """What holds for data sets at URLs; see DatasetConfig in proto/classification.proto. max_bytes None is unset."""

    max_bytes: int | None = None
    timeout_seconds: float = 60


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a reader needs besides the folder. `name` is how messages call the folder, such as its field in the spec.

    `split` is the part to read where the data set itself is divided, as in data.yaml; `yolo_root` the folder below
    which data.yaml's paths must be, its own where that is empty; `coco_image_dir`, `group_pattern` and
    `full_scale` are the spec's; `written` is the path as the spec has it, where that is a relative one; `index_dir` is
    where a list of many examples may be kept, None for nowhere.
    """

    report: LeftOut = field(default_factory=LeftOut)
    name: str = "the data set"
    split: Split = "train"
    kitti: KittiOptions = KittiOptions()
    tfrecord: TfrecordOptions = TfrecordOptions()
    multitask: MultitaskOptions = MultitaskOptions()
    remote: RemoteOptions = RemoteOptions()
    yolo_root: str = ""
    coco_image_dir: str = ""
    group_pattern: str = ""
    full_scale: float = 0
    written: str = ""
    index_dir: Path | None = None
