"""The settings with which DeepStream's nvinfer feeds an exported network; TAO writes caffe's whatever was trained."""

from tao_lite.data.preprocess import Preprocess
from tao_lite.pruning.trace import Shape

_RGB, _BGR, _GREY = 0, 1, 2


def config(preprocess: Preprocess, shape: Shape, num_classes: int) -> str:
    """Lines for the [property] group of an nvinfer file.

    nvinfer computes net-scale-factor * (pixel - offset) with one factor for all channels; of the deviations of "torch",
    which differ by 2 % of each other, it gets the mean.
    """
    scale = float(preprocess.scale.mean())
    colours = _GREY if preprocess.channels == 1 else _BGR if preprocess.is_bgr else _RGB
    values = {
        "net-scale-factor": f"{scale:.10g}",
        "offsets": ";".join(f"{offset:.6g}" for offset in preprocess.offsets),
        "infer-dims": ";".join(map(str, shape)),
        "network-type": "1",
        "num-detected-classes": str(num_classes),
        "model-color-format": str(colours),
        "maintain-aspect-ratio": "0",
        "output-tensor-meta": "0",
    }
    return "".join(f"{key}={value}\n" for key, value in values.items())
