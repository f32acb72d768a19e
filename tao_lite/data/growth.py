"""How large training images are in an epoch, where they grow to the network's input size."""

import math
from dataclasses import dataclass

from tao_lite.data.geometry import Size
from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec.schema import as_written

STEP, SMALL_STEP = 32, 16
"""Pixels by which a side grows, and one of fewer than SMALL_BELOW."""
SMALL_BELOW = 128


@dataclass(frozen=True)
class Growth:
    """Sizes by epoch: from a share of the whole size, in equal parts of `num_epochs`, after which it is whole."""

    whole: Size
    from_share: float
    num_epochs: float

    @classmethod
    def of(cls, train: pb.TrainConfig, whole: Size) -> "Growth | None":
        """As the spec says; None where images have the whole size in every epoch."""
        config = train.progressive_resize
        if not train.HasField("progressive_resize"):
            return None
        return cls(whole, as_written(config.from_share), as_written(config.until) * train.n_epochs)

    def size(self, epoch: int) -> Size:
        """Height and width after `epoch` whole epochs."""
        share = self.from_share + (1 - self.from_share) * epoch / self.num_epochs
        height, width = (_side(side, share) for side in self.whole)
        return height, width

    def sizes(self) -> list[Size]:
        """All of them, each once, the smallest first."""
        return list(dict.fromkeys(self.size(epoch) for epoch in range(math.ceil(self.num_epochs) + 1)))


def _side(whole: int, share: float) -> int:
    """The share of a side, down to a whole number of steps, but one at least."""
    step = SMALL_STEP if whole < SMALL_BELOW else STEP
    return whole if share >= 1 else min(whole, max(step, int(round(whole * share, 6)) // step * step))
