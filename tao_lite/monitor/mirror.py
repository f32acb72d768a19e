"""Passes on what is written to a TensorBoard file, as a process of its own: `python -m tao_lite.monitor.mirror`.

It reads a request (a line of JSON, by `trackers.Trackers`), follows the file until its input ends, and then sends the
rest. What it has to say goes to its output, a line each with its level; what the trackers' libraries say is its log.
"""

import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, TextIO

from tao_lite.errors import RunError, printable
from tao_lite.files import reading, writing
from tao_lite.monitor.sinks import SINKS, Sink

_PAUSE = 1.0


def main() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # Its end is that of its input.
    request, said = json.loads(sys.stdin.readline()), _own_output()
    if request["key"]:
        os.environ["WANDB_API_KEY"] = request["key"]
    is_over = threading.Event()
    threading.Thread(target=_wait, args=(is_over,), daemon=True).start()
    results = Path(request["results"])
    numbers = Path(request["runs"])
    known = _known(numbers) if request["is_resumed"] else {}
    sinks = dict(_opened(request, results, known, said))
    if sinks:
        writing.write_json(numbers, {**known, **{name: sink.number for name, sink in sinks.items()}})
    for event in _events(Path(request["events"]), is_over):
        _each(sinks, said, lambda sink, event=event: _pass_on(event, sink))
    _each(sinks, said, lambda sink: sink.close())
    # Their libraries leave threads behind.
    sys.stderr.flush()
    os._exit(0)


def _wait(is_over: threading.Event) -> None:
    """For the end of the input, which is that of the training, however it came."""
    sys.stdin.read()
    is_over.set()


def _opened(request: dict[str, Any], results: Path, known: dict[str, str], said: TextIO) -> Iterator[tuple[str, Sink]]:
    for name, config in request["trackers"].items():
        try:
            sink = SINKS[name](config, results, known.get(name))
            sink.settings(request["settings"])
        except (Exception, SystemExit) as error:  # noqa: BLE001 - libraries of others, of which none may matter
            _give_up(name, error, said)
        else:
            print(f"INFO {name}: {printable(sink.place)}", file=said, flush=True)
            yield name, sink


def _each(sinks: dict[str, Sink], said: TextIO, do: Any) -> None:
    """Let each do its part; one that can't is given up."""
    for name, sink in list(sinks.items()):
        try:
            do(sink)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - as above
            del sinks[name]
            _give_up(name, error, said)


def _give_up(name: str, error: BaseException, said: TextIO) -> None:
    logging.getLogger(__name__).error("%s", name, exc_info=error)
    reason = str(error).strip().splitlines() or [type(error).__name__]
    if isinstance(error, ImportError):
        reason = [f"{reason[0]}; pip install 'tao-lite[{name}]'"]
    text = f"{name} was given up: {printable(reason[0])}; the training goes on without it"
    print(f"WARNING {text}", file=said, flush=True)


def _pass_on(event: Any, sink: Sink) -> None:
    from PIL import Image

    kinds = [(value.WhichOneof("value"), value) for value in event.summary.value]
    values = {value.tag: value.simple_value for kind, value in kinds if kind == "simple_value"}
    if values:
        sink.scalars(event.step, values)
    for kind, value in kinds:
        if kind == "image":
            sink.image(event.step, value.tag, Image.open(BytesIO(value.image.encoded_image_string)))


def _events(path: Path, is_over: threading.Event) -> Iterator[Any]:
    """The file's records as they come, until it is over and all were read."""
    from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader

    loader = LegacyEventFileLoader(str(path))
    while True:
        is_last = is_over.is_set()
        yield from loader.Load()
        if is_last:
            return
        is_over.wait(_PAUSE)


def _known(path: Path) -> dict[str, str]:
    """The runs of the trackers in which the training before this one ended."""
    try:
        found = reading.read_json(path, RunError)
    except (OSError, RunError):
        return {}
    return {name: str(number) for name, number in found.items()} if isinstance(found, dict) else {}


def _own_output() -> TextIO:
    """This process's output; what others write there goes to the log from now on."""
    own = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return own


if __name__ == "__main__":
    main()
