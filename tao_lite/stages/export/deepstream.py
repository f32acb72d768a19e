"""What DeepStream's nvinfer reads beside an exported network: names, and settings that TAO writes for caffe always."""

from collections.abc import Mapping, Sequence

from tao_lite.data.description import OUTPUT, Description
from tao_lite.data.pipeline import Pipeline
from tao_lite.errors import RunError

_COLOURS = {"RGB": 0, "BGR": 1, "GREY": 2}
_BETWEEN_LABELS = ";"
_BATCH_SIZE = 16


def labels(class_names: Sequence[str]) -> str:
    """The label file: a line for each output layer, of which there is one, with ";" between the names of its classes.

    Source: parseLabelsFile in nvdsinfer_context_impl_output_parsing.cpp of DeepStream.

    Raises:
        RunError: a name holds what stands between names.
    """
    unfit = [name for name in class_names if set(name) & {_BETWEEN_LABELS, "\n"}]
    if unfit:
        raise RunError(
            f"DeepStream ends a label at {_BETWEEN_LABELS!r} and at the end of a line, which stand in "
            f"{', '.join(map(repr, unfit))}; export for something else, or train with other names"
        )
    return f"{_BETWEEN_LABELS.join(class_names)}\n"


def scale(pipeline: Pipeline) -> float | None:
    """The one factor for all channels that nvinfer is told, for whose sake the graph has to correct; None: it need not.

    Those of "torch" differ by 2 % from each other.
    """
    first, *others = pipeline.scale
    return sum(pipeline.scale) / pipeline.channels if any(other != first for other in others) else None


def config(description: Description) -> str:
    """Lines for the [property] group of an nvinfer file.

    nvinfer computes net-scale-factor * (pixel - offset) with one factor for all channels.

    Raises:
        RunError: the file takes what nvinfer can't give.
    """
    if description.kind == "image":
        raise RunError("--gen_ds_config: nvinfer gives pictures of the network's size; leave out --input image")
    pipeline, in_graph = description.pipeline, description.kind == "pixels"
    if pipeline.fill:
        raise RunError(
            f"--gen_ds_config: nvinfer's bars are black, the network's have the value {pipeline.fill}; train with "
            "model_config.letterbox_value 0 for DeepStream"
        )
    is_letterbox = str(int(pipeline.geometry == "letterbox"))
    order = "RGB" if in_graph and pipeline.channels == 3 else pipeline.order
    values = {
        "net-scale-factor": f"{1.0 if in_graph else pipeline.scale[0]:.10g}",
        "offsets": ";".join(f"{0.0 if in_graph else value:.7g}" for value in pipeline.mean),
        "infer-dims": ";".join(map(str, pipeline.shape)),
        "network-type": "1",
        "num-detected-classes": str(len(description.class_names)),
        "model-color-format": str(_COLOURS[order]),
        "maintain-aspect-ratio": is_letterbox,
        "symmetric-padding": is_letterbox,
        "output-tensor-meta": "0",
    }
    return _lines(values)


def whole_config(description: Description) -> str:
    """A configuration file for nvinfer, of the network in model.onnx with labels.txt beside it.

    Raises:
        RunError: as config.
    """
    own = {
        "gpu-id": "0",
        "gie-unique-id": "2",
        "process-mode": "2",  # what a detector found; 1: whole frames
        "onnx-file": "model.onnx",
        "model-engine-file": f"model.onnx_b{_BATCH_SIZE}_gpu0_fp32.engine",  # as nvinfer calls what it builds
        "labelfile-path": "labels.txt",
        "batch-size": str(_BATCH_SIZE),
        "network-mode": "0",  # FP32
        "output-blob-names": OUTPUT,
        "classifier-threshold": "0",
        "scaling-filter": "1",  # linear
    }
    return f"[property]\n{_lines(own)}{config(description)}"


def _lines(values: Mapping[str, str]) -> str:
    return "".join(f"{key}={value}\n" for key, value in values.items())
