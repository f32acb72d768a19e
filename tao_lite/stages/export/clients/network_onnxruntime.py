"""The network in ONNX Runtime, on the CPU."""

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # else importing it sends events to Microsoft
import onnxruntime


class Network:
    """Images, [B, C, H, W] as preprocess.json says, to probabilities [B, classes] and, with a rule, bool [B, 1]."""

    def __init__(self, folder):
        self._session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])

    def __call__(self, images):
        return self._session.run(None, {self._session.get_inputs()[0].name: images})
