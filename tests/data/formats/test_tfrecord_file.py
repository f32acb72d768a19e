"""Files of records: intact ones are read, each damage is named with its record, and no length is believed."""

import gzip
import struct
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tao_lite.data.formats.tfrecord_file import framed, is_record_file, records
from tao_lite.data.left_out import LeftOut
from tao_lite.errors import DataError
from tests.data.records import crc32c, masked, record

THREE = [b"first", b"", b"the third " * 50]


def read(path: Path, content: bytes) -> tuple[list[bytes], list[str]]:
    """The records in a file of this content, and what is reported, without its path."""
    path.write_bytes(content)
    report = LeftOut(is_logged=False)
    found = list(records(path, report))
    assert all(content[one.offset : one.offset + len(one.content)] == one.content for one in found)
    return [one.content for one in found], [
        f"{place.removeprefix(str(path))}: {problem}" for place, problem in report.problems
    ]


def test_checksum_is_castagnolis() -> None:
    assert crc32c(b"123456789") == 0xE3069283  # the check value of CRC-32C in RFC 3720 and elsewhere
    assert crc32c(bytes(32)) == 0x8A9136AA  # RFC 3720, B.4
    assert framed(b"hello") == record(b"hello")


def test_records_are_read_in_order_with_their_numbers_and_places(tmp_path: Path) -> None:
    path = tmp_path / "a.tfrecord"
    assert read(path, b"".join(map(record, THREE))) == (THREE, [])
    assert [(one.number, one.offset) for one in records(path, LeftOut())] == [(1, 12), (2, 33), (3, 49)]
    assert read(path, b"") == ([], [])


def test_wrong_content_costs_one_record(tmp_path: Path) -> None:
    content = bytearray(b"".join(map(record, THREE)))
    content[14] ^= 1
    found = read(tmp_path / "a", bytes(content))
    assert found == (THREE[1:], ["#1: damaged: the checksum of its content is wrong"])


def test_wrong_length_costs_the_rest_of_the_file(tmp_path: Path) -> None:
    content = bytearray(b"".join(map(record, THREE)))
    content[21] ^= 1
    assert read(tmp_path / "a", bytes(content)) == (
        THREE[:1],
        [("#2: damaged: the checksum of its length is wrong; left out with the 532 bytes from there to the end")],
    )


@pytest.mark.parametrize("length", [2**31, 2**40, 2**63, 2**64 - 1, 2**64 - 16])
def test_a_length_that_lies_takes_neither_memory_nor_time(tmp_path: Path, length: int) -> None:
    header = struct.pack("<Q", length)
    start = time.perf_counter()
    found, problems = read(tmp_path / "a", record(b"good") + header + masked(header) + bytes(100))
    assert found == [b"good"]
    assert problems == [
        (
            f"#2: cut off: the record is of {length:,} bytes, the file has 96 more; "
            "left out with the 112 bytes from there to the end"
        )
    ]
    assert time.perf_counter() - start < 1


def test_file_cut_off_anywhere_gives_its_whole_records(tmp_path: Path) -> None:
    content = b"".join(map(record, THREE[:2]))
    for end in range(1, len(content)):
        found, problems = read(tmp_path / "a", content[:end])
        assert found == (THREE[:1] if end >= 21 else [])
        assert len(problems) == (end != 21)
        assert all("cut off" in problem for problem in problems)


@settings(max_examples=200)
@given(bit=st.integers(0, 8 * 61 - 1))
def test_no_flipped_bit_gives_another_record(tmp_path_factory: pytest.TempPathFactory, bit: int) -> None:
    contents = [b"one", b"twenty" * 3]
    content = bytearray(b"".join(map(record, contents)))
    content[bit % (8 * len(content)) // 8] ^= 1 << bit % 8
    path = tmp_path_factory.getbasetemp() / "flipped"
    found, problems = read(path, bytes(content))
    assert set(found) < set(contents)
    assert problems


def test_compressed_file_is_named(tmp_path: Path) -> None:
    _, problems = read(tmp_path / "a", gzip.compress(record(b"hello")))
    assert problems[0].startswith("#1: compressed with gzip; unpack it first with gunzip; left out")


def test_missing_file_is_reported_and_ends_the_run_where_that_is_asked(tmp_path: Path) -> None:
    report = LeftOut(is_logged=False)
    assert list(records(tmp_path / "no", report)) == []
    assert report.problems == [(str(tmp_path / "no"), "no such file; check the path")]
    (tmp_path / "a").write_bytes(record(b"x")[:-1])
    with pytest.raises(DataError, match=r"a#1: cut off.*on_bad_example: SKIP"):
        list(records(tmp_path / "a", LeftOut(fail=True)))


def test_record_files_are_known_by_their_first_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(record(b"x"))
    (tmp_path / "b").write_bytes(b"\xff\xd8\xff\xe0" * 10)
    (tmp_path / "c").write_bytes(b"short")
    assert [is_record_file(tmp_path / name) for name in "abcd"] == [True, False, False, False]


@pytest.mark.timeout(10)
def test_a_million_empty_records_are_told_at_once(tmp_path: Path) -> None:
    """FIELD.md B3."""
    empty = record(b"")
    found, problems = read(tmp_path / "a", record(b"one") + empty * 10**6 + record(b"two") + empty)
    assert found == [b"one", b"", b"two", b""]
    assert problems == ["#2: is empty, as are the 999,999 records after it"]
    assert [one.number for one in records(tmp_path / "a", LeftOut())] == [1, 2, 10**6 + 2, 10**6 + 3]
