"""Folds: each example is held out once, no group is torn, and classes are alike, whatever the order of the files."""

import random
from collections import Counter
from pathlib import Path

import pytest
from google.protobuf import text_format
from hypothesis import given, settings
from hypothesis import strategies as st

from tao_lite.data import asked
from tao_lite.data.dataset import evaluation, splits
from tao_lite.data.example import Example
from tao_lite.data.folds import Fold, dealt
from tao_lite.errors import DataError
from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec import rules
from tao_lite.stages.dataset import sources
from tests.data.test_dataset import folder


def examples(**counts: int) -> list[Example]:
    """So many of each class, each a group of its own."""
    return [
        Example(Path(f"{label}/{number}.png"), label, f"{label}/{number}.png")
        for label, count in counts.items()
        for number in range(count)
    ]


def by_fold(found: dict[str, int], every: list[Example]) -> list[Counter[str]]:
    return [Counter(one.label for one in every if found[one.group] == fold) for fold in sorted(set(found.values()))]


@settings(max_examples=40)
@given(
    st.dictionaries(st.sampled_from("abcdef"), st.integers(2, 40), min_size=2),
    st.integers(2, 10),
    st.integers(0, 2**32 - 1),
)
def test_single_examples_are_dealt_out_evenly_in_each_class_and_in_all(
    counts: dict[str, int], num_folds: int, seed: int
) -> None:
    every = examples(**counts)
    if len(every) < num_folds:
        return
    found = dealt(every, num_folds, seed)
    folds = by_fold(found, every)
    assert len(folds) == num_folds
    for label in counts:
        shares = [fold[label] for fold in folds]
        assert max(shares) - min(shares) <= 1, label
    sizes = [fold.total() for fold in folds]
    assert max(sizes) - min(sizes) <= 1


@settings(max_examples=40)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 12)), min_size=30, max_size=60), st.integers(2, 6))
def test_groups_of_one_class_differ_by_the_largest_of_the_class_at_most(
    sizes: list[tuple[str, int]], num_folds: int
) -> None:
    sizes += [(label, 1) for label in "abc" for _ in range(2)]
    every = [
        Example(Path(f"{label}{number}-{shot}"), label, f"{label}{number}")
        for number, (label, size) in enumerate(sizes)
        for shot in range(size)
    ]
    folds = by_fold(dealt(every, num_folds, 0), every)
    for label in "abc":
        shares = [fold[label] for fold in folds]
        assert max(shares) - min(shares) <= max(size for name, size in sizes if name == label)


def test_the_order_of_the_files_does_not_matter_and_the_seed_does() -> None:
    every = examples(cat=30, dog=20)
    found = dealt(every, 5, 3)
    random.Random(0).shuffle(every)
    assert dealt(every, 5, 3) == found
    assert dealt(every, 5, 4) != found


def test_each_example_validates_once_and_no_group_is_torn() -> None:
    """Frames with objects of several classes."""
    rng = random.Random(1)
    every = [
        Example(Path(f"{frame}.png"), rng.choice(["car", "van", "van", "bus"]), f"frame{frame}", (number, 0, 9, 9))
        for frame in range(40)
        for number in range(rng.randrange(1, 9))
    ]
    sides = [Fold(num_folds=4, number=number, seed=0).divide(every) for number in range(1, 5)]
    assert Counter(one for _, held_out in sides for one in held_out) == Counter(every)
    for training, held_out in sides:
        assert len(training) + len(held_out) == len(every)
        assert {one.group for one in training}.isdisjoint(one.group for one in held_out)
    totals = Counter(one.label for one in every)
    for label, total in totals.items():
        shares = [sum(one.label == label for one in held_out) / total for _, held_out in sides]
        assert all(0.15 < share < 0.35 for share in shares), (label, shares)


@pytest.mark.parametrize(
    ("every", "num_folds", "said"),
    [
        (
            examples(cat=2, dog=1),
            5,
            "5 folds need as many groups of images, and the data has 3 (dataset_config.group_pattern",
        ),
        (
            [*examples(cat=9), *[Example(Path(f"dog/{number}.png"), "dog", "litter") for number in range(5)]],
            3,
            "class 'dog' is in one group of images only (litter), so that one fold would be trained without it; add",
        ),
    ],
)
def test_what_can_not_be_dealt_out_is_refused(every: list[Example], num_folds: int, said: str) -> None:
    with pytest.raises(DataError) as caught:
        dealt(every, num_folds, 0)
    assert str(caught.value).startswith(f"dataset_config.fold: {said}")


def test_a_class_with_fewer_images_than_folds_is_never_missing_in_training() -> None:
    every = examples(cat=50, dog=2)
    for number in range(1, 6):
        training, _ = Fold(num_folds=5, number=number, seed=0).divide(every)
        assert {one.label for one in training} == {"cat", "dog"}


def experiment(text: str) -> pb.Experiment:
    return text_format.Parse(text, pb.Experiment())


def test_training_evaluation_and_the_dataset_commands_hold_out_the_same_fold(tmp_path: Path) -> None:
    root = folder(tmp_path / "data", cat=10, dog=10)
    held_out = set[str]()
    for number in (1, 2):
        fold = f"fold {{ num_folds: 2 number: {number} }}"
        ours = experiment(f'train_config {{ train_dataset_path: "{root}" }} dataset_config {{ {fold} }}')
        training, validation = splits(ours, None)
        assert len(training.examples) == len(validation.examples) == 10
        assert evaluation(ours, None).examples == validation.examples
        sides = sources.sides(ours, sources.of_spec(ours))
        assert sides["val"] == validation.examples
        assert held_out.isdisjoint(one.group for one in validation.examples)
        held_out |= {one.group for one in validation.examples}
    assert len(held_out) == 20


def test_what_a_manifest_says_of_validation_is_left_out(tmp_path: Path) -> None:
    root = folder(tmp_path / "data", cat=6, dog=6)
    rows = [
        f"{path.relative_to(tmp_path)},{path.parent.name},{'val' if path.stem == '0' else 'train'}"
        for path in sorted(root.rglob("*.*"))
    ]
    table = tmp_path / "table.csv"
    table.write_text("\n".join(["path,label,split", *rows]) + "\n")
    ours = experiment(f'train_config {{ train_dataset_path: "{table}" }} dataset_config {{ fold {{ num_folds: 2 }} }}')
    assert asked.validation_path(ours) == ""
    training, validation = splits(ours, None)
    names = {one.path.name for side in (training, validation) for one in side.examples}
    assert len(training.examples) + len(validation.examples) == 10
    assert not any(name.startswith("0.") for name in names)


def test_a_share_beside_a_fold_has_no_effect() -> None:
    ours = experiment("dataset_config { val_split: 0.3 fold { num_folds: 3 } }")
    said = [one.text for one in rules.warnings(ours, "train") if one.path == "dataset_config.val_split"]
    assert said == ["has no effect: dataset_config.fold says what validates"]


def test_a_fold_that_is_not_there_and_a_validation_set_beside_it_are_refused() -> None:
    ours = experiment('train_config { val_dataset_path: "val" } dataset_config { fold { num_folds: 3 number: 4 } }')
    said = {(one.path, one.text) for one in rules.violations(ours, {}, "evaluate") if ".fold" in one.path}
    assert said == {
        (
            "dataset_config.fold",
            "found beside train_config.val_dataset_path, in whose place it validates; leave one out",
        ),
        ("dataset_config.fold.number", "found 4, must be <= num_folds, 3"),
    }


def test_images_of_several_tasks_are_dealt_out_by_the_classes_of_each() -> None:
    every = [
        Example(Path(f"{number}.png"), "", str(number), labels=(f"color/{color}", f"size/{number % 2}"))
        for number, color in enumerate(["red"] * 12 + ["blue"] * 8)
    ]
    for number in range(1, 5):
        _, held_out = Fold(num_folds=4, number=number, seed=0).divide(every)
        classes = Counter(label for one in held_out for label in one.classes)
        assert (classes["color/red"], classes["color/blue"]) == (3, 2)
        assert {classes["size/0"], classes["size/1"]} == {2, 3}
