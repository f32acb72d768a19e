"""A stage in a container, as it would run here: same paths, user, output and exit code. Imports no torch."""

import contextlib
import logging
import os
import resource
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from docker.types import DeviceRequest, Ulimit
from docker.types import Mount as DockerMount

from tao_lite.errors import LaunchError
from tao_lite.launcher import container, image, mounts, mounts_file
from tao_lite.launcher import engine as engine_client
from tao_lite.launcher import request as requests
from tao_lite.launcher.engine import Engine
from tao_lite.launcher.mounts_file import MountsFile
from tao_lite.launcher.request import Choice, Command, Gpus, Request
from tao_lite.machine.host import max_processes

SHM_SIZE = "8g"
"""Shared memory, which processes on several GPUs exchange data through; the engine's own default is 64 MB."""

_log = logging.getLogger(__name__)


def launch(command: Command, choice: Choice) -> int:
    """Exit code of the command in a container.

    Raises:
        LaunchError: no engine, image or GPU, a path that can't be mounted, more rights than were allowed.
        SpecError: the spec can't be read.
    """
    listed = mounts_file.find(choice.mounts)
    _check_rights(listed, choice)
    with contextlib.closing(engine_client.connect()) as client:
        engine = engine_client.examine(client)
        request = _chosen(requests.of(command, listed), command, choice, engine)
        for line in cautions(request, engine):
            _log.warning("%s", line)
        _note_stale_image(client, request.image)
        container.remove_left_over(client)
        code, reason = container.run(client, container_options(request, engine))
    if reason:
        _log.error("%s", reason)
    return code


def container_options(request: Request, engine: Engine) -> dict[str, Any]:
    """Arguments of the SDK's `containers.create`. DockerOptions of a mounts file win over what would be chosen."""
    tao = request.tao_options
    options: dict[str, Any] = {
        "image": request.image,
        "command": ["tao-lite", *request.arguments],
        "name": request.name,
        "labels": {container.LABEL: str(os.getpid())},
        "init": True,  # passes signals on, and collects processes that ended
        "user": _user(request, engine),
        # A rootless engine has no say over groups outside those that are mapped for it.
        "group_add": [] if engine.is_rootless else [str(group) for group in request.groups],
        "working_dir": str(request.folder),
        "environment": dict(request.environment),
        "mounts": [
            DockerMount(str(mount.target), str(mount.source), type="bind", read_only=not mount.is_writable)
            for mount in request.mounts
        ],
        "tmpfs": {"/tmp": "rw,exec,nosuid,nodev,mode=1777"},  # noqa: S108 - inside; compiled kernels need exec
        "read_only": True,
        "network_mode": tao.get("network", request.network),
        "shm_size": tao.get("shm_size") or request.shm_size or SHM_SIZE,
        "ulimits": _ulimits(tao.get("ulimits", {}), engine),
        "device_requests": _device_requests(request.gpus, engine),
        "tty": request.has_terminal and tao.get("tty", True) is True,
        **_limits(request),
        **_security(engine, is_privileged=_is_privileged(tao)),
    }
    if "ports" in tao:
        options["ports"] = tao["ports"]
    if options["network_mode"] == "none":
        # Processes that train together look up the name of their machine, and nobody would answer.
        options |= {"hostname": request.name, "extra_hosts": {request.name: "127.0.0.1"}}
    return {name: value for name, value in options.items() if value is not None and value != []}


def _ulimits(named: Mapping[str, int], engine: Engine) -> list[Ulimit]:
    """The limits that are named. Podman, given any, would raise two others further than it may: they are given ours."""
    found = dict(named)
    if found and engine.is_podman:
        found = {"nofile": resource.getrlimit(resource.RLIMIT_NOFILE)[1], "nproc": max_processes(), **found}
    return [Ulimit(name=name, soft=value, hard=value) for name, value in found.items()]


def cautions(request: Request, engine: Engine) -> Iterator[str]:
    """What the container may do to the machine besides computing, and what it can't have; one line each."""
    if _is_privileged(request.tao_options):
        yield "The container is privileged: it may do all that root may on this machine"
    network = request.tao_options.get("network", "")
    if network.startswith(("host", "container:", "ns:")):
        yield f"DockerOptions: network {network} opens what listens there to the container; it needs none to train"
    for mount in mounts.of_system(request.mounts):
        rights = "read and change" if mount.is_writable else "read"
        yield f"{mount.source} is a folder of the system, which the container may {rights} as {mount.target}"
    if not engine.is_rootless:
        return
    for mount in mounts.readable_by_group_only(request.mounts, request.groups):
        yield (
            f"{mount.source} is open to you by a group only, and a rootless engine takes groups from its containers; "
            'Podman with crun keeps them: annotations = ["run.oci.keep_original_groups=1"] below [containers] in '
            "~/.config/containers/containers.conf"
        )
    if (request.memory or request.cpus) and not engine.has_limits:
        yield f"--memory and --cpus are not in effect: {engine_client.NO_LIMITS}"


def _check_rights(listed: MountsFile, choice: Choice) -> None:
    if _is_privileged(listed.options) and not choice.allow_privileged:
        raise LaunchError(
            f"{listed.path}: DockerOptions: privileged is true, which lets the container do all that root may on this "
            "machine; take it out, for training needs no such rights, or add --allow_privileged"
        )


def _is_privileged(tao_options: Mapping[str, Any]) -> bool:
    return tao_options.get("privileged") is True


def _chosen(request: Request, command: Command, choice: Choice, engine: Engine) -> Request:
    """The request with the devices and limits that the user chose."""
    gpus = requests.gpus(choice.gpus, command.options.get("num_processes"), engine)
    on_cpu = ["--gpus=0"] if choice.gpus == Gpus(0) else []
    return replace(
        request,
        arguments=[*request.arguments, *([f"--gpus={gpus.word}"] if gpus else on_cpu)],
        image=choice.image or image.name(),
        gpus=gpus,
        memory=choice.memory,
        cpus=choice.cpus,
        shm_size=choice.shm_size,
    )


def _limits(request: Request) -> dict[str, Any]:
    limits: dict[str, Any] = {}
    if request.memory:
        # Without the second one as much again could be swapped.
        limits = {"mem_limit": request.memory, "memswap_limit": request.memory}
    if request.cpus:
        limits["nano_cpus"] = round(request.cpus * 1e9)
    return limits


def _security(engine: Engine, *, is_privileged: bool) -> dict[str, Any]:
    if is_privileged:
        return {"privileged": True}
    # Labels of SELinux on the user's own files would have to be changed.
    labels = ["label=disable"] if engine.has_selinux else []
    options: dict[str, Any] = {"cap_drop": ["ALL"], "security_opt": ["no-new-privileges", *labels]}
    return {**options, "userns_mode": "host"} if engine.remaps_users else options


def _user(request: Request, engine: Engine) -> str:
    """The caller, so that all files are the caller's; only root may run as the user that a mounts file names."""
    if engine.is_rootless:
        return engine.caller
    named = request.tao_options.get("user")
    if named and request.user.startswith("0:"):
        return str(named)
    if named and named != request.user:
        _log.warning("DockerOptions: user %s is left out; the container runs as you, %s", named, request.user)
    return request.user


def _device_requests(gpus: Gpus | None, engine: Engine) -> list[DeviceRequest]:
    if gpus is None:
        return []
    if engine.gpu == "cdi":
        names = gpus.ids or (["all"] if gpus.count < 0 else [str(index) for index in range(gpus.count)])
        return [DeviceRequest(driver="cdi", device_ids=[f"nvidia.com/gpu={name}" for name in names])]
    # An engine takes a count or ids, not both.
    which = {"device_ids": list(gpus.ids)} if gpus.ids else {"count": gpus.count}
    return [DeviceRequest(capabilities=[["gpu"]], **which)]


def _note_stale_image(client: Any, name: str) -> None:
    if not image.is_current(engine_client.said(client.images.get, name).labels):
        _log.warning("%s was built from other code than this; `make image` builds it anew", name)
