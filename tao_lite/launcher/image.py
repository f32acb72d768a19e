"""The image that containers are made of: its name, and whether it holds this very package.

As a program, `python3 tao_lite/launcher/image.py` prints the digest for `make image`; so only the standard library is
imported.
"""

import hashlib
import importlib.metadata
import os
from collections.abc import Mapping
from pathlib import Path

SOURCE_LABEL = "tao_lite.source"
VERSION_LABEL = "org.opencontainers.image.version"


def name() -> str:
    """TAO_LITE_IMAGE of the environment, else tao-lite with the version of this package."""
    return os.environ.get("TAO_LITE_IMAGE") or f"tao-lite:{importlib.metadata.version('tao-lite')}"


def is_current(labels: Mapping[str, str]) -> bool:
    """Whether an image with these labels holds this code; one that does not say is another's, and taken as it is."""
    return labels.get(SOURCE_LABEL, "") in ("", source_digest())


def source_digest(package: Path = Path(__file__).parents[1]) -> str:
    """First half of the SHA-256 of all files that the package installs and their names: equal where the code is."""
    digest = hashlib.sha256()
    for path in sorted(path for path in package.rglob("*") if path.is_file()):
        inside = path.relative_to(package)
        # What Python, editors and file managers leave behind is no part of the package.
        if any(part == "__pycache__" or part.startswith(".") for part in inside.parts):
            continue
        content = path.read_bytes()
        digest.update(f"{inside.as_posix()} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()[:32]


if __name__ == "__main__":
    print(source_digest())  # noqa: T201 - the program's output
