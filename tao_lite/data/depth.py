"""Pictures of more than 8 bits whose values use little of their type's range: 10 or 12 bits in a file of 16."""

import contextlib
from collections.abc import Sequence

from tao_lite.data.decode import depth
from tao_lite.data.deep import Depth
from tao_lite.data.example import Example
from tao_lite.errors import DataError

FIELD = "dataset_config.full_scale"
MAX_SHARE = 0.5
"""Of the type's range, above which the pictures are taken to use it."""
NUM_SAMPLED = 16


def sampled(examples: Sequence[Example]) -> list[Depth]:
    """Of a few examples, evenly chosen, those that have more than 8 bits; none where the first has not."""
    found = []
    for example in examples[:: -(-len(examples) // NUM_SAMPLED) or 1]:
        with contextlib.suppress(DataError):  # it is reported when its turn comes
            seen = depth(example.path, example.span)
            if seen is None:
                break
            found.append(seen)
    return found


def remark(found: Sequence[Depth], full_scale: float) -> str:
    """What to say of the range of values that was seen, and the value to set; empty where all is well."""
    if not found:
        return ""
    low, high, full = min(one.low for one in found), max(one.high for one in found), max(one.full for one in found)
    fits = full_scale or full
    if high > fits or (not full_scale and high <= full * MAX_SHARE):
        white = f"{FIELD}, {full_scale:g}, is" if full_scale else f"{full:g} is"
        return (
            f"the values of {len(found)} pictures of more than 8 bits are {low:g} to {high:g}, and {white} white; "
            f"set {FIELD}: {_fitting(high):g}"
        )
    return ""


def _fitting(high: float) -> float:
    """The largest number of so many bits, 8 at least."""
    return float(2 ** max(int(high).bit_length(), 8) - 1) if high > 1 else 1.0
