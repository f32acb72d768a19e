"""The rows of a compression, which of them no other one beats, and which network is chosen."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tao_lite.run import Run
from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec import schema
from tao_lite.stages.compress.sizes import Made
from tao_lite.stages.compress.times import BATCH_SIZES, Measured
from tao_lite.stages.prune import latency


@dataclass(frozen=True, kw_only=True)
class Row:
    """A file: a size in FP32 or INT8. Times are of an image, in milliseconds, by the number of images in a batch."""

    share: float
    is_int8: bool
    parameters: int
    macs: int
    bytes: int
    value: float
    drop: float  # how much worse than the uncompressed network in FP32
    milliseconds: dict[int, float]
    shares_of_time: dict[int, tuple[float, float, float]]  # of the first row's: the median, and half of the rounds

    @property
    def name(self) -> str:
        """The size and the arithmetic."""
        return f"{self.share:g} {'INT8' if self.is_int8 else 'FP32'}"


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a network has to keep to: the loss of accuracy, and milliseconds of one image."""

    drop: float
    milliseconds: float = float("inf")

    @classmethod
    def of(cls, config: pb.CompressConfig, first: Row) -> "Limits":
        """What the spec allows; `first` is the uncompressed network in FP32."""
        drop = schema.as_written(config.max_accuracy_drop)
        if not config.target_latency:
            return cls(drop=drop)
        kind, value = latency.target(config.target_latency)
        return cls(drop=drop, milliseconds=value if kind == latency.MILLISECONDS else value * first.milliseconds[1])

    def hold(self, row: Row) -> bool:
        """Whether the row keeps to them."""
        return row.drop <= self.drop + 1e-9 and row.milliseconds[1] <= self.milliseconds


def rows(run: Run, made: Sequence[Made], measured: Measured) -> list[Row]:
    """A row for each file, the uncompressed network in FP32 first."""
    return [
        _row(run, one, measured, is_int8=is_int8, best=made[0].merit)
        for one in made
        for is_int8 in (False, True)
        if (one.share, is_int8) in measured
    ]


def smallest(found: Sequence[Row], limits: Limits) -> Row | None:
    """The INT8 file with the fewest bytes that keeps to the limits."""
    return min((row for row in found if row.is_int8 and limits.hold(row)), key=lambda row: row.bytes, default=None)


def front(found: Sequence[Row], cost: Callable[[Row], float]) -> list[Row]:
    """The rows than which no other is both better and cheaper, by rising cost."""
    best, kept = float("inf"), list[Row]()
    for row in sorted(found, key=lambda one: (cost(one), one.drop)):
        if row.drop < best:
            best = row.drop
            kept.append(row)
    return kept


def _row(run: Run, one: Made, measured: Measured, *, is_int8: bool, best: float) -> Row:
    own, found = run.size(one.share), measured[one.share, is_int8]
    value, merit = (one.value_int8, one.merit_int8) if is_int8 else (one.value, one.merit)
    assert value is not None
    assert merit is not None
    name = "int8.onnx" if is_int8 else "float.onnx"
    return Row(
        share=one.share,
        is_int8=is_int8,
        parameters=one.parameters,
        macs=one.macs,
        bytes=(own / "weights" / name).stat().st_size,
        value=value,
        drop=best - merit,
        milliseconds={batch: found[batch].milliseconds / batch for batch in BATCH_SIZES},
        shares_of_time={
            batch: (found[batch].share, found[batch].share_low, found[batch].share_high) for batch in BATCH_SIZES
        },
    )
