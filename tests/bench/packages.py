"""The table of what becomes of each architecture in each package, in specs/guides/deployment.md.

    python -m tests.bench.packages [ARCHITECTURE...] [--for TARGET]

Makes all packages of each architecture in its smallest depth, of random weights, at 64 pixels, and puts into the table
by how much at most a probability of their client differs from the network's in PyTorch, on the reference pictures.
With names, only those rows are made anew; with a target, only its column.
"""

import argparse
import contextlib
import io
import json
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tao_lite.machine import distributed
from tao_lite.models.architectures import ARCHITECTURES, Architecture
from tao_lite.run import Run
from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec.load import Spec
from tao_lite.stages.export.package import Request, package
from tao_lite.stages.export.targets import TARGETS
from tests.checkpoints import answering
from tests.conftest import ROOT

PAGE = ROOT / "specs" / "guides" / "deployment.md"
BEGIN, END = "<!-- written by tests/bench/packages.py -->\n", "<!-- end of what tests/bench/packages.py wrote -->"
_ROW = re.compile(r"^\| `(\w+)`.*$", re.MULTILINE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("architectures", nargs="*", metavar="ARCHITECTURE")
    parser.add_argument("--for", dest="target", choices=list(TARGETS))
    given = parser.parse_args()
    for name in given.architectures or list(ARCHITECTURES):
        targets = (given.target,) if given.target else tuple(TARGETS)
        put(name, row(ARCHITECTURES[name], {**cells(name), **measured(ARCHITECTURES[name], targets)}))


def put(name: str, line: str) -> None:
    """The row into the page."""
    print(line, flush=True)
    rows = {one: row(ARCHITECTURES[one], cells(one)) for one in stored()} | {name: line}
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    header = ["architecture", *TARGETS]
    lines = [
        f"| {' | '.join(header)} |",
        f"|{'---|' * len(header)}",
        *(rows[one] for one in ARCHITECTURES if one in rows),
    ]
    PAGE.write_text("\n".join([before + BEGIN, *lines, "", END]) + after)


def cells(name: str) -> dict[str, str]:
    """What the page says of an architecture, by target."""
    header, *_ = (line for line in PAGE.read_text().partition(BEGIN)[2].splitlines() if line)
    split = [[cell.strip() for cell in line.split("|")[2:-1]] for line in (header, stored().get(name, ""))]
    return dict(zip(*split, strict=False))


def stored() -> dict[str, str]:
    """The rows of the page by architecture."""
    table = PAGE.read_text().partition(BEGIN)[2].partition(END)[0]
    return {match[1]: match[0] for match in _ROW.finditer(table)}


def row(architecture: Architecture, found: Mapping[str, str]) -> str:
    """The line of an architecture; what was not measured yet is left open."""
    depth = min(architecture.n_layers, default=0)
    name = " ".join([f"`{architecture.name}`", *([str(depth)] if depth else [])])
    return f"| {' | '.join([name, *(found.get(target, '') for target in TARGETS)])} |"


def measured(architecture: Architecture, targets: tuple[str, ...]) -> dict[str, str]:
    """By how much the packages for these targets differ."""
    depth = min(architecture.n_layers, default=0)
    config = f'arch: "{architecture.name}" n_layers: {depth} use_batch_norm: true input_image_size: "3,64,64"'
    with tempfile.TemporaryDirectory() as folder:
        path = answering(Path(folder), config, "torch")
        run = Run(results=Path(folder) / "results", world=distributed.start("cpu"))
        request = Request(folder=Path(folder) / "package", runtimes=targets, verify=0)
        with contextlib.redirect_stdout(io.StringIO()):
            package(Spec(pb.Experiment(), path), run, path, request)
        found = json.loads(run.summary("export").read_text())["runtimes"]
    return {target: f"{found[target]['largest_difference']:.0e}" for target in targets}


if __name__ == "__main__":
    main()
