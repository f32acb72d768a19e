"""Time per image of ONNX files side by side in ONNX Runtime, on one thread: each in turn, medians, ratios to the first.

python tests/bench/quantize.py best.onnx best_int8.onnx [--batches 1 16] [--rounds 30]
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


def session(path: Path) -> Any:
    """The file, opened to compute on one thread."""
    onnxruntime = runtimes.import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def noise(opened: Any, batch: int) -> npt.NDArray[Any]:
    """What the file takes."""
    (port,) = opened.get_inputs()
    shape = (batch, *port.shape[1:])
    rng = np.random.default_rng(0)
    if port.type == "tensor(uint8)":
        return rng.integers(0, 256, shape, dtype=np.uint8)
    return rng.standard_normal(shape, np.float32)


def seconds(opened: Any, images: npt.NDArray[Any]) -> float:
    """Wall seconds of one pass."""
    started = time.perf_counter()
    opened.run(None, {opened.get_inputs()[0].name: images})
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 16])
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    sessions = [session(path) for path in options.files]
    version = runtimes.import_onnxruntime().__version__
    print(f"{platform.processor() or platform.machine()}, one thread, ONNX Runtime {version}")
    for batch in options.batches:
        images = [noise(opened, batch) for opened in sessions]
        for _ in range(2):
            list(map(seconds, sessions, images))
        rounds = [list(map(seconds, sessions, images)) for _ in range(options.rounds)]
        for index, path in enumerate(options.files):
            milliseconds = 1000 * statistics.median(one[index] for one in rounds) / batch
            ratios = sorted(one[0] / one[index] for one in rounds)
            half = f"{ratios[len(ratios) // 4]:.2f} to {ratios[-1 - len(ratios) // 4]:.2f}"
            print(
                f"batch {batch}: {path}, {path.stat().st_size / 1e6:.2f} MB: {milliseconds:.3f} ms per image, "
                f"{statistics.median(ratios):.2f} times as fast as the first (half of the rounds: {half})"
            )


if __name__ == "__main__":
    main()
