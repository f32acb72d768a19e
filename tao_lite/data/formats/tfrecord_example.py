"""tf.train.Example: the named lists of bytes, floats or whole numbers in a record, in protobuf's wire format.

Read by hand, not by protobuf: this tells at which bytes of the file a picture is, and copies none.
Source: https://protobuf.dev/programming-guides/encoding, tensorflow/core/example/{example,feature}.proto
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

_VARINT, _EIGHT_BYTES, _DELIMITED, _FOUR_BYTES = 0, 1, 2, 5
# Numbers of the fields in Feature.
_BYTES, _FLOATS, _INTS = 1, 2, 3
_KINDS = {_BYTES: "bytes", _FLOATS: "floats", _INTS: "whole numbers"}

Value = Sequence[bytes] | Sequence[float] | Sequence[int]


@dataclass(frozen=True, slots=True)
class Feature:
    """One named list, found but not yet taken apart: `content` from start to end."""

    content: bytes
    kind: int
    start: int
    end: int

    def spans(self) -> list[tuple[int, int]]:
        """Start and end of each value of a list of bytes, in the content.

        Raises:
            ValueError: it is another list.
        """
        self._expect(_BYTES)
        return [(start, end) for number, _, start, end in self._values() if number == 1]

    def texts(self) -> list[str]:
        """The values of a list of bytes as text.

        Raises:
            ValueError: it is another list, or a value is no UTF-8.
        """
        return [self.content[start:end].decode() for start, end in self.spans()]

    def floats(self) -> list[float]:
        """The numbers of a list of floats, or of whole ones.

        Raises:
            ValueError: it is a list of bytes.
        """
        if self.kind == _INTS:
            return list(map(float, self.ints()))
        self._expect(_FLOATS)
        found: list[float] = []
        for _, _, start, end in self._values():
            if (end - start) % 4:
                raise ValueError("a list of floats is not of 4 bytes each")
            found += struct.unpack_from(f"<{(end - start) // 4}f", self.content, start)
        return found

    def ints(self) -> list[int]:
        """The values of a list of whole numbers.

        Raises:
            ValueError: it is another list.
        """
        self._expect(_INTS)
        found = []
        for _, _, start, end in self._values():
            position = start
            while position < end:
                value, position = _varint(self.content, position, end)
                found.append(value - 2**64 if value >= 2**63 else value)
        return found

    def _values(self) -> Iterator[tuple[int, int, int, int]]:
        return _fields(self.content, self.start, self.end)

    def _expect(self, kind: int) -> None:
        if self.kind != kind and self.start < self.end:
            raise ValueError(f"it holds {_KINDS.get(self.kind, 'something else')} where {_KINDS[kind]} are expected")


def features(content: bytes) -> dict[str, Feature]:
    """The features of an Example by name.

    Raises:
        ValueError: the content is no Example.
    """
    found = {}
    for number, _, start, end in _fields(content, 0, len(content)):
        if number != 1:
            continue
        for entry, _, entry_start, entry_end in _fields(content, start, end):
            if entry == 1:
                name, feature = _entry(content, entry_start, entry_end)
                found[name] = feature
    return found


def encoded(values: Mapping[str, Value]) -> bytes:
    """An Example with these features, by name."""
    entries = [
        _delimited(1, _delimited(1, name.encode()) + _delimited(2, _list(value)))
        for name, value in sorted(values.items())
    ]
    return _delimited(1, b"".join(entries))


def _entry(content: bytes, start: int, end: int) -> tuple[str, Feature]:
    name, feature = "", Feature(content, 0, 0, 0)
    for number, _, first, last in _fields(content, start, end):
        if number == 1:
            name = content[first:last].decode()
        elif number == 2:
            for kind, _, list_start, list_end in _fields(content, first, last):
                feature = Feature(content, kind, list_start, list_end)
    return name, feature


def _fields(content: bytes, position: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Number, wire type, start and end of each field between two positions.

    Raises:
        ValueError: a field does not end there, or is of a type that protobuf no longer has.
    """
    while position < end:
        tag, position = _varint(content, position, end)
        kind, start = tag & 7, position
        if kind == _VARINT:
            _, position = _varint(content, position, end)
        elif kind == _DELIMITED:
            length, start = _varint(content, position, end)
            position = start + length
        elif kind in {_EIGHT_BYTES, _FOUR_BYTES}:
            position += 8 if kind == _EIGHT_BYTES else 4
        else:
            raise ValueError(f"field of wire type {kind}")
        if position > end:
            raise ValueError("a field is longer than what holds it")
        yield tag >> 3, kind, start, position


def _varint(content: bytes, position: int, end: int) -> tuple[int, int]:
    """A number of up to 64 bits, seven in each byte, and the position after it."""
    if position < end and content[position] < 0x80:  # nearly all are: a third less time for a whole record
        return content[position], position + 1
    value = shift = 0
    for place in range(position, min(position + 10, end)):
        byte = content[place]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & (2**64 - 1), place + 1
        shift += 7
    raise ValueError("a number does not end")


def _list(values: Value) -> bytes:
    first = next(iter(values), 0)
    if isinstance(first, bytes):
        return _delimited(_BYTES, b"".join(_delimited(1, value) for value in values if isinstance(value, bytes)))
    if isinstance(first, float):
        return _delimited(_FLOATS, _delimited(1, struct.pack(f"<{len(values)}f", *values)))
    return _delimited(_INTS, _delimited(1, b"".join(_number(int(value)) for value in values)))


def _delimited(number: int, content: bytes) -> bytes:
    return _number(number << 3 | _DELIMITED) + _number(len(content)) + content


def _number(value: int) -> bytes:
    value &= 2**64 - 1
    groups = bytearray()
    while value >= 0x80:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    groups.append(value)
    return bytes(groups)
