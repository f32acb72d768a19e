"""The parts of the lock that an image and a launcher install hold all that these import, and no more."""

import importlib.metadata
import importlib.util
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
BUILD = ["hatchling", "editables"]  # what installs tao_lite itself
FROM_BASE = re.compile(r"torch|torchvision|triton|nvidia-.*|cuda-.*")
# Their dependants are on other systems, or not in the lock on this one.
ELSEWHERE = {"colorama", "pywin32", "httpx2-jsfetch"}


def locked() -> ModuleType:
    spec = importlib.util.spec_from_file_location("locked", ROOT / "containers" / "locked.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def project() -> dict[str, list[str]]:
    """Requirements of each extra; "" for those that are always installed."""
    table = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return {"": table["dependencies"], **table["optional-dependencies"]}


def closure(requirements: Iterable[str]) -> set[str]:
    """Normalised names of the requirements and of all they require, by the metadata of what is installed here."""
    found: set[str] = set()
    waiting = [(Requirement(text), "") for text in requirements]
    while waiting:
        requirement, extra = waiting.pop()
        name = re.sub(r"[-_.]+", "-", requirement.name).lower()
        applies = not requirement.marker or requirement.marker.evaluate({"extra": extra})
        if name in found or not applies:
            continue
        found.add(name)
        extras = ["", *requirement.extras]
        waiting += [(Requirement(text), one) for text in importlib.metadata.requires(name) or [] for one in extras]
    return found


def names(purpose: str) -> set[str]:
    text = locked().part((ROOT / "requirements.lock").read_text(), purpose)
    return {name.lower() for name in re.findall(r"^([\w.-]+)==", text, re.MULTILINE)}


def is_installed() -> bool:
    """Whether the versions of the lock are installed here; `make test-oldest` has others, which need other things."""
    pinned = set(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE))
    found = {(re.sub(r"[-_.]+", "-", one.name).lower(), one.version) for one in importlib.metadata.distributions()}
    names = {name for name, _ in pinned}
    return all(one in pinned for one in found if one[0] in names)


needs_the_lock = pytest.mark.skipif(not is_installed(), reason="needs the versions of requirements.lock")


@needs_the_lock
def test_image_installs_what_every_stage_needs_and_the_base_lacks() -> None:
    needed = closure([text for name, texts in project().items() if name not in ("test", "dev") for text in texts])
    needed |= closure(BUILD)
    assert names("image") - ELSEWHERE == {name for name in needed if not FROM_BASE.fullmatch(name)}


@needs_the_lock
def test_launcher_installs_what_starting_containers_needs() -> None:
    assert names("launcher") - ELSEWHERE == closure([*project()[""], *BUILD])


@pytest.mark.parametrize("purpose", ["image", "launcher"])
def test_every_entry_keeps_its_hashes(purpose: str) -> None:
    text = locked().part((ROOT / "requirements.lock").read_text(), purpose)
    entries = re.split(r"^(?=\S)", text, flags=re.MULTILINE)[1:]
    assert entries
    assert all("--hash=sha256:" in entry for entry in entries)
