"""Calibration against cases that are worked out by hand."""

import math

import pytest
import torch
from torch import Tensor

from tao_lite.metrics import calibration
from tao_lite.metrics.calibration import Reliability, Sample, best_temperature, measure


def logits_of(probabilities: list[float]) -> Tensor:
    """Of two classes, the first with these probabilities."""
    first = torch.tensor(probabilities, dtype=torch.float64)
    return torch.stack([first, 1 - first], dim=1).log()


def overconfident(count: int, factor: float) -> tuple[Tensor, Tensor]:
    """Logits, `factor` times too large, of labels that were drawn from their softmax."""
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(count, 4, generator=generator)
    labels = torch.multinomial(logits.softmax(dim=1), 1, generator=generator)[:, 0]
    return factor * logits, labels


def test_the_calibration_error_is_the_mean_gap_between_probability_and_share_of_right_answers() -> None:
    # Four answers with 0.9, three right, and two with 0.6, both wrong: 4/6 * |0.9 - 0.75| + 2/6 * |0.6 - 0|.
    found = measure(logits_of([0.9] * 4 + [0.6] * 2), torch.tensor([0, 0, 0, 1, 1, 1]))
    assert found.ece == pytest.approx(4 / 6 * 0.15 + 2 / 6 * 0.6)
    assert found.nll == pytest.approx(-(3 * math.log(0.9) + math.log(0.1) + 2 * math.log(0.4)) / 6)
    filled = [(round(one.upper * 15), one.count, one.accuracy) for one in found.bins if one.count]
    assert filled == [(9, 2, 0.0), (14, 4, 0.75)]
    assert [one.confidence for one in found.bins if one.count] == pytest.approx([0.6, 0.9])


def test_a_probability_on_an_edge_belongs_to_the_bin_below() -> None:
    logits = torch.tensor([[0.0, -math.inf]]).clamp(min=-1e9)  # exactly 1, the upper edge of the last bin
    (last,) = (one for one in measure(logits, torch.tensor([0])).bins if one.count)
    assert last.upper == 1.0
    third = measure(torch.zeros(1, 3), torch.tensor([0])).bins[4]  # 1/3 is 5/15, the edge of the fifth and sixth
    assert (third.count, third.accuracy) == (1, 1.0)


def test_batches_add_up_and_images_without_finite_logits_are_left_out() -> None:
    logits, labels = overconfident(100, 1.0)
    broken = torch.cat([logits, torch.full((1, 4), math.nan)])
    reliability = Reliability(torch.device("cpu"))
    for part in (slice(0, 33), slice(33, 101)):
        reliability.add(broken[part], torch.cat([labels, torch.tensor([0])])[part])
    whole, parts = measure(logits, labels), reliability.result()
    assert parts.num_images == 100
    assert (parts.ece, parts.nll) == pytest.approx((whole.ece, whole.nll))


def test_no_image_has_no_calibration() -> None:
    found = Reliability(torch.device("cpu")).result()
    assert (found.num_images, math.isnan(found.ece), math.isnan(found.nll)) == (0, True, True)


@pytest.mark.parametrize(("margin", "hits", "misses"), [(3.0, 3, 1), (0.2, 9, 1), (2.0, 5, 4)])
def test_the_temperature_of_a_single_margin_has_a_formula(margin: float, hits: int, misses: int) -> None:
    # The likelihood is greatest where the probability is the share of right answers: margin / T = ln(hits / misses).
    logits = torch.tensor([[margin, 0.0]]).repeat(hits + misses, 1)
    labels = torch.tensor([0] * hits + [1] * misses)
    temperature = best_temperature(logits, labels)
    assert temperature == pytest.approx(margin / math.log(hits / misses), rel=1e-6)
    assert measure(logits, labels, temperature).ece == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("factor", [0.3, 1.0, 4.0])
def test_no_temperature_nearby_is_better(factor: float) -> None:
    logits, labels = overconfident(2000, factor)
    temperature = best_temperature(logits, labels)
    least = measure(logits, labels, temperature).nll
    assert least < min(measure(logits, labels, temperature * near).nll for near in (0.999, 1.001))
    # The labels were drawn at a temperature of 1, so what was multiplied is found again.
    assert temperature == pytest.approx(factor, rel=0.1)
    assert measure(logits, labels, temperature).ece < 0.04


def test_the_temperature_stays_in_its_bounds() -> None:
    logits = torch.tensor([[3.0, 0.0], [0.0, 2.0]])
    # Where all are right, the slope is lost in rounding just before the end is reached.
    assert best_temperature(logits, torch.tensor([0, 1])) == pytest.approx(1 / calibration.MAX_TEMPERATURE, rel=0.1)
    assert best_temperature(logits, torch.tensor([1, 0])) == pytest.approx(calibration.MAX_TEMPERATURE)
    assert best_temperature(torch.zeros(3, 2), torch.tensor([0, 1, 1])) == 1.0


def test_a_sample_is_whole_while_small_and_evenly_spaced_where_not() -> None:
    sample = Sample(max_numbers=2 * 40)
    for start in range(0, 300, 7):
        places = torch.arange(start, min(start + 7, 300))
        sample.add(torch.stack([places, places], dim=1), places)
        if start + 7 <= 40:
            assert sample.result()[1].tolist() == list(range(start + 7))
    logits, labels = sample.result()
    assert labels.tolist() == list(range(0, 300, 8))
    assert torch.equal(logits[:, 0].long(), labels)
