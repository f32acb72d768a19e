"""Replay the pictures in references/: says ok, or where this machine's answers differ from those of the export."""

import sys

from classify import classify
from network import Network
from way import HERE, WAY


def difference(network, reference):
    """What differs for a picture, in words; empty where nothing does."""
    try:
        found = classify(network, HERE / "references" / reference["file"])
    except Exception as error:  # whatever it is, it is told, and the other pictures are tried
        return str(error) or type(error).__name__
    if WAY["input"]["kind"] != "image" and found["pixels"] != reference["pixels_sha256"]:
        return "other pixels reach the network; is Pillow the version in requirements.txt?"
    distance = max(
        abs(ours - said) for ours, said in zip(found["probabilities"], reference["probabilities"], strict=True)
    )
    if found.get("accepted") != reference.get("accepted"):
        return "is accepted by one and not by the other"
    return "" if distance <= 1e-3 else f"a probability differs by {distance:.1e}"


def main():
    """The number of pictures that differ becomes the exit code."""
    network, problems = Network(HERE), {}
    for reference in WAY["references"]:
        if problem := difference(network, reference):
            problems[reference["file"]] = problem
    for name, problem in problems.items():
        print(f"{name}: {problem}")
    print(f"{len(problems)} of {len(WAY['references'])} pictures differ" if problems else "ok")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
