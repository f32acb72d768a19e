"""Spec file to Spec: read, parse, convert old spellings, override, bind, check; all problems at once."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from google.protobuf import text_format

from tao_lite.errors import SpecError, printable
from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec import dialects, paths, rules
from tao_lite.spec.bind import MAX_PROBLEMS, Bound, Places, bind
from tao_lite.spec.findings import Check, Level
from tao_lite.spec.paths import Replaced
from tao_lite.spec.stages import STAGES
from tao_lite.spec.text import forms
from tao_lite.spec.text.syntax import COMMAND_LINE, Field, Problem, TextFormatError, parse_value, walk

MAX_BYTES, MAX_FIELDS = 200_000, 5_000
# Problems that are shown, and characters of each.
MAX_SHOWN, MAX_CHARACTERS = 100, 2_000

# What a line that can't be parsed looks like, and what to do.
_HINTS = {
    r"\{\{|\{%": "fill in the {{ ... }} of the template first",
    "[\u201c\u201d\u2018\u2019]": 'write straight quotes (") in place of curly ones',
    r"^\s*%": "take out the notebook's % line",
    r"^\s*(//|;|--|/\*)": "comments start with #",
    r"\\": "in a string a backslash starts an escape; write / between folders, or two backslashes",
    r"^\s*\w+\s*=": "write name: value",
    r":\s*[\d.]+\s*,\s*[\d.]": 'a value with commas needs quotes, such as "3,224,224", and a list brackets: [0, 1]',
    r":\s*[/~.$]": 'a path needs quotes: "/data/train"',
    r"^\s*[\[{]": "a JSON file needs the suffix .json",
}


@dataclass(frozen=True)
class Spec:
    """A checked spec: the experiment as a message, the file it came from, and what to tell the user about it.

    `warnings` are settings that surprise, `notes` what was converted and replaced; each is one line with its place.
    `places` holds where each field stands in the file, `replaced` which paths it writes in another way.
    """

    experiment: pb.Experiment
    path: Path
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    places: Places = field(default_factory=dict, compare=False)
    replaced: Replaced = field(default_factory=dict, compare=False)

    @property
    def written(self) -> pb.Experiment:
        """The experiment as it is kept in files: overrides included, but with its paths as they were written."""
        return paths.as_written(self.experiment, self.replaced)

    def text(self) -> str:
        """The spec as text format, as it is kept."""
        return f"# From {self.path}\n" + text_format.MessageToString(self.written)


@dataclass(frozen=True)
class Report:
    """All that is to be said about a spec for one stage, in the order of the file.

    `problems` make it wrong; `blockers` stop the stage on this machine or in this version, though the spec is right.
    """

    path: Path
    experiment: pb.Experiment = field(default_factory=pb.Experiment)
    places: Places = field(default_factory=dict)
    problems: Sequence[Problem] = ()
    blockers: Sequence[Problem] = ()
    warnings: Sequence[Problem] = ()
    notes: Sequence[Problem] = ()
    replaced: Replaced = field(default_factory=dict)

    def lines(self, problems: Sequence[Problem]) -> tuple[str, ...]:
        """`file:line:column: field: text` for each of them."""
        return tuple(_line(self.path, problem) for problem in problems)


def load(
    path: Path,
    *,
    stage: str | None = "train",
    overrides: Sequence[str] = (),
    check: Check | None = None,
    running: bool = False,
) -> Spec:
    """The spec in a file, with `field.path=value` overrides, checked for one stage.

    Without a stage it only has to be a spec. `check` adds what higher layers know. What would only stop the stage here
    and now is a warning, unless the stage is `running` next.

    Raises:
        SpecError: every problem found, one `file:line:column: field: what is wrong` per line.
    """
    return load_text(read(path), path, stage=stage, overrides=overrides, check=check, running=running)


def load_text(
    text: str,
    path: Path,
    *,
    stage: str | None = "train",
    overrides: Sequence[str] = (),
    check: Check | None = None,
    running: bool = False,
) -> Spec:
    """As `load`, for a text that came from the path."""
    report = examine(text, path, stage=stage, overrides=overrides, check=check)
    problems = _in_order([*report.problems, *(report.blockers if running else ())])
    if problems:
        more = [f"... and {len(problems) - MAX_SHOWN:,} more"] if len(problems) > MAX_SHOWN else []
        raise SpecError("\n".join([*report.lines(problems[:MAX_SHOWN]), *more]))
    blockers = [Problem(one.place, one.path, f"{stage} would stop here: {one.text}") for one in report.blockers]
    warnings = report.lines(_in_order([*report.warnings, *blockers]))
    return Spec(report.experiment, path, warnings, report.lines(report.notes), report.places, report.replaced)


def examine(
    text: str, path: Path, *, stage: str | None, overrides: Sequence[str] = (), check: Check | None = None
) -> Report:
    """All that is to be said about a text that came from the path, for a stage or for none.

    Raises:
        SpecError: an override that is not field.path=value.
    """
    try:
        tree = _bounded(forms.document(text, path).fields)
        notes = dialects.convert(tree)
        for override in overrides:
            _override(tree, override)
        notes += dialects.convert(tree) if overrides else []
    except TextFormatError as stop:
        return Report(path, problems=[_with_hint(stop.problem, text)])
    bound = bind(tree)
    if len(bound.problems) > MAX_PROBLEMS:
        return Report(path, problems=bound.problems)
    asked = (STAGES[stage].asks_as or stage) if stage else ""
    return _judged(path, bound, notes, asked, check)


def _bounded(tree: list[Field]) -> list[Field]:
    """The tree, if it is of a size that a person could mean."""
    last = next(islice(walk(tree), MAX_FIELDS, None), None)
    if last:
        raise TextFormatError(last.place, f"{MAX_FIELDS:,} fields up to here; is it a spec file?")
    return tree


def _judged(path: Path, bound: Bound, notes: list[Problem], stage: str, check: Check | None) -> Report:
    """What paths, rules and the check say about a spec."""
    experiment, places = bound.experiment, bound.places
    given = [field_path for field_path, place in places.items() if place == COMMAND_LINE]
    resolved = paths.resolve(experiment, stage, given)
    placed: dict[Level, list[Problem]] = {level: [] for level in Level}
    for finding in (*resolved.findings, *(check(experiment, stage) if check else ())):
        placed[finding.level].append(Problem(rules.place_of(finding.path, places), finding.path, finding.text))
    violations = [*rules.violations(experiment, places, stage), *placed[Level.ERROR]]
    changes = [
        Problem(rules.place_of(field_path, places), field_path, f'"{old}" -> "{new}"')
        for field_path, (old, new) in resolved.replaced.items()
    ]
    warnings = rules.warnings(experiment, places, stage, resolved.left_out)
    return Report(
        path,
        experiment,
        places,
        problems=_in_order([*bound.problems, *(one for one in violations if one.path not in bound.excused)]),
        blockers=_in_order(placed[Level.BLOCKER]),
        warnings=_in_order([*warnings, *placed[Level.WARNING]]),
        notes=_in_order([*notes, *changes]),
        replaced=resolved.replaced,
    )


def _in_order(problems: Iterable[Problem]) -> list[Problem]:
    return sorted(problems, key=lambda problem: (problem.place.line, problem.place.column))


def _line(path: Path, problem: Problem) -> str:
    place = f"{path}:{problem.place.line}:{problem.place.column}" if problem.place.line else "--set"
    text = problem.text if len(problem.text) <= MAX_CHARACTERS else f"{problem.text[:MAX_CHARACTERS]}..."
    text = f"{problem.path}: {text}" if problem.path else text
    return f"{place}: {printable(text)}"


def _with_hint(problem: Problem, text: str) -> Problem:
    """The problem of a text that can't be parsed, and what its cause may be."""
    line = text.split("\n")[problem.place.line - 1] if problem.place.line else ""
    hints = [words for pattern, words in _HINTS.items() if re.search(pattern, line)]
    return Problem(problem.place, problem.path, "; ".join([problem.text, *hints[:1]]))


def read(path: Path) -> str:
    """Text of the file without a byte-order mark.

    Raises:
        SpecError: missing, not a regular file, too large, or not text.
    """
    try:
        if not path.is_file():
            what = "is a folder" if path.is_dir() else "is not a regular file" if path.exists() else "does not exist"
            raise SpecError(f"{path}: {what}; -e takes a spec file such as specs/classification_spec.cfg")
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise SpecError(f"{path}: has {size:,} bytes; a spec file has at most {MAX_BYTES:,}")
        text = _decoded(path.read_bytes())
    except OSError as error:
        raise SpecError(f"{path}: can't be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise SpecError(f"{path}: is not UTF-8 text (byte {error.start}); is it a spec file?") from error
    if "\0" in text:
        raise SpecError(f"{path}: is a binary file; a spec file is text")
    return text


def _decoded(content: bytes) -> str:
    """The text; UTF-16 where the file starts with its mark, as Windows' Notepad writes it."""
    return content.decode("utf-16" if content.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig")


def _override(tree: list[Field], override: str) -> None:
    dotted, equals, value = override.partition("=")
    names = dotted.strip().split(".")
    if not equals or not all(names):
        raise SpecError(f"--set {override}: must be field.path=value, such as train_config.n_epochs=5")
    fields = tree
    for name in names[:-1]:
        fields = _block(fields, name)
    fields[:] = [field for field in fields if field.name != names[-1]]
    fields += parse_value(value, names[-1])


def _block(fields: list[Field], name: str) -> list[Field]:
    """Content of the block called `name`, added empty where it is absent."""
    for one in fields:
        if one.name == name and isinstance(one.value, list):
            return one.value
    content: list[Field] = []
    fields.append(Field(name, content, COMMAND_LINE, COMMAND_LINE))
    return content
