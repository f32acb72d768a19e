"""A model repository for Triton: the network, and beside it a model that takes the bytes of a picture's file."""

import re
from collections.abc import Sequence

from tao_lite.data.description import ACCEPTED, INPUT, OUTPUT, Description
from tao_lite.spec import classification_pb2 as pb
from tao_lite.stages.export import card

MOST_PICTURES = 64
"""In a batch that the server makes of requests that wait."""

_NETWORK = """backend: "onnxruntime"
max_batch_size: {most}
{tensors}
dynamic_batching {{ }}
"""

_PICTURE = """backend: "python"
max_batch_size: 0
{tensors}
instance_group [ {{ kind: KIND_CPU }} ]
"""


def model_name(config: pb.ModelConfig) -> str:
    """What a model is called, by its architecture."""
    return re.sub(r"[^a-z0-9]+", "-", card.architecture(config).lower())


def network(description: Description) -> str:
    """config.pbtxt of the model that ONNX Runtime computes. A model's name is that of its folder.

    Source: model_config.proto of Triton.
    """
    channels, *size = description.pipeline.shape
    dims = (channels, *((-1, -1) if description.kind == "image" else size))
    number_type = "TYPE_FP32" if description.kind == "tensor" else "TYPE_UINT8"
    taken = _tensor("input", INPUT, number_type, dims)
    given = _tensor("output", OUTPUT, "TYPE_FP32", (len(description.class_names),), label_filename="labels.txt")
    return _NETWORK.format(most=MOST_PICTURES, tensors="\n".join([taken, given, *_accepted(description)]))


def picture(description: Description) -> str:
    """config.pbtxt of the model that Python computes: a file's bytes to class, probabilities, digests of its pixels."""
    texts = [_tensor("output", name, "TYPE_STRING", (1,)) for name in ("class", "decoded", "pixels")]
    probabilities = _tensor("output", "probabilities", "TYPE_FP32", (len(description.class_names),))
    outputs = [probabilities, *texts, *_accepted(description)]
    return _PICTURE.format(tensors="\n".join([_tensor("input", "picture", "TYPE_STRING", (1,)), *outputs]))


def _accepted(description: Description) -> list[str]:
    return [_tensor("output", ACCEPTED, "TYPE_BOOL", (1,))] if description.reject else []


def _tensor(side: str, name: str, number_type: str, dims: Sequence[int], **more: str) -> str:
    rest = "".join(f' {key}: "{value}"' for key, value in more.items())
    return f'{side} [ {{ name: "{name}" data_type: {number_type} dims: {list(dims)}{rest} }} ]'
