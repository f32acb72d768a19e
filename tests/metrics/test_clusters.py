"""k-means finds clouds that lie apart, the same ones each time, and is at least as good as scikit-learn's."""

import pytest
import torch

from tao_lite.metrics.clusters import k_means


def test_clouds_that_lie_apart_are_the_clusters() -> None:
    generator = torch.Generator().manual_seed(1)
    owners = torch.randint(5, (400,), generator=generator)
    points = torch.eye(5)[owners] * 10 + torch.randn(400, 5, generator=generator) * 0.5
    found = k_means(points, 5)
    assert len({(owner, cluster) for owner, cluster in zip(owners.tolist(), found.tolist(), strict=True)}) == 5
    assert torch.equal(k_means(points, 5), found)
    assert len(set(k_means(points, 400).tolist())) == 400
    assert k_means(torch.zeros(7, 3), 4).shape == (7,)


def test_what_points_have_to_their_centres_is_near_that_of_scikit_learn() -> None:
    cluster = pytest.importorskip("sklearn.cluster")
    points = torch.randn(500, 4, generator=torch.Generator().manual_seed(0))
    found = k_means(points, 8)
    ours = sum(float((part - part.mean(dim=0)).square().sum()) for part in (points[found == one] for one in range(8)))
    theirs = cluster.KMeans(8, n_init=1, random_state=0).fit(points.numpy()).inertia_
    assert ours == pytest.approx(theirs, rel=0.1)
