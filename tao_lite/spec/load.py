"""Spec file to Spec: read, parse, override, bind, check; all problems at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from google.protobuf import text_format

from tao_lite.errors import SpecError
from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec import rules
from tao_lite.spec.bind import bind
from tao_lite.spec.syntax import COMMAND_LINE, Field, Problem, TextFormatError, parse, parse_value

MAX_BYTES = 1_000_000


@dataclass(frozen=True)
class Spec:
    """A checked spec: the experiment as a message, the file it came from, and what to tell the user about it."""

    experiment: pb.Experiment
    path: Path
    warnings: tuple[str, ...] = ()

    def text(self) -> str:
        """The spec as text format, overrides included."""
        return f"# From {self.path}\n" + text_format.MessageToString(self.experiment)


def load(path: Path, *, stage: str = "train", overrides: Sequence[str] = ()) -> Spec:
    """The spec in a file, with `field.path=value` overrides, checked for one stage.

    Raises:
        SpecError: every problem found, one `file:line:column: field: what is wrong` per line.
    """
    return load_text(_read(path), path, stage=stage, overrides=overrides)


def load_text(text: str, path: Path, *, stage: str = "train", overrides: Sequence[str] = ()) -> Spec:
    """As `load`, for a text that came from the path."""
    try:
        tree = parse(text)
        for override in overrides:
            _override(tree, override)
    except TextFormatError as stop:
        raise SpecError(_line(path, stop.problem)) from stop
    bound = bind(tree)
    violations = rules.violations(bound.experiment, bound.places, stage)
    problems = bound.problems + [violation for violation in violations if violation.path not in bound.excused]
    if problems:
        problems.sort(key=lambda problem: (problem.place.line, problem.place.column))
        raise SpecError("\n".join(_line(path, problem) for problem in problems))
    warnings = rules.warnings(bound.experiment, bound.places)
    return Spec(bound.experiment, path, tuple(_line(path, warning) for warning in warnings))


def _line(path: Path, problem: Problem) -> str:
    place = f"{path}:{problem.place.line}:{problem.place.column}" if problem.place.line else "--set"
    return f"{place}: {problem.path}: {problem.text}" if problem.path else f"{place}: {problem.text}"


def _read(path: Path) -> str:
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
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise SpecError(f"{path}: can't be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise SpecError(f"{path}: is not UTF-8 text (byte {error.start}); is it a spec file?") from error
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
    for field in fields:
        if field.name == name and isinstance(field.value, list):
            return field.value
    content: list[Field] = []
    fields.append(Field(name, content, COMMAND_LINE, COMMAND_LINE))
    return content
