"""The engine, Docker or Podman: reaching it, what it can do, and its errors as one line that says what to do."""

import contextlib
import grp
import os
import re
import shutil
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import docker.errors
from docker.context import ContextAPI

from tao_lite.errors import LaunchError, TaoLiteError
from tao_lite.files import reading

SOCKET = "unix:///var/run/docker.sock"
"""Where Docker's engine listens; Podman speaks the same language at sockets of its own."""

CDI_FOLDERS = (Path("/etc/cdi"), Path("/var/run/cdi"))
"""Where the descriptions of devices lie that Podman gives to containers; `nvidia-ctk cdi generate` writes them."""

NO_LIMITS = "a rootless engine can't limit memory and cores where the machine has cgroups of version 1"

_PODMAN_GIVES_GPUS = (5, 4)  # the first that takes a CDI device by its API

_NO_ENGINE = (
    "no Docker engine answers; start it (sudo systemctl start docker; where there is Podman, "
    "systemctl --user start podman.socket), or run without --docker"
)
_NO_GPU = (
    "the engine can't give its containers a GPU; install the NVIDIA Container Toolkit and restart the engine, "
    "or compute on the CPU with --gpus 0"
)
_NOT_IN_GROUP = (
    "you may not use the engine's socket; `sudo usermod -aG docker $USER` and log in again "
    "(who is in that group is as mighty as root)"
)
_NOT_YOURS = (
    "the engine's socket is another user's; use your own: `systemctl --user start podman.socket` (for Docker: "
    "docker.socket), and take DOCKER_HOST out of the environment or name yours there"
)
_VERSIONS = "the engine and this machine's docker package speak different versions; update the older one"
# What an engine says that does not do what it was asked, and what a user can do about it; the first that fits counts.
_REFUSED = {
    r"client version .* is too (old|new)|(maximum|minimum) supported API": _VERSIONS,
    r"could not select device driver|failed to discover GPU vendor|unresolvable CDI": _NO_GPU,
    r"nvidia-container-cli|CDI device injection failed|invalid runtime name: nvidia": _NO_GPU,
    r"executable file not found": "that image is none of tao_lite; build it with `make image`",
    r"bind source path does not exist|mounts denied|not shared|statfs .*: no such file": (
        "the engine does not see this machine's files; it must run here and may have to be allowed to share them"
    ),
    r"No such image|image not known|manifest unknown|pull access denied": (
        "the image is not here; build it with `make image`"
    ),
    r"no space left on device": (
        "the engine's disk is full; see `docker system df`, then `docker system prune` (Podman: `podman system ...`)"
    ),
    r"rlimit": (
        "the engine may not set these limits here; take the ulimits out of DockerOptions in the mounts file "
        "(Podman raises some by itself: set default_ulimits in its containers.conf)"
    ),
    r"(mount|statfs).*(permission denied|not permitted)": (
        "the engine may not use a path that the container is to see; have it opened to you, or name another"
    ),
    r"catatonit|container-init": "Podman lacks the program that it starts containers with; install catatonit",
}
# What is said where none was reached.
_UNREACHED = {
    r"FileNotFoundError|No such file or directory|Connection ?(refused|aborted)|Connect(ion)?Timeout": _NO_ENGINE,
    r"Name or service not known|RemoteDisconnected|Read timed out|Max retries exceeded": _NO_ENGINE,
}


@dataclass(frozen=True, kw_only=True)
class Engine:
    """What an engine is and can do.

    gpu: how it gives containers a GPU, "nvidia", "cdi" or not at all, "". has_limits: of memory and cores. folder:
    where it keeps images.
    """

    version: str = ""
    gpu: str = ""
    is_podman: bool = False
    is_rootless: bool = False
    remaps_users: bool = False
    has_selinux: bool = False
    has_limits: bool = True
    folder: str = ""

    @property
    def caller(self) -> str:
        """Who a container runs as, so that its files are those of who started it."""
        return "0:0" if self.is_rootless else f"{os.getuid()}:{os.getgid()}"

    def __str__(self) -> str:
        return f"{'Podman' if self.is_podman else 'Docker'} {self.version}".rstrip()

    @property
    def why_no_gpu(self) -> str:
        """Why it gives containers no GPU, and what to do about it."""
        if not self.is_podman:
            return (
                f"{self} has no NVIDIA runtime; install the NVIDIA Container Toolkit and restart the engine "
                "(nvidia-ctk runtime configure)"
            )
        if _numbers(self.version) < _PODMAN_GIVES_GPUS:
            return f"{self} ignores requests for a GPU, it needs Podman 5.4; update it"
        return (
            f"{self} knows no NVIDIA device; install the NVIDIA Container Toolkit and describe the GPUs "
            "(sudo nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml)"
        )


def connect() -> Any:
    """A client of the engine that `reach` finds."""
    return reach()[1]


def reach() -> tuple[str, Any]:
    """Address and client of the engine that the docker command would use, else of Podman's; it has answered.

    Raises:
        LaunchError: no engine answers, or the user may not ask it.
    """
    failures: list[str] = []
    tried = addresses()
    for address in tried:
        try:
            return address, _client(address)
        except (docker.errors.DockerException, OSError) as error:
            failures.append(explained(error, address))
    # An engine that is there, but does not let us in, says more than one that is not.
    text = next((one for one in failures if not one.startswith(_NO_ENGINE)), failures[0])
    raise LaunchError(text if len(tried) == 1 else f"{text}; tried {', '.join(tried)}")


def addresses() -> list[str]:
    """Where an engine may listen, in the order in which they are tried; what the user named stands alone."""
    if named := os.environ.get("DOCKER_HOST"):
        return [named]
    context = getattr(ContextAPI.get_current_context(), "Host", None) or SOCKET
    if context != SOCKET:
        return [context]
    folder = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
    return [SOCKET, f"unix://{folder}/podman/podman.sock", "unix:///run/podman/podman.sock"]


def said(call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """What the call returns; an error of the engine as one line that says what to do.

    Raises:
        LaunchError: the engine refused, or is not there.
    """
    try:
        return call(*arguments, **options)
    except docker.errors.DockerException as error:
        raise LaunchError(explained(error)) from error
    except OSError as error:  # requests' errors are of this kind
        raise LaunchError(explained(error)) from error


def explained(error: Exception, address: str = SOCKET) -> str:
    """The remedy for what the engine at the address says, with its first words."""
    words = " ".join(str(getattr(error, "explanation", None) or error).split())
    if isinstance(error, docker.errors.APIError):
        known = _REFUSED
    else:
        known = {r"PermissionError|Errno 13\b": _not_allowed(address), **_REFUSED, **_UNREACHED}
    remedy = next((text for pattern, text in known.items() if re.search(pattern, words, re.IGNORECASE)), "")
    return f"{remedy} (it says: {words[:300]})" if remedy else f"the engine refused: {words[:500]}"


def facts(information: dict[str, Any], *, has_hook: bool, cdi_folders: Sequence[Path] = CDI_FOLDERS) -> Engine:
    """The engine that gave this answer to `docker info`. has_hook: NVIDIA's hook for engines is installed here."""
    security = [str(entry) for entry in information.get("SecurityOptions") or ()]
    is_podman = "BuildahVersion" in information
    # Podman tells it apart from the rest, and before 4.6 there only.
    is_rootless = bool(information.get("Rootless")) or any("rootless" in entry for entry in security)
    version = str(information.get("ServerVersion", ""))
    return Engine(
        version=version,
        gpu=_podman_gpu(version, cdi_folders) if is_podman else _docker_gpu(information, has_hook=has_hook),
        is_podman=is_podman,
        is_rootless=is_rootless,
        remaps_users=any("userns" in entry for entry in security),
        has_selinux=any("selinux" in entry for entry in security),
        # What is said of limits there is what the kernel could do, not what a user may.
        has_limits=not (is_rootless and str(information.get("CgroupVersion")) == "1"),
        folder=str(information.get("DockerRootDir", "")),
    )


def examine(client: Any) -> Engine:
    """What the client's engine is and can do."""
    return facts(said(client.info), has_hook=shutil.which("nvidia-container-runtime-hook") is not None)


def machine_has_gpu() -> bool:
    """Whether this machine has a driver for an NVIDIA GPU, also where no container may use it. The last is WSL's."""
    signs = ("/proc/driver/nvidia/version", "/dev/nvidiactl", "/usr/lib/wsl/lib/nvidia-smi")
    return any(Path(sign).exists() for sign in signs)


def _client(address: str) -> Any:
    if address.startswith("unix://"):
        # The SDK leaves its sockets open where nothing answers.
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(address.removeprefix("unix://"))
    client = docker.from_env() if os.environ.get("DOCKER_HOST") else docker.DockerClient(base_url=address)
    client.ping()
    return client


def _not_allowed(address: str) -> str:
    """What to do about a socket that the user may not use: join its group where it is Docker's, else use another."""
    path = Path(address.removeprefix("unix://")).resolve()
    try:
        is_dockers = grp.getgrgid(path.stat().st_gid).gr_name == "docker"
    except (OSError, KeyError):  # in a closed folder, or of no group that has a name
        is_dockers = path == Path(SOCKET.removeprefix("unix://")).resolve() and path.name == "docker.sock"
    return _NOT_IN_GROUP if is_dockers else _NOT_YOURS


def _docker_gpu(information: dict[str, Any], *, has_hook: bool) -> str:
    devices = [str(device.get("ID")) for device in information.get("DiscoveredDevices") or ()]
    if "nvidia" in (information.get("Runtimes") or {}) or has_hook:
        return "nvidia"
    return "cdi" if any(device.startswith("nvidia.com/gpu") for device in devices) else ""


def _podman_gpu(version: str, cdi_folders: Sequence[Path]) -> str:
    """Podman lists no devices, and does not do what NVIDIA's hook would: it reads their descriptions."""
    if _numbers(version) < _PODMAN_GIVES_GPUS:
        return ""
    for folder in cdi_folders:
        for file in sorted(folder.glob("*.yaml")) + sorted(folder.glob("*.json")):
            with contextlib.suppress(TaoLiteError):
                if "nvidia.com/gpu" in reading.read_text(file, LaunchError):
                    return "cdi"
    return ""


def _numbers(version: str) -> tuple[int, ...]:
    """The numbers that a version begins with: (5, 4) of 5.4.2-rc1."""
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])
