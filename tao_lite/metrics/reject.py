"""From which score on an answer is given, so that of those given few are wrong; and how good a score is at that.

Everything here is about scores, float64 [N], the higher the surer, and whether the answers were wrong, bool [N]. A
threshold accepts the scores that are not below it.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from tao_lite.metrics.intervals import at_most, clopper_pearson

CONFIDENCE = 0.95
"""Probability with which a promise holds, over the draw of the images that it was fitted to."""
EVERY = 4
"""Of the images, every fourth sets what is tried (thresholds, a temperature); the others test it."""

_STEPS = 10  # thresholds that are tried
_PROMISING = 3
_FIRST_SHARE = 0.5  # of the probability of error, for the strictest threshold; the promising ones share the rest


@dataclass(frozen=True, slots=True)
class Accepted:
    """What a threshold did to images: how many there were, were accepted, and of these were wrong."""

    num_images: int
    num_accepted: int
    num_wrong: int

    @classmethod
    def by(cls, is_accepted: Tensor, is_wrong: Tensor) -> "Accepted":
        """Of bool [N] each."""
        return cls(len(is_wrong), int(is_accepted.sum()), int((is_accepted & is_wrong).sum()))

    @property
    def coverage(self) -> float:
        """Share of images that are accepted."""
        return self.num_accepted / max(self.num_images, 1)

    @property
    def error(self) -> float:
        """Share of the accepted that is wrong, 0 if none is accepted."""
        return self.num_wrong / max(self.num_accepted, 1)

    @property
    def interval(self) -> tuple[float, float]:
        """Ends of the exact 95 % interval of `error`."""
        return clopper_pearson(self.num_wrong, self.num_accepted) if self.num_accepted else (0.0, 1.0)


@dataclass(frozen=True, slots=True)
class Point:
    """A point of the risk-coverage curve: accepting scores from the threshold on."""

    coverage: float
    error: float
    threshold: float


def is_setting(num_images: int) -> Tensor:
    """Which images set what is tried, by their place alone: bool [num_images]."""
    return torch.arange(num_images) % EVERY == 0


def images_needed(max_error: float) -> int:
    """Images below which no threshold can be shown to keep max_error, even if none were wrong."""
    return math.ceil(_least(max_error) * EVERY / (EVERY - 1)) + 1


def for_error(scores: Tensor, is_wrong: Tensor, max_error: float) -> float | None:
    """The lowest threshold whose accepted answers are wrong at a rate of max_error (in (0, 1)) at most.

    With CONFIDENCE that is so of all images like these, not of these alone. None where no threshold can be shown to be.

    A quarter of the images sets thresholds, from strict to lenient, and says which are promising; on the others,
    which that leaves independent, each is tested by the binomial distribution. The probability of error is dealt out
    beforehand; what a threshold that passes had goes on to the next (the fallback procedure: B. L. Wiens,
    Pharmaceutical Statistics 2 (2003); tests in such an order for promises: Angelopoulos et al., Learn then Test,
    arXiv:2110.01052). The most lenient one is the lowest score of the quarter, so that what is stranger than all of
    them is rejected even by a perfect classifier.
    """
    setting = is_setting(len(scores))
    tested, wrong = scores[~setting], is_wrong[~setting]
    shares = _thresholds(scores[setting])
    tried = [threshold for share, threshold in shares if share * len(tested) >= _least(max_error)]
    if not tried:
        return None
    hoped = [_chance(scores[setting] >= one, is_wrong[setting], max_error, EVERY - 1) for one in tried]
    promising = [tried[place] for place in sorted(range(len(tried)), key=hoped.__getitem__)[:_PROMISING]]
    found, level = None, 0.0
    for threshold in tried:
        share = _FIRST_SHARE * (threshold == tried[0]) + (1 - _FIRST_SHARE) / len(promising) * (threshold in promising)
        level += (1 - CONFIDENCE) * share
        if _chance(tested >= threshold, wrong, max_error) <= level:
            found = threshold
        else:
            level = 0.0
    return found


def least_error(scores: Tensor, is_wrong: Tensor) -> float | None:
    """The least whole percentage, as a share, that `for_error` finds a threshold for."""
    shares = (percent / 100 for percent in range(1, 100))
    return next((share for share in shares if for_error(scores, is_wrong, share) is not None), None)


def for_coverage(scores: Tensor, coverage: float) -> float:
    """The highest threshold that accepts at least that share, in (0, 1], of the scores."""
    ordered = scores.sort(descending=True).values
    return _below(ordered, math.ceil(coverage * len(scores)) - 1)


def curve(scores: Tensor, is_wrong: Tensor) -> Iterator[Point]:
    """Coverage and error from strict to lenient, at 100 thresholds at most. Geifman and El-Yaniv, arXiv:1705.08500."""
    order = scores.argsort(descending=True, stable=True)
    errors = is_wrong[order].double().cumsum(0)
    places = sorted({math.ceil(len(scores) * step / 100) for step in range(1, 101)})
    for place in places:
        yield Point(place / len(scores), errors[place - 1].item() / place, scores[order[place - 1]].item())


def auroc(known: Tensor, outliers: Tensor) -> float:
    """Probability that an image of a known class has a higher score than an outlier; a tie counts half."""
    ordered = outliers.sort().values
    below, not_above = (torch.searchsorted(ordered, known, right=right) for right in (False, True))
    return float((below + not_above).double().mean() / (2 * len(outliers)))


def _least(max_error: float) -> int:
    """How many have to be accepted, none of them wrong, for the strictest threshold to pass."""
    return math.ceil(math.log((1 - CONFIDENCE) * _FIRST_SHARE) / math.log1p(-max_error))


def _chance(is_accepted: Tensor, is_wrong: Tensor, max_error: float, times: int = 1) -> float:
    """Probability that no more of the accepted were wrong if max_error was the rate; each image counts so often."""
    accepted = Accepted.by(is_accepted, is_wrong)
    return at_most(times * accepted.num_wrong, times * accepted.num_accepted, max_error)


def _thresholds(scores: Tensor) -> list[tuple[float, float]]:
    """Shares of the scores, and the thresholds that accept them, strict to lenient."""
    ordered = scores.sort(descending=True).values
    places = sorted({math.ceil(len(scores) * step / _STEPS) for step in range(1, _STEPS + 1)})
    return [(place / len(scores), _below(ordered, place - 1)) for place in places]


def _below(ordered: Tensor, place: int) -> float:
    """Between the score at the place and the next lower one, so that rounding turns neither."""
    score = ordered[place].item()
    lower = ordered[ordered < score]
    return (score + lower[0].item()) / 2 if len(lower) else score
