"""Lists of examples to leave out and of other classes: where they hold, and what is wrong in them."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tao_lite.data.asked import TRAIN, options_of, report_of
from tao_lite.data.corrections import Corrections
from tao_lite.data.dataset import DataSet, evaluation, load, splits
from tao_lite.data.example import Example
from tao_lite.errors import DataError
from tao_lite.spec import classification_pb2 as pb
from tao_lite.stages.dataset import sources
from tao_lite.stages.train.fingerprint import Changes, Fingerprint
from tests.data.command import exit_code
from tests.data.test_grouping import COPIES, in_format

HEADER = "path,box,label,likely,decision\n"


def folder(root: Path, **counts: int) -> Path:
    for name, count in counts.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            Image.new("RGB", (6, 4), (number, 0, ord(name[0]))).save(root / name / f"{number}.png")
    return root


def spec(train: Path, val: Path | str = "", **config: Any) -> pb.Experiment:
    return pb.Experiment(
        train_config=pb.TrainConfig(train_dataset_path=str(train), val_dataset_path=str(val)),
        dataset_config=pb.DatasetConfig(val_split=0.5, **config),
    )


def listed(path: Path, text: str) -> str:
    path.write_bytes(text.encode())
    return str(path)


def labels(*sets: DataSet) -> dict[str, str]:
    """The label of each example, by the end of its path."""
    return {"/".join(one.path.parts[-2:]): one.label for data in sets for one in data.examples}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return folder(tmp_path / "data", cat=4, dog=4)


def problem(experiment: pb.Experiment) -> str:
    with pytest.raises(DataError) as raised:
        splits(experiment, None)
    return str(raised.value)


def test_decisions_change_classes_and_leave_out_and_the_data_stay(data: Path, tmp_path: Path) -> None:
    """One list for both: accepted ones get their class, doubtful ones are left out, all else is as it was."""
    before = {path: path.stat() for path in sorted(data.rglob("*"))}
    rows = f"{data}/cat/0.png,,cat,dog,accept\ncat/1.png,,cat,dog,unsure\ncat/2.png,,cat,dog,keep\ndog/0.png,,,cat,\n"
    path = listed(tmp_path / "decisions.csv", HEADER + rows)
    train, val = splits(spec(data, relabel=path, exclude=path), None)
    expected = {f"{name}/{number}.png": name for name in ("cat", "dog") for number in range(4)}
    del expected["cat/1.png"]
    assert labels(train, val) == expected | {"cat/0.png": "dog"}
    assert train.report.values()["classes"] == {"cat": {"excluded": 1}}
    assert train.class_names == ("cat", "dog")
    assert {path: path.stat() for path in sorted(data.rglob("*"))} == before
    train, val = splits(spec(data, exclude=path), None)
    assert len(train.examples) + len(val.examples) == 6


@pytest.mark.parametrize("kind", ["IMAGE_FOLDER", "KITTI", "TFRECORD", "YOLO", "COCO", "MANIFEST"])
def test_every_format_is_corrected(kind: str, tmp_path: Path) -> None:
    root = in_format(tmp_path / "data", kind)
    options = options_of(pb.Experiment(), TRAIN)
    first, second, third = load(root, "AUTO", options)
    box = " ".join(map(str, second.box or ()))
    path = listed(tmp_path / "list.csv", f"path;box;likely\n{second.path};{box};dog\n")
    out = listed(tmp_path / "out.csv", f"path\n{third.path}\n")
    report = report_of(pb.Experiment(), TRAIN)
    corrections = Corrections.of(spec(root, relabel=path, exclude=out))
    found = corrections.applied([first, second, third], report, ["cat", "dog"])
    corrections.verify()
    assert [(one.path, one.box, one.label) for one in found] == [
        (first.path, first.box, "cat"),
        (second.path, second.box, "dog"),
    ]
    assert len({str(one.path) for one in (first, second, third)}) == len(COPIES)


def test_held_out_part_is_evaluated_as_validated_and_a_set_of_its_own_as_it_is(data: Path, tmp_path: Path) -> None:
    path = listed(tmp_path / "list.csv", f"path,likely\n{data}/cat/0.png,dog\n{data}/cat/1.png,dog\n")
    ours = spec(data, relabel=path)
    assert evaluation(ours, None).examples == splits(ours, None)[1].examples
    assert labels(evaluation(spec("", data, relabel=path), ["cat", "dog"]))["cat/0.png"] == "dog"  # type: ignore[arg-type]
    ours.train_config.val_dataset_path = str(data)
    ours.eval_config.eval_dataset_path = str(data)
    assert labels(evaluation(ours, None))["cat/0.png"] == "cat"


def test_list_of_training_names_validation_by_whole_paths_only(data: Path, tmp_path: Path) -> None:
    """Both have a cat/0.png; a path that is no absolute one is below train_dataset_path."""
    other = folder(tmp_path / "val", cat=2, dog=2)
    ours = spec(data, other, relabel=listed(tmp_path / "a.csv", f"path,likely\ncat/0.png,dog\n{other}/dog/1.png,cat\n"))
    train, val = splits(ours, None)
    assert labels(train)["cat/0.png"] == "dog"
    assert labels(val) == {"cat/0.png": "cat", "cat/1.png": "cat", "dog/0.png": "dog", "dog/1.png": "cat"}
    assert sources.sides(ours, sources.of_spec(ours)) == {"train": train.examples, "val": val.examples}


def test_change_of_a_list_is_a_change_of_the_data(data: Path, tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    for number in range(2):  # a fingerprint has no folders: equal names of two classes pass for each other
        (data / f"cat/{number}.png").rename(data / f"cat/cat{number}.png")
    out = listed(tmp_path / "out.csv", "path\ndog/3.png\n")

    def prints(**config: str) -> Fingerprint:
        parts = [Fingerprint.of(part, data) for part in splits(spec(data, **config), None)]
        return parts[0] | parts[1]

    plain = prints()
    one = prints(relabel=listed(path, "path,likely\ncat/cat0.png,dog\n"))
    two = prints(relabel=listed(path, "path,likely\ncat/cat0.png,dog\ncat/cat1.png,dog\n"), exclude=out)
    assert Changes.between(plain, one) == Changes(added=0, removed=0, moved=1, changed=0)
    assert Changes.between(one, two) == Changes(added=0, removed=1, moved=1, changed=0)
    assert not Changes.between(prints(relabel=str(path)), prints(relabel=str(path)))


@pytest.mark.parametrize(
    "text",
    [
        "\ufeffpath,label,likely\r\ncat/0.png,cat,dog\r\n",
        'likely;"path";decision\n"dog";"cat/0.png";ACCEPT\n',
        "Path\tLikely\ncat\\0.png\tdog\n",
        "path,likely\ncat/0.png,dog\n\n./cat/0.png,dog\n",
    ],
)
def test_lists_of_spreadsheets_and_editors_are_read(text: str, data: Path, tmp_path: Path) -> None:
    found = labels(*splits(spec(data, relabel=listed(tmp_path / "a.csv", text)), None))
    assert [path for path, label in found.items() if not path.startswith(label)] == ["cat/0.png"]


def test_words_that_csv_marks_as_no_formula_are_read_as_they_were(tmp_path: Path) -> None:
    root = folder(tmp_path / "data", **{"=a": 2, "-b": 2})
    train, val = splits(spec(root, relabel=listed(tmp_path / "a.csv", "path,label,likely\n'=a/0.png,'=a,'-b\n")), None)
    assert labels(train, val)["=a/0.png"] == "-b"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("path,label\ncat/0.png,cat\n", "a.csv:1: has no column likely; it has 'path', 'label'; name one likely"),
        ("pth,likely\ncat/0.png,dog\n", "has no column path; it has 'pth', 'likely'; if 'pth' is meant, name it path"),
        ("", "a.csv:1: has no column path; it has nothing; name one path"),
        ('{"path": "cat/0.png"}\n', "a.csv:1: is JSON; must be CSV"),
        ("path,likely\ncat/0.png,lion\n", "a.csv:2: likely is 'lion', which is no class of the data; the classes are"),
        ("path,likely\ncat/0.png,\n", "a.csv:2: has no likely, the class to give"),
        ("path,likely\n,dog\n", "a.csv:2: has no path"),
        (
            "path,likely,decision\ncat/0.png,dog,acept\n",
            "a.csv:2: decision is 'acept', must be accept, keep, unsure or",
        ),
        ("path,likely\n\ncat/0.png,dog,x\n", "a.csv:3: has 3 cells, and the first line names 2 columns; mend the row"),
        ("path,likely\ncat/0.png,dog\ncat/0.png,cat\n", "'accept cat' here and 'accept dog' in"),
        (HEADER + "cat/0.png,,cat,dog,keep\ncat/0.png,,cat,dog,accept\n", "a.csv:3: "),
        (HEADER + "cat/0.png,1 2,cat,dog,accept\n", "a.csv:2: box is '1 2', must be left top right bottom"),
        (HEADER + "cat/0.png,,eel,dog,accept\n", "a.csv:2: the label is 'eel' here and 'cat' in the data, which have"),
        (HEADER + '"cat/0.png,,cat,dog,accept\n', "is no CSV that can be read"),
        ("path,likely\n/else/0.png,dog\n", "dataset_config.relabel: 1 of its 1 rows name what the data don't have"),
        (HEADER + "cat/0.png,0 0 6 4,cat,dog,accept\n", "1 of its 1 rows name what the data don't have"),
    ],
)
def test_wrong_list_is_refused_with_its_line(text: str, expected: str, data: Path, tmp_path: Path) -> None:
    assert expected in problem(spec(data, relabel=listed(tmp_path / "a.csv", text)))


def test_rows_of_other_data_are_named(data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = listed(tmp_path / "a.csv", "path\ncat/0.png\ncat/9.png\n")
    splits(spec(data, exclude=path), None)
    said = f"1 of its 2 rows name what the data don't have, such as {data}/cat/9.png ({path}:3)"
    assert f"dataset_config.exclude: {said}" in caplog.messages


def test_list_that_leaves_nothing_is_refused(data: Path, tmp_path: Path) -> None:
    rows = "".join(f"{path}\n" for path in data.rglob("*.png"))
    assert "names all 8 examples" in problem(spec(data, exclude=listed(tmp_path / "a.csv", f"path\n{rows}")))
    with pytest.raises(DataError, match=r"a\.csv: no such file"):
        splits(spec(data, exclude=str(tmp_path / "no" / "a.csv")), None)


def test_picture_of_several_objects_needs_the_box(tmp_path: Path) -> None:
    one, other = (Example(tmp_path / "1.png", name, "1", box=(0, 0, 9, n)) for n, name in ((8, "cat"), (7, "dog")))
    boxless = spec(tmp_path, relabel=listed(tmp_path / "a.csv", "path,likely\n1.png,dog\n"))
    report = report_of(boxless, TRAIN)
    with pytest.raises(DataError, match=r"a\.csv:2: names no box, and .*1\.png has 2 examples"):
        Corrections.of(boxless).applied([one, other], report, ["cat", "dog"])
    whole = Corrections.of(spec(tmp_path, exclude=listed(tmp_path / "b.csv", "path\n1.png\n")))
    third = Example(tmp_path / "2.png", "cat", "2")
    assert whole.applied([one, other, third], report, ["cat", "dog"]) == [third]


def test_tasks_are_refused_by_name(tmp_path: Path) -> None:
    path = listed(tmp_path / "a.csv", "path\n1.png\n")
    with pytest.raises(DataError, match=r"dataset_config\.exclude: .* MULTITASK have several"):
        Corrections.of(spec(tmp_path, exclude=path, format=pb.DatasetFormat.MULTITASK))


def test_check_says_what_training_would_refuse(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = listed(tmp_path / "a.csv", "path\nelse.png\n")
    ours = tmp_path / "ours.cfg"
    ours.write_text(f'train_config {{ train_dataset_path: "{data}" }} dataset_config {{ exclude: "{path}" }}')
    assert exit_code("dataset", "check", "-e", ours) == 2
    assert "rows name what the data" in " ".join(capsys.readouterr().out.split())
    shutil.copy(listed(tmp_path / "b.csv", "path\ncat/3.png\n"), path)
    assert exit_code("dataset", "check", "-e", ours) == 0
    assert "7 examples in 7 pictures" in capsys.readouterr().out
