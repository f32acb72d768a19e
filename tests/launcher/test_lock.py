"""The locks of image and launcher hold all that these import, and no more, in the versions of the lock of all."""

import importlib.metadata
import re
import tomllib
from collections.abc import Collection, Iterable
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tao_lite.spec import trackers

ROOT = Path(__file__).resolve().parents[2]
FROM_BASE = set((ROOT / "containers" / "base.txt").read_text().splitlines()[1:])
LOCKS = ("containers/image.lock", "containers/launcher.lock")
# Their dependants are on other systems, or not in the lock on this one.
ELSEWHERE = {"colorama", "pywin32", "httpx2-jsfetch"}


def project() -> dict[str, list[str]]:
    """Requirements of each extra and group; "" for those that are always installed."""
    table = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project = table["project"]
    return {"": project["dependencies"], **project["optional-dependencies"], **table["dependency-groups"]}


def closure(requirements: Iterable[str], without: Collection[str] = ()) -> set[str]:
    """Normalised names of the requirements and of all they require, by the metadata of what is installed here."""
    found: set[str] = set()
    waiting = [(Requirement(text), "") for text in requirements]
    while waiting:
        requirement, extra = waiting.pop()
        name = re.sub(r"[-_.]+", "-", requirement.name).lower()
        applies = not requirement.marker or requirement.marker.evaluate({"extra": extra})
        if name in found or name in without or not applies:
            continue
        found.add(name)
        extras = ["", *requirement.extras]
        waiting += [(Requirement(text), one) for text in importlib.metadata.requires(name) or [] for one in extras]
    return found


def entries(path: str) -> dict[str, str]:
    """The entries of a lock by name and version."""
    texts = re.split(r"^(?=\S)", (ROOT / path).read_text(), flags=re.MULTILINE)[1:]
    return {text.split()[0].lower(): text for text in texts}


def names(path: str) -> set[str]:
    return {pinned.partition("==")[0] for pinned in entries(path)}


def is_installed() -> bool:
    """Whether the versions of the lock are installed here; `make test-oldest` has others, which need other things."""
    pinned = set(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE))
    found = {(re.sub(r"[-_.]+", "-", one.name).lower(), one.version) for one in importlib.metadata.distributions()}
    names = {name for name, _ in pinned}
    return all(one in pinned for one in found if one[0] in names)


needs_the_lock = pytest.mark.skipif(not is_installed(), reason="needs the versions of requirements.lock")


@needs_the_lock
def test_image_installs_what_every_stage_needs_and_the_base_lacks() -> None:
    # Who has one of the trackers builds an image with it.
    parts = [texts for name, texts in project().items() if name not in ("test", "dev", "bench", *trackers.NAMES)]
    assert names("containers/image.lock") - ELSEWHERE == closure([text for one in parts for text in one], FROM_BASE)


@needs_the_lock
def test_launcher_installs_what_starting_containers_needs() -> None:
    assert names("containers/launcher.lock") - ELSEWHERE == closure([*project()[""], *project()["build"]])


@pytest.mark.parametrize("path", LOCKS)
def test_every_entry_is_of_the_version_that_is_tested_and_has_hashes(path: str) -> None:
    found = entries(path)
    assert found
    assert found.keys() <= entries("requirements.lock").keys()
    assert all("--hash=sha256:" in entry for entry in found.values())
