"""The index of a data set: the same examples, reports and words as from its folders, and never those of before."""

import fcntl
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path

import pytest
from PIL import Image

from tao_lite.data import index
from tao_lite.data.columns import Texts
from tao_lite.data.dataset import load
from tao_lite.data.example import Example, KittiOptions, Options, Span
from tao_lite.data.examples import Examples
from tao_lite.data.formats.table import FORMATS
from tao_lite.data.left_out import LeftOut
from tests.data.test_grouping import in_format

MAPPED = "examples are listed there, as they were found before"

# One at each end of what a column can hold.
EXAMPLES = (
    Example(Path("/data/a/1.png"), "a", "a/1.png"),
    Example(Path("/data/a/\udcff.png"), "a", "one", box=(0, 0, 1, 2), occluded=2, truncated=0.25),
    Example(Path("/elsewhere/2.png"), "b", "one", weight=0.1, place="list.csv:3", full_scale=4095, annotated="c"),
    Example(Path("/data/shard#1"), "", "\ud800", span=Span(Path("/data/shard"), 2**40, 7), labels=("x/1", "y/")),
)


@pytest.fixture(autouse=True)
def for_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """An index of any number of examples, of files that were written just now."""
    monkeypatch.setattr(index, "LEAST", 1)
    monkeypatch.setattr(index, "_SETTLED_SECONDS", -1e9)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two classes, an empty file, and what is no picture."""
    root = tmp_path / "data"
    for name in ("cat", "dog"):
        (root / name / "deep").mkdir(parents=True)
        for number in range(3):
            Image.new("L", (8, 8), number).save(root / name / "deep" / f"{number}.png")
    (root / "cat" / "notes.txt").touch()
    (root / "cat" / "lost.png").symlink_to("nowhere")
    (root / "dog" / "Thumbs.db").touch()
    return root


@pytest.fixture
def options(tmp_path: Path) -> Options:
    return Options(index_dir=tmp_path / "indexes")


def everything(examples: Sequence[Example]) -> list[dict[str, object]]:
    """All that examples hold, what is no part of their equality too."""
    return [{field.name: getattr(one, field.name) for field in fields(one)} for one in examples]


def read(root: Path, options: Options, kind: str = "AUTO") -> tuple[object, ...]:
    """What comes of a data set: examples, what is left out, and what of that is told."""
    report = LeftOut("it")
    examples = load(root, kind, replace(options, report=report))
    return everything(examples), report.values(), report.problems


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The log since this was asked last, without what is about indexes."""
    found = [record.getMessage() for record in caplog.records if record.name != index.__name__]
    caplog.clear()
    return found


def settle() -> None:
    """Let the system's clock for files tick."""
    time.sleep(0.02)


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_gives_the_same_from_its_index(
    tmp_path: Path, options: Options, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    root = in_format(tmp_path / "data", kind)
    if kind == "MULTITASK":
        names = [f"images/{path.name},{number}" for number, path in enumerate((root / "images").iterdir())]
        root /= "tasks.csv"
        root.write_text("\n".join(["fname,task", *names, "images/lost.png,1"]))
    # Something to report.
    for label in [*root.rglob("label*/*.txt")][:1]:
        label.write_text("nonsense")
    caplog.set_level(logging.INFO, "tao_lite")
    plain, words = read(root, Options(), kind), said(caplog)
    assert read(root, options, kind) == plain
    assert said(caplog) == words
    assert read(root, options, kind) == plain
    assert MAPPED in caplog.text
    assert said(caplog) == words


def test_what_is_left_out_is_said_at_each_start(root: Path, options: Options, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "tao_lite")
    plain, words = read(root, Options()), said(caplog)
    assert f"{root}/cat/lost.png: not a file, or a link to nothing" in words
    for _ in range(2):
        assert read(root, options) == plain
        assert said(caplog) == words
    # One that shows warnings only may be the first, and leaves the next what it did not show.
    shutil.rmtree(tmp := options.index_dir or root)
    assert not tmp.exists()
    caplog.set_level(logging.WARNING, "tao_lite")
    read(root, options)
    caplog.set_level(logging.INFO, "tao_lite")
    said(caplog)
    assert (read(root, options), said(caplog)) == (plain, words)


def replaced(folder: Path, other: Path) -> None:
    shutil.rmtree(folder)
    shutil.copytree(other, folder)


CHANGES: dict[str, Callable[[Path], object]] = {
    "a picture more": lambda root: shutil.copy(root / "cat/deep/0.png", root / "dog/deep/new.png"),
    "one less": lambda root: (root / "dog/deep/0.png").unlink(),
    "one renamed": lambda root: (root / "dog/deep/0.png").rename(root / "dog/deep/9.png"),
    "a class more": lambda root: shutil.copytree(root / "cat", root / "owl", symlinks=True),
    "a class moved": lambda root: (root / "cat").rename(root / "kitten"),
    "another folder in its place": lambda root: replaced(root / "cat", root / "dog"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_seen(root: Path, options: Options, change: str) -> None:
    before = read(root, options)
    settle()
    CHANGES[change](root)
    assert read(root, options) == read(root, Options()) != before


def test_a_label_that_is_changed_in_place_is_seen(tmp_path: Path, options: Options) -> None:
    root = in_format(tmp_path / "data", "KITTI")
    before = read(root, options)
    settle()
    label = next((root / "label_2").iterdir())
    status = label.stat()
    label.write_text(label.read_text().replace("cat", "dog"))
    os.utime(label, ns=(status.st_atime_ns, status.st_mtime_ns))  # of the same size and, as it says, age
    assert read(root, options) == read(root, Options()) != before


def test_other_options_are_another_data_set(tmp_path: Path, options: Options) -> None:
    root = in_format(tmp_path / "data", "KITTI")
    assert read(root, options) != read(root, replace(options, kitti=KittiOptions(margin=0.5)))
    assert read(root, options) == read(root, Options())


@pytest.mark.parametrize("damage", ["cut off", "one bit", "empty", "another program's", "of other data"])
def test_a_damaged_index_is_made_anew_and_that_is_said_once(
    root: Path, options: Options, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    plain = read(root, options)
    assert options.index_dir
    (path,) = options.index_dir.glob("*.index")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    shutil.copytree(root, other := root.with_name("other"), symlinks=True)
    (other / "cat" / "deep" / "0.png").unlink()
    read(other, options)
    (foreign,) = set(options.index_dir.glob("*.index")) - {path}
    wrong: dict[str, bytes | bytearray] = {
        "cut off": content[:-9],
        "one bit": content,
        "empty": b"",
        "another program's": b"SQLite format 3\0" * 9,
        "of other data": foreign.read_bytes(),
    }
    path.write_bytes(wrong[damage])
    caplog.clear()
    assert read(root, options) == plain
    assert [text for text in caplog.messages if text.startswith(str(path))] == [
        f"{path}: damaged or no index of these data; made anew"
    ]
    caplog.clear()
    assert read(root, options) == plain
    assert str(path) not in caplog.text


def test_where_none_can_be_kept_it_is_done_without(
    root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    assert read(root, Options(index_dir=tmp_path / "file" / "indexes")) == read(root, Options())
    assert f"no index of {root} can be kept, so that it is read anew at each start: " in caplog.text


def test_few_examples_and_new_ones_have_no_index(root: Path, options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "_SETTLED_SECONDS", 60)
    read(root, options)
    monkeypatch.setattr(index, "_SETTLED_SECONDS", -1e9)
    monkeypatch.setattr(index, "LEAST", 7)
    read(root, options)
    assert options.index_dir
    assert not options.index_dir.exists()


def test_old_indexes_go(root: Path, options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "NUM_KEPT", 2)
    assert options.index_dir
    for number in range(3):
        read(root, replace(options, name=f"data set {number}"))
        for path in options.index_dir.iterdir():
            os.utime(path, (time.time() - 100 + number,) * 2) if path.stat().st_mtime > time.time() - 50 else None
    assert len(list(options.index_dir.iterdir())) == 2


LOADING = """
import logging, sys
from pathlib import Path
from tao_lite.data import index
from tao_lite.data.dataset import load
from tao_lite.data.example import Options

index.LEAST, index._SETTLED_SECONDS = 1, -1e9
logging.basicConfig(level=logging.INFO, format="%(message)s")
assert len(load(Path(sys.argv[1]), "IMAGE_FOLDER", Options(index_dir=Path(sys.argv[2])))) == 6
"""


@pytest.mark.slow
def test_of_several_processes_one_reads_and_the_others_wait_for_it_or_for_its_death(
    root: Path, options: Options
) -> None:
    locking = f"import fcntl, os; fcntl.flock(os.open({str(root)!r}, os.O_RDONLY), fcntl.LOCK_EX); print(); input()"
    first = subprocess.Popen([sys.executable, "-c", locking], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert first.stdout
    first.stdout.readline()
    others = [
        subprocess.Popen(
            [sys.executable, "-c", LOADING, str(root), str(options.index_dir)], stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    time.sleep(0.5)
    assert all(process.poll() is None for process in others)
    first.send_signal(signal.SIGKILL)
    texts = [process.communicate()[1] for process in others]
    first.communicate()
    assert [process.returncode for process in others] == [0, 0], texts
    assert any("is kept there for the next start" in text for text in texts)
    assert read(root, options, "IMAGE_FOLDER")[0] == read(root, Options(), "IMAGE_FOLDER")[0]
    descriptor = os.open(root, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # nobody has kept it
    os.close(descriptor)


def test_columns_give_back_what_they_were_made_of() -> None:
    found = Examples.of(EXAMPLES, "/data/")
    assert everything(found) == everything(EXAMPLES)
    assert everything([found[-1], *found[1:3]]) == everything([EXAMPLES[-1], *EXAMPLES[1:3]])
    assert [*found.paths()] == [str(one.path) for one in EXAMPLES]
    assert [*Examples.of(())] == []
    assert found == EXAMPLES
    assert found != EXAMPLES[:3]
    with pytest.raises(IndexError):
        found[4]


def test_labels_are_counted_in_the_order_of_the_examples_and_can_be_changed() -> None:
    found = Examples.of(EXAMPLES[:3])[::-1]
    assert list(found.counts().items()) == [("b", 1), ("a", 2)]
    changed = found.relabelled({1: "z"})
    assert everything(changed) == everything([EXAMPLES[2], replace(EXAMPLES[1], label="z", annotated="a"), EXAMPLES[0]])
    assert changed.relabelled({}) is changed


def test_a_digest_is_of_the_examples_and_not_of_their_folder() -> None:
    def digest(*examples: Example, above: str = "/data/") -> str:
        return Examples.of(examples, above).digest()

    moved = [replace(one, path=Path("/other") / one.path.relative_to("/data")) for one in EXAMPLES[:2]]
    assert digest(*EXAMPLES[:2]) == digest(*moved, above="/other/")
    others = [EXAMPLES[1::-1], EXAMPLES[:1], [EXAMPLES[0], replace(EXAMPLES[1], label="b")]]
    others += [[EXAMPLES[0], replace(EXAMPLES[1], box=(0, 0, 1, 3))], [EXAMPLES[0], replace(EXAMPLES[1], weight=2)]]
    assert len({digest(*EXAMPLES[:2]), *(digest(*one) for one in others)}) == 6


def test_many_texts_are_what_they_were() -> None:
    texts = [f"{'ä' * (number % 3)}{number}" for number in range(2**16 + 3)]
    assert [*Texts.of(texts)] == texts
    assert Texts.of(texts)[-0] == "0"
