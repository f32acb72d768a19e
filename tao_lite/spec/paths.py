"""Paths in a spec: `~` and variables expanded, NVIDIA's weights files replaced by ours, placeholders named."""

import os
import re
from collections.abc import Collection, Iterator
from pathlib import Path

from google.protobuf.message import Message

from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec.findings import Finding, Level

# Every field that holds a path, and the stages that read it.
_READ_BY = {
    "train_config.train_dataset_path": ("train", "evaluate"),
    "train_config.val_dataset_path": ("train", "evaluate"),
    "train_config.pretrained_model_path": ("train",),
    "train_config.distillation.teacher_path": ("train",),
    "eval_config.eval_dataset_path": ("evaluate",),
    "eval_config.model_path": ("evaluate",),
    "dataset_config.classmap_path": ("train",),
    "dataset_config.kitti.image_dir": ("train", "evaluate"),
    "dataset_config.kitti.label_dir": ("train", "evaluate"),
    "dataset_config.tfrecord.image_dir": ("train", "evaluate"),
    "dataset_config.tfrecord.label_map": ("train", "evaluate"),
    "dataset_config.yolo_root": ("train", "evaluate"),
    "dataset_config.cache_dir": ("train", "evaluate"),
    "prune_config.model_path": ("prune",),
    "prune_config.output_path": ("prune",),
}
# Fields that hold a weights file to read, and what to do where that can't be read.
_WEIGHTS = {
    "train_config.pretrained_model_path": (
        'give "torchvision://IMAGENET1K_V1" or a .pth, .safetensors or .hdf5 file, or nothing for random weights'
    ),
    "train_config.distillation.teacher_path": "give a checkpoint of tao_lite",
    "eval_config.model_path": "give a checkpoint of tao_lite with -m",
    "prune_config.model_path": "give a checkpoint of tao_lite with -m",
}
# What happens where a spec file, which may be TAO's own, names a weights file that can't be read.
_INSTEAD = {
    "train_config.pretrained_model_path": "training starts from random weights instead",
    "eval_config.model_path": "the best checkpoint of the results folder is evaluated instead",
}
_STARTS = "train_config.pretrained_model_path"
# A weights file to write: scripts for TAO name it .tlt or .hdf5, and then start from it by that name.
_WRITTEN = "prune_config.output_path"
_FOREIGN = {
    **dict.fromkeys((".tlt", ".tltb", ".etlt"), "is encrypted by NVIDIA, so that only TAO can read it"),
    **dict.fromkeys((".hdf5", ".h5"), "holds Keras weights, which only a training can start from"),
    **dict.fromkeys((".onnx", ".uff"), "is an exported network, which can't be trained or pruned"),
    **dict.fromkeys((".engine", ".trt", ".plan"), "is a TensorRT engine, built for one GPU"),
}
_OURS = (".pth", ".safetensors")
# What a training can start from besides.
_KERAS = (".hdf5", ".h5")

_VARIABLE = re.compile(r"\$(?:\$|(\w+)|\{(\w+)\})")
# TAO_DATA_PATH/train: notebooks replace such a word by a folder before they start TAO.
_PLACEHOLDER = re.compile(
    r"([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+|(?:EVAL|PRUNED|RETRAINED)MODEL|(?:RESULTS|EXPORT|DATA)DIR)(?=/|$)"
)
_TEMPLATE = re.compile(r"\{\{[^{}]*\}\}|\{%[^%]*%\}|<[^<>/]+>")


def resolve(experiment: pb.Experiment, stage: str, given: Collection[str] = ()) -> list[Finding]:
    """Expand the experiment's paths in place; a note for each that changes. Only what this stage reads can be wrong.

    `given` are fields of the command line: what a user names there is never replaced by a default.
    """
    findings: list[Finding] = []
    for path, stages in _READ_BY.items():
        block, name = _holder(experiment, path)
        if block is None or not block.HasField(name) or not getattr(block, name):
            continue
        old = getattr(block, name)
        new, problems = _expanded(old)
        new, foreign = (new, []) if problems else _ours(path, new)
        if new != old:
            setattr(block, name, new)
            findings.append(Finding(Level.NOTE, path, f'"{old}" -> "{new}"'))
        if stage not in stages:
            continue
        if foreign and path in _INSTEAD and path not in given:
            block.ClearField(name)
            foreign = [(Level.WARNING, f"{_INSTEAD[path]}: {text}") for _, text in foreign]
        findings += [Finding(level, path, text) for level, text in (*problems, *foreign)]
    return findings


def _holder(experiment: pb.Experiment, path: str) -> tuple[Message | None, str]:
    """The block that a path names, if it is set, and the name of the field in it."""
    *blocks, name = path.split(".")
    holder: Message = experiment
    for block in blocks:
        if not holder.HasField(block):
            return None, name
        holder = getattr(holder, block)
    return holder, name


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
    expanded = _VARIABLE.sub(_value, text)
    return os.path.expanduser(expanded), problems  # noqa: PTH111 - Path.expanduser raises for an unknown ~user


def _value(match: re.Match[str]) -> str:
    name = match[1] or match[2]
    return os.environ.get(name) or match[0] if name else "$"


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


def _ours(path: str, text: str) -> tuple[str, list[tuple[Level, str]]]:
    """Our file of the same name in place of one that only TAO can read; else why not, and what to do instead."""
    file = Path(text)
    why = _FOREIGN.get(file.suffix.lower())
    if why is None or "://" in text:
        return text, []
    if path == _WRITTEN:
        return str(file.with_suffix(_OURS[0])), []
    if path not in _WEIGHTS:
        return text, []
    for suffix in _OURS:
        if file.with_suffix(suffix).is_file():
            return str(file.with_suffix(suffix)), []
    if path == _STARTS and file.suffix.lower() in _KERAS:
        if file.is_file():
            return text, []
        why = "is not there"
    names = " or ".join(file.with_suffix(suffix).name for suffix in _OURS)
    return text, [(Level.BLOCKER, f'"{text}" {why}, and there is no {names} beside it; {_WEIGHTS[path]}')]
