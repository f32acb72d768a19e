"""Evaluate a checkpoint on the spec's data."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from torch import Tensor, nn
from torch.nn import functional as F

from tao_lite import checkpoint as checkpoints
from tao_lite import compat
from tao_lite.checkpoint import Checkpoint
from tao_lite.data import dataset
from tao_lite.data.augment.augment import Preprocess
from tao_lite.data.batch import Batch, Batches
from tao_lite.data.dataset import DataSet
from tao_lite.data.example import Report
from tao_lite.data.from_spec import loader
from tao_lite.data.loader import Loader
from tao_lite.machine.distributed import World
from tao_lite.metrics.counts import Counts, Evaluation
from tao_lite.models.fold import folded
from tao_lite.monitor import console
from tao_lite.run import Run, Summary, write_json
from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec.load import Spec
from tao_lite.training import optim, preparation, trial
from tao_lite.training.loops import predict
from tao_lite.training.precision import Precision

DEFAULT_TOP_K = 5


def evaluate(spec: Spec, run: Run) -> Summary:
    """Evaluate eval_config.model_path, else the best checkpoint of the results folder; the summary is evaluate.json.

    Raises:
        TaoLiteError: the checkpoint or the data can't be used.
    """
    path = Path(spec.experiment.eval_config.model_path or run.best)
    found = checkpoints.load(path)
    experiment = compat.effective(evaluated_experiment(spec.experiment, found))
    data = evaluation_loader(experiment, dataset.evaluation(experiment, found.class_names), run)
    network = preparation.on_device(checkpoints.network(found), run.device)
    precision = Precision.of(experiment.train_config, run.device)
    trial.set_threads(network, experiment, precision, run)
    with console.Progress(is_main=run.is_main) as bar:
        bar.begin("Evaluation", len(data))
        result = evaluate_network(
            network,
            data,
            k=experiment.eval_config.top_k,
            preprocess=Preprocess.from_dict(dict(found.preprocess)).to(run.device),
            precision=precision,
            world=run.world,
            each_batch=bar.advance,
        )
    if compat.is_exact(experiment):
        result = penalised(result, optim.make_penalty(experiment.train_config.reg_config, network))
    summary = {**result.as_dict(), "model_path": str(path)}
    if run.is_main:
        if 0 < experiment.eval_config.top_k != result.k:
            console.line(f"eval_config.top_k was reduced from {experiment.eval_config.top_k} to the {result.k} classes")
        console.evaluation(result)
        write_json(run.summary("evaluate"), summary)
    return summary


def evaluate_network(
    network: nn.Module,
    data: Batches,
    *,
    k: int,
    preprocess: Callable[[Tensor], Tensor],
    precision: Precision,
    world: World,
    each_batch: Callable[[int], None],
    watch: Callable[[Batch, Tensor, Tensor], None] | None = None,
) -> Evaluation:
    """Run the network over all images of all processes; k is that of top-k, 0 means 5.

    `each_batch` is told how many batches are done; what it raises ends the evaluation. `watch` gets each batch with
    its labels and logits, as `predict` gives them.
    """
    counts = Counts(len(data.class_names), world.device)
    for batch, labels, logits in predict(folded(network), data.epoch(0), preprocess=preprocess, precision=precision):
        counts.add(logits, labels, F.cross_entropy(logits, labels, reduction="none"))
        if watch:
            watch(batch, labels, logits)
        each_batch(batch.number + 1)
    counts.all_reduce(world)
    return counts.result(data.class_names, k or DEFAULT_TOP_K)


def penalised(result: Evaluation, penalty: Callable[[], Tensor] | None) -> Evaluation:
    """The evaluation with the penalty, where there is one, added to its loss; waits for the device."""
    return replace(result, loss=result.loss + penalty().item()) if penalty else result


def evaluated_experiment(experiment: pb.Experiment, found: Checkpoint) -> pb.Experiment:
    """The spec with the network of the checkpoint: its input size and kind are facts, not wishes.

    What is white in deep pictures is as in its training too, where the spec does not say.
    """
    merged = pb.Experiment()
    merged.CopyFrom(experiment)
    merged.model_config.CopyFrom(found.experiment.model_config)
    if not merged.dataset_config.HasField("full_scale"):
        merged.dataset_config.full_scale = found.experiment.dataset_config.full_scale
    return merged


def validation_loader(experiment: pb.Experiment, class_names: Sequence[str], run: Run) -> Loader:
    """The validation images, else those to evaluate: for what a test set may not be used, such as to tune by it.

    Raises:
        DataError: they can't be read.
    """
    ours, train = pb.Experiment(), experiment.train_config
    ours.CopyFrom(experiment)
    if train.val_dataset_path or train.train_dataset_path:
        ours.eval_config.ClearField("eval_dataset_path")
    return evaluation_loader(ours, dataset.evaluation(ours, class_names), run)


def evaluation_loader(experiment: pb.Experiment, data: DataSet, run: Run) -> Loader:
    """The images to evaluate, each exactly once over all processes."""
    config = experiment.eval_config
    return loader(
        experiment,
        data,
        "eval",
        batch_size=config.batch_size or experiment.train_config.batch_size_per_gpu or 64,
        seed=0,
        world=run.world,
        report=Report(fail=experiment.dataset_config.on_bad_example == pb.BadExample.FAIL),
    )
