"""Weights of classes, against the formulas worked out by hand."""

from pathlib import Path

import pytest
from google.protobuf import text_format

from tao_lite.data.balance import class_weights
from tao_lite.data.dataset import DataSet
from tao_lite.data.example import Example
from tao_lite.errors import SpecError
from tao_lite.spec import classification_pb2 as pb

COUNTS = {"ant": 6, "bee": 3, "cow": 1}
DATA = DataSet(
    tuple(Example(Path(f"{name}{index}"), name, name) for name, count in COUNTS.items() for index in range(count)),
    tuple(COUNTS),
)


def weights(text: str) -> tuple[float, ...] | None:
    return class_weights(text_format.Parse(text, pb.TrainConfig()), DATA)


def test_without_a_setting_all_images_count_alike() -> None:
    assert weights("") is None
    assert weights("class_weighting: NONE") is None


def test_balanced_classes_count_alike() -> None:
    # 10 images in 3 classes: each class has 10 / 3 in all.
    assert weights("class_weighting: BALANCED") == pytest.approx([10 / 3 / 6, 10 / 3 / 3, 10 / 3 / 1])


def test_effective_numbers_are_those_of_the_paper() -> None:
    raw = [0.001 / (1 - 0.999**count) for count in COUNTS.values()]
    mean = sum(weight * count for weight, count in zip(raw, COUNTS.values(), strict=True)) / 10
    assert weights("class_weighting: EFFECTIVE_NUMBER") == pytest.approx([weight / mean for weight in raw])


def test_given_weights_are_scaled_to_an_average_of_one() -> None:
    # (6 * 1 + 3 * 1 + 1 * 11) / 10 = 2
    assert weights('class_weights { key: "cow" value: 11 }') == pytest.approx([0.5, 0.5, 5.5])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('key: "bees" value: 2', 'found "bees", the classes are ant, bee, cow; did you mean bee?'),
        ('key: "ant" value: 0', 'found 0 for "ant", must be above 0'),
    ],
)
def test_wrong_weights_are_explained(text: str, message: str) -> None:
    with pytest.raises(SpecError) as error:
        weights(f"class_weights {{ {text} }}")
    assert str(error.value) == f"train_config.class_weights: {message}"
