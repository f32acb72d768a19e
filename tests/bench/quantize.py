"""Time per image of files side by side, on one thread: each in turn, medians, ratios to the first of the same runtime.

ONNX files are computed by ONNX Runtime, OpenVINO's (.xml) by OpenVINO:

python tests/bench/quantize.py best.onnx best_int8.onnx fp32/model.xml int8/model.xml [--batches 1 16] [--rounds 30]

Time is the processor's, which other programs move less than the clock's.
"""

import argparse
import platform
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tao_lite.training import runtimes

Array = npt.NDArray[Any]


class Opened:
    """A file, opened to compute on one thread."""

    def __init__(self, path: Path) -> None:
        self.path, self.is_ir = path, path.suffix == ".xml"
        if self.is_ir:
            openvino = runtimes.import_openvino(path)
            self.runtime = f"OpenVINO {openvino.__version__.partition('-')[0]}"
            settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}
            self._model = openvino.Core().compile_model(str(path), "CPU", settings)
            (port,) = self._model.inputs
            self._name, self._shape = port.any_name, [size.get_length() for size in list(port.partial_shape)[1:]]
            self._is_uint8 = port.element_type.get_type_name() == "u8"
        else:
            onnxruntime = runtimes.import_onnxruntime()
            self.runtime = f"ONNX Runtime {onnxruntime.__version__}"
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = 1
            self._model = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            (port,) = self._model.get_inputs()
            self._name, self._shape, self._is_uint8 = port.name, port.shape[1:], port.type == "tensor(uint8)"

    def noise(self, batch: int) -> Array:
        """What the file takes."""
        rng, shape = np.random.default_rng(0), (batch, *self._shape)
        if self._is_uint8:
            return rng.integers(0, 256, shape, dtype=np.uint8)
        return rng.standard_normal(shape, np.float32)

    def seconds(self, images: Array) -> float:
        """The processor's, of one pass."""
        started = time.process_time()
        if self.is_ir:
            self._model({self._name: images})
        else:
            self._model.run(None, {self._name: images})
        return time.process_time() - started

    @property
    def megabytes(self) -> float:
        """Of the file, with its weights."""
        parts = [self.path, *([self.path.with_suffix(".bin")] if self.is_ir else [])]
        return sum(part.stat().st_size for part in parts) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 16])
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    files = [Opened(path) for path in options.files]
    firsts = [next(index for index, one in enumerate(files) if one.runtime == own.runtime) for own in files]
    print(f"{platform.processor() or platform.machine()}, one thread, {', '.join({one.runtime: 0 for one in files})}")
    for batch in options.batches:
        images = [one.noise(batch) for one in files]
        for _ in range(2):
            list(map(Opened.seconds, files, images))
        rounds = [list(map(Opened.seconds, files, images)) for _ in range(options.rounds)]
        for index, (one, first) in enumerate(zip(files, firsts, strict=True)):
            milliseconds = 1000 * statistics.median(times[index] for times in rounds) / batch
            ratios = sorted(times[first] / times[index] for times in rounds)
            low, high = ratios[len(ratios) // 4], ratios[-1 - len(ratios) // 4]
            unclear = ", which is within the spread: no verdict" if index != first and low <= 1 <= high else ""
            print(
                f"batch {batch}: {one.path}, {one.megabytes:.2f} MB, {one.runtime}: {milliseconds:.3f} ms per image, "
                f"{statistics.median(ratios):.2f} times as fast as the first of that runtime (half of the rounds: "
                f"{low:.2f} to {high:.2f}{unclear})"
            )


if __name__ == "__main__":
    main()
