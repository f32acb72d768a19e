"""Examples dealt out to processes and batches."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tao_lite.data.draws import NUM_DRAWS, uniforms
from tao_lite.data.sampler import Sampler

EPOCH = 3
few = settings(max_examples=50, deadline=None)


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


@few
@given(dealings())
def test_what_remains_after_some_batches_is_what_the_others_hold(dealt: list[Sampler]) -> None:
    for sampler in dealt:
        for start in (0, len(sampler) // 2, len(sampler)):
            picks = list(sampler.batches(EPOCH, start))
            assert [pick.number for pick in picks] == list(range(start, len(sampler)))
            held = [index for pick in picks for index in pick.indices.tolist()]
            left = sampler.remaining(EPOCH, start).tolist()
            # In training an image that would be alone in its batch belongs to none.
            assert left[: len(held)] == held
            assert len(left) - len(held) < sampler.smallest_batch


@few
@given(dealings())
def test_a_batch_is_the_same_wherever_the_epoch_is_taken_up(dealt: list[Sampler]) -> None:
    for sampler in dealt:
        for whole in list(sampler.batches(EPOCH))[::4]:
            later = next(iter(sampler.batches(EPOCH, whole.number)))
            assert np.array_equal(later.indices, whole.indices)
            assert np.array_equal(later.draws, whole.draws)


@few
@given(dealings())
def test_what_remains_for_all_processes_is_the_end_of_one_order(dealt: list[Sampler]) -> None:
    """Their next batches by turns, an image of each process after the other, are the order of one process alone."""
    first = dealt[0]
    assume(first.num_examples % first.world_size == 0)
    alone = Sampler(
        num_examples=first.num_examples, batch_size=1, seed=1, training=first.training, classes=first.classes
    )
    for start in (0, len(first) // 2, len(first)):
        by_turns = np.stack([sampler.remaining(EPOCH, start) for sampler in dealt], axis=1).ravel()
        done = min(start * first.batch_size * first.world_size, first.num_examples)
        assert by_turns.tolist() == alone.remaining(EPOCH, done).tolist()


@pytest.mark.parametrize("rank", [0, 1])
def test_random_numbers_follow_from_the_example_alone(rank: int) -> None:
    sampler = Sampler(num_examples=12, batch_size=4, seed=1, training=True, rank=rank, world_size=2)
    for pick in sampler.batches(EPOCH):
        assert np.array_equal(pick.draws, uniforms(1, EPOCH, pick.indices, NUM_DRAWS))
