"""What is asked of an engine: a stage with its paths, user, devices, limits; from command line, spec, mounts file."""

import contextlib
import os
import sys
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tao_lite.errors import LaunchError, RunError
from tao_lite.files import writing
from tao_lite.files.places import cache_home
from tao_lite.launcher import engine as engine_client
from tao_lite.launcher import mounts, needs
from tao_lite.launcher.engine import Engine
from tao_lite.launcher.mounts import Mount
from tao_lite.launcher.mounts_file import MountsFile
from tao_lite.spec.load import Examined, examine, read

# Variables that mean the same inside. Proxies and tokens only where something is to be downloaded.
_PASSED_ON = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NO_COLOR", "FORCE_COLOR", "TERM", "COLORTERM", "NCCL_DEBUG")
_FOLDERS = ("TORCH_HOME", "HF_HOME")
_FOR_NETWORK = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


@dataclass(frozen=True)
class Gpus:
    """GPUs of the machine: those with these ids, else so many; -1 is all."""

    count: int = 1
    ids: tuple[str, ...] = ()

    @property
    def word(self) -> str:
        """Value of --gpus inside, where what was given is counted from 0."""
        return str(len(self.ids)) if self.ids else "all" if self.count < 0 else str(self.count)


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is to run, and with what of the machine. network: None is the engine's usual one."""

    arguments: Sequence[str]
    image: str = "tao-lite"
    name: str = "tao-lite"
    folder: Path = Path("/")
    user: str = "0:0"
    groups: Sequence[int] = ()
    mounts: Sequence[Mount] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    gpus: Gpus | None = None
    network: str | None = "none"
    memory: str | None = None
    cpus: float | None = None
    shm_size: str | None = None
    has_terminal: bool = False
    tao_options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What the options of the command line say about containers."""

    image: str | None = None
    mounts: Path | None = None
    memory: str | None = None
    cpus: float | None = None
    shm_size: str | None = None
    gpus: Gpus | None = None
    allow_privileged: bool = False


@dataclass(frozen=True, kw_only=True)
class Command:
    """A stage, the values of its own options by name, the same as words, its results folder, what holds its spec."""

    stage: str
    options: Mapping[str, Any]
    arguments: Sequence[str]
    results: Path
    source: Path


def of(command: Command, listed: MountsFile) -> Request:
    """The request as far as spec, command line and mounts file decide it; folders that are written to are made.

    Raises:
        LaunchError: a path that can't be mounted.
        RunError: a folder that can't be written to.
        SpecError: the spec can't be read.
    """

    def on_host(path: Path) -> Path:
        return mounts.host_path(path, listed.mounts)

    os.environ.update(listed.environment)  # A spec may name them; the container gets them too.
    report = _spec(command, on_host)
    experiment = report.experiment
    needed = needs.of_command(command.stage, command.options, experiment, mounts.absolute(command.results), on_host)
    passed_on = {*_PASSED_ON, *_FOLDERS, *needs.variables(report.replaced)}
    if needed.downloads or needed.tells or needed.stores:
        passed_on |= {*_FOR_NETWORK, *(["HF_TOKEN"] if needed.downloads else ())}
    if needed.tells:
        passed_on |= needs.of_trackers()
    if needed.stores:
        passed_on |= needs.of_stores()
    environment = _environment(passed_on)
    _make(needed, on_host)
    files = {needed.log} if needed.log else set()
    return Request(
        arguments=[command.stage, *command.arguments],
        name=f"tao-lite-{command.stage}-{uuid.uuid4().hex[:8]}",
        folder=Path.cwd(),
        user=f"{os.getuid()}:{os.getgid()}",
        groups=sorted({*os.getgroups()} - {os.getgid()}),
        mounts=mounts.plan(needed.reads, needed.writes | needed.caches | files, listed.mounts),
        environment={**environment, **listed.environment},
        network=_network(command, needed),
        has_terminal=sys.stdout.isatty() and sys.stderr.isatty(),
        tao_options=listed.options,
    )


def _network(command: Command, needed: needs.Needs) -> str | None:
    # Ranks of several machines open connections to each other at ports of their own choice.
    if command.options.get("rdzv_endpoint"):
        return "host"
    return None if needed.downloads or needed.tells or needed.stores else "none"


def gpus(asked: Gpus | None, num_processes: int | None, engine: Engine) -> Gpus | None:
    """The GPUs to give: as many as asked, else as a run without a container would take; None to compute on the CPU.

    Raises:
        LaunchError: there is a GPU, but not for containers; or one was asked for.
    """
    if asked == Gpus(0) or (asked is None and not engine_client.machine_has_gpu()):
        return None
    if not engine.gpu:
        raise LaunchError(f"{engine.why_no_gpu}, or compute on the CPU with --gpus 0")
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    wanted = asked or Gpus(num_processes or 1)
    if wanted.ids or visible is None:
        return wanted
    ids = tuple(name for name in visible.split(",") if name not in ("", "-1"))
    if not ids and asked:
        raise RunError("CUDA_VISIBLE_DEVICES hides every GPU; unset it, or compute on the CPU with --gpus 0")
    return Gpus(ids=ids[: wanted.count] if wanted.count > 0 else ids) if ids else None


def _spec(command: Command, on_host: needs.OnHost) -> Examined:
    """What the spec that the stage will run means; what is wrong with it is said by the stage."""
    path = command.source
    text = read(on_host(path)) if command.options.get("spec_file") else needs.spec_inside(on_host(path))
    return examine(text, path, stage=command.stage, overrides=command.options.get("overrides", ()))


def _make(needed: needs.Needs, on_host: needs.OnHost) -> None:
    """Make the folders that are written to: a mount needs them, and made by the engine they would be root's."""
    try:
        for folder in needed.writes:
            on_host(folder).mkdir(parents=True, exist_ok=True)
        if needed.log:
            mounts.check_kind(on_host(needed.log))  # before it is opened: a pipe would wait for its reader
            writing.open_to_append(on_host(needed.log)).close()
    except OSError as error:
        raise RunError(f"{error.filename}: can't write there ({error.strerror}); choose another folder") from error
    for folder in needed.caches:
        with contextlib.suppress(OSError):
            on_host(folder).mkdir(parents=True, exist_ok=True)


def _environment(names: set[str]) -> dict[str, str]:
    """The variables of these names, and what makes home folder and time those of the caller."""
    environment = {name: os.environ[name] for name in names if name in os.environ}
    return {**environment, "HOME": str(Path.home()), "XDG_CACHE_HOME": str(cache_home()), "TZ": _time_zone()}


def _time_zone() -> str:
    """TZ of the environment, else the machine's rule, which ends its file; images have no table of zones."""
    if zone := os.environ.get("TZ"):
        return zone
    try:
        return Path("/etc/localtime").read_bytes().splitlines()[-1].decode("ascii")
    except (OSError, UnicodeDecodeError, IndexError):
        return "UTC"
