"""CSV files with a column for each task: what is read, what is left out, and what is refused with its line."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tao_lite.data import balance, dataset
from tao_lite.data.example import Example, MultitaskOptions, Options
from tao_lite.data.formats import multitask
from tao_lite.data.left_out import LeftOut
from tao_lite.errors import DataError
from tao_lite.spec import classification_pb2 as pb

HEADER = "fname,size,color\n"
ROWS = "0.png,1,red\n1.png,2,blue\n2.png,10,red\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    for number in range(8):
        Image.fromarray(np.full((4, 4, 3), number, np.uint8)).save(tmp_path / "images" / f"{number}.png")
    return tmp_path


def written(root: Path, text: str, name: str = "train.csv") -> Path:
    path = root / name
    path.write_text(text)
    return path


def read(root: Path, text: str, *multi_label: str, report: LeftOut | None = None) -> list[Example]:
    options = MultitaskOptions(image_dir=root / "images", multi_label=frozenset(multi_label))
    return multitask.read(written(root, text), Options(report=report or LeftOut(), multitask=options))


def experiment(root: Path, train: str, val: str, **fields: object) -> pb.Experiment:
    config = pb.MultitaskConfig(image_dir=str(root / "images"), **fields)  # type: ignore[arg-type]
    return pb.Experiment(
        train_config=pb.TrainConfig(
            train_dataset_path=str(written(root, train)), val_dataset_path=str(written(root, val, "val.csv"))
        ),
        dataset_config=pb.DatasetConfig(format=pb.DatasetFormat.MULTITASK, multitask=config),
    )


def test_an_empty_cell_is_a_label_that_is_not_known(root: Path) -> None:
    examples = read(root, HEADER + '0.png,,"re,d"\n\n1.png, 2 ,\n')
    assert [one.labels for one in examples] == [("color/re,d",), ("size/2",)]
    assert [one.place for one in examples] == [f"{root}/train.csv:2", f"{root}/train.csv:4"]


def test_several_labels_are_read_where_the_spec_says_so(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    text = "fname,tags,size\n0.png,a| b|a,1\n1.png,|,2\n2.png,,2\n"
    labels = [one.labels for one in read(root, text, "tags")]
    assert labels == [("tags/a", "tags/b", "size/1"), ("tags/", "size/2"), ("size/2",)]
    assert not caplog.text
    assert read(root, text)[0].labels == ("tags/a| b|a", "size/1")
    assert "in 2 lines tags has a class with |; if these are several classes, set" in caplog.text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "train.csv: is empty; must have a first line that names the columns"),
        ("0.png,red\n1.png,blue\n", "train.csv:1: '0.png' is a picture, where the first line has to name the columns"),
        ("fname\n0.png\n", "train.csv:1: names 1 column, must name one for the pictures and one for each task"),
        ("fname,color,size,color\n", "train.csv:1: color is the name of columns 2 and 4; rename one"),
        ("fname,,size\n", "train.csv:1: column 2 has no name; name it, or take it out"),
        ("fname,a/b\n", "train.csv:1: the name 'a/b' has a /, which parts a task from its classes; rename it"),
        (HEADER + '0.png,"1,red\n', "train.csv:2: is no line of a CSV file (unexpected end of data)"),
        (HEADER + "0.png,1,\n", "train.csv:1: the column color holds no label; fill it, or name the others in"),
        (HEADER + "8.png,1,red\n", "no line of"),
    ],
)
def test_a_file_that_is_none_is_refused_with_the_line(root: Path, text: str, expected: str) -> None:
    with pytest.raises(DataError) as error:
        read(root, text)
    assert expected in str(error.value)


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("8.png,1,red", "there is no picture ROOT/images/8.png; dataset_config.multitask.image_dir says where"),
        ("../train.csv,1,red", "'../train.csv' leads out of ROOT/images"),
        (f"{'a' * 300}.png,1,red", "there is no picture"),
        ("/etc/passwd,1,red", "'/etc/passwd' leads out of ROOT/images"),
        ("3.png,1", "2 cells, must be 3 or more, as in the first line"),
        ("0.png,2,blue", "0.png is there a second time; the first is ROOT/train.csv:2"),
        ("3.png,1,re\x01d", "the class 're\\x01d' has control characters; rename it"),
    ],
)
def test_a_line_that_can_not_be_used_is_left_out_and_told(root: Path, row: str, problem: str) -> None:
    report = LeftOut()
    assert len(read(root, f"{HEADER}{ROWS}{row}\n", report=report)) == 3
    ((place, told),) = report.problems
    assert place == f"{root}/train.csv:5"
    assert told.startswith(problem.replace("ROOT", str(root)))
    with pytest.raises(DataError, match=r"train\.csv:5: "):
        read(root, f"{HEADER}{ROWS}{row}\n", report=LeftOut(fail=True))


def test_the_classes_are_those_of_training_and_validation_is_checked_against_them(root: Path) -> None:
    train, val = dataset.splits(experiment(root, HEADER + ROWS, HEADER + "3.png,2,blue\n"), None)
    assert train.class_names == ("color/blue", "color/red", "size/1", "size/2", "size/10")
    assert train.targets().tolist() == [[0, 1, 1, 0, 0], [1, 0, 0, 1, 0], [0, 1, 0, 0, 1]]
    assert [task.name for task in val.tasks] == ["color", "size"]
    with pytest.raises(DataError) as error:
        dataset.splits(experiment(root, HEADER + ROWS, HEADER + "3.png,2,blue\n4.png,3,red\n"), None)
    assert str(error.value).startswith(
        f"{root}/val.csv:3: holds classes that the training data does not have: size/3; has no examples of: "
    )


def test_validation_may_lack_a_task(root: Path) -> None:
    _, val = dataset.splits(experiment(root, HEADER + ROWS, "fname,color\n3.png,red\n"), None)
    assert val.targets().tolist() == [[0, 1, -1, -1, -1]]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, "train.csv:1: the task color has one class only (red), and needs at least two; take the column out"),
        (
            {"tasks": ["siz"]},
            "train.csv:1: has no column siz, which dataset_config.multitask.tasks names; there are size",
        ),
        ({"tasks": ["size"], "task_weights": {"color": 2}}, "dataset_config.multitask.task_weights: names color, but"),
    ],
)
def test_tasks_that_tell_nothing_apart_or_are_not_there_are_refused(
    root: Path, fields: dict[str, object], expected: str
) -> None:
    text = HEADER + "0.png,1,red\n1.png,2,red\n"
    with pytest.raises(DataError) as error:
        dataset.splits(experiment(root, text, text, **fields), None)
    assert expected in str(error.value)


def test_an_evaluation_without_any_of_the_tasks_is_refused(root: Path) -> None:
    options = MultitaskOptions(image_dir=root / "images", tasks=("shape",))
    with pytest.raises(DataError, match=r"train\.csv:1: has no column of the tasks shape; there are size, color"):
        multitask.read(written(root, HEADER + ROWS), Options(split="test", multitask=options))


def test_a_class_may_have_any_name(root: Path) -> None:
    (example,) = read(root, "fname,a\n0.png,b/\n")
    assert example.classes == ("a/b/",)


def test_a_spec_may_choose_its_tasks(root: Path) -> None:
    train, _ = dataset.splits(experiment(root, HEADER + ROWS, HEADER + ROWS, tasks=["color"]), None)
    assert train.class_names == ("color/blue", "color/red")


def test_held_out_pictures_leave_each_class_one_for_training(root: Path) -> None:
    ours = experiment(root, HEADER + "".join(f"{n}.png,{n},{'ab'[n % 2]}\n" for n in range(8)), HEADER)
    ours.train_config.ClearField("val_dataset_path")
    ours.dataset_config.val_split = 0.9
    with pytest.raises(DataError, match="leaves none for validation"):
        dataset.splits(ours, None)


def test_class_weights_average_one_over_the_known_labels_of_a_task(root: Path) -> None:
    ours = experiment(root, HEADER + ROWS + "3.png,,red\n", HEADER + ROWS)
    train, _ = dataset.splits(ours, None)
    kinds = {"color": pb.ClassWeighting.BALANCED}
    weights = balance.class_weights(ours.train_config, train, kinds)
    # Three red and one blue: each class has half of four.
    assert weights == pytest.approx((2, 2 / 3, 1, 1, 1))
    assert balance.class_weights(ours.train_config, train) is None


def test_cells_may_be_parted_by_semicolons(root: Path) -> None:
    assert [one.labels for one in read(root, "fname;a\n0.png;x,y\n1.png;z\n")] == [("a/x,y",), ("a/z",)]


def test_auto_names_the_format_of_a_csv_file(root: Path) -> None:
    ours = experiment(root, HEADER + ROWS, HEADER + ROWS)
    ours.dataset_config.format = pb.DatasetFormat.AUTO
    with pytest.raises(DataError, match=r"set dataset_config\.format: MULTITASK"):
        dataset.splits(ours, None)
