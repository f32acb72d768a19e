"""Classify pictures with the network in this folder: python client.py PICTURE..."""

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
from network import Network
from picture import WAY, decode, normalise, resize

HERE = Path(__file__).resolve().parent


def classify(network, path):
    """What became of a file on its way, and the probability of each class."""
    decoded = decode(path)
    kind = WAY["input"]["kind"]
    pixels = decoded if kind == "image" else resize(decoded)
    values = normalise(pixels) if kind == "tensor" else pixels
    probabilities = network(np.ascontiguousarray(values.transpose(2, 0, 1)[None]))[0].tolist()
    digests = [hashlib.sha256(part.tobytes()).hexdigest() for part in (decoded, pixels)]
    return {"path": str(path), "decoded": digests[0], "pixels": digests[1], "probabilities": probabilities}


def main(words):
    """Print a line for each picture: path, class, probability; with --json all that is known of it."""
    network, failed = Network(HERE), 0
    for path in [word for word in words if word != "--json"]:
        try:
            answer = classify(network, path)
        except Exception as error:  # a file may be anything, and the others go on
            failed += 1
            print(f"{path}: {error or type(error).__name__}", file=sys.stderr)
            continue
        best = int(np.argmax(answer["probabilities"]))
        line = f"{path},{WAY['class_names'][best]},{answer['probabilities'][best]:.6f}"
        print(json.dumps(answer) if "--json" in words else line)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
