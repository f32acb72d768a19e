"""TAO's mounts file: mounts, environment variables and DockerOptions, each of the type that it must have."""

import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tao_lite.errors import LaunchError
from tao_lite.files import reading
from tao_lite.launcher import mounts
from tao_lite.launcher.mounts import Mount

DEFAULT_FILE = Path("~/.tao_mounts.json")
MAX_BYTES = 1_000_000
_MAX_SHOWN = 60  # characters of a wrong value


@dataclass(frozen=True)
class MountsFile:
    """A ~/.tao_mounts.json: its mounts, environment variables and DockerOptions; empty where there is none."""

    path: Path | None = None
    mounts: tuple[Mount, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)


def find(given: Path | None) -> MountsFile:
    """The mounts file that was named, else that of the environment or of the home folder, where there is one.

    Raises:
        LaunchError: the file named is not there, or a file is not in TAO's form.
    """
    named = given or (Path(text) if (text := os.environ.get("LAUNCHER_MOUNTS")) else None)
    path = named or DEFAULT_FILE.expanduser()
    return read(path) if named or path.is_file() else MountsFile()


def read(path: Path) -> MountsFile:
    """The mounts file at the path, in the form of TAO's launcher; a mount may say "read_only": true besides.

    Raises:
        LaunchError: unreadable, not in that form, or a source that can't be mounted.
    """
    content = reading.read_json(path, LaunchError, max_bytes=MAX_BYTES)
    _check_object(f"{path}", content, _FILE)
    entries = [
        (f"{path}: {name}[{index}]", kinds, entry)
        for name, kinds in (("Mounts", _MOUNT), ("Envs", _ENV))
        for index, entry in enumerate(content.get(name, ()))
    ]
    for where, kinds, entry in entries:
        _check_object(where, entry, kinds, required=[key for key in kinds if key != "read_only"])
    options = content.get("DockerOptions", {})
    _check_object(f"{path}: DockerOptions", options, _OPTIONS)
    return MountsFile(
        path,
        tuple(_mount(where, entry) for where, kinds, entry in entries if kinds is _MOUNT),
        {entry["variable"]: entry["value"] for _, kinds, entry in entries if kinds is _ENV},
        options,
    )


def _mount(where: str, entry: Mapping[str, Any]) -> Mount:
    # Path.expanduser raises for an unknown ~user.
    source = mounts.absolute(Path(os.path.expanduser(entry["source"])))  # noqa: PTH111
    target = mounts.absolute(Path(entry["destination"]))
    if not source.exists():
        raise LaunchError(f"{where}: the source {source} of a mount does not exist; create it or take it out")
    mounts.check_kind(source)
    if mounts.is_of_container(target):
        raise LaunchError(f"{where}: the destination {target} is a folder of the container itself; choose another")
    return Mount(source, target, False if entry.get("read_only") else None)


@dataclass(frozen=True)
class _Kind:
    """What a value must be, in words, and whether one is."""

    words: str
    fits: Callable[[Any], bool]


def _check_object(where: str, found: object, known: Mapping[str, _Kind], *, required: Sequence[str] = ()) -> None:
    """Raise where the value is no object with these keys and values of these kinds."""
    if not isinstance(found, dict):
        raise LaunchError(f"{where}: must be an object with {', '.join(known)}, found {_shown(found)}")
    unknown = [key for key in found if key not in known]
    if unknown:
        raise LaunchError(f"{where}: {unknown[0][:_MAX_SHOWN]!a} is not known; it may have {', '.join(known)}")
    missing = [key for key in required if key not in found]
    if missing:
        form = ", ".join(f'"{key}": ...' for key in required)
        raise LaunchError(f"{where}: {missing[0]!r} is missing; it must be like {{{form}}}")
    for key, value in found.items():
        if not known[key].fits(value):
            raise LaunchError(f"{where}: {key} must be {known[key].words}, found {_shown(value)}")


def _shown(value: object) -> str:
    # ensure_ascii, so that no control character reaches a terminal.
    text = json.dumps(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."


def _is_text(value: object) -> bool:
    """Whether a system can take it as a path or in an environment: not empty, without NUL and halves of characters."""
    return isinstance(value, str) and value != "" and _is_value(value)


def _is_value(value: object) -> bool:
    return isinstance(value, str) and re.search("[\0\ud800-\udfff]", value) is None


def _is_int(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _is_size(value: object) -> bool:
    return _is_int(value, 1, 2**63 - 1) or (
        isinstance(value, str) and re.fullmatch(r"\d+ ?([bkmgt]b?)?", value, re.I) is not None
    )


def _is_object_of(key: str, low: int, high: int) -> Callable[[Any], bool]:
    """Test for an object with such keys, all of its values whole numbers from low to high."""

    def fits(value: object) -> bool:
        return isinstance(value, dict) and all(
            re.fullmatch(key, name) and _is_int(number, low, high) for name, number in value.items()
        )

    return fits


_BOOLEAN = _Kind("true or false without quotes", lambda value: isinstance(value, bool))
_TEXT = _Kind('a text in quotes, such as "/data"', _is_text)
_LIST = _Kind("a list of objects", lambda value: isinstance(value, list))
_ANYTHING = _Kind("an object", lambda _: True)  # which is looked into by itself

_FILE = {"Mounts": _LIST, "Envs": _LIST, "DockerOptions": _ANYTHING}
_MOUNT = {"source": _TEXT, "destination": _TEXT, "read_only": _BOOLEAN}
_ENV = {
    "variable": _Kind("a name without =", lambda value: _is_text(value) and "=" not in value),
    "value": _Kind('a text in quotes, such as "1"', _is_value),
}
_OPTIONS = {
    "user": _Kind('"UID:GID"', _is_text),
    "ports": _Kind('an object such as {"8888": 8888}', _is_object_of(r"\d{1,5}(/(tcp|udp|sctp))?", 1, 65535)),
    "shm_size": _Kind('a size such as "16G"', _is_size),
    "ulimits": _Kind('an object such as {"stack": 67108864}', _is_object_of("[a-z]+", -1, 2**63 - 1)),
    "privileged": _BOOLEAN,
    "network": _Kind('a name such as "host"', _is_text),
    "tty": _BOOLEAN,
}
