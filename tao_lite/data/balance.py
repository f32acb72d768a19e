"""Class balance: how much an image's loss counts by its class."""

from collections import Counter
from collections.abc import Mapping

from tao_lite.data.dataset import DataSet
from tao_lite.errors import SpecError
from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec.bind import did_you_mean
from tao_lite.spec.schema import as_written

BETA = 0.999  # of EFFECTIVE_NUMBER


def class_weights(config: pb.TrainConfig, data: DataSet) -> tuple[float, ...] | None:
    """Weight of each class, in the order of the names; they average 1 over the examples. None where all are alike.

    Raises:
        SpecError: a weight is given to a class that the data does not have, or is not above 0.
    """
    counts = Counter(example.label for example in data.examples)
    if config.class_weights:
        raw = _given({name: as_written(weight) for name, weight in config.class_weights.items()}, data.class_names)
    elif config.class_weighting == pb.ClassWeighting.BALANCED:
        raw = {name: 1 / counts[name] for name in counts}
    elif config.class_weighting == pb.ClassWeighting.EFFECTIVE_NUMBER:
        raw = {name: (1 - BETA) / (1 - BETA ** counts[name]) for name in counts}
    else:
        return None
    mean = sum(raw[name] * count for name, count in counts.items()) / counts.total()
    return tuple(raw.get(name, mean) / mean for name in data.class_names)


def _given(weights: Mapping[str, float], class_names: tuple[str, ...]) -> dict[str, float]:
    path = "train_config.class_weights"
    for name, weight in weights.items():
        if name not in class_names:
            classes = ", ".join(class_names)
            raise SpecError(f'{path}: found "{name}", the classes are {classes}{did_you_mean(name, class_names)}')
        if not 0 < weight < float("inf"):
            raise SpecError(f'{path}: found {weight:g} for "{name}", must be above 0')
    return {name: weights.get(name, 1.0) for name in class_names}
