"""The network as a program of torch.export, on the CPU."""

import torch


class Network:
    """Images, [B, C, H, W] as preprocess.json says, to probabilities [B, classes]."""

    def __init__(self, folder):
        self._program = torch.export.load(folder / "model.pt2").module()

    def __call__(self, images):
        with torch.inference_mode():
            return self._program(torch.from_numpy(images)).numpy()
