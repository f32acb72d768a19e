"""model_card.md: what a network is, what it was trained on, how well it does and where it is weak.

It is made of the checkpoint and of the summaries that its run has left, and of nothing else: no date, no machine, no
folder. So the same checkpoint has the same card.
"""

import hashlib
import json
import logging
import platform
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from google.protobuf import text_format

from tao_lite import checkpoint as checkpoints
from tao_lite.checkpoint import Checkpoint
from tao_lite.errors import CheckpointError, RunError, printable
from tao_lite.files import plain, reading
from tao_lite.files.plain import fields, listed, mapped, of
from tao_lite.metrics.counts import most_confused
from tao_lite.metrics.intervals import wilson
from tao_lite.models import architectures
from tao_lite.pruning import sizes
from tao_lite.run import summary_beside
from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec import paths, trackers

UNKNOWN = "unknown"

_NUM_WEAK = 5
_log = logging.getLogger(__name__)

_share, _count = of(float, minimum=0), of(int, minimum=0)
_scores = fields({"precision": _share, "recall": _share, "f1": _share, "support": _count})
_EVALUATE = fields(
    {
        "num_images": of(int, minimum=1),
        "top1": _share,
        "top_k": _share,
        "k": _count,
        "macro": _scores,
        "class_names": listed(of(str)),
        "per_class": mapped(str, _scores),
        "confusion_matrix": listed(listed(_count)),
    },
    is_open=True,
)
_TRAIN = fields({"epochs": _count, "precision": of(str)}, is_open=True)


@dataclass(frozen=True, kw_only=True)
class _Subject:
    """A checkpoint, and what its run says of this very one; a summary is empty where it says nothing."""

    found: Checkpoint
    digest: str
    trained: Mapping[str, Any]
    evaluated: Mapping[str, Any]
    licence: str

    @property
    def splits(self) -> Mapping[str, Any]:
        """Fingerprints of the data by split; none of a network that was pruned and not trained since."""
        data: Mapping[str, Any] = self.found.training.get("data", {})
        return data


def card(model: Path, found: Checkpoint, *, licence: str = UNKNOWN) -> str:
    """The card of the checkpoint that was found in the file `model`, as Markdown with Hugging Face's head.

    train.json and evaluate.json of its run are used where they are of this checkpoint.

    Raises:
        CheckpointError: its tensors are not those of the network that its spec names.
        ReadError: the system can't read a file now.
    """
    digest = reading.digest(model, CheckpointError)
    subject = _Subject(
        found=found,
        digest=digest,
        trained=_trained(model, found),
        evaluated=_evaluated(model, found, digest),
        licence=licence,
    )
    config = found.experiment.model_config
    parts = [
        _head(config.arch, licence),
        f"# {_cell(architecture(config))} for {len(found.class_names)} classes",
        _table(("", ""), _facts(subject)),
        "How a picture becomes the network's input is in `preprocess.json`.",
        "## Classes and data",
        _classes(subject),
        "## Accuracy",
        _accuracy(subject),
        "## Weak spots",
        _weak_spots(subject),
        "## Spec",
        f"```\n{public_spec(found)}```",
    ]
    return "\n\n".join(parts) + "\n"


def _trained(model: Path, found: Checkpoint) -> Mapping[str, Any]:
    summary = _summary(model, "train", _TRAIN)
    best = {"best_epoch": found.epoch, "val_accuracy": found.metrics.get("val_accuracy")}
    return summary if best.items() <= summary.items() else {}


def _evaluated(model: Path, found: Checkpoint, digest: str) -> Mapping[str, Any]:
    summary = _summary(model, "evaluate", _EVALUATE)
    if not summary or summary.get("model_sha256") != digest:
        return {}
    names = list(found.class_names)
    is_square = [len(row) for row in summary["confusion_matrix"]] == [len(names)] * len(names)
    return summary if is_square and summary["class_names"] == names == list(summary["per_class"]) else {}


def _summary(model: Path, stage: str, check: plain.Check) -> Mapping[str, Any]:
    path = summary_beside(model, stage)
    if not path.exists():
        return {}
    try:
        content = reading.read_json(path, RunError)
    except RunError as error:
        _log.warning("the model card does without it: %s", error)
        return {}
    if problem := plain.problem(check, content):
        _log.warning("the model card does without it: %s: %s", path, problem)
        return {}
    assert isinstance(content, dict)
    return content


def _head(arch: str, licence: str) -> str:
    """YAML, of which JSON's strings are a part; licences by the names of Hugging Face, which has `unknown` too."""
    return (
        f"---\nlicense: {json.dumps(printable(licence))}\nlibrary_name: tao_lite\n"
        f"pipeline_tag: image-classification\ntags:\n- {json.dumps(printable(arch))}\n---"
    )


def architecture(config: pb.ModelConfig) -> str:
    """Its name and, where that needs one, its depth."""
    depth = f"-{config.n_layers}" if architectures.find(config).n_layers else ""
    return f"{config.arch}{depth}"


def _facts(subject: _Subject) -> Iterator[tuple[str, str]]:
    found, config = subject.found, subject.found.experiment.model_config
    network, shape = checkpoints.network(found), architectures.input_shape(config)
    yield "Architecture", architecture(config)
    yield "Input", "{} channels, {} pixels high, {} wide".format(*shape)
    yield "Parameters", f"{sum(parameter.numel() for parameter in network.parameters()):,}"
    yield "Multiply-accumulates for one picture", f"{sizes.macs(network, shape).total():,}"
    of_all = f" of {subject.trained['epochs']}, in {subject.trained['precision']}" if subject.trained else ""
    yield "Epochs of training", f"{found.epoch}{of_all}"
    yield "sha256 of the checkpoint", subject.digest
    yield "Exported by", f"tao_lite {version('tao-lite')}, torch {version('torch')}, Python {platform.python_version()}"
    yield "Licence", subject.licence


def _classes(subject: _Subject) -> str:
    names, splits = subject.found.class_names, subject.splits
    if not splits:
        return (
            f"{_table(('class',), [(name,) for name in names])}\n\nThe checkpoint doesn't say which data it has seen."
        )
    counts = [splits[split]["counts"] for split in ("train", "val")]
    rows = [(name, *(f"{one:,}" for one in each)) for name, *each in zip(names, *counts, strict=True)]
    total = ("all", *(f"{sum(one):,}" for one in counts))
    header = ("class", "training examples", "validation examples")
    return f"{_table(header, [*rows, total])}\n\nFingerprint of the data: sha256 `{_fingerprint(splits)}`"


def _fingerprint(splits: Mapping[str, Any]) -> str:
    """One digest of the hashes that the checkpoint keeps of the examples, class by class."""
    digest = hashlib.sha256()
    for split in ("train", "val"):
        digest.update(json.dumps(splits[split]["counts"]).encode())
        digest.update(splits[split]["hashes"].numpy().astype("<i8").tobytes())
    return digest.hexdigest()


def _accuracy(subject: _Subject) -> str:
    rows = list(_measures(subject))
    if not rows:
        return "The checkpoint doesn't say how well it does."
    note = "Intervals are Wilson's: what chance does to so many examples, and nothing about examples of another kind."
    return f"{_table(('measure', 'value', '95 % interval', 'examples'), rows)}\n\n{note}"


def _measures(subject: _Subject) -> Iterator[tuple[str, ...]]:
    num_val = sum(subject.splits["val"]["counts"]) if subject.splits else 0
    if num_val and "val_accuracy" in subject.found.metrics:
        yield _measured("validation top-1 in training", subject.found.metrics["val_accuracy"], num_val)
    if evaluated := subject.evaluated:
        num_images, k = evaluated["num_images"], evaluated["k"]
        yield _measured("top-1 by tao-lite evaluate", evaluated["top1"], num_images)
        if k > 1:
            yield _measured(f"top-{k}", evaluated["top_k"], num_images)
        for name in ("precision", "recall", "f1"):
            yield f"{name}, mean of the classes", f"{evaluated['macro'][name]:.4f}", "", f"{num_images:,}"


def _weak_spots(subject: _Subject) -> str:
    evaluated = subject.evaluated
    if not evaluated:
        return "Not known: `tao-lite evaluate` has not seen this checkpoint, or not left its summary beside it."
    scores = [(name, one) for name, one in evaluated["per_class"].items() if one["support"]]
    worst = sorted(scores, key=lambda named: named[1]["recall"])[:_NUM_WEAK]
    recalls = [_measured(name, one["recall"], one["support"]) for name, one in worst if one["recall"] < 1]
    confused = most_confused(evaluated["confusion_matrix"], subject.found.class_names, _NUM_WEAK)
    if not recalls:
        return f"None among {evaluated['num_images']:,} examples."
    tables = [_table(("least recall", "value", "95 % interval", "examples"), recalls)]
    if confused:
        rows = [(true, predicted, f"{number:,}") for true, predicted, number in confused]
        tables.append(_table(("most confused", "taken for", "examples"), rows))
    return "\n\n".join(tables)


def _measured(name: str, share: float, count: int) -> tuple[str, ...]:
    low, high = wilson(min(share, 1.0), count)
    return name, f"{share:.4f}", f"{low:.4f} to {high:.4f}", f"{count:,}"


def public_spec(found: Checkpoint) -> str:
    """The spec that the network was trained with, less keys of services; of absolute paths, the last name."""
    experiment = text_format.Parse(found.spec, pb.Experiment())
    if experiment.train_config.HasField("visualizer"):
        for name in trackers.NAMES:
            experiment.train_config.visualizer.ClearField(f"{name}_config")  # type: ignore[arg-type]
    for field in list(paths.path_fields(experiment)):
        if field.value.startswith("/"):
            setattr(field.block, field.name, Path(field.value).name)
    return text_format.MessageToString(experiment)


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *([_cell(text) for text in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(text: str) -> str:
    """The text so that Markdown shows it as it is: names of classes come from others."""
    return re.sub(r"([\\`*_{}\[\]<>|#~&])", r"\\\1", printable(text))
