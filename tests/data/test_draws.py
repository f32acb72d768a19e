"""Random numbers as functions of (seed, epoch, index)."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tao_lite.data import draws
from tao_lite.data.draws import NUM_DRAWS, _member, balanced, permutation, uniforms

N = 100_000
# A correlation of N independent pairs has deviation 1 / sqrt(N); five of them are never met by chance.
NIL = 5 / N**0.5


def plain_split_mix(state: int) -> int:
    """One output of SplitMix64 in whole numbers, as published."""
    z = state & (2**64 - 1)
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & (2**64 - 1)
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & (2**64 - 1)
    return z ^ (z >> 31)


def plain_uniform(seed: int, epoch: int, index: int, column: int) -> float:
    state = seed
    for number in (0, epoch, index, column + 1):
        state = plain_split_mix(state + (number + 1) * 0x9E3779B97F4A7C15)
    return (state >> 11) / 2**53


def test_the_stream_is_split_mix_64() -> None:
    # Outputs for seed 1234567 as in the reference implementation (Vigna) and on Rosetta Code.
    expected = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    assert _member(np.array([1234567], np.uint64), np.arange(5, dtype=np.uint64)).tolist() == expected


@given(
    st.integers(0, 2**64 - 1), st.integers(0, 10**6), st.lists(st.integers(0, 2**40), min_size=1), st.integers(1, 12)
)
def test_uniforms_equal_the_same_formula_in_whole_numbers(
    seed: int, epoch: int, indices: list[int], count: int
) -> None:
    expected = [[plain_uniform(seed, epoch, index, column) for column in range(count)] for index in indices]
    assert uniforms(seed, epoch, np.array(indices), count).tolist() == expected


def test_uniforms_never_change() -> None:
    # Golden: a change here changes every training run that was ever resumed or repeated.
    expected = [
        [0.8822995566615783, 0.8843715801171648, 0.34487230728611695],
        [0.761557145953954, 0.1728957339814403, 0.4055044801084853],
        [0.3121946752415017, 0.7562928749225499, 0.2796374145989321],
    ]
    assert uniforms(42, 3, np.array([0, 1, 1_000_000]), 3).tolist() == expected


def test_columns_never_move() -> None:
    # Golden, as above.
    first = (draws.FLIP, draws.HUE, draws.SATURATION, draws.CONTRAST, draws.MIXUP)
    assert (*first, draws.CROP_SCALE, draws.CROP_LEFT, draws.CROP_TOP) == tuple(range(8))
    mix = (draws.MIX_CHOICE, draws.CUTMIX, draws.CUTMIX_LEFT, draws.CUTMIX_TOP)
    box = (draws.ERASE, draws.ERASE_AREA, draws.ERASE_ASPECT, draws.ERASE_LEFT, draws.ERASE_TOP)
    assert (*mix, *box, *draws.OPERATIONS, *draws.SIGNS) == tuple(range(8, 25))


def test_permutations_never_change() -> None:
    # Golden, as above.
    assert permutation(42, 0, 10).tolist() == [5, 4, 1, 8, 3, 2, 0, 6, 9, 7]
    assert permutation(42, 1, 10).tolist() == [4, 0, 1, 9, 3, 5, 7, 2, 6, 8]


def test_an_example_has_the_same_numbers_whatever_it_is_asked_with() -> None:
    together = uniforms(7, 2, np.arange(100), 8)
    assert np.array_equal(uniforms(7, 2, np.array([57, 3]), 5), together[[57, 3], :5])


def test_uniforms_fill_the_unit_interval_evenly() -> None:
    values = uniforms(0, 0, np.arange(N), NUM_DRAWS)
    assert values.min() >= 0
    assert values.max() < 1
    # The mean of N uniforms has deviation sqrt(1/12 / N).
    assert np.abs(values.mean(0) - 0.5).max() < 5 * (1 / 12 / N) ** 0.5
    counts = np.stack([np.histogram(column, 100, (0, 1))[0] for column in values.T])
    chi_square = ((counts - N / 100) ** 2 / (N / 100)).sum(1)
    # 99 degrees of freedom: mean 99, deviation sqrt(198).
    assert np.abs(chi_square - 99).max() < 5 * 198**0.5


def test_columns_are_independent() -> None:
    correlations = np.corrcoef(uniforms(0, 0, np.arange(N), NUM_DRAWS).T)
    assert np.abs(correlations - np.eye(NUM_DRAWS)).max() < NIL


@pytest.mark.parametrize(
    ("seed", "epoch", "first"), [(0, 1, 0), (1, 0, 0), (2**32, 0, 0), (0, 0, 1), (0, 0, N), (0, 2**20, 0)]
)
def test_other_epochs_seeds_and_indices_are_independent(seed: int, epoch: int, first: int) -> None:
    here = uniforms(0, 0, np.arange(N), NUM_DRAWS)
    there = uniforms(seed, epoch, np.arange(first, first + N), NUM_DRAWS)
    correlations = np.corrcoef(here.T, there.T)[:NUM_DRAWS, NUM_DRAWS:]
    assert np.abs(correlations).max() < NIL


def test_the_numbers_of_an_example_are_independent_over_the_epochs() -> None:
    values = np.concatenate([uniforms(5, epoch, np.arange(50), 2) for epoch in range(2000)], axis=1)
    first, second = values[:, 0::2].ravel(), values[:, 1::2].ravel()
    assert abs(np.corrcoef(first, second)[0, 1]) < NIL
    assert abs(np.corrcoef(first[:-1], first[1:])[0, 1]) < NIL


@given(st.integers(0, 2**32), st.integers(0, 1000), st.integers(0, 2000))
def test_a_permutation_has_every_index_once(seed: int, epoch: int, n: int) -> None:
    order = permutation(seed, epoch, n)
    assert order.dtype == np.int64
    assert sorted(order.tolist()) == list(range(n))


def test_every_example_comes_everywhere_equally_often() -> None:
    orders = np.stack([permutation(11, epoch, 10) for epoch in range(10_000)])
    counts = np.stack([np.bincount(column, minlength=10) for column in orders.T])
    # Each count is binomial: 1000 on average, deviation sqrt(900).
    assert np.abs(counts - 1000).max() < 5 * 900**0.5


def test_the_place_in_the_epoch_says_nothing_about_the_augmentation() -> None:
    place = np.argsort(permutation(0, 0, N))
    values = uniforms(0, 0, np.arange(N), NUM_DRAWS)
    assert max(abs(np.corrcoef(place, column)[0, 1]) for column in values.T) < NIL


def test_a_balanced_epoch_has_each_class_equally_often_up_to_one() -> None:
    labels = np.repeat(np.array([0, 1, 2]), [70, 25, 5])
    order = balanced(labels, 7, 3)
    assert sorted(np.bincount(labels[order]).tolist()) == [33, 33, 34]
    # The five of class 2 come six or seven times each; of class 0 none comes twice.
    assert set(np.bincount(order, minlength=100)[95:].tolist()) <= {6, 7}
    assert np.bincount(order)[:70].max() == 1


def test_a_balanced_epoch_follows_from_seed_and_epoch_alone() -> None:
    labels = np.repeat(np.array([0, 1]), [30, 3])
    assert np.array_equal(balanced(labels, 1, 2), balanced(labels, 1, 2))
    assert not np.array_equal(balanced(labels, 1, 2), balanced(labels, 1, 3))
    assert not np.array_equal(balanced(labels, 1, 2), balanced(labels, 2, 2))
