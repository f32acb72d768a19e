"""Run: the results folder and the device of one run. Every file name of a run stands here."""

import contextlib
import fcntl
import os
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from tao_lite.errors import InUseError, RunError, printable
from tao_lite.files import writing

if TYPE_CHECKING:
    import torch

    from tao_lite.machine.distributed import World

Summary = Mapping[str, object]

_WEIGHTS = "weights"


def best_of(results: Path) -> Path:
    """The best checkpoint of a results folder."""
    return results / _WEIGHTS / "best.pth"


def summary_beside(model: Path, stage: str) -> Path:
    """Where the run that a checkpoint is from keeps the summary of a stage."""
    return _summary(model.resolve().parent.parent, stage)


def _summary(results: Path, stage: str) -> Path:
    return results / f"{stage}.json"


@dataclass(frozen=True, kw_only=True)
class Run:
    """Where a stage writes and with whom it computes. Only the main process (rank 0) writes."""

    results: Path
    world: "World"
    _held: list[BinaryIO] = field(init=False, repr=False, compare=False, default_factory=list)
    """The lock's file while the folder is held."""

    @property
    def device(self) -> "torch.device":
        return self.world.device

    @property
    def is_main(self) -> bool:
        return self.world.is_main

    @property
    def spec(self) -> Path:
        return self.results / "spec.cfg"

    @property
    def weights(self) -> Path:
        return self.results / _WEIGHTS

    @property
    def classmap(self) -> Path:
        return self.results / "classmap.json"

    @property
    def training_csv(self) -> Path:
        return self.results / "training.csv"

    @property
    def status(self) -> Path:
        return self.results / "status.json"

    @property
    def events(self) -> Path:
        return self.results / "events"

    @property
    def trackers_log(self) -> Path:
        """What the libraries of trackers say."""
        return self.results / "trackers.log"

    @property
    def trackers(self) -> Path:
        """The runs of trackers that this run is in."""
        return self.results / "trackers.json"

    @property
    def traces(self) -> Path:
        """Where TensorBoard looks for traces of training steps."""
        return self.events / "plugins" / "profile"

    def round(self, number: int) -> Path:
        """Results folder of a round of pruning and training, counted from 1."""
        return self.results / "rounds" / str(number)

    def comparison(self, criterion: str) -> Path:
        """Results folder of the retraining after pruning by a criterion."""
        return self.results / "compare" / criterion

    @property
    def fine_tuning(self) -> Path:
        """Results folder of the training in simulated INT8."""
        return self.results / "fine_tune"

    def benchmark(self, setting: str, repeat: int) -> Path:
        """Results folder of a training of the benchmark; repeats are counted from 1."""
        return self.results / "benchmark" / setting / str(repeat)

    @property
    def benchmark_spec(self) -> Path:
        """The spec that all trainings of the benchmark have."""
        return self.results / "benchmark" / "spec.cfg"

    def benchmark_file(self, ending: str) -> Path:
        """What the benchmark found, in the form that the ending says: benchmark.md, benchmark_curves.svg."""
        return self.results / f"benchmark{ending}"

    def size(self, share: float) -> Path:
        """Results folder of a network of that share of the multiply-accumulates."""
        return self.results / "sizes" / f"{share:g}"

    @property
    def retrained(self) -> Path:
        """Results folder of the last training of a network of some size."""
        return self.results / "retrained"

    @property
    def quantised(self) -> Path:
        """Results folder of the quantisation of a network of some size."""
        return self.results / "quantised"

    @property
    def float_onnx(self) -> Path:
        return self.weights / "float.onnx"

    @property
    def int8_onnx(self) -> Path:
        return self.weights / "int8.onnx"

    def compress_file(self, ending: str) -> Path:
        """What a compression found, in the form that the ending says: compress.md, compress.png."""
        return self.results / f"compress{ending}"

    @property
    def smallest(self) -> Path:
        """The package of the smallest network that keeps the accuracy."""
        return self.results / "smallest"

    def fold(self, number: int) -> Path:
        """Results folder of a fold's training, counted from 1."""
        return self.results / f"fold_{number}"

    @property
    def folds_csv(self) -> Path:
        """What each image was taken for by the network that was trained without it."""
        return self.results / "folds.csv"

    def trial(self, number: int) -> Path:
        """Results folder of a trial of a search, counted from 0."""
        return self.results / f"trial_{number:03d}"

    @property
    def journal(self) -> Path:
        """All that a search knows, in Optuna's form."""
        return self.results / "study.journal"

    @property
    def tuned(self) -> Path:
        """The spec that a search found."""
        return self.results / "tuned.cfg"

    def tuned_by(self, number: int) -> Path:
        """The spec of a trial that none beats in all objectives."""
        return self.results / f"tuned_{number:03d}.cfg"

    def tune_file(self, ending: str) -> Path:
        """The trials of a search, in the form that the ending says: tune.csv."""
        return self.results / f"tune{ending}"

    def worker_log(self, worker: int) -> Path:
        """What a further process of a search says."""
        return self.results / f"worker_{worker}.log"

    @property
    def sensitivity_picture(self) -> Path:
        return self.results / "sensitivity.png"

    @property
    def result_csv(self) -> Path:
        """Path, class and confidence of each image, in TAO's form."""
        return self.results / "result.csv"

    @property
    def predictions_csv(self) -> Path:
        """The same with a header and all probabilities."""
        return self.results / "predictions.csv"

    @property
    def embeddings(self) -> Path:
        """Paths and features of each image."""
        return self.results / "embeddings.npz"

    @property
    def neighbours_csv(self) -> Path:
        return self.results / "neighbours.csv"

    @property
    def heat_maps(self) -> Path:
        """Folder of pictures under their heat maps, and heat_maps.csv, which says whose they are."""
        return self.results / "heat_maps"

    @property
    def groups_csv(self) -> Path:
        """How the network does in each group of images."""
        return self.results / "groups.csv"

    @property
    def selected_csv(self) -> Path:
        """The images that are worth a label, the best first."""
        return self.results / "selected.csv"

    @property
    def selected_page(self) -> Path:
        return self.results / "selected.html"

    @property
    def class_mapping(self) -> Path:
        """The classes of several tasks, in TAO's form."""
        return self.results / "class_mapping.json"

    @property
    def confusion_csv(self) -> Path:
        """The confusion matrices of several tasks, a row for each cell."""
        return self.results / "confusion_matrices.csv"

    @property
    def report(self) -> Path:
        return self.results / "report.html"

    @property
    def audit_csv(self) -> Path:
        """Examples whose labels or pictures are doubtful."""
        return self.results / "audit.csv"

    @property
    def audit_page(self) -> Path:
        return self.results / "audit.html"

    @property
    def lock(self) -> Path:
        return self.results / ".lock"

    @property
    def study_lock(self) -> Path:
        """Held by the process that reads and writes what a search knows."""
        return self.results / ".study.lock"

    @property
    def trial_lock(self) -> Path:
        """Held by the process that trains the trial of this folder."""
        return self.results / ".trial.lock"

    def summary(self, stage: str) -> Path:
        return _summary(self.results, stage)

    def checkpoint(self, arch: str, epoch: int) -> Path:
        """Checkpoint after `epoch` whole epochs, by TAO's name: resnet_080.pth."""
        return self.weights / f"{arch.replace('/', '_')}_{epoch:03d}.pth"

    @property
    def interrupted(self) -> Path:
        """Checkpoint inside an epoch, left by a run that was stopped."""
        return self.weights / "interrupted.pth"

    @property
    def best(self) -> Path:
        """Link to the checkpoint of the best epoch."""
        return best_of(self.results)

    @property
    def latest(self) -> Path:
        """Link to the newest checkpoint of a whole epoch."""
        return self.weights / "latest.pth"

    @property
    def abandoned(self) -> Path:
        """Folder of the checkpoints that a run left behind when it last went back to an earlier epoch."""
        return self.weights / "abandoned"

    def set_aside(self, number: int) -> Path:
        """Where the weights of a run go that was begun anew; numbers are counted from 1."""
        return self.results / f"weights_before_{number}"

    @property
    def pruned(self) -> Path:
        """Where a pruned network is written unless the user names a file."""
        return self.weights / "pruned.pth"

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Keep the results folder for this run until the block ends; the kernel frees it if the process dies.

        What writers that were killed have left there is removed.

        Raises:
            InUseError: another process holds it.
            RunError: the folder can't be made.
        """
        if not self.is_main:
            yield
            return
        try:
            self.results.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(
                f"{self.results}: can't write there ({error.strerror}); choose another folder with -r"
            ) from error
        with writing.open_to_append(self.lock) as lock:
            try:
                self._take(lock)
            except OSError as error:
                raise RunError(f"{self.lock}: could not be locked and written ({error.strerror})") from error
            self._held.append(lock)
            try:
                for folder in (self.results, self.weights):
                    writing.remove_dead(folder)
                yield
            finally:
                self._held.remove(lock)

    def check_held(self) -> None:
        """Return if the folder still is the one that is held, or none is.

        Raises:
            RunError: it was removed or moved, and what is at its path now may be another run's.
        """
        if not self.is_held:
            raise RunError(
                f"{self.results}: was removed or moved while this run was at work, so another run may be there now; "
                "nothing more was saved"
            )

    @property
    def is_held(self) -> bool:
        """Whether the lock's path still leads to the file that this run has locked; true too where it locked none."""
        for lock in self._held:
            try:
                there = self.lock.lstat()
            except FileNotFoundError:
                return False
            except OSError:  # can't be told now
                continue
            if not os.path.samestat(there, os.fstat(lock.fileno())):
                return False
        return True

    def _take(self, lock: BinaryIO) -> None:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            holder = printable(lock.read(200).decode("utf-8", "replace").strip()) or "another run"
            raise InUseError(
                f"{self.results}: in use by {holder}; wait for it or choose another folder with -r"
            ) from error
        now = time.strftime("%Y-%m-%d %H:%M:%S")
        lock.truncate(0)
        lock.write(f"process {os.getpid()} on {socket.gethostname()} since {now}".encode())
        lock.flush()
