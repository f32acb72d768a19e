"""tf.train.Example by hand against protobuf, both ways, and against arbitrary bytes."""

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tao_lite.data.formats.tfrecord_example import encoded, features
from tests.data.records import EXAMPLE, Values, example

NUMBERS = st.lists(st.integers(-(2**63), 2**63 - 1), max_size=5)
FLOATS = st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=5)
VALUES = st.dictionaries(
    st.text(max_size=8), NUMBERS | FLOATS | st.lists(st.binary(max_size=9), min_size=1), max_size=6
)


@given(values=VALUES)
def test_what_protobuf_writes_is_read(values: Values) -> None:
    content = example(values)
    found = features(content)
    assert found.keys() == values.keys()
    for name, value in values.items():
        if value and isinstance(value[0], bytes):
            assert [content[start:end] for start, end in found[name].spans()] == value
        elif value and isinstance(value[0], float):
            assert found[name].floats() == value
        else:
            assert found[name].ints() == value


@given(values=VALUES)
def test_what_is_written_protobuf_reads(values: Values) -> None:
    assert EXAMPLE.FromString(encoded(values)).features == EXAMPLE.FromString(example(values)).features


@given(content=st.binary(max_size=60))
def test_arbitrary_bytes_are_features_or_a_value_error(content: bytes) -> None:
    try:
        for feature in features(content).values():
            for read in (feature.texts, feature.floats, feature.ints):
                with contextlib.suppress(ValueError):
                    read()
    except ValueError:
        pass


def test_lists_that_are_not_packed_are_read_too() -> None:
    """As protobuf 2 wrote them: each number a field of its own; wire types 0 and 5."""

    def wrapped(number: int, content: bytes) -> bytes:
        return bytes([number << 3 | 2, len(content)]) + content

    ints = wrapped(3, b"\x08\x05\x08\x07")
    floats = wrapped(2, b"".join(b"\x0d" + struct.pack("<f", value) for value in (1.5, -2.0)))
    content = wrapped(
        1,
        wrapped(1, wrapped(1, b"i") + wrapped(2, ints)) + wrapped(1, wrapped(1, b"f") + wrapped(2, floats)),
    )
    assert features(content)["i"].ints() == [5, 7]
    assert features(content)["f"].floats() == [1.5, -2.0]
    assert features(content)["i"].floats() == [5, 7]


def test_another_list_than_expected_is_an_error_that_says_so() -> None:
    found = features(example({"a": [b"x"], "b": [1], "c": [1.5], "d": []}))
    with pytest.raises(ValueError, match="holds bytes where whole numbers are expected"):
        found["a"].ints()
    with pytest.raises(ValueError, match="holds whole numbers where bytes are expected"):
        found["b"].texts()
    with pytest.raises(ValueError, match="holds bytes where floats are expected"):
        found["a"].floats()
    assert found["d"].texts() == []
    assert found["d"].floats() == []
