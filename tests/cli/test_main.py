"""The command line: what it takes, and what it does not import."""

import subprocess
import sys

import click
import pytest

from tao_lite.cli.main import _spread_lists, cli, main
from tao_lite.spec.stages import STAGES


@pytest.mark.parametrize(
    "arguments", [["--help"], ["train", "--help"], ["spec", "check", "specs/classification_spec.cfg"]]
)
def test_torch_is_not_imported_before_a_stage_runs(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom tao_lite.cli.main import main\n"
        f"try:\n    main({arguments})\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        "heavy = {'torch', 'torchvision', 'numpy', 'PIL', 'tensorboard', 'rich'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr


def test_a_command_imports_no_other_one() -> None:
    code = (
        "import sys\nfrom tao_lite.cli.main import main\n"
        "try:\n    main(['spec', 'check', 'specs/classification_spec.cfg'])\nexcept SystemExit:\n    pass\n"
        "others = {f'tao_lite.cli.{name}' for name in ('dataset', 'train', 'export', 'options', 'session')}\n"
        "assert 'tao_lite.cli.spec' in sys.modules and not others & set(sys.modules)"
    )
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr


def test_every_command_that_runs_a_stage_is_a_row_of_the_table() -> None:
    context = click.Context(cli)
    commands = [command for name in cli.list_commands(context) if (command := cli.get_command(context, name))]
    runs = {command.name for command in commands if any(one.name == "num_processes" for one in command.params)}
    assert runs == set(STAGES)


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "-e", "specs/classification_spec.cfg", "-r", ""],
        ["evaluate", "-m", ""],
        ["inference", "-m", "x.pth", "-d", ""],
        ["export", "-m", "x.pth", "-o", ""],
        ["dataset", "sample", "-o", ""],
    ],
)
def test_an_empty_path_is_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """FIELD.md B9: pathlib takes it for the current folder, and so would a run write there."""
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert "'' is no path; is a variable of the shell empty? '.' is the current folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "spread"),
    [
        (["prune", "-el", "a", "b", "-pg", "8"], ["prune", "-el", "a", "-el", "b", "-pg", "8"]),
        (["train", "--gpu_index", "0", "1"], ["train", "--gpu_index", "0", "--gpu_index", "1"]),
        (["prune", "-el", "a", "-el", "b"], ["prune", "-el", "a", "-el", "b"]),
        (["spec", "check", "a", "b"], ["spec", "check", "a", "b"]),
    ],
)
def test_lists_are_taken_as_tao_takes_them(given: list[str], spread: list[str]) -> None:
    assert _spread_lists(given) == spread


def test_what_is_said_moves_no_terminals_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    """FIELD.md C5."""
    with pytest.raises(SystemExit) as end:
        main(["train", "-e", "\x1b[2J\nab\rsent.cfg"])
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("Error: \\x1b[2J")
    assert not {"\x1b", "\r"} & set(said)
