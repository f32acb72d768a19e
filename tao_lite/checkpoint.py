"""Checkpoints: saved atomically, sealed with a sha256, loaded as plain data, rebuilt into a network (pruned or not).

The file is what `torch.save` writes, a stored zip archive, with the digest as the archive's comment: one file, one
rename, and `torch.load` or `unzip` still read it. torch itself loads a file with a flipped bit without a word.
"""

import hashlib
import os
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from io import BufferedRandom
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import torch
from google.protobuf import text_format
from torch import Tensor, nn

from tao_lite.data import pipeline as pipelines
from tao_lite.data.pipeline import Pipeline
from tao_lite.data.preprocess import Preprocess
from tao_lite.errors import CheckpointError
from tao_lite.files import plain, reading, writing
from tao_lite.models import architectures
from tao_lite.models.weights import payload, weight_files
from tao_lite.pruning import blocks, surgery
from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec import paths

T = TypeVar("T")

_SEAL = b"sha256:"
_SEAL_BYTES = len(_SEAL) + 64
_LENGTH_BYTES = 2  # the length of a zip archive's comment, its last field before the comment


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A network and all that is needed to use it or to go on training it; plain data only."""

    spec: str
    class_names: tuple[str, ...]
    preprocess: Mapping[str, Any]
    network: Mapping[str, Tensor]
    epoch: int
    batch: int = 0  # batches done in the epoch after `epoch`
    metrics: Mapping[str, float] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)  # empty: the network can't go on where it stopped
    reject: Mapping[str, Any] = field(default_factory=dict)  # empty: no rule was fitted for which answers to accept

    @cached_property
    def experiment(self) -> pb.Experiment:
        """The spec that the network was trained with, its paths as they are here and now; not to be changed."""
        experiment = text_format.Parse(self.spec, pb.Experiment())
        paths.resolve(experiment, "")
        return experiment


class DamagedError(CheckpointError):
    """The file is not what was once saved: use another one."""


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Put the checkpoint at the path: whole or not at all, and safe on disk when this returns.

    Raises:
        RunError: the disk is full or refuses to write; what was at the path before is untouched.
    """
    size = sum(tensor.nbytes for tensor in _tensors([checkpoint.network, checkpoint.training, checkpoint.reject]))
    content = {one.name: getattr(checkpoint, one.name) for one in fields(checkpoint)}
    if not checkpoint.reject:  # which a tao_lite that knows no rules can read
        del content["reject"]
    with writing.new_file(path, size) as file:
        try:
            torch.save({"format": f"tao_lite checkpoint {payload.VERSION}", **content}, file)
        except RuntimeError as error:  # what torch makes of a write that failed; the reason is behind it
            raise next((one for one in _behind(error) if isinstance(one, OSError)), error) from error
        _seal(file)


def load(path: Path) -> Checkpoint:
    """The checkpoint in a file, its digest and its fields verified.

    Raises:
        CheckpointError: missing, not written by tao_lite, or by a newer one; DamagedError where it is damaged.
        ReadError: the system can't read it now.
    """
    _verify(path)
    return _patient(path, lambda: _read(path))


def spec(path: Path) -> str:
    """The spec inside a checkpoint. The tensors are neither read nor verified: who uses the network has to `load` it.

    Raises:
        CheckpointError, ReadError: as load, but for damage in its tensors.
    """
    with _open(path) as file:
        _seal_of(path, file)
    _patient(path, lambda: _compare_checksum(path))
    return _patient(path, lambda: _read(path, mmap=True)).spec


def is_ours(path: Path) -> bool:
    """Whether the file carries tao_lite's seal, intact or not.

    Raises:
        ReadError: the system can't read it now.
    """
    if not path.is_file():
        return False
    with _open(path) as file:
        return _read_seal(path, file) is not None


def network(checkpoint: Checkpoint) -> nn.Module:
    """The network of a checkpoint on the CPU, with the residual blocks and the widths that its tensors have.

    Raises:
        CheckpointError: its tensors are not those of the network that its spec names.
    """
    built = architectures.build(checkpoint.experiment.model_config, len(checkpoint.class_names))
    blocks.remove_absent(built, checkpoint.network)
    surgery.resize_like(built, checkpoint.network)
    try:
        built.load_state_dict(dict(checkpoint.network))
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"the checkpoint's field network does not fit its field spec ({reason})") from error
    return built


def pipeline(checkpoint: Checkpoint) -> Pipeline:
    """What the validation of the checkpoint's training did with a picture before the network read it.

    Raises:
        CheckpointError: it is none that there is.
    """
    found = checkpoint.preprocess
    try:
        if "mode" not in found:
            return Pipeline.from_dict(found)
        normalisation = Preprocess.of_mode(found["mode"], found["channels"], found["mean"], found.get("std"))
    except (KeyError, AssertionError) as error:
        raise CheckpointError(f"the checkpoint's field preprocess can't be used: {found}") from error
    is_cropped = checkpoint.experiment.train_config.enable_center_crop
    return Pipeline.of(checkpoint.experiment, normalisation, is_cropped=is_cropped)


def _tensors(value: object) -> Iterator[Tensor]:
    """All tensors in nested mappings and sequences."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        yield from _tensors(list(value.values()))
    elif isinstance(value, (list, tuple)):
        for member in value:
            yield from _tensors(member)


def _behind(error: BaseException | None) -> Iterator[BaseException]:
    """The error and those that it was raised for."""
    while error:
        yield error
        error = error.__cause__ or error.__context__


def _seal(file: BufferedRandom) -> None:
    file.seek(-_LENGTH_BYTES, os.SEEK_END)
    file.write(_SEAL_BYTES.to_bytes(_LENGTH_BYTES, "little"))
    file.seek(0)
    digest = hashlib.file_digest(file, "sha256").hexdigest()
    file.seek(0, os.SEEK_END)
    file.write(_SEAL + digest.encode())


def _read(path: Path, *, mmap: bool = False) -> Checkpoint:
    content = weight_files.load(path, mmap=mmap)
    version = _version(path, content)
    assert isinstance(content, dict)
    del content["format"]
    if found := plain.problem(payload.check(version, plain.fields(pipelines.SCHEMA)), content):
        raise CheckpointError(
            f"{path}: is no checkpoint of format {version}: {found}; use it with the program that wrote it, or use "
            "another checkpoint"
        )
    try:
        text_format.Parse(content["spec"], pb.Experiment())
    except text_format.ParseError as error:
        raise CheckpointError(f"{path}: is no checkpoint of format {version}: spec can't be read ({error})") from error
    return Checkpoint(**{**content, "class_names": tuple(content["class_names"])})


def _version(path: Path, content: object) -> int:
    """The version of the format.

    Raises:
        CheckpointError: it is none of ours.
    """
    name = content.get("format") if isinstance(content, dict) else None
    match = re.fullmatch(r"tao_lite checkpoint ([1-9]\d{0,5})", name) if isinstance(name, str) else None
    if not match:
        raise CheckpointError(f"{path}: is not a checkpoint of tao_lite (format is {str(name)[:40]!r})")
    if (version := int(match[1])) > payload.VERSION:
        raise CheckpointError(
            f"{path}: is a checkpoint of format {version}, and this tao_lite reads formats up to {payload.VERSION}; "
            "use the version that wrote it, or a later one"
        )
    return version


def _patient(path: Path, read: Callable[[], T]) -> T:
    """What `read` returns. torch and zipfile don't say whether the file or the system failed; reading it anew does."""
    try:
        return read()
    except CheckpointError:
        _verify(path)
        return read()


def _compare_checksum(path: Path) -> None:
    """Compare all but the tensors with its checksum, which torch does not do."""
    with weight_files.clear_errors(path), zipfile.ZipFile(path) as archive:
        archive.read(next(name for name in archive.namelist() if name.endswith("/data.pkl")))


def _open(path: Path) -> BinaryIO:
    if not path.exists():
        raise CheckpointError(f"{path}: no such file; give a checkpoint such as results/NAME/weights/best.pth")
    if paths.is_deployed(path):
        raise CheckpointError(
            f"{path}: is a deployed network or a folder, which only evaluate and inference take; give the checkpoint "
            "(.pth) that it was exported from"
        )
    return reading.open_regular(path, CheckpointError)


def _read_seal(path: Path, file: BinaryIO) -> str | None:
    """The digest at the end of the file, or nothing."""
    num_bytes = os.fstat(file.fileno()).st_size

    def end() -> bytes:
        file.seek(max(num_bytes - _SEAL_BYTES, 0))
        return file.read(_SEAL_BYTES)

    seal = reading.retried(path, end)
    if num_bytes >= _SEAL_BYTES and seal.startswith(_SEAL):
        return seal.removeprefix(_SEAL).decode("ascii", "replace")
    return None


def _seal_of(path: Path, file: BinaryIO) -> str:
    seal = _read_seal(path, file)
    if seal is None:
        raise DamagedError(f"{path}: is not a tao_lite checkpoint, or its end is cut off")
    return seal


def _verify(path: Path) -> None:
    with _open(path) as file:
        seal = _seal_of(path, file)
        if reading.retried(path, lambda: _digest(file)) != seal:
            raise DamagedError(f"{path}: is damaged (its content does not match its sha256); use another checkpoint")


def _digest(file: BinaryIO) -> str:
    """Of all but the seal."""
    digest, left = hashlib.sha256(), os.fstat(file.fileno()).st_size - _SEAL_BYTES
    file.seek(0)
    while left > 0 and (block := file.read(min(left, 1 << 20))):
        digest.update(block)
        left -= len(block)
    return digest.hexdigest()
