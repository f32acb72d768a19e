"""What is printed: golden lines in a pipe, the bar on a real pseudo-terminal, readers that leave early."""

import fcntl
import math
import os
import pty
import re
import shlex
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest
import torch

from tao_lite.metrics.counts import Counts, Evaluation
from tao_lite.monitor import console
from tao_lite.monitor.monitor import EpochRow

ROW = EpochRow(
    epoch=3,
    step=549,
    train_loss=0.412,
    train_accuracy=0.871,
    val_loss=0.5,
    val_accuracy=0.8526,
    learning_rate=0.0125,
    seconds=14.2,
)

TRAINING = """
import logging, time
from tao_lite.monitor import console
logging.basicConfig(handlers=[console.log_handler()], format="%(message)s")
with console.Progress() as progress:
    progress.begin("Epoch 3/80", total=183)
    progress.show(loss=0.412, accuracy=0.871, images_per_second=812)
    for batch in (40, 57):
        time.sleep(0.15)
        progress.advance(batch)
    logging.warning("an image was skipped")
    console.line("a line [bold]as it is[/bold]")
    progress.end("Epoch 3/80  done")
console.table("Names", ("class", "images"), [("[red]", 3), ("esc\\x1b[2J", 12)])
"""


def result_of(matrix: list[list[int]], class_names: list[str]) -> Evaluation:
    """The evaluation whose confusion matrix is the given one."""
    cells = [(true, seen) for true, row in enumerate(matrix) for seen, number in enumerate(row) for _ in range(number)]
    labels, predicted = torch.tensor(cells).T
    counts = Counts(len(matrix), torch.device("cpu"))
    counts.add(torch.nn.functional.one_hot(predicted, len(matrix)).float(), labels, torch.full((len(cells),), 0.25))
    return counts.result(class_names, 2)


def on_terminal(code: str, *, width: int = 100, **environment: str) -> str:
    """What a terminal of that width receives from the program, control codes included."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
    inherited = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES", "NO_COLOR")}
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=follower,
        stdout=follower,
        stderr=follower,
        env={**inherited, "TERM": "xterm-256color", **environment},
        cwd=Path(__file__).parents[2],
    )
    os.close(follower)
    received = b""
    try:
        while chunk := os.read(leader, 65536):
            received += chunk
    except OSError:  # EIO: the program has ended.
        pass
    os.close(leader)
    assert process.wait() == 0, received.decode()
    return received.decode()


def without_colours(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def shell(command: str) -> "subprocess.CompletedProcess[bytes]":
    """Run the command of bash; python in it is the one that runs the tests."""
    words = re.sub(r"\bpython\b", shlex.quote(sys.executable), command)
    return subprocess.run(["bash", "-c", words], cwd=Path(__file__).parents[2], capture_output=True, check=False)


def test_a_terminal_shows_the_bar_and_what_is_said_above_it() -> None:
    received = on_terminal(TRAINING)
    text = without_colours(received)
    assert re.search(r"Epoch 3/80 ━+╸?━+ 57/183  loss 0\.412  acc 0\.871  812 img/s  ETA 0:00:\d\d", text)
    assert received.count("\x1b[?25l") == received.count("\x1b[?25h") > 0, "the cursor is hidden and shown again"
    # What a line follows directly is the erased bar, not a part of it.
    for said in ("an image was skipped", "a line [bold]as it is[/bold]", "Epoch 3/80  done"):
        assert re.search(r"(^|\n|\x1b\[2K|\x1b\[1A)" + re.escape(said) + r" *\r\n", text), said
    assert "│ [red]      │      3 │" in text
    assert "│ esc\\x1b[2J │     12 │" in text


def test_the_bar_fits_a_narrow_terminal() -> None:
    lines = without_colours(on_terminal(TRAINING, width=72)).replace("\x1b[2K", "").split("\r")
    (drawn,) = {line.strip() for line in lines if "57/183" in line}
    assert len(drawn) <= 72
    assert drawn.startswith("Epoch 3/80 ━")
    assert re.search(r" 812 img/s  ETA 0:00:\d\d$", drawn)


def test_no_color_is_honoured() -> None:
    colour = re.compile(r"\x1b\[[0-9;]*3[0-9][0-9;]*m|\x1b\[[0-9;]*38;[0-9;]*m")
    assert colour.search(on_terminal(TRAINING))
    assert not colour.search(on_terminal(TRAINING, NO_COLOR="1"))


def test_a_terminal_that_cannot_move_its_cursor_gets_plain_lines() -> None:
    assert "\x1b" not in on_terminal(TRAINING, TERM="dumb")


def test_a_pipe_gets_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with console.Progress(every_seconds=0.0) as progress:
        progress.begin("Epoch 3/80", total=183, done=40)
        progress.show(loss=0.412, accuracy=0.871, images_per_second=811.7)
        progress.advance(183)
        progress.end(console.epoch_line(ROW, 80))
        progress.begin("Evaluation", total=0)
        progress.advance(0)
        progress.end()
    # Golden; 77 epochs of 14.2 s are 18 minutes and 13 seconds.
    assert capsys.readouterr().out == (
        "Epoch 3/80  40/183  loss 0.412  acc 0.871  812 img/s\n"
        "Epoch 3/80  183/183  loss 0.412  acc 0.871  812 img/s  ETA 0:00:00\n"
        "Epoch 3/80  loss 0.412  acc 0.871  val_loss 0.500  val_acc 0.853  lr 0.0125  0:00:14  ETA 0:18:13\n"
        "Evaluation  0/0\n"
    )


def test_plain_lines_come_at_most_every_so_many_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    with console.Progress(every_seconds=3600.0) as progress:
        progress.begin("Epoch 1/2", total=5000)
        for batch in range(5000):
            progress.advance(batch + 1)
        progress.end("Epoch 1/2  done")
    assert capsys.readouterr().out == "Epoch 1/2  done\n"


def test_other_ranks_show_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with console.Progress(is_main=False, every_seconds=0.0) as progress:
        progress.begin("Epoch 1/2", total=2)
        progress.advance(1)
        progress.show(loss=1.0)
        progress.end("Epoch 1/2  done")
    assert capsys.readouterr().out == ""


def test_a_plain_table_is_aligned_and_never_cut(capsys: pytest.CaptureFixture[str]) -> None:
    name = "a" * 200
    console.table("Layers", ("layer", "before", "share", "note"), [("対象", 11689512, 0.5, "x"), (name, 8, 1.0, True)])
    lines = capsys.readouterr().out.splitlines()
    # Golden; each of the two Japanese characters is two columns wide.
    assert lines == [
        "",
        "Layers",
        "layer" + " " * 195 + "      before   share  note",
        "-" * 200 + "  ----------  ------  ----",
        "対象" + " " * 196 + "  11,689,512  0.5000  x",
        name + "           8  1.0000  True",
    ]


def test_a_table_without_rows_is_its_head(capsys: pytest.CaptureFixture[str]) -> None:
    console.table("Layers", ("layer", "before"), [])
    assert capsys.readouterr().out == "\nLayers\nlayer  before\n-----  ------\n"


def test_an_evaluation_is_printed_whole(capsys: pytest.CaptureFixture[str]) -> None:
    console.evaluation(result_of([[6, 2], [1, 3]], ["Car", "Van"]))
    # Golden. Car: precision 6/7, recall 6/8; Van: 3/5, 3/4; the weighted mean counts Car twice.
    assert capsys.readouterr().out == (
        "12 images: top-1 0.7500, top-2 1.0000, loss 0.2500\n"
        "\n"
        "Scores per class\n"
        "class          precision  recall      f1  support\n"
        "-------------  ---------  ------  ------  -------\n"
        "Car               0.8571  0.7500  0.8000        8\n"
        "Van               0.6000  0.7500  0.6667        4\n"
        "macro mean        0.7286  0.7500  0.7333       12\n"
        "weighted mean     0.7714  0.7500  0.7556       12\n"
        "\n"
        "Confusion matrix\n"
        "true \\ predicted  Car  Van\n"
        "----------------  ---  ---\n"
        "Car                 6    2\n"
        "Van                 1    3\n"
    )


def test_a_matrix_too_wide_to_show_becomes_its_worst_entries(capsys: pytest.CaptureFixture[str]) -> None:
    matrix = [[4 * (row == column) for column in range(40)] for row in range(40)]
    matrix[7][9], matrix[8][1] = 4, 1
    console.evaluation(result_of(matrix, [f"class {i}" for i in range(40)]))
    assert capsys.readouterr().out.endswith(
        "The confusion matrix of 40 classes is too wide to show; evaluate.json has it.\n"
        "\n"
        "Most confused classes\n"
        "true     predicted  images  share of true\n"
        "-------  ---------  ------  -------------\n"
        "class 7  class 9         4         0.5000\n"
        "class 8  class 1         1         0.2000\n"
    )


def test_logits_that_are_not_finite_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    counts = Counts(2, torch.device("cpu"))
    counts.add(torch.full((3, 2), math.nan), torch.tensor([0, 1, 1]), torch.full((3,), math.nan))
    console.evaluation(counts.result(["a", "b"], 1))
    assert capsys.readouterr().out.startswith(
        "3 images: top-1 0.0000, loss nan\n3 of them gave logits that are not finite; they count as wrong\n"
    )


def test_a_bar_is_as_high_as_its_share_of_the_highest() -> None:
    assert console.sparkline([0, 1, 2, 3, 4, 5, 6, 7, 8]) == "▁▂▃▄▅▆▇██"
    assert console.sparkline([0.5, 0.5]) == "██"
    assert console.sparkline([0, 0]) == "▁▁"


LOOP = "from tao_lite.monitor import console\nfor i in range(20000): console.line(f'line {i} \\u2581')\n"


def test_a_reader_that_leaves_early_ends_nothing() -> None:
    finished = "import sys; print('finished', file=sys.stderr)"
    done = shell(f'set -o pipefail; python -c "{LOOP}{finished}" | head -n 1')
    assert (done.stdout, done.stderr, done.returncode) == ("line 0 ▁\n".encode(), b"finished\n", 0)


def test_a_full_disk_under_standard_output_is_said_once() -> None:
    done = shell(f'python -c "{LOOP}" >/dev/full')
    assert done.stderr == b"standard output was given up: [Errno 28] No space left on device\n"
    assert done.returncode == 0


def test_what_the_terminal_cannot_spell_is_replaced() -> None:
    done = shell(f'PYTHONIOENCODING=ascii python -c "{LOOP}" | tail -n 1')
    assert (done.stdout, done.stderr) == (b"line 19999 ?\n", b"")


def test_the_console_is_light_to_import() -> None:
    code = "import sys; from tao_lite.monitor import console; assert not {'torch', 'rich', 'numpy'} & set(sys.modules)"
    assert shell(f'python -c "{code}"').stderr == b""
