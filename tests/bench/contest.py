"""Contenders in processes of their own that take turns: no one's memory, threads and imports touch another's.

The parent starts `python -m MODULE --contender NAME ...` for each of them and writes an amount of work to its standard
input; the contender answers with a line of JSON when that is done.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any

from tests.bench import machine
from tests.bench.samples import OURS, Rounds, Sample, in_turn

Work = Callable[[Iterator[int]], None]
"""Takes amounts of work from an iterator, and asks for the next one when one is done."""


@dataclass(frozen=True, kw_only=True)
class Contest:
    """Who does how much work, how often. options: of the module's command line, the same for all."""

    module: str
    names: Sequence[str]
    options: Mapping[str, object]
    amount: int
    rounds: int
    threads: int

    def hold(self) -> tuple[Rounds, dict[str, str]]:
        """What each took in each round, after one that isn't counted; who is missing, and why."""
        with contextlib.ExitStack() as stack:
            started = [stack.enter_context(_started(self, name)) for name in self.names]
            ready = {one.name: one.answer() for one in started}
            missing = {name: str(answer["missing"]) for name, answer in ready.items() if "missing" in answer}
            works = {one.name: one.work for one in started if one.name not in missing}
            for work in works.values():
                work()
            return in_turn(works, self.rounds), missing


def contend(work: Work, *, images: float, finish: Callable[[], None] = lambda: None) -> None:
    """The contender's side. images: in a unit of work. finish waits for what still runs on a device."""
    # Whatever a library prints must not come between the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    try:
        work(_amounts(answers, images, finish))
    except ImportError as error:
        answers.write(json.dumps({"missing": str(error)}) + "\n")


def _amounts(answers: IO[str], images: float, finish: Callable[[], None]) -> Iterator[int]:
    answers.write(json.dumps({"ready": True}) + "\n")
    used = machine.cpu_seconds()
    for line in sys.stdin:
        began, amount = time.perf_counter(), int(line)
        yield amount
        finish()
        wall, before, used = time.perf_counter() - began, used, machine.cpu_seconds()
        # CPU time since the last answer: some work ahead after it, for what is asked next.
        sample = {"images": images * amount, "wall_seconds": wall, "cpu_seconds": used - before}
        answers.write(json.dumps(sample) + "\n")


@dataclass(frozen=True)
class _Contender:
    name: str
    process: "subprocess.Popen[str]"
    log: IO[str]
    amount: int

    def work(self) -> Sample:
        assert self.process.stdin
        self.process.stdin.write(f"{self.amount}\n")
        self.process.stdin.flush()
        return self.answer()

    def answer(self) -> dict[str, Any]:
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            self.log.seek(0)
            raise RuntimeError(f"{self.name} ended:\n{self.log.read()}")
        found: dict[str, Any] = json.loads(line)
        return found


@contextlib.contextmanager
def _started(contest: Contest, name: str) -> Iterator[_Contender]:
    options = [text for option, value in contest.options.items() for text in (f"--{option}", str(value))]
    with (
        tempfile.TemporaryFile("w+") as log,
        subprocess.Popen(
            [sys.executable, "-m", contest.module, "--contender", name, *options],
            cwd=machine.ROOT,
            env=machine.environment(contest.threads, is_peer=not name.startswith(OURS)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        ) as process,
    ):
        try:
            yield _Contender(name, process, log, contest.amount)
        finally:
            process.kill()
