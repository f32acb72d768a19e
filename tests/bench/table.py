"""The table of what `make bench` measured, from the files in results/.

    python -m tests.bench.table

Prints it and puts it between the two comments of README.md beside it that name this program.
"""

import argparse
import json
import re
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from tao_lite.monitor import console
from tests.bench.samples import RESULTS
from tests.bench.targets import TARGETS, Results

README = Path(__file__).with_name("README.md")
BEGIN, END = "<!-- written by tests/bench/table.py -->", "<!-- end of what tests/bench/table.py wrote -->"
COLUMNS = ("what", "against", "target", "measured", "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    results = read(RESULTS)
    README.write_text(replaced(README.read_text(), section(results)))
    console.table("Targets", COLUMNS, [target.row(results) for target in TARGETS])
    for line in accuracies(results) + machines(results):
        console.line(line)


def read(folder: Path) -> Results:
    return {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}


def section(results: Results) -> str:
    """The table in Markdown, and the machines it was measured on."""
    rows = [COLUMNS, ("---",) * len(COLUMNS), *(target.row(results) for target in TARGETS)]
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(["", *lines, "", *(f"{line}\n" for line in [*accuracies(results), *machines(results)])])


def accuracies(results: Results) -> list[str]:
    """What was learnt, where that was measured: mean and standard deviation over the seeds."""
    found = results.get("accuracy", {}).get("accuracies", {})
    texts = [f"{name} {100 * mean(values):.1f} ± {100 * stdev(values):.1f} %" for name, values in found.items()]
    return [f"Validation top-1 on the sample data set: {', '.join(texts)}."] if texts else []


def machines(results: Results) -> list[str]:
    """A line for each machine and day, with what was missing there."""
    found: dict[str, list[str]] = {}
    for name, result in results.items():
        found.setdefault(machine_line(result["machine"]), []).append(name)
    lines = [f"{', '.join(names)}: {line}." for line, names in found.items()]
    missing = {name: reason for result in results.values() for name, reason in result["missing"].items()}
    return lines + [f"Missing: {name}, {reason}." for name, reason in missing.items()]


def machine_line(facts: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    gpu = f"{facts['gpu']}, " if facts["gpu"] else ""
    return f"{gpu}{facts['cores']} cores of {facts['processor']}, {versions}, {facts['date']}"


def replaced(text: str, made: str) -> str:
    """The page with this between the comments."""
    return re.sub(f"(?<={BEGIN}\n).*?(?={END})", lambda _: made, text, flags=re.DOTALL)


if __name__ == "__main__":
    main()
