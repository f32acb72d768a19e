"""Manifests: tables of every make, what their columns mean, and what is said about rows that mean nothing."""

import codecs
import json
from pathlib import Path

import pytest
from PIL import Image

from tao_lite.data.dataset import evaluation, splits
from tao_lite.data.example import Example, KittiOptions, Options, Split
from tao_lite.data.formats.manifest import read
from tao_lite.data.formats.table import detect, split_names
from tao_lite.data.left_out import LeftOut
from tao_lite.errors import DataError
from tao_lite.files import reading
from tao_lite.spec import classification_pb2 as pb
from tao_lite.stages.dataset import sources

NAME = "train_config.train_dataset_path"
PLAIN = "path,label\na/1.png,cat\na/2.png,dog\n"


def made(root: Path, text: str | bytes, name: str = "manifest.csv") -> Path:
    """A table with this content, and pictures of 40 x 20 in the folder a beside it: 1.png to 4.png."""
    (root / "a").mkdir(parents=True, exist_ok=True)
    for number in range(1, 5):
        Image.new("L", (40, 20)).save(root / f"a/{number}.png")
    (root / name).write_bytes(text.encode() if isinstance(text, str) else text)
    return root / name


def labels(path: Path, split: Split = "train") -> dict[str, str]:
    """The label of each picture, by its name; nothing may be wrong."""
    examples = read(path, Options(split=split, report=LeftOut(fail=True)))
    return {one.path.name: one.label for one in examples}


def problems(root: Path, text: str, name: str = "manifest.csv") -> tuple[list[str], str]:
    """What is reported of a table, without its path, and what is counted."""
    report = LeftOut(is_logged=False)
    path = made(root, text, name)
    read(path, Options(report=report))
    return [f"{place.removeprefix(str(path))}: {problem}" for place, problem in report.problems], str(report)


def refusal(root: Path, text: str | bytes, split: Split = "train") -> str:
    """How a table is refused, without its path."""
    path = made(root, text)
    with pytest.raises(DataError) as caught:
        read(path, Options(name=NAME, split=split))
    return str(caught.value).removeprefix(str(path))


def spec(path: Path) -> pb.Experiment:
    experiment = pb.Experiment()
    experiment.train_config.train_dataset_path = str(path)
    return experiment


def test_each_row_is_an_example(tmp_path: Path) -> None:
    text = (
        "path,label,left,top,right,bottom,group,weight\n"
        "a/1.png,cat,,,,,,\n"
        "a/2.png,dog,1.5,2,20,19.1,,0.5\n"
        "a/2.png,cat,,,,,patient 7,2\n"
        "a/2.png,dog,30,10,50,30,,\n"
    )
    path = made(tmp_path, text)
    a = tmp_path / "a"
    expected = [
        Example(a / "1.png", "cat", "a/1.png"),
        Example(a / "2.png", "dog", "a/2.png", (1, 2, 20, 20), weight=0.5),
        Example(a / "2.png", "cat", "patient 7", weight=2),
        Example(a / "2.png", "dog", "a/2.png", (30, 10, 40, 20)),
    ]
    assert read(path, Options()) == read(tmp_path, Options()) == expected
    assert detect(path, Options()) == detect(tmp_path, Options()) == "MANIFEST"
    names = text.splitlines()[0].split(",")
    rows = [dict(zip(names, line.split(","), strict=True)) for line in text.splitlines()[1:]]
    filled = [
        {name: json.loads(cell) if cell[0].isdigit() else cell for name, cell in row.items() if cell} for row in rows
    ]
    lines = "\n".join(map(json.dumps, filled))
    assert read(made(tmp_path / "json", lines, "x.jsonl"), Options()) == [
        Example(tmp_path / "json" / one.path.relative_to(tmp_path), one.label, one.group, one.box, weight=one.weight)
        for one in expected
    ]


@pytest.mark.parametrize(
    "text",
    [
        PLAIN,
        PLAIN.replace("\n", "\r\n"),
        PLAIN.replace(",", ";"),
        PLAIN.replace(",", "\t"),
        PLAIN.replace(",", " , ").rstrip(),
        PLAIN.replace("\n", "\n\n") + ",\n",
        codecs.BOM_UTF8 + PLAIN.encode(),
        codecs.BOM_UTF16_LE + PLAIN.encode("utf-16-le"),
        '"Path","LABEL"\na\\1.png,"cat"\n"a/2.png","dog"\n',
        'label,path\r\ncat,./a/1.png\r\n"dog",a/../a/2.png',
        '{"path": "a/1.png", "label": "cat"}\n\n{"label": "dog", "path": "a/2.png", "weight": null, "other": [1]}\n',
    ],
)
def test_tables_of_every_make_mean_the_same(tmp_path: Path, text: str | bytes) -> None:
    assert labels(made(tmp_path, text)) == {"1.png": "cat", "2.png": "dog"}


def test_cells_may_hold_what_parts_them(tmp_path: Path) -> None:
    path = made(tmp_path, 'path;label\na/1.png;"a ""big""; cat"\na/2.png;"=1+1"\n')
    assert labels(path) == {"1.png": 'a "big"; cat', "2.png": "=1+1"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ":1: has no column path; it has nothing; name one path"),
        (
            "path,lable\na/1.png,cat",
            ":1: has no column label; it has 'path', 'lable'; if 'lable' is meant, name it label",
        ),
        ("a/1.png,cat\n", ":1: has no column path; it has 'a/1.png', 'cat'; name one path"),
        ("path,label,path\n", ":1: names the column path more than once"),
        ('path,label\na/1.png,"cat\na/2.png,dog\n', ":2: is no CSV that can be read (unexpected end of data); "),
        ('path,label\na/1.png,"cat"s\n', ":2: is no CSV that can be read ("),
        ("path,label\ra/1.png,cat\r", ":1: is no CSV that can be read ("),
        (b"path,label\na/1.png,c\xe4t\n", ":2: byte 0xe4 is not UTF-8; save it as UTF-8"),
        (codecs.BOM_UTF16_LE + b"p\0a\0\0\xdc", ": is not UTF-16, as its first bytes say; save it as UTF-8"),
        (
            '{"label": "a", "pth": "b"}',
            ":1: has no column path; it has 'label', 'pth'; if 'pth' is meant, name it path",
        ),
    ],
)
def test_table_that_can_not_be_used_is_refused_with_its_line(tmp_path: Path, text: str | bytes, expected: str) -> None:
    assert refusal(tmp_path, text).startswith(expected)


def test_line_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "PART_BYTES", 8)
    monkeypatch.setattr(reading, "MAX_LINE", 30)
    said = refusal(tmp_path, f"path,label\na/1.png,{'x' * 100}\n")
    assert said == ":2: is longer than 30 characters; is it the right file?"


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("a/1.png,cat,1,2,3", "has 5 cells, and the first line names 8 columns"),
        (",cat,,,,,,", "has no path"),
        ("a/1.png,,,,,,,", "has no label"),
        ("a/1.png,cat,1,2,,,,", "has a box without right, bottom"),
        ("a/1.png,cat,1,2,x,4,,", "right is 'x', must be a number"),
        ("a/1.png,cat,1,2,nan,4,,", "right is 'nan', must be a number"),
        ("a/1.png,cat,9,2,3,4,,", "the box is empty: left 9, top 2, right 3, bottom 4"),
        (
            "a/1.png,cat,50,2,60,4,,",
            "the box lies outside its frame of 40 x 20 pixels: left 50, top 2, right 60, bottom 4",
        ),
        ("a/1.png,cat,,,,,,0", "weight is 0, must be above 0"),
        ("a/1.png,cat,,,,,,-1", "weight is -1, must be above 0"),
        ("a/1.png,cat,,,,,,heavy", "weight is 'heavy', must be a number"),
        ("a/1.png,cat,,,,,all,", "split is 'all', must be train, val or test"),
        ("../x.png,cat,,,,,,", "'../x.png' leads out of {root}"),
        ("/etc/passwd,cat,,,,,,", "'/etc/passwd' leads out of {root}"),
        ("a/9.png,cat,,,,,,", "there is no picture {root}/a/9.png"),
        ("a/9.png,cat,1,1,5,5,,", "there is no picture {root}/a/9.png"),
    ],
)
def test_row_that_can_not_be_used_is_reported_with_its_line(tmp_path: Path, row: str, expected: str) -> None:
    header = "path,label,left,top,right,bottom,split,weight\n"
    text = f'{header}a/1.png,"c\nat",,,,,,\n{row}\na/2.png,dog,,,,,,\n'
    said, counted = problems(tmp_path, text)
    assert said == [f":4: {expected.format(root=tmp_path)}"]
    assert counted in {"1 wrongly labelled", "1 unreadable"}
    with pytest.raises(DataError) as caught:
        read(tmp_path, Options(report=LeftOut(fail=True)))
    assert str(caught.value).startswith(f"{tmp_path}/manifest.csv:4: ")


def test_line_of_json_that_can_not_be_read_is_reported(tmp_path: Path) -> None:
    good = '{"path": "a/1.png", "label": 7}'
    bad = ['{"path": "a/1.png", "lab', '{"path": "a/2.png"}', "[1]", '{"path": ["a"], "label": "x"}', "[" * 100_000]
    said, counted = problems(tmp_path, "\n".join([good, *bad]), "x.jsonl")
    assert [text.split(" (")[0] for text in said[:4]] == [
        ":2: is not JSON",
        ":3: has no label",
        ":4: is [1], must be an object",
        ":5: path is ['a'], must be a text or a number",
    ]
    assert said[4] == ":6: is nested too deeply"
    assert counted == "5 wrongly labelled"


def test_a_column_of_json_may_begin_in_any_line(tmp_path: Path) -> None:
    lines = ['{"path": "a/1.png", "label": "cat"}', '{"path": "a/2.png", "label": "dog", "split": "val"}']
    path = made(tmp_path, "\n".join(lines), "x.jsonl")
    assert labels(path) == {"1.png": "cat"}
    assert labels(path, "val") == {"2.png": "dog"}


def test_pictures_that_are_missing_count_as_unreadable_by_class(tmp_path: Path) -> None:
    path = made(tmp_path, "path,label\na/1.png,cat\na/8.png,van\na/9.png,tram\n")
    report = LeftOut()
    kitti = KittiOptions(class_mapping={"van": "car"}, ignored_classes=frozenset({"tram"}))
    read(path, Options(report=report, kitti=kitti))
    assert report.values()["classes"] == {"car": {"unreadable": 1}, "tram": {"ignored": 1}}


def test_boxes_and_classes_are_chosen_as_in_every_format(tmp_path: Path) -> None:
    rows = ["a/1.png,cat,0,0,9,4", "a/1.png,van,5,5,25,15", "a/2.png,van,,,,", "a/3.png,tram,,,,"]
    text = "\n".join(["path,label,left,top,right,bottom", *rows])
    kitti = KittiOptions(
        min_height_pixels=5, margin=0.1, class_mapping={"van": "car"}, ignored_classes=frozenset({"tram"})
    )
    report = LeftOut()
    examples = read(made(tmp_path, text), Options(kitti=kitti, report=report))
    assert [(one.label, one.box) for one in examples] == [("car", (3, 4, 27, 16)), ("car", None)]
    assert str(report) == (
        "1 lower than 5 pixels (dataset_config.kitti.min_height_pixels), "
        "1 of ignored classes (dataset_config.kitti.ignored_classes)"
    )


def test_misspelt_column_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    read(made(tmp_path, "path,label,wieght,author\na/1.png,cat,2,me\n"), Options())
    assert caplog.messages == [f"{tmp_path}/manifest.csv:1: column 'wieght' is not read; did you mean weight?"]


def test_split_column_divides(tmp_path: Path) -> None:
    text = "path,label,split\na/1.png,cat,training\na/2.png,dog,\na/3.png,cat,VAL\na/4.png,dog,val\n"
    path = made(tmp_path, text)
    assert labels(path) == {"1.png": "cat", "2.png": "dog"}
    assert labels(path, "val") == labels(path, "test") == {"3.png": "cat", "4.png": "dog"}
    assert split_names(path, "AUTO") == split_names(path, "MANIFEST") == ["train", "val"]
    assert [source.name for source in sources.of_path(path)] == ["train", "val"]
    for experiment in (spec(path), spec(tmp_path)):
        sides = splits(experiment, None)
        assert [[one.path.name for one in side.examples] for side in sides] == [["1.png", "2.png"], ["3.png", "4.png"]]
        assert evaluation(experiment, None).examples == sides[1].examples
        given = sources.of_spec(experiment)
        assert sources.sides(experiment, given) == {"train": sides[0].examples, "val": sides[1].examples}
    problem = refusal(tmp_path, "path,label,split\na/1.png,cat,train\n", "val")
    assert problem == f"{NAME}: {path} has no rows for val, only for train"


def test_without_a_word_in_the_split_column_val_split_divides(tmp_path: Path) -> None:
    text = "path,label,split\n" + "".join(
        f"a/{number % 4 + 1}.png,{'cat' if number % 2 else 'dog'},\n" for number in range(9)
    )
    path = made(tmp_path, text)
    assert split_names(path, "MANIFEST") == []
    experiment = spec(path)
    experiment.dataset_config.val_split = 0.5
    train, val = splits(experiment, None)
    assert len(train.examples) + len(val.examples) == 9
    assert {one.path for one in train.examples}.isdisjoint(one.path for one in val.examples)


def test_group_is_never_torn(tmp_path: Path) -> None:
    rows = [f"a/{1 + number % 4}.png,{'cat' if number < 40 else 'dog'},g{number % 10}" for number in range(80)]
    path = made(tmp_path, "\n".join(["path,label,group", *rows]))
    train, val = splits(spec(path), None)
    groups = [{one.group for one in side.examples} for side in (train, val)]
    assert groups[0].isdisjoint(groups[1])
    assert groups[0] | groups[1] == {f"g{number}" for number in range(10)}
    torn = "path,label,split,group\na/1.png,cat,train,p1\na/2.png,dog,,p2\na/3.png,dog,val,p2\n"
    assert refusal(tmp_path, torn) == (f":4: 'p2' is for val here and for train in {path}:3; it must not be torn")
    torn = "path,label,split\na/1.png,cat,train\n./a\\1.png,cat,test\n"
    assert refusal(tmp_path, torn).startswith(":3: 'a/1.png' is for test here and for train in ")
    torn = "path,label,split,group\na/1.png,cat,train,p1\na/1.png,cat,val,p2\n"
    assert refusal(tmp_path, torn).startswith(":3: 'a/1.png' is for val here and for train in ")


def test_no_row_left_is_an_error_that_says_why(tmp_path: Path) -> None:
    assert refusal(tmp_path, "path,label\na/9.png,cat\n,dog\n") == (
        f"{NAME}: no object is left of the rows of {tmp_path}/manifest.csv; left out: 1 wrongly labelled, 1 unreadable"
    )
    with pytest.raises(DataError) as caught:
        read(tmp_path / "a", Options(name=NAME))
    assert str(caught.value) == (
        f"{NAME}: {tmp_path}/a is no manifest and holds none "
        "(manifest.csv, manifest.tsv, manifest.jsonl, manifest.ndjson)"
    )
