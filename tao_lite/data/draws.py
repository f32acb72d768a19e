"""Random numbers as functions: order and augmentation follow from (seed, epoch, index) and from nothing else.

No state is kept, so an interrupted epoch goes on with the same numbers, whatever the number of threads and processes.
"""

import numpy as np
import numpy.typing as npt

# Columns of `uniforms`: what each random number of an example decides. New ones go to the end: the others must stay.
FLIP, HUE, SATURATION, CONTRAST, MIXUP, CROP_SCALE, CROP_LEFT, CROP_TOP = range(8)
MIX_CHOICE, CUTMIX, CUTMIX_LEFT, CUTMIX_TOP = range(8, 12)
ERASE, ERASE_AREA, ERASE_ASPECT, ERASE_LEFT, ERASE_TOP = range(12, 17)
OPERATIONS, SIGNS = range(17, 21), range(21, 25)  # of RandAugment, one for each of an image's operations
VERTICAL_FLIP, ROTATE, ANGLE, BRIGHTNESS, BLUR, RADIUS, CROP_ASPECT = range(25, 32)
NUM_DRAWS = 32

# Step between the states of the SplitMix64 generator: 2**64 divided by the golden ratio, made odd.
_STEP = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1

Bits = npt.NDArray[np.uint64]


def uniforms(seed: int, epoch: int, indices: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.float64]:
    """`count` independent numbers, uniform in [0, 1), for each example; float64 [N, count]."""
    # Number 0 of an example is its place in the permutation.
    bits = _member(_example_bits(seed, epoch, indices)[:, None], np.arange(1, count + 1, dtype=np.uint64))
    return _share(bits)


def permutation(seed: int, epoch: int, n: int) -> npt.NDArray[np.int64]:
    """The numbers 0 .. n - 1 in the order of the epoch; int64 [n]."""
    # SplitMix64's output function is one-to-one, so no two examples share a sort key.
    keys = _member(_example_bits(seed, epoch, np.arange(n)), np.zeros(1, np.uint64))
    return np.argsort(keys).astype(np.int64, copy=False)


def balanced(labels: npt.NDArray[np.int64], seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """Indices of as many examples as there are labels, each class as often as any other, up to one; int64 [N].

    A class with few examples gives each of them several times, one with many gives other ones in each epoch.
    """
    shuffled = permutation(seed, epoch, len(labels))
    of_class = [shuffled[labels[shuffled] == label] for label in np.unique(labels)]
    # By turns: the first of each class, the second of each, ...; then shuffled, so that batches differ.
    turns = np.arange(-(-len(labels) // len(of_class)))
    by_turns = np.stack([members[turns % len(members)] for members in of_class], axis=1).ravel()[: len(labels)]
    return by_turns[permutation(seed + 1, epoch, len(labels))]


def by_shards(shards: npt.NDArray[np.int64], window: int, seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """Indices of all examples in an order in which few shards are in use at a time; int64 [N].

    `shards` has the shard of each example, by number from 0. Shards come in an order of their own, and the images of
    each lie anywhere between those of the (window - 1) / 2 shards before it and after it. So at most `window` are in
    use, and at the ends about half as many.
    """
    count = int(shards.max(initial=-1)) + 1
    rank = np.empty(count, np.int64)
    rank[permutation(seed + 1, epoch, count)] = np.arange(count)
    place, reach = rank[shards], (window - 1) / 2
    start, end = np.maximum(place - reach, 0), np.minimum(place + 1 + reach, count)
    # As `permutation`, of number 0: the others decide about augmentation.
    share = _share(_member(_example_bits(seed, epoch, np.arange(len(shards))), np.zeros(1, np.uint64)))
    return np.argsort(start + (end - start) * share, kind="stable").astype(np.int64, copy=False)


def _example_bits(seed: int, epoch: int, indices: npt.NDArray[np.int64]) -> Bits:
    """64 bits for each example: seed, epoch and index in turn choose a member of the stream of the one before."""
    of_seed = _member(np.array([seed & _MASK], np.uint64), np.zeros(1, np.uint64))
    of_epoch = _member(of_seed, np.array([epoch], np.uint64))
    return _member(of_epoch, np.asarray(indices).astype(np.uint64))


def _share(bits: Bits) -> npt.NDArray[np.float64]:
    """Numbers in [0, 1)."""
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _member(start: Bits, number: Bits) -> Bits:
    """Member `number` of the SplitMix64 stream that starts at `start`; the arithmetic wraps at 2**64.

    Source: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014, mixer variant 13.
    """
    z: Bits = start + (number + np.uint64(1)) * np.uint64(_STEP)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
