"""The page of an audit in a real browser: by keyboard to a decisions.csv that is read back, narrow, and accessible."""

import csv
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image

from tao_lite.data.example import Example
from tao_lite.files.writing import csv_text
from tao_lite.stages.audit import rows as audit_rows
from tao_lite.stages.audit.evidence import Evidence
from tao_lite.stages.audit.page import page

if TYPE_CHECKING:
    from selenium.webdriver import Chrome
    from selenium.webdriver.remote.webelement import WebElement

ATTACK = "</article><script>alert(1)</script>\"'"
NAMES = ("=cat", ATTACK)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """audit.html of 24 pictures; the first three labels are doubtful, the second is of a box and a name with a CR."""
    folder = tmp_path_factory.mktemp("page")
    paths = [folder / (f"{number}.png" if number != 1 else "1\r,x.png") for number in range(24)]
    for number, path in enumerate(paths):
        Image.new("RGB", (60, 40), (9 * number, 90, 200)).save(path)
    examples = [
        Example(path, NAMES[number % 2], str(number), box=(1, 2, 30, 33) if number == 1 else None)
        for number, path in enumerate(paths)
    ]
    labels = np.arange(24) % 2
    probabilities = np.eye(2)[labels] * 0.8 + 0.1
    for number, value in enumerate((0.99, 0.98, 0.97)):
        probabilities[number, [labels[number], 1 - labels[number]]] = (1 - value, value)
    evidence = Evidence(
        examples=examples,
        class_names=NAMES,
        probabilities=probabilities,
        labels=labels,
        features=torch.eye(24),
        by=ATTACK,
    )
    assert evidence.features is not None
    neighbours = audit_rows.neighbours_of(evidence.features)
    rows = audit_rows.listed(evidence, neighbours)
    assert [row.place for row in rows] == [0, 1, 2]
    (folder / "audit.html").write_text(page(evidence, rows, neighbours))
    return folder


def opened(browser: "Chrome", folder: Path, *, width: int = 1280) -> None:
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(folder)})
    browser.get((folder / "audit.html").as_uri())


def press(browser: "Chrome", *keys: str) -> None:
    for key in keys:
        active: WebElement = browser.switch_to.active_element
        active.send_keys(key)


def decisions(browser: "Chrome", folder: Path) -> list[list[str]]:
    """What the page's button downloads."""
    file = folder / "decisions.csv"
    file.unlink(missing_ok=True)
    browser.find_element("id", "save").click()
    ends = time.monotonic() + 20
    while not file.is_file() and time.monotonic() < ends:
        time.sleep(0.05)
    with file.open(newline="") as lines:
        return list(csv.reader(lines))


def as_read(*cells: object) -> list[str]:
    return next(csv.reader(csv_text([cells]).splitlines(keepends=True)))


def test_the_keyboard_decides_and_the_download_is_read_back(browser: "Chrome", folder: Path) -> None:
    opened(browser, folder)
    from selenium.webdriver.common.keys import Keys

    press(browser, Keys.TAB, Keys.ENTER)  # begin with the first
    press(browser, "a", "u", "p", "n", "k")
    assert browser.find_element("id", "done").text == "3 of 3 decided"
    head, *found = decisions(browser, folder)
    assert head == ["path", "box", "label", "likely", "decision"]
    assert found == [
        as_read(folder / "0.png", "", NAMES[0], NAMES[1], "accept"),
        as_read(folder / "1\r,x.png", "1 2 30 33", NAMES[1], NAMES[0], "unsure"),
        as_read(folder / "2.png", "", NAMES[0], NAMES[1], "keep"),
    ]
    opened(browser, folder)
    assert browser.find_element("id", "done").text == "3 of 3 decided", "a reload loses nothing"
    # The same once more takes a decision back; buttons do it too.
    browser.find_elements("css selector", "button[value=accept]")[0].click()
    assert [row[4] for row in decisions(browser, folder)[1:]] == ["unsure", "keep"]
    assert browser.get_log("browser") == []  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
def test_the_page_is_whole_and_accessible(browser: "Chrome", folder: Path, width: int, scheme: str) -> None:
    feature = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    opened(browser, folder, width=width)
    assert browser.get_log("browser") == []  # type: ignore[no-untyped-call]
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert len(browser.find_elements("css selector", "script")) == 1
    loaded = browser.execute_script("return [...document.images].map((one) => one.naturalWidth > 0)")
    assert loaded == [True] * 3 * 5
    axe = pytest.importorskip("axe_core_python.selenium").Axe()
    found: list[dict[str, Any]] = axe.run(browser)["violations"]
    assert [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in ("serious", "critical")] == []
