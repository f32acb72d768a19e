"""Weak groups: a planted one is found, a strong one is not, and chance fools it no more often than it says."""

import numpy as np
import pytest

from tao_lite.metrics import groups
from tao_lite.metrics.groups import ALPHA, MIN_IMAGES, Column, Group, exact_test, find, measured, named
from tao_lite.metrics.intervals import wilson

CLASSES = ("car", "van", "tram")


def random_set(
    seed: int, number: int, share: float = 0.8
) -> tuple[list[Column], np.ndarray, np.ndarray, np.random.Generator]:
    """Columns of words and numbers, some without a value, labels, and what is right: none has to do with another."""
    rng = np.random.default_rng(seed)
    words = [str(word) if word < 4 else None for word in rng.integers(0, 5, number)]
    numbers = np.where(rng.random(number) < 0.1, np.nan, rng.normal(size=number))
    columns = [
        named("weather", words),
        measured("brightness", numbers),
        named("folder", [f"{i % 12}" for i in range(number)]),
    ]
    return columns, rng.integers(0, 3, number), rng.random(number) < share, rng


def weak(found: tuple[Group, ...]) -> list[tuple[str, str, str]]:
    return [(group.column, group.value, group.class_name) for group in found if group.is_weak]


def test_the_exact_test_is_fishers() -> None:
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(0)
    for _ in range(50):
        num_all = int(rng.integers(2, 400))
        all_wrong, num_images = int(rng.integers(0, num_all + 1)), int(rng.integers(1, num_all))
        lowest = max(0, num_images - (num_all - all_wrong))
        wrong = int(rng.integers(lowest, min(num_images, all_wrong) + 1))
        table = [[wrong, num_images - wrong], [all_wrong - wrong, num_all - num_images - all_wrong + wrong]]
        expected = stats.fisher_exact(table, alternative="greater").pvalue
        assert exact_test(wrong, num_images, all_wrong, num_all) == pytest.approx(expected, rel=1e-6)


def test_the_exact_test_holds_for_a_million_images() -> None:
    """Derived: of a draw of one image, the share of the wrong ones; of all wrong ones at once, one over the ways."""
    assert exact_test(1, 1, 250_000, 1_000_000) == pytest.approx(0.25, rel=1e-6)
    assert exact_test(2, 2, 2, 1_000_000) == pytest.approx(2 / (1e6 * (1e6 - 1)), rel=1e-4)
    assert exact_test(0, 500_000, 250_000, 1_000_000) == pytest.approx(1)


def test_a_planted_weak_group_is_found_and_a_strong_one_is_not() -> None:
    columns, labels, is_right, rng = random_set(0, 2000)
    night = columns[0].codes == 2
    is_right[night & (labels == 1)] = rng.random((night & (labels == 1)).sum()) < 0.3
    is_right[columns[0].codes == 3] = True
    found = find(columns, labels, CLASSES, is_right, np.ones(2000, np.bool_))
    assert weak(found)[0] == ("weather", "2", "van")
    assert {value for name, value, _ in weak(found) if name == "weather"} == {"2"}
    group = found[0]
    place = night & (labels == 1)
    assert (group.num_images, group.num_right) == (place.sum(), (place & is_right).sum())
    rest = (labels == 1) & (columns[0].codes >= 0) & ~night
    assert (group.num_rest, group.num_rest_right) == (rest.sum(), (rest & is_right).sum())
    assert group.wrong == tuple(np.flatnonzero(place & ~is_right)[: groups.MAX_WRONG])
    assert group.interval == wilson(group.accuracy, group.num_images)
    assert [one.p_value for one in found] == sorted(one.p_value for one in found)


def test_chance_alone_gives_false_alarms_no_more_often_than_is_said() -> None:
    """Of 100 sets in which nothing has to do with anything; each has some 80 groups."""
    alarms = uncorrected = 0
    for seed in range(100):
        columns, labels, is_right, _ = random_set(seed, 600)
        found = find(columns, labels, CLASSES, is_right, np.ones(600, np.bool_))
        assert len(found) > 60
        alarms += any(group.is_weak for group in found)
        uncorrected += any(group.p_value <= ALPHA for group in found)
    assert alarms <= 100 * ALPHA
    assert uncorrected > 70, "without the correction"


def test_images_that_were_not_read_and_groups_that_are_small_don_t_count() -> None:
    labels = np.zeros(60, np.int64)
    labels[30:] = 1
    words = ["a"] * 15 + ["b"] * (MIN_IMAGES - 1) + ["c"] * (60 - 15 - MIN_IMAGES + 1)
    is_right, is_read = np.arange(60) >= 15, np.arange(60) >= 5
    found = find([named("word", words)], labels, ("x", "y"), is_right, is_read)
    assert {(one.column, one.value, one.class_name): one.num_images for one in found} == {
        ("class", "x", ""): 25,
        ("class", "y", ""): 30,
        ("word", "a", "x"): 10,  # all of one class, so not once more for all classes
        ("word", "c", ""): 36,
    }
    assert weak(found)[0] == ("word", "a", "x")


def test_numbers_are_values_or_quarters() -> None:
    few = measured("occlusion", np.array([2, 0, np.nan, 1, 0.0]))
    assert (few.values, few.codes.tolist()) == (("0", "1", "2"), [2, 0, -1, 1, 0])
    many = measured("size", np.array([*range(100), np.nan]))
    assert many.values == ("0 to 24", "25 to 49", "50 to 74", "75 to 99")
    assert (np.bincount(many.codes[:-1]).tolist(), many.codes[-1]) == ([25] * 4, -1)
    # Most objects are not truncated at all: the others are a group of their own, whichever side they lie on.
    for sign in (1, -1):
        skewed = measured("truncation", sign * np.array([0.0] * 90 + [*np.linspace(0.1, 1, 10)]))
        assert sorted(np.bincount(skewed.codes)) == [10, 90]
        assert {"0", "-0"} & set(skewed.values)
    assert measured("none", np.full(3, np.nan)).values == ()
    assert named("word", ["b", None, "", "a"]).codes.tolist() == [1, -1, -1, 0]
