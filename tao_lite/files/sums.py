"""SHA256SUMS: what the files of a folder were when it was made, as sha256sum writes it; and what has become of them."""

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from tao_lite.errors import ReadError, RunError, brief, printable
from tao_lite.files import reading, writing

SUMS = "SHA256SUMS"
SIGNATURE = "SHA256SUMS.sig"

_MOST_LIST_BYTES = 2**24
_MOST_FILE_BYTES = 2**36
_LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")


class _Listed(NamedTuple):
    digest: str
    line: int


def write_sums(folder: Path) -> None:
    """Write SHA256SUMS: every file below the folder but itself and its signature, sorted.

    Raises:
        RunError: it can't be written, or something there is no regular file or has a name that a line can't hold.
        ReadError: the system can't read a file now.
    """
    members = _members(folder)
    for name, path in members.items():
        if unfit := _unfit(path):
            raise RunError(f"{printable(str(path))}: {unfit}, which {SUMS} can't list; remove it")
        if not _is_plain(name):
            raise RunError(f"{folder}: holds {brief(name)}, a name that {SUMS} can't list; give the file another one")
    lines = [f"{reading.digest(path, RunError)}  {name}\n" for name, path in members.items()]
    writing.write(folder / SUMS, "".join(lines))


def verify_sums(folder: Path) -> dict[str, str]:
    """What is wrong by the name of the file: it was changed, is missing, is new or no regular file. Opens no other.

    Raises:
        RunError: the folder has no SHA256SUMS, or one that write_sums can't have written.
        ReadError: the system can't read a file now.
    """
    members, listed = _members(folder), _read(folder)
    problems = {name: _problem(members.get(name), listed.get(name)) for name in sorted({*members, *listed})}
    return {name: problem for name, problem in problems.items() if problem}


def _members(folder: Path) -> dict[str, Path]:
    """What is below the folder but folders, the sums and their signature, by relative path; links are not followed.

    Raises:
        RunError: there is no such folder.
        ReadError: the system can't list it now.
    """
    if not folder.is_dir():
        raise RunError(f"{folder}: no such folder; give the folder of a package")

    def refuse(error: OSError) -> None:
        raise ReadError(f"{error.filename}: can't be listed now ({error.strerror}); change its permissions") from error

    found: dict[str, Path] = {}
    for above, folders, names in os.walk(folder, onerror=refuse):
        paths = [Path(above, name) for name in (*folders, *names)]
        found |= {path.relative_to(folder).as_posix(): path for path in paths if path.is_symlink() or not path.is_dir()}
    return {name: found[name] for name in sorted(found) if name not in (SUMS, SIGNATURE)}


def _problem(member: Path | None, listed: _Listed | None) -> str:
    if member is None:
        return "is missing"
    if unfit := _unfit(member):
        return unfit
    if listed is None:
        return "is new"
    is_same = reading.digest(member, RunError) == listed.digest
    return "" if is_same else f"was changed, or line {listed.line} of {SUMS} was"


def _unfit(path: Path) -> str:
    """Why the file has no place in a package, if it hasn't."""
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        return "is a link"
    if not stat.S_ISREG(status.st_mode):
        return "is no regular file"
    return f"has more than {_MOST_FILE_BYTES:,} bytes" if status.st_size > _MOST_FILE_BYTES else ""


def _read(folder: Path) -> dict[str, _Listed]:
    path = folder / SUMS
    if path.is_symlink() or not path.is_file():
        raise RunError(f"{folder}: has no {SUMS}; is it a package that tao-lite export has made?")
    found: dict[str, _Listed] = {}
    for number, (digest, name) in enumerate(_lines(path), start=1):
        if not _is_within(name):
            raise RunError(f"{path}:{number}: {brief(name)} is no plain path below the folder; get the package anew")
        if name in found:
            raise RunError(f"{path}:{number}: lists {brief(name)} a second time; get the package anew")
        found[name] = _Listed(digest, number)
    if not found:
        raise RunError(f"{path}: lists no file; get the package anew")
    return found


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    text = reading.read_text(path, RunError, max_bytes=_MOST_LIST_BYTES)
    for number, line in enumerate(text.removesuffix("\n").split("\n") if text else [], start=1):
        match = _LINE.fullmatch(line)
        if not match:
            raise RunError(f"{path}:{number}: is no sha256 and path, found {brief(line)}; get the package anew")
        yield match[1], match[2]


def _is_within(name: str) -> bool:
    path = PurePosixPath(name)
    return _is_plain(name) and name == path.as_posix() != "." and not path.is_absolute() and ".." not in path.parts


def _is_plain(name: str) -> bool:
    """Whether the name is UTF-8 without what sha256sum escapes and what moves a terminal's cursor."""
    return name.isprintable() and "\\" not in name
