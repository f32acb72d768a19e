"""What a container costs at the start and at the end of a run, beside the same run without one.

    python tests/bench/launcher.py CHECKPOINT IMAGE_FOLDER [ROUNDS]

Classifies the images with the checkpoint, turn by turn here and with --docker, and prints medians in seconds. The
image may hold another build of torch than .venv, so the container's own time is taken from its launcher's log too.
"""

import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TAO_LITE = Path(sys.executable).with_name("tao-lite")


def main(checkpoint: Path, images: Path, rounds: int) -> None:
    times: dict[str, list[float]] = {"local": [], "docker": [], "of that, in the container": []}
    for number in range(rounds + 1):
        local, _ = seconds(checkpoint, images)
        whole, inside = seconds(checkpoint, images, "--docker", "-v")
        if number:  # The first round fills the caches of files.
            for kept, value in zip(times.values(), (local, whole, inside), strict=True):
                kept.append(value)
    for name, values in times.items():
        print(f"{name:<26} {statistics.median(values):6.2f} s  ({min(values):.2f} to {max(values):.2f})")
    costs = [whole - inside for whole, inside in zip(times["docker"], times["of that, in the container"], strict=True)]
    print(f"{'cost of the container':<26} {statistics.median(costs):6.2f} s  ({min(costs):.2f} to {max(costs):.2f})")


def seconds(checkpoint: Path, images: Path, *options: str) -> tuple[float, float]:
    """Time of one run, and how much of it was in the container by the launcher's log, 0 without one."""
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as results:
        command = [
            str(TAO_LITE),
            "inference",
            "-m",
            str(checkpoint),
            "-d",
            str(images),
            "-r",
            results,
            "--gpus",
            "0",
            *options,
        ]
        start = time.perf_counter()
        ran = subprocess.run(command, capture_output=True, text=True, check=True)
        whole = time.perf_counter() - start
    found = re.search(r"ran for ([\d.]+) s", ran.stderr)
    return whole, float(found[1]) if found else 0.0


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 5)
