"""inference --select: which images, why, and the page of them; real runs, and what can't be asked."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from PIL import Image

from tao_lite.errors import RunError
from tao_lite.machine import distributed
from tao_lite.run import Run
from tao_lite.spec.load import Spec
from tao_lite.spec.tasks import Task
from tao_lite.stages.inference import Extras, inference
from tao_lite.stages.select.page import MAX_SHOWN, Chosen, page
from tao_lite.stages.select.select import By, Seen, Wish, select
from tests.stages.report.test_report import Page
from tests.test_pipeline import spec, tao_lite, trained
from tests.training.test_deployed import experiment, exported, pictures

pytestmark = pytest.mark.slow

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

__all__ = ["exported", "pictures", "spec", "trained"]  # fixtures


def rows(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "selected.csv").read_text().splitlines()))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(results=tmp_path / "out", world=distributed.start("cpu"))


@pytest.fixture
def seen(tmp_path: Path) -> Seen:
    """Ten pictures around three axes: five, three and two, of which the last of each is in doubt."""
    paths = [tmp_path / f"{number}.png" for number in range(10)]
    for number, path in enumerate(paths):
        Image.new("RGB", (300, 200), (25 * number, 0, 0)).save(path)
    features = torch.eye(3).repeat_interleave(torch.tensor([5, 3, 2]), dim=0) + 0.01 * torch.rand(
        10, 3, generator=torch.Generator().manual_seed(0)
    )
    probabilities = torch.tensor([[0.999, 0.001]]).repeat(10, 1)
    probabilities[[4, 7, 9]] = torch.tensor([[0.6, 0.4], [0.45, 0.55], [0.52, 0.48]])
    return Seen(paths, probabilities, features, labels=1000)


def test_each_way_chooses_what_its_name_says(seen: Seen, run: Run) -> None:
    chosen = {}
    for by in By:
        found = select(Wish(number=3, by=by), seen, ["cat", "dog"], (), run)
        assert found == {"selected": 3, "selected_by": by.value, "selected_csv": str(run.selected_csv)}
        chosen[by] = [int(Path(row["path"]).stem) for row in rows(run.results)]
        assert [row["rank"] for row in rows(run.results)] == ["1", "2", "3"]
    assert chosen[By.UNCERTAINTY] == [9, 7, 4]
    assert sorted(chosen[By.BOTH]) == [4, 7, 9]
    assert sorted((one > 4) + (one > 7) for one in chosen[By.DIVERSITY]) == [0, 1, 2]


def test_reasons_name_the_classes_in_doubt(seen: Seen, run: Run) -> None:
    select(Wish(number=2, by=By.UNCERTAINTY), seen, ["cat", "=dog"], (), run)
    assert [row["reason"] for row in rows(run.results)] == ["cat 0.52, =dog 0.48", "'=dog 0.55, cat 0.45"]
    assert [float(row["score"]) for row in rows(run.results)] == pytest.approx([0.96, 0.9])
    tasks = (
        Task(name="size", class_names=("big", "small"), first=0),
        Task(name="has", class_names=("ear", "tail"), first=2, is_multi_label=True),
    )
    several = torch.tensor([[0.6, 0.4, 0.9, 0.1], [0.9, 0.1, 0.9, 0.45]])
    select(Wish(number=2, by=By.BOTH), Seen(seen.paths[:2], several, torch.eye(2)), "abcd", tasks, run)
    assert {row["path"][-5:]: row["reason"] for row in rows(run.results)} == {
        "0.png": "size: big 0.60, small 0.40",
        "1.png": "has: tail 0.45",
    }


def test_few_labels_make_both_choose_typical_ones(seen: Seen, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """39 of two classes are fewer than 20 for each; the largest cluster comes first."""
    select(Wish(number=3, by=By.BOTH), seen._replace(labels=39), ["cat", "dog"], (), run)
    assert [row["reason"] for row in rows(run.results)] == ["typical of many"] * 3
    assert [(int(Path(row["path"]).stem) > 4) + (int(Path(row["path"]).stem) > 7) for row in rows(run.results)] == [
        *(0, 1, 2)
    ]
    assert "typical ones, for 39 labels are fewer than 20 for each class" in capsys.readouterr().out
    select(Wish(number=3, by=By.BOTH), seen._replace(labels=40), ["cat", "dog"], (), run)
    assert "typical of many" not in [row["reason"] for row in rows(run.results)]


def test_features_that_are_the_same_are_told(seen: Seen, run: Run, caplog: pytest.LogCaptureFixture) -> None:
    same = seen._replace(features=torch.ones(10, 3))
    select(Wish(number=4, by=By.DIVERSITY), same, ["cat", "dog"], (), run)
    assert caplog.messages[-1].startswith("3 of the images chosen have the same features as others")
    assert len(rows(run.results)) == 4


def test_page_needs_nothing_else_and_escapes_all(tmp_path: Path, browser: "Chrome") -> None:
    hostile = tmp_path / "<script>alert(1)<script>.png"
    Image.new("RGB", (400, 300), (200, 30, 30)).save(hostile)
    chosen = [
        Chosen(hostile, "<b>cat</b> 0.5", 0.9),
        Chosen(tmp_path / "gone.png", "\"'><img src=x onerror=alert(1)>", 0.8),
    ]
    path = tmp_path / "selected.html"
    path.write_text(page(chosen, "2 of 2 <images>", 0))
    found = Page(path)
    names = [name for name, _ in found.tags]
    assert (names.count("script"), names.count("b"), names.count("img"), names.count("figure")) == (0, 0, 1, 2)
    assert "<b>cat</b> 0.5" in found.text
    assert "It can no longer be read" in found.text
    (image,) = (attributes for name, attributes in found.tags if name == "img")
    assert image["alt"] == "Image 1"
    browser.get(path.as_uri())
    assert browser.get_log("browser") == []  # type: ignore[no-untyped-call]
    assert browser.title == "tao_lite: 2 of 2 <images>"
    size = browser.execute_script(
        "const one = document.querySelector('img'); return [one.naturalWidth, one.naturalHeight]"
    )
    assert size == [224, 168]


def test_page_shows_the_first_of_many(tmp_path: Path) -> None:
    path = tmp_path / "selected.html"
    path.write_text(page([Chosen(tmp_path / "gone.png", "", 0)] * (MAX_SHOWN + 2), "many", 0))
    found = Page(path)
    assert [name for name, _ in found.tags].count("figure") == MAX_SHOWN
    assert "And 2 more, in selected.csv" in found.text


def test_images_are_chosen_beside_their_classes(trained: Path, colours: Path, tmp_path: Path) -> None:
    """A real run: 90 labels for three classes are 30 each. The most doubtful are those of the least margin."""
    out = tmp_path / "out"
    arguments = ("inference", "-m", trained / "weights/best.pth", "-d", colours, "-r", out)
    finished = tao_lite(*arguments, "--select", 6, "--by", "UNCERTAINTY")
    assert finished.returncode == 0, finished.stderr
    full = csv.DictReader((out / "predictions.csv").read_text().splitlines())
    highest = {one["path"]: sorted(float(one[name]) for name in ("blue", "green", "red")) for one in full}
    margins = {path: values[2] - values[1] for path, values in highest.items()}
    assert [row["path"] for row in rows(out)] == sorted(margins, key=margins.__getitem__)[:6]
    for row in rows(out):
        assert float(row["score"]) == pytest.approx(1 - margins[row["path"]], abs=1e-6)
    assert len([one for one in Page(out / "selected.html").tags if one[0] == "img"]) == 6

    finished = tao_lite(*arguments, "--select", 500)
    assert finished.returncode == 0, finished.stderr
    assert "--select 500: there are 120 images, and all were taken" in finished.stdout
    assert "those that the network is unsure of and that differ" in finished.stdout
    assert sorted(row["path"] for row in rows(out)) == sorted(margins)
    assert json.loads((out / "inference.json").read_text())["selected"] == 120


def test_what_is_known_is_not_chosen(trained: Path, colours: Path, tmp_path: Path) -> None:
    """All pictures of two colours are among the known ones, at distance 0; those of the third are not."""
    known, out = tmp_path / "known", tmp_path / "out"
    known.mkdir()
    for path in (one for name in ("blue", "green") for one in (colours / name).iterdir()):
        (known / f"{path.parent.name}_{path.name}").write_bytes(path.read_bytes())
    arguments = ("-m", trained / "weights/best.pth", "-d", colours, "-r", out, "--neighbours", known)
    finished = tao_lite("inference", *arguments, "--select", 10, "--by", "DIVERSITY")
    assert finished.returncode == 0, finished.stderr
    assert {Path(row["path"]).parent.name for row in rows(out)} == {"red"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--select", "0"), "Invalid value for '--select': 0 is not in the range x>=1."),
        (("--select", "-3"), "Invalid value for '--select': -3 is not in the range x>=1."),
        (("--by", "BOTH"), "--by says how --select chooses; give --select NUMBER too"),
        (("--select", "3", "--by", "LUCK"), "Invalid value for '--by': 'LUCK' is not one of"),
    ],
)
def test_bad_input_is_one_clear_error(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    finished = tao_lite("inference", "-m", tmp_path / "no.pth", "-d", tmp_path, *arguments)
    assert finished.returncode == 2
    assert message in finished.stderr


def test_deployed_network_chooses_by_uncertainty_only(
    exported: Callable[[str], Path], pictures: Path, run: Run
) -> None:
    ours = Spec(experiment(exported("tensor")), Path("a.cfg"))
    for by in (By.DIVERSITY, By.BOTH):
        with pytest.raises(RunError, match=rf"whose layers can't be asked; --select by {by}, unlike --by UNCERTAINTY,"):
            inference(ours, run, pictures, Extras(wish=Wish(number=2, by=by)))
    inference(ours, run, pictures, Extras(wish=Wish(number=2, by=By.UNCERTAINTY)))
    assert len(rows(run.results)) == 2
