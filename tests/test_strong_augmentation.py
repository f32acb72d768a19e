"""Strong augmentation in a training: what the network is given, and that it goes on where it stopped."""

import io
from pathlib import Path

import pytest
import torch
from google.protobuf import text_format
from torch import Tensor

from tao_lite.machine import distributed
from tao_lite.run import Run
from tao_lite.spec import classification_pb2 as pb
from tao_lite.stages.train import pretrained
from tao_lite.training import optim, preparation
from tao_lite.training.interval import EpochStats, Interval
from tao_lite.training.loops import train_epoch
from tao_lite.training.precision import Precision

SPEC = """
model_config { arch: "resnet" n_layers: 10 input_image_size: "3,16,16" }
train_config {
  train_dataset_path: "%s" preprocess_mode: "torch" batch_size_per_gpu: 16 n_epochs: 2 n_workers: 1
  optimizer { sgd { momentum: 0.9 } } lr_config { cosine { learning_rate: 0.02 soft_start: 0.1 } }
  precision: FP32 enable_random_crop: true mixup_alpha: 0.2 cutmix_alpha: 1 random_erasing: 0.5 rand_augment { }
  vflip_probability: 0.5 random_rotate { } random_color { hue: 0.1 } random_blur { } random_crop { }
}
dataset_config { val_split: 0.25 }
"""


@pytest.fixture
def experiment(colours: Path) -> pb.Experiment:
    return text_format.Parse(SPEC % colours, pb.Experiment())


class Session:
    """The network, the data and the recipe of the spec."""

    def __init__(self, experiment: pb.Experiment, folder: Path) -> None:
        run = Run(results=folder, world=distributed.start("cpu"))
        torch.manual_seed(0)
        self.data = preparation.loaders(experiment, run)[0]
        self.network = pretrained.network(experiment, self.data.class_names)
        precision = Precision.of(experiment.train_config, run.device)
        self.recipe = preparation.recipe(experiment, self.network, self.data, run, precision=precision)
        self.images: list[Tensor] = []
        self.network.register_forward_pre_hook(lambda _, inputs: self.images.append(inputs[0]))

    def train(self, epoch: int, start: int = 0, end: int = 1000) -> None:
        """The batches of the epoch from number `start` up to `end`."""
        batches = self.data.epoch(epoch, start * self.data.sampler.split.batch)
        interval = Interval(EpochStats(), self.recipe.precision)
        first_step = epoch * len(self.data)
        for batch in train_epoch(self.network, batches, self.recipe, interval, first_step=first_step):
            if batch.number + 1 == end:
                break

    def state(self) -> bytes:
        content = io.BytesIO()
        torch.save({"network": self.network.state_dict(), "optimizer": self.recipe.optimizer.state_dict()}, content)
        return content.getvalue()

    def restore(self, state: bytes) -> None:
        found = torch.load(io.BytesIO(state), weights_only=True)
        self.network.load_state_dict(found["network"])
        optim.load_state(self.recipe.optimizer, found["optimizer"])


@pytest.fixture(scope="module")
def whole(colours: Path, tmp_path_factory: pytest.TempPathFactory) -> Session:
    """Two epochs in one go, from the files."""
    experiment = text_format.Parse(SPEC % colours, pb.Experiment())
    experiment.dataset_config.cache = pb.Cache.OFF
    session = Session(experiment, tmp_path_factory.mktemp("whole"))
    session.train(0)
    session.train(1)
    return session


@pytest.mark.slow
@pytest.mark.parametrize(("cache", "workers"), [("OFF", 2), ("MEMORY", 1), ("DISK", 2), ("DEVICE", 1), ("AUTO", 0)])
def test_a_training_stopped_in_its_second_epoch_ends_with_the_same_weights(
    whole: Session, experiment: pb.Experiment, tmp_path: Path, cache: str, workers: int
) -> None:
    experiment.dataset_config.cache, experiment.dataset_config.cache_dir = pb.Cache.Mode.Value(cache), str(tmp_path)
    stopped = Session(experiment, tmp_path)
    stopped.train(0)
    stopped.train(1, end=2)
    experiment.train_config.n_workers = workers
    resumed = Session(experiment, tmp_path)
    resumed.restore(stopped.state())
    resumed.train(1, start=2)
    assert len(whole.images) == len(stopped.images) + len(resumed.images) == 12
    given = [*stopped.images, *resumed.images]
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(given, whole.images, strict=True))
    weights = resumed.network.state_dict()
    assert all(torch.equal(weights[name], tensor) for name, tensor in whole.network.state_dict().items())


@pytest.mark.parametrize(
    "field",
    [
        *("cutmix_alpha", "mixup_alpha", "random_erasing", "rand_augment", "vflip_probability", "random_rotate"),
        *("random_color", "random_blur", "random_crop"),
    ],
)
def test_each_of_them_changes_what_the_network_is_given(experiment: pb.Experiment, tmp_path: Path, field: str) -> None:
    with_it = Session(experiment, tmp_path)
    experiment.train_config.ClearField(field)  # type: ignore[arg-type]
    without_it = Session(experiment, tmp_path)
    for session in (with_it, without_it):
        session.train(0, end=1)
    assert not torch.equal(with_it.images[0], without_it.images[0])
