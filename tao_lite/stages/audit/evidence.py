"""What an audit judges by: the probabilities of each example's classes, computed without its label, and features."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from tao_lite.data.dataset import DataSet
from tao_lite.data.example import Example
from tao_lite.data.folds import dealt
from tao_lite.data.from_spec import loader
from tao_lite.data.preprocess import make_preprocess
from tao_lite.errors import DataError, SpecError, listed
from tao_lite.metrics.confident import Floats, Labels
from tao_lite.models import architectures
from tao_lite.monitor import console
from tao_lite.run import Run
from tao_lite.spec import classification_pb2 as pb
from tao_lite.stages.audit import folds_file
from tao_lite.stages.dataset import sources
from tao_lite.stages.dataset.sources import Source
from tao_lite.stages.train import pretrained
from tao_lite.training.interval import EpochStats, Interval
from tao_lite.training.logistic import out_of_sample
from tao_lite.training.loops import train_epoch
from tao_lite.training.precision import Precision
from tao_lite.training.preparation import recipe
from tao_lite.training.trained import Trained, on_device, read_features
from tao_lite.training.validation import batch_size, evaluation_loader

NUM_FOLDS = 5
SHORT_EPOCHS = 10
"""Of a training in each fold, where there is no network that knows pictures."""
SEED = 0
"""Of the folds."""

_log = logging.getLogger(__name__)

Read = tuple[Source, tuple[Example, ...]]


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Probabilities float [N, K], labels int64 [N] and features float32 [N, d] of the examples, in their order.

    `by` says in words what computed the probabilities. Without a network there are no features.
    """

    examples: Sequence[Example]
    class_names: Sequence[str]
    probabilities: Floats
    labels: Labels
    features: Tensor | None
    by: str


@dataclass(frozen=True, kw_only=True)
class _Eye:
    """A network and how it sees pictures."""

    experiment: pb.Experiment
    network: nn.Module
    preprocess: Callable[[Tensor], Tensor]
    precision: Precision
    by: str


def gather(experiment: pb.Experiment, run: Run, model: Path | None) -> Evidence:
    """Of all examples that the spec names and that can be read, each data set once.

    The probabilities are those of folds.csv in the results folder, else of a linear probe by folds on the features of
    the network: `model`, else that of the spec with its pretrained weights, which have not learnt these labels, else
    the run's best. Without any of these they are of a short training in each fold.

    Raises:
        TaoLiteError: data, network or folds can't be used.
    """
    data = [(source, tuple(source.read())) for source in sources.of_spec(experiment)]
    if any(one.labels for _, examples in data for one in examples):
        raise SpecError(
            "dataset_config.format: MULTITASK data has several labels for a picture, and audit asks for one"
        )
    names = sorted({one.label for _, examples in data for one in examples})
    if len(names) < 2:
        raise DataError(f"{data[0][0].options.name}: holds the class {listed(names)} only; audit needs two to compare")
    eye = _eye(experiment, run, model, names)
    if run.folds_csv.is_file():
        return _of_folds(data, names, eye, run)
    if eye is None:
        return _trained_by_folds(experiment, data, names, run)
    examples, features, _ = _seen(eye, data, names, run)
    return by_probe(examples, features, names, eye.by)


def by_probe(examples: Sequence[Example], features: Tensor, names: Sequence[str], by: str) -> Evidence:
    """By a linear probe, fitted to all folds but the example's own; `by` says whose the features are.

    Raises:
        DataError: the features tell nothing apart, or a class has too few groups for folds.
    """
    labels = _indices(examples, names)
    if not (features.std(dim=0, correction=0) > 0).any():
        raise DataError(f"the features of all {len(examples)} images by {by} are equal; give another network with -m")
    fold_of = dealt(*_to_deal(examples))
    folds = torch.tensor([fold_of[one.group] for one in examples])
    return Evidence(
        examples=examples,
        class_names=names,
        probabilities=out_of_sample(features, torch.from_numpy(labels), folds, len(names)).numpy(),
        labels=labels,
        features=features,
        by=f"a linear probe on features of {by}",
    )


def _eye(experiment: pb.Experiment, run: Run, model: Path | None, names: Sequence[str]) -> _Eye | None:
    """The network that knows pictures best and the labels least; None if there is none that has been trained."""
    source = experiment.train_config.pretrained_model_path
    if source and not model:
        return _own_eye(experiment, pretrained.network(experiment, names), run, source)
    path = model or run.best
    if not model and not path.is_file():
        return None
    trained = Trained.of(path, run.device, experiment)
    unknown = sorted(set(names).difference(trained.class_names))
    if unknown:
        raise DataError(
            f"{trained.path}: knows {listed(trained.class_names)}, and the data has {listed(unknown)} too; give a "
            "network of these classes with -m, or another results folder"
        )
    return _Eye(
        experiment=trained.experiment,
        network=trained.network,
        preprocess=trained.preprocess,
        precision=trained.precision,
        by=str(trained.path),
    )


def _own_eye(experiment: pb.Experiment, network: nn.Module, run: Run, by: str) -> _Eye:
    return _Eye(
        experiment=experiment,
        network=on_device(network.eval(), run.device),
        preprocess=make_preprocess(experiment).to(run.device),
        precision=Precision.of(experiment.train_config, run.device),
        by=by,
    )


def _seen(eye: _Eye, data: Sequence[Read], names: Sequence[str], run: Run) -> tuple[list[Example], Tensor, Tensor]:
    """The examples that can be read, their features and their probabilities by the network itself."""
    found, features, probabilities = list[Example](), list[Tensor](), list[Tensor]()
    for source, examples in data:
        batches = evaluation_loader(eye.experiment, _data_set(examples, names, source), run.world)
        with console.Progress(is_main=run.is_main) as bar:
            bar.begin(f"Features of {source.name}", len(batches))
            for batch, logits, values in read_features(
                eye.network, batches.epoch(0), preprocess=eye.preprocess, precision=eye.precision
            ):
                found += [examples[index] for index in batch.indices]
                features.append(values.cpu())
                probabilities.append(logits.softmax(dim=1).cpu())
                bar.advance(batch.number + 1)
    if not found:
        raise DataError(f"{data[0][0].options.name}: no image can be read")
    return found, torch.cat(features), torch.cat(probabilities)


def _trained_by_folds(experiment: pb.Experiment, data: Sequence[Read], names: Sequence[str], run: Run) -> Evidence:
    """By a short training in each fold; the features are those of the first one's network."""
    short = pb.Experiment()
    short.CopyFrom(experiment)
    short.train_config.n_epochs = min(short.train_config.n_epochs or SHORT_EPOCHS, SHORT_EPOCHS)
    fold_of = dealt(*_to_deal([one for _, examples in data for one in examples]))
    rows: dict[Example, Tensor] = {}
    everything: tuple[list[Example], Tensor, Tensor] | None = None
    for fold in sorted(set(fold_of.values())):
        learnt = tuple(one for _, examples in data for one in examples if fold_of[one.group] != fold)
        network = _short_training(short, DataSet(learnt, tuple(names), data[0][0].options.report), run, fold)
        eye = _own_eye(short, network, run, f"a training of fold {fold}")
        everything = everything or _seen(eye, data, names, run)
        held = [(source, tuple(one for one in of if fold_of[one.group] == fold)) for source, of in data]
        examples, _, probabilities = _seen(eye, [one for one in held if one[1]], names, run)
        rows |= zip(examples, probabilities, strict=True)
    assert everything
    return Evidence(
        examples=everything[0],
        class_names=names,
        probabilities=torch.stack([rows[one] for one in everything[0]]).numpy(),
        labels=_indices(everything[0], names),
        features=everything[1],
        by=f"a training of {short.train_config.n_epochs} epochs in each fold",
    )


def _short_training(experiment: pb.Experiment, data_set: DataSet, run: Run, fold: int) -> nn.Module:
    config = experiment.train_config
    torch.manual_seed(config.random_seed + fold)
    network = on_device(architectures.build(experiment.model_config, len(data_set.class_names)), run.device)
    size = batch_size(experiment)
    data = loader(experiment, data_set, "train", batch_size=size, seed=config.random_seed, world=run.world)
    precision = Precision.of(config, run.device)
    way = recipe(experiment, network, data, run, precision=precision)
    with console.Progress(is_main=run.is_main) as bar:
        bar.begin(f"Training without fold {fold}", config.n_epochs * len(data))
        for epoch in range(config.n_epochs):
            first = epoch * len(data)
            network.train()
            interval = Interval(EpochStats(), precision)
            for batch in train_epoch(network, data.epoch(epoch), way, interval, first_step=first // way.accumulation):
                bar.advance(first + batch.number + 1)
    return network


def _of_folds(data: Sequence[Read], names: Sequence[str], eye: _Eye | None, run: Run) -> Evidence:
    """By a cross-validation; features by the network at hand."""
    examples = [one for _, of in data for one in of]
    if eye:
        examples, features, _ = _seen(eye, data, names, run)
    known = folds_file.read(run.folds_csv, names)
    kept = [index for index, one in enumerate(examples) if folds_file.key(one) in known]
    if len(kept) < len(examples):
        _log.warning("%s lacks %d of the %d examples", run.folds_csv, len(examples) - len(kept), len(examples))
    chosen = [examples[index] for index in kept]
    if missing := sorted(set(names) - {one.label for one in chosen}):
        raise DataError(f"{run.folds_csv}: has no image of {listed(missing)}; cross-validate these data again")
    return Evidence(
        examples=chosen,
        class_names=names,
        probabilities=np.array([known[folds_file.key(one)] for one in chosen]),
        labels=_indices(chosen, names),
        features=features[kept] if eye else None,
        by=str(run.folds_csv),
    )


def _data_set(examples: tuple[Example, ...], names: Sequence[str], source: Source) -> DataSet:
    return DataSet(examples, tuple(names), source.options.report)


def _indices(examples: Sequence[Example], names: Sequence[str]) -> Labels:
    index_of = {name: index for index, name in enumerate(names)}
    return np.array([index_of[one.label] for one in examples], np.int64)


def _to_deal(examples: Sequence[Example]) -> tuple[Sequence[Example], int, int]:
    return examples, max(2, min(NUM_FOLDS, len({one.group for one in examples}))), SEED
