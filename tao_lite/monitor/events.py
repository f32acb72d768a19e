"""A TensorBoard file: each record is written by the caller's thread and on disk when the call returns."""

import os
import re
import socket
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from tao_lite.monitor.graph import Node

NUM_BINS = 64


class Events:
    """The records of one process. torch's SummaryWriter has a thread of its own for them.

    That thread prints a traceback when the disk is full, and shows the error to a later call. All methods here raise
    OSError where the file can't be written.
    """

    def __init__(self, folder: Path, resumed_step: int = 0) -> None:
        """Raises OSError where the file can't be made, ImportError where tensorboard is not installed."""
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from torch.utils.tensorboard import RecordWriter, summary

        self._event: Any = Event
        self._summary: Any = summary
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / _next_name(folder)
        self._file = self.path.open("xb")
        self._records = RecordWriter(self._file)
        # The session log makes readers forget what an earlier run wrote from this step on.
        first_step = resumed_step + 1 if resumed_step else 0
        try:
            self._write(Event(file_version="brain.Event:2"))
            self._write(Event(step=first_step, session_log=SessionLog(status=SessionLog.START)))
        except OSError:
            self.close()
            raise

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """A point of the curve of each tag."""
        self._add(step, [self._summary.scalar(tag, value) for tag, value in values.items()])

    def histograms(self, step: int, tensors: Iterable[tuple[str, "Tensor"]]) -> None:
        """The distribution of each tensor's finite values, by tag; none of a tensor without any."""
        flat = ((tag, values.detach().float().cpu()) for tag, values in tensors)
        finite = ((tag, values[values.isfinite()]) for tag, values in flat)
        self._add(step, [self._summary.histogram(tag, values, bins=NUM_BINS) for tag, values in finite if len(values)])

    def image(self, step: int, tag: str, image: "Image") -> None:
        """A picture."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        file = BytesIO()
        # Level 1 takes a third of the time of the default and makes files a tenth larger.
        image.save(file, "PNG", compress_level=1)
        encoded = Summary.Image(
            height=image.height,
            width=image.width,
            colorspace=len(image.getbands()),
            encoded_image_string=file.getvalue(),
        )
        self._add(step, [Summary(value=[Summary.Value(tag=tag, image=encoded)])])

    def text(self, step: int, tag: str, text: str) -> None:
        """A text in Markdown."""
        self._add(step, [self._summary.text(tag, text)])

    def pr_curves(self, step: int, curves: Mapping[str, "Tensor"]) -> None:
        """Precision and recall by threshold, by tag; each [6, T] as in PrecisionRecall.curves."""
        self._add(
            step,
            [self._summary.pr_curve_raw(tag, *curve.numpy(), curve.shape[1]) for tag, curve in curves.items()],
        )

    def graph(self, nodes: Sequence["Node"]) -> None:
        """The network's operations."""
        from tensorboard.compat.proto.attr_value_pb2 import AttrValue
        from tensorboard.compat.proto.graph_pb2 import GraphDef
        from tensorboard.compat.proto.node_def_pb2 import NodeDef
        from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto

        def definition(node: "Node") -> Any:
            shape = TensorShapeProto(dim=[TensorShapeProto.Dim(size=size) for size in node.shape])
            shapes = {"_output_shapes": AttrValue(list=AttrValue.ListValue(shape=[shape]))}
            return NodeDef(name=node.name, op=node.operation, input=node.inputs, attr=shapes)

        self._write(self._event(graph_def=GraphDef(node=map(definition, nodes)).SerializeToString()))

    def settings(self, step: int, settings: Mapping[str, float | str], metrics: Iterable[str]) -> None:
        """What the run was made with, and the tags of the curves whose last points say what came of it."""
        experiment, start, _ = self._summary.hparams(dict(settings), dict.fromkeys(metrics, 0))
        self._add(step, [experiment, start])

    def success(self, step: int) -> None:
        """What `settings` began has come to its end."""
        self._add(step, [self._summary.hparams({}, {})[2]])

    def close(self) -> None:
        """Never raises."""
        # Every record was flushed; what is left here could not be written before either.
        with suppress(OSError):
            self._file.close()

    def _add(self, step: int, summaries: Iterable[Any]) -> None:
        event = self._event(step=step)
        for summary in summaries:
            event.summary.MergeFrom(summary)
        self._write(event)

    def _write(self, event: Any) -> None:
        event.wall_time = time.time()
        self._records.write(event.SerializeToString())
        self._file.flush()


def _next_name(folder: Path) -> str:
    """A name behind those of all files there, also where the clock was set back.

    Readers take the files of a folder in the order of their names and never go back to an earlier one.
    """
    written = (re.match(r"events\.out\.tfevents\.(\d+)", path.name) for path in folder.iterdir())
    # They compare texts, so numbers of any length count from the left.
    newest = max((int(found[1].ljust(10, "0")[:10]) for found in written if found), default=0)
    return f"events.out.tfevents.{max(time.time(), newest + 1):.6f}.{socket.gethostname()}.{os.getpid()}"
