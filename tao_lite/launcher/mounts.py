"""What of the host a container sees: every path under its own name, and what a mounts file lists.

A path means the same inside and outside, so nothing in specs, checkpoints and messages has to be rewritten.
"""

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tao_lite.errors import LaunchError

# Folders that the container has itself; one of the host in its place would break it.
_OF_CONTAINER = (
    *map(Path, ("/", "/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/opt", "/opt/tao_lite")),
    *map(Path, ("/proc", "/run", "/sbin", "/sys", "/tmp", "/usr", "/usr/lib", "/usr/local", "/var")),  # noqa: S108
)
_KERNEL = (Path("/proc"), Path("/sys"))
# Folders of the system: who gets one, or one that holds one, may change the machine or read its secrets.
_OF_SYSTEM = (
    *map(Path, ("/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/lib64", "/proc", "/root", "/run", "/sbin", "/sys")),
    *map(Path, ("/usr", "/var", "/var/lib", "/var/log", "/var/run")),
)
# Those of them in which no folder is meant for data, and the exceptions.
_SYSTEM_BELOW = tuple(map(Path, ("/boot", "/dev", "/etc", "/proc", "/run", "/sys", "/var/run")))
_DATA_BELOW = (Path("/dev/shm"), Path("/run/media"))  # noqa: S108 - no file of ours is made there


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


def check_kind(path: Path) -> None:
    """Raise where there is something else than a file or a folder: a container with the engine's socket is root.

    Raises:
        LaunchError: a socket, a device or a pipe.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        kind = "socket" if path.is_socket() else "pipe" if path.is_fifo() else "device"
        raise LaunchError(f"{path}: is a {kind}; a container is given files and folders only, name one of these")


def is_of_container(target: Path) -> bool:
    """Whether the container has a folder of its own there."""
    return target in _OF_CONTAINER or any(target.is_relative_to(folder) for folder in _KERNEL)


def of_system(mounts: Iterable[Mount]) -> Iterator[Mount]:
    """Those mounts that give the container a folder of the system, or one that holds such a folder."""
    for mount in mounts:
        # As named and as it is: /var/run is a link to /run, and to the user it is /var/run.
        for source in {mount.source, mount.source.resolve()}:
            holds_one = any(folder.is_relative_to(source) for folder in _OF_SYSTEM)
            is_below = any(source.is_relative_to(folder) for folder in _SYSTEM_BELOW)
            if holds_one or (is_below and not any(source.is_relative_to(folder) for folder in _DATA_BELOW)):
                yield mount
                break


def readable_by_group_only(mounts: Iterable[Mount], groups: Sequence[int]) -> Iterator[Mount]:
    """Those mounts that the caller may read as a member of one of the groups, and not otherwise."""
    for mount in mounts:
        found = mount.source.stat()
        is_others = found.st_uid != os.getuid() and found.st_gid in groups
        if is_others and found.st_mode & stat.S_IRGRP and not found.st_mode & stat.S_IROTH:
            yield mount


def absolute(path: Path) -> Path:
    """The path from the root without `..`."""
    return Path(os.path.abspath(path))  # noqa: PTH100 - Path.absolute keeps `..`, of which mounts know nothing


def _add(mounts: list[Mount], path: Path, *, is_writable: bool) -> None:
    """Let the mounts cover the path, and what it links to."""
    around = max((mount for mount in mounts if mount.covers(path)), key=_order, default=None)
    source = around.on_host(path) if around else path
    if not source.exists():
        return
    check_kind(source)
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
    if is_of_container(path):
        raise LaunchError(
            f"{path}: can't be mounted, for the container has a folder of its own there; "
            "use a folder below it, or give it another name in a mounts file (--mounts)"
        )


def _order(mount: Mount) -> tuple[str, ...]:
    """Outer folders before inner ones, which is how an engine has to mount them."""
    return mount.target.parts
