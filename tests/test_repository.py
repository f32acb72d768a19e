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

LAYERS = {
    "errors": 0,
    "spec": 1,
    "run": 1,
    "distributed": 1,
    "host": 1,
    "models": 2,
    "data": 2,
    "pruning": 2,
    "arithmetic": 3,
    "average": 3,
    "calibration": 3,
    "checkpoint": 3,
    "compiled": 3,
    "diagrams": 3,
    "distillation": 3,
    "graph": 3,
    "memory": 3,
    "metrics": 3,
    "mistakes": 3,
    "monitor": 3,
    "console": 3,
    "chart": 3,
    "compat": 3,
    "optim": 3,
    "schedule": 3,
    "sgd": 3,
    "precision": 3,
    "precision_recall": 3,
    "energy": 3,
    "events": 3,
    "engine": 4,
    "float16": 3,
    "stages": 5,
    "session": 6,
    "image": 1,
    "mounts": 1,
    "needs": 2,
    "engine_client": 2,
    "container": 3,
    "request": 3,
    "launcher": 4,
    "doctor": 6,
    "cli_docker": 6,
    "cli_doctor": 6,
    "cli_options": 6,
    "cli_benchmark": 6,
    "cli_prune": 6,
    "cli_report": 6,
    "diagnosis": 6,
    "cli_dataset": 6,
    "cli_spec": 6,
    "cli": 6,
}


def imported(path: Path) -> set[str]:
    """Parts of tao_lite that a file imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "tao_lite":
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("tao_lite."):
            found.add(node.module.split(".")[1])
    return found


def test_imports_point_down_only() -> None:
    offenders = []
    for path in sorted((ROOT / "tao_lite").rglob("*.py")):
        part = path.relative_to(ROOT / "tao_lite").parts[0].removesuffix(".py")
        if part == "__init__":
            continue
        offenders += [
            f"{path.relative_to(ROOT)} (layer {LAYERS[part]}) imports {other} (layer {LAYERS[other]})"
            for other in imported(path)
            if LAYERS[other] > LAYERS[part]
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
