"""Files that are no weights, or dangerous ones, end in one clear error."""

import io
import os
import pickle
import re
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tao_lite.errors import CheckpointError
from tao_lite.models.weights import weight_files

TENSORS = {"conv1.weight": torch.arange(12.0).reshape(3, 4), "bn1.running_mean": torch.ones(5)}
AGAIN = "download or copy it again"
INSTEAD = 'give a .pth or .safetensors file, an unencrypted .hdf5 of TAO, or "torchvision://IMAGENET1K_V1"'
KERAS = (
    "holds Keras weights, which only a training can start from; "
    "give it as train_config.pretrained_model_path, or a .pth checkpoint here"
)


class Malicious:
    """Makes a folder when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., None], tuple[str]]:
        return os.mkdir, (str(self.path),)


def torch_bytes(content: object, *, archive: bool = True) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=archive)
    return file.getvalue()


WRITERS: dict[str, Callable[[], bytes]] = {
    "archive.pth": lambda: torch_bytes(TENSORS),
    "legacy.th": lambda: torch_bytes(TENSORS, archive=False),
    "plain.safetensors": lambda: safetensors.torch.save(TENSORS),
}


def error_of(path: Path, content: bytes | None = None) -> str:
    """Text of the error of loading the path, without the path."""
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError) as error:
        weight_files.load(path)
    text = str(error.value)
    assert text.startswith(f"{path}: ")
    return text.removeprefix(f"{path}: ")


@pytest.mark.parametrize("name", [*WRITERS, "ARCHIVE.PTH"])
def test_tensors_come_back_as_written(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(WRITERS.get(name, WRITERS["archive.pth"])())
    content = weight_files.load(path)
    assert isinstance(content, dict)
    assert content.keys() == TENSORS.keys()
    assert all(torch.equal(content[key], tensor) for key, tensor in TENSORS.items())


@pytest.mark.parametrize("suffix", [".tlt", ".etlt", ".tltb", ".TLT"])
def test_encrypted_files_are_explained(suffix: str) -> None:
    reason = "is in NVIDIA's encrypted format, which only TAO can read"
    assert error_of(Path(f"resnet18{suffix}")) == f"{reason}; {INSTEAD}"


@pytest.mark.parametrize("suffix", [".hdf5", ".h5"])
def test_keras_files_are_for_training_only(suffix: str) -> None:
    assert error_of(Path(f"resnet18{suffix}")) == KERAS
    assert weight_files.is_keras(Path(f"resnet18{suffix}"))


def test_files_of_keras_3_are_explained() -> None:
    assert error_of(Path("resnet18.keras")) == f"is a file of Keras 3, which TAO does not write; {INSTEAD}"


def test_keras_file_under_another_name_is_recognised(tmp_path: Path) -> None:
    content = b"\x89HDF\r\n\x1a\n" + bytes(100)
    assert error_of(tmp_path / "x.pth", content) == KERAS
    assert weight_files.is_keras(tmp_path / "x.pth")


def test_missing_file_is_named_with_its_neighbour(tmp_path: Path) -> None:
    (tmp_path / "resnet18.pth").touch()
    assert error_of(tmp_path / "resnet_18.pth") == "no such file; did you mean resnet18.pth?"
    assert error_of(tmp_path / "nowhere" / "resnet_18.pth") == "no such file; check the path"


def test_folder_is_refused(tmp_path: Path) -> None:
    assert error_of(tmp_path) == "is a folder; give the weights file in it"


def test_unknown_suffix_is_refused(tmp_path: Path) -> None:
    text = 'unknown kind of file ".onnx"; must be one of .pth, .pt, .th, .tar, .safetensors'
    assert error_of(tmp_path / "x.onnx", b"x") == text


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_empty_file_is_refused(suffix: str, tmp_path: Path) -> None:
    assert error_of(tmp_path / f"x{suffix}", b"") == f"is empty; {AGAIN}"


def test_lfs_pointer_is_explained(shared: Path) -> None:
    text = "is a Git LFS pointer, not the file itself; fetch it with `git lfs pull`"
    assert error_of(shared / "data" / "dirty_weights" / "lfs_pointer_resnet18-5c106cde.pth") == text


@pytest.mark.parametrize("page", [b"<!DOCTYPE html><p>Sign in", b"\n<html>", b'<?xml version="1.0"?><Error/>'])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_web_page_is_explained(page: bytes, suffix: str, tmp_path: Path) -> None:
    text = "is a web page, not weights; check the address and download it again"
    assert error_of(tmp_path / f"x{suffix}", page) == text


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.98])
def test_file_that_is_cut_short_is_named(name: str, share: float, tmp_path: Path) -> None:
    content = WRITERS[name]()
    text = error_of(tmp_path / name, content[: int(share * len(content))])
    assert re.fullmatch(rf"is damaged, cut short or not a weights file \(\w+: [^\n]*\); {AGAIN}", text)


@pytest.mark.parametrize("content", [b"hello world", bytes(1000), b"PK\x03\x04 no archive", pickle.dumps(3)])
def test_files_of_another_kind_are_named(content: bytes, tmp_path: Path) -> None:
    text = error_of(tmp_path / "x.pth", content)
    assert text.startswith("is damaged, cut short or not a weights file (")


@pytest.mark.parametrize("archive", [True, False])
def test_malicious_file_is_refused_and_not_run(archive: bool, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    text = error_of(tmp_path / "x.pth", torch_bytes({"state_dict": Malicious(mark)}, archive=archive))
    assert text == (
        "refused, because it holds Python objects (posix.mkdir), and loading those runs code; "
        "ask for a file written by torch.save(network.state_dict(), path)"
    )
    assert not mark.exists()


def test_whole_network_is_refused(tmp_path: Path) -> None:
    text = error_of(tmp_path / "x.pth", torch_bytes(nn.Linear(2, 2)))
    assert text.startswith("refused, because it holds Python objects (torch.nn.modules.linear.Linear)")


def test_compressed_archive_is_refused_before_it_expands(tmp_path: Path) -> None:
    bomb = io.BytesIO()
    original = io.BytesIO(torch_bytes({"a": torch.zeros(1_000_000)}))
    with zipfile.ZipFile(original) as stored, zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as deflated:
        for name in stored.namelist():
            deflated.writestr(name, stored.read(name))
    text = error_of(tmp_path / "x.pth", bomb.getvalue())
    assert re.fullmatch(
        r"refused, because it is a compressed archive \([\d,]+ bytes would become 4,00\d,\d{3}\), "
        r"which torch\.save never writes; unpack it, or ask for the original file",
        text,
    )


def test_compression_is_refused_even_where_it_gains_nothing(tmp_path: Path) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as deflated:
        deflated.writestr("archive/data/0", os.urandom(10_000))
    assert error_of(tmp_path / "x.pth", archive.getvalue()).startswith("refused, because it is a compressed archive")


def test_archive_that_lies_about_its_size_is_refused(tmp_path: Path) -> None:
    content = bytearray(torch_bytes(TENSORS))
    # Offset 24 of an entry of the central directory is the expanded size (PKWARE APPNOTE 4.3.12).
    struct.pack_into("<I", content, content.rindex(b"PK\x01\x02") + 24, 1_000_000_000)
    assert "would become 1,000,00" in error_of(tmp_path / "x.pth", bytes(content))


@pytest.mark.parametrize("name", WRITERS)
@settings(max_examples=40, derandomize=True)
@given(data=st.data())
def test_damage_anywhere_gives_plain_data_or_a_clear_error(
    name: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = bytearray(WRITERS[name]())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    path = tmp_path_factory.getbasetemp() / name
    path.write_bytes(content[: data.draw(st.integers(place, len(content)))])
    outcome: object
    try:
        outcome = weight_files.load(path)
    except CheckpointError as error:
        outcome = str(error)
    # A flipped bit in a value goes unnoticed by torch, and in a name makes another name.
    assert isinstance(outcome, dict) or str(outcome).startswith(f"{path}: ")
