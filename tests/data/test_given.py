"""A user's table of images: read however spreadsheets write it, and what is wrong with it is named."""

import codecs
from pathlib import Path

import pytest

from tao_lite.data import given
from tao_lite.data.example import Example
from tao_lite.errors import DataError

NAMES = ("red/1.png", "red/2.png", "blue/1.png", "blue/ä.png")
PLAIN = "path,weather\nred/1.png,rain\nred/2.png,sun\nblue/1.png,\nblue/ä.png,sun\n"
WANTED = ["rain", "sun", None, "sun"]


@pytest.fixture
def examples(tmp_path: Path) -> list[Example]:
    """Two objects of the first picture among them."""
    return [
        Example(tmp_path / "data" / name, "x", name, box=(0, 0, place + 1, 2))
        for place, name in enumerate((*NAMES, NAMES[0]))
    ]


def table(tmp_path: Path, content: str | bytes) -> Path:
    path = tmp_path / "data" / "a table.csv"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    "content",
    [
        PLAIN.encode(),
        codecs.BOM_UTF8 + PLAIN.encode(),
        codecs.BOM_UTF16_LE + PLAIN.encode("utf-16-le"),
        PLAIN.replace(",", ";").replace("\n", "\r\n").encode(),
        PLAIN.replace(",", "\t").encode(),
        PLAIN.replace("path", '"Path"').replace("weather", " Weather ").encode(),
        PLAIN.replace("/", "\\").encode(),
        "weather,id,path\nrain,7,./red/1.png\nsun,8,red/../red/2.png\nsun,9,blue/ä.png\n".encode(),
        '{"path": "red/1.png", "weather": "rain"}\n{"path": "red/2.png", "weather": "sun"}\n'
        '{"path": "blue/ä.png", "weather": "sun"}\n'.encode(),
        "path,weather\nred/1.png,rain\nred/1.png,rain\nred/2.png,sun\nelsewhere.png,fog\nblue/ä.png,sun\n".encode(),
    ],
)
def test_tables_of_all_kinds_say_the_same(tmp_path: Path, examples: list[Example], content: bytes) -> None:
    name, texts = given.read(f"{table(tmp_path, content)}:Weather", examples)
    assert (name, texts) == ("weather", [*WANTED, "rain"])


@pytest.mark.parametrize("root", ["data/", "{absolute}/data/"])
def test_paths_may_be_absolute_or_from_the_current_folder(
    tmp_path: Path, examples: list[Example], monkeypatch: pytest.MonkeyPatch, root: str
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [f"{root.format(absolute=tmp_path)}{name},{word}" for name, word in zip(NAMES, WANTED, strict=True) if word]
    _, texts = given.read(f"{table(tmp_path, chr(10).join(['path,weather', *rows]))}:weather", examples)
    assert texts[:4] == WANTED


@pytest.mark.parametrize(
    ("content", "column", "message"),
    [
        (PLAIN, "wether", r"{table}:1: has no column wether; it has 'path', 'weather'; did you mean weather?"),
        (PLAIN.replace("path", "file"), "weather", r"{table}:1: has no column path; it has 'file', 'weather'"),
        ("", "weather", r"{table}:1: has no column path; it has nothing"),
        ("path,weather\n", "weather", "{table}: none of its 0 paths is of the data set's images, such as {first}; the"),
        ("path,weather\nx.png,sun", "weather", "{table}: none of its 1 paths is of the data set's images, such as"),
        (
            "path,weather\nred/1.png,sun\nred/1.png,rain",
            "weather",
            "{table}:3: says 'rain' of 'red/1.png', of which a line before says 'sun'; leave one out",
        ),
        ('path,weather\n"red,sun', "weather", "{table}:2: is no CSV that can be read"),
        (b"path,weather\nred/1.png,\xff", "weather", "{table}:2: byte 0xff is not UTF-8; save it as UTF-8"),
        ("path,weather,weather\n", "weather", "{table}:1: names the column weather more than once"),
    ],
)
def test_what_is_wrong_is_named(
    tmp_path: Path, examples: list[Example], content: str | bytes, column: str, message: str
) -> None:
    path = table(tmp_path, content)
    with pytest.raises(DataError) as error:
        given.read(f"{path}:{column}", examples)
    assert str(error.value).startswith(message.format(table=path, first=examples[0].path))


@pytest.mark.parametrize("wish", ["weather.csv", ":weather", "weather.csv:", ""])
def test_a_wish_without_file_or_column_is_refused(examples: list[Example], wish: str) -> None:
    with pytest.raises(DataError, match=r"^--group_by: .* is no FILE:COLUMN; give a table and one of its columns$"):
        given.read(wish, examples)


def test_a_file_that_is_not_there_is_named(tmp_path: Path, examples: list[Example]) -> None:
    with pytest.raises(DataError, match=r"none.csv: no such file; check the path"):
        given.read(f"{tmp_path / 'none.csv'}:weather", examples)
