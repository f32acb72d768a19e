"""Compare what tao-deploy answered with what is expected: python verify.py out/result.csv"""

import csv
import sys
from pathlib import Path

TOLERANCE = 1e-4  # of a confidence, in FP32
HERE = Path(__file__).resolve().parent


def answers(path):
    """Class and confidence of each picture, by its folder and name."""
    with Path(path).open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.reader(file) if row]
    return {tuple(Path(name).parts[-2:]): (label, float(confidence)) for name, label, confidence in rows}


def main(words):
    """Print what differs, and the share of pictures whose class is that of their folder; 1 if anything differs."""
    wanted, found = answers(HERE / "expected.csv"), answers(words[0])
    problems = 0
    for picture, (label, confidence) in wanted.items():
        got, how_sure = found.get(picture, ("no answer", 0.0))
        if got != label or not abs(how_sure - confidence) <= TOLERANCE:
            problems += 1
            print(f"{'/'.join(picture)}: {got}, {how_sure:.6f}; expected {label}, {confidence:.6f}")
    right = sum(label == picture[0] for picture, (label, _) in found.items())
    print(f"{problems} of {len(wanted)} pictures differ; accuracy {right / max(len(found), 1):.4f} of {len(found)}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
