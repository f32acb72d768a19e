"""One container from its making to its removal: its output is streamed, signals reach it, its exit code is ours."""

import contextlib
import logging
import os
import shutil
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from datetime import datetime
from types import FrameType
from typing import Any

import docker.errors

from tao_lite.errors import Interrupted
from tao_lite.launcher.engine import said

LABEL = "tao_lite.launcher"
"""Every container of ours has it, with the id of the process that started it."""

_log = logging.getLogger(__name__)

KILLED = 128 + signal.SIGKILL
# A terminal that goes away stops a training as SIGTERM does: it then saves.
_PASSED_ON = {signal.SIGINT: "SIGINT", signal.SIGTERM: "SIGTERM", signal.SIGHUP: "SIGTERM"}
_PATIENCE = 2  # signals; the next one kills


def run(client: Any, options: Mapping[str, Any]) -> tuple[int, str]:
    """Exit code of a container with these options, and why it ended where the code does not say; it is removed.

    Raises:
        LaunchError: the engine refused, or went away.
        Interrupted: a signal came before the container ran.
    """
    stop = _Stop(client)
    with stop.listening():
        container = said(client.containers.create, **options)
        try:
            # Attached before it starts, so that nothing of its output is lost.
            is_terminal = bool(options.get("tty"))
            stream = said(container.attach, stream=True, logs=True, demux=not is_terminal)
            said(container.start)
            stop.aim(container.id)
            with _same_size(container) if is_terminal else contextlib.nullcontext():
                said(_copy, stream, stop)
            code = int(said(container.wait)["StatusCode"])
            return code, _reason(container, code, was_asked=stop.has_killed, memory=options.get("mem_limit"))
        finally:
            with contextlib.suppress(docker.errors.DockerException, OSError):
                container.remove(force=True)


def remove_left_over(client: Any) -> None:
    """Remove containers that have ended and whose launcher was killed before it could."""
    for container in said(client.containers.list, all=True, filters={"label": LABEL}):
        launcher = container.labels.get(LABEL, "")
        if container.status in ("created", "exited", "dead") and not os.path.exists(f"/proc/{launcher}"):  # noqa: PTH110
            with contextlib.suppress(docker.errors.DockerException):
                container.remove()


class _Stop:
    """Signals to this process, passed on to the container; the training then saves and ends."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._container = ""
        self._count = 0

    @property
    def has_killed(self) -> bool:
        return self._count > _PATIENCE

    def aim(self, container: str) -> None:
        self._container = container

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        previous = {number: signal.signal(number, self._take) for number in _PASSED_ON}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def send(self, name: str) -> None:
        # In a thread: the stream of output holds this one.
        threading.Thread(target=self._kill, args=(name,), daemon=True).start()

    def _take(self, number: int, _: FrameType | None) -> None:
        if not self._container:
            raise Interrupted(number, "Stopped before the container ran")
        self._count += 1
        self.send("SIGKILL" if self.has_killed else _PASSED_ON[signal.Signals(number)])

    def _kill(self, name: str) -> None:
        with contextlib.suppress(docker.errors.DockerException, OSError):
            self._client.api.kill(self._container, name)


def _copy(stream: Iterator[Any], stop: _Stop) -> None:
    """Write the container's output to ours as it comes. If ours takes no more, the container is asked to end."""
    for chunk in stream:
        parts = chunk if isinstance(chunk, tuple) else (chunk, None)
        try:
            for part, file in zip(parts, (sys.stdout, sys.stderr), strict=True):
                if part:
                    file.buffer.write(part)
                    file.flush()
        except OSError:  # closed, or its disk is full
            # What is still buffered would be written again, and fail again, when the interpreter ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            stop.send("SIGTERM")


@contextlib.contextmanager
def _same_size(container: Any) -> Iterator[None]:
    """Keep the container's terminal as large as ours."""

    def resize(*_: object) -> None:
        size = shutil.get_terminal_size()
        with contextlib.suppress(docker.errors.DockerException, OSError):
            container.resize(size.lines, size.columns)

    resize()
    previous = signal.signal(signal.SIGWINCH, resize)
    try:
        yield
    finally:
        signal.signal(signal.SIGWINCH, previous)


def _reason(container: Any, code: int, *, was_asked: bool, memory: str | None) -> str:
    state = {}
    with contextlib.suppress(docker.errors.DockerException, OSError):
        container.reload()
        state = container.attrs["State"]
        start, end = (datetime.fromisoformat(state[name]) for name in ("StartedAt", "FinishedAt"))
        _log.debug("%s ran for %.2f s", container.name, (end - start).total_seconds())
    if state.get("OOMKilled"):
        return "The container ran out of memory: raise --memory, or take smaller batches or images"
    if code == KILLED and not was_asked:
        # Podman before 4.4 does not tell one from the other.
        limit = f"it took more than --memory {memory}, " if memory else ""
        return f"The container was killed ({limit}docker kill, or the machine is out of memory); run again to go on"
    return ""
