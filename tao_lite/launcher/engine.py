"""The Docker engine: reaching it, what it can do, and its errors as one line that says what to do."""

import os
import re
import shutil
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import docker.errors
from docker.context import ContextAPI

from tao_lite.errors import LaunchError

SOCKET = "unix:///var/run/docker.sock"

_NO_ENGINE = "no Docker engine answers; start it (sudo systemctl start docker), or run without --docker"
_NO_GPU = (
    "the engine can't give its containers a GPU; install the NVIDIA Container Toolkit and restart the engine, "
    "or compute on the CPU with --gpus 0"
)
_NOT_ALLOWED = (
    "you may not use the engine's socket; `sudo usermod -aG docker $USER` and log in again "
    "(who is in that group is as mighty as root)"
)
_VERSIONS = "the engine and this machine's docker package speak different versions; update the older one"
# What engines say, and what a user can do about it; the first that fits counts.
_REMEDIES = {
    r"permission denied|PermissionError": _NOT_ALLOWED,
    r"client version .* is too (old|new)|(maximum|minimum) supported API": _VERSIONS,
    r"could not select device driver|failed to discover GPU vendor|unresolvable CDI": _NO_GPU,
    r"nvidia-container-cli|CDI device injection failed|invalid runtime name: nvidia": _NO_GPU,
    r"executable file not found": "that image is none of tao_lite; build it with `make image`",
    r"bind source path does not exist|mounts denied|not shared": (
        "the engine does not see this machine's files; it must run here and may have to be allowed to share them"
    ),
    r"No such image|manifest unknown|pull access denied": "the image is not here; build it with `make image`",
    r"no space left on device": "the engine's disk is full; see `docker system df`, then `docker system prune`",
    r"rlimit": "the engine may not set these limits here; take the ulimits out of DockerOptions in the mounts file",
    r"FileNotFoundError|No such file or directory|Connection ?(refused|aborted)|Connect(ion)?Timeout": _NO_ENGINE,
    r"Name or service not known|RemoteDisconnected|Read timed out|Max retries exceeded": _NO_ENGINE,
}


@dataclass(frozen=True, kw_only=True)
class Engine:
    """What an engine is and can do. gpu: how it gives containers a GPU, "nvidia", "cdi" or not at all, ""."""

    version: str = ""
    gpu: str = ""
    is_rootless: bool = False
    remaps_users: bool = False
    has_selinux: bool = False


def connect() -> Any:
    """A client of the engine that the docker command would use; it has answered.

    Raises:
        LaunchError: no engine answers, or the user may not ask it.
    """
    return said(_connect)


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


def explained(error: Exception) -> str:
    """The remedy for what the engine says, with its first words."""
    words = " ".join(str(getattr(error, "explanation", None) or error).split())
    remedy = next((text for pattern, text in _REMEDIES.items() if re.search(pattern, words, re.IGNORECASE)), "")
    return f"{remedy} (Docker: {words[:300]})" if remedy else f"the Docker engine refused: {words[:500]}"


def facts(information: dict[str, Any], *, has_hook: bool) -> Engine:
    """The engine that gave this answer to `docker info`. has_hook: NVIDIA's hook for engines is installed here."""
    security = [str(entry) for entry in information.get("SecurityOptions") or ()]
    devices = [str(device.get("ID")) for device in information.get("DiscoveredDevices") or ()]
    has_runtime = "nvidia" in (information.get("Runtimes") or {}) or has_hook
    has_cdi = any(device.startswith("nvidia.com/gpu") for device in devices)
    return Engine(
        version=str(information.get("ServerVersion", "")),
        gpu="nvidia" if has_runtime else "cdi" if has_cdi else "",
        is_rootless=any("rootless" in entry for entry in security),
        remaps_users=any("userns" in entry for entry in security),
        has_selinux=any("selinux" in entry for entry in security),
    )


def examine(client: Any) -> Engine:
    """What the client's engine is and can do."""
    return facts(said(client.info), has_hook=shutil.which("nvidia-container-runtime-hook") is not None)


def machine_has_gpu() -> bool:
    """Whether this machine has a driver for an NVIDIA GPU, also where no container may use it. The last is WSL's."""
    signs = ("/proc/driver/nvidia/version", "/dev/nvidiactl", "/usr/lib/wsl/lib/nvidia-smi")
    return any(Path(sign).exists() for sign in signs)


def _connect() -> Any:
    host = os.environ.get("DOCKER_HOST") or getattr(ContextAPI.get_current_context(), "Host", None) or SOCKET
    if host.startswith("unix://"):
        # The SDK leaves its sockets open where nothing answers.
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(host.removeprefix("unix://"))
    client = docker.from_env() if os.environ.get("DOCKER_HOST") else docker.DockerClient(base_url=host)
    client.ping()
    return client
