"""The wheel is whole: away from the checkout it installs, runs and trains, and its extras are what the lock gives."""

import os
import re
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent

SPEC = """
model_config { arch: "resnet" n_layers: 10 use_batch_norm: true input_image_size: "3,16,16" }
train_config {
  train_dataset_path: "%s" batch_size_per_gpu: 32 n_epochs: 1 preprocess_mode: "torch"
  optimizer { sgd { momentum: 0.9 } }
  lr_config { cosine { learning_rate: 0.02 } }
}
dataset_config { val_split: 0.25 }
"""


def done(*words: object, cwd: Path) -> str:
    """What a command printed, once it ended well: without the checkout on its path and settings of the user's pip."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PIP_"))}
    finished = subprocess.run(
        list(map(str, words)),
        cwd=cwd,
        env={**kept, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("hatchling", reason="needs the dev extra, which builds")
    folder = tmp_path_factory.mktemp("dist")
    done(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=ROOT)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Programs of an environment that has the wheel, and everything else from this one: torch again takes 5 GB.

    The path of this one's packages is a line of the new one's. Python follows no such line from there on, so that the
    editable install of the checkout stays out.
    """
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, symlinks=True)
    packages = folder / Path(sysconfig.get_path("purelib")).relative_to(sys.prefix)
    (packages / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip = (sys.executable, "-m", "pip", "--python", folder / "bin" / "python", "install", "--no-index", "-q")
    done(*pip, "--ignore-installed", "--no-deps", wheel, cwd=folder)
    # With nowhere to install from, this fails at the first requirement that is not there in a version it allows.
    done(*pip, "tao-lite[train,import,export,report]", cwd=folder)
    return folder / "bin"


def test_the_wheel_holds_the_files_of_the_package_and_no_others(wheel: Path) -> None:
    files = {path for path in (ROOT / "tao_lite").rglob("*") if path.is_file() and path.parent.name != "__pycache__"}
    assert "tao_lite/py.typed" in zipfile.ZipFile(wheel).namelist()
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert held == {str(path.relative_to(ROOT)) for path in files}


@pytest.mark.slow
def test_an_installed_wheel_trains_outside_of_the_checkout(installed: Path, colours: Path, tmp_path: Path) -> None:
    place = done(installed / "python", "-c", "import tao_lite; print(tao_lite.__file__)", cwd=tmp_path)
    assert Path(place).is_relative_to(installed.parent)
    program = installed / "tao-lite"
    assert "Usage: tao-lite" in done(program, "--help", cwd=tmp_path)
    (tmp_path / "spec.cfg").write_text(SPEC % colours)
    done(program, "spec", "check", "spec.cfg", cwd=tmp_path)
    done(program, "train", "-e", "spec.cfg", "-r", "results", cwd=tmp_path)
    assert (tmp_path / "results" / "weights" / "resnet_001.pth").is_file()
    # The page is made from files that are no Python.
    done(program, "report", "-r", "results", cwd=tmp_path)
    assert "</html>" in (tmp_path / "results" / "report.html").read_text()


def test_the_hooks_before_a_commit_are_what_make_lint_runs() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    recipe = re.search(r"^lint:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert recipe
    assert [hook["entry"] for hook in hooks] == recipe[1].replace("$(BIN)", ".venv/bin").strip().split("\n\t")
