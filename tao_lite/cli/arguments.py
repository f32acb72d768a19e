"""What commands of all kinds take: paths, a spec file, overrides of its fields."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from tao_lite.files import places


class _Path(click.Path):
    """A path that is not empty, as a shell's variable may be: pathlib takes that for the current folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("'' is no path; is a variable of the shell empty? '.' is the current folder", param, ctx)
        return super().convert(value, param, ctx)


class _Results(_Path):
    """A folder, or the URL of one as it is written."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return value if places.is_url(str(value)) else super().convert(value, param, ctx)


PATH = _Path(path_type=Path)
RESULTS = _Results(path_type=Path)

overrides = click.option(
    "--set", "overrides", multiple=True, metavar="FIELD=VALUE", help="Override a field of the spec."
)

_further = click.argument("further", nargs=-1, metavar="[FIELD=VALUE]...")


def further_overrides(command: Callable[..., Any]) -> Callable[..., Any]:
    """The command, which has the option --set, with further arguments that mean the same, as TAO's newer tasks have.

    Of these, results_dir is -r too, where that is an option and not given.
    """

    @functools.wraps(command)
    def merged(**given: Any) -> Any:
        words: tuple[str, ...] = given.pop("further")
        strays = [word for word in words if "=" not in word]
        if strays:
            raise click.UsageError(f"Got unexpected extra argument ({strays[0]}); overrides are FIELD=VALUE")
        results = [word.partition("=")[2] for word in words if word.partition("=")[0] == "results_dir"]
        if results and "results_dir" in given and given["results_dir"] is None:
            given["results_dir"] = RESULTS.convert(results[-1], None, click.get_current_context())
        return command(**{**given, "overrides": (*given["overrides"], *words)})

    return _further(merged)


def spec_file(help_text: str = "", *, required: bool = False) -> Callable[..., Any]:
    """The option that names the spec. A stage that does not require it takes the one inside the model."""
    usual = "Spec file." if required else "Spec file.  [default: the one inside the model]"
    names = ("-e", "--experiment_spec_file", "--experiment_spec", "spec_file")
    return click.option(*names, required=required, type=PATH, help=help_text or usual)
