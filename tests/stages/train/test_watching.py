"""Settings that a training shows."""

import pytest

from tao_lite.stages.train.watching import _number


@pytest.mark.parametrize(("text", "value"), [("1e-05", 1e-5), ('"resnet"', "resnet"), ("true", "true"), ('""', "")])
def test_settings_are_numbers_or_words(text: str, value: float | str) -> None:
    assert _number(text) == value
