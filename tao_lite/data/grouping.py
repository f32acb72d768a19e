"""Which pictures are of one origin, in every format: copies, or shots of one thing, that val_split must not tear."""

import re
from collections.abc import Sequence

from tao_lite.data.example import Example
from tao_lite.data.examples import Examples
from tao_lite.errors import DataError

FIELD = "dataset_config.group_pattern"

_ROBOFLOW = re.compile(r"(.*)\.rf\.\w+(\.\w+)?")


def grouped(examples: Sequence[Example], pattern: str) -> Examples:
    """The examples, each in the group that the pattern finds in the name of its own; see group_pattern in the schema.

    Raises:
        DataError: the pattern is no regular expression.
    """
    found = Examples.of(examples)
    if not pattern:
        # Sought first, for the names of most data sets have none.
        has_copies = found.texts("group").mention(".rf.")
        return found.regrouped(lambda name: _part(name, _ROBOFLOW.fullmatch(name))) if has_copies else found
    try:
        sought = re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise DataError(f"{FIELD}: {pattern!r} is no regular expression ({error})") from error
    return found.regrouped(lambda name: _part(name, sought.search(name)))


def _part(name: str, match: re.Match[str] | None) -> str:
    return name if match is None else match[1 if match.re.groups else 0] or name
