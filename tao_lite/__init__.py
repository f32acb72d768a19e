"""TAO image classification spec files on modern PyTorch; `load` is for programs.

Imports nothing: the command line, too, begins here, and has to be quick.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os

    import torch

    from tao_lite.training.classifier import Classifier

__all__ = ["load"]


def load(path: "str | os.PathLike[str]", device: "str | torch.device | None" = None) -> "Classifier":
    """The trained network of a checkpoint, ready to classify images.

        >>> import tao_lite
        >>> network = tao_lite.load("results/colours/weights/best.pth", device="cpu")
        >>> network.class_names
        ('blue', 'green', 'red')
        >>> for name, probability in network.predict(["sky.png", "rose.png"]):
        ...     print(name, probability > 0.5)
        blue True
        red True

    It computes on the device, without one on the first GPU if there is one, in the precision of the spec that it was
    trained with, which turns TensorFloat-32 on or off for the whole process. The numbers are those of `tao-lite
    inference`, to the bit where device, batch size and number of threads are the same.

    Raises:
        CheckpointError: there is no checkpoint at the path, or it is damaged.
        RunError: there is no such device.
    """
    from tao_lite.training.classifier import Classifier

    return Classifier(path, device)
