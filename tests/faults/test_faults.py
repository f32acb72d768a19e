"""The sweep: a system call on a path of the results folder fails; nothing is lost, and the same command mends it.

A seeded sample of the faults; `make faults` tries all of them, FAULTS=2/6 in the environment the second of six parts.
"""

import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.faults import sweep
from tests.faults.sweep import FOR_EVER, Command, Fault, Forge

SEED = int(os.environ.get("FAULTS_SEED", "0"))
SIZES = {"train": 20, "resume": 16, "prune": 8, "export": 4, "convert": 12}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("gcc"), reason="gcc makes the library that lets system calls fail"),
    pytest.mark.timeout(7200),
]


@pytest.fixture(scope="module")
def forge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forge]:
    one = Forge(tmp_path_factory.mktemp("forge"))
    yield one
    one.close()


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for name in ("dull", "bright"):
        (folder / name).mkdir()
        for number in range(6):
            pixels = rng.integers(0, 128, (32, 32, 3), np.uint8) + (127 if name == "bright" else 0)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{number}.png")
    path = folder.with_suffix(".cfg")
    path.write_text(sweep.SPEC % {"data": folder, "arch": "squeezenet"})
    return path


@pytest.fixture(scope="module")
def results(forge: Forge, spec: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole training that nothing disturbed."""
    return whole(forge, spec, tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="module")
def shallow(forge: Forge, spec: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same of a network with few layers, which is exported in half the time."""
    path = spec.with_name("shallow.cfg")
    path.write_text(spec.read_text().replace("squeezenet", "alexnet"))
    return whole(forge, path, tmp_path_factory.mktemp("shallow"))


def whole(forge: Forge, spec: Path, folder: Path) -> Path:
    ended = forge.run(("train", "-e", spec, "-r", folder / "results", "--gpus", 0))
    assert ended.code == 0, ended.said
    return folder / "results"


@pytest.fixture(scope="module")
def commands(
    forge: Forge, spec: Path, results: Path, shallow: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Command]:
    stopped = tmp_path_factory.mktemp("stopped") / "results"
    train = ("train", "-e", spec, "--gpus", 0, "-r")
    # The last epoch can't be saved: what stays is the one before.
    ended = forge.run((*train, stopped), Fault("rename", f"{stopped}/weights/squeezenet_002.pth", 5, 0, FOR_EVER))
    assert ended.code == 2, ended.said
    on_best = ("-e", spec, "--gpus", 0, "-r")
    return {
        "train": Command(lambda folder: (*train, folder), None, sweep.trained),
        "resume": Command(lambda folder: (*train, folder), stopped, sweep.trained),
        "prune": Command(lambda folder: ("prune", "-pth", 0.3, *on_best, folder), results, sweep.pruned),
        "export": Command(
            lambda folder: ("export", *on_best, folder), shallow, lambda folder: sweep.files(folder / "weights")
        ),
        "convert": Command(
            lambda folder: ("dataset", "convert", "-e", spec, "-o", folder, "--to", "image_folder"), None, sweep.files
        ),
    }


@pytest.mark.parametrize("name", SIZES)
def test_a_failing_system_call_loses_nothing_and_the_same_command_mends_it(
    name: str, forge: Forge, commands: dict[str, Command], tmp_path: Path
) -> None:
    command, folder = commands[name], tmp_path / "results"
    command.prepare(folder)
    undisturbed = forge.run(command.arguments(folder))
    assert undisturbed.code == 0, undisturbed.said
    expected = command.outcome(folder)
    assert expected
    chosen = list(sweep.faults(forge, command, folder))
    wanted = os.environ.get("FAULTS", "")
    if not wanted:
        chosen = sweep.sample(chosen, SIZES[name], SEED)
    random.Random(SEED).shuffle(chosen)
    if "/" in wanted:
        part, num_parts = map(int, wanted.split("/"))
        chosen = chosen[part - 1 :: num_parts]
    found = [line for fault in chosen for line in sweep.problems(forge, command, folder, fault, expected)]
    assert not found, "\n\n".join([f"{len(found)} of {len(chosen)} faults ended wrongly", *found])


@pytest.mark.parametrize(
    ("name", "code"), [("train", 0), ("check", 2), ("report", 0), ("convert", 0), ("inference", 0)]
)
@pytest.mark.parametrize(("kind", "times"), [("open", FOR_EVER), ("read", FOR_EVER), ("read", 1)])
def test_a_picture_that_the_system_cannot_read_is_named_and_the_others_are_used(
    name: str, code: int, *, kind: str, times: int, forge: Forge, spec: Path, results: Path, tmp_path: Path
) -> None:
    """FIELD.md B4."""
    folder, data = tmp_path / "results", spec.with_suffix("")
    arguments = {
        "train": ("train", "-e", spec, "--gpus", 0, "-r", folder, "--set", "dataset_config.max_bad_share=1"),
        "check": ("dataset", "check", "-e", spec),
        "report": ("dataset", "report", "-e", spec),
        "convert": ("dataset", "convert", "-e", spec, "-o", folder, "--to", "image_folder"),
        "inference": ("inference", "-m", results / "weights" / "best.pth", "-d", data, "--gpus", 0, "-r", folder),
    }[name]
    ended = forge.run(arguments, Fault(kind, f"{data}/dull/3.png", 5, 0, times))
    assert f"{data}/dull/3.png: Input/output error; waiting for it" in ended.said
    is_gone = times == FOR_EVER
    assert ended.code == (code if is_gone else 0), ended.said
    assert ("can't be read now (Input/output error, EIO)" in ended.said) == is_gone
