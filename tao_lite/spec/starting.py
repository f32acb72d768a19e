"""A first spec for `spec init`: each field with its meaning as a comment."""

import textwrap
from collections.abc import Sequence
from itertools import pairwise

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec import reference
from tao_lite.spec.text import write
from tao_lite.spec.text.syntax import Document, Field
from tao_lite.spec.unbind import unbind

# What editors and linters of text format read; https://protobuf.dev/reference/protobuf/textformat-spec/#header
HEADER = ("# proto-file: proto/classification.proto", "# proto-message: tao_lite.Experiment", "#")

# A layout for which the data is drawn; the others are the kinds of DatasetFormat.
SAMPLE = "sample"

N_LAYERS = 18

TEXT = """
model_config { arch: "resnet" n_layers: 18 use_batch_norm: true input_image_size: "3,224,224" }
train_config { train_dataset_path: "data/train" random_seed: 42 preprocess_mode: "torch" recipe: FROM_SCRATCH }
eval_config { top_k: 3 batch_size: 256 }
prune_config { target_ratio: 0.5 }
"""
_SAMPLE = (
    "dataset_config={ format: KITTI sample { num_frames: 400 seed: 42 } }",
    "train_config.train_dataset_path=data/sample",
    "model_config.input_image_size=3,64,64",
    "train_config.n_epochs=12",
    "eval_config.top_k=2",
)
_WIDTH = 100


def overrides(layout: str) -> Sequence[str]:
    """What the layout of the data changes in TEXT, as `field.path=value`."""
    if layout == SAMPLE:
        return _SAMPLE
    csv = ("train_config.train_dataset_path=data/train.csv",) if layout == "multitask" else ()
    return (f"dataset_config.format={layout.upper()}", *csv)


def text(experiment: pb.Experiment, title: str) -> str:
    """The experiment as a file, every line with its meaning."""

    def annotate(_: str, field: FieldDescriptor, value: object, made: list[Field]) -> None:
        meaning = textwrap.wrap(f"# {reference.meaning(field)}", _WIDTH, subsequent_indent="# ")
        made[0].comments = meaning
        if isinstance(value, Message):
            _set_apart(made[0].value)

    fields = unbind(experiment, annotate)
    _set_apart(fields)
    fields[0].comments[:0] = [*HEADER, f"# {title}", ""]
    return write.text(Document(fields))


def _set_apart(fields: object) -> None:
    """Put an empty line before and after each block."""
    assert isinstance(fields, list)
    for before, one in pairwise(fields):
        if isinstance(before.value, list) or isinstance(one.value, list):
            one.comments.insert(0, "")
