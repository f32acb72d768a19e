"""Wilson's interval against scipy's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from tao_lite.metrics.intervals import wilson


@given(count=st.integers(1, 100_000), data=st.data())
def test_the_interval_is_scipys(count: int, data: st.DataObject) -> None:
    hits = data.draw(st.integers(0, count))
    expected = binomtest(hits, count).proportion_ci(method="wilson")
    assert wilson(hits / count, count) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_all_and_none_end_where_shares_end() -> None:
    assert wilson(0, 10)[0] == 0
    assert wilson(1, 10)[1] == 1
