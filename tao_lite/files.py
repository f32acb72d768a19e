"""How a file comes to be at its path: whole, or not at all."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path in the same folder to write to; when the block ends, what is there takes the place of `path`.

    Readers see the old file or the new one, never a part; nothing is left of a block that fails.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    # A process that was killed may have had this number.
    temporary.unlink(missing_ok=True)
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
