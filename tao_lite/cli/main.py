"""The command line: arguments to spec to stage, and exit codes. A command is imported when it is asked for.

Exit codes: 0 success, 1 our fault, 2 the user's, 75 another process was lost, 128 + signal when the run was stopped
(130 for Ctrl-C).
"""

import importlib
import logging
import os
import sys
from collections.abc import Sequence

import click

from tao_lite.errors import USER_ERROR, Interrupted, TaoLiteError, shown
from tao_lite.machine import distributed
from tao_lite.monitor import console

OUR_FAULT, CTRL_C = 1, 130

# Each command's name, which is its module's in this folder (- is _ there), and what it is called there.
_COMMANDS = {
    "benchmark": "benchmark",
    "compress": "compress",
    "cross-validate": "cross_validate",
    "dataset": "dataset_group",
    "doctor": "doctor_command",
    "evaluate": "evaluate",
    "export": "export",
    "inference": "inference",
    "prune": "prune",
    "quantize": "quantize",
    "report": "report_command",
    "spec": "spec_group",
    "train": "train",
    "tune": "tune",
    "verify": "verify_command",
}

# TAO lets these take several words; each becomes an option of its own for click.
_LISTS = ("-el", "--excluded_layers", "--gpu_index")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    console.reopen_closed()
    try:
        given = _spread_lists(sys.argv[1:] if arguments is None else arguments)
        # A stage of several processes passes the words on to them.
        code = cli.main(given, prog_name="tao-lite", standalone_mode=False, obj=given)
    except click.exceptions.ClickException as error:
        error.show()
        code = USER_ERROR
    except TaoLiteError as error:
        click.echo(f"Error: {shown(str(error))}", err=True)
        code = error.exit_code
    except OSError as error:
        logging.getLogger(__name__).debug("where it happened", exc_info=True)
        click.echo(f"Error: {shown(str(error.filename or 'a file'))}: {error.strerror or error}", err=True)
        code = USER_ERROR
    except Interrupted as stopped:
        # All ranks stop together.
        if distributed.is_main():
            click.echo(shown(str(stopped)), err=True)
        code = 128 + stopped.signal_number
    except (click.exceptions.Abort, KeyboardInterrupt):
        code = CTRL_C
    except Exception as error:
        if _is_short_of_memory(error):
            click.echo(f"Error: too little memory ({shown(str(error))}); raise its limit (ulimit -v)", err=True)
            sys.exit(USER_ERROR)
        logging.getLogger(__name__).exception("This is a fault of tao_lite; please report it with these lines")
        code = OUR_FAULT
    if distributed.launched():
        # Threads of gloo may outlive the interpreter's end and abort the process after its work is done (exit 134;
        # seen in 11 of 60 runs of a bare two-process script on torch 2.15, in none that ended like this).
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code or 0)
    sys.exit(code or 0)


class _Commands(click.Group):
    """Imports a command's module when the command is asked for: not all of them for one."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"tao_lite.cli.{cmd_name.replace('-', '_')}")
        command: click.Command = getattr(module, _COMMANDS[cmd_name])
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(package_name="tao-lite")
def cli() -> None:
    """Image classification from TAO spec files: train, evaluate, prune, retrain."""


def _is_short_of_memory(error: Exception) -> bool:
    """Whether the system refused memory to the interpreter, or room for a library to it."""
    is_library = isinstance(error, ImportError) and "failed to map segment" in str(error)
    return is_library or isinstance(error, MemoryError) or "cannot allocate memory" in str(error).lower()


def _spread_lists(arguments: Sequence[str]) -> list[str]:
    """`-el a b` as `-el a -el b`, which is how click takes several values."""
    spread: list[str] = []
    flag = ""
    for argument in arguments:
        if argument.startswith("-"):
            flag = argument if argument in _LISTS else ""
        elif flag and spread[-1] != flag and "=" not in argument:
            spread.append(flag)
        spread.append(argument)
    return spread


if __name__ == "__main__":
    main()
