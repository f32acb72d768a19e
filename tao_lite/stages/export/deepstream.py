"""What DeepStream's nvinfer reads beside an exported network: names, and settings that TAO writes for caffe always."""

from collections.abc import Sequence

from tao_lite.data.preprocess import Preprocess
from tao_lite.errors import RunError
from tao_lite.pruning.trace import Shape

_RGB, _BGR, _GREY = 0, 1, 2
_BETWEEN_LABELS = ";"


def labels(class_names: Sequence[str]) -> str:
    """The label file: a line for each output layer, of which there is one, with ";" between the names of its classes.

    Source: parseLabelsFile in nvdsinfer_context_impl_output_parsing.cpp of DeepStream.

    Raises:
        RunError: a name holds what stands between names.
    """
    unfit = [name for name in class_names if set(name) & {_BETWEEN_LABELS, "\n"}]
    if unfit:
        raise RunError(
            f"--gen_ds_config: DeepStream ends a label at {_BETWEEN_LABELS!r} and at the end of a line, which stand in "
            f"{', '.join(map(repr, unfit))}; export without it, or train with other names"
        )
    return f"{_BETWEEN_LABELS.join(class_names)}\n"


def config(preprocess: Preprocess, shape: Shape, num_classes: int, *, raw_input: bool = False) -> str:
    """Lines for the [property] group of an nvinfer file; raw_input: the network normalises RGB or grey pixels itself.

    nvinfer computes net-scale-factor * (pixel - offset) with one factor for all channels; of the deviations of "torch",
    which differ by 2 % of each other, it gets the mean.
    """
    scale = 1.0 if raw_input else float(preprocess.scale.mean())
    offsets = [0.0] * preprocess.channels if raw_input else preprocess.mean
    is_bgr = preprocess.is_bgr and not raw_input
    colours = _GREY if preprocess.channels == 1 else _BGR if is_bgr else _RGB
    values = {
        "net-scale-factor": f"{scale:.10g}",
        "offsets": ";".join(f"{offset:.7g}" for offset in offsets),
        "infer-dims": ";".join(map(str, shape)),
        "network-type": "1",
        "num-detected-classes": str(num_classes),
        "model-color-format": str(colours),
        "maintain-aspect-ratio": "0",
        "output-tensor-meta": "0",
    }
    return "".join(f"{key}={value}\n" for key, value in values.items())
