"""What we write is there whole or not at all, goes through no link, and leaves nothing behind."""

import contextlib
import csv
import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tao_lite.errors import RunError
from tao_lite.files import writing

WRITES = """
import sys, time
from pathlib import Path
from tao_lite.files import writing

with writing.new_file(Path(sys.argv[1])) as file:
    file.write(b"half")
    file.flush()
    print("ready", flush=True)
    time.sleep(60)
"""


def writer(path: Path) -> "subprocess.Popen[str]":
    """A process in the middle of writing the file."""
    process = subprocess.Popen([sys.executable, "-c", WRITES, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    return process


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_file_is_replaced_when_the_block_ends_and_not_before(tmp_path: Path) -> None:
    path = tmp_path / "new" / "spec.cfg"
    writing.write(path, "old")
    with writing.new_file(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    with contextlib.suppress(KeyboardInterrupt), writing.new_file(path) as file:
        file.write(b"never")
        raise KeyboardInterrupt
    assert path.read_text() == "new"
    assert names(path.parent) == {"spec.cfg"}
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask()


def umask() -> int:
    value = os.umask(0)
    os.umask(value)
    return value


def test_a_link_is_replaced_and_never_written_through(tmp_path: Path) -> None:
    """FIELD.md C4."""
    precious = tmp_path / "precious"
    precious.write_text("precious")
    for name in ("status.json", "spec.cfg"):
        (tmp_path / name).symlink_to(precious)
    writing.write(tmp_path / "spec.cfg", "spec")
    assert not (tmp_path / "spec.cfg").is_symlink()
    with pytest.raises(RunError, match=r"status\.json: is a link, and is not written through; remove it"):
        writing.open_to_append(tmp_path / "status.json")
    assert precious.read_text() == "precious"


def test_only_a_regular_file_is_appended_to(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(RunError, match="is no regular file"):
        writing.open_to_append(tmp_path / "pipe")
    for _ in range(2):
        with writing.open_to_append(tmp_path / "status.json") as file:
            file.write(b"line\n")
    assert (tmp_path / "status.json").read_text() == "line\nline\n"


def test_a_temporary_has_a_name_that_nobody_can_guess_and_is_not_opened_through_a_link(tmp_path: Path) -> None:
    """FIELD.md C4."""
    process = writer(tmp_path / "a.pth")
    (first,) = names(tmp_path)
    process.kill()
    process.communicate()
    process = writer(tmp_path / "a.pth")
    (second,) = names(tmp_path) - {first}
    process.kill()
    process.communicate()
    assert first != second
    assert str(process.pid) not in second


def test_what_a_killed_writer_left_is_removed_and_what_a_live_one_holds_is_not(tmp_path: Path) -> None:
    """FIELD.md B7."""
    killed, live = writer(tmp_path / "a.pth"), writer(tmp_path / "b.pth")
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    (tmp_path / ".mine.part").touch()
    (tmp_path / f".tao_lite-{'0' * 16}.part").symlink_to("nowhere")
    writing.remove_dead(tmp_path)
    assert len(names(tmp_path)) == 2
    assert ".mine.part" in names(tmp_path)
    live.send_signal(signal.SIGINT)
    live.communicate()
    assert names(tmp_path) == {".mine.part"}


def test_a_folder_appears_whole_and_what_a_killed_writer_left_of_one_is_removed(tmp_path: Path) -> None:
    """FIELD.md B7, C4."""
    code = (
        "import time, sys; from pathlib import Path; from tao_lite.files import writing\n"
        "with writing.new_folder(Path(sys.argv[1])) as folder:\n"
        "    (folder / 'deep').mkdir(); print(1, flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, tmp_path / "set"], stdout=subprocess.PIPE)
    assert process.stdout
    process.stdout.readline()
    writing.remove_dead(tmp_path)
    assert len(names(tmp_path)) == 1
    process.kill()
    process.communicate()
    with writing.new_folder(tmp_path / "set") as folder:
        (folder / "a").touch()
        assert not (tmp_path / "set").exists()
    assert [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*"))] == ["set", "set/a"]


def test_a_disk_that_refuses_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    path.write_text("old")
    code = (
        "import resource, signal, sys; from pathlib import Path; from tao_lite.files import writing\n"
        "from tao_lite.errors import RunError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try: writing.write(Path(sys.argv[1]), bytes(2000))\n"
        "except RunError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    assert done.stdout == f"{path}: could not be written (File too large)\n"
    assert path.read_text() == "old"
    assert names(tmp_path) == {"a.pth"}


def test_a_full_disk_is_said_with_what_is_needed_and_what_is_free(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    with pytest.raises(RunError) as caught, writing.new_file(path, 4321):
        raise OSError(28, "No space left on device")
    said = str(caught.value)
    assert said.startswith(f"{path}: could not be written (No space left on device: 4,321 bytes are needed, ")
    assert said.endswith(" are free there)")


def test_an_alias_points_to_the_last_target(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
        writing.link(tmp_path / "best", tmp_path / name)
    assert (tmp_path / "best").read_text() == "b"
    assert names(tmp_path) == {"a", "b", "best"}


def test_names_that_are_no_utf8_keep_their_bytes(tmp_path: Path) -> None:
    """FIELD.md A8."""
    writing.write(tmp_path / "result.csv", os.fsdecode(b"k\xf6rper.png"))
    assert (tmp_path / "result.csv").read_bytes() == b"k\xf6rper.png"


def test_no_cell_of_a_csv_is_run_by_a_spreadsheet() -> None:
    """FIELD.md C5."""
    formulas = ["=1+1", "+1+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1"]
    text = writing.csv_text([formulas, ["-1.5", "+2", -3, "a=b", ""]])
    first, second = csv.reader(io.StringIO(text, newline=""))
    assert first == [f"'{word}" for word in formulas]
    assert second == ["-1.5", "+2", "-3", "a=b", ""]
