"""What others wrote is read in bounds; what is wrong with a file is told apart from what is wrong with the system."""

import codecs
import errno
import logging
import os
import socket
import time
from collections.abc import Callable
from io import BufferedReader
from pathlib import Path

import pytest

from tao_lite.errors import DataError, ReadError
from tao_lite.files import reading
from tao_lite.files.reading import open_regular, read, read_text, retried, text_lines, text_parts


def named_pipe(path: Path) -> None:
    os.mkfifo(path)


def listening(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        os.chdir(path.parent)  # the name of a socket may have 107 bytes
        one.bind(path.name)


def endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def folder(path: Path) -> None:
    path.mkdir()


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(reading, "_patience", reading._Patience())
    monkeypatch.setattr(reading._Patience, "PAUSES", (0.001, 0.001, 0.001))
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (named_pipe, "is a named pipe, not a regular file"),
        (endless, "is a device, not a regular file"),
        (folder, "is a folder, not a regular file"),
        (listening, "is a socket or a device, not a regular file"),
        (lambda path: path.symlink_to(path.name), "no such file (Too many levels of symbolic links)"),
        (lambda path: None, "no such file; check the path"),
    ],
)
def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path, make: Callable[[Path], None], said: str) -> None:
    """FIELD.md B3."""
    path = tmp_path / "names.json"
    make(path)
    for action in (lambda: open_regular(path, DataError), lambda: read(path, DataError, max_bytes=9)):
        with pytest.raises(DataError) as caught:
            action()
        assert str(caught.value) == f"{path}: {said}"


def test_no_more_is_read_than_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "names.json"
    path.write_bytes(b"123456789")
    assert read(path, DataError, max_bytes=9) == b"123456789"
    with pytest.raises(DataError, match=r"names\.json: has more than 8 bytes"):
        read(path, DataError, max_bytes=8)


def test_text_is_utf8_with_or_without_a_mark_and_the_line_of_a_bad_byte_is_said(tmp_path: Path) -> None:
    path = tmp_path / "names.txt"
    path.write_bytes(b"\xef\xbb\xbfk\xc3\xb6rper\n")
    assert read_text(path, DataError) == "körper\n"
    path.write_bytes(b"one\ntwo\nk\xf6rper\n")
    with pytest.raises(DataError) as caught:
        read_text(path, DataError)
    assert str(caught.value) == f"{path}:3: byte 0xf6 is not UTF-8; save it as UTF-8"


@pytest.mark.parametrize("part", [1, 2, 3, 7, 100])
def test_text_comes_in_parts_and_lines_as_it_is_as_a_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: int
) -> None:
    monkeypatch.setattr(reading, "PART_BYTES", part)
    path, text = tmp_path / "names.txt", "\nk\u00f6rper\r\n\u2028\U0001f600\n\nend"
    for content in (text.encode(), codecs.BOM_UTF8 + text.encode(), text.encode("utf-16")):
        path.write_bytes(content)
        assert "".join(text_parts(path, DataError)) == text
        assert list(text_lines(path, DataError)) == ["\n", "k\u00f6rper\r\n", "\u2028\U0001f600\n", "\n", "end"]
    path.write_bytes(b"one\ntwo\nk\xf6rper\n")
    with pytest.raises(DataError) as caught:
        list(text_parts(path, DataError))
    assert str(caught.value) == f"{path}:3: byte 0xf6 is not UTF-8; save it as UTF-8"
    path.write_bytes(b"")
    assert list(text_lines(path, DataError)) == []


def test_part_that_fails_is_read_again_from_its_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FIELD.md A1."""
    path, failures = tmp_path / "names.txt", iter([True, False, True, True, False, False, False])
    path.write_text("0123456789")
    part_at = reading._part_at

    def failing(file: BufferedReader, start: int) -> bytes:
        found = part_at(file, start)  # and the file has moved on
        if next(failures):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return found

    monkeypatch.setattr(reading, "PART_BYTES", 4)
    monkeypatch.setattr(reading, "_part_at", failing)
    assert list(text_parts(path, DataError)) == ["0123", "4567", "89", ""]


def fails(times: int, number: int) -> Callable[[], int]:
    """A read that the system refuses that often; then it returns the number of calls."""
    calls: list[None] = []

    def attempt() -> int:
        calls.append(None)
        if len(calls) <= times:
            raise OSError(number, os.strerror(number))
        return len(calls)

    return attempt


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.ETIMEDOUT])
def test_a_failure_that_may_pass_is_waited_for_and_said(
    caplog: pytest.LogCaptureFixture, tmp_path: Path, number: int
) -> None:
    """FIELD.md A1."""
    with caplog.at_level(logging.WARNING):
        assert retried(tmp_path / "a.pth", fails(3, number)) == 4
    assert caplog.messages == [f"{tmp_path / 'a.pth'}: {os.strerror(number)}; waiting for it"]


def test_a_failure_that_stays_is_no_damage(tmp_path: Path) -> None:
    """FIELD.md A1."""
    with pytest.raises(ReadError) as caught:
        retried(tmp_path / "a.pth", fails(4, errno.EIO))
    assert str(caught.value) == (
        f"{tmp_path / 'a.pth'}: can't be read now (Input/output error, EIO); the file itself may be whole: check the "
        "disk or the network, then give the same command again"
    )


def test_a_refusal_is_not_waited_for(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match=r"Permission denied, EACCES\); change its permissions"):
        retried(tmp_path / "a.pth", fails(1, errno.EACCES))


def test_many_files_that_cannot_be_read_cost_seconds_in_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(reading._Patience, "PAUSES", (0.01, 0.01, 0.01))
    reading._patience._left = 0.055
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    for _ in range(1000):
        with pytest.raises(ReadError):
            retried(tmp_path / "a.png", fails(9, errno.EIO))
    assert len(slept) == 5
    # One that comes back gives hope for the others.
    reading._patience._left = 0.02
    assert retried(tmp_path / "b.png", fails(1, errno.EIO)) == 2
    assert reading._patience._left == reading._Patience.TOTAL_SECONDS
