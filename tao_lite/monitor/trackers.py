"""Trackers of experiments that get what TensorBoard's file says: by a process that the training never waits for."""

import json
import logging
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tao_lite.files import writing
from tao_lite.run import Run

_log = logging.getLogger(__name__)

PATIENCE = 60.0
"""Seconds that the trackers have after the training's end for what they have not sent yet."""


@dataclass(frozen=True, kw_only=True)
class Wish:
    """Trackers as spec.trackers has them; what the network and its training are made with; W&B's key, or ""."""

    trackers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    settings: Mapping[str, float | str] = field(default_factory=dict)
    key: str = ""


NONE = Wish()


class Trackers:
    """The process `tao_lite.monitor.mirror`, while the training lasts. What it can't do, it says once."""

    def __init__(self, run: Run, events: Path, wish: Wish, *, is_resumed: bool) -> None:
        """events: TensorBoard's file.

        Raises:
            OSError: there is no process to be had.
            RunError: its log can't be written.
        """
        request = {
            "events": str(events),
            "results": str(run.results),
            "runs": str(run.trackers),
            "is_resumed": is_resumed,
            **asdict(wish),
        }
        with writing.open_to_append(run.trackers_log) as log:
            # A session of its own: Ctrl-C stops the training, which then says when it is over.
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tao_lite.monitor.mirror"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        self._log = run.trackers_log
        self._relay = threading.Thread(target=self._say, name="trackers", daemon=True)
        self._relay.start()
        # Its end is seen by what it says.
        with suppress(BrokenPipeError):
            assert self._process.stdin
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()

    def close(self) -> None:
        """Let it send the rest, for so long as it may take."""
        with suppress(BrokenPipeError):
            assert self._process.stdin
            self._process.stdin.close()
        try:
            code = self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            _log.warning("trackers: not all was sent in %.0f s, and the rest is given up; see %s", PATIENCE, self._log)
        else:
            if code:
                how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
                _log.warning("trackers: ended by %s; see %s", how, self._log)
        self._relay.join()
        assert self._process.stdout
        self._process.stdout.close()

    def _say(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            level, _, text = line.rstrip("\n").partition(" ")
            _log.log(logging.WARNING if level == "WARNING" else logging.INFO, "%s", text)
