"""Classify pictures with the network in this folder: python client.py PICTURE..."""

import json
import sys

from classify import classify
from network import Network
from way import HERE


def main(words):
    """Print a line for each picture: path, class, probability, `rejected` if it is; with --json all that is known."""
    network, failed = Network(HERE), 0
    for path in [word for word in words if word != "--json"]:
        try:
            answer = classify(network, path)
        except Exception as error:  # a file may be anything, and the others go on
            failed += 1
            print(f"{path}: {error or type(error).__name__}", file=sys.stderr)
            continue
        accepted = "" if answer.get("accepted", True) else ",rejected"
        line = f"{path},{answer['class']},{max(answer['probabilities']):.6f}{accepted}"
        print(json.dumps({"path": path, **answer}) if "--json" in words else line)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
