"""Example: one picture, or one part of a picture, with its label; and what every format's reader takes and reports."""

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tao_lite.errors import DataError

LOGGED = 20

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Example:
    """What the network sees in one go.

    `group` names what must not be torn between training and validation: the frame of a KITTI object, the picture
    itself (its path below the root) elsewhere. `box` is the part to cut out as (left, top, right, bottom) in whole
    pixels, right and bottom exclusive, inside the picture and not empty; None is the whole picture.
    """

    path: Path
    label: str
    group: str
    box: tuple[int, int, int, int] | None = None


class Report:
    """Counts examples that can't be used, and logs the first of them; with `fail`, the first one ends the run.

    May be called from several threads.
    """

    def __init__(self, *, fail: bool = False) -> None:
        self.fail = fail
        self.count = 0
        self._lock = threading.Lock()

    def __call__(self, place: str, problem: str) -> None:
        """Note that `place` (a path, or path:line) was left out because of `problem`.

        Raises:
            DataError: the policy is FAIL.
        """
        if self.fail:
            raise DataError(
                f"{place}: {problem}; repair it, or set dataset_config.on_bad_example: SKIP to go on without it"
            )
        with self._lock:
            self.count += 1
            count = self.count
        if count <= LOGGED:
            logger.warning("%s: %s", place, problem)
        if count == LOGGED:
            logger.warning("further problems are counted, not shown")


@dataclass(frozen=True, kw_only=True)
class KittiOptions:
    """Which objects of KITTI labels become examples; see KittiConfig in proto/classification.proto. Empty is unset."""

    image_dir: str = ""
    label_dir: str = ""
    min_height_pixels: float = 16
    max_occlusion: int = 2
    max_truncation: float = 0.5
    margin: float = 0
    square: bool = False
    class_mapping: Mapping[str, str] = field(default_factory=dict)
    ignored_classes: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a reader needs besides the folder. `name` is how messages call the folder, such as its field in the spec."""

    report: Report = field(default_factory=Report)
    name: str = "the data set"
    kitti: KittiOptions = KittiOptions()
