"""Dockerfile, compose.yaml and the Makefile's choice of a runner, as far as they can be judged without an engine."""

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tao_lite.launcher import launch
from tao_lite.launcher.engine import Engine
from tao_lite.launcher.request import Request

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = (ROOT / "containers/Dockerfile").read_text()


def compose() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((ROOT / "containers/compose.yaml").read_text())
    return content


def version() -> str:
    return str(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"])


def test_dockerfile_has_only_syntax_that_every_builder_takes() -> None:
    assert not re.search(r"^# *syntax=|--mount=|--link|--chmod|<<", DOCKERFILE, re.MULTILINE)


def test_torch_comes_from_the_base_in_the_version_of_the_lock() -> None:
    """FIELD.md F7: with the registry's name, for Podman asks none by itself."""
    (pinned,) = re.findall(r"^torch==(\S+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    assert f"ARG BASE_IMAGE=docker.io/pytorch/pytorch:{pinned}-cuda" in DOCKERFILE


def test_only_what_is_listed_goes_to_the_builder() -> None:
    lines = (ROOT / ".dockerignore").read_text().split()
    assert lines[0] == "*"
    copied = {word for line in re.findall(r"^COPY (.*) \S+$", DOCKERFILE, re.MULTILINE) for word in line.split()}
    assert {f"!{name}" for name in copied} == {line for line in lines if line.startswith("!")}


def test_compose_gives_training_the_gpus_and_tensorboard_only_this_machine() -> None:
    """FIELD.md F9: on SELinux it reads the user's files as the launcher does."""
    services = compose()["services"]
    on_selinux = launch.container_options(Request(arguments=[]), Engine(has_selinux=True))["security_opt"]
    for service in services.values():
        assert [option.partition(":")[0] for option in service["security_opt"]] == on_selinux
    (device,) = services["train"]["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}
    assert services["train"]["profiles"] == ["gpu"]
    assert services["train-cpu"]["profiles"] == ["cpu"]
    assert "deploy" not in services["train-cpu"]
    assert all(port.startswith("127.0.0.1:") for service in services.values() for port in service.get("ports", []))
    (results,) = services["tensorboard"]["volumes"]
    assert results["read_only"]
    assert all(service["image"] == f"${{TAO_LITE_IMAGE:-tao-lite:{version()}}}" for service in services.values())
    assert all(service["read_only"] and service["cap_drop"] == ["ALL"] for service in services.values())


@pytest.mark.skipif(shutil.which("docker-compose") is None, reason="needs docker-compose")
def test_compose_itself_takes_the_file() -> None:
    command = [str(ROOT / "containers/compose"), "--profile", "gpu", "--profile", "cpu", "config", "-q"]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize(
    ("runner", "code", "words"),
    [("local", 0, "local"), ("auto", 0, "local"), ("podman", 2, "RUNNER=podman: must be auto, docker, local or slurm")],
)
def test_runner_is_this_machine_where_no_engine_answers(tmp_path: Path, runner: str, code: int, words: str) -> None:
    # No engine can be behind that socket, whatever runs on this machine.
    environment = {**os.environ, "RUNNER": runner, "TAO_LITE_IMAGE": "x", "DOCKER_HOST": f"unix://{tmp_path}/none"}
    chosen = subprocess.run(
        ["containers/run", "--where"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert chosen.returncode == code
    assert words in chosen.stdout + chosen.stderr


def test_blank_in_the_name_of_a_spec_stays_one_path() -> None:
    shown = subprocess.run(
        ["make", "-n", "train", "SPEC=my specs/größe 1.cfg"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert 'train -e "my specs/größe 1.cfg" -r "results/größe 1"' in shown.stdout
