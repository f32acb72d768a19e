"""Paths in a spec: `~` and variables expanded, NVIDIA's weights files replaced by ours, placeholders named."""

import os
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from google.protobuf.message import Message

from tao_lite.files import places
from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec import schema
from tao_lite.spec.bind import join
from tao_lite.spec.findings import Finding, Level

# What happens where a spec file, which may be TAO's own, names a weights file that can't be read.
_INSTEAD = {
    "train_config.pretrained_model_path": "training starts from random weights instead",
    "eval_config.model_path": "the best checkpoint of the results folder is taken instead",
}
_STARTS = "train_config.pretrained_model_path"
_FOREIGN = {
    **dict.fromkeys((".tlt", ".tltb", ".etlt"), "is encrypted by NVIDIA, so that only TAO can read it"),
    **dict.fromkeys((".hdf5", ".h5"), "holds Keras weights, which only a training can start from"),
    **dict.fromkeys((".onnx", ".uff"), "is an exported network, which can't be trained or pruned"),
    **dict.fromkeys((".engine", ".trt", ".plan"), "is a TensorRT engine, built for one GPU"),
}
_EVALUATED = "eval_config.model_path"
_DEPLOYED = (".onnx", ".xml")
_OURS = (".pth", ".safetensors")
# What a training can start from besides.
_KERAS = (".hdf5", ".h5")

_DATA_SETS = ("train_config.train_dataset_path", "train_config.val_dataset_path", "eval_config.eval_dataset_path")

ANNOTATIONS = "annotations"
PACKAGE = "package:"
"""What stands before the name of weights that lie in an installed package."""

# Field path -> how the file writes it, and what it stands for here and now.
Replaced = dict[str, tuple[str, str]]

_VARIABLE = re.compile(r"\$(?:\$|(\w+)|\{(\w+)\})")
# TAO_DATA_PATH/train: notebooks replace such a word by a folder before they start TAO.
_PLACEHOLDER = re.compile(
    r"([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+|(?:EVAL|PRUNED|RETRAINED)MODEL|(?:RESULTS|EXPORT|DATA)DIR)(?=/|$)"
)
_TEMPLATE = re.compile(r"\{\{[^{}]*\}\}|\{%[^%]*%\}|<[^<>/]+>")
# What a page's example has for a path that only its reader knows: whole folders, such as /path/to and your_data.
_MADE_UP = re.compile(
    r"(?<![^/])((path|dir|folder)[/ _-]?to|(some|full|absolute)[/ _-]path|your([ _-][^/]*)?|\.\.\.|\u2026|\?\?\?|x{3,}|"
    r"(change|replace)[ _-]?me|placeholder|\{\w[^{}/]*\}|\[\w[^\[\]/]*\]|%\w+%)([_-][^/]*)?(?![^/])",
    re.IGNORECASE,
)


@dataclass
class Resolved:
    """What is to be said about the paths; which were replaced, and which left out because they can't be read."""

    findings: list[Finding] = field(default_factory=list)
    replaced: Replaced = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class PathField:
    """A field that holds a path of files, which is its value; and what the schema says of it.

    Its own path is such as train_config.train_dataset_path; `block` holds it, by its name.
    """

    path: str
    value: str
    rule: pb.Rule
    block: Message
    name: str


def data_folder(path: Path) -> Path:
    """The folder of a data set that is named by a file in it; one of COCO's may be in the folder annotations there."""
    return path.parent.parent if path.parent.name == ANNOTATIONS else path.parent


def is_deployed(path: Path) -> bool:
    """Whether a path is that of a deployed network: an ONNX file, an OpenVINO IR, or a folder, as packages are."""
    return path.suffix.lower() in _DEPLOYED or path.is_dir()


def resolve(experiment: pb.Experiment, stage: str, given: Collection[str] = ()) -> Resolved:
    """Expand the experiment's paths in place. Only what this stage reads can be wrong.

    `given` are fields of the command line: what a user names there is never replaced by a default.
    """
    resolved = Resolved()
    caches = _caches(experiment)
    for found in path_fields(experiment):
        path, old = found.path, found.value
        new, problems = _expanded(old)
        if not problems and places.is_url(new):
            new, problems = _standing_for(found, new, caches)
        new, foreign = (new, []) if problems else _ours(found, new)
        if new != old:
            setattr(found.block, found.name, new)
            resolved.findings.append(Finding(Level.NOTE, path, f'"{old}" -> "{new}"'))
            resolved.replaced[path] = old, new
        if not _is_read(path, found.rule, experiment, stage):
            continue
        if foreign and path in _INSTEAD and path not in given:
            found.block.ClearField(found.name)
            resolved.left_out.append(path)
            foreign = [(Level.WARNING, f"{_INSTEAD[path]}: {text}") for _, text in foreign]
        resolved.findings += [Finding(level, path, text) for level, text in (*problems, *foreign)]
    return resolved


def as_written(experiment: pb.Experiment, replaced: Mapping[str, tuple[str, str]]) -> pb.Experiment:
    """A copy to be kept: with each path as the file writes it, so that it is expanded again wherever it is read.

    A path that has meanwhile become another one is written out.
    """
    copy = pb.Experiment()
    copy.CopyFrom(experiment)
    for found in path_fields(copy):
        old, new = replaced.get(found.path, ("", ""))
        setattr(found.block, found.name, old if found.value == new else found.value.replace("$", "$$"))
    return copy


def _is_read(path: str, rule: pb.Rule, experiment: pb.Experiment, stage: str) -> bool:
    """Whether the stage reads what is at the path; evaluation reads training's data only in the place of its own."""
    has_its_own = stage == "evaluate" and experiment.eval_config.eval_dataset_path
    return stage in rule.read_by and not (has_its_own and path.startswith("train_config."))


def path_fields(message: Message, prefix: str = "") -> Iterator[PathField]:
    """The fields of a message that hold a path; those that are empty are left out."""
    for descriptor, value in message.ListFields():
        path, rule = join(prefix, descriptor.name), schema.rule(descriptor)
        if rule.HasField("path") and value:
            yield PathField(path, value, rule, message, descriptor.name)
    for name, block in schema.blocks(message):
        yield from path_fields(block, join(prefix, name))


def _expanded(text: str) -> tuple[str, list[tuple[Level, str]]]:
    """The path with its variables' values, and what is wrong with it."""
    problems = list(_control_characters(text))
    text = _with_placeholder(text.strip(), problems)
    names = dict.fromkeys(match[1] or match[2] for match in _VARIABLE.finditer(text))
    unset = [name for name in names if name and not os.environ.get(name)]
    if unset:
        words = "variables " + ", ".join(unset) + " are" if len(unset) > 1 else f"variable {unset[0]} is"
        remedy = f"export {unset[0]}=..., or write $$ where a dollar sign is meant"
        problems.append((Level.ERROR, f'found "{text}", but the environment {words} not set; {remedy}'))
    expanded = os.path.expanduser(_VARIABLE.sub(_value, text))  # noqa: PTH111 - Path.expanduser raises for unknown ~user
    return expanded, [*problems, *([] if problems else _made_up(expanded))]


def _caches(experiment: pb.Experiment) -> Path:
    """The folder of the caches that the spec asks for."""
    text = experiment.dataset_config.cache_dir
    return Path(_expanded(text)[0]).absolute() if text else places.own_cache()


def _standing_for(found: PathField, url: str, caches: Path) -> tuple[str, list[tuple[Level, str]]]:
    """The folder here that stands for the URL of a data set; weights that are named by their publisher stay."""
    if found.path in _DATA_SETS:
        why = "" if url.startswith("file:///") else places.problem(url)
        return (url, [(Level.ERROR, why)]) if why else (str(places.stand_in(url, caches)), [])
    if found.rule.path in (pb.Rule.DATA, pb.Rule.FILE, pb.Rule.WITHIN_DATA, pb.Rule.CACHE):
        words = f'found "{places.hidden(url)}", and only data sets are read from a URL; write a path of this machine'
        return url, [(Level.ERROR, words)]
    return url, []


def _made_up(text: str) -> Iterator[tuple[Level, str]]:
    word = None if is_published(text) else _MADE_UP.search(text)
    if word and not os.path.lexists(text):
        words = f'found "{text}", and "{word[0]}" stands in examples for a path of your own; write the path itself'
        yield Level.BLOCKER, words


def is_published(text: str) -> bool:
    """Whether the text names weights by their publisher or package, so that it is no path."""
    return "://" in text or text.startswith(PACKAGE)


def _value(match: re.Match[str]) -> str:
    name = match[1] or match[2]
    return os.environ.get(name) or match[0] if name else "$"


def variables(text: str) -> set[str]:
    """Environment variables that a path names: `$NAME`, `${NAME}`, or a notebook's placeholder."""
    placeholder = _PLACEHOLDER.match(text.strip())
    named = {match[1] or match[2] for match in _VARIABLE.finditer(text) if match[1] or match[2]}
    return named | ({placeholder[0]} if placeholder else set())


def _with_placeholder(text: str, problems: list[tuple[Level, str]]) -> str:
    """The path with a notebook's placeholder replaced by the variable of that name."""
    template, word = _TEMPLATE.search(text), _PLACEHOLDER.match(text)
    if template:
        problems.append((Level.BLOCKER, f"holds the placeholder {template[0]}; write the path itself"))
    if not word or Path(word[0]).exists():
        return text
    if os.environ.get(word[0]):
        return f"${{{word[0]}}}{text[word.end() :]}"
    words = (
        f"{word[0]} looks like a notebook's placeholder, and there is no folder or environment variable of that name"
    )
    problems.append((Level.BLOCKER, f"{words}; export {word[0]}=..., or write the path itself"))
    return text


def _control_characters(text: str) -> Iterator[tuple[Level, str]]:
    if re.search(r"[\x00-\x1f]", text.strip()):
        words = f"found {text!r}, which holds a control character: in a string a backslash starts an escape"
        yield Level.ERROR, f"{words}; write / between folders, or two backslashes"


def _ours(found: PathField, text: str) -> tuple[str, list[tuple[Level, str]]]:
    """Our file of the same name in place of one that only TAO can read; else why not, and what to do instead."""
    file = Path(text)
    why = _FOREIGN.get(file.suffix.lower())
    is_evaluated = found.path == _EVALUATED and file.suffix.lower() in _DEPLOYED
    if why is None or is_published(text) or (is_evaluated and file.is_file()):
        return text, []
    if found.rule.path == pb.Rule.WRITTEN:
        return str(file.with_suffix(_OURS[0])), []
    if found.rule.path != pb.Rule.WEIGHTS:
        return text, []
    for suffix in _OURS:
        if file.with_suffix(suffix).is_file():
            return str(file.with_suffix(suffix)), []
    if found.path == _STARTS and file.suffix.lower() in _KERAS:
        if file.is_file():
            return text, []
        why = "is not there"
    why = "is not there" if is_evaluated else why
    names = " or ".join(file.with_suffix(suffix).name for suffix in _OURS)
    return text, [(Level.BLOCKER, f'"{text}" {why}, and there is no {names} beside it; {found.rule.remedy}')]
