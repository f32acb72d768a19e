"""Fixtures that every test may use."""

import logging
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from zlib import crc32

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from PIL import Image

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

    from tao_lite.run import Run

# Two OpenMP threads beside another busy process wait for each other: 10 times as slow as one thread. Must stand before
# torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A background job ignores Ctrl-C, one of nohup the end of its terminal, and so would all that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# A busy machine is no mistake of the code.
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")

ROOT = Path(__file__).resolve().parent.parent

EVERYTHING = bool(os.environ.get("EVERYTHING"))
"""Whether tests of many settings that differ little try all of them, which takes half an hour more."""

COLOURS = {"blue": (60, 80, 200), "green": (70, 180, 60), "red": (200, 60, 70)}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With SLOW=2/3 in the environment, of the slow tests the second of three parts; a test is always in the same."""
    if part := os.environ.get("SLOW"):
        number, parts = map(int, part.split("/"))
        left = [
            one for one in items if one.get_closest_marker("slow") and crc32(one.nodeid.encode()) % parts + 1 != number
        ]
        config.hook.pytest_deselected(items=left)
        items[:] = [one for one in items if one not in set(left)]


def process_of_rank(rank: int, results: Path) -> int:
    """Number of the process that trains in the folder as that rank."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command_line, variables = (folder / "cmdline").read_text(), (folder / "environ").read_text().split("\0")
        except OSError:
            continue
        if str(results) in command_line and f"RANK={rank}" in variables:
            return int(folder.name)
    raise AssertionError(f"no process of rank {rank}")


@pytest.fixture(autouse=True)
def log_level() -> Iterator[None]:
    """A command that a test runs in this process sets the level of our log; the next test has its own again."""
    log = logging.getLogger("tao_lite")
    level = log.level
    yield
    log.setLevel(level)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[Chrome]":
    """Headless Chromium; the test is skipped where it is not there."""
    programs = shutil.which("chromium"), shutil.which("chromedriver")
    if None in programs:
        pytest.skip("needs Chromium: apt-get install chromium chromium-driver")
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = programs[0]
    profile = tmp_path_factory.mktemp("profile")
    for word in ("headless=new", "no-sandbox", "disable-gpu", "no-first-run", "disable-background-networking"):
        options.add_argument(f"--{word}")
    for word in ("disable-component-update", "disable-sync", f"user-data-dir={profile}"):
        options.add_argument(f"--{word}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(programs[1]))
    yield driver
    driver.quit()


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real spec files and data sets beside the project; the test is skipped where it is not there."""
    folder = ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip("needs ../shared, the real spec files and data sets beside the project")
    return folder


@pytest.fixture(scope="session")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 noisy pictures of each of three colours, 40x36 pixels."""
    root = tmp_path_factory.mktemp("colours")
    rng = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (root / name).mkdir()
        for index in range(40):
            pixels = np.clip(rng.normal(colour, 60, (36, 40, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / name / f"{index:03d}.png")
    return root


@pytest.fixture
def run(tmp_path: Path) -> "Run":
    """A run of one process on the CPU, in a folder of its own."""
    from tao_lite.machine import distributed
    from tao_lite.run import Run

    return Run(results=tmp_path, world=distributed.start("cpu"))
