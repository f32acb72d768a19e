"""Which answers of a network are accepted: the rule fitted and kept in its checkpoint, and what it does to images."""

import logging
import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tao_lite import checkpoint as checkpoints
from tao_lite.data import asked, dataset
from tao_lite.data.batch import Batch
from tao_lite.data.formats import listing
from tao_lite.data.left_out import LeftOut
from tao_lite.data.loader import Loader
from tao_lite.errors import DataError, SpecError
from tao_lite.metrics import reject, scores
from tao_lite.metrics.calibration import best_temperature
from tao_lite.metrics.reject import Accepted
from tao_lite.metrics.scores import DISTANCE, PROBABILITY, Rule, Scorer
from tao_lite.models import head
from tao_lite.monitor import console
from tao_lite.run import Run
from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec import schema
from tao_lite.training.deployed import Deployment
from tao_lite.training.trained import Trained
from tao_lite.training.validation import evaluation_loader, unlabelled_loader, validation_loader

_log = logging.getLogger(__name__)

_Taken = tuple[Tensor, Tensor, Tensor]
"""Of images, what was taken of each, whether the answer is wrong, and the label; on the host."""

FIELD = "eval_config.reject"
MAX_NUMBERS = 2**25
"""Of training images' features, 128 MiB: as many images, evenly from all, as have so many."""


def with_rule(trained: Trained | Deployment, run: Run, outliers: Path | None) -> Trained | Deployment:
    """The network, with a rule fitted to it if the spec asks for one and it is a checkpoint.

    Folders are looked at before anything is written.

    Raises:
        SpecError: it has several tasks, several processes run, or `outliers` are given and there is no rule.
        DataError, RunError: as `fitted`.
    """
    if outliers:
        _below(outliers, trained, run, is_logged=False)
    if trained.experiment.eval_config.HasField("reject"):
        if isinstance(trained, Trained):
            trained = fitted(trained, run)
        elif not trained.has_rule:
            say_missing(trained)
    if outliers and not trained.has_rule:
        raise SpecError(
            f"--outliers: the network has no rule to reject them by; set {FIELD}, and evaluate a checkpoint"
        )
    return trained


def say_missing(trained: Trained | Deployment) -> None:
    """Warn where the spec asks for a rule and the network has none."""
    if trained.experiment.eval_config.HasField("reject") and not trained.has_rule:
        _log.warning(
            "%s has no effect: the network has no rule; tao-lite evaluate with this spec fits one to the checkpoint%s",
            FIELD,
            "" if isinstance(trained, Trained) else ", from which it is to be exported again",
        )


def fitted(trained: Trained, run: Run) -> Trained:
    """The network with the rule that the spec asks for, fitted to validation images, in its checkpoint's file too.

    It is fitted in FP32, as exported files compute. Where no threshold keeps the promise, the best that can be had is
    said, and the checkpoint has no rule then.

    Raises:
        SpecError: it has several tasks, or several processes run.
        DataError: images can't be read or are too few, or the score can't tell any apart.
        RunError: the checkpoint can't be written.
    """
    if trained.tasks:
        raise SpecError(f"{FIELD}: {trained.path} has several tasks, and a rule is for one; leave it out")
    if run.world.world_size > 1:
        raise SpecError(f"{FIELD}: a rule is fitted in one process; leave -np out, and --gpus above 1")
    config = trained.experiment.eval_config.reject
    exact, kind, promise = trained.in_fp32(), pb.RejectScore.Kind.Name(config.score), config.WhichOneof("promise")
    assert promise
    promised = schema.as_written(getattr(config, promise))
    data = validation_loader(exact.experiment, exact.class_names, run.world)
    tensors = _classes(exact, run) if kind == DISTANCE else {}
    scorer = Scorer(kind, 1.0, tensors).to(exact.device)
    # A temperature is fitted to logits, which for that are kept.
    values, wrong, labels = _outputs(exact, data, run, (lambda logits, _: logits) if kind == PROBABILITY else scorer)
    _refuse_few(len(labels), data.report.name, promise, promised)
    temperature = 1.0
    if kind == PROBABILITY:
        setting = reject.is_setting(len(labels))
        temperature = best_temperature(values[setting], labels[setting])
        values = scores.log_odds(values / temperature)
    values = values.double()
    if values.min() == values.max():
        raise DataError(
            f"{FIELD}.score {kind}: is {values[0].item():g} for all validation images; choose another score"
        )
    is_share = promise == "coverage"
    threshold = reject.for_coverage(values, promised) if is_share else reject.for_error(values, wrong, promised)
    if threshold is None:
        _say_unmet(values, wrong, kind, promised)
        return _stored(trained, None)
    accepted = Accepted.by(values >= threshold, wrong)
    rule = Rule(
        score=kind,
        temperature=temperature,
        threshold=threshold,
        promise=promise,
        promised=promised,
        tensors=tensors,
        **asdict(accepted),
    )
    console.line(f"Accepting {rule.words}, fitted to {data.report.name}: {_said(accepted)}")
    return _stored(trained, rule)


class Noted:
    """The scores of a network's rule, noted while `evaluate_network` evaluates `network`, which it tells of batches."""

    def __init__(self, trained: Trained, rule: Rule) -> None:
        self.network: nn.Module = trained.folded
        self._layer = self.network.get_submodule(head.find(trained.network))
        self._reading = ExitStack()
        self._inputs = self._reading.enter_context(head.reading(self._layer))
        self._scorer, self._parts = Scorer.of(rule).to(trained.device), list[_Taken]()

    def add(self, _: Batch, labels: Tensor, logits: Tensor) -> None:
        """As `evaluate_network` calls its `watch`."""
        self._parts.append(_taken(self._scorer, logits, head.pooled(self._inputs.pop(), self._layer), labels))

    def result(self, data: Loader) -> tuple[Tensor, Tensor]:
        """As `_scores` of the data that were evaluated."""
        self._reading.close()
        values, wrong, _ = _joined(self._parts, data)
        return values.double(), wrong


def taking_notes(trained: Trained | Deployment, run: Run) -> Noted | None:
    """Of a checkpoint with a rule, in one process."""
    if isinstance(trained, Trained) and trained.rule and run.world.world_size == 1:
        return Noted(trained, trained.rule)
    return None


def measure(
    trained: Trained | Deployment, noted: Noted | None, data: Loader, run: Run, outliers: Path | None
) -> dict[str, Any]:
    """What the network's rule does to labelled images and, where a folder of them is given, to outliers.

    With the risk-coverage curve and the outliers' AUROC, except of a deployed network, which tells no score.
    noted: what the rule says of the labelled images, where that was noted while they were evaluated.

    Raises:
        DataError: the folder's images can't be read.
    """
    strange = _below(outliers, trained, run) if outliers else None
    values, wrong = noted.result(data) if noted else _scores(trained, data, run, "Accepted answers")
    threshold = trained.rule.threshold if isinstance(trained, Trained) and trained.rule else 0.0
    accepted = Accepted.by(values >= threshold, wrong)
    console.line(f"Of the evaluated images, {_said(accepted)}")
    found: dict[str, Any] = {**_numbers(accepted)}
    if isinstance(trained, Trained) and trained.rule:
        found["rule"] = trained.rule.numbers()
        found["curve"] = [asdict(point) for point in reject.curve(values, wrong)]
    if strange:
        theirs, _ = _scores(trained, strange, run, "Outliers")
        share = (theirs >= threshold).double().mean().item()
        found["outliers"] = {"folder": str(outliers), "images": len(theirs), "accepted": share}
        line = f"Of {len(theirs)} outliers, {share:.2%} are accepted"
        if isinstance(trained, Trained):
            found["outliers"]["auroc"] = area = reject.auroc(values, theirs)
            line += f"; the score tells them apart with an AUROC of {area:.4f}"
        console.line(line)
    return found


def _classes(trained: Trained, run: Run) -> dict[str, Tensor]:
    """Where the classes lie among the features of training images, seen as evaluation sees images."""
    if not trained.experiment.train_config.train_dataset_path:
        raise SpecError(f"{asked.TRAIN}: is not set; {FIELD}.score DISTANCE is that to training images")
    examples, _ = dataset.splits(trained.experiment, trained.class_names)
    layer = trained.network.get_submodule(head.find(trained.network))
    assert isinstance(layer, nn.Conv2d | nn.Linear)
    step = math.ceil(len(examples.examples) * layer.weight.shape[1] / MAX_NUMBERS)
    data = evaluation_loader(trained.experiment, replace(examples, examples=examples.examples[::step]), run.world)
    features, _, labels = _outputs(trained, data, run, lambda _, features: features)
    found = scores.fit_distance(features, labels, len(trained.class_names))
    if found is None:
        raise DataError(f"{FIELD}.score DISTANCE: the features of each class are all the same; choose another score")
    return found


def _refuse_few(num_images: int, name: str, promise: str, promised: float) -> None:
    needed = reject.images_needed(promised) if promise == "max_error" else 2
    if num_images < needed:
        raise DataError(
            f"{FIELD}.{promise} is {promised:g}, and {name} has {num_images} images that can be used; it takes "
            f"{needed} even if none of them is classified wrong: validate on more images, or promise less"
        )


def _say_unmet(values: Tensor, wrong: Tensor, kind: str, max_error: float) -> None:
    least = reject.least_error(values, wrong)
    best = f"the least that can be promised on these {len(values)} images is {least:g}" if least else "nor any other"
    console.line(
        f"No threshold of {kind} keeps {FIELD}.max_error {max_error:g}: {best}, and of all answers "
        f"{wrong.double().mean().item():.2%} are wrong. No rule was stored"
    )


def _stored(trained: Trained, rule: Rule | None) -> Trained:
    """The network with that rule or none, in its checkpoint's file too, which is replaced as a whole."""
    if (rule and rule.numbers()) == (trained.rule and trained.rule.numbers()):
        return trained
    found = replace(trained.found, reject=rule.to_dict() if rule else {})
    path = trained.path.resolve()  # a link such as best.pth stays one
    checkpoints.save(path, found)
    console.line(f"Wrote {path} {'with this rule' if rule else 'without the rule that it had'}")
    return replace(trained, found=found)


def _said(accepted: Accepted) -> str:
    low, high = accepted.interval
    return (
        f"{accepted.num_accepted} of {accepted.num_images} are accepted ({accepted.coverage:.2%}), of which "
        f"{accepted.num_wrong} are wrong: {accepted.error:.2%}, 95 % interval {low:.2%} to {high:.2%}"
    )


def _numbers(accepted: Accepted) -> dict[str, Any]:
    low, high = accepted.interval
    return {**asdict(accepted), "coverage": accepted.coverage, "error": accepted.error, "error_interval": [low, high]}


def _below(folder: Path, trained: Trained | Deployment, run: Run, *, is_logged: bool = True) -> Loader:
    """The images below the folder, without labels."""
    config = trained.experiment.dataset_config
    report = LeftOut(str(folder), fail=config.on_bad_example == pb.BadExample.FAIL, is_logged=is_logged)
    if not folder.is_dir():
        raise DataError(f"--outliers: {folder}: no such folder; give one of images of no known class")
    paths = listing.images_below(folder, report)
    if not paths:
        raise DataError(f"--outliers: {folder}: holds no image; suffixes are {', '.join(sorted(listing.SUFFIXES))}")
    return unlabelled_loader(trained.experiment, paths, report, run.world, is_whole=trained.takes_whole)


def _scores(trained: Trained | Deployment, data: Loader, run: Run, title: str) -> tuple[Tensor, Tensor]:
    """The score of each image, and whether its answer is wrong; of a deployed network 0 for accepted ones, -1 else."""
    if isinstance(trained, Trained) and trained.rule:
        values, wrong, _ = _outputs(trained, data, run, Scorer.of(trained.rule).to(trained.device))
        return values.double(), wrong
    accepted, hits = list[bool](), list[bool]()
    with console.Progress(is_main=run.is_main) as bar:
        bar.begin(title, len(data))
        for batch, rows in trained.probabilities(data.epoch(0), accepted):
            hits += (torch.tensor(rows).argmax(dim=1) == batch.labels.cpu()).tolist()
            bar.advance(batch.number + 1)
    _refuse_none(len(hits), data)
    return torch.tensor(accepted).double() - 1, ~torch.tensor(hits)


def _outputs(trained: Trained, data: Loader, run: Run, take: Callable[[Tensor, Tensor], Tensor]) -> _Taken:
    """What is taken of logits [B, C] and features [B, d].

    Images whose logits are not finite are left out, as no rule accepts them.

    Raises:
        DataError: there are no others.
    """
    parts = list[_Taken]()
    with console.Progress(is_main=run.is_main) as bar:
        bar.begin("Rule for rejecting", len(data))
        for batch, logits, features in trained.outputs(data.epoch(0)):
            parts.append(_taken(take, logits, features, batch.labels.to(logits.device)))
            bar.advance(batch.number + 1)
    return _joined(parts, data)


def _taken(take: Callable[[Tensor, Tensor], Tensor], logits: Tensor, features: Tensor, labels: Tensor) -> _Taken:
    """Of a batch, in which those are missing whose logits are not finite."""
    finite = logits.isfinite().all(dim=1)
    values, wrong = take(logits, features), logits.argmax(dim=1) != labels
    return values[finite].cpu(), wrong[finite].cpu(), labels[finite].cpu()


def _joined(parts: Sequence[_Taken], data: Loader) -> _Taken:
    _refuse_none(sum(len(labels) for *_, labels in parts), data)
    values, wrong, labels = (torch.cat(one) for one in zip(*parts, strict=True))
    return values, wrong, labels


def _refuse_none(num_images: int, data: Loader) -> None:
    if not num_images:
        raise DataError(f"{data.report.name}: no image can be used")
