"""The network as a program of torch.export, on the CPU."""

import torch


class Network:
    """Images, [B, C, H, W] as preprocess.json says, to probabilities [B, classes] and, with a rule, bool [B, 1]."""

    def __init__(self, folder):
        self._program = torch.export.load(folder / "model.pt2").module()

    def __call__(self, images):
        with torch.inference_mode():
            found = self._program(torch.from_numpy(images))
        return [output.numpy() for output in (found if isinstance(found, tuple) else (found,))]
