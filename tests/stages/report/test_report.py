"""The report: what it shows is what the run did, it needs nothing but itself, and nothing that is missing stops it."""

import base64
import io
import json
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

import tao_lite
from tao_lite.cli.main import main
from tao_lite.files import writing
from tao_lite.machine import distributed
from tao_lite.metrics.counts import Counts
from tao_lite.run import Run
from tao_lite.spec.load import load
from tao_lite.stages.dataset import report as dataset_report
from tao_lite.stages.dataset import sources
from tao_lite.stages.evaluate import evaluate
from tao_lite.stages.prune.prune import prune
from tao_lite.stages.report import page as report_page
from tao_lite.stages.report.network import NUM_MISTAKES
from tao_lite.stages.report.report import report
from tao_lite.stages.train.train import train
from tests.conftest import COLOURS

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

SPEC = """
model_config { arch: "resnet" n_layers: 10 use_batch_norm: true input_image_size: "3,32,32" }
train_config {
  train_dataset_path: "%(data)s"
  optimizer { sgd { momentum: 0.9 } }
  batch_size_per_gpu: 30
  n_epochs: 2
  random_seed: 3
  preprocess_mode: "torch"
  lr_config { cosine { learning_rate: 0.002 } }
  precision: FP32
}
dataset_config { val_split: 0.3 }
prune_config { target_ratio: 0.5 }
"""
WORLD = distributed.start("cpu")
EMPTY_TAGS = ("meta", "img", "br", "line", "rect", "path", "use", "input")


class Page(HTMLParser):
    """The tags of a page with their attributes, its text, and the cells of each row of its tables."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.rows: list[list[str]] = []
        self.open: list[str] = []
        self.feed(path.read_text())
        assert self.open == [], "every tag is closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in EMPTY_TAGS:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        if tag not in EMPTY_TAGS:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data.strip()

    def row(self, head: str) -> list[str]:
        """The cells after the first row's head that says this."""
        return next(cells[1:] for cells in self.rows if cells[0] == head)

    def pictures(self) -> list[dict[str, str]]:
        """Images, without the heat maps that lie over them."""
        return [one for one in self.all("img") if one.get("class") != "heat"]

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def trained(colours: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of training, evaluation and pruning."""
    folder = tmp_path_factory.mktemp("report") / "three colours"
    folder.mkdir()
    spec_file = folder.parent / "x.cfg"
    spec_file.write_text(SPEC % {"data": colours})
    run = Run(results=folder, world=WORLD)
    train(load(spec_file), run)
    evaluate(load(spec_file), run)
    prune(load(spec_file), run, measure=False)
    return folder


@pytest.fixture(scope="module")
def page(trained: Path) -> Page:
    return made(trained)


@pytest.fixture
def copied(trained: Path, tmp_path: Path) -> Path:
    """The same results in a folder to spoil, without weights: they were left on another machine."""
    return shutil.copytree(trained, tmp_path / "copy", ignore=shutil.ignore_patterns("weights", "*.html"))


def made(*folders: Path, read_data: bool = True) -> Page:
    output = folders[-1] / "report.html"
    report(folders, WORLD, output=output, read_data=read_data)
    return Page(output)


def summary(folder: Path, stage: str) -> dict[str, Any]:
    return dict(json.loads((folder / f"{stage}.json").read_text()))


def test_the_numbers_are_those_of_the_run(trained: Path, page: Page) -> None:
    train_summary, evaluated, pruned = (summary(trained, stage) for stage in ("train", "evaluate", "prune"))
    assert page.row("Validation top-1") == [f"{train_summary['val_accuracy']:.4f}"]
    assert page.row("Parameters") == [f"{train_summary['num_parameters']:,}"]
    assert page.row("Parameters kept by prune") == [f"{pruned['pruning_ratio']:.1%}"]
    # The report runs the network anew, on the images that evaluate saw too.
    assert f"top-1 {evaluated['top1']:.4f}, top-3" in page.text
    matrix = [cells for cells in page.rows if len(cells) == 4 and cells[0] in COLOURS][:3]
    assert [[int(cell) for cell in cells[1:]] for cells in matrix] == evaluated["confusion_matrix"]


def test_the_calibration_is_that_of_the_networks_answers(trained: Path, page: Page) -> None:
    nll = float(page.row("Negative log-likelihood")[0])
    assert nll == pytest.approx(summary(trained, "evaluate")["loss"], abs=1e-4)
    assert float(page.row("Negative log-likelihood")[1]) <= nll


def test_the_page_needs_nothing_but_itself(page: Page) -> None:
    policy = [one["content"] for one in page.all("meta") if one.get("http-equiv") == "Content-Security-Policy"]
    assert policy == ["default-src 'none'; style-src 'unsafe-inline'; img-src data:"]
    addresses = [one[name] for _, one in page.tags for name in ("src", "href", "xlink:href") if name in one]
    assert len(addresses) > 20
    assert [address for address in addresses if not address.startswith(("#", "data:image/png;base64,"))] == []
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in page.tags}


def test_pictures_have_texts_in_their_place(trained: Path, page: Page) -> None:
    evaluated = summary(trained, "evaluate")
    num_mistakes = round((1 - evaluated["top1"]) * evaluated["num_images"])
    mistakes = [one for one in page.pictures() if " taken for " in one["alt"]]
    assert NUM_MISTAKES <= len(mistakes) <= min(num_mistakes, 2 * NUM_MISTAKES)
    for image in mistakes:
        label, predicted = image["alt"].split(" with ")[0].split(" taken for ")
        assert {label, predicted} < set(COLOURS)
        assert f"/{label}/" in image["alt"], "the path, which tells the true class in this data set"
    drawn = [one for one in page.all("svg") if "aria-hidden" not in one]
    assert len(drawn) == 4
    assert {one["role"] for one in drawn} == {"img"}
    assert len(page.all("title")) == 1 + 4
    assert f"lowest val_loss {min(rows(trained, 'val_loss')):.4g} in epoch" in page.text


def rows(folder: Path, column: str) -> list[float]:
    lines = [line.split(",") for line in (folder / "training.csv").read_text().splitlines()]
    return [float(line[lines[0].index(column)]) for line in lines[1:]]


def heat(address: str) -> npt.NDArray[np.uint8]:
    """The pixels in a data: address."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))))


def test_a_heat_map_lies_over_each_mistake(page: Page) -> None:
    maps = [one for one in page.all("img") if one.get("class") == "heat"]
    assert len(maps) == len([one for one in page.pictures() if " taken for " in one["alt"]])
    assert "Heat maps by Grad-CAM: " in page.text
    for one in maps:
        pixels = heat(one["src"])
        assert pixels.shape == (2, 2, 4)
        assert pixels[..., 3].max() == 153, "the hottest place covers the picture by 0.6"


def test_a_weak_group_is_shown_with_what_is_wrong_in_it(trained: Path, colours: Path, tmp_path: Path) -> None:
    """What is called blue at night is green."""
    planted, run = tmp_path / "planted", shutil.copytree(trained, tmp_path / "run")
    shutil.copytree(colours, planted)
    shutil.copytree(planted / "green", planted / "blue" / "<night>")
    line = f'train_dataset_path: "{colours}"'
    text = (run / "spec.cfg").read_text()
    assert line in text
    (run / "spec.cfg").write_text(text.replace(line, f'{line} val_dataset_path: "{planted}"'))
    page = made(run)
    name, images, *_ = page.row("folder blue/<night>")
    assert (name, images) == ("blue", "40")
    shown = [one["alt"] for one in page.pictures() if "of the group folder blue/<night>" in one["alt"]]
    assert len(shown) >= 6
    assert all(text.startswith("blue, wrong, ") and f"{planted}/blue/<night>/" in text for text in shown)


def test_images_that_are_named_are_shown_with_each_networks_answer(
    trained: Path, copied: Path, colours: Path, tmp_path: Path
) -> None:
    output = tmp_path / "r.html"
    named = [colours / "red" / "000.png", colours / "blue" / "000.png"]
    words = [word for path in named for word in ("-i", str(path))]
    with pytest.raises(SystemExit) as end:
        main(["report", "-r", str(trained), "-r", str(copied), "-o", str(output), "--no_data", *words])
    assert end.value.code == 0
    page = Page(output)
    network = tao_lite.load(trained / "weights" / "best.pth", "cpu")
    assert [one["alt"] for one in page.pictures()] == [
        f"{name} with probability {probability:.2f}, {path}"
        for (name, probability), path in zip(network.predict(named), named, strict=True)
    ]
    assert len(page.all("img")) == 4
    assert page.text.count(f"Not there: {copied}/weights/best.pth: no such file") == 1


def test_an_image_that_is_not_there_is_refused(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["report", "-r", str(trained), "-i", "none.png"])
    assert (end.value.code, capsys.readouterr().err) == (2, "Error: none.png: no such image; check the path\n")


def test_runs_stand_side_by_side_with_what_differs(trained: Path, copied: Path) -> None:
    spec = (copied / "spec.cfg").read_text().replace("n_epochs: 2", "n_epochs: 3")
    (copied / "spec.cfg").write_text(spec)
    page = made(trained, copied)
    assert page.row("Epochs") == page.row("Epochs")[:1] * 2
    assert page.row("train_config.n_epochs") == ["2", "3"]
    assert [cells[0] for cells in page.rows if cells[0].startswith("train_config.")] == ["train_config.n_epochs"]
    assert "three colours, copy" in page.text
    assert page.row("Parameters")[1] == "-"


def test_a_path_is_shown_as_it_was_written(
    trained: Path, copied: Path, colours: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLOURS_FOLDER", str(colours))
    spec = (copied / "spec.cfg").read_text().replace(str(colours), "$COLOURS_FOLDER")
    (copied / "spec.cfg").write_text(spec)
    page = made(trained, copied, read_data=False)
    assert page.row("train_config.train_dataset_path") == [f'"{colours}"', '"$COLOURS_FOLDER"']


def test_what_the_best_epoch_was_chosen_by_is_told_where_it_is_not_top1(copied: Path) -> None:
    assert "Best epoch by" not in made(copied, read_data=False).text
    summary = json.loads((copied / "train.json").read_text())
    summary |= {"best_metric": "MACRO_F1", "val_macro_f1": 0.8125}
    (copied / "train.json").write_text(json.dumps(summary))
    assert made(copied, read_data=False).row("Best epoch by") == ["macro F1 0.8125"]


def test_runs_of_the_same_name_are_called_by_their_paths(trained: Path, tmp_path: Path) -> None:
    other = shutil.copytree(trained, tmp_path / trained.name)
    assert f"{trained}, {other}" in made(trained, other, read_data=False).text


def test_without_weights_and_data_the_rest_is_there(copied: Path) -> None:
    page = made(copied)
    assert page.row("Validation top-1") != ["-"]
    assert f"Not there: {copied}/weights/best.pth: no such file" in page.text
    assert len([one for one in page.all("svg") if one.get("role") == "img"]) == 3


def test_data_that_has_moved_is_named(trained: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(trained, tmp_path / "moved")
    text = (moved / "spec.cfg").read_text()
    path = next(line.split('"')[1] for line in text.splitlines() if "train_dataset_path" in line)
    (moved / "spec.cfg").write_text(text.replace(path, "/nowhere/colours"))
    page = made(moved)
    assert page.text.count("Not there: train_config.train_dataset_path: /nowhere/colours can't be read") == 6
    assert page.row("Parameters") != ["-"]


def test_without_data_nothing_is_read(trained: Path, tmp_path: Path) -> None:
    output = tmp_path / "x" / "r.html"
    with pytest.raises(SystemExit) as end:
        main(["report", "-r", str(trained), "-o", str(output), "--no_data"])
    assert end.value.code == 0
    assert "Not there: --no_data was given, so no image was read" in Page(output).text


def test_the_report_on_the_data_set_is_taken_in(trained: Path, copied: Path) -> None:
    experiment = load(trained / "spec.cfg").experiment
    found = sources.of_spec(experiment)
    found[0].options.report("x.png", "is broken")
    sides = sources.sides(experiment, found)
    sides = {**sides, "val": (*sides["val"], *sides["train"][:3])}
    values = dataset_report.report(sides, sources.reports(found), experiment)
    writing.write_json(copied / "dataset_report.json", values)
    page = made(copied, read_data=False)
    assert page.row("blue")[:2] == [str(values["splits"][side]["classes"]["blue"]) for side in ("train", "val")]
    assert "val shares 3 exact and 0 near copies with train." in page.text
    assert page.text.count("in two splits") == 3
    assert "error, label: x.png: is broken" in page.text
    assert values["advice"]
    assert all(text in page.text for text in values["advice"])
    weights = values["imbalance"]["weights"]["BALANCED"]
    assert [cells[1] for cells in page.rows if cells[0] == "red"][-1] == f"{weights['red']:.3f}"


def test_text_of_others_is_shown_and_not_obeyed(copied: Path) -> None:
    attack = "</pre></title><script>alert(1)</script><img src=x onerror=alert(1)>"
    folder = copied.rename(copied.with_name("<script>&\"'$x^2$"))
    (folder / "spec.cfg").write_text(f"# {attack}\n{(folder / 'spec.cfg').read_text()}")
    with (folder / "status.json").open("a") as file:
        file.write(json.dumps({"status": "FAILURE", "message": attack}) + "\n")
    (folder / "prune.json").write_text(
        json.dumps({"model_path": attack, "layers": [{"name": attack, "macs_before": 1}]})
    )
    (folder / "train.json").write_text(json.dumps({"precision": attack}))
    page = made(folder)
    assert "script" not in {tag for tag, _ in page.tags}
    assert page.all("img") == []
    assert page.text.count(attack) == 5
    assert "<script>&\"'$x^2$" in page.text


# A file, what is in it, and what the report says of it.
SPOILT = [
    ("train.json", "{", "train.json is not what a run of tao_lite writes"),
    ("train.json", "[1]", "it holds no JSON object"),
    ("train.json", '{"epochs": {}, "val_accuracy": "x", "duration_seconds": 1e300, "val_loss": NaN}', ""),
    ("train.json", f'{{"num_parameters": 1{"0" * 400}, "epochs": 1{"0" * 400}}}', ""),
    (
        "prune.json",
        '{"layers": 5}',
        "prune.json is not what a run of tao_lite writes: its content has another form",
    ),
    ("prune.json", '{"latency": [{"milliseconds": 3}]}', "prune.json is not what"),
    ("prune.json", '{"layers": [{"macs_before": "many"}]}', ""),
    ("dataset_report.json", '{"splits": {"train": 7}}', "dataset_report.json is not what"),
    ("dataset_report.json", "{}", ""),
    ("dataset_report.json", '{"splits": {"train": {"width": null}}, "imbalance": null, "problems": [{}]}', ""),
    (
        "dataset_report.json",
        '{"duplicates": {"exact": [{"members": [{"box": 7}]}]}}',
        "dataset_report.json is not what",
    ),
    ("evaluate.json", "null", "evaluate.json is not what"),
    ("training.csv", "a,b\n1,2\n", "it has no column epoch"),
    ("training.csv", "epoch,loss\n1,nan\nx,2\n3\n", ""),
    ("training.csv", "epoch,loss,val_loss\n1,1e308,-1e308\n2,0,1e-320\n1e300,1,1\n", ""),
    ("training.csv", "\x00\xff", "training.csv is not what"),
    ("status.json", "torn", ""),
    ("status.json", '{"status": "RUNNING", "message": 7}\n{"stat', ""),
    ("spec.cfg", "model_config {", "spec.cfg:1:"),
    ("spec.cfg", "\x00", "spec.cfg: is a binary file"),
]


def test_files_that_are_torn_or_foreign_stop_nothing(copied: Path) -> None:
    folders = [shutil.copytree(copied, copied.with_name(f"{number}")) for number in range(len(SPOILT))]
    for folder, (name, content, _) in zip(folders, SPOILT, strict=True):
        (folder / name).write_bytes(content.encode("latin-1"))
    page = made(*folders, read_data=False)
    for folder, (name, _, problem) in zip(folders, SPOILT, strict=True):
        said = [line for line in page.text.splitlines() if line.startswith(f"{folder.name}: ")]
        assert len(said) == bool(problem), (name, said)
        assert problem in "".join(said)


def test_a_run_that_goes_on_is_shown_as_far_as_it_is(copied: Path) -> None:
    for name in ("train", "evaluate", "prune"):
        (copied / f"{name}.json").unlink()
    table, status = copied / "training.csv", copied / "status.json"
    table.write_text("".join(table.read_text().splitlines(keepends=True)[:2]))
    status.write_text("".join(status.read_text().splitlines(keepends=True)[:2]) + '{"date": "11/')
    with pytest.raises(SystemExit):
        main(["report", "-r", str(copied), "--no_data"])
    page = Page(copied / "report.html")
    assert page.row("State") == ["RUNNING: Training loop in progress"]
    assert page.row("Epochs") == ["1"]
    assert page.row("Validation top-1") == [f"{rows(copied, 'val_acc')[0]:.4f}"]


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("none", "no such folder; -r takes the results folder of a run"),
        ("empty", "no run has left anything there; -r takes a results folder such as results/NAME"),
        ("foreign", "no run has left anything there; -r takes a results folder such as results/NAME"),
    ],
)
def test_a_folder_without_a_run_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, problem: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "letter.txt").write_text("Dear Sir")
    with pytest.raises(SystemExit) as end:
        main(["report", "-r", str(tmp_path / name)])
    assert (end.value.code, capsys.readouterr().err) == (2, f"Error: {tmp_path / name}: {problem}\n")


def test_of_many_classes_those_with_the_most_mistakes_are_in_the_matrix() -> None:
    # Class i is taken for class 0 in i of 50 cases: classes 0 and 7 to 25 have the most mistakes.
    counts = Counts(26, torch.device("cpu"))
    labels = torch.arange(26).repeat_interleave(50)
    answers = torch.where(torch.arange(50).repeat(26) < labels, 0, labels)
    counts.add(torch.nn.functional.one_hot(answers, 26).float(), labels, torch.zeros(len(labels)))
    found = report_page.matrix(counts.result([f"c{i}" for i in range(26)], 1))
    assert found.names == ("c0", *(f"c{i}" for i in range(7, 26)))
    assert found.rows[1] == ("c7", ((7, 0.14), (43, 0.86), *[(0, 0.0)] * 18))


@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_browser_shows_all_of_it(trained: Path, page: Page, browser: "Chrome", width: int, scheme: str) -> None:
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    feature = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    browser.get((trained / "report.html").as_uri())
    assert browser.get_log("browser") == []  # type: ignore[no-untyped-call]
    assert browser.title == "tao_lite: three colours"
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    is_over = browser.execute_script(
        "return [...document.querySelectorAll('.picture:has(.heat)')].every(one => {"
        "const [a, b] = [...one.children].map(image => image.getBoundingClientRect());"
        "return ['left', 'top', 'right', 'bottom'].every(side => Math.abs(a[side] - b[side]) < 1)"
        "})"
    )
    assert is_over, "the heat map has the place of its picture"
    switch = "document.querySelector('.heats').click();"
    shown = "return getComputedStyle(document.querySelector('.heat')).display"
    assert [browser.execute_script(script) for script in (shown, switch + shown, switch + shown)] == [
        *("block", "none", "block")
    ]
    boxes = browser.execute_script(
        "return [...document.querySelectorAll('figure > svg, figure img')].map(one => one.getBoundingClientRect())"
    )
    assert len(boxes) == 4 + len(page.all("img"))
    assert all(box["width"] >= 100 and box["height"] >= 100 and box["right"] <= width for box in boxes)
    paper, ink = browser.execute_script(
        "const style = getComputedStyle(document.querySelector('figure > svg text'));"
        "return [getComputedStyle(document.body).backgroundColor, style.fill]"
    )
    assert (luminance(paper) > luminance(ink)) == (scheme == "light")
    # The least contrast of text by WCAG 2 at level AA.
    high, low = sorted([luminance(paper), luminance(ink)], reverse=True)
    assert (high + 0.05) / (low + 0.05) >= 4.5


def luminance(colour: str) -> float:
    """Relative luminance of a colour such as rgb(1, 2, 3), by WCAG 2."""
    parts = [int(part) / 255 for part in colour.removeprefix("rgb(").removesuffix(")").split(",")]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
