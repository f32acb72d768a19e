"""Nearest neighbours and their votes, against plain loops."""

import math

import torch
from torch.nn import functional as F

from tao_lite.metrics.neighbours import Neighbours, nearest, vote


def test_the_nearest_are_those_with_the_largest_cosines() -> None:
    generator = torch.Generator().manual_seed(0)
    features, among = (torch.randn(count, 7, generator=generator) * 3 for count in (1100, 30))
    found = nearest(features, among, 4)
    for index in (0, 1023, 1024, 1099):
        cosines = F.cosine_similarity(features[index], among)
        order = cosines.argsort(descending=True)[:4]
        assert torch.equal(found.indices[index], order)
        torch.testing.assert_close(found.cosines[index], cosines[order])


def test_all_are_neighbours_where_there_are_few() -> None:
    assert nearest(torch.eye(2), torch.eye(2), 5).indices.tolist() == [[0, 1], [1, 0]]


def test_length_does_not_count() -> None:
    among = torch.tensor([[1.0, 1.0], [100.0, 0.0]])
    assert nearest(torch.tensor([[0.1, 0.09]]), among, 1).indices.tolist() == [[0]]


def test_a_close_neighbour_outvotes_two_distant_ones() -> None:
    labels = torch.tensor([0, 1, 1])
    # exp(0.9 / 0.07) against 2 exp(c / 0.07): even at c = 0.9 - 0.07 ln 2.
    even = 0.9 - 0.07 * math.log(2)
    for second, winner in ((even - 0.01, 0), (even + 0.01, 1)):
        neighbours = Neighbours(torch.tensor([[0, 1, 2]]), torch.tensor([[0.9, second, second]]))
        assert vote(neighbours, labels, 3).tolist() == [winner]
