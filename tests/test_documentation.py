"""The pages are true: links lead somewhere, commands run, tables and figures are those of the code."""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tao_lite.models.architectures import ARCHITECTURES
from tao_lite.stages.export.targets import TARGETS
from tests.bench import packages, table
from tests.bench.samples import RESULTS
from tests.conftest import ROOT
from tests.test_repository import FLOORS

# Folders where someone stands who needs to be told.
WITH_A_PAGE = (".", "specs", "containers", "tao_lite", "tests/bench")
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *(
            page
            for name in ("containers", "proto", "specs", "tao_lite", "tests")
            for page in (ROOT / name).rglob("*.md")
        ),
    ]
)
README = ROOT / "README.md"
ARCHITECTURE = ROOT / "tao_lite" / "README.md"

QUICK = {
    r"num_frames: \d+": "num_frames: 40",
    r"input_image_size: .*": 'input_image_size: "3,32,32"',
    r"n_layers: 18": "n_layers: 10",
    r"n_epochs: \d+": "n_epochs: 1",
}

_FENCED = re.compile(r"^( *)```.*?^\1```$", re.MULTILINE | re.DOTALL)
_RUNS = re.compile(r"^<!-- runs -->\n```(sh|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")


def named(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def prose(page: Path) -> str:
    """The page without its blocks of code."""
    return _FENCED.sub("", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """What a link may name after a #, by GitHub's rule."""
    found: list[str] = []
    for title in re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE):
        slug = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
        found.append(f"{slug}-{found.count(slug)}" if slug in found else slug)
    return set(found)


def links(page: Path) -> Iterator[tuple[str, Path, str]]:
    """Each relative link: as it stands there, the file, and what follows the #."""
    for link in _LINK.findall(prose(page)):
        if not re.match(r"[a-z]+:", link):
            path, _, anchor = link.partition("#")
            yield link, (page.parent / path).resolve() if path else page, anchor


def test_the_table_of_packages_has_every_architecture_and_every_package() -> None:
    """`python -m tests.bench.packages NAME` makes a row that is missing."""
    assert list(packages.stored()) == list(ARCHITECTURES)
    assert all(row.count("|") == len(TARGETS) + 2 for row in packages.stored().values())


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_link_leads_somewhere(page: Path) -> None:
    broken = [
        link
        for link, target, anchor in links(page)
        if not target.is_relative_to(ROOT) or not target.exists() or (anchor and anchor not in anchors(target))
    ]
    assert broken == []


def test_every_page_is_reached_from_the_readme() -> None:
    reached, ahead = {README}, [README]
    while ahead:
        new = {target for _, target, _ in links(ahead.pop()) if target.suffix == ".md"} - reached
        reached |= new
        ahead += new
    assert [named(page) for page in PAGES if page not in reached] == []


def test_every_folder_where_someone_stands_has_a_page() -> None:
    assert [folder for folder in WITH_A_PAGE if not (ROOT / folder / "README.md").is_file()] == []


def test_the_readme_is_a_door() -> None:
    assert README.stat().st_size <= 9_000


def test_every_target_of_make_that_a_page_names_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named_targets = {
        (named(page), target)
        for page in PAGES
        for target in re.findall(r"(?:`|^|&& |\$ )make +([a-z][a-z-]*)", page.read_text(), re.MULTILINE)
    }
    assert [one for one in sorted(named_targets) if one[1] not in targets] == []


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_program_file_that_a_page_names_exists(page: Path) -> None:
    names = re.findall(r"(?<=`)[\w/]+\.py(?=`)", prose(page))
    assert [name for name in names if not any((base / name).is_file() for base in (ROOT, page.parent))] == []


def test_the_architecture_tells_every_room_on_its_floor() -> None:
    told = re.findall(r"^\| (\d+) \| `([\w/]+)` \|", ARCHITECTURE.read_text(), re.MULTILINE)
    assert told == [(str(len(FLOORS) - 1 - depth), room) for depth, rooms in enumerate(FLOORS) for room in rooms]


def test_the_architecture_says_what_each_room_says_of_itself() -> None:
    page = ARCHITECTURE.read_text()
    for path in sorted((ROOT / "tao_lite").rglob("__init__.py")):
        room = path.parent.relative_to(ROOT / "tao_lite").as_posix()
        if room != ".":
            said = ast.get_docstring(ast.parse(path.read_text())) or ""
            assert re.search(rf"`{room}` \| {re.escape(said.splitlines()[0])}", page), room


def test_coming_from_tao_tells_all_that_compat_says() -> None:
    """Every literal part of every sentence that compat.py yields stands on the page."""
    page = (ROOT / "specs" / "guides" / "coming_from_tao.md").read_text().replace("&#124;", "|")
    tree = ast.parse((ROOT / "tao_lite" / "compat.py").read_text())
    sentences = [node.value for node in ast.walk(tree) if isinstance(node, ast.Yield) and node.value]
    parts = [part.value for one in sentences for part in ast.walk(one) if isinstance(part, ast.Constant)]
    words = [text for part in parts if isinstance(part, str) for text in re.split(r"`|: ", part) if len(text) > 20]
    assert len(words) > len(sentences)
    assert [text for text in words if text.strip() not in page] == []


def test_the_readmes_figures_of_speed_are_the_tables() -> None:
    figures = re.findall(r"(\d\.\d\d) times as fast as", README.read_text())
    measured = table.section(table.read(RESULTS))
    assert figures
    assert [figure for figure in figures if f"| {figure} x |" not in measured] == []


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder like a checkout whose specs take seconds."""
    for name in ("Makefile", "containers", "pyproject.toml", "requirements.lock", "tao_lite"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "specs").mkdir()
    for spec in (ROOT / "specs").glob("*.cfg"):
        text = spec.read_text()
        for pattern, quick in QUICK.items():
            text = re.sub(pattern, quick, text)
        (tmp_path / "specs" / spec.name).write_text(text)
    program = tmp_path / ".venv" / "bin" / "tao-lite"
    program.parent.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m tao_lite.cli "$@"\n')
    program.chmod(0o755)
    (tmp_path / ".venv" / "installed").touch()
    return tmp_path


@pytest.mark.slow
def test_every_block_that_is_marked_as_runnable_runs(checkout: Path) -> None:
    """The README's first, from which the others go on."""
    outside = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKEOVERRIDES", "ARGS")}
    environment = outside | {
        "PATH": f"{checkout / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "RUNNER": "local",
        "XDG_CACHE_HOME": str(checkout / "cache"),
    }
    pages = [README, *(page for page in PAGES if page != README)]
    blocks = [(page, *block) for page in pages for block in _RUNS.findall(page.read_text())]
    assert blocks[0][0] == README
    for page, language, text in blocks:
        words = [sys.executable, "-c", text] if language == "python" else ["bash", "-euo", "pipefail", "-c", text]
        done = subprocess.run(words, cwd=checkout, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{named(page)}:\n{text}\n{done.stdout}\n{done.stderr}"
