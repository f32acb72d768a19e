"""The phases of a training - blocks are frozen, blocks train too - and what the epochs of each work with."""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from torch import Tensor, nn

from tao_lite import compat
from tao_lite.data.batch import Batches
from tao_lite.data.geometry import Size
from tao_lite.data.loader import Loader
from tao_lite.data.pipeline import Pipeline
from tao_lite.data.preprocess import Preprocess, make_preprocess
from tao_lite.models import architectures, freeze, head
from tao_lite.models.freeze import Frozen
from tao_lite.monitor import console
from tao_lite.run import Run
from tao_lite.spec import classification_pb2 as pb
from tao_lite.stages.train import probe
from tao_lite.training import preparation
from tao_lite.training.loops import Recipe

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Phase:
    """What an epoch works with: the whole network and images or, in a linear probe, its head and features."""

    is_frozen: bool
    network: nn.Module  # bare
    trained: nn.Module  # the same, compiled or wrapped for several processes
    validated: nn.Module  # the same, or its moving average
    frozen: Frozen
    train: Batches
    val: Batches
    recipe: Recipe


def as_it_is(network: nn.Module) -> nn.Module:
    """The network."""
    return network


@dataclass(frozen=True, kw_only=True)
class Phases:
    """From what phases are made; network, loaders and recipe are those of the whole network."""

    experiment: pb.Experiment
    run: Run
    network: nn.Module
    recipe: Recipe
    train: Loader
    val: Loader
    computed: Callable[[nn.Module], nn.Module] = as_it_is
    """What computes in a network's place while it trains and is validated, with its parameters."""

    @property
    def pipeline(self) -> Pipeline:
        """What validation does to pictures."""
        is_cropped = self.experiment.train_config.enable_center_crop
        return Pipeline.of(self.experiment, self.preprocess, is_cropped=is_cropped)

    @property
    def preprocess(self) -> Preprocess:
        """Normalisation of images, which those of a recipe's batches that are features do without."""
        return make_preprocess(self.experiment).to(self.run.device)

    def begin(self, epoch: int, bar: console.Progress, each_batch: Callable[[int], None]) -> Phase:
        """The phase that holds after `epoch` whole epochs.

        `each_batch` is told how many batches are done where features are computed first; what it raises ends that.

        Raises:
            SpecError: a linear probe is not possible with this network.
        """
        config, is_frozen = self.experiment.train_config, holds(self.experiment.train_config, epoch)
        frozen = apply(self.experiment, self.network, is_frozen=is_frozen)
        if frozen.modules:
            _report(self.network, frozen)
        if config.linear_probe and is_frozen:
            return self._probe(bar, each_batch)
        return Phase(
            is_frozen=is_frozen,
            network=self.network,
            trained=preparation.wrapped(
                self.recipe.precision.cast(self.computed(self.network)),
                config,
                self.run,
                batch_size=self.train.sampler.own_batch,
            ),
            validated=self.computed(self._averaged(self.network)),
            frozen=frozen,
            train=self.train,
            val=self.val,
            recipe=self.recipe,
        )

    def grown(self, epoch: int) -> Size | None:
        """Height and width of training images after `epoch` whole epochs, where they grow and are looked at."""
        config, growth = self.experiment.train_config, self.train.growth
        is_probe = config.linear_probe and holds(config, epoch)
        return growth.size(epoch) if growth and not is_probe else None

    def _averaged(self, network: nn.Module) -> nn.Module:
        return self.recipe.average.network if self.recipe.average else network

    def _probe(self, bar: console.Progress, each_batch: Callable[[int], None]) -> Phase:
        world, layer = self.run.world, head.find(self.network)
        in_order = replace(self.train.sampler, training=False, classes=None)
        plain = replace(self.train, sampler=in_order, geometry=self.val.geometry, cache=None, growth=None)
        train, val = (self._features(data, bar, each_batch) for data in (plain, self.val))
        tail = probe.Tail(self.network.get_submodule(layer))
        return Phase(
            is_frozen=True,
            network=tail,
            trained=preparation.distributed(self.recipe.precision.cast(tail), self.run),
            validated=probe.Tail(self._averaged(self.network).get_submodule(layer)),
            frozen=Frozen((), freeze_bn=False),
            train=probe.shuffled(train, self.train, world),
            val=val,
            recipe=replace(self.recipe, preprocess=_same, augment=None, erase=None, mix=None, teacher=None),
        )

    def _features(self, data: Loader, bar: console.Progress, each_batch: Callable[[int], None]) -> probe.Features:
        bar.begin("Features", len(data))
        recipe = self.recipe
        return probe.compute(
            self.network, data, preprocess=recipe.preprocess, precision=recipe.precision, each_batch=each_batch
        )


def holds(config: pb.TrainConfig, epoch: int) -> bool:
    """Whether what the spec freezes is frozen after `epoch` whole epochs."""
    return not 0 < config.unfreeze_at_epoch <= epoch + 1


def apply(experiment: pb.Experiment, network: nn.Module, *, is_frozen: bool) -> Frozen:
    """Freeze what the spec says or, once that is over, nothing but what freeze_bn asks for."""
    model, is_probe = experiment.model_config, experiment.train_config.linear_probe
    blocks = architectures.blocks(model)
    numbers: Iterable[int] = model.freeze_blocks
    if is_probe:
        numbers = blocks
    elif model.trained_blocks and not model.freeze_blocks:
        numbers = list(blocks)[: -model.trained_blocks]
    exact = compat.is_exact(experiment) and bool(model.freeze_blocks) and not is_probe
    return freeze.freeze(network, blocks, numbers if is_frozen else (), model.freeze_bn, exact=exact)


def _report(network: nn.Module, frozen: Frozen) -> None:
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in network.parameters()]
    total, trained = sum(size for size, _ in sizes), sum(size for size, is_trained in sizes if is_trained)
    _log.info("Froze %s: %s of %s parameters", ", ".join(frozen.modules), f"{total - trained:,}", f"{total:,}")


def _same(values: Tensor) -> Tensor:
    return values
