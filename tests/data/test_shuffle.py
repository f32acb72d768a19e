"""The order of shards: each image once, few shards at a time, other neighbours each epoch."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tao_lite.data.draws import by_shards
from tao_lite.data.example import Example, Span
from tao_lite.data.examples import Examples
from tao_lite.data.remote.ahead import peak_bytes, plan
from tao_lite.data.sampler import Sampler


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=20), st.integers(1, 6), st.integers(0, 3))
def test_each_image_comes_once_and_no_more_shards_than_the_window(sizes: list[int], window: int, epoch: int) -> None:
    shards = np.repeat(np.arange(len(sizes)), sizes)
    order = by_shards(shards, window, seed=1, epoch=epoch)
    assert sorted(order.tolist()) == list(range(len(shards)))
    found = plan(shards[order])
    in_use = [((found.first <= place) & (found.last >= place)).sum() for place in range(len(shards))]
    assert max(in_use) <= window
    assert peak_bytes(found, np.ones(len(sizes), np.int64)) == max(in_use)


def test_epochs_and_seeds_have_orders_of_their_own_and_a_window_mixes() -> None:
    shards = np.repeat(np.arange(40), 25)
    orders = [by_shards(shards, 8, seed, epoch) for seed, epoch in ((1, 0), (1, 1), (2, 0))]
    assert len({order.tobytes() for order in orders}) == 3
    batches = shards[orders[0]].reshape(-1, 50)
    # At the ends, half a window is in use.
    assert np.median([len(set(batch.tolist())) for batch in batches]) >= 7
    assert min(len(set(batch.tolist())) for batch in batches) >= 4


def test_examples_know_the_files_that_they_are_spans_of() -> None:
    spans = [Span(Path(f"/data/{name}"), 7 * number, 7) for number, name in enumerate("bab")]
    pictures = [Example(Path(f"{span.file}#{span.offset}"), "cat", str(span.offset), span=span) for span in spans]
    examples = Examples.of([pictures[0], Example(Path("/data/x.png"), "cat", "x"), *pictures[1:]], "/data/")
    numbers, files = examples.files()
    assert numbers.tolist() == [0, -1, 1, 0]
    assert files == [Path("/data/b"), Path("/data/a")]
    numbers, files = examples.where(np.array([2, 3])).files()
    assert (numbers.tolist(), files) == ([0, 1], [Path("/data/a"), Path("/data/b")])
    assert examples.where(np.array([1])).files()[0].tolist() == [-1]


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_an_epoch_is_taken_up_with_what_was_not_done(processes: int) -> None:
    """The order is that of the run, whoever computes it."""
    shards = np.repeat(np.arange(10), 9)

    def sampler(rank: int) -> Sampler:
        return Sampler(
            num_examples=90, batch_size=3, seed=5, training=True, shards=shards, window=3, rank=rank,
            world_size=processes, begun_with=1,
        )  # fmt: skip

    before = [pick for pick in Sampler(
        num_examples=90, batch_size=3, seed=5, training=True, shards=shards, window=3
    ).batches(0) if pick.done <= 30]  # fmt: skip
    done = [index for pick in before for index in pick.indices.tolist()]
    after = [i for rank in range(processes) for pick in sampler(rank).batches(0, 30) for i in pick.indices.tolist()]
    assert len(done) == 30
    assert len(set(done)) == 30
    assert not set(done) & set(after)
    assert len(after) == len(set(after))
    if processes != 2:  # a step of 3 can't be shared by two
        assert len(after) == 60
