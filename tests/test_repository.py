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
    ("stages/prune",),
    ("stages/train", "stages/report", "stages/benchmark"),
    ("stages/evaluate", "stages/inference", "stages/preflight"),
    ("training", "stages/dataset", "stages/export"),
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
