"""Checkpoints of whole epochs, written while the training goes on: copied to the host at once, one file at a time."""

import logging
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, Self

from torch import Tensor

from tao_lite.checkpoint import Checkpoint
from tao_lite.errors import RunError
from tao_lite.run import Run
from tao_lite.stages.train import restart
from tao_lite.stages.train.mirror import Mirror

ATTEMPTS = 3  # epochs in a row whose checkpoint may fail (a full disk may be cleared) before the run stops

_log = logging.getLogger(__name__)


@dataclass
class Saver:
    """Saves on the main process. Leaving it waits for the last file, whatever ended the training; to be used once."""

    run: Run
    arch: str  # in the files' names
    mirror: Mirror | None = None  # told of what is saved
    _thread: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "checkpoint"))
    _pending: Future[None] | None = None
    _unsaved: list[Checkpoint] = field(default_factory=list)  # what is pending, or could not be saved
    _failed: int = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown()
        if self._pending and (error := self._pending.exception()):
            _log.error("%s", error)

    def save(self, checkpoint: Checkpoint, keep_last: int, best_epoch: int) -> None:
        """Begin to save the epoch as `restart.save` does; the tensors may change as soon as this returns.

        Raises:
            RunError: as settle, about the epoch before.
        """
        self.settle()
        if self.run.is_main:
            copied = replace(checkpoint, network=_on_host(checkpoint.network), training=_on_host(checkpoint.training))
            # What could not be saved is tried again while it is the best.
            self._unsaved = [*(one for one in self._unsaved if one.epoch == best_epoch), copied]
            self._pending = self._thread.submit(self._save_all, keep_last, best_epoch)

    def settle(self, *, is_last: bool = False) -> None:
        """Return when the file is on disk. A failure is logged, for the last checkpoint stays.

        Raises:
            RunError: no checkpoint could be saved `ATTEMPTS` times in a row or, if is_last, this one.
        """
        pending, self._pending = self._pending, None
        try:
            if pending:
                pending.result()
                self._failed = 0
        except (OSError, RunError) as error:
            self._failed += 1
            if is_last or self._failed >= ATTEMPTS:
                raise
            _log.error("%s; the last checkpoint stays, the training goes on", error)

    def _save_all(self, keep_last: int, best_epoch: int) -> None:
        while self._unsaved:
            restart.save(self.run, self.arch, self._unsaved[0], keep_last, best_epoch)
            self.tell()
            del self._unsaved[0]

    def tell(self) -> None:
        """Have a mirror copy what was saved."""
        if self.mirror:
            self.mirror.follow()


def _on_host(value: Any) -> Any:
    """The same with each tensor copied to the host's memory."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, Mapping):
        return {key: _on_host(member) for key, member in value.items()}
    return type(value)(map(_on_host, value)) if isinstance(value, (list, tuple)) else value
