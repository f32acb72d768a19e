"""The repository keeps its own rules: layers, generated code, shipped specs."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tao_lite import errors
from tao_lite.models import architectures
from tao_lite.spec.load import load

ROOT = Path(__file__).resolve().parent.parent

# The rooms of the package, top down. Imports point down only, never to another room of the floor.
FLOORS = (
    ("cli", "__init__"),
    ("stages/compress",),
    ("stages/prune", "stages/quantize", "stages/cross_validate", "stages/audit", "stages/tune"),
    ("stages/train", "stages/report", "stages/benchmark"),
    ("stages/evaluate", "stages/export", "stages/inference", "stages/preflight"),
    ("training", "stages/dataset", "stages/select"),
    ("monitor", "checkpoint", "compat"),
    ("data", "metrics", "models", "launcher", "run", "schedule"),
    ("machine", "pruning", "spec"),
    ("files",),
    ("errors",),
)


def room(module: str) -> str:
    """The room of a dotted module of tao_lite: a folder or a file of the package or, of stages/, below that."""
    parts = module.split(".")[1:]
    return "/".join(parts[: 2 if parts[:1] == ["stages"] else 1])


def imported(path: Path) -> set[str]:
    """Rooms that a file imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "tao_lite":
            is_package = (ROOT / node.module.replace(".", "/")).is_dir()
            found |= {room(f"{node.module}.{alias.name}" if is_package else node.module) for alias in node.names}
    return found


def test_imports_point_down_only() -> None:
    floor = {name: height for height, names in enumerate(reversed(FLOORS)) for name in names}
    offenders = []
    for path in sorted((ROOT / "tao_lite").rglob("*.py")):
        own = room(".".join(path.relative_to(ROOT).with_suffix("").parts))
        offenders += [
            f"{path.relative_to(ROOT)} (floor {floor[own]}) imports {other} (floor {floor[other]})"
            for other in sorted(imported(path) - {own})
            if floor[other] >= floor[own]
        ]
    assert offenders == []


@pytest.mark.parametrize("path", sorted((ROOT / "specs").glob("*.cfg")), ids=lambda path: path.name)
def test_every_shipped_spec_loads_without_a_warning(path: Path) -> None:
    spec = load(path)
    assert spec.warnings == ()
    architectures.find(spec.experiment.model_config)


def test_generated_code_is_what_the_schema_gives() -> None:
    checked = subprocess.run(
        [sys.executable, ROOT / "proto" / "generate.py", "--check"], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr


def test_no_file_loads_pickles_or_evaluates_text() -> None:
    forbidden = ("weights_only=False", "pickle.load", "eval(", "exec(", "shell=True", "os.system")
    allowed = {"network.eval()", ".eval()"}
    for path in sorted((ROOT / "tao_lite").rglob("*.py")):
        text = path.read_text()
        for phrase in allowed:
            text = text.replace(phrase, "")
        assert not [phrase for phrase in forbidden if phrase in text], path


def test_the_drawn_tree_of_errors_holds_every_error() -> None:
    drawn = re.findall(r"^[├└]── (\w+)", errors.__doc__ or "", re.MULTILINE)
    assert drawn == [error.__name__ for error in errors.TaoLiteError.__subclasses__()]


# Who opens files by other means, and why they are none that others wrote, and none that has to be whole.
OPENERS = {
    "files/reading.py": "the one way to open",
    "files/writing.py": "the one way to write",
    "data/cache/file.py": "the cache's own file, whose every entry has a checksum",
    "data/cache/key.py": "our own code",
    "data/formats/shard_index.py": "a tar file that reading has opened",
    "data/remote/shards.py": "the shard cache's own files, each checked by its sha256",
    "data/index.py": "our own code, and folders to lock",
    "files/arrays.py": "our own file, which has a checksum and is mapped",
    "launcher/container.py": "/dev/null",
    "launcher/doctor.py": "/proc",
    "launcher/image.py": "our own package, read by a bare Python",
    "launcher/request.py": "/etc/localtime",
    "machine/host.py": "/sys and /proc",
    "machine/peers.py": "/proc",
    "machine/usage.py": "/proc",
    "monitor/console.py": "/dev/null",
    "monitor/events.py": "TensorBoard's file, new and appended to",
    "monitor/mirror.py": "its own output, by number",
    "spec/reference.py": "our own meanings.json",
    "stages/export/clients/tao_deploy_verify.py": "leaves the house: it reads answers of another program",
    "stages/export/clients/triton_classify.py": "leaves the house: it sends pictures to a server",
    "stages/export/clients/way.py": "leaves the house: it reads the preprocess.json beside it",
    "stages/export/targets.py": "our own clients",
}
OPENS = {"open", "fdopen", "read_text", "read_bytes", "write_text", "write_bytes"}
"""Names of functions and methods by which Python opens a file."""
IN_MEMORY = {"Image", "reading"}
"""Modules whose function of such a name is given an open file, or is the one way."""


def opens(path: Path) -> bool:
    """Whether the code opens a file by Python's own means."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            function = node.func
            if isinstance(function, ast.Name) and function.id in OPENS:
                return True
            if isinstance(function, ast.Attribute) and function.attr in OPENS:
                owner = function.value.id if isinstance(function.value, ast.Name) else ""
                if owner not in IN_MEMORY:
                    return True
    return False


def test_files_are_opened_and_written_in_one_place() -> None:
    """FIELD.md A1, B3, C4: who else opens some is named with the reason."""
    package = ROOT / "tao_lite"
    found = {path.relative_to(package).as_posix() for path in package.rglob("*.py") if opens(path)}
    assert found == set(OPENERS)
