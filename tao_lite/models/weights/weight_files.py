"""Weights files: what lies at a path becomes plain tensors or one clear error. Nothing in a file is ever executed."""

import contextlib
import os
import pickle
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, TypeVar

import safetensors.torch
import torch

from tao_lite.errors import CheckpointError, ReadError
from tao_lite.files import reading
from tao_lite.models.weights import keras_files
from tao_lite.spec.bind import did_you_mean

SUFFIXES = (".pth", ".pt", ".th", ".tar", ".safetensors")
_INSTEAD = 'give a .pth or .safetensors file, an unencrypted .hdf5 of TAO, or "torchvision://IMAGENET1K_V1"'
_FOREIGN = {
    (".tlt", ".etlt", ".tltb"): f"is in NVIDIA's encrypted format, which only TAO can read; {_INSTEAD}",
    (".keras",): f"is a file of Keras 3, which TAO does not write; {_INSTEAD}",
}
_KERAS = (
    "holds Keras weights, which only a training can start from; "
    "give it as train_config.pretrained_model_path, or a .pth checkpoint here"
)
# A stored (not compressed) archive is larger than its members. More is a sign of a bomb.
_MAX_EXPANSION = 1.1
# Some 25 times the largest network of torchvision.
_MAX_BYTES = 2**35

T = TypeVar("T")


def load(path: Path, *, mmap: bool = False) -> object:
    """Content of a weights file with its tensors on the CPU: plain data only, whatever the file says.

    With mmap, the tensors of torch's files are read from the disk when they are used.

    Raises:
        CheckpointError: missing, damaged, foreign or dangerous file.
    """
    with clear_errors(path):
        _refuse_by_name(path)
        refuse_by_content(path)
        if path.suffix.lower() == ".safetensors":
            # Not mapped into memory: where the disk fails, a touch would end the process (SIGBUS).
            return safetensors.torch.load(reading.read(path, CheckpointError, max_bytes=_MAX_BYTES))
        return used(path, lambda file: torch.load(_name(file) if mmap else file, "cpu", weights_only=True, mmap=mmap))


def used(path: Path, use: Callable[[BinaryIO], T]) -> T:
    """What a library makes of the file, which is opened here and read anew where the system fails.

    Raises:
        CheckpointError: there is none, or it is no regular file.
        ReadError: the system can't read it now.
    """

    def made() -> T:
        with reading.open_regular(path, CheckpointError) as file:
            try:
                return use(file)
            except Exception as error:
                # Libraries put errors of their own before what the system says.
                if isinstance(error.__context__, OSError) and error.__context__.errno is not None:
                    raise error.__context__ from error
                raise

    return reading.retried(path, made)


def _name(file: BinaryIO) -> str:
    """A path of the open file, for what takes only paths."""
    return f"/proc/self/fd/{file.fileno()}"


def is_keras(path: Path) -> bool:
    """Whether the file has Keras's ending or HDF5's first bytes."""
    if path.suffix.lower() in keras_files.SUFFIXES or not path.is_file():
        return path.suffix.lower() in keras_files.SUFFIXES
    return _head(path).startswith(keras_files.SIGNATURE)


def load_keras(path: Path) -> keras_files.Layers:
    """Tensors of an unencrypted Keras file by layer, in torch's layout.

    Raises:
        CheckpointError: missing, damaged, foreign or dangerous file; h5py is not installed.
    """
    with clear_errors(path):
        _refuse_missing(path)
        _refuse_other_content(path)
        return used(path, lambda file: keras_files.load(file, path))


@contextlib.contextmanager
def clear_errors(path: Path) -> Iterator[None]:
    """Turn whatever the readers of weights files raise into a CheckpointError that names the file.

    torch raises at least nine types for damaged files, so all of them are caught.
    """
    try:
        yield
    except (CheckpointError, ReadError):
        raise
    except Exception as error:
        raise CheckpointError(f"{path}: {_explanation(error)}") from error


def refuse_by_content(path: Path) -> None:
    """Raise for files that are no weights or would fill the memory.

    Raises:
        CheckpointError: empty file, Git LFS pointer, web page, Keras file, archive that is cut short or would expand.
    """
    head = _refuse_other_content(path)
    if head.startswith(keras_files.SIGNATURE):
        raise CheckpointError(f"{path}: {_KERAS}")
    if head.startswith(b"PK"):
        _refuse_bomb(path)


def _refuse_other_content(path: Path) -> bytes:
    """First bytes of the file, which are of no text that stands in for it."""
    head = _head(path)
    if not head:
        raise CheckpointError(f"{path}: is empty; download or copy it again")
    if head.startswith(b"version https://git-lfs"):
        raise CheckpointError(f"{path}: is a Git LFS pointer, not the file itself; fetch it with `git lfs pull`")
    if head.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        raise CheckpointError(f"{path}: is a web page, not weights; check the address and download it again")
    return head


def _head(path: Path) -> bytes:
    return used(path, lambda file: file.read(256))


def _refuse_by_name(path: Path) -> None:
    suffix = path.suffix.lower()
    for suffixes, reason in _FOREIGN.items():
        if suffix in suffixes:
            raise CheckpointError(f"{path}: {reason}")
    if suffix in keras_files.SUFFIXES:
        raise CheckpointError(f"{path}: {_KERAS}")
    _refuse_missing(path)
    if suffix not in SUFFIXES:
        raise CheckpointError(f'{path}: unknown kind of file "{suffix}"; must be one of {", ".join(SUFFIXES)}')


def _refuse_missing(path: Path) -> None:
    if path.is_dir():
        raise CheckpointError(f"{path}: is a folder; give the weights file in it")
    if not path.exists():
        beside = [file.name for file in path.parent.glob("*")]
        raise CheckpointError(f"{path}: no such file{did_you_mean(path.name, beside) or '; check the path'}")


def _refuse_bomb(path: Path) -> None:
    members, size = used(path, lambda file: (zipfile.ZipFile(file).infolist(), os.fstat(file.fileno()).st_size))
    expanded = sum(member.file_size for member in members)
    if any(member.compress_type != zipfile.ZIP_STORED for member in members) or expanded > _MAX_EXPANSION * size:
        raise CheckpointError(
            f"{path}: refused, because it is a compressed archive ({size:,} bytes would become {expanded:,}), "
            "which torch.save never writes; unpack it, or ask for the original file"
        )


def _explanation(error: Exception) -> str:
    text = str(error)
    names = sorted(set(re.findall(r"GLOBAL ([\w.]+\.\w+)", text)))
    if isinstance(error, pickle.UnpicklingError) and names:
        return (
            f"refused, because it holds Python objects ({', '.join(names)}), and loading those runs code; "
            "ask for a file written by torch.save(network.state_dict(), path)"
        )
    if "TorchScript" in text:
        return "is a TorchScript program, not weights; save its state_dict() and give that file"
    reason = next(iter(text.splitlines()), "")[:120].rstrip(".")
    return f"is damaged, cut short or not a weights file ({type(error).__name__}: {reason}); download or copy it again"
