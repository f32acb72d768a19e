"""Training images that grow: which size an epoch has, and what its images are."""

from dataclasses import replace

import numpy as np
import pytest

from tao_lite.data.dataset import DataSet
from tao_lite.data.decode import decode
from tao_lite.data.geometry import Size, fixed, random_crop, resize, resize_crop, squeeze
from tao_lite.data.growth import Growth
from tao_lite.spec import classification_pb2 as pb
from tests.data.pictures import indices_of, make

SIZE, HALF = (16, 24), (16, 16)
GROWTH = Growth(SIZE, 0.5, 2)


@pytest.mark.parametrize(
    ("whole", "sides"),
    [
        ((224, 224), [96, 128, 160, 192, 224, 224]),  # 112, 140, 168, 196 in steps of 32
        ((64, 64), [32, 32, 48, 48, 64, 64]),
        ((100, 100), [48, 48, 64, 80, 100, 100]),  # 50, 62.5, 75, 87.5
        ((12, 12), [12, 12, 12, 12, 12, 12]),
    ],
)
def test_a_side_is_its_share_down_to_whole_steps(whole: Size, sides: list[int]) -> None:
    growth = Growth(whole, 0.5, 4)
    assert [growth.size(epoch)[0] for epoch in range(6)] == sides
    assert [height for height, _ in growth.sizes()] == sorted(set(sides))


def test_each_side_grows_by_its_own_steps() -> None:
    assert [Growth((64, 256), 0.25, 2.5).size(epoch) for epoch in range(4)] == [
        (16, 64),
        (32, 128),
        (48, 192),
        (64, 256),
    ]


def test_shares_are_those_that_are_written() -> None:
    """0.7 in 32 bits is less: 223.99 of 320."""
    config = pb.TrainConfig(n_epochs=10, progressive_resize=pb.ProgressiveResizeConfig(from_share=0.7, until=0.7))
    growth = Growth.of(config, (320, 320))
    assert growth
    assert (growth.size(0), growth.num_epochs) == ((224, 224), 7)


def test_crops_and_order_are_those_of_the_whole_size(pictures: DataSet) -> None:
    data = make(pictures)
    whole, small = (list(one.epoch(0)) for one in (data, replace(data, growth=GROWTH)))
    assert indices_of(small) == indices_of(whole)
    assert [batch.images.shape[2:] for batch in small] == [HALF] * len(whole)
    scale, left, top = whole[0].draws[0, 5:8].double().tolist()
    image = decode(small[0].paths[0], 3)
    box = random_crop((image.shape[0], image.shape[1]), SIZE, (scale, left, top, 0))
    expected = resize_crop(image, box, HALF, "bilinear")
    assert np.abs(small[0].images[0].permute(1, 2, 0).numpy().astype(int) - expected).max() <= 1


def test_what_is_kept_serves_every_size(pictures: DataSet) -> None:
    data = replace(make(pictures), geometry="squeeze", growth=GROWTH)
    first, last = next(iter(data.epoch(0))), next(iter(data.epoch(2)))
    for batch, size in ((first, HALF), (last, SIZE)):
        whole = fixed(decode(batch.paths[0], 3), "squeeze", SIZE, "bilinear", 0)
        expected = resize(whole, squeeze(SIZE, size), size, "bilinear")
        assert np.array_equal(batch.images[0].permute(1, 2, 0).numpy(), expected)
