"""Where what is said goes: the log's form, level and file."""

import logging
import os
import sys
from pathlib import Path

from tao_lite.files import writing
from tao_lite.machine import distributed
from tao_lite.monitor import console


def log_to(path: Path | None = None, *, is_verbose: bool = False) -> None:
    """Send all output to the file where one is given; else the log goes to standard error.

    Of several ranks, one tells what went well and all what did not.

    Raises:
        RunError: the file can't be written, or the environment of this rank is not torchrun's.
    """
    if path:
        with writing.open_to_append(path) as file:
            os.dup2(file.fileno(), sys.stdout.fileno())
            os.dup2(file.fileno(), sys.stderr.fileno())
    form = "%(asctime)s [%(levelname)s] %(message)s"
    logging.basicConfig(level=logging.WARNING, format=form, datefmt="%H:%M:%S", handlers=[console.log_handler()])
    level = logging.DEBUG if is_verbose else logging.INFO
    logging.getLogger("tao_lite").setLevel(level if distributed.is_main() else logging.WARNING)
