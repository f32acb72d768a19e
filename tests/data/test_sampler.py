"""Examples dealt out to processes and batches."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tao_lite.data.draws import NUM_DRAWS, uniforms
from tao_lite.data.sampler import Pick, Sampler
from tao_lite.data.split import split

EPOCH = 3
few = settings(max_examples=50)


@st.composite
def dealings(draw: st.DrawFn) -> list[Sampler]:
    """The samplers of all processes."""
    num_examples, world_size, training = draw(st.integers(0, 60)), draw(st.integers(1, 4)), draw(st.booleans())
    assume(not training or num_examples >= world_size)
    classes = np.arange(num_examples) % 7 % 3 if training and draw(st.booleans()) else None
    batch_size = draw(st.integers(1, 9))
    return [
        Sampler(
            num_examples=num_examples,
            batch_size=batch_size,
            seed=1,
            training=training,
            classes=classes,
            rank=rank,
            world_size=world_size,
        )
        for rank in range(world_size)
    ]


def indices(sampler: Sampler, done: int = 0) -> list[int]:
    return [index for pick in sampler.batches(EPOCH, done) for index in pick.indices.tolist()]


@few
@given(dealings())
def test_a_batch_is_the_same_wherever_the_epoch_is_taken_up(dealt: list[Sampler]) -> None:
    for sampler in dealt:
        picks = list(sampler.batches(EPOCH))
        assert [pick.number for pick in picks] == list(range(len(sampler)))
        for before, whole in pairwise(picks):
            later = next(iter(sampler.batches(EPOCH, before.done)))
            assert (later.number, later.done) == (whole.number, whole.done)
            assert np.array_equal(later.indices, whole.indices)
            assert np.array_equal(later.draws, whole.draws)


@few
@given(dealings())
def test_the_batches_of_all_processes_are_those_of_one_process_alone(dealt: list[Sampler]) -> None:
    first, together = dealt[0], dealt[0].batch_size * len(dealt)
    assume(first.num_examples % len(dealt) == 0)
    whole = indices(replace(first, batch_size=1, world_size=1))
    for picks in zip(*(sampler.batches(EPOCH) for sampler in dealt), strict=False):
        begin = picks[0].number * together
        assert {index for pick in picks for index in pick.indices.tolist()} == set(whole[begin : begin + together])


@st.composite
def runs(draw: st.DrawFn) -> tuple[Sampler, int, int]:
    """A process of a training, one of those that go on with it, how many they are, and after how many steps."""
    begun_with, world_size = draw(st.integers(1, 4)), draw(st.integers(1, 8))
    begun = Sampler(
        num_examples=draw(st.integers(40, 90)),
        batch_size=draw(st.integers(1, 9)),
        accumulation=draw(st.integers(1, 3)),
        seed=1,
        training=True,
        classes=np.arange(90) % 7 % 3 if draw(st.booleans()) else None,
        world_size=begun_with,
    )
    if begun.classes is not None:
        begun = replace(begun, num_examples=90)
    return begun, world_size, draw(st.integers(0, -(-len(begun) // begun.accumulation)))


def drawn(picks: list[Pick]) -> dict[bytes, int]:
    """Examples by their random numbers."""
    rows = (row for pick in picks for row in zip(pick.draws, pick.indices.tolist(), strict=True))
    return {numbers.tobytes(): index for numbers, index in rows}


@few
@given(runs())
def test_another_number_of_processes_goes_on_with_the_same_order_steps_and_random_numbers(
    run: tuple[Sampler, int, int],
) -> None:
    begun, world_size, num_steps = run
    before = [
        list(replace(begun, rank=rank).batches(EPOCH))[: num_steps * begun.accumulation]
        for rank in range(begun.world_size)
    ]
    done = before[0][-1].done if before[0] else 0
    resumed = [
        replace(begun, rank=rank, world_size=world_size, begun_with=begun.world_size) for rank in range(world_size)
    ]
    after = [list(sampler.batches(EPOCH, done)) for sampler in resumed]
    # All have as many batches, so that none waits for another.
    assert len({len(picks) for picks in after}) == 1
    assert all(len(pick.indices) >= begun.smallest_batch for picks in after for pick in picks)
    dealt = [pick for picks in before + after for pick in picks]
    draws = drawn(dealt)
    whole = [pick for rank in range(begun.world_size) for pick in replace(begun, rank=rank).batches(EPOCH)]
    expected = drawn(whole)
    # Once each, but for the last few where they are a step of their own that these processes can't share.
    assert draws.items() <= expected.items()
    assert sum(len(pick.indices) for pick in dealt) == len(draws)
    assert len(expected) - len(draws) < begun.smallest_batch * world_size
    split = resumed[0].split
    if split.step == begun.step:
        assert (len(expected) - done) // begun.step * split.accumulation <= len(after[0])
        assert done // begun.step * split.accumulation == resumed[0].number(done) or done == len(expected)
    else:
        assert begun.step < split.step == begun.smallest_batch * world_size


@few
@given(st.integers(1, 200), st.integers(1, 9), st.integers(1, 2), st.integers(2, 9))
def test_a_step_is_split_evenly_and_kept_unless_it_is_too_small(
    step: int, num_processes: int, smallest: int, largest: int
) -> None:
    found = split(step, num_processes=num_processes, smallest=smallest, largest=largest)
    assert found.batch >= smallest * num_processes
    assert found.step == max(step, smallest * num_processes)


@pytest.mark.parametrize("rank", [0, 1])
def test_random_numbers_follow_from_the_example_alone(rank: int) -> None:
    sampler = Sampler(num_examples=12, batch_size=4, seed=1, training=True, rank=rank, world_size=2)
    for pick in sampler.batches(EPOCH):
        assert np.array_equal(pick.draws, uniforms(1, EPOCH, pick.indices, NUM_DRAWS))
