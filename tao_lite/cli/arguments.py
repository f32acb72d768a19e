"""What commands of all kinds take: paths, a spec file, overrides of its fields."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click


class _Path(click.Path):
    """A path that is not empty, as a shell's variable may be: pathlib takes that for the current folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("'' is no path; is a variable of the shell empty? '.' is the current folder", param, ctx)
        return super().convert(value, param, ctx)


PATH = _Path(path_type=Path)

overrides = click.option(
    "--set", "overrides", multiple=True, metavar="FIELD=VALUE", help="Override a field of the spec."
)


def spec_file(help_text: str = "", *, required: bool = False) -> Callable[..., Any]:
    """The option that names the spec. A stage that does not require it takes the one inside the model."""
    usual = "Spec file." if required else "Spec file.  [default: the one inside the model]"
    names = ("-e", "--experiment_spec_file", "--experiment_spec", "spec_file")
    return click.option(*names, required=required, type=PATH, help=help_text or usual)
