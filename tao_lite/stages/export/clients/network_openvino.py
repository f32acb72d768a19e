"""The network in OpenVINO, on the CPU, in float32: left alone it computes in bfloat16 where the CPU can."""

import sys

sys.modules.setdefault("openvino_telemetry", None)  # else importing it reports to Intel and writes to ~/intel
import openvino  # noqa: E402


class Network:
    """Images, [B, C, H, W] as preprocess.json says, to probabilities [B, classes] and, with a rule, bool [B, 1]."""

    def __init__(self, folder):
        self._compiled = openvino.compile_model(folder / "model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def __call__(self, images):
        found = self._compiled([images])
        return [found[output] for output in self._compiled.outputs]
