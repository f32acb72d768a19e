"""Evaluate a checkpoint or a deployed network on the spec's data."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from tao_lite import compat
from tao_lite.data import asked, dataset, left_out
from tao_lite.data.batch import Batch
from tao_lite.data.loader import Loader
from tao_lite.errors import CheckpointError, SpecError
from tao_lite.files import reading, writing
from tao_lite.metrics.joint import JointEvaluation, Result
from tao_lite.metrics.neighbours import nearest, vote
from tao_lite.monitor import console
from tao_lite.run import Run, Summary
from tao_lite.spec.load import Spec
from tao_lite.training import deployed, optim, rejecting, weak_groups
from tao_lite.training.deployed import Deployment
from tao_lite.training.embeddings import compute, refuse_deployed
from tao_lite.training.observer import Observer
from tao_lite.training.rejecting import Noted
from tao_lite.training.trained import Trained
from tao_lite.training.validation import evaluate_network, evaluation_loader, penalised
from tao_lite.training.weak_groups import Wish

CONFUSION = ("task", "true", "predicted", "images")


@dataclass(frozen=True, kw_only=True)
class Extras:
    """What is found out besides. All but `groups` in one process only."""

    knn: int | None = None  # how many of the nearest training images vote on each image's class
    groups: Wish | None = None  # by what images are told apart, in groups in which the network may be weak: groups.csv
    outliers: Path | None = None  # folder of images of no known class, for the checkpoint's rule


def evaluate(spec: Spec, run: Run, extras: Extras = Extras()) -> Summary:
    """Evaluate eval_config.model_path, else the best checkpoint of the results folder; the summary is evaluate.json.

    Where the spec has eval_config.reject, the rule is fitted first and stored in the checkpoint.

    Raises:
        TaoLiteError: the network or the data can't be used.
    """
    path = Path(spec.experiment.eval_config.model_path or run.best)
    trained = rejecting.with_rule(deployed.opened(path, run.device, spec.experiment), run, extras.outliers)
    data_set = dataset.evaluation(trained.experiment, trained.class_names)
    data = evaluation_loader(trained.experiment, data_set, run.world, is_whole=trained.takes_whole)
    trained.set_threads(run)
    training = _training(trained, path, run) if extras.knn else None
    columns = weak_groups.given_columns(extras.groups, data_set) if extras.groups else []
    observer = Observer(trained, data) if extras.groups else None
    noted = rejecting.taking_notes(trained, run)
    result, speed = _evaluated(trained, [one for one in (observer, noted) if one], data, run)
    summary = {
        **result.as_dict(),
        "model_path": str(path),
        **({"model_sha256": reading.digest(path, CheckpointError)} if isinstance(trained, Trained) else {}),
        "precision": trained.precision.name,
        "runtime": trained.runtime,
        "images_per_second": speed,
        "left_out": data.report.values(),
    }
    observed = observer.result(run.world) if observer else None
    if run.is_main:
        _say(result, trained, speed, data, run)
        if extras.knn and training:
            summary |= _by_neighbours(*training, data, run, extras.knn)
        if extras.groups and observed:
            found = weak_groups.find(data_set, observed, columns, has_own=extras.groups.has_own)
            summary |= weak_groups.written(found, run)
        if trained.has_rule and run.world.world_size == 1:
            summary |= {"reject": rejecting.measure(trained, noted, data, run, extras.outliers)}
        writing.write_json(run.summary("evaluate"), summary)
    return summary


def _evaluated(
    trained: Trained | Deployment, watchers: Sequence[Observer | Noted], data: Loader, run: Run
) -> tuple[Result, float]:
    """The evaluation, of which the watchers take notes, and images per second."""

    def watch(batch: Batch, labels: Tensor, logits: Tensor) -> None:
        for one in watchers:
            one.add(batch, labels, logits)

    experiment, started = trained.experiment, time.perf_counter()
    with console.Progress(is_main=run.is_main) as bar:
        bar.begin("Evaluation", len(data))
        result = evaluate_network(
            # All of them watch the same one.
            watchers[0].network if watchers else trained.network,
            data,
            k=experiment.eval_config.top_k,
            preprocess=trained.preprocess,
            precision=trained.precision,
            world=run.world,
            each_batch=bar.advance,
            watch=watch,
        )
    speed = result.num_images / (time.perf_counter() - started)
    if compat.is_exact(experiment):
        result = penalised(result, optim.make_penalty(experiment.train_config.reg_config, trained.network))
    return result, speed


def _say(result: Result, trained: Trained | Deployment, speed: float, data: Loader, run: Run) -> None:
    """On the screen and, of several tasks, in a table."""
    if isinstance(result, JointEvaluation):
        console.joint_evaluation(result)
        writing.write(run.confusion_csv, writing.csv_text([CONFUSION, *result.confusion()]))
    else:
        top_k = trained.experiment.eval_config.top_k
        if 0 < top_k != result.k:
            console.line(f"eval_config.top_k was reduced from {top_k} to the {result.k} classes")
        console.evaluation(result)
    console.computed(trained.precision.name, trained.runtime, speed)
    for line in left_out.lines({data.report.name: data.report.values()}):
        console.line(line)


def _training(trained: Trained | Deployment, path: Path, run: Run) -> tuple[Trained, Loader]:
    """The network, if its layers can be asked, and the training images as evaluation sees images."""
    network = refuse_deployed(trained, path, "--knn")
    experiment = network.experiment
    if network.tasks:
        raise SpecError(f"--knn: {path} has several tasks, and images vote on one; leave it out")
    if not experiment.train_config.train_dataset_path:
        raise SpecError(f"{asked.TRAIN}: is not set; --knn compares with training images")
    examples, _ = dataset.splits(experiment, network.class_names)
    return network, evaluation_loader(experiment, examples, run.world)


def _by_neighbours(trained: Trained, training: Loader, data: Loader, run: Run, k: int) -> Summary:
    """How often the vote of the nearest training images is right."""
    known, _ = compute(trained, training, run, "Training images")
    asked, _ = compute(trained, data, run, "Neighbours")
    votes = vote(nearest(asked.values, known.values, k), known.labels, len(trained.class_names))
    accuracy = (votes == asked.labels).double().mean().item()
    k = min(k, len(known.labels))
    console.line(f"The {k} nearest of {len(known.labels)} training images are right in {accuracy:.2%}")
    return {"knn": k, "knn_accuracy": accuracy}
