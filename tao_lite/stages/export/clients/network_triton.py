"""The network of the model beside this one, whose name this one's begins with, in ONNX Runtime."""

import network_onnxruntime


class Network(network_onnxruntime.Network):
    """Images, [B, C, H, W] as preprocess.json says, to probabilities [B, classes] and, with a rule, bool [B, 1]."""

    def __init__(self, folder):
        own = folder.parent
        super().__init__(own.with_name(own.name.removesuffix("_picture")) / "1")
