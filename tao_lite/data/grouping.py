"""Which pictures are of one origin, in every format: copies, or shots of one thing, that val_split must not tear."""

import re
from collections.abc import Iterable
from dataclasses import replace

from tao_lite.data.example import Example
from tao_lite.errors import DataError

FIELD = "dataset_config.group_pattern"

_ROBOFLOW = re.compile(r"(.*)\.rf\.\w+(\.\w+)?")


def grouped(examples: Iterable[Example], pattern: str) -> list[Example]:
    """The examples, each in the group that the pattern finds in the name of its own; see group_pattern in the schema.

    Raises:
        DataError: the pattern is no regular expression.
    """
    if not pattern:
        # Sought first, for the names of most data sets have none.
        return [_renamed(one, _ROBOFLOW.fullmatch(one.group)) if ".rf." in one.group else one for one in examples]
    try:
        found = re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise DataError(f"{FIELD}: {pattern!r} is no regular expression ({error})") from error
    return [_renamed(one, found.search(one.group)) for one in examples]


def _renamed(example: Example, match: re.Match[str] | None) -> Example:
    if match is None:
        return example
    return replace(example, group=match[1 if match.re.groups else 0] or example.group)
