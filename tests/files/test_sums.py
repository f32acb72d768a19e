"""SHA256SUMS is what sha256sum writes, and says what became of each file: changed, missing or new."""

import os
import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tao_lite.errors import RunError
from tao_lite.files import sums
from tao_lite.files.sums import SUMS, verify_sums, write_sums

CONTENT = {
    "README.md": b"read me\n",
    "1/model.onnx": bytes(range(256)) * 9,
    "labels with blanks.txt": b"ant;bee\n",
    "0": b"",
}


@pytest.fixture
def package(tmp_path: Path) -> Path:
    folder = tmp_path / "package"
    for name, content in CONTENT.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    write_sums(folder)
    return folder


def flip(path: Path, place: int) -> None:
    """Turn over one bit of the byte at that place."""
    content = bytearray(path.read_bytes())
    content[place] ^= 1 << place % 8
    path.write_bytes(content)


def test_sha256sum_writes_the_same_and_agrees(package: Path) -> None:
    assert verify_sums(package) == {}
    written = subprocess.run(["sha256sum", *sorted(CONTENT)], cwd=package, capture_output=True, check=True)
    assert (package / SUMS).read_bytes() == written.stdout
    subprocess.run(["sha256sum", "--check", "--strict", SUMS], cwd=package, capture_output=True, check=True)


def test_the_sums_and_their_signature_are_not_listed(package: Path) -> None:
    before = (package / SUMS).read_bytes()
    (package / sums.SIGNATURE).write_bytes(b"signature")
    write_sums(package)
    assert (package / SUMS).read_bytes() == before
    assert verify_sums(package) == {}


@pytest.mark.parametrize("name", [name for name, content in CONTENT.items() if content])
def test_one_flipped_byte_names_the_file(package: Path, name: str) -> None:
    flip(package / name, random.Random(name).randrange(len(CONTENT[name])))
    line = sorted(CONTENT).index(name) + 1
    assert verify_sums(package) == {name: f"was changed, or line {line} of {SUMS} was"}
    assert subprocess.run(["sha256sum", "--check", SUMS], cwd=package, capture_output=True, check=False).returncode


def test_no_flipped_byte_of_the_sums_passes(package: Path) -> None:
    """Each byte of it in turn; what is said names SHA256SUMS, or a file that is then missing and one that is new."""
    whole = (package / SUMS).read_bytes()
    for place in range(len(whole)):
        flip(package / SUMS, place)
        try:
            found = verify_sums(package)
        except RunError as error:
            assert str(error).startswith(f"{package / SUMS}:")  # noqa: PT017 - most are problems and no errors
        else:
            said = {*found.values()}
            assert said == {"is missing", "is new"} or (len(found) == 1 and f" of {SUMS} was" in said.pop()), found
        (package / SUMS).write_bytes(whole)
    assert verify_sums(package) == {}


def test_one_file_more_and_one_less_are_named(package: Path) -> None:
    (package / "labels with blanks.txt").rename(package / "1" / "labels.txt")
    (package / "__pycache__").mkdir()
    (package / "__pycache__" / "client.pyc").touch()
    assert verify_sums(package) == {
        "1/labels.txt": "is new",
        "__pycache__/client.pyc": "is new",
        "labels with blanks.txt": "is missing",
    }


def test_what_is_no_regular_file_is_named_and_not_opened(package: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (package / "1").rename(outside)
    (package / "1").symlink_to(outside)  # with the very content
    (package / "0").unlink()
    (package / "0").symlink_to("/dev/zero")
    os.mkfifo(package / "pipe")
    (package / "huge").touch()
    os.truncate(package / "huge", 2**36 + 1)
    assert verify_sums(package) == {
        "0": "is a link",
        "1": "is a link",
        "1/model.onnx": "is missing",
        "huge": "has more than 68,719,476,736 bytes",
        "pipe": "is no regular file",
    }


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: path.symlink_to("README.md"), "x: is a link, which SHA256SUMS can't list; remove it"),
        (lambda path: path.symlink_to("1"), "x: is a link, which SHA256SUMS can't list; remove it"),
        (os.mkfifo, "x: is no regular file, which SHA256SUMS can't list; remove it"),
        (lambda path: path.with_name("a\nb").touch(), "holds 'a\\nb', a name that SHA256SUMS can't list"),
        (lambda path: path.with_name("a\\b").touch(), "holds 'a\\\\b', a name that SHA256SUMS can't list"),
        (lambda path: path.with_name(os.fsdecode(b"k\xf6rper")).touch(), "holds 'k\\udcf6rper', a name that"),
    ],
)
def test_what_cannot_be_listed_is_refused(package: Path, make: Callable[[Path], None], said: str) -> None:
    make(package / "x")
    with pytest.raises(RunError) as caught:
        write_sums(package)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "name", ["../secret", "/etc/passwd", "1/../../secret", ".", "..", "./README.md", "1//model.onnx"]
)
def test_paths_that_leave_the_folder_are_refused(package: Path, name: str) -> None:
    with (package / SUMS).open("a") as file:
        file.write(f"{'0' * 64}  {name}\n")
    with pytest.raises(RunError) as caught:
        verify_sums(package)
    assert str(caught.value) == (
        f"{package / SUMS}:5: {name!r} is no plain path below the folder; get the package anew"
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "SHA256SUMS: lists no file; get the package anew"),
        (b"\n", "SHA256SUMS:1: is no sha256 and path, found ''; get the package anew"),
        (b"0" * 64 + b"  a\n" + b"0" * 63 + b"  a\n", "SHA256SUMS:2: is no sha256 and path, found '000"),
        ((b"0" * 64 + b"  a\n") * 2, "SHA256SUMS:2: lists 'a' a second time; get the package anew"),
        (b"0" * 64 + b"  k\xf6rper\n", "SHA256SUMS:1: byte 0xf6 is not UTF-8"),
        (b"0" * (2**24 + 1), "SHA256SUMS: has more than 16,777,216 bytes"),
    ],
)
def test_what_is_no_such_list_is_refused_with_the_line(package: Path, content: bytes, said: str) -> None:
    (package / SUMS).write_bytes(content)
    with pytest.raises(RunError) as caught:
        verify_sums(package)
    assert said in str(caught.value)


def test_a_folder_that_is_no_package_is_refused(tmp_path: Path, package: Path) -> None:
    with pytest.raises(RunError, match=r": has no SHA256SUMS; is it a package that tao-lite export has made\?"):
        verify_sums(tmp_path)
    (tmp_path / SUMS).symlink_to(package / SUMS)
    with pytest.raises(RunError, match=": has no SHA256SUMS"):
        verify_sums(tmp_path)
    for name in ("absent", "package/0"):
        with pytest.raises(RunError, match=": no such folder; give the folder of a package"):
            verify_sums(tmp_path / name)
