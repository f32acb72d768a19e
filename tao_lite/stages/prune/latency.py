"""Pruning to a time: networks measured in the runtime that will serve, and what is said of the time that was met."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from tao_lite.errors import refuse_missing
from tao_lite.files import writing
from tao_lite.monitor import console
from tao_lite.pruning import surgery, targets
from tao_lite.pruning.plans import Plan, Scored
from tao_lite.spec import classification_pb2 as pb
from tao_lite.stages.export.export import PACKAGES, Form, make
from tao_lite.stages.prune.measure import torch_pass
from tao_lite.stages.prune.subject import Subject
from tao_lite.training import clock, runtimes
from tao_lite.training.clock import Times
from tao_lite.training.runtimes import Computed
from tao_lite.training.trained import Trained

SHARE, MILLISECONDS = "target_latency", "target_latency_milliseconds"
KINDS = (SHARE, MILLISECONDS)
TOLERANCE = 0.1
"""A target is met within this share of it."""
ROUNDS = 30
_ROUNDS_OF_A_TRY = 15


@dataclass(frozen=True)
class Verdict:
    """Whether a time is met within TOLERANCE; that is not sure where a quartile of the rounds says otherwise."""

    is_met: bool
    is_sure: bool
    found: float
    words: str


def target(text: str) -> tuple[str, float]:
    """What prune_config.target_latency asks for: SHARE of the time before, or MILLISECONDS."""
    if text.endswith("ms"):
        return MILLISECONDS, float(text.removesuffix("ms"))
    return SHARE, float(text)


def granularity(config: pb.PruneConfig, device: torch.device | None) -> int:
    """The multiple of channels that what computes is made for, unless the spec says one.

    Libraries for CPUs compute on vectors of 16 floats with AVX-512, else of 8; tensor cores on tiles, of which 32
    channels fill one at least in every precision.
    """
    if config.HasField("pruning_granularity") or not config.target_latency:
        return config.pruning_granularity
    if config.runtime == pb.Runtime.TORCH and device and device.type == "cuda":
        return 32
    return 16 if torch.backends.cpu.get_cpu_capability().startswith("AVX512") else 8


def search(subject: Subject, scored: Scored, wanted: tuple[str, float]) -> targets.Search:
    """The threshold whose network takes the wanted time.

    Raises:
        PruneError: no network is so fast.
        RunError: the runtime is not installed.
    """
    kind, limit = wanted
    with tempfile.TemporaryDirectory() as folder:
        before = opened(subject, subject.network, Path(folder))

        def measured(plan: Plan) -> float:
            text = ""
            if subject.run.is_main:  # whose answer all processes take: they would disturb each other
                passes = before, opened(subject, surgery.cut(scored.network, plan), Path(folder))
                found = clock.in_turn(passes, rounds=_ROUNDS_OF_A_TRY)[1]
                console.line(f"Measured {_words(found)}")
                text = repr(_value(found, kind))
            return float(subject.run.world.gathered(text)[0])

        return targets.for_latency(scored, limit, measured, " ms" if kind == MILLISECONDS else " of the time before")


def opened(subject: Subject, network: nn.Module, folder: Path) -> clock.Pass:
    """Passes of the network over one image, in the runtime of the spec.

    Raises:
        RunError: it is not installed.
    """
    runtime = subject.config.runtime
    if runtime == pb.Runtime.TORCH:
        return torch_pass(network, subject.shape, subject.run.device)
    refuse_missing("prune_config.runtime", "export", *PACKAGES)
    device = torch.device("cpu")
    trained = Trained(
        path=subject.source, found=subject.found, experiment=subject.experiment, device=device, network=network
    )
    path = folder / "network.onnx"
    writing.write(path, make(trained, Form(has_accepted=False)).content)
    return clock.of_file(computed(path, runtime), 1)


def computed(path: Path, runtime: "pb.Runtime.Kind.ValueType") -> Computed:
    """The ONNX file, opened in the runtime.

    Raises:
        RunError: it is not installed.
    """
    if runtime == pb.Runtime.OPENVINO:
        return runtimes.by_openvino(path)
    return runtimes.by_onnxruntime(path, runtimes.read_onnx(path))


def judge(subject: Subject, smaller: nn.Module, wanted: tuple[str, float]) -> dict[str, object]:
    """What the pruned network takes beside the one before, in rounds in turn, told and for a summary."""
    with tempfile.TemporaryDirectory() as folder:
        passes = [opened(subject, network, Path(folder)) for network in (subject.network, smaller)]
        before, after = clock.in_turn(passes, rounds=ROUNDS)
    found = verdict(after, wanted)
    runtime = pb.Runtime.Kind.Name(subject.config.runtime)
    console.line(f"Time of one image in {runtime}: {_words(after)}; {found.words}")
    return {
        "runtime": runtime,
        "threads": torch.get_num_threads(),
        "milliseconds_before": before.milliseconds,
        **vars(after),
        "is_met": found.is_met,
        "is_sure": found.is_sure,
    }


def verdict(after: Times, wanted: tuple[str, float]) -> Verdict:
    """Whether the wanted time was met."""
    kind, limit = wanted
    found = _value(after, kind)
    scale = found / after.share
    is_met = abs(found / limit - 1) <= TOLERANCE
    ends = [abs(one * scale / limit - 1) <= TOLERANCE for one in (after.share_low, after.share_high)]
    is_sure = all(one == is_met for one in ends)
    words = f"the target of {limit:g}{' ms' if kind == MILLISECONDS else ''} is "
    words += f"met, off by {found / limit - 1:+.1%}" if is_met else f"missed by {found / limit - 1:+.1%}"
    if not is_sure:
        words += (
            ", which lies within the spread: other programs take turns with this one, so measure on a quiet machine"
        )
    return Verdict(is_met, is_sure, found, words)


def _value(times: Times, kind: str) -> float:
    return times.milliseconds if kind == MILLISECONDS else times.share


def _words(found: Times) -> str:
    return (
        f"{found.milliseconds:.3f} ms, {found.share:.3f} of the time before (half of the rounds: {found.share_low:.3f} "
        f"to {found.share_high:.3f})"
    )
