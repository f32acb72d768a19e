"""The doctor: one line for each thing, and exit code 2 only where nothing could train."""

import subprocess
import sys
from pathlib import Path

import pytest

from tao_lite.launcher import doctor
from tao_lite.launcher.doctor import NOTE, OK, PROBLEM, Condition


@pytest.fixture
def no_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("LAUNCHER_MOUNTS", raising=False)


@pytest.mark.usefixtures("no_engine")
def test_each_thing_has_one_line_that_begins_with_its_state(tmp_path: Path) -> None:
    found = list(doctor.conditions(tmp_path / "results"))
    lines = doctor.lines(found)
    assert len(lines) == len(found)
    assert all(line.split()[0] in (OK, NOTE, PROBLEM) and "\n" not in line for line in lines)
    assert {"tao_lite", "libraries", "cpu", "results", "docker"} <= {one.name for one in found}
    assert doctor.can_train(found)


@pytest.mark.usefixtures("no_engine")
def test_engine_that_does_not_answer_is_named_with_what_to_do() -> None:
    (finding,) = doctor.containers()
    assert "no Docker engine answers; start it" in finding.text
    assert finding.stops_containers


def test_training_is_impossible_only_where_both_ways_are_closed() -> None:
    here, inside = Condition(NOTE, "a", "", stops_here=True), Condition(NOTE, "b", "", stops_containers=True)
    assert doctor.can_train([here])
    assert doctor.can_train([inside])
    assert not doctor.can_train([here, inside])


@pytest.mark.usefixtures("no_engine")
def test_paths_of_a_spec_that_are_not_there_are_problems(tmp_path: Path) -> None:
    spec = tmp_path / "a.cfg"
    spec.write_text('train_config { train_dataset_path: "/no/such" n_epochs: 1 }')
    found = list(doctor.paths(None, spec))
    assert Condition(PROBLEM, "reads", "/no/such: is not there") in found
    assert Condition(OK, "reads", str(spec)) in found


def test_mounts_file_that_is_wrong_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "m.json").write_text("{")
    (finding,) = doctor.paths(tmp_path / "m.json", None)
    assert finding.state == PROBLEM
    assert "is not JSON" in finding.text


def test_version_of_the_driver_is_read_from_the_kernel(tmp_path: Path) -> None:
    file = tmp_path / "version"
    file.write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.95.05  Tue Sep 23 10:11:16 UTC 2025\n")
    assert doctor._driver(file) == "580.95.05"
    assert doctor._driver(tmp_path / "none") == ""


@pytest.mark.slow
@pytest.mark.usefixtures("no_engine")
def test_command_ends_with_0_where_training_works(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tao_lite.cli", "doctor", "-r", str(tmp_path)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stdout + finished.stderr
