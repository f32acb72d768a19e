"""What this machine has for training, here and in containers; one finding for each thing, with the remedy."""

import contextlib
import importlib.metadata
import os
import platform
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tao_lite.errors import LaunchError, TaoLiteError
from tao_lite.launcher import engine as engine_client
from tao_lite.launcher import image, mounts, mounts_file, needs
from tao_lite.machine import host
from tao_lite.spec.load import examine as examine_spec
from tao_lite.spec.load import read

OK, NOTE, PROBLEM = "ok", "note", "problem"

# Too little for a few checkpoints, and for what processes on several GPUs exchange.
MIN_DISK_BYTES = 2 * 10**9
MIN_SHM_BYTES = 10**9

_LIBRARIES = ("torch", "torchvision", "numpy", "pillow", "tensorboard")


@dataclass(frozen=True)
class Condition:
    """State and facts of one thing. Training here, or in a container, is impossible without it if so marked."""

    state: str
    name: str
    text: str
    stops_here: bool = False
    stops_containers: bool = False


def conditions(results: Path, mounts_path: Path | None = None, spec: Path | None = None) -> Iterator[Condition]:
    """All that was found, the machine first, then the engine, then paths."""
    yield Condition(OK, "tao_lite", f"{importlib.metadata.version('tao-lite')}, Python {platform.python_version()}")
    yield from libraries()
    yield from gpus()
    yield from space(results)
    yield from containers()
    yield from paths(mounts_path, spec)


def can_train(found: Sequence[Condition]) -> bool:
    """Whether there is a way left, here or in a container."""
    stopped_here = any(one.stops_here for one in found)
    stopped_containers = any(one.stops_containers for one in found)
    return not (stopped_here and stopped_containers)


def libraries() -> Iterator[Condition]:
    """What a run without a container imports."""
    missing = [name for name in _LIBRARIES if _version(name) is None]
    if missing:
        text = f"{', '.join(missing)} not installed; `make install`, which only runs without --docker need"
        yield Condition(NOTE, "libraries", text, stops_here=True)
        return
    try:
        import torch
        import torchvision  # noqa: F401 - it fails where it was built for another torch
    except (ImportError, OSError, RuntimeError) as error:
        yield Condition(
            PROBLEM, "libraries", f"torch can't be imported ({error}); `make install` anew", stops_here=True
        )
        return
    versions = ", ".join(f"{name} {_version(name)}" for name in _LIBRARIES)
    yield Condition(OK, "libraries", f"{versions}; torch is built for {_cuda(torch)}")


def gpus() -> Iterator[Condition]:
    """What the driver and torch say of GPUs."""
    cores, gigabytes = host.usable_cores(), host.available_memory() / 1e9
    yield Condition(OK, "cpu", f"{cores} usable cores, {gigabytes:.0f} GB of memory available")
    driver = _driver()
    if not driver:
        yield Condition(NOTE, "gpu", "no NVIDIA driver on this machine; computing on the CPU")
        return
    if _version("torch") is None:
        yield Condition(OK, "gpu", f"driver {driver}")
        return
    import torch

    if not torch.cuda.is_available():
        text = f"driver {driver} is loaded, but torch finds no GPU; see nvidia-smi, and CUDA_VISIBLE_DEVICES"
        yield Condition(PROBLEM, "gpu", text)
        return
    for index in range(torch.cuda.device_count()):
        device = torch.cuda.get_device_properties(index)
        yield Condition(OK, f"gpu {index}", f"{device.name}, {device.total_memory / 1e9:.0f} GB, driver {driver}")


def space(results: Path) -> Iterator[Condition]:
    """Whether results can be written, and how much."""
    folder = next(path for path in (results.absolute(), *results.absolute().parents) if path.exists())
    free = shutil.disk_usage(folder).free
    size = f"{free / 1e9:.0f} GB free in {folder}"
    if os.access(folder, os.W_OK | os.X_OK):
        enough = free >= MIN_DISK_BYTES
        yield Condition(OK if enough else PROBLEM, "results", size if enough else f"{size}; too little, free some")
    else:
        text = (
            f"{folder} can't be written to as user {os.getuid()}; choose another with -r, or have it changed to yours"
        )
        yield Condition(PROBLEM, "results", text, stops_here=True, stops_containers=True)
    shared = Path("/dev/shm")  # noqa: S108 - looked at only
    if shared.is_dir():
        total = shutil.disk_usage(shared).total
        few = f"{total / 1e6:.0f} MB; several GPUs need more: mount -o remount,size=8g /dev/shm, or --docker"
        state = OK if total >= MIN_SHM_BYTES else NOTE
        yield Condition(state, "shared memory", f"{total / 1e9:.0f} GB" if state == OK else few)


def containers() -> Iterator[Condition]:
    """The engine, what it gives containers, and the image."""
    try:
        with contextlib.closing(engine_client.connect()) as client:
            yield from _engine(client, engine_client.examine(client))
    except LaunchError as error:
        yield Condition(NOTE, "docker", str(error), stops_containers=True)


def paths(mounts_path: Path | None, spec: Path | None) -> Iterator[Condition]:
    """The mounts file, and what a training with the spec would see of this machine."""
    try:
        listed = mounts_file.find(mounts_path)
        if listed.path:
            text = f"{listed.path}: " + ", ".join(f"{one.source} as {one.target}" for one in listed.mounts)
            yield Condition(OK, "mounts file", text)
        if spec:
            yield from _spec_paths(spec, listed.mounts)
    except TaoLiteError as error:
        yield Condition(PROBLEM, "mounts", str(error), stops_containers=True)


def lines(found: Sequence[Condition]) -> list[str]:
    """One line for each finding."""
    width = max(len(one.name) for one in found)
    return [f"{one.state:<8} {one.name:<{width}}  {one.text}" for one in found]


def _engine(client: Any, engine: engine_client.Engine) -> Iterator[Condition]:
    kinds = ", rootless" * engine.is_rootless + ", users remapped" * engine.remaps_users
    yield Condition(OK, "docker", f"{engine}{kinds}")
    if not engine.has_limits:
        yield Condition(NOTE, "docker limits", engine_client.NO_LIMITS)
    yield _runtime(engine)
    yield _image(client, image.name())
    if os.access(engine.folder, os.F_OK):
        free = shutil.disk_usage(engine.folder).free
        state = OK if free >= MIN_DISK_BYTES else PROBLEM
        yield Condition(state, "docker disk", f"{free / 1e9:.0f} GB free" + "; docker system prune" * (state != OK))


def _spec_paths(spec: Path, listed: Sequence[mounts.Mount]) -> Iterator[Condition]:
    def on_host(path: Path) -> Path:
        return mounts.host_path(path, listed)

    report = examine_spec(read(on_host(spec)), spec, stage="train")
    yield from (Condition(PROBLEM, "spec", line) for line in report.lines([*report.problems, *report.blockers]))
    needed = needs.of_command("train", {"spec_file": spec}, report.experiment, Path.cwd(), on_host)
    for path in sorted(needed.reads):
        is_there = on_host(path).exists()
        will_be_drawn = path.parent in needed.writes
        text = f"{path}" if is_there else f"{path}: drawn on first use" if will_be_drawn else f"{path}: is not there"
        yield Condition(OK if is_there or will_be_drawn else PROBLEM, "reads", text)


def _runtime(engine: engine_client.Engine) -> Condition:
    if engine.gpu:
        return Condition(OK, "docker gpu", {"nvidia": "NVIDIA runtime", "cdi": "through CDI"}[engine.gpu])
    if engine_client.machine_has_gpu():
        return Condition(PROBLEM, "docker gpu", engine.why_no_gpu)
    return Condition(NOTE, "docker gpu", "no GPU on this machine; containers compute on the CPU")


def _image(client: Any, name: str) -> Condition:
    try:
        labels = engine_client.said(client.images.get, name).labels
    except LaunchError:
        return Condition(PROBLEM, "image", f"{name} is not here; `make image`", stops_containers=True)
    version, installed = labels.get(image.VERSION_LABEL), importlib.metadata.version("tao-lite")
    if version and version != installed:
        return Condition(PROBLEM, "image", f"{name} holds tao_lite {version}, installed is {installed}; `make image`")
    if not image.is_current(labels):
        return Condition(PROBLEM, "image", f"{name} was built from other code than this; `make image`")
    return Condition(OK, "image", name)


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cuda(torch: Any) -> str:
    return f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPUs only"


def _driver(proc: Path = Path("/proc/driver/nvidia/version")) -> str:
    """Version of NVIDIA's kernel driver; empty where it is not loaded."""
    try:
        words = proc.read_text(encoding="utf-8").split()
    except OSError:
        return ""
    return next((word for word in words if word[0].isdigit() and "." in word), "of unknown version")
