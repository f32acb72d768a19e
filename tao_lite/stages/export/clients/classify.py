"""What the network says of a picture's file."""

import hashlib

import numpy as np
from picture import decode, normalise, resize
from way import WAY


def classify(network, file):
    """The class, the probability of each, and what became of the file, a path or an open one, on its way.

    With a rule for that, whether the answer is accepted.
    """
    decoded = decode(file)
    kind = WAY["input"]["kind"]
    pixels = decoded if kind == "image" else resize(decoded)
    values = normalise(pixels) if kind == "tensor" else pixels
    outputs = network(np.ascontiguousarray(values.transpose(2, 0, 1)[None]))
    probabilities, *accepted = (output[0] for output in outputs)
    return {
        "class": WAY["class_names"][int(np.argmax(probabilities))],
        "probabilities": probabilities.tolist(),
        **({"accepted": bool(accepted[0])} if "reject" in WAY else {}),
        "decoded": hashlib.sha256(decoded.tobytes()).hexdigest(),
        "pixels": hashlib.sha256(pixels.tobytes()).hexdigest(),
    }
