"""The stages, a row for each: a stage is a file in `stages/`, a command in `cli/` and a row here.

What a stage reads of a spec stands in the schema, beside each field: required_by, read_by.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """What the program has to know of a stage before it runs."""

    # The stage whose needs of a spec it has, where they are not its own.
    asks_as: str = ""
    # Several processes can share it.
    is_parallel: bool = False
    # It may draw the sample data set and download weights.
    trains: bool = False
    # It reads the data sets of the spec, and keeps decoded images.
    uses_data: bool = False


STAGES = {
    "train": Stage(is_parallel=True, trains=True, uses_data=True),
    "evaluate": Stage(is_parallel=True, uses_data=True),
    "inference": Stage(),
    "prune": Stage(is_parallel=True, uses_data=True),
    "export": Stage(),
    "quantize": Stage(uses_data=True),
    "compress": Stage(asks_as="train", trains=True, uses_data=True),
    "benchmark": Stage(asks_as="train", trains=True, uses_data=True),
    "cross-validate": Stage(asks_as="train", is_parallel=True, trains=True, uses_data=True),
    "tune": Stage(asks_as="train", trains=True, uses_data=True),
}
