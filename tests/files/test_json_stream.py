"""Large JSON read piece by piece gives what json.loads gives, and says where it is broken."""

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tao_lite.errors import DataError
from tao_lite.files import json_stream, reading
from tao_lite.files.json_stream import items

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)


def problem(path: Path, text: str | bytes) -> str:
    """What is said of such a file, without its path."""
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(DataError) as caught:
        list(items(path, DataError))
    return str(caught.value).removeprefix(str(path))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("json") / "x.json"


@settings(max_examples=30)
@example(content={"a": -0.5e-7, "b": [1.25e9, True, "\u2028\ud83d"]}, part=1, indent=1)
@given(
    content=st.dictionaries(st.text(), st.lists(VALUES, min_size=1) | SCALARS, max_size=3),
    part=st.integers(1, 9),
    indent=st.sampled_from([None, 1]),
)
def test_parts_of_any_size_give_the_same_as_the_whole(
    path: Path, content: dict[str, Any], part: int, indent: int | None
) -> None:
    path.write_text(json.dumps(content, indent=indent))
    found: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "PART_BYTES", part)
        for member, number, value in items(path, DataError):
            if isinstance(content[member], list):
                assert len(found.setdefault(member, [])) == number
                found[member].append(value)
            else:
                found[member] = value
    assert found == content


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ":1:1: is not JSON that can be read (the file is cut off)"),
        ("[1]", ":1:1: is not JSON that can be read (found '[', must be {)"),
        ('{"a": [1,\n 2', ":2:3: is not JSON that can be read (the file is cut off)"),
        ('{"a": [{"b": "c', ":1:16: is not JSON that can be read (the file is cut off)"),
        ('{"a": [1 2]}', ":1:10: is not JSON that can be read (found '2', must be , or ])"),
        ('{"a": [\n\n{"b" 1, "long": "enough to be no end of a part"}]}', None),
        ('{"a": 1} x', ":1:10: is not JSON that can be read (something follows the object)"),
        ("{a: 1}", ':1:2: is not JSON that can be read (must be a name in "")'),
        ('{"a": [' + "9" * 5000 + "]}", None),
        (b'{"a":\n "\xff"}', ":2: byte 0xff is not UTF-8; save it as UTF-8"),
    ],
)
def test_place_of_what_is_wrong_is_said(tmp_path: Path, text: str | bytes, expected: str | None) -> None:
    said = problem(tmp_path / "x.json", text)
    if expected:
        assert said == expected
    else:
        assert "is not JSON that can be read (E" in said


def test_error_far_from_the_end_is_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "PART_BYTES", 64)
    path = tmp_path / "x.json"
    path.write_text('{"a": [{"b" 1}, ' + "0, " * 50 + "\n")
    with path.open("ab") as file:
        file.write(b"\xff" * 1000)  # would be another error
    with pytest.raises(DataError, match=r":1:13: is not JSON that can be read \(Expecting ':' delimiter\)"):
        list(items(path, DataError))


def test_item_too_large_to_hold_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_stream, "MAX_ITEM", 100)
    monkeypatch.setattr(reading, "PART_BYTES", 16)
    said = problem(tmp_path / "x.json", '{"a": ["' + "x" * 1000 + '"]}')
    assert said == ":1:8: is not JSON that can be read (an item of more than 100 characters; is it the right file?)"


def test_memory_is_that_of_a_part_not_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    with path.open("w") as file:
        file.write('{"a": [0')
        for _ in range(80):
            file.write(f', {{"segmentation": "{"x" * 120_000}"}}')
        file.write("]}")
    assert path.stat().st_size > 8 * reading.PART_BYTES
    tracemalloc.start()
    try:
        assert sum(1 for _ in items(path, DataError)) == 81
        assert tracemalloc.get_traced_memory()[1] < 6 * reading.PART_BYTES
    finally:
        tracemalloc.stop()
