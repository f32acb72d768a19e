"""The features of a linear probe train its head as the images would."""

from pathlib import Path

import torch

from tao_lite.stages.train.probe import Features


def test_weights_go_with_their_images() -> None:
    labels = torch.arange(10)
    features = Features(
        class_names=tuple("abcdefghij"),
        values=labels[:, None].float(),
        labels=labels,
        weights=1 + labels / 10,
        paths=tuple(Path(f"{number}.png") for number in range(10)),
        batch_size=4,
        num_batches=3,
        num_together=4,
        seed=7,
    )
    for batch in features.epoch(0):
        assert batch.weights is not None
        assert torch.equal(batch.weights, 1 + batch.labels / 10)
        assert torch.equal(batch.images[:, 0], batch.labels.float())
