"""Curves as characters and their axes."""

import pytest

from tao_lite.monitor import chart


def test_a_bar_is_as_high_as_its_share_of_the_highest() -> None:
    assert chart.sparkline([0, 1, 2, 3, 4, 5, 6, 7, 8]) == "▁▂▃▄▅▆▇██"
    assert chart.sparkline([0.5, 0.5]) == "██"
    assert chart.sparkline([0, 0]) == "▁▁"


@pytest.mark.parametrize(
    ("top", "expected"),
    [
        (0.1, [0, 0.02, 0.04, 0.06, 0.08, 0.1]),
        (0.006, [0, 0.002, 0.004, 0.006]),
        (12, [0, 2.5, 5, 7.5, 10, 12.5]),
        (80, [0, 20, 40, 60, 80]),
        (1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0, [0, 0.1]),
    ],
)
def test_an_axis_has_round_numbers_up_to_the_top(top: float, expected: list[float]) -> None:
    assert chart._ticks(top) == pytest.approx(expected)
