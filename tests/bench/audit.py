"""How many wrong labels `dataset audit` finds, and what training without them is worth.

    python -m tests.bench.audit [--seeds 10] [--data ../shared/data/folders]

5 % of the labels are flipped, at random and within the most confused pair of classes, on features of
package:efficientnet_lite0. Found: the share of the flipped among the first rows of the list, as many as 6 % of the
images. Training: logistic regression, tested on the set's own validation images. Not part of `make bench`.
"""

import argparse
import statistics
import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from tao_lite.data.sample import draw
from tao_lite.machine import distributed
from tao_lite.monitor import console
from tao_lite.run import Run
from tao_lite.spec.load import load_text
from tao_lite.stages.audit.evidence import Evidence, by_probe, gather
from tao_lite.stages.audit.rows import WRONG_LABEL, Row, listed
from tao_lite.training.logistic import fitted
from tests.bench import machine

SPEC = """
model_config { arch: "timm/tf_efficientnet_lite0" input_image_size: "3,224,224" }
train_config {
  train_dataset_path: "%s" pretrained_model_path: "package:efficientnet_lite0" preprocess_mode: "tf" precision: FP32
}
"""
SHARE, LOOKED_AT = 0.05, 0.06
KINDS = ("random", "pair")
TRAINING_PENALTY = 1e-4
"""So weak that wrong labels are learnt, as a network learns them."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--data", type=Path, default=machine.ROOT.parent / "shared" / "data" / "folders")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        draw.write(Path(name) / "sample", num_frames=100, seed=42)
        run = Run(results=Path(name) / "results", world=distributed.start("cpu"))
        folders = [
            *(arguments.data / one / "train" for one in ("imagenette_tiny", "cifar10_small")),
            Path(name) / "sample",
        ]
        seen = {folder: evidence(folder, run) for folder in folders}
        tests = {folder: evidence(folder.parent / "val", run) for folder in folders[:2]}
    seeds = range(arguments.seeds)
    rows = [found(folder, clean, kind, seeds) for folder, clean in seen.items() for kind in KINDS]
    console.table(
        "Flipped labels found", ("set", "images", "flipped", "mean", "least", "wrong_label right", "seconds"), rows
    )
    console.table(
        "Top-1 of a training",
        ("set", "right labels", "5 % wrong", "without wrong_label", "regained"),
        [trained(folder, seen[folder], test, kind, seeds) for folder, test in tests.items() for kind in KINDS],
    )
    many = seen[folders[1]]
    copies = [replace(one, group=f"{one.group} {number}") for number in range(4) for one in many.examples][:5000]
    assert many.features is not None
    started = time.perf_counter()
    noisy = many.features.repeat(4, 1)[:5000]
    listed(by_probe(copies, noisy + 0.01 * torch.randn_like(noisy), many.class_names, ""), None)
    console.line(f"{len(copies)} images once features exist: {time.perf_counter() - started:.1f} s")


def evidence(folder: Path, run: Run) -> Evidence:
    return gather(load_text(SPEC % folder, Path("audit.cfg"), stage=None).experiment, run, None)


def flipped(clean: Evidence, kind: str, seed: int) -> tuple[np.ndarray, Evidence]:
    """Which labels are flipped, and what is found with them."""
    draws, labels, size = np.random.default_rng(seed), clean.labels.copy(), len(clean.class_names)
    if kind == "random":
        chosen = draws.choice(len(labels), round(SHARE * len(labels)), replace=False)
        labels[chosen] = (labels[chosen] + draws.integers(1, size, len(chosen))) % size
    else:
        pair = most_confused(clean)
        of_pair = np.flatnonzero(np.isin(labels, pair))
        chosen = draws.choice(of_pair, round(SHARE * len(labels)), replace=False)
        labels[chosen] = sum(pair) - labels[chosen]
    examples = [
        replace(one, label=clean.class_names[label]) for one, label in zip(clean.examples, labels.tolist(), strict=True)
    ]
    assert clean.features is not None
    return chosen, by_probe(examples, clean.features, clean.class_names, "")


def most_confused(clean: Evidence) -> tuple[int, int]:
    answers = clean.probabilities.argmax(axis=1)
    pairs = zip(clean.labels.tolist(), answers.tolist(), strict=True)
    counts = Counter((min(pair), max(pair)) for pair in pairs if pair[0] != pair[1])
    return counts.most_common(1)[0][0]


def found(folder: Path, clean: Evidence, kind: str, seeds: range) -> tuple[object, ...]:
    shares, right, seconds = [], [], []
    for seed in seeds:
        started = time.perf_counter()
        chosen, noisy = flipped(clean, kind, seed)
        rows, num = listed(noisy, None), round(LOOKED_AT * len(clean.labels))
        seconds.append(time.perf_counter() - started)
        shares.append(np.isin(chosen, [row.place for row in rows[:num]]).mean().item())
        wrong = wrong_places(rows)
        right.append(np.isin(wrong, chosen).mean().item() if wrong else float("nan"))
    name = folder.parent.name if folder.name == "train" else folder.name
    figures = (statistics.mean(shares), min(shares), statistics.mean(right))
    return (
        f"{name}, {kind}",
        len(clean.labels),
        round(SHARE * len(clean.labels)),
        *(f"{value:.0%}" for value in figures),
        f"{statistics.mean(seconds):.1f}",
    )


def wrong_places(rows: list[Row]) -> list[int]:
    return [row.place for row in rows if WRONG_LABEL in row.reasons]


def trained(folder: Path, clean: Evidence, test: Evidence, kind: str, seeds: range) -> tuple[object, ...]:
    right, wrong, without = accuracy(clean, test, []), [], []
    for seed in seeds:
        _, noisy = flipped(clean, kind, seed)
        wrong.append(accuracy(noisy, test, []))
        without.append(accuracy(noisy, test, wrong_places(listed(noisy, None))))
    cost, regained = right - statistics.mean(wrong), statistics.mean(without) - statistics.mean(wrong)
    return (
        f"{folder.parent.name}, {kind}",
        *(f"{value:.2%}" for value in (right, statistics.mean(wrong), statistics.mean(without))),
        f"{regained / cost:.0%}",
    )


def accuracy(training: Evidence, test: Evidence, left_out: list[int]) -> float:
    kept = torch.ones(len(training.labels), dtype=torch.bool)
    kept[left_out] = False
    assert training.features is not None
    assert test.features is not None
    labels = torch.from_numpy(training.labels)[kept]
    answers = fitted(training.features[kept], labels, len(training.class_names), TRAINING_PENALTY)(test.features)
    return (answers.argmax(dim=1) == torch.from_numpy(test.labels)).double().mean().item()


if __name__ == "__main__":
    main()
