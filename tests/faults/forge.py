"""A process in which everything is imported; it forks a child for each command, in which chosen system calls fail.

Reads a JSON object a line: `arguments` of tao-lite, the `fault` as words of fault_set, where `output` goes. Answers
with the exit code, and how many calls there were of each kind. A fork takes milliseconds where a start takes seconds.
"""

import ctypes
import gc
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from typing import Any

from tao_lite.cli.main import main

KINDS = ("open", "read", "write", "fsync", "rename", "link", "mkdir", "unlink")
SECONDS = 120
TIMED_OUT = -1


def serve(library: str) -> None:
    preload()
    faults = ctypes.CDLL(library)
    for line in sys.stdin:
        request = json.loads(line)
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reader)
            run(faults, writer, **request)
        os.close(writer)
        code = wait(child)
        with os.fdopen(reader) as answer:
            seen = json.loads(answer.read() or "{}")
        sys.stdout.write(json.dumps({"code": code, "seen": seen}) + "\n")
        sys.stdout.flush()


def preload() -> None:
    """Import what the commands need, without starting a thread: that would not live on in a child."""
    import onnxruntime  # noqa: F401
    import onnxscript.function_libs.torch_lib.ops
    import onnxscript.version_converter  # noqa: F401
    import torch

    import tao_lite.stages.dataset.convert
    import tao_lite.stages.evaluate
    import tao_lite.stages.export.export
    import tao_lite.stages.prune.prune
    import tao_lite.stages.train.train  # noqa: F401

    assert torch.get_num_threads() == 1  # OMP_NUM_THREADS
    # The collector would write into every page that the children share with this process.
    gc.collect()
    gc.freeze()


def run(faults: Any, writer: int, *, arguments: Sequence[str], fault: Sequence[Any], output: str) -> None:
    """The command, in this process, which then ends."""
    said = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(said, 1)
    os.dup2(said, 2)
    code = 1
    if fault:
        kind, words, *numbers = fault
        faults.fault_set(kind.encode(), words.encode(), *numbers)
    try:
        main(arguments)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        seen = {kind: faults.fault_seen(kind.encode()) for kind in KINDS}
        faults.fault_set(b"", b"", 0, 0, 0)
        os.write(writer, json.dumps(seen).encode())
        os._exit(code)


def wait(child: int) -> int:
    """The exit code of the child, negative for a signal; one that does not end in time is killed."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return TIMED_OUT


if __name__ == "__main__":
    serve(sys.argv[1])
    # Libraries that count what they leave at the end would report the collector's frozen objects.
    os._exit(0)
