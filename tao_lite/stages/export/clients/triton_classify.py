"""What the server says of a picture's file."""

from pathlib import Path


def classify(network, path):
    """The class, the probability of each, and what became of the file on its way."""
    found = network(Path(path).read_bytes())
    return {
        "probabilities": found["probabilities"],
        **{name: found[name][0] for name in ("class", "decoded", "pixels", "accepted") if name in found},
    }
