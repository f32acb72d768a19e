"""What all files of a compression take in the runtime that will serve: on one thread, in rounds in turn."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from tao_lite.run import Run
from tao_lite.spec import classification_pb2 as pb
from tao_lite.stages.compress.sizes import Made
from tao_lite.stages.prune import latency
from tao_lite.training import clock
from tao_lite.training.clock import Times

BATCH_SIZES = (1, 16)

Measured = Mapping[tuple[float, bool], Mapping[int, Times]]
"""By share and whether it is INT8: by images in a batch the times, beside those of the first file."""


def measure(run: Run, made: Sequence[Made], runtime: "pb.Runtime.Kind.ValueType") -> Measured:
    """The times of each file there is.

    Raises:
        TaoLiteError: a file can't be opened.
    """
    files = dict[tuple[float, bool], Path]()
    for one in made:
        own = replace(run, results=run.size(one.share))
        files |= {} if one.failure else {(one.share, False): own.float_onnx}
        files |= {} if one.failure or one.refused else {(one.share, True): own.int8_onnx}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # which the runtimes take over
    try:
        opened = [latency.computed(path, runtime) for path in files.values()]
        by_batch = {
            batch: clock.in_turn([clock.of_file(one, batch) for one in opened], rounds=latency.ROUNDS)
            for batch in BATCH_SIZES
        }
    finally:
        torch.set_num_threads(threads)
    return {key: {batch: by_batch[batch][place] for batch in BATCH_SIZES} for place, key in enumerate(files)}


def name(runtime: "pb.Runtime.Kind.ValueType") -> str:
    """What the runtime is called."""
    return {pb.Runtime.ONNXRUNTIME: "ONNX Runtime", pb.Runtime.OPENVINO: "OpenVINO"}[runtime]
