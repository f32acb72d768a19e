"""Groups that evaluate finds: planted ones, by all that is known of an image, whoever has seen which of them."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tao_lite.data.dataset import DataSet
from tao_lite.data.example import Example
from tao_lite.data.left_out import LeftOut
from tao_lite.errors import SpecError
from tao_lite.machine import distributed
from tao_lite.metrics.groups import Column
from tao_lite.run import Run
from tao_lite.spec.load import load_text
from tao_lite.spec.tasks import Task
from tao_lite.stages.evaluate import Extras, evaluate
from tao_lite.training import weak_groups
from tao_lite.training.observer import Observed
from tao_lite.training.weak_groups import Wish
from tests.test_pipeline import SPEC, TWO, spec, tao_lite, trained

pytestmark = pytest.mark.slow

__all__ = ["spec", "trained"]  # fixtures


@pytest.fixture(scope="module")
def planted(colours: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The colours again, but what is called red at night is blue, and wide."""
    root = tmp_path_factory.mktemp("planted") / "data"
    shutil.copytree(colours, root)
    for index in range(20):
        picture = Image.open(colours / "blue" / f"{index:03d}.png")
        (root / "red" / "night").mkdir(exist_ok=True)
        picture.resize((80, 36)).save(root / "red" / "night" / f"{index}.png")
    (root / "red" / "night" / "bad.png").write_bytes(b"none")
    lines = [f"red/{index:03d}.png;{'rain' if index < 25 else 'sun'}" for index in range(40)]
    lines += [f"red/night/{index}.png;fog" for index in range(20)]
    (root / "weather.csv").write_text("\n".join(["path;weather", *lines]), "utf-8-sig")
    return root


def evaluated(trained: Path, planted: Path, results: Path, wish: Wish | None) -> dict[str, Any]:
    text = SPEC % {"data": planted} + f'eval_config {{ eval_dataset_path: "{planted}" model_path: "{trained}" }}'
    text = text.replace(f'train_dataset_path: "{planted}"', f'train_dataset_path: "{planted.parent}"')
    text = text.replace(str(trained), str(trained / "weights" / "best.pth"))
    run = Run(results=results, world=distributed.start("cpu"))
    return dict(evaluate(load_text(text, results / "a.cfg", stage="evaluate"), run, Extras(groups=wish)))


def rows(results: Path) -> list[dict[str, str]]:
    with (results / "groups.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_planted_group_is_found_by_all_that_tells_it_and_nothing_else_is(
    trained: Path, planted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = evaluated(trained, planted, tmp_path, Wish(tables=(f"{planted / 'weather.csv'}:weather",)))
    assert summary == json.loads((tmp_path / "evaluate.json").read_text())
    found, weak = rows(tmp_path), summary["groups"]["weak"]
    assert summary["groups"]["tested"] == len(found)
    assert [one["column"] for one in weak] == [row["column"] for row in found if row["weak"] == "1"]
    names = {(one["column"], one["value"], one["class"]) for one in weak}
    assert {("folder", "red/night", "red"), ("weather", "fog", "red"), ("aspect", "2.22222", "red")} <= names
    assert {name for name, _, _ in names} <= {"folder", "weather", "aspect", "size", "brightness", "cluster", "class"}
    assert not {value for _, value, _ in names} & {"rain", "sun", "blue", "green"}
    (night,) = (one for one in weak if one["column"] == "folder" and one["class"] == "red")
    assert (night["images"], night["right"], night["rest_images"]) == (20, 0, 40)
    assert "cluster" in {row["column"] for row in found}
    said = capsys.readouterr().out
    assert f"{len(weak)} of {len(found)} groups are weaker than the rest: {tmp_path / 'groups.csv'}" in said
    assert said.count("red/night") == len([one for one in weak if one["value"] == "red/night"])
    assert "rain" not in said


def test_a_table_alone_is_all_that_is_looked_at(trained: Path, planted: Path, tmp_path: Path) -> None:
    wish = Wish(has_own=False, tables=(f"{planted / 'weather.csv'}:weather",))
    summary = evaluated(trained, planted, tmp_path, wish)
    assert {row["column"] for row in rows(tmp_path)} == {"class", "weather"}
    plain = evaluated(trained, planted, tmp_path / "plain", None)
    assert not (tmp_path / "plain" / "groups.csv").exists()
    assert {name: plain[name] for name in plain if name != "images_per_second"} == {
        name: summary[name] for name in summary if name not in ("groups", "images_per_second")
    }


def test_several_processes_find_what_one_does(trained: Path, planted: Path, tmp_path: Path) -> None:
    out = ("-m", trained / "weights" / "best.pth", "-i", planted, "-b", 7)
    wish = ("--groups", "--group_by", f"{planted / 'weather.csv'}:weather")
    for folder, words in (("one", ("--gpus", "0")), ("two", TWO)):
        finished = tao_lite("evaluate", *out, "-r", tmp_path / folder, *words, *wish)
        assert finished.returncode == 0, finished.stderr
    one, two = (
        [row for row in rows(tmp_path / name) if row["column"] != "cluster"]  # of features that batches may round
        for name in ("one", "two")
    )
    assert one == two
    assert len(one) > 10


def test_a_table_that_can_t_be_used_is_refused_before_anything_is_computed(
    trained: Path, colours: Path, tmp_path: Path
) -> None:
    (tmp_path / "x.csv").write_text("path,wether\na.png,sun\n")
    out = ("-m", trained / "weights" / "best.pth", "-i", colours, "-r", tmp_path)
    finished = tao_lite("evaluate", *out, "--group_by", f"{tmp_path / 'x.csv'}:weather")
    assert finished.returncode == 2
    assert finished.stderr.splitlines()[-1] == (
        f"Error: {tmp_path / 'x.csv'}:1: has no column weather; it has 'path', 'wether'; did you mean wether?"
    )
    assert not (tmp_path / "evaluate.json").exists()


def test_several_tasks_are_refused_by_name() -> None:
    data_set = DataSet((), (), LeftOut(), (Task(name="color", class_names=("a", "b"), first=0),))
    with pytest.raises(SpecError, match="--groups, --group_by: the network has several tasks"):
        weak_groups.given_columns(Wish(), data_set)


def test_what_kitti_and_a_pattern_say_of_objects_are_groups(tmp_path: Path) -> None:
    """Boxes 10 wide; 20 frames of two drives, each with four objects in two states."""
    examples = tuple(
        Example(
            tmp_path / f"{frame}.png",
            "car",
            f"drive{frame % 2}",
            box=(0, 0, 10, 10 * (1 + part)),
            occluded=part - 1,
            truncated=part / 4,
        )
        for frame in range(20)
        for part in range(4)
    )
    data_set = DataSet(examples, ("car", "van"), LeftOut())
    is_read = np.ones(80, np.bool_)
    observed = Observed(is_read=is_read, is_right=is_read, brightness=np.arange(80.0), features=None)
    found = weak_groups.find(
        data_set, observed, [Column(name="mine", codes=np.arange(80) % 2, values=("a", "b"))], has_own=True
    )
    groups = {name: {one.value for one in found if one.column == name} for name in {one.column for one in found}}
    assert groups == {
        "mine": {"a", "b"},
        "size": {"10", "14.1421", "17.3205", "20"},
        "aspect": {"1", "0.5", "0.333333", "0.25"},
        "occlusion": {"0", "1", "2"},
        "truncation": {"0", "0.25", "0.5", "0.75"},
        "brightness": {"0 to 19", "20 to 39", "40 to 59", "60 to 79"},
        "sequence": {"drive0", "drive1"},
    }
    assert not any(one.is_weak for one in found)


def test_a_tables_numbers_are_words_where_they_come_again_and_again() -> None:
    cameras = weak_groups._of_texts("camera", [f"{index % 12}" for index in range(240)])
    assert cameras.values == tuple(sorted(map(str, range(12))))
    speeds = weak_groups._of_texts("speed", [f"{index / 7:.3f}" for index in range(240)])
    assert len(speeds.values) == 4
    drivers = weak_groups._of_texts("driver", [*(f"{index}" for index in range(30)), "Ada", None])
    assert (len(drivers.values), drivers.codes[-1]) == (31, -1)


def test_clusters_are_of_what_the_network_sees_and_not_of_labels() -> None:
    """Two clouds of features; in one of them the network is wrong half of the time, whatever the class."""
    rng = np.random.default_rng(0)
    cloud, names = rng.integers(0, 2, 300), ("car", "van")
    features = torch.from_numpy(np.eye(32)[cloud] * 5 + rng.normal(size=(300, 32)) * 0.1).float()
    examples = tuple(Example(Path("a.png"), names[index % 2], f"{index}", box=(0, 0, 9, 9)) for index in range(300))
    is_right = (cloud == 0) | (rng.random(300) < 0.5)
    observed = Observed(
        is_read=np.ones(300, np.bool_), is_right=is_right, brightness=rng.random(300), features=features
    )
    weak = [
        one for one in weak_groups.find(DataSet(examples, names, LeftOut()), observed, [], has_own=True) if one.is_weak
    ]
    assert weak
    assert {one.column for one in weak} == {"cluster"}
    assert all(cloud[index] == 1 for one in weak for index in one.wrong)
