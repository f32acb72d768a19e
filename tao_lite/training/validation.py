"""How well a network does on labelled images, and which images those are."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from torch import Tensor, nn

from tao_lite.data import dataset
from tao_lite.data.batch import Batch, Batches
from tao_lite.data.dataset import DataSet
from tao_lite.data.example import Example
from tao_lite.data.from_spec import loader
from tao_lite.data.left_out import LeftOut
from tao_lite.data.loader import Loader
from tao_lite.machine.distributed import World
from tao_lite.metrics.best import METRICS, Metric
from tao_lite.metrics.joint import ClassCounts, JointCounts, Result
from tao_lite.models.fold import folded
from tao_lite.spec import classification_pb2 as pb
from tao_lite.training.loops import predict
from tao_lite.training.precision import Precision

DEFAULT_TOP_K = 5
DEFAULT_BATCH_SIZE = 32


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
) -> Result:
    """Run the network over all images of all processes; k is that of top-k, 0 means 5.

    `each_batch` is told how many batches are done; what it raises ends the evaluation. `watch` gets each batch with
    its labels and logits, as `predict` gives them.
    """
    counts = JointCounts(data.tasks, world.device) if data.tasks else ClassCounts(data.class_names, world.device)
    for batch, labels, logits in predict(folded(network), data.epoch(0), preprocess=preprocess, precision=precision):
        counts.add(logits, labels)
        if watch:
            watch(batch, labels, logits)
        each_batch(batch.number + 1)
    counts.all_reduce(world)
    return counts.result(k or DEFAULT_TOP_K)


def best_metric(config: pb.TrainConfig) -> Metric:
    """By which networks are compared."""
    return METRICS[pb.BestMetric.Kind.Name(config.checkpoint.best_metric)]


def penalised(result: Result, penalty: Callable[[], Tensor] | None) -> Result:
    """The evaluation with the penalty, where there is one, added to its loss; waits for the device."""
    return replace(result, loss=result.loss + penalty().item()) if penalty else result


def validation_loader(experiment: pb.Experiment, class_names: Sequence[str], world: World) -> Loader:
    """The validation images, else those to evaluate: for what a test set may not be used, such as to tune by it.

    Raises:
        DataError: they can't be read.
    """
    ours, train = pb.Experiment(), experiment.train_config
    ours.CopyFrom(experiment)
    if train.val_dataset_path or train.train_dataset_path:
        ours.eval_config.ClearField("eval_dataset_path")
    return evaluation_loader(ours, dataset.evaluation(ours, class_names), world)


def evaluation_loader(experiment: pb.Experiment, data: DataSet, world: World, *, is_whole: bool = False) -> Loader:
    """The images to evaluate, each exactly once over all processes; whole ones are batches of their own."""
    config = experiment.eval_config
    return loader(
        experiment,
        data,
        "eval",
        batch_size=1 if is_whole else config.batch_size or batch_size(experiment),
        seed=0,
        world=world,
        is_whole=is_whole,
    )


def unlabelled_loader(
    experiment: pb.Experiment, paths: Iterable[Path], report: LeftOut, world: World, *, is_whole: bool = False
) -> Loader:
    """Pictures that have no label, as `evaluation_loader` gives those that have one."""
    full_scale = experiment.dataset_config.full_scale
    examples = tuple(Example(path, "", str(path), full_scale=full_scale) for path in paths)
    return evaluation_loader(experiment, DataSet(examples, ("",), report), world, is_whole=is_whole)


def batch_size(experiment: pb.Experiment) -> int:
    """Images of a training step, also for who does not train and whose spec need not say."""
    return experiment.train_config.batch_size_per_gpu or DEFAULT_BATCH_SIZE
