"""A model of Triton's Python backend: the bytes of a picture's file to its class and the probability of each.

The packages of requirements.txt may lie in the folder `packages` beside this file.
"""

import io
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE / "packages")]

import numpy as np  # noqa: E402
import triton_python_backend_utils as triton  # noqa: E402
from classify import classify  # noqa: E402
from network import Network  # noqa: E402


class TritonPythonModel:
    """What the server calls."""

    def initialize(self, args):
        """Open the network."""
        self._network = Network(HERE)

    def execute(self, requests):
        """An answer for each request, which holds one picture."""
        return [self._answer(request) for request in requests]

    def _answer(self, request):
        picture = triton.get_input_tensor_by_name(request, "picture").as_numpy().reshape(-1)[0]
        try:
            found = classify(self._network, io.BytesIO(picture))
        except Exception as error:  # a file may be anything, and the server goes on
            return triton.InferenceResponse(error=triton.TritonError(str(error) or type(error).__name__))
        values = {name: np.array([found[name].encode()], dtype=np.object_) for name in ("class", "decoded", "pixels")}
        values["probabilities"] = np.array(found["probabilities"], dtype=np.float32)
        if "accepted" in found:
            values["accepted"] = np.array([found["accepted"]], dtype=bool)
        return triton.InferenceResponse([triton.Tensor(name, value) for name, value in values.items()])
