"""Checkpoints: saved atomically, sealed with a sha256, loaded as plain data, rebuilt into a network (pruned or not).

The file is what `torch.save` writes, a stored zip archive, with the digest as the archive's comment: one file, one
rename, and `torch.load` or `unzip` still read it. torch itself loads a file with a flipped bit without a word.
"""

import contextlib
import hashlib
import os
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from io import BufferedRandom
from pathlib import Path
from typing import Any

import torch
from google.protobuf import text_format
from torch import Tensor, nn

from tao_lite.data.preprocess import Preprocess
from tao_lite.errors import CheckpointError
from tao_lite.files import writing
from tao_lite.models import architectures
from tao_lite.models.weights import weight_files
from tao_lite.pruning import surgery
from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec import paths

FORMAT = "tao_lite checkpoint 1"

_SEAL = b"sha256:"
_SEAL_BYTES = len(_SEAL) + 64
_LENGTH_BYTES = 2  # the length of a zip archive's comment, its last field before the comment


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A network and all that is needed to use it or to go on training it; plain data only."""

    spec: str
    class_names: tuple[str, ...]
    preprocess: Mapping[str, object]
    network: Mapping[str, Tensor]
    epoch: int
    batch: int = 0  # batches done in the epoch after `epoch`
    metrics: Mapping[str, float] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)  # empty: the network can't go on where it stopped

    @cached_property
    def experiment(self) -> pb.Experiment:
        """The spec that the network was trained with, its paths as they are here and now; not to be changed."""
        experiment = text_format.Parse(self.spec, pb.Experiment())
        paths.resolve(experiment, "")
        return experiment


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Put the checkpoint at the path: whole or not at all, and safe on disk when this returns.

    Raises:
        RunError: the disk is full or refuses to write; what was at the path before is untouched.
    """
    size = sum(tensor.nbytes for tensor in _tensors([checkpoint.network, checkpoint.training]))
    content = {one.name: getattr(checkpoint, one.name) for one in fields(checkpoint)}
    with writing.new_file(path, size) as file:
        try:
            torch.save({"format": FORMAT, **content}, file)
        except RuntimeError as error:  # what torch makes of a write that failed; the reason is behind it
            raise (error.__context__ if isinstance(error.__context__, OSError) else error) from error
        _seal(file)


def load(path: Path) -> Checkpoint:
    """The checkpoint in a file, its digest verified.

    Raises:
        CheckpointError: missing, damaged, or not written by tao_lite.
    """
    _verify(path)
    return _read(path)


def spec(path: Path) -> str:
    """The spec inside a checkpoint. The tensors are neither read nor verified: who uses the network has to `load` it.

    Raises:
        CheckpointError: missing, damaged outside of its tensors, or not written by tao_lite.
    """
    _seal_of(path)
    with weight_files.clear_errors(path), zipfile.ZipFile(path) as archive:
        # All but the tensors. zipfile compares it with its checksum, torch does not.
        archive.read(next(name for name in archive.namelist() if name.endswith("/data.pkl")))
    return _read(path, mmap=True).spec


def is_ours(path: Path) -> bool:
    """Whether the file carries tao_lite's seal, intact or not."""
    return path.is_file() and _read_seal(path) is not None


def network(checkpoint: Checkpoint) -> nn.Module:
    """The network of a checkpoint on the CPU, with the widths its tensors have."""
    built = architectures.build(checkpoint.experiment.model_config, len(checkpoint.class_names))
    surgery.resize_like(built, checkpoint.network)
    built.load_state_dict(dict(checkpoint.network))
    return built


def preprocess(checkpoint: Checkpoint) -> Preprocess:
    """The normalisation that the network of a checkpoint was trained with, on the CPU."""
    return Preprocess.from_dict(checkpoint.preprocess)


def _tensors(value: object) -> Iterator[Tensor]:
    """All tensors in nested mappings and sequences."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        yield from _tensors(list(value.values()))
    elif isinstance(value, (list, tuple)):
        for member in value:
            yield from _tensors(member)


def _seal(file: BufferedRandom) -> None:
    file.seek(-_LENGTH_BYTES, os.SEEK_END)
    file.write(_SEAL_BYTES.to_bytes(_LENGTH_BYTES, "little"))
    file.seek(0)
    digest = hashlib.file_digest(file, "sha256").hexdigest()
    file.seek(0, os.SEEK_END)
    file.write(_SEAL + digest.encode())


def _read_seal(path: Path) -> str | None:
    """The digest at the end of the file, or nothing."""
    with path.open("rb") as file, contextlib.suppress(OSError):
        file.seek(-_SEAL_BYTES, os.SEEK_END)
        seal = file.read()
        if seal.startswith(_SEAL):
            return seal.removeprefix(_SEAL).decode("ascii", "replace")
    return None


def _read(path: Path, *, mmap: bool = False) -> Checkpoint:
    content = weight_files.load(path, mmap=mmap)
    if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
        raise CheckpointError(f"{path}: is not a checkpoint of this version of tao_lite")
    return Checkpoint(**{**content, "class_names": tuple(content["class_names"])})


def _seal_of(path: Path) -> str:
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; give a checkpoint such as results/NAME/weights/best.pth")
    seal = _read_seal(path)
    if seal is None:
        raise CheckpointError(f"{path}: is not a tao_lite checkpoint, or its end is cut off")
    return seal


def _verify(path: Path) -> None:
    seal = _seal_of(path)
    digest = hashlib.sha256()
    left = path.stat().st_size - _SEAL_BYTES
    with path.open("rb") as file:
        while left > 0:
            block = file.read(min(left, 1 << 20))
            digest.update(block)
            left -= len(block)
    if digest.hexdigest() != seal:
        raise CheckpointError(f"{path}: is damaged (its content does not match its sha256); use another checkpoint")
