"""WebDataset: what is read of shards, by the convention's names, and what is said of bad ones."""

import json
import logging
from itertools import chain
from pathlib import Path

import pytest

from tao_lite.data.convert import write_webdataset
from tao_lite.data.decode import picture_bytes
from tao_lite.data.example import Example, KittiOptions, Options
from tao_lite.data.formats import shard_index, table, webdataset
from tao_lite.data.frames import frames
from tao_lite.data.left_out import LeftOut
from tao_lite.errors import DataError
from tests.data.shards import picture, written

PNG = picture(0)


def read(root: Path, **options: object) -> list[Example]:
    return webdataset.read(root, Options(report=LeftOut(is_logged=False), **options))  # type: ignore[arg-type]


def left_out(root: Path) -> list[str]:
    """What is reported of the data set, beside one good sample."""
    report = LeftOut("it")
    told: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: told.append(record.getMessage())  # type: ignore[method-assign]
    log = logging.getLogger("tao_lite.data.left_out")
    log.addHandler(handler)
    try:
        assert [example.label for example in webdataset.read(root, Options(report=report))] == ["good"]
    finally:
        log.removeHandler(handler)
    return [line.replace(f"{root}/", "") for line in told]


def test_names_numbers_and_json_say_classes(tmp_path: Path) -> None:
    """The key ends at the first dot of the base name; what is no picture or label is passed over."""
    files = [
        *[("a/1.cls", b"1\n"), ("a/1.jpg", PNG), ("a/1.seg.png", PNG), ("a/1.txt", b"a caption")],
        *[("a/2.b.json", b"{}"), ("a/2.cls", b"cat"), ("a/2.webp", PNG)],
        *[("3.json", b'{"label": 0, "group": "one"}'), ("3.png", PNG)],
    ]
    written(tmp_path / "set/b.tar", files)
    written(tmp_path / "set/a.tar", [("1.PNG", PNG), ("1.cls", b"0")])
    (tmp_path / "classnames.txt").write_text("dog\ncat\n")
    found = read(tmp_path / "set")
    shards = tmp_path / "set"
    assert [(str(one.path.relative_to(shards)), one.label, one.group) for one in found] == [
        ("a.tar#1", "dog", "a.tar/1"),
        ("b.tar#a/1", "cat", "b.tar/a/1"),
        ("b.tar#a/2", "cat", "b.tar/a/2"),
        ("b.tar#3", "dog", "one"),
    ]
    assert {picture_bytes(one.path, one.span) for one in found} == {PNG}
    assert table.class_names(shards, "AUTO", Options(), {"cat", "dog"}) == ("dog", "cat")


def test_shards_are_recognised_unless_folders_lie_beside_them(tmp_path: Path) -> None:
    """A folder beside train.tar is most often what was unpacked from it."""
    written(tmp_path / "train.tar", [("1.png", PNG), ("1.cls", b"cat")])
    assert table.detect(tmp_path, Options()) == table.detect(tmp_path / "train.tar", Options()) == "WEBDATASET"
    assert len(read(tmp_path / "train.tar")) == 1
    (tmp_path / "cat").mkdir()
    assert table.detect(tmp_path, Options()) == "IMAGE_FOLDER"


def test_bad_samples_are_told_by_shard_and_key(tmp_path: Path) -> None:
    bad = {
        "two": [("two.png", PNG), ("two.jpg", PNG), ("two.cls", b"x")],
        "none": [("none.cls", b"x")],
        "empty": [("empty.png", b""), ("empty.cls", b"x")],
        "text": [("text.png", PNG), ("text.json", b"{")],
        "many": [("many.png", PNG), ("many.json", b'{"label": [1]}')],
        "blank": [("blank.png", PNG), ("blank.cls", b" ")],
    }
    written(tmp_path / "s.tar", [("good.png", PNG), ("good.cls", b"good"), *chain.from_iterable(bad.values())])
    told = left_out(tmp_path)
    for key, words in {
        "two": "holds 2 pictures, must be one",
        "none": "holds 0 pictures, must be one",
        "empty": "its picture is empty",
        "text": "its .json can't be read",
        "many": "its label is [1], must be a class's name or number",
        "blank": "the name of its class is ''",
    }.items():
        assert [line for line in told if line.startswith(f"s.tar#{key}: ") and words in line], (key, told)


@pytest.mark.parametrize("kept", [0.4, 0.7])
def test_a_shard_that_is_cut_off_keeps_what_is_whole(tmp_path: Path, kept: float) -> None:
    whole = written(
        tmp_path / "s.tar", [("1.cls", b"good"), ("1.png", PNG), ("2.cls", b"x"), ("2.png", picture(1, 64))]
    )
    content = whole.read_bytes()
    whole.write_bytes(content[: int(len(content) * kept)])
    assert any("cut off" in line or "holds 0 pictures" in line for line in left_out(tmp_path))


def test_what_is_no_tar_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "s.tar").write_bytes(b"\x1f\x8b" + bytes(2000))
    with pytest.raises(DataError, match="no object is left of the 1 shards"):
        read(tmp_path)
    with pytest.raises(DataError, match=r"no shards \(\*.tar\) at"):
        read(tmp_path / "nothing")


def test_an_index_beside_a_shard_stands_for_it_unless_its_size_differs(tmp_path: Path) -> None:
    shard = written(tmp_path / "s.tar", [("1.cls", b"cat"), ("1.png", PNG)])
    with shard.open("rb") as file:
        index = shard_index.scan(shard, file)
    beside = tmp_path / "s.tar.index"
    beside.write_text(index.to_text().replace('"cat"', '"dog"'))
    assert [one.label for one in read(tmp_path)] == ["dog"]
    assert shard_index.parse(index.to_text(), beside) == index
    written(shard, [("1.cls", b"cat"), ("1.png", picture(1, 64)), ("2.cls", b"cat"), ("2.png", PNG)])
    assert [one.label for one in read(tmp_path)] == ["cat", "cat"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"samples": [["1", -512, 10, "cat", ""]]}, "no sample of"),
        ({"samples": [["1", 0, 10**9, "cat", ""]]}, "no sample of"),
        ({"samples": [["1", 0, 10, True, ""]]}, "no sample of"),
        ({"size": "x"}, "is no index of a shard"),
        ({"version": 9}, "is of version 9, must be 1"),
    ],
)
def test_an_index_that_can_not_be_true_is_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    good = {"version": 1, "size": 1000, "sha256": "0", "samples": [], "problems": []}
    with pytest.raises(DataError, match=message):
        shard_index.parse(json.dumps({**good, **change}), tmp_path / "s.tar.index")


def test_what_is_written_is_read_again_and_is_always_the_same(tmp_path: Path, colours: Path) -> None:
    from tao_lite.data.formats import image_folder

    examples = image_folder.read(colours, Options())[::7]
    names = ("red", "green", "blue")
    for name in ("first", "second"):
        write_webdataset(tmp_path / name, frames(examples), names, LeftOut())
    shards = [(tmp_path / name / "shard-000000.tar").read_bytes() for name in ("first", "second")]
    assert shards[0] == shards[1]
    found = read(tmp_path / "first")
    assert [one.label for one in found] == [one.label for one in examples]
    for one, original in zip(found, examples, strict=True):
        assert picture_bytes(one.path, one.span) == original.path.read_bytes()
    assert table.class_names(tmp_path / "first", "WEBDATASET", Options(), set(names)) == names
    chosen = KittiOptions(class_mapping={"red": "warm"}, ignored_classes=frozenset({"blue"}))
    assert {one.label for one in read(tmp_path / "first", kitti=chosen)} == {"warm", "green"}
