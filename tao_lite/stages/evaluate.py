"""Evaluate a checkpoint or a deployed network on the spec's data."""

import time
from pathlib import Path

from tao_lite import compat
from tao_lite.data import asked, dataset, left_out
from tao_lite.data.loader import Loader
from tao_lite.errors import CheckpointError, SpecError
from tao_lite.files import reading, writing
from tao_lite.metrics.joint import JointEvaluation
from tao_lite.metrics.neighbours import nearest, vote
from tao_lite.monitor import console
from tao_lite.run import Run, Summary
from tao_lite.spec.load import Spec
from tao_lite.training import deployed, optim, rejecting
from tao_lite.training.deployed import Deployment
from tao_lite.training.embeddings import compute, refuse_deployed
from tao_lite.training.trained import Trained
from tao_lite.training.validation import evaluate_network, evaluation_loader, penalised

CONFUSION = ("task", "true", "predicted", "images")


def evaluate(spec: Spec, run: Run, knn: int | None = None, outliers: Path | None = None) -> Summary:
    """Evaluate eval_config.model_path, else the best checkpoint of the results folder; the summary is evaluate.json.

    Where the spec has eval_config.reject, the rule is fitted first and stored in the checkpoint. knn: how many of the
    nearest training images vote on each image's class, besides. outliers: a folder of images of no known class, for the
    checkpoint's rule. All three in one process only.

    Raises:
        TaoLiteError: the network or the data can't be used.
    """
    path = Path(spec.experiment.eval_config.model_path or run.best)
    trained = rejecting.with_rule(deployed.opened(path, run.device, spec.experiment), run, outliers)
    experiment = trained.experiment
    data_set = dataset.evaluation(experiment, trained.class_names)
    data = evaluation_loader(experiment, data_set, run.world, is_whole=trained.takes_whole)
    trained.set_threads(run)
    training = _training(trained, path, run) if knn else None
    started = time.perf_counter()
    with console.Progress(is_main=run.is_main) as bar:
        bar.begin("Evaluation", len(data))
        result = evaluate_network(
            trained.network,
            data,
            k=experiment.eval_config.top_k,
            preprocess=trained.preprocess,
            precision=trained.precision,
            world=run.world,
            each_batch=bar.advance,
        )
    speed = result.num_images / (time.perf_counter() - started)
    if compat.is_exact(experiment):
        result = penalised(result, optim.make_penalty(experiment.train_config.reg_config, trained.network))
    summary = {
        **result.as_dict(),
        "model_path": str(path),
        **({"model_sha256": reading.digest(path, CheckpointError)} if isinstance(trained, Trained) else {}),
        "precision": trained.precision.name,
        "runtime": trained.runtime,
        "images_per_second": speed,
        "left_out": data.report.values(),
    }
    if run.is_main:
        if isinstance(result, JointEvaluation):
            console.joint_evaluation(result)
            writing.write(run.confusion_csv, writing.csv_text([CONFUSION, *result.confusion()]))
        else:
            if 0 < experiment.eval_config.top_k != result.k:
                console.line(
                    f"eval_config.top_k was reduced from {experiment.eval_config.top_k} to the {result.k} classes"
                )
            console.evaluation(result)
        console.computed(trained.precision.name, trained.runtime, speed)
        for line in left_out.lines({data.report.name: data.report.values()}):
            console.line(line)
        if knn and training:
            summary |= _by_neighbours(*training, data, run, knn)
        if trained.has_rule and run.world.world_size == 1:
            summary |= {"reject": rejecting.measure(trained, data, run, outliers)}
        writing.write_json(run.summary("evaluate"), summary)
    return summary


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
