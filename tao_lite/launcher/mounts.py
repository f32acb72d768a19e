"""What of the host a container sees: every path under its own name, and what a ~/.tao_mounts.json lists.

A path means the same inside and outside, so nothing in specs, checkpoints and messages has to be rewritten.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tao_lite.errors import LaunchError

DEFAULT_FILE = Path("~/.tao_mounts.json")
OPTIONS = ("user", "ports", "shm_size", "ulimits", "privileged", "network", "tty")

# Folders that the container has itself; one of the host in its place would break it.
_OF_CONTAINER = (
    *map(Path, ("/", "/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/opt", "/opt/tao_lite")),
    *map(Path, ("/proc", "/run", "/sbin", "/sys", "/tmp", "/usr", "/usr/lib", "/usr/local", "/var")),  # noqa: S108
)
_KERNEL = (Path("/proc"), Path("/sys"))


@dataclass(frozen=True)
class Mount:
    """A folder or file of the host and where the container sees it. is_writable None: if something is written there."""

    source: Path
    target: Path
    is_writable: bool | None = False

    def covers(self, path: Path) -> bool:
        return path.is_relative_to(self.target)

    def on_host(self, path: Path) -> Path:
        """The host's path of one that the mount covers."""
        return self.source / path.relative_to(self.target)


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
        LaunchError: unreadable, not in that form, or a source that does not exist.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise LaunchError(f"{path}: can't be read ({error.strerror}); name another with --mounts") from error
    except ValueError as error:
        raise LaunchError(f"{path}: is not JSON ({error})") from error
    _check_keys(f"{path}", content, ("Mounts", "Envs", "DockerOptions"))
    options = content.get("DockerOptions", {})
    _check_keys(f"{path}: DockerOptions", options, OPTIONS)
    try:
        mounts = tuple(_listed(path, entry) for entry in content.get("Mounts", []))
        environment = {str(entry["variable"]): str(entry["value"]) for entry in content.get("Envs", [])}
    except (KeyError, TypeError, AttributeError) as error:
        form = '{"Mounts": [{"source": ..., "destination": ...}], "Envs": [{"variable": ..., "value": ...}]}'
        raise LaunchError(f"{path}: must be like {form} (found {error!r})") from error
    return MountsFile(path, mounts, environment, options)


def plan(reads: Iterable[Path], writes: Iterable[Path], listed: Sequence[Mount] = ()) -> tuple[Mount, ...]:
    """Mounts under which every path can be used, sorted by target: those listed, and no more than is needed besides.

    Paths are absolute. What is read and does not exist is left to the stage, which says so as without a container.

    Raises:
        LaunchError: a path hides folders of the container, or is written and listed as read-only.
    """
    mounts = list(listed)
    for path in sorted(writes):
        _add(mounts, path, is_writable=True)
    for path in sorted(reads):
        _add(mounts, path, is_writable=False)
    return tuple(replace(mount, is_writable=bool(mount.is_writable)) for mount in sorted(mounts, key=_order))


def host_path(path: Path, listed: Iterable[Mount]) -> Path:
    """Where a path of the container is on the host: paths below a listed mount's target are that mount's."""
    path = absolute(path)
    inner = max((mount for mount in listed if mount.covers(path)), key=_order, default=None)
    return inner.on_host(path) if inner else path


def absolute(path: Path) -> Path:
    """The path from the root without `..`."""
    return Path(os.path.abspath(path))  # noqa: PTH100 - Path.absolute keeps `..`, of which mounts know nothing


def _add(mounts: list[Mount], path: Path, *, is_writable: bool) -> None:
    """Let the mounts cover the path, and what it links to."""
    around = max((mount for mount in mounts if mount.covers(path)), key=_order, default=None)
    source = around.on_host(path) if around else path
    if not source.exists():
        return
    real = source.resolve()
    if around is None or (is_writable and around.is_writable is False):
        _check(path, around)
        mounts.append(Mount(real, path, is_writable))
    elif not real.is_relative_to(around.source.resolve()):
        _add(mounts, real, is_writable=is_writable)  # A link leads out of the mount; it does so inside, too.
    elif is_writable and around.is_writable is None:
        mounts[mounts.index(around)] = replace(around, is_writable=True)


def _check(path: Path, around: Mount | None) -> None:
    if around:
        raise LaunchError(f"{path}: is written to, but {around.target} is mounted read-only; choose another place")
    if path in _OF_CONTAINER or any(path.is_relative_to(folder) for folder in _KERNEL):
        raise LaunchError(
            f"{path}: can't be mounted, for the container has a folder of its own there; "
            "use a folder below it, or give it another name in a mounts file (--mounts)"
        )


def _listed(path: Path, entry: Mapping[str, Any]) -> Mount:
    source = absolute(Path(entry["source"]).expanduser())
    target = absolute(Path(entry["destination"]))
    if not source.exists():
        raise LaunchError(f"{path}: the source {source} of a mount does not exist; create it or take it out")
    if target in _OF_CONTAINER:
        raise LaunchError(f"{path}: the destination {target} is a folder of the container itself; choose another")
    return Mount(source, target, False if entry.get("read_only") else None)


def _check_keys(where: str, found: object, known: Sequence[str]) -> None:
    if not isinstance(found, dict):
        raise LaunchError(f"{where}: must be an object with {', '.join(known)}")
    unknown = [key for key in found if key not in known]
    if unknown:
        raise LaunchError(f"{where}: {unknown[0]!r} is not known; it may have {', '.join(known)}")


def _order(mount: Mount) -> tuple[str, ...]:
    """Outer folders before inner ones, which is how an engine has to mount them."""
    return mount.target.parts
