"""Training from a slow store through a cache of a tenth of the data, beside the same from local files, on one core.

    taskset -c 0 python -m tests.bench.remote [--images 20000] [--latency 0.02]

A real S3 server (moto's) and the way that delays each request run on the other cores. Drawn pictures of 64 pixels as
JPEG; ResNet-18, one epoch; nothing decoded is kept. Prints the share of the training's time that it waited for data and
the images per second of both, and whether their weights are equal.
"""

import argparse
import io
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from tao_lite import checkpoint as checkpoints
from tao_lite.data.formats.shard_index import index_name, scan, written
from tests import s3

NUM_SHARDS, SIDE = 40, 64
SPEC = """
model_config {{ arch: "resnet" n_layers: 18 use_batch_norm: true input_image_size: "3,64,64" }}
train_config {{
  train_dataset_path: "{data}" val_dataset_path: "{val}" preprocess_mode: "torch"
  optimizer {{ sgd {{ momentum: 0.9 }} }} batch_size_per_gpu: 32 n_epochs: 1 n_workers: 1
  lr_config {{ cosine {{ learning_rate: 0.01 }} }} precision: FP32
}}
dataset_config {{ cache: OFF cache_dir: "{cache}" shuffle: SHARDS shuffle_shards: 2 shard_cache_gib: {gib:.9f} }}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--latency", type=float, default=0.02, help="seconds that each request takes longer")
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _draw(folder / "train", wanted.images // NUM_SHARDS, NUM_SHARDS)
        _draw(folder / "val", 32, 1)
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        server = context.Process(target=_serve, args=(folder / "train", wanted.latency, theirs), daemon=True)
        server.start()
        url, environment = ours.recv()
        _print("local files", local := _train(folder, "local", str(folder / "train"), {}))
        _print("store", remote := _train(folder, "store", url, environment))
        server.kill()
        found = _weights(remote)
        is_equal = all(tensor.equal(found[name]) for name, tensor in _weights(local).items())
        print("the weights are", "equal" if is_equal else "NOT equal")


def _draw(root: Path, num_images: int, num_shards: int) -> None:
    """Shards of pictures of ten classes, and their indexes."""
    root.mkdir()
    rng = np.random.default_rng(len(root.name))
    for shard in range(num_shards):
        samples = []
        for number in range(num_images):
            label, file = number % 10, io.BytesIO()
            small = rng.integers(0, 256, (8, 8, 3), np.uint8) // 2 + 12 * label
            Image.fromarray(small.astype(np.uint8)).resize((SIDE, SIDE)).save(file, "JPEG", quality=90)
            samples.append([(f"{number:05d}.cls", str(label).encode()), (f"{number:05d}.jpg", file.getvalue())])
        path = root / f"{shard:03d}.tar"
        path.write_bytes(b"".join(written(samples)))
        with path.open("rb") as content:
            (root / index_name(path.name)).write_text(scan(path, content).to_text())


def _serve(folder: Path, latency: float, answer: "multiprocessing.connection.Connection") -> None:
    """The store, off the core that the training has where there are others."""
    if others := set(range(os.cpu_count() or 1)) - os.sched_getaffinity(0):
        os.sched_setaffinity(0, others)
    with s3.running() as way:
        url = way.upload(folder, "train")
        way.latency_seconds = latency
        answer.send((url, way.environment))
        multiprocessing.Event().wait()


def _train(folder: Path, name: str, data: str, environment: dict[str, str]) -> Path:
    """The results folder of a training."""
    total = sum(path.stat().st_size for path in (folder / "train").glob("*.tar"))
    spec, results = folder / f"{name}.cfg", folder / name
    spec.write_text(SPEC.format(data=data, val=folder / "val", cache=folder / f"{name}_cache", gib=total / 10 / 2**30))
    command = [sys.executable, "-m", "tao_lite.cli", "train", "-e", spec, "-r", results, "--gpus", "0"]
    variables = {**os.environ, **environment, "OMP_NUM_THREADS": "1"}
    subprocess.run([*map(str, command)], check=True, env=variables, stdout=subprocess.DEVNULL)
    return results


def _print(name: str, results: Path) -> None:
    summary = json.loads((results / "train.json").read_text())
    print(
        f"{name}: waited {summary['data_wait_fraction']:.2%} of the time for data, "
        f"{summary['images_per_second']:.0f} images/s"
    )


def _weights(results: Path) -> Mapping[str, torch.Tensor]:
    return checkpoints.load(results / "weights" / "latest.pth").network


if __name__ == "__main__":
    main()
