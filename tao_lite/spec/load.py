"""Spec file to Spec: read, parse, convert old spellings, override, bind, check; all problems at once."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from google.protobuf import text_format

from tao_lite.errors import SpecError, printable
from tao_lite.files import reading
from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec import dialects, paths, recipes, rules
from tao_lite.spec.bind import MAX_PROBLEMS, Bound, Places, bind
from tao_lite.spec.findings import COMMAND_LINE, Finding, Level, error
from tao_lite.spec.parsed import other_task, parsed
from tao_lite.spec.stages import STAGES
from tao_lite.spec.text.syntax import Field, TextFormatError, parse_value, walk

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
    replaced: paths.Replaced = field(default_factory=dict, compare=False)
    wandb_key: str = field(default="", repr=False, compare=False)

    @property
    def written(self) -> pb.Experiment:
        """The experiment as it is kept in files: overrides included, but with its paths as they were written."""
        return paths.as_written(self.experiment, self.replaced)

    def text(self) -> str:
        """The spec as text format, as it is kept."""
        return f"# From {printable(str(self.path))}\n" + text_format.MessageToString(self.written)


# What layers above the spec know of it: (experiment, stage) -> findings.
Check = Callable[[pb.Experiment, str], Iterable[Finding]]


@dataclass(frozen=True)
class Examined:
    """A spec and all that is to be said about it for one stage, in the order of the file."""

    path: Path
    experiment: pb.Experiment = field(default_factory=pb.Experiment)
    places: Places = field(default_factory=dict)
    findings: Sequence[Finding] = ()
    replaced: paths.Replaced = field(default_factory=dict)
    # Another family than ours whose words the file has, and our fields that are its defaults.
    family: str = ""
    assumed: frozenset[str] = frozenset()
    # Fields that the recipe says.
    by_recipe: frozenset[str] = frozenset()

    @property
    def problems(self) -> list[Finding]:
        """What makes it wrong."""
        return self._of(Level.ERROR)

    @property
    def blockers(self) -> list[Finding]:
        """What stops the stage on this machine or in this version, though the spec is right."""
        return self._of(Level.BLOCKER)

    @property
    def warnings(self) -> list[Finding]:
        return self._of(Level.WARNING)

    @property
    def notes(self) -> list[Finding]:
        return self._of(Level.NOTE)

    def lines(self, findings: Sequence[Finding]) -> tuple[str, ...]:
        """`file:line:column: field: text` for each of them."""
        return tuple(as_line(self.path, finding) for finding in findings)

    def _of(self, level: Level) -> list[Finding]:
        return [finding for finding in self.findings if finding.level == level]


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
    found = examine(text, path, stage=stage, overrides=overrides, check=check)
    problems = _in_order([*found.problems, *(found.blockers if running else ())])
    if problems:
        more = [f"... and {len(problems) - MAX_SHOWN:,} more"] if len(problems) > MAX_SHOWN else []
        raise SpecError("\n".join([*found.lines(problems[:MAX_SHOWN]), *more]))
    blockers = [replace(one, text=f"{stage} would stop here: {one.text}") for one in found.blockers]
    warnings = found.lines(_in_order([*found.warnings, *blockers]))
    key = found.experiment.train_config.visualizer.wandb_config.key
    if key:
        # No file of a run may have it.
        found.experiment.train_config.visualizer.wandb_config.ClearField("key")
    return Spec(found.experiment, path, warnings, found.lines(found.notes), found.places, found.replaced, key)


def examine(
    text: str, path: Path, *, stage: str | None, overrides: Sequence[str] = (), check: Check | None = None
) -> Examined:
    """All that is to be said about a text that came from the path, for a stage or for none.

    Raises:
        SpecError: an override that is not field.path=value.
    """
    try:
        given = parsed(text, path, overrides)
        tree = _bounded(given.document.fields)
        notes = dialects.convert(tree)
        for override in given.overrides:
            _override(tree, override)
        notes += dialects.convert(tree) if given.overrides else []
        by_recipe = recipes.complete(tree)
        bound = bind(tree)
        foreign = other_task(text, path) if bound.problems else None
    except TextFormatError as stop:
        return Examined(path, findings=[error(stop.place, "", _with_hint(stop, text))])
    if foreign:
        return Examined(path, findings=[foreign])
    if any(one.level == Level.ERROR for one in given.findings):
        findings = given.named([*given.findings, *bound.problems])
        return Examined(path, findings=_in_order(findings), family=given.family)
    if len(bound.problems) > MAX_PROBLEMS:
        return Examined(path, findings=_in_order(bound.problems))
    asked = (STAGES[stage].asks_as or stage) if stage else ""
    found = _judged(path, bound, [*notes, *given.findings], asked, check)
    # Only what the user wrote is worth a warning.
    findings = [one for one in found.findings if one.level != Level.WARNING or one.path not in by_recipe]
    return replace(
        found, findings=given.named(findings), family=given.family, assumed=given.assumed, by_recipe=by_recipe
    )


def _bounded(tree: list[Field]) -> list[Field]:
    """The tree, if it is of a size that a person could mean."""
    last = next(islice(walk(tree), MAX_FIELDS, None), None)
    if last:
        raise TextFormatError(last.place, f"{MAX_FIELDS:,} fields up to here; is it a spec file?")
    return tree


def _judged(path: Path, bound: Bound, notes: list[Finding], stage: str, check: Check | None) -> Examined:
    """What paths, rules and the check say about a spec."""
    experiment, places = bound.experiment, bound.places
    given = [field_path for field_path, place in places.items() if place == COMMAND_LINE]
    resolved = paths.resolve(experiment, stage, given)
    found = [
        *rules.violations(experiment, places, stage),
        *rules.warnings(experiment, stage, resolved.left_out),
        *resolved.findings,
        *(check(experiment, stage) if check else ()),
    ]
    placed = [
        replace(one, place=rules.place_of(one.path, places))
        for one in found
        if one.level != Level.ERROR or one.path not in bound.excused
    ]
    findings = _in_order([*bound.problems, *notes, *placed])
    return Examined(path, experiment, places, findings, resolved.replaced)


def _in_order(findings: Iterable[Finding]) -> list[Finding]:
    levels = list(Level)
    return sorted(findings, key=lambda finding: (finding.place, levels.index(finding.level)))


def as_line(path: Path, finding: Finding) -> str:
    """`file:line:column: field: text`."""
    line, column = finding.place
    place = f"{path}:{line}:{column}" if line else "--set"
    text = finding.text if len(finding.text) <= MAX_CHARACTERS else f"{finding.text[:MAX_CHARACTERS]}..."
    text = f"{finding.path}: {text}" if finding.path else text
    return f"{place}: {printable(text)}"


def _with_hint(stop: TextFormatError, text: str) -> str:
    """Why a text can't be parsed, and what the cause may be."""
    # What ends a line is another question in YAML.
    line = next(islice(text.split("\n"), max(stop.place.line - 1, 0), None), "") if stop.place.line else ""
    hints = [words for pattern, words in _HINTS.items() if re.search(pattern, line)]
    return "; ".join([stop.text, *hints[:1]])


def read(path: Path) -> str:
    """Text of the file without a byte-order mark.

    Raises:
        SpecError: missing, not a regular file, too large, or not text.
        ReadError: the system can't read it now.
    """
    try:
        text = reading.read_text(path, SpecError, max_bytes=MAX_BYTES)
    except SpecError as error:
        raise SpecError(f"{error}; -e takes a spec file such as specs/classification_spec.cfg") from error
    if "\0" in text:
        raise SpecError(f"{path}: is a binary file; a spec file is text")
    return text


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
